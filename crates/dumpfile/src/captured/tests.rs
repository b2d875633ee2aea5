use super::*;
use proptest::prelude::*;
use std::io::Write;
use std::path::Path;
use vmcore::{Machine, PageState, Pfn};

/// A record as LiME and AVML write it, by the layout of their sources.
fn record(magic: &[u8; 4], version: u32, start: u64, memory: &[u8], stored: &[u8]) -> Vec<u8> {
    let last = start + memory.len() as u64 - 1;
    let numbers = [&version.to_le_bytes()[..], &start.to_le_bytes(), &last.to_le_bytes(), &[0; 8]].concat();
    [&magic[..], &numbers, stored].concat()
}

fn lime(start: u64, memory: &[u8]) -> Vec<u8> {
    record(b"EMiL", 1, start, memory, memory)
}

fn avml(start: u64, memory: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(memory).unwrap();
    let mut stored = encoder.into_inner().unwrap();
    let length = stored.len() as u64;
    stored.extend(length.to_le_bytes());
    record(b"AVML", 2, start, memory, &stored)
}

fn opened(bytes: Vec<u8>) -> Result<Dump, Error> {
    let assume = Assume { machine: Machine::from_name("x86_64"), ..Assume::default() };
    open(Input::of_bytes(Path::new("image"), bytes), &assume)
}

fn page(dump: &Dump, pfn: u64) -> (PageState, Vec<u8>) {
    let mut page = vec![1; dump.page_size().len()];
    let state = dump.memory.read_page(Pfn(pfn), &mut page).unwrap();
    (state, page)
}

/// Bytes that compress a little, from `seed` on.
fn content(seed: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| ((i / 7).wrapping_mul(seed | 1) >> 3) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn memory_of_both_kinds_is_read_as_it_was_written_in_runs_of_any_size(
        ranges in prop::collection::vec((1u64..40, 1u64..70, any::<u64>()), 1..6),
        reads in prop::collection::vec((0u64..300, 1usize..60), 1..12),
        backwards in any::<bool>(),
    ) {
        let mut at = 0;
        let mut memory: Vec<(u64, Vec<u8>)> = Vec::new();
        for (gap, frames, seed) in ranges {
            at += gap;
            memory.push((at * 4096, content(seed, frames as usize * 4096)));
            at += frames;
        }
        if backwards {
            memory.reverse();
        }
        let byte = |addr: u64| {
            let inside = |(start, bytes): &&(u64, Vec<u8>)| (*start..*start + bytes.len() as u64).contains(&addr);
            memory.iter().find(inside).map(|(start, bytes)| bytes[(addr - start) as usize])
        };
        for write in [lime, avml] {
            let file: Vec<u8> = memory.iter().flat_map(|(start, bytes)| write(*start, bytes)).collect();
            let dump = opened(file).unwrap();
            prop_assert!(!dump.source.incomplete);
            prop_assert_eq!(dump.memory.map().bytes().total(), memory.iter().map(|(_, b)| b.len() as u64).sum::<u64>());
            for &(first, count) in &reads {
                let mut pages = vec![9; count * 4096];
                let mut states = vec![PageState::Lost; count];
                dump.memory.read_run(Pfn(first), &mut pages, &mut states).unwrap();
                for (i, &found) in pages.iter().enumerate() {
                    prop_assert_eq!(found, byte(first * 4096 + i as u64).unwrap_or(0));
                }
                for (pfn, state) in (first..).zip(states) {
                    let there = byte(pfn * 4096).is_some();
                    prop_assert_eq!(state, if there { PageState::Present } else { PageState::Absent });
                }
            }
        }
    }
}

#[test]
fn many_chunks_are_found_from_the_nearest_that_is_remembered() {
    let memory = content(77, (RUN_BYTES + 3 * 65536 + 4096) as usize);
    let dump = opened(avml(0x10_0000, &memory)).unwrap();
    for frame in [0, 15, 16, 4095, 4096, 4097, 4144] {
        let (state, bytes) = page(&dump, 256 + frame);
        assert_eq!(
            (state, &bytes[..]),
            (PageState::Present, &memory[frame as usize * 4096..][..4096]),
            "{frame}"
        );
    }
}

/// Bytes of a run: AVML's blocks are as large, those of its earlier versions larger.
const RUN_BYTES: u64 = 256 * 65536;

#[test]
fn frames_of_which_ranges_have_a_part_exist_and_larger_pages_are_put_together() {
    for write in [lime, avml] {
        let mut dump = opened([write(0x1000, &[5; 0x1800]), write(0x2800, &[6; 0x1000])].concat()).unwrap();
        let (state, bytes) = page(&dump, 2);
        assert_eq!((state, bytes[0x7ff], bytes[0x800]), (PageState::Present, 5, 6));
        let (state, bytes) = page(&dump, 3);
        assert_eq!((state, bytes[0x7ff], bytes[0x800]), (PageState::Present, 6, 0));
        dump.set_page_size(PageSize::K16);
        let (state, bytes) = page(&dump, 0);
        assert_eq!((state, bytes[0xfff], bytes[0x1000], bytes[0x3000]), (PageState::Present, 0, 5, 6));
    }
}

