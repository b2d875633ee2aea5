//! ELF notes, and the text of VMCOREINFO in them.

use super::{Seed, Target};
use crate::{corpus, sample};
use std::hint::black_box;
use vmcore::{ByteOrder, Notes, PageSize, VmcoreInfo};

pub(super) const TARGET: Target = Target { name: "vmcoreinfo", seeds, run };

fn seeds() -> Vec<Seed> {
    let samples = [("x86_64", PageSize::K4), ("ppc64", PageSize::K64), ("i686", PageSize::K4)];
    let notes = samples.map(|(machine, size)| sample::dump(machine, size).notes.raw().to_vec());
    let real = corpus::beginnings().into_iter().filter_map(|bytes| dumpfile::open_bytes(vec![bytes]).ok());
    let real: Vec<Vec<u8>> = real.map(|dump| dump.notes.raw().to_vec()).collect();
    notes.into_iter().chain(real).map(seed).collect()
}

/// Notes with the header of the first and that of VMCOREINFO as the places to change, and VMCOREINFO itself.
fn seed(bytes: Vec<u8>) -> Seed {
    let at = bytes.windows(10).position(|w| w == b"VMCOREINFO").unwrap_or(12);
    let start = at.saturating_sub(12);
    Seed { hot: vec![0..20, start..at + 12, at..bytes.len(), at..bytes.len()], bytes }
}

fn run(bytes: Vec<u8>) -> bool {
    let mut taken = false;
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let Ok(notes) = Notes::parse(&bytes, order) else { continue };
        black_box((notes.prstatus().count(), notes.raw().len()));
        if let Some(place) = notes.desc_position("VMCOREINFO") {
            assert_eq!(notes.find("VMCOREINFO").expect("it has a place").desc, &notes.raw()[place]);
        }
        for note in notes.iter() {
            taken |= ask(&VmcoreInfo::parse(&note.desc));
        }
    }
    ask(&VmcoreInfo::parse(&bytes));
    taken
}

/// Asks everything of a text, and says whether it can be one.
fn ask(info: &VmcoreInfo) -> bool {
    let symbols: Vec<_> = info.symbols().collect();
    for (name, addr) in symbols.iter().take(8) {
        black_box((info.symbol(name), addr));
    }
    for name in
        ["page", "page.flags", "mem_section", "free_area.free_list", "phys_base", "pgtable_l5_enabled"]
    {
        black_box((info.offset(name), info.size(name), info.length(name), info.number(name)));
    }
    black_box((info.text().len(), info.len(), info.is_empty(), info.crash_time(), info.get("BUILD-ID")));
    info.release().is_some() && info.page_size().is_some()
}
