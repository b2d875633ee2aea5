//! Sets of files with a part of the pages each, as `makedumpfile --split` writes them.

use super::*;
use crate::kdump::layout::{Layout, SubHeader};
use crate::open_bytes;
use proptest::prelude::*;

/// The whole dump, and its parts between the cuts: descriptors from the first of the own pages on, room for all.
fn parts(name: &str, contents: &[(u64, Content)], out: &[u64], cuts: &[u64]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let input = dump(machine(name), PageSize::K4, contents);
    let layout = Layout::of(input.machine);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmcore");
    write_to(&path, &input, &without(&input, out), Some(Method::Zlib), 1);
    let whole = std::fs::read(&path).unwrap();
    let end = contents.last().map_or(0, |c| c.0 + 1);
    let descriptors = 2 * 4096 + 2 * end.div_ceil(8 * 4096) as usize * 4096;
    let kept: Vec<u64> = contents.iter().map(|c| c.0).filter(|pfn| !out.contains(pfn)).collect();
    let edges: Vec<u64> = [0].into_iter().chain(cuts.iter().copied()).chain([end]).collect();
    let part = |range: &[u64]| {
        let mut bytes = whole.clone();
        let mut sub = SubHeader::decode(&bytes[4096..], layout, 6);
        (sub.split, sub.start_pfn, sub.end_pfn) = (1, range[0], range[1]);
        (sub.start_pfn_64, sub.end_pfn_64) = (range[0], range[1]);
        let sub = sub.encode(layout);
        bytes[4096..4096 + sub.len()].copy_from_slice(&sub);
        let before = kept.iter().filter(|pfn| **pfn < range[0]).count();
        let mine = kept.iter().filter(|pfn| (range[0]..range[1]).contains(pfn)).count();
        let table = descriptors..descriptors + kept.len() * 24;
        let mine = whole[table.clone()][before * 24..(before + mine) * 24].to_vec();
        bytes[table.clone()].fill(0);
        bytes[table.start..table.start + mine.len()].copy_from_slice(&mine);
        bytes
    };
    (whole.clone(), edges.windows(2).map(part).collect())
}

fn contents() -> Vec<(u64, Content)> {
    (0..400)
        .filter(|pfn| !(100..180).contains(pfn))
        .map(|pfn| match pfn % 5 {
            0 => (pfn, Content::Zeros),
            1 => (pfn, Content::Noise(pfn as u8)),
            _ => (pfn, Content::Text(pfn as u8)),
        })
        .collect()
}

/// The states and bytes of all pages, read in one run.
fn all(dump: &Dump) -> (Vec<PageState>, Vec<u8>) {
    let mut states = vec![PageState::Absent; 420];
    let mut bytes = vec![0; 420 * 4096];
    dump.memory.read_run(Pfn(0), &mut bytes, &mut states).unwrap();
    (states, bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn parts_in_any_order_are_the_whole(
        mut cuts in prop::collection::btree_set(0u64..=400, 0..5),
        order in any::<prop::sample::Index>(),
        which in 0..3usize,
    ) {
        let name = ["x86_64", "ppc64", "i686"][which];
        // An empty part, as makedumpfile makes them.
        cuts.insert(400);
        let cuts: Vec<u64> = cuts.into_iter().collect();
        let (whole, mut parts) = parts(name, &contents(), &[3, 77, 399], &cuts);
        let n = parts.len();
        parts.rotate_left(order.index(n));
        let whole = open_bytes(vec![whole]).unwrap();
        let joined = open_bytes(parts).unwrap();
        prop_assert!(!joined.source.incomplete, "{:?}", joined.source.remarks);
        prop_assert!(all(&joined) == all(&whole));
        for pfn in 0..410 {
            prop_assert_eq!(page_of(&joined, pfn), page_of(&whole, pfn));
            prop_assert_eq!(joined.memory.lost_run(Pfn(pfn), 1000), 0);
        }
        prop_assert_eq!(joined.source.dump_level, whole.source.dump_level);
        prop_assert_eq!(joined.source.utsname, whole.source.utsname);
        prop_assert_eq!(joined.notes, whole.notes);
    }
}

#[test]
fn what_a_missing_part_held_is_lost_and_said_by_frames() {
    let (whole, parts) = parts("x86_64", &contents(), &[200], &[64, 192, 320]);
    let (whole_states, whole_bytes) = all(&open_bytes(vec![whole]).unwrap());
    for missing in 0..4 {
        let range = [0, 64, 192, 320, 400][missing..missing + 2].to_vec();
        let mut some = parts.clone();
        some.remove(missing);
        let dump = open_bytes(some).unwrap();
        assert!(dump.source.incomplete);
        let said = format!("frames {:#x} to {:#x} are in no part given", range[0], range[1]);
        assert!(dump.source.remarks.iter().any(|r| r.starts_with(&said)), "{:?}", dump.source.remarks);
        let (states, bytes) = all(&dump);
        for pfn in 0..420 {
            let inside = (range[0]..range[1]).contains(&(pfn as u64));
            if inside && whole_states[pfn].is_known() {
                assert_eq!(states[pfn], PageState::Lost, "{pfn}");
            } else {
                assert_eq!(states[pfn], whole_states[pfn], "{pfn}");
                assert!(bytes[pfn * 4096..][..4096] == whole_bytes[pfn * 4096..][..4096]);
            }
            let run = dump.memory.lost_run(Pfn(pfn as u64), 1000);
            let lost = states[pfn..].iter().take_while(|s| **s == PageState::Lost).count() as u64;
            assert_eq!(run, if inside { lost } else { 0 }, "{pfn}");
        }
    }
}

#[test]
fn one_part_alone_has_its_own_pages() {
    let (_, parts) = parts("ppc64le", &contents(), &[], &[192]);
    let dump = open_bytes(vec![parts[1].clone()]).unwrap();
    assert!(dump.source.incomplete);
    assert!(
        dump.source.remarks.iter().any(|r| r.contains("a part of a split set, with frames 0xc0 to 0x190"))
    );
    assert_eq!(page_of(&dump, 191).0, PageState::Lost);
    assert_eq!(page_of(&dump, 192), Content::Text(192).page(4096));
    assert_eq!(dump.memory.lost_run(Pfn(0), 1000), 100);
}

#[test]
fn files_that_do_not_belong_together_are_refused_by_name() {
    let (whole, parts) = parts("x86_64", &contents(), &[], &[64, 192]);
    let fails =
        |files: &[&[u8]]| open_bytes(files.iter().map(|f| f.to_vec()).collect()).err().unwrap().to_string();
    let text = fails(&[&parts[0], &whole]);
    assert!(text.contains("file 1 in memory: no part of a split set"), "{text}");
    let text = fails(&[&parts[0], &parts[1], &parts[0]]);
    assert!(text.contains("of which file 0 in memory has 0x0 to 0x40 already"), "{text}");
    let mut other = parts[1].clone();
    other[408] ^= 1;
    let text = fails(&[&parts[0], &other]);
    assert!(text.contains("file 1 in memory: not of one set with file 0 in memory: tv_sec is"), "{text}");
    let mut other = parts[1].clone();
    other[2 * 4096 + 4096 + 30] ^= 1;
    let text = fails(&[&parts[0], &other]);
    assert!(text.contains("its bitmaps differ near frame 0xf0"), "{text}");
    let text = fails(&[&parts[0], b"\x7fELF"]);
    assert!(text.contains("an ELF core is not part of a set"), "{text}");
    assert!(fails(&[]).contains("no file"));
}
