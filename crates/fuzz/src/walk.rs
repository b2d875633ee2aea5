//! What is done with a dump that could be opened: everything once, a little of each.

use dumpfile::elf::Image;
use dumpfile::output::Sink;
use dumpfile::{Error, Facts, Progress};
use std::path::Path;
use vmcore::{Dump, DumpLevel, PageState, Pfn, Selection};

/// Pages that are read at each place.
const SOME: usize = 16;
/// Dumps of at most this many frames are written again.
const FEW: u64 = 2048;

/// A sink that takes all bytes and keeps none.
struct Nowhere;

impl Sink for Nowhere {
    fn path(&self) -> &Path {
        Path::new("nowhere")
    }

    fn write_at(&self, _offset: u64, _bytes: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Reads notes, memory map and pages of a dump, makes a selection, and writes it again if it is small.
pub(crate) fn walk(dump: &Dump) {
    let (memory, size) = (&*dump.memory, dump.page_size());
    let frames = memory.map().frames();
    let notes: usize = dump.notes.iter().map(|note| note.desc.len()).sum();
    std::hint::black_box((notes, dump.cpus(), memory.map().partial_frames(), frames.total()));
    if let Some(info) = &dump.vmcoreinfo {
        std::hint::black_box((info.page_size(), info.crash_time(), info.number("phys_base")));
    }
    let mut pages = vec![0; SOME * size.len()];
    let mut states = [PageState::Absent; SOME];
    // The first ranges, the last, and what surrounds them.
    let ends = frames.iter().take(4).chain(frames.iter().rev().take(2));
    for at in ends.flat_map(|r| [r.start.0.saturating_sub(3), r.end.0.saturating_sub(5)]) {
        let _ = memory.read_run(Pfn(at), &mut pages, &mut states);
        let _ = memory.read(vmcore::PhysAddr(size.addr(Pfn(at)).0 | 0x123), &mut pages[..5000]);
        std::hint::black_box(memory.lost_run(Pfn(at), u64::MAX));
    }
    let Ok(selection) = Selection::everything(memory, DumpLevel::default(), None) else { return };
    image(dump, &selection);
    if frames.total() <= FEW {
        let facts = Facts::default();
        let options = dumpfile::kdump::Options::default();
        let _ = dumpfile::kdump::write(dump, &selection, &facts, &options, &Nowhere, &Progress::default());
        let _ = dumpfile::elf::write(dump, &selection, &facts, &Nowhere, &Progress::default());
    }
    let _ = memory.check();
    std::hint::black_box(memory.damage());
}

/// Lays out a core of the dump and reads where its parts meet, as whoever mounts it does.
fn image(dump: &Dump, selection: &Selection) {
    let Ok(image) = Image::new(dump, selection, &Facts::default(), Path::new("image")) else { return };
    let (pages_at, len) = (image.pages_at(), image.len());
    let mut bytes = [0; 4096];
    for at in [0, 1, pages_at / 2, pages_at.saturating_sub(4096)] {
        let some = (pages_at - at).min(4096) as usize;
        let _ = image.read_head(at, &mut bytes[..some]);
    }
    for at in [pages_at, pages_at + (len - pages_at) / 2, len.saturating_sub(1), len, u64::MAX] {
        if let Some(range) = image.memory_at(at) {
            let _ = dump.memory.read(range.start, &mut bytes[..range.len().min(4096) as usize]);
        }
    }
    std::hint::black_box(image.memory().map(|range| range.len()).max());
}
