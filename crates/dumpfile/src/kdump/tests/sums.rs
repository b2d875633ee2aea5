//! A file with checksums is proved bit for bit, and no bit of it can change without being noticed.

use super::*;
use crate::kdump::layout::{Abi, Header, Layout, SubHeader};
use vmcore::ByteOrder;

/// Pages of all kinds, enough of them for several chunks.
fn contents() -> Vec<(u64, Content)> {
    let noise = (0..12).map(|n| (n, Content::Noise(n as u8)));
    let text = (12..24).map(|n| (n, Content::Text(n as u8)));
    noise.chain(text).chain([(40, Content::Zeros), (41, Content::Noise(99))]).collect()
}

/// The bytes of a file with checksums of these pages.
fn file_of(contents: &[(u64, Content)], method: Option<Method>, machine_name: &str) -> Vec<u8> {
    let dump = dump(machine(machine_name), PageSize::K4, contents);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let options = Options { method: Choice::One(method), checksums: true, ..Options::default() };
    write_with(&path, &dump, &without(&dump, &[]), options, 2);
    std::fs::read(&path).unwrap()
}

/// What `hadump verify` would find.
fn found(dump: &Dump) -> Vec<String> {
    let mut found = dump.source.problems.clone();
    found.extend(dump.memory.check().unwrap().problems);
    found.extend(dump.memory.damage().first);
    if dump.source.incomplete {
        found.push("incomplete".into());
    }
    found
}

/// Opens damaged bytes: they must be found to be damaged, and no wrong page be given without that being said.
fn must_be_found(bytes: Vec<u8>, contents: &[(u64, Content)], what: &str) {
    let Ok(dump) = crate::open::open_bytes(vec![bytes]) else { return };
    let mut lost = 0;
    for &(pfn, content) in contents {
        let (state, page) = page_of(&dump, pfn);
        let (_, expected) = content.page(4096);
        let right = (state == content.stored() && page == expected) || state == PageState::Lost;
        lost += u64::from(state == PageState::Lost);
        assert!(right || dump.source.incomplete, "{what}: page {pfn} is {state:?} and nothing is said");
    }
    let found = found(&dump);
    assert!(!found.is_empty(), "{what}: nothing was found, {lost} pages lost");
    assert!(lost == 0 || found.len() > usize::from(dump.source.incomplete), "{what}: {found:?}");
}

fn any_sound_method() -> Vec<Option<Method>> {
    let lzo = cfg!(feature = "lzo");
    let methods = Method::ALL.into_iter().filter(|method| lzo || *method != Method::Lzo).map(Some);
    methods.chain([None]).collect()
}

#[test]
fn what_was_written_is_proved() {
    for method in any_sound_method() {
        for name in ["x86_64", "ppc64", "s390x", "i386"] {
            let dump = crate::open::open_bytes(vec![file_of(&contents(), method, name)]).unwrap();
            for (pfn, content) in contents() {
                let (_, expected) = content.page(4096);
                assert_eq!(page_of(&dump, pfn), (content.stored(), expected), "{method:?}");
            }
            assert_eq!(found(&dump), Vec::<String>::new(), "{method:?}");
            assert!(dump.memory.check().unwrap().proved);
            assert!(!dump.notes.iter().any(|note| note.kind == 2), "the note is the file's");
        }
    }
}

/// Where the descriptors begin and how many pages there are.
fn descriptors(bytes: &[u8]) -> usize {
    let layout = Layout { order: ByteOrder::Little, abi: Abi::Bits64 };
    let header = Header::decode(bytes, layout);
    let sub = SubHeader::decode(&bytes[4096..], layout, 6);
    assert!(sub.size_note > 0);
    (1 + header.sub_hdr_size as usize + header.bitmap_blocks as usize) * 4096
}

/// Of each byte another bit, or all of them where `HADUMP_FLIPS` is set.
#[test]
fn every_bit_of_headers_notes_bitmaps_descriptors_and_checksums_counts() {
    let contents = contents();
    let bytes = file_of(&contents, Some(Method::Snappy), "x86_64");
    let table = descriptors(&bytes) + contents.len() * 24 + 4096;
    // The seal, the sum of the front, and the sums of one chunk of bitmaps and descriptors and of four of pages.
    let end = table + 128 + 16 + 4 + 16;
    let all = std::env::var_os("HADUMP_FLIPS").is_some();
    for bit in (0..end * 8).filter(|bit| all || bit % 8 == bit / 8 % 8) {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        must_be_found(bytes, &contents, &format!("bit {} of byte {:#x}", bit % 8, bit / 8));
    }
}

