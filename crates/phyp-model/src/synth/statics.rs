//! Where the synthetic kernel's variables lie, which one part writes and another points at.

use crate::synth::LINEAR;

/// Physical address of the top page table: 64 KiB.
pub(super) const SWAPPER_PG_DIR: u64 = 0x30_0000;
/// The VMCOREINFO note.
pub(super) const VMCOREINFO: u64 = 0x40_0000;
/// `init_uts_ns`, whose name is at its beginning.
pub(super) const UTS: u64 = 0x41_0000;
/// Small variables.
pub(super) const MISC: u64 = 0x42_0000;
/// `printk_rb_static`.
pub(super) const RING: u64 = 0x43_0000;
pub(super) const DESCRIPTORS: u64 = 0x44_0000;
pub(super) const INFOS: u64 = 0x45_0000;
pub(super) const TEXT: u64 = 0x46_0000;
/// The one node's `pglist_data`.
pub(super) const PGDAT: u64 = 0x48_0000;
/// `node_data`, 256 pointers.
pub(super) const NODE_DATA: u64 = 0x49_0000;

/// Where the variables lie that other parts write to; physical addresses unless said otherwise.
pub(crate) struct StaticData {
    pub(crate) vmemmap_list: u64,
    /// The section root table's virtual address, and how many roots it has.
    pub(crate) mem_section: (u64, u64),
}

impl StaticData {
    pub(crate) fn new(mem_section: (u64, u64)) -> Self {
        Self { vmemmap_list: MISC + 0x100, mem_section }
    }

    /// Virtual address of a free list's head.
    pub(crate) fn free_list(&self, order: usize, kind: usize) -> u64 {
        LINEAR + PGDAT + 256 + order as u64 * 104 + kind as u64 * 16
    }
}
