use super::*;
use crate::input::Input;
use crate::output::Sink;
use crate::{Error, open_bytes};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Mutex;

/// The header and pieces of a stream, written down without the code under test; `end` adds an end record.
fn stream(pieces: &[(i64, i64, Vec<u8>)], end: bool) -> Vec<u8> {
    let mut bytes = b"makedumpfile\0\0\0\0".to_vec();
    bytes.extend([1i64.to_be_bytes(), 1i64.to_be_bytes()].concat());
    bytes.resize(4096, 0);
    for (offset, size, data) in pieces {
        bytes.extend([offset.to_be_bytes(), size.to_be_bytes()].concat());
        bytes.extend(data);
    }
    if end {
        bytes.extend([0xff; 16]);
    }
    bytes
}

fn piece(offset: i64, data: &[u8]) -> (i64, i64, Vec<u8>) {
    (offset, data.len() as i64, data.to_vec())
}

fn open_flat(bytes: Vec<u8>) -> Result<Input, Error> {
    Input::of_bytes(Path::new("flat"), bytes).unflattened()
}

/// A sink in memory.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<u64, u8>>);

impl Sink for Memory {
    fn path(&self) -> &Path {
        Path::new("sink")
    }

    fn sync(&self) -> Result<(), Error> {
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.0.lock().unwrap().extend(bytes.iter().enumerate().map(|(i, b)| (offset + i as u64, *b)));
        Ok(())
    }
}

impl Memory {
    fn file(&self, len: u64) -> Vec<u8> {
        let bytes = self.0.lock().unwrap();
        (0..len).map(|at| bytes.get(&at).copied().unwrap_or(0)).collect()
    }
}

/// Hands out a few bytes at a time, as a slow connection does.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let len = bytes.len().min(self.0.len()).min(777);
        bytes[..len].copy_from_slice(&self.0[..len]);
        self.0 = &self.0[len..];
        Ok(len)
    }
}

/// What the pieces make when they are written in turn.
fn expected(pieces: &[(i64, i64, Vec<u8>)]) -> Vec<u8> {
    let mut file: Vec<u8> = Vec::new();
    for (offset, _, data) in pieces.iter().filter(|p| !p.2.is_empty()) {
        let at = *offset as usize;
        file.resize(file.len().max(at + data.len()), 0);
        file[at..at + data.len()].copy_from_slice(data);
    }
    file
}

fn any_pieces() -> impl Strategy<Value = Vec<(i64, i64, Vec<u8>)>> {
    let data = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(any::<u8>(), 4000..9000),
    ];
    prop::collection::vec((0i64..200, data).prop_map(|(offset, data)| piece(offset * 13, &data)), 1..30)
}

