use super::*;
use proptest::prelude::*;

struct Bytes(Vec<u8>);

impl NoteSource for Bytes {
    fn read_note(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
        Slice(&self.0).read_note(offset, bytes)
    }
}

/// One note on its way into a file.
#[derive(Clone, Debug)]
struct Made {
    name: String,
    kind: u32,
    desc: Vec<u8>,
    /// Words of zeros behind it.
    gap: usize,
}

fn any_made() -> impl Strategy<Value = Made> {
    let lens = prop_oneof![4 => 1usize..600, 1 => (MAX_HELD as usize - 2)..(MAX_HELD as usize + 5000)];
    ("[A-Z][A-Za-z0-9_ -]{0,20}", 0u32..0x800, lens, prop_oneof![3 => Just(0usize), 2 => 1usize..40])
        .prop_map(|(name, kind, len, gap)| Made { name, kind, desc: vec![kind as u8 | 1; len], gap })
}

fn encode(made: &[Made], order: ByteOrder, align: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Made { name, kind, desc, gap } in made {
        let start = bytes.len();
        for word in [name.len() as u32 + 1, desc.len() as u32, *kind] {
            bytes.extend(order.put_u32(word));
        }
        bytes.extend(name.as_bytes());
        bytes.push(0);
        bytes.resize(start + (bytes.len() - start).next_multiple_of(align), 0);
        bytes.extend(desc);
        bytes.resize(start + (bytes.len() - start).next_multiple_of(align), 0);
        bytes.resize(bytes.len() + gap * align, 0);
    }
    bytes
}

fn scan(bytes: Vec<u8>, align: u64, order: ByteOrder, room: &mut NoteRoom) -> Found {
    let place = NotePlace { offset: 0, len: bytes.len() as u64, align };
    let source: Arc<dyn NoteSource> = Arc::new(Bytes(bytes));
    Notes::scan(&source, place, order, room).unwrap()
}

/// All bytes of notes as a writer writes them.
fn written(notes: &Notes) -> Vec<u8> {
    let mut bytes = notes.raw().to_vec();
    for far in notes.far() {
        far.copy(|piece| -> Result<(), ReadError> {
            bytes.extend(piece);
            Ok(())
        })
        .unwrap();
    }
    assert_eq!(bytes.len() as u64, notes.total());
    // Read at random they are the same.
    for piece in [bytes.len().max(1), 4099, 777] {
        let mut again = vec![1; bytes.len()];
        for (number, part) in again.chunks_mut(piece).enumerate() {
            notes.read_at((number * piece) as u64, part).unwrap();
        }
        assert!(again == bytes, "in pieces of {piece}");
    }
    bytes
}

fn sorted(notes: &Notes) -> Vec<(Vec<u8>, u32, Vec<u8>)> {
    let mut all: Vec<_> = notes.iter().map(|n| (n.name.clone(), n.kind, n.desc.clone())).collect();
    all.sort();
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_note_is_lost_whatever_its_length_the_alignment_and_the_padding_between(
        made in prop::collection::vec(any_made(), 1..12), big: bool, eight: bool, states_it: bool,
    ) {
        let order = if big { ByteOrder::Big } else { ByteOrder::Little };
        let align = if eight { 8 } else { 4 };
        let bytes = encode(&made, order, align);
        // With one note that is alone, either alignment may make sense: a file that has 8 says so.
        let stated = if states_it || made.len() == 1 { align as u64 } else { 0 };
        let found = scan(bytes, stated, order, &mut NoteRoom::new(u64::MAX));
        prop_assert!(found.error.is_none() && found.left_out.is_empty());
        prop_assert!(found.notes.iter().all(|n| n.desc.len() <= MAX_HELD as usize));
        let again = Notes::parse(&written(&found.notes), order).unwrap();
        let mut wanted: Vec<_> =
            made.iter().map(|m| (m.name.clone().into_bytes(), m.kind, m.desc.clone())).collect();
        wanted.sort();
        prop_assert_eq!(sorted(&again), wanted);
    }

    #[test]
    fn any_bytes_are_notes_or_not_and_never_a_panic(
        bytes in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>(), 0u8..16], 0..400), eight: bool,
    ) {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let found = scan(bytes.clone(), if eight { 8 } else { 4 }, order, &mut NoteRoom::new(u64::MAX));
            written(&found.notes);
        }
    }
}

fn made(name: &str, len: usize) -> Made {
    Made { name: name.into(), kind: 0x700, desc: vec![7; len], gap: 0 }
}

#[test]
fn what_there_is_no_room_for_is_named_and_what_comes_after_it_is_not_lost() {
    let order = ByteOrder::Little;
    let bytes = encode(&[made("LINUX", 300 << 10), made("CORE", 336), made("VMCOREINFO", 900)], order, 4);
    let found = scan(bytes, 4, order, &mut NoteRoom::new(200 << 10));
    assert_eq!(found.left_out, [(b"LINUX".to_vec(), 0x700, 300 << 10)]);
    assert_eq!(found.notes.iter().map(|n| n.desc.len()).collect::<Vec<_>>(), [336, 900]);
}

#[test]
fn more_small_notes_than_can_be_held_are_passed_on_in_rows_and_what_is_read_here_is_held() {
    let order = ByteOrder::Big;
    let mut many = vec![made("CORE", 36); 40];
    many.insert(20, made("LINUX", 70 << 10));
    many.push(made("VMCOREINFO", 900));
    let bytes = encode(&many, order, 4);
    let mut room = NoteRoom { held: 500, ..NoteRoom::new(u64::MAX) };
    let found = scan(bytes, 4, order, &mut room);
    assert!(found.left_out.is_empty());
    assert_eq!(found.notes.find("VMCOREINFO").unwrap().desc.len(), 900);
    assert_eq!(found.notes.iter().count(), 500 / 36 + 1);
    let far = found.notes.far();
    assert_eq!(far.iter().map(|f| f.id.is_some()).collect::<Vec<_>>(), [false, true, false]);
    let again = Notes::parse(&written(&found.notes), order).unwrap();
    assert_eq!(again.iter().count(), many.len());
}

#[test]
fn a_row_goes_past_padding() {
    let order = ByteOrder::Little;
    let many = vec![Made { gap: 3, ..made("CORE", 36) }; 9];
    let mut room = NoteRoom { held: 0, ..NoteRoom::new(u64::MAX) };
    let found = scan(encode(&many, order, 4), 4, order, &mut room);
    assert_eq!(found.notes.far().len(), 1);
    assert_eq!(Notes::parse(&written(&found.notes), order).unwrap().iter().count(), 9);
}
