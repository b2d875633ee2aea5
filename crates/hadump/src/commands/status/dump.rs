//! The dump that waits: how many pages it has, and of which classes.

use super::report::{Pages, Waiting};
use crate::cli::InputArgs;
use crate::input::{self, Prefer};
use anyhow::Result;
use phyp::system::System;
use std::path::Path;
use vmcore::{
    Dump, DumpLevel, MemoryMap, PageState, Pfn, PhysAddr, PhysicalMemory, RangeSet, ReadError, Reason,
};

/// Opens and counts the dump below `root`.
pub(super) fn describe(root: &Path, system: &System) -> Result<Waiting> {
    let input = InputArgs::path(root);
    let dump = input::open(&input, Prefer::Vmcore)?;
    let boot = Some(system.boot_memory()).filter(|ranges| !ranges.is_empty());
    let memory = count(&input, &dump)?;
    let (release, cpus) =
        (dump.vmcoreinfo.as_ref().and_then(|v| v.release().map(str::to_owned)), dump.cpus());
    let (format, whole, page_size) =
        (dump.source.format.clone(), !dump.source.incomplete, dump.page_size().bytes());
    let boot_memory = match boot {
        Some(boot) => Some(count(&input, &Dump { memory: Box::new(Part::new(dump.memory, &boot)), ..dump })?),
        None => None,
    };
    Ok(Waiting { format, release, page_size, cpus, whole, memory, boot_memory })
}

/// Counts pages by class; the kernel of the dump has to be understood for that.
fn count(args: &InputArgs, dump: &Dump) -> Result<Pages> {
    let kernel = input::kernel(dump, args)?;
    let selection = kernel.select(DumpLevel::ALL, None)?.selection;
    let get = |reason| selection.reasons().get(reason);
    Ok(Pages {
        total: dump.memory.map().frames().total(),
        kernel: selection.kept(),
        cache: get(Reason::Cache) + get(Reason::CachePrivate),
        user: get(Reason::User),
        free: get(Reason::Free) + get(Reason::Offline) + get(Reason::HwPoison),
        kernel_bytes: selection.kept() * dump.page_size().bytes(),
    })
}

/// A part of a memory: the map is smaller, but everything can still be read, as the kernel's structures lie anywhere.
struct Part {
    memory: Box<dyn PhysicalMemory>,
    map: MemoryMap,
}

impl Part {
    fn new(memory: Box<dyn PhysicalMemory>, part: &RangeSet<PhysAddr>) -> Self {
        let map = MemoryMap::new(memory.map().page_size(), memory.map().bytes().intersect(part));
        Self { memory, map }
    }
}

impl PhysicalMemory for Part {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        self.memory.read_page(pfn, page)
    }

    fn read(&self, addr: PhysAddr, bytes: &mut [u8]) -> Result<PageState, ReadError> {
        self.memory.read(addr, bytes)
    }
}
