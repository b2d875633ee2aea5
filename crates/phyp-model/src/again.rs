//! A machine that runs on after its second boot: programs take its free memory, and it crashes once more.
//!
//! crash, save, release, register again, a workload, crash, third boot: what the third boot finds depends on who wrote into
//! the page of the crash-info header in between, and whether RTAS was still there to be called.

use crate::crashinfo;
use crate::error::{ModelError, Result};
use crate::extent::{Extent, intersect, merged, subtract};
use crate::faults::Fault;
use crate::machine::Mode;
use crate::memory::Tag;
use crate::scenario::{Crash, Dirt, Event, RTAS, Ram, Run};

/// What programs leave on the pages they had.
pub const SOMEBODY: Tag = *b"SOMEBODY";

impl Run {
    /// Memory that the kernel has to give to programs: the upper half of what it booted in, and whatever it freed since. In a
    /// boot without a dump, all memory above boot memory but RTAS, the parameter area and what of the dump area is not
    /// [lent](Self::lent).
    pub fn free_memory(&self) -> Vec<Extent> {
        let top = self.options.boot_top;
        let boot = Extent::between(top / 2 / self.options.page_size * self.options.page_size, top);
        let above = if self.fadump.had_dump || self.options.mode == Mode::Phyp2008 {
            self.fadump.freed.clone()
        } else {
            let own: Vec<Extent> = self.layout.parameter.into_iter().chain(self.options.rtas).collect();
            let kept = merged([vec![self.layout.reserved], own].concat());
            [self.lent(), subtract(&[Extent::between(top, u64::MAX)], &kept)].concat()
        };
        // In boot memory the kernel knows what is not its own to give.
        let furniture = [self.options.rtas_extent(), self.options.device_tree_extent()].to_vec();
        let boot = subtract(&[boot], &merged(furniture));
        intersect(&merged([boot, above].concat()), &self.ram_now)
    }

    /// What of the dump area programs may use in a boot without a dump (`fadump_cma_init`): as much as boot memory, from its
    /// start, in whatever lies there. RTAS inside it is lent, too: it is reserved, but not in a way that the area's pages show
    /// (`init_cma_reserved_pageblock` clears the mark of every page).
    pub fn lent(&self) -> Vec<Extent> {
        if self.options.nocma
            || !self.fadump.enabled
            || self.fadump.had_dump
            || self.options.mode == Mode::Phyp2008
        {
            return Vec::new();
        }
        let size = self.layout.boot.iter().map(|(region, _)| region.length).sum();
        vec![Extent::new(self.layout.reserved.start, size)]
    }

    /// Programs write every byte of [`free_memory`](Self::free_memory): whatever was given away and is still needed is
    /// overwritten.
    ///
    /// # Errors
    ///
    /// The memory cannot be written.
    pub fn dirty_free_memory(&mut self) -> Result<()> {
        self.free_memory().into_iter().try_for_each(|extent| self.memory.fill(extent, SOMEBODY))
    }

    /// Whether RTAS is still there. Without it the kernel oopses at its next call, within seconds (`rtas_event_scan`), and
    /// hangs, since ending the partition is a call too.
    ///
    /// # Errors
    ///
    /// The memory cannot be read.
    pub fn rtas_is_there(&self) -> Result<bool> {
        let Some(place) = self.options.rtas else { return Ok(true) };
        Ok(self.memory.bytes(place.start, RTAS.len() as u64)? == RTAS)
    }

    /// The machine crashes as it is now, and boots again; the kernel that boots gives away at once what it refuses.
    ///
    /// A dump is made only if the kernel is registered. Of the crash-info header a crash writes the crashed CPU, its registers
    /// and the mask of CPUs (`crash_fadump`); all else stands there since the registration, or does not.
    ///
    /// # Errors
    ///
    /// [`ModelError::Hangs`] where RTAS is gone: such a machine makes no dump and does not boot. Otherwise the memory cannot be
    /// accessed.
    pub fn crash_again(self, faults: &[Fault], dirt: Dirt) -> Result<Self> {
        if !self.rtas_is_there()? {
            return Err(ModelError::Hangs { what: "RTAS was freed and overwritten" });
        }
        let mut machine = self.machine()?;
        // Another crash: other registers, in the same kernel, whose VMCOREINFO is where it was.
        machine.reseed(self.options.seed.wrapping_add(1));
        if let Some(note) = self.truth.vmcoreinfo {
            machine.memory.clear(note)?;
            let text = machine.plain_vmcoreinfo(true);
            machine.write_vmcoreinfo(note.start, &text)?;
        }
        if self.fadump.registered {
            crashinfo::crash(&mut machine, &self.layout)?;
        }
        let event = if self.fadump.registered { Event::CRASH } else { Event::CrashUnregistered };
        let ram =
            Ram { at_registration: self.ram_now.clone(), now: self.ram_now.clone(), removed: Vec::new() };
        let crash = Crash {
            options: machine.options.clone(),
            ram,
            layout: self.layout,
            hypervisor: self.hypervisor,
            event,
            faults,
            dirt,
            ended: false,
        };
        let mut run = crash.happens(machine)?;
        if run.rejected.is_some() && !run.released() {
            run.refuse()?;
        }
        Ok(run)
    }
}
