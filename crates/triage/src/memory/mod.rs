//! Who had the memory.

mod counters;
mod processes;
mod slabs;
mod sum;

use crate::{Report, Subject};
pub(crate) use counters::nodes;

/// A counter of the kernel, by its name there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The enumerator: `NR_FREE_PAGES`.
    pub name: String,
    /// Its value, in the kernel's unit. The kernel's differences for each CPU are not in it, as in `/proc/meminfo`.
    pub value: i64,
}

/// A slab cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlabCache {
    /// Its name.
    pub name: String,
    /// Bytes of an object.
    pub object_size: u64,
    /// Objects that its slabs have room for.
    pub objects: u64,
    /// Objects in use. Those that CPUs keep for later are free, unlike in `/proc/slabinfo`.
    pub active: u64,
    /// Slabs.
    pub slabs: u64,
    /// Bytes that its slabs take.
    pub bytes: u64,
}

/// A process and its memory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Of files.
    pub file: u64,
    /// Its own.
    pub anon: u64,
    /// Shared.
    pub shmem: u64,
    /// Swapped out.
    pub swap: u64,
    /// Page tables.
    pub page_tables: u64,
}

impl Process {
    /// What it holds of memory (RSS), in bytes.
    pub fn rss(&self) -> u64 {
        self.file.saturating_add(self.anon).saturating_add(self.shmem)
    }
}

/// Huge pages of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HugePages {
    /// Bytes of one.
    pub size: u64,
    /// How many there are.
    pub total: u64,
    /// How many of them are free.
    pub free: u64,
}

/// A zone of a node, in pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// The node.
    pub node: u32,
    /// `DMA`, `Normal`, …
    pub name: String,
    /// The first frame.
    pub start: u64,
    /// Frames from first to last.
    pub spanned: u64,
    /// Frames that exist.
    pub present: u64,
    /// Frames that the page allocator has.
    pub managed: u64,
    /// Free ones.
    pub free: u64,
}

/// A part of memory and whose it is, for the sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Whose, in plain words: `page cache`, `anonymous memory`.
    pub name: &'static str,
    /// Bytes.
    pub bytes: u64,
}

/// Who had the memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes of a page.
    pub page_size: u64,
    /// Bytes that the kernel managed.
    pub total: u64,
    /// The lines of `/proc/meminfo` as far as they can be told, in its order and words, in bytes.
    pub meminfo: Vec<(&'static str, u64)>,
    /// `vm_zone_stat`, in its order.
    pub zone_counters: Vec<Counter>,
    /// `vm_node_stat`, in its order.
    pub node_counters: Vec<Counter>,
    /// The zones.
    pub zones: Vec<Zone>,
    /// All slab caches, the largest first.
    pub slabs: Vec<SlabCache>,
    /// The processes with memory of their own, the largest first.
    pub processes: Vec<Process>,
    /// Huge pages of each size.
    pub huge: Vec<HugePages>,
    /// Who owns how much: nothing is counted twice.
    pub owners: Vec<Owner>,
    /// Bytes of [`Memory::total`] that no owner explains. The kernel's own accounting leaves such a rest.
    pub unexplained: u64,
}

/// Finds who had the memory. Tasks are told what their process holds.
pub(crate) fn find(subject: &Subject<'_>, report: &mut Report) {
    if subject.types.is_none() {
        return;
    }
    let managed = report.machine.managed;
    let zone_counters = counters::all(subject, "vm_zone_stat", "NR_FREE_PAGES", "NR_VM_ZONE_STAT_ITEMS");
    let node_counters = counters::all(subject, "vm_node_stat", "NR_INACTIVE_ANON", "NR_VM_NODE_STAT_ITEMS");
    let (Some(total), Some(zone_counters)) = (managed, zone_counters) else {
        report.lacks("memory", "the kernel's counters (vm_zone_stat, _totalram_pages) cannot be read");
        return;
    };
    let counters::Zones { zones, on_lists, low } = counters::zones(subject);
    let (processes, inexact) = processes::find(subject, &mut report.tasks);
    if inexact > 0 {
        let why = "what CPUs had counted and not added is too much to be read for all, and was added for the largest";
        report.lacks(format!("the last pages of {inexact} processes"), why);
    }
    let mut memory = Memory {
        page_size: subject.page_size(),
        total,
        zone_counters,
        node_counters: node_counters.unwrap_or_default(),
        zones,
        huge: counters::huge(subject),
        processes,
        ..Memory::default()
    };
    match slabs::find(subject) {
        Some((slabs, whole)) => {
            memory.slabs = slabs;
            if !whole {
                report.lacks("some slab caches", "their list cannot be followed to its end");
            }
        }
        None => {
            report.lacks("slab caches", "the kernel's layout of them is not known: it has none of SLUB's");
        }
    }
    sum::fill(subject, &mut memory, on_lists, low);
    report.memory = Some(memory);
}