#[test]
fn a_piece_of_which_nothing_came_adds_nothing_to_the_files_length() {
    let (one, both) =
        (stream(&[piece(0, b"some")], false), stream(&[piece(0, b"some"), piece(13, b"more")], false));
    for (came, len) in
        [(&both[..both.len() - 4], 4), (&both[..both.len() - 3], 14), (&one[..one.len() - 4], 0)]
    {
        let sink = Memory::default();
        assert_eq!(unflatten(&mut &*came, &sink).unwrap().len, len);
        assert_eq!(open_flat(came.to_vec()).map_or(0, |input| input.len()), len);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_flattened_file_reads_as_its_pieces_written_in_turn(
        pieces in any_pieces(), ended: bool, at in 0usize..3000, len in 0usize..9000,
    ) {
        let file = expected(&pieces);
        prop_assume!(!file.is_empty());
        let flat = stream(&pieces, ended);
        let input = open_flat(flat.clone()).unwrap();
        prop_assert_eq!(input.len(), file.len() as u64);
        prop_assert_eq!(input.is_cut(), !ended);
        let mut all = vec![0xee; file.len()];
        input.read_at(0, &mut all).unwrap();
        prop_assert!(all == file);
        let mut part = vec![0xee; len];
        match file.get(at..at + len) {
            Some(same) => {
                input.read_at(at as u64, &mut part).unwrap();
                prop_assert!(part == same);
            }
            None => prop_assert!(input.read_at(at as u64, &mut part).is_err()),
        }
        // Holes are where no piece is.
        let covered = |at: u64| pieces.iter().any(|p| (p.0 as u64..(p.0 + p.1) as u64).contains(&at));
        let next = (at as u64..file.len() as u64).find(|&at| covered(at)).unwrap_or(file.len().max(at) as u64);
        if input.is_sparse() {
            prop_assert_eq!(input.next_data(at as u64), next);
        }
        let whole = (at..at + len).all(|at| covered(at as u64));
        let content = input.read_content_at(at as u64, &mut part).is_ok();
        prop_assert_eq!(content, at + len <= file.len() && (ended || whole));

        let sink = Memory::default();
        let done = unflatten(&mut Slow(&flat), &sink).unwrap();
        prop_assert_eq!(done.len, file.len() as u64);
        prop_assert_eq!(done.received, flat.len() as u64);
        prop_assert_eq!(done.pieces, pieces.len() as u64);
        prop_assert_eq!(matches!(done.end, StreamEnd::Whole), ended);
        prop_assert!(sink.file(done.len) == file);
    }

    #[test]
    fn a_stream_that_is_cut_leaves_what_came(pieces in any_pieces(), cut in any::<prop::sample::Index>()) {
        let flat = stream(&pieces, true);
        let cut = cut.index(flat.len());
        let came = &flat[..cut];
        let sink = Memory::default();
        let done = unflatten(&mut &*came, &sink).unwrap();
        prop_assert!(matches!(done.end, StreamEnd::Cut(None)));
        prop_assert_eq!(done.received, cut as u64);
        if cut >= 16 {
            prop_assert!(done.foreign.is_none());
        }
        match open_flat(came.to_vec()) {
            Ok(input) => {
                prop_assert!(input.is_cut());
                prop_assert!(input.remark().unwrap().contains("cut off"));
                let mut all = vec![0; input.len() as usize];
                input.read_at(0, &mut all).unwrap();
                prop_assert!(all == sink.file(done.len));
            }
            Err(_) => prop_assert_eq!(done.len, 0),
        }
    }

    #[test]
    fn random_records_are_errors_or_pieces(records in prop::collection::vec(any::<(i64, i64)>(), 1..5), tail: [u8; 32]) {
        let pieces: Vec<_> = records.into_iter().map(|(offset, size)| (offset, size, tail.to_vec())).collect();
        let flat = stream(&pieces, true);
        let _ = open_flat(flat.clone());
        let _ = unflatten(&mut &*flat, &Memory::default());
    }
}

#[test]
fn a_record_that_lies_is_named_and_costs_nothing() {
    let good = piece(0, b"good");
    for (offset, size, what) in [
        (-2, 5, "offset of a piece at offset 0x1014 is -2, expected"),
        (i64::MIN, 5, "offset of a piece at offset 0x1014 is -9223372036854775808"),
        (1 << 62, 5, "offset of a piece at offset 0x1014"),
        (0, -1, "size of a piece at offset 0x101c is -1, expected"),
        (8, 1 << 62, "size of a piece at offset 0x101c"),
        (-1, 0, "offset of a piece at offset 0x1014 is -1"),
    ] {
        let flat = stream(&[good.clone(), (offset, size, b"rest".to_vec())], true);
        let error = open_flat(flat.clone()).err().unwrap().to_string();
        assert!(error.contains(what), "{error}");
        let sink = Memory::default();
        let done = unflatten(&mut &*flat, &sink).unwrap();
        let StreamEnd::Damaged(text) = done.end else { panic!("{:?}", done.end) };
        assert!(text.replace(" of the stream", "").contains(what), "{text}");
        assert_eq!(sink.file(done.len), b"good", "what came before stays");
    }
    // A size that could be, of which nothing follows, is a cut.
    let input = open_flat(stream(&[good, (4, 1 << 40, b"rest".to_vec())], false)).unwrap();
    assert_eq!((input.len(), input.is_cut()), (8, true));
}

#[test]
fn what_is_not_flattened_is_handed_back() {
    for bytes in [&b"KDUMP   and so on"[..], b"", b"makedumpfile"] {
        let done = unflatten(&mut &*bytes, &Memory::default()).unwrap();
        assert_eq!(done.foreign.as_deref(), Some(bytes));
        assert_eq!(done.len, 0);
    }
    let mut other = stream(&[piece(0, b"x")], true);
    other[23] = 2;
    let done = unflatten(&mut &*other, &Memory::default()).unwrap();
    let StreamEnd::Damaged(text) = done.end else { panic!("{:?}", done.end) };
    assert_eq!(text, "type of the flattened header is 2, expected 1");
    assert!(open_flat(other).err().unwrap().to_string().contains("type at offset 0x10 is 2, expected 1"));
}

#[test]
fn a_stream_without_pieces_is_no_dump() {
    let error = open_flat(stream(&[], true)).err().unwrap().to_string();
    assert!(error.contains("at least one"), "{error}");
    let nested = stream(&[piece(0, &stream(&[piece(0, b"x")], true))], true);
    let error = open_bytes(vec![nested]).err().unwrap().to_string();
    assert!(error.contains("a flattened file inside a flattened file"), "{error}");
}

#[test]
fn bytes_behind_the_end_are_ignored_and_said() {
    let mut flat = stream(&[piece(0, b"dump")], true);
    flat.extend(b"noise");
    let input = open_flat(flat).unwrap();
    assert!(!input.is_cut());
    assert!(input.remark().unwrap().starts_with("5 bytes after the end record"));
}

#[test]
fn a_million_pieces_of_one_byte_open_in_seconds() {
    let pieces: Vec<_> = (0..1i64 << 20).map(|i| piece(i ^ 0x55, &[i as u8])).collect();
    let flat = stream(&pieces, true);
    let started = std::time::Instant::now();
    let input = open_flat(flat).unwrap();
    assert_eq!(input.len(), 1 << 20);
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

/// 80 KB that stand for 256 GiB made 150 MB of a hole, in which the header said that its notes were.
#[test]
fn a_hole_of_a_flattened_file_justifies_no_memory() {
    let input = open_flat(stream(&[piece(0, &[1; 100]), piece(1 << 40, &[2; 100])], true)).unwrap();
    assert_eq!(input.len(), (1 << 40) + 100);
    assert!(input.stored() < 5000, "{}", input.stored());
    assert_eq!(open_flat(stream(&[piece(0, &[1; 100])], true)).unwrap().stored(), 100);
}
