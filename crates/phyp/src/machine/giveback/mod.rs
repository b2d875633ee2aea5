//! Giving memory back, and registering again: what the kernel would free, and who needs it.
//!
//! After a dump was saved, a write of `1` to `release_mem` gives memory above boot memory to the kernel's allocator,
//! all but the dump area (which waits for the next registration) and the device tree's `reserved-ranges`. The kernel
//! asks nobody who else lies there. RTAS does, on many machines; the page that holds the crash-info header does, since
//! 6.10; so does the parameter area. This module works out beforehand, from files alone, what would be freed
//! ([`release`]), which of it the machine needs ([`Clash`]), whether a registration made afterwards can be trusted
//! ([`Hazard`]), and, in an ordinary boot, what the next crash will allow ([`forecast`]). [`overwritten`] says which
//! memory of the crashed system this boot's firmware has destroyed.
//!
//! What is not known is answered as if it were bad: [`Unknown`] means that memory is kept. The rules are those of Linux
//! 6.1, 6.12 and 7.2 (`arch/powerpc/kernel/fadump.c`, `prom.c`, `prom_init.c`); `docs/leavings.md` lists them.

mod advice;
mod area;
mod cmdline;
mod facts;
mod flat;
mod forecast;
mod freed;
mod hazard;
mod overwritten;
mod resident;

pub use advice::Advice;
pub use area::Area;
pub use facts::BootFacts;
pub use flat::FlatTree;
pub use forecast::{Forecast, NextCrash, forecast};
pub use hazard::{Hazard, still_reserved};
pub use overwritten::{Overwritten, overwritten};
pub use resident::{Clash, Resident};

use crate::kdms::KernelDump;
use crate::system::System;
use resident::Residents;
use std::fmt;
use vmcore::{PhysAddr, RangeSet};

/// Why nothing can be said; memory is kept then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unknown(String);

impl Unknown {
    fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}

/// What a release does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Where the kernel's areas lie.
    pub area: Area,
    /// What goes to the allocator: whole pages, rounded as the kernel rounds.
    pub freed: RangeSet<PhysAddr>,
    /// What of that the machine needs: memory is not to be released unless this is empty.
    pub clashes: Vec<Clash>,
    /// What of that the next registration needs: the machine lives on, and must not register unless this is empty or
    /// [`still_reserved`] proves each of them wrong after the release.
    pub hazards: Vec<Hazard>,
}

impl Release {
    fn new(area: Area, system: &System, residents: &Residents) -> Result<Self, Unknown> {
        let memory = memory(system)?;
        let freed = freed::freed(&area, memory, &system.reserved_ranges);
        let clashes = residents.clashes(&freed);
        let hazards = hazard::hazards(&area, &freed);
        Ok(Self { area, freed, clashes, hazards })
    }

    /// Reports whether the machine survives.
    pub fn is_safe(&self) -> bool {
        self.clashes.is_empty()
    }

    /// Reports whether a registration made afterwards can be trusted, as far as the rules say.
    pub fn allows_registration(&self) -> bool {
        self.hazards.is_empty()
    }

    /// Why memory is to be kept: `release would free RTAS (0x2fff0000..0x2fff083c)`; `None` when it may be released.
    pub fn objection(&self) -> Option<String> {
        (!self.is_safe()).then(|| format!("release would free {}", list(&self.clashes)))
    }

    /// Why a registration made after the release cannot be trusted; `None` when it can.
    pub fn registration_objection(&self) -> Option<String> {
        (!self.hazards.is_empty()).then(|| format!("release gives {} to the allocator", list(&self.hazards)))
    }
}

/// What a release does in this boot, where a dump waits, or did: the structure stays after a release.
///
/// # Errors
///
/// When something is not known without which the answer would be a guess.
pub fn release(system: &System) -> Result<Release, Unknown> {
    if system.opal {
        return Err(Unknown::new("what OPAL's firmware keeps in memory is not known here"));
    }
    let property = system.leavings.kernel_dump.as_deref();
    let property = property.ok_or_else(|| Unknown::new("no dump waits: there is no ibm,kernel-dump"))?;
    let dump = KernelDump::parse(property).map_err(Unknown::new)?;
    let residents = Residents::of(system)?;
    Release::new(Area::of_dump(system, &dump)?, system, &residents)
}

fn memory(system: &System) -> Result<&RangeSet<PhysAddr>, Unknown> {
    let memory = system.leavings.memory_map.as_ref().filter(|m| !m.is_empty());
    memory.ok_or_else(|| Unknown::new("the device tree does not say where memory is"))
}

fn list(items: &[impl fmt::Display]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

/// The highest multiple of `page`, a power of two, that is not above `address`.
fn down(address: u64, page: u64) -> u64 {
    address & !(page - 1)
}

/// The lowest multiple of `page`, a power of two, that is not below `address`; the last one there is at the end of the
/// address space.
fn up(address: u64, page: u64) -> u64 {
    down(address.saturating_add(page - 1), page)
}

#[cfg(test)]
mod tests;
