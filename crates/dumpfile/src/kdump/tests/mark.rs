//! Files of which only the beginning arrived.

use super::*;
use crate::kdump::layout::{Header, Layout, STATUS_INCOMPLETE};
use crate::kdump::{Marked, mark_incomplete};
use std::fs::File;

const PAGES: u64 = 50;

/// A file in `dir`, its bytes, and where its descriptors start.
fn sample(dir: &Path, name: &str) -> (std::path::PathBuf, Vec<u8>, Layout) {
    let contents: Vec<_> = (0..PAGES).map(|pfn| (pfn, Content::Text(pfn as u8))).collect();
    let input = dump(machine(name), PageSize::K4, &contents);
    let path = dir.join("vmcore");
    write_to(&path, &input, &without(&input, &[]), Some(Method::Zlib), 1);
    let bytes = std::fs::read(&path).unwrap();
    (path, bytes, Layout::of(input.machine))
}

fn mark(path: &Path) -> Result<Marked, crate::Error> {
    mark_incomplete(&File::options().read(true).write(true).open(path).unwrap(), path)
}

#[test]
fn descriptors_that_point_past_the_end_are_cleared_and_the_rest_stays_readable() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["x86_64", "ppc64", "i686", "armv7b"] {
        let (path, bytes, layout) = sample(dir.path(), name);
        let descriptors = 4 * 4096;
        let offset = |page: usize| layout.order.u64(&bytes[descriptors + page * 24..]) as usize;
        std::fs::write(&path, &bytes[..offset(30) + 5]).unwrap();
        let marked = mark(&path).unwrap();
        assert_eq!(marked, Marked { pages: PAGES, lost: 20, cleared: 20 }, "{name}");
        let now = std::fs::read(&path).unwrap();
        assert_eq!(Header::decode(&now, layout).status & STATUS_INCOMPLETE, STATUS_INCOMPLETE);
        assert!(now[descriptors + 30 * 24..descriptors + 50 * 24].iter().all(|b| *b == 0));
        assert_eq!(now[descriptors..descriptors + 30 * 24], bytes[descriptors..descriptors + 30 * 24]);
        let dump = open(&path).unwrap();
        assert!(dump.source.incomplete);
        assert_eq!(page_of(&dump, 29), Content::Text(29).page(4096));
        assert_eq!(page_of(&dump, 30).0, PageState::Lost);
        assert_eq!(mark(&path).unwrap(), Marked { cleared: 0, ..marked }, "once more");
        assert_eq!(std::fs::read(&path).unwrap(), now);
    }
}

#[test]
fn a_file_that_ends_inside_its_descriptors_gets_the_room_for_all() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, _) = sample(dir.path(), "x86_64");
    std::fs::write(&path, &bytes[..4 * 4096 + 10 * 24 + 7]).unwrap();
    assert_eq!(mark(&path).unwrap(), Marked { pages: PAGES, lost: PAGES, cleared: 10 });
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 4 * 4096 + PAGES * 24);
    assert_eq!(page_of(&open(&path).unwrap(), 0).0, PageState::Lost);
}

#[test]
fn without_whole_bitmaps_nothing_is_usable_and_the_file_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, _) = sample(dir.path(), "x86_64");
    for (len, what) in
        [(100, "cut off: 100 of the 464 bytes"), (3 * 4096, "that its headers and bitmaps take")]
    {
        std::fs::write(&path, &bytes[..len]).unwrap();
        let error = mark(&path).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), &bytes[..len]);
    }
}

#[test]
fn a_whole_file_that_the_system_lost_a_part_of_is_marked_and_nothing_else_in_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["x86_64", "ppc64", "i686", "armv7b"] {
        let (path, mut bytes, layout) = sample(dir.path(), name);
        assert!(!open(&path).unwrap().source.incomplete);
        crate::incomplete::mark(&File::options().read(true).write(true).open(&path).unwrap(), &path);
        assert!(open(&path).unwrap().source.incomplete, "{name}");
        let status = Header::decode(&bytes, layout).status | STATUS_INCOMPLETE;
        let at = layout.status_offset();
        bytes[at..at + 4].copy_from_slice(&layout.order.put_u32(status));
        assert!(std::fs::read(&path).unwrap() == bytes, "{name}");
    }
}

#[test]
fn a_whole_stream_that_the_system_lost_a_part_of_loses_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, _) = sample(dir.path(), "x86_64");
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    use crate::output::Sink;
    let sink = crate::flattened::FlattenedSink::new(file.try_clone().unwrap(), &path).unwrap();
    sink.write_at(0, &bytes).unwrap();
    sink.finish().unwrap();
    assert!(!crate::open(&path).unwrap().source.incomplete);
    crate::incomplete::mark(&file, &path);
    assert!(crate::open(&path).unwrap().source.incomplete);
}
