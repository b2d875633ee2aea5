//! What shows in files without checksums that a bit of them changed.

use super::*;
use crate::kdump::layout::{Abi, Header, Layout, PAGE_DESC_LEN, PageDesc};
use vmcore::ByteOrder;

/// A file without checksums, its contents, and where its second bitmap and its descriptors begin.
fn sample(zeros: bool) -> (Vec<u8>, Vec<(u64, Content)>, usize, usize) {
    let kind = |n: u64| if zeros && n.is_multiple_of(5) { Content::Zeros } else { Content::Text(n as u8) };
    let contents: Vec<_> = (0..40).map(|n| (n * 3, kind(n))).collect();
    let dump = dump(machine("x86_64"), PageSize::K4, &contents);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    write_to(&path, &dump, &without(&dump, &[]), Some(Method::Zlib), 1);
    let bytes = std::fs::read(&path).unwrap();
    let header = Header::decode(&bytes, Layout { order: ByteOrder::Little, abi: Abi::Bits64 });
    let exist = (1 + header.sub_hdr_size as usize) * 4096;
    let descriptors = exist + header.bitmap_blocks as usize * 4096;
    (bytes, contents, exist + (descriptors - exist) / 2, descriptors)
}

fn opened(bytes: &[u8]) -> Dump {
    crate::open::open_bytes(vec![bytes.to_vec()]).unwrap()
}

#[test]
fn a_bit_more_or_less_in_the_second_bitmap_shows_where_pages_begin() {
    for zeros in [true, false] {
        let (bytes, contents, kept, _) = sample(zeros);
        assert!(opened(&bytes).source.problems.is_empty());
        for pfn in 0..=contents.last().unwrap().0 {
            let mut bytes = bytes.clone();
            bytes[kept + pfn as usize / 8] ^= 1 << (pfn % 8);
            let dump = opened(&bytes);
            assert!(dump.source.incomplete, "{pfn}");
            let [problem] = &dump.source.problems[..] else { panic!("{:?}", dump.source.problems) };
            assert!(problem.starts_with("its second bitmap is damaged"), "{problem}");
        }
    }
}

#[test]
fn an_empty_second_bitmap_with_pages_behind_it_is_told() {
    let (mut bytes, _, kept, descriptors) = sample(true);
    bytes[kept..descriptors].fill(0);
    let dump = opened(&bytes);
    assert!(dump.source.incomplete && dump.source.problems[0].contains("is empty"), "{:?}", dump.source);
}

#[test]
fn pages_that_share_their_bytes_are_plausible_and_those_that_overlap_are_not() {
    let (mut bytes, _, _, descriptors) = sample(true);
    let at = |n: usize| descriptors + n * PAGE_DESC_LEN;
    // Two equal pages may have one place.
    let first: [u8; PAGE_DESC_LEN] = bytes[at(1)..at(2)].try_into().unwrap();
    bytes[at(7)..at(8)].copy_from_slice(&first);
    let check = opened(&bytes).memory.check().unwrap();
    assert!(check.problems.is_empty() && !check.proved, "{check:?}");
    let desc = PageDesc::decode(&first, ByteOrder::Little);
    let moved = PageDesc { offset: desc.offset + 4, ..desc }.encode(ByteOrder::Little);
    bytes[at(7)..at(8)].copy_from_slice(&moved);
    let problems = opened(&bytes).memory.check().unwrap().problems;
    assert!(problems[0].starts_with("pages overlap"), "{problems:?}");
}