/// `HADUMP_FLIPS` asks for more than the 400 bits that are tried otherwise, of each method.
#[test]
fn bits_that_flip_in_pages_are_found_with_every_method() {
    let flips = std::env::var("HADUMP_FLIPS").map_or(400, |n| n.parse().expect("HADUMP_FLIPS is a number"));
    let contents = contents();
    for method in any_sound_method() {
        let bytes = file_of(&contents, method, "x86_64");
        let table = descriptors(&bytes) + contents.len() * 24 + 4096;
        let word = |at: usize| u64::from_le_bytes(bytes[table + at..table + at + 8].try_into().unwrap());
        let (data, end) = (word(48) as usize, word(56) as usize);
        assert!(data < end && end <= bytes.len());
        let bits = (end - data) * 8;
        // A step without a common factor comes to other bits each time.
        let step = (bits / flips.min(bits)).max(1) | 1;
        for n in 0..flips {
            let bit = data * 8 + n * step % bits;
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            must_be_found(bytes, &contents, &format!("{method:?}: bit {} of byte {:#x}", bit % 8, bit / 8));
        }
    }
}

#[test]
fn a_damaged_page_costs_no_page_that_proves_itself() {
    let contents = contents();
    let bytes = file_of(&contents, Some(Method::Zstd), "x86_64");
    let whole = crate::open::open_bytes(vec![bytes.clone()]).unwrap();
    let first = (12..24).find(|&pfn| page_of(&whole, pfn).0 == PageState::Present).unwrap();
    // The descriptor of the first page of text says where it is.
    let at = descriptors(&bytes) + first as usize * 24;
    let offset = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let mut damaged = bytes;
    damaged[offset + 9] ^= 0x10;
    let dump = crate::open::open_bytes(vec![damaged]).unwrap();
    let lost: Vec<u64> = (12..24).filter(|&pfn| page_of(&dump, pfn).0 == PageState::Lost).collect();
    assert_eq!(lost, [first]);
    assert!(!dump.memory.check().unwrap().problems.is_empty());
}

#[test]
fn a_file_without_checksums_is_as_it_was() {
    let contents = contents();
    let dump = dump(machine("x86_64"), PageSize::K4, &contents);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    write_with(&path, &dump, &without(&dump, &[]), Options::default(), 2);
    let back = open(&path).unwrap();
    assert_eq!(found(&back), Vec::<String>::new());
    assert!(!back.memory.check().unwrap().proved);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_file_is_proved_and_the_same_for_any_number_of_threads(
        frames in prop::collection::btree_set(0u64..3000, 1..200), seed: u8, method in any_method(), dedup: bool,
    ) {
        let kind = |pfn: u64| match (pfn ^ u64::from(seed)) % 7 {
            0 => Content::Zeros,
            1 | 2 => Content::Noise((pfn % 5) as u8),
            _ => Content::Text(pfn as u8),
        };
        let contents: Vec<_> = frames.into_iter().map(|pfn| (pfn, kind(pfn))).collect();
        let dump = dump(machine("ppc64"), PageSize::K4, &contents);
        let directory = tempfile::tempdir().unwrap();
        let [one, four] = ["one", "four"].map(|name| directory.path().join(name));
        let options = Options { method: Choice::One(method), dedup, checksums: true, ..Options::default() };
        write_with(&one, &dump, &without(&dump, &[]), options, 1);
        write_with(&four, &dump, &without(&dump, &[]), options, 4);
        prop_assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&four).unwrap());
        let back = open(&one).unwrap();
        for &(pfn, content) in &contents {
            prop_assert_eq!(page_of(&back, pfn), (content.stored(), content.page(4096).1));
        }
        prop_assert_eq!(found(&back), Vec::<String>::new());
        prop_assert!(back.memory.check().unwrap().proved);
    }
}