#[test]
fn a_file_that_is_cut_anywhere_lacks_the_rest_and_has_no_wrong_page() {
    let (first, second) = (content(3, 0x30000), content(5, 0x8000));
    for (write, unit) in [(lime as fn(u64, &[u8]) -> Vec<u8>, 0x1000), (avml, 0x10000)] {
        let whole = [write(0x10000, &first), write(0x100000, &second)].concat();
        for len in (33..whole.len()).step_by(997) {
            let dump = opened(whole[..len].to_vec()).unwrap();
            let at_border = len == write(0x10000, &first).len();
            assert_eq!(dump.source.incomplete, !at_border, "{len}");
            let mut lost = 0;
            for (start, memory) in [(0x10000u64, &first), (0x100000, &second)] {
                for offset in (0..memory.len()).step_by(4096) {
                    let (state, bytes) = page(&dump, (start + offset as u64) / 4096);
                    match state {
                        PageState::Present => assert_eq!(bytes, memory[offset..offset + 4096], "{len}"),
                        PageState::Lost => lost += 1,
                        // The second header did not come.
                        state => assert_eq!((state, start), (PageState::Absent, 0x100000)),
                    }
                }
            }
            assert!(lost > 0 || len + unit + 64 > write(0x10000, &first).len(), "{len}");
        }
    }
}

#[test]
fn a_damaged_chunk_is_lost_and_its_neighbours_are_not() {
    let memory = content(9, 0x40000);
    let mut file = avml(0, &memory);
    // In the second chunk, behind its checksum.
    let first = 32 + 10;
    let len = u32::from_le_bytes(file[first..first + 4].try_into().unwrap()) >> 8;
    file[first + 4 + len as usize + 4 + 20] ^= 4;
    let dump = opened(file).unwrap();
    let states: Vec<PageState> = (0..64).map(|pfn| page(&dump, pfn).0).collect();
    assert!(states[..16].iter().chain(&states[32..]).all(|state| *state == PageState::Present));
    assert!(states[16..32].iter().all(|state| *state == PageState::Lost));
    assert_eq!(dump.memory.damage().pages, 16);
}

#[test]
fn what_makes_no_sense_is_an_error_that_says_where() {
    let good = lime(0x1000, &[1; 0x1000]);
    let with = |at: usize, bytes: &[u8]| {
        let mut file = [good.clone(), avml(0x4000, &[2; 0x1000])].concat();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        opened(file).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(with(0, b"EMiL").contains("a record at offset 0x1020 is one of AVML"));
    assert!(with(4, &[2]).contains("a record's version at offset 0x4 is 2"));
    assert!(with(16, &[0; 8]).contains("a record's range"));
    assert!(with(16, &[0xff; 8]).contains("a record's range"));
    assert!(with(0x1020, b"Emil").contains("a record's magic at offset 0x1020"));
    let two = [avml(0x4000, &[2; 0x3000]), avml(0x5000, &[2; 0x1000])].concat();
    assert!(opened(two).err().unwrap().to_string().contains("an earlier one has, too"));
    let mut far = good.clone();
    far[21] = 0x40;
    assert!(opened(far).err().unwrap().to_string().contains("that the file does not have"));
    let nobody = open(Input::of_bytes(Path::new("image"), good), &Assume::default());
    assert!(nobody.err().unwrap().to_string().contains("--machine"));
}

#[test]
fn the_header_of_a_big_endian_machine_is_read() {
    let mut file = lime(0x1000, &[7; 0x1000]);
    for (at, len) in [(0, 4), (4, 4), (8, 8), (16, 8)] {
        file[at..at + len].reverse();
    }
    assert_eq!(page(&opened(file).unwrap(), 1), (PageState::Present, vec![7; 4096]));
}

/// Written by AVML 0.21's own `Image::write_blocks`, of three ranges: 0x1000 to 0x32800, one of zeros, which it leaves out, and
/// 0x200000 to 0x201000.
#[test]
fn a_file_of_avmls_own_writing_is_read() {
    let dump = opened(include_bytes!("samples/avml-0.21.avml").to_vec()).unwrap();
    assert!(!dump.source.incomplete);
    assert_eq!(
        (dump.source.format.as_str(), dump.source.compression),
        ("AVML memory image (snappy)", Some("snappy"))
    );
    let ranges: Vec<(u64, u64)> = dump.memory.map().bytes().iter().map(|r| (r.start.0, r.end.0)).collect();
    assert_eq!(ranges, [(0x1000, 0x32800), (0x200000, 0x201000)]);
    for (start, memory) in [(0x1000u64, content(11, 0x31800)), (0x200000, content(13, 0x1000))] {
        let mut read = vec![0; memory.len()];
        assert_eq!(dump.memory.read(PhysAddr(start), &mut read).unwrap(), PageState::Present);
        assert!(read == memory, "{start:#x}");
    }
}
