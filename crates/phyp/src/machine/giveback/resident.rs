//! Who lies in memory besides the kernel, and has to be spared.

use super::{Unknown, down, up};
use crate::system::System;
use std::fmt;
use vmcore::{PhysAddr, Range, RangeSet};

/// What lies in memory that the firmware or the boot loader filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resident {
    /// The firmware's runtime services, which the kernel calls every second or so. Freed and used by somebody else, they
    /// make the kernel jump into data.
    Rtas,
    /// The flattened device tree. The nodes of `/proc/device-tree` point into it, so every property that is read after
    /// it was freed is somebody else's data.
    FlatTree,
    /// The initial RAM disk. The kernel has freed it when it had unpacked it (`free_initrd_mem`), so a release frees
    /// it a second time, under whoever has it by then; with `retain_initrd`, under `/sys/firmware/initrd`.
    Initrd,
    /// Another entry of the memory reservation map, such as the TPM's log.
    Reservation,
}

impl fmt::Display for Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rtas => "RTAS",
            Self::FlatTree => "memory in which the device tree may lie",
            Self::Initrd => "the initial RAM disk",
            Self::Reservation => "reserved memory",
        })
    }
}

/// A resident whose memory a release would free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clash {
    /// Who lies there.
    pub resident: Resident,
    /// Where: all of it; for the device tree, the freed memory in which it may lie.
    pub range: Range<PhysAddr>,
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.resident, self.range)
    }
}

/// Where everybody lies.
#[derive(Clone, Debug)]
pub(super) struct Residents {
    pub(super) rtas: Range<PhysAddr>,
    initrd: Option<Range<PhysAddr>>,
    reservations: RangeSet<PhysAddr>,
}

impl Residents {
    /// Gathers them; all must be known.
    pub(super) fn of(system: &System) -> Result<Self, Unknown> {
        let boot = &system.boot;
        if boot.by_kexec {
            return Err(Unknown::new(
                "another kernel started this one (kexec), and where it put things is not known",
            ));
        }
        if boot.has_reserved_memory {
            return Err(Unknown::new("the device tree's node /reserved-memory is not understood here"));
        }
        let rtas =
            boot.rtas.ok_or_else(|| Unknown::new("where RTAS lies is not known (/rtas/linux,rtas-base)"))?;
        if !boot.has_chosen {
            return Err(Unknown::new("where the initial RAM disk lies is not known (/chosen)"));
        }
        let tree = boot.flat_tree.as_ref();
        let tree = tree.ok_or_else(|| {
            Unknown::new(
                "the memory reservation map is not known (/sys/firmware/fdt, which only root can read)",
            )
        })?;
        // The map has RTAS and the initial RAM disk once more, rounded to pages (prom_init.c, reserve_mem).
        let known = [Some(rtas), boot.initrd];
        let again = |reserved: &Range<PhysAddr>| {
            let rounds = |r: Range<PhysAddr>, page| {
                (down(r.start.0, page), up(r.end.0, page)) == (reserved.start.0, reserved.end.0)
            };
            known.iter().flatten().any(|&r| [0x1000, 0x1_0000].into_iter().any(|page| rounds(r, page)))
        };
        let reservations = tree.reservations.iter().copied().filter(|r| !again(r)).collect();
        Ok(Self { rtas, initrd: boot.initrd, reservations })
    }

    /// All whose place is known.
    pub(super) fn placed(&self) -> impl Iterator<Item = (Resident, Range<PhysAddr>)> + '_ {
        let initrd = self.initrd.map(|range| (Resident::Initrd, range));
        let others = self.reservations.iter().map(|range| (Resident::Reservation, range));
        [(Resident::Rtas, self.rtas)].into_iter().chain(initrd).chain(others)
    }

    /// Those that lie in `freed`, if only with one byte. Where RTAS does, the device tree, which is only surmised, is
    /// not mentioned.
    pub(super) fn clashes(&self, freed: &RangeSet<PhysAddr>) -> Vec<Clash> {
        let hit = |range: &Range<PhysAddr>| freed.within(*range).next().is_some();
        let placed = self.placed().filter(|(_, range)| hit(range));
        let mut out: Vec<Clash> = placed.map(|(resident, range)| Clash { resident, range }).collect();
        // Nothing says where the tree lies. The start code takes memory for it upwards, from the end of the kernel and
        // the initial RAM disk on, after it has taken RTAS's memory from the top of the same room downwards
        // (alloc_up in flatten_device_tree, alloc_down in prom_instantiate_rtas): it lies below RTAS.
        let below = freed.within(Range::new(PhysAddr(0), self.rtas.start)).next();
        if let Some(range) = below.filter(|_| !hit(&self.rtas)) {
            out.push(Clash { resident: Resident::FlatTree, range });
        }
        out
    }
}
