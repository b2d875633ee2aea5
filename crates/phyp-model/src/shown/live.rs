//! A machine after its second boot that stays alive: memory is released while a tool reads it.
//!
//! What [`root`](crate::root) writes is a photograph. Here the kernel answers: a write to `release_region` frees and at
//! once poisons pages, with the bugs of [`ReleaseRegion`], a write to `release_mem` takes `/proc/vmcore` away and frees what
//! lies above boot memory, the files of fadump show what is so now, and whoever reads a page that was freed is remembered.

use crate::error::Result;
use crate::extent::{Extent, intersect, subtract};
use crate::machine::Mode;
use crate::release::{Handler, ReleaseRegion, Written};
use crate::root;
use crate::scenario::Run;
use crate::shown::surroundings;

/// Files that [`Live::show`] shows or [`Live::write`] writes, by their paths below the root.
pub const FILES: [&str; 7] = [
    "proc/meminfo",
    "dev/kmsg",
    "sys/kernel/release_region",
    "sys/kernel/fadump/registered",
    "sys/kernel/fadump/bootargs_append",
    "sys/kernel/debug/powerpc/fadump_region",
    WRITE_ONLY,
];

/// The one of [`FILES`] that can only be written.
pub const WRITE_ONLY: &str = "sys/kernel/fadump/release_mem";

/// The machine.
#[derive(Clone, Debug)]
pub struct Live {
    run: Run,
    release: ReleaseRegion,
    late: Vec<Extent>,
    reads: u64,
}

impl Live {
    /// The machine of `run`, whose second kernel has this `handler`.
    pub fn new(run: Run, handler: Handler) -> Self {
        let release = ReleaseRegion::new(&run, handler);
        Self { run, release, late: Vec::new(), reads: 0 }
    }

    /// The run, as it is now.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The kernel's side of progressive release.
    pub fn release(&self) -> &ReleaseRegion {
        &self.release
    }

    /// A read of physical memory, as through `/dev/mem`; what of it was freed before is remembered.
    ///
    /// # Errors
    ///
    /// The range reaches past the memory.
    pub fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<()> {
        self.reads += 1;
        let page = self.run.options.page_size;
        let end = address + bytes.len() as u64;
        for frame in address / page..end.div_ceil(page) {
            if self.release.is_free(frame) || self.run.is_freed(Extent::new(frame * page, page)) {
                self.late.push(Extent::new(frame * page, page));
            }
        }
        self.run.memory.read(address, bytes)
    }

    /// Memory that was read after it had been freed.
    pub fn late_reads(&self) -> &[Extent] {
        &self.late
    }

    /// How many reads there were.
    pub fn reads(&self) -> u64 {
        self.reads
    }

    /// A write to `release_region`.
    ///
    /// # Errors
    ///
    /// The memory cannot be written.
    pub fn write_release_region(&mut self, text: &str) -> Result<Written> {
        if self.run.options.mode != Mode::Phyp2008 {
            return Ok(Written::NoFile);
        }
        self.release.write(&mut self.run, text)
    }

    /// A write to fadump's `release_mem`.
    ///
    /// # Errors
    ///
    /// The memory cannot be written.
    pub fn write_release_mem(&mut self, text: &str) -> Result<Written> {
        self.run.write_release_mem(text)
    }

    /// What a file of the kernel shows now, by its path below the root; `None` where it is not, and for [`WRITE_ONLY`].
    ///
    /// # Errors
    ///
    /// Memory cannot be read.
    pub fn show(&self, path: &str) -> Result<Option<String>> {
        let fadump = self.run.options.mode != Mode::Phyp2008;
        Ok(match path {
            "proc/meminfo" => Some(surroundings::meminfo(&self.run, self.memory_total())),
            "dev/kmsg" => Some(surroundings::kmsg(&self.run)),
            "sys/kernel/release_region" if !fadump => {
                Some(root::release_region(&self.run, root::ReleaseText::Shipped))
            }
            "sys/kernel/fadump/registered" if fadump => {
                Some(format!("{}\n", i32::from(self.run.fadump.registered)))
            }
            "sys/kernel/fadump/bootargs_append" => {
                self.run.bootargs_append()?.map(|appended| format!("{appended}\n"))
            }
            "sys/kernel/debug/powerpc/fadump_region" if fadump => {
                Some(root::fadump_region(&self.run, root::RegionText::C)?)
            }
            _ => None,
        })
    }

    /// A write to a file of the kernel, by its path below the root.
    ///
    /// # Errors
    ///
    /// The memory cannot be written.
    pub fn write(&mut self, path: &str, text: &str) -> Result<Written> {
        match path {
            "sys/kernel/release_region" => self.write_release_region(text),
            "sys/kernel/fadump/release_mem" => self.write_release_mem(text),
            "sys/kernel/fadump/registered" => self.run.write_registered(text),
            "sys/kernel/fadump/bootargs_append" => self.run.write_bootargs_append(text),
            _ => Ok(Written::NotPermitted),
        }
    }

    /// Bytes of memory that the second kernel uses (`totalram_pages`): what it booted with and what was freed since.
    pub fn memory_total(&self) -> u64 {
        self.run.memory_total() + self.release.free_frames() * self.run.options.page_size
    }

    /// Memory above boot memory that has not been released.
    pub fn kept_back(&self) -> Vec<Extent> {
        let page = self.run.options.page_size;
        let above = Extent::between(self.run.options.boot_top, u64::MAX);
        let freed = self.release.freed().map(|frame| Extent::new(frame * page, page));
        let freed: Vec<Extent> = freed.chain(self.run.fadump.freed.iter().copied()).collect();
        subtract(&intersect(&self.run.ram_now, &[above]), &crate::extent::merged(freed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Dirt, Event, FREED};
    use crate::{Machine, Options, scenario};

    #[test]
    fn a_late_read_is_remembered_and_finds_poison() {
        let machine = Machine::new(Options::small_phyp()).unwrap();
        let run = scenario::run(machine, Event::CRASH, &[], Dirt::Whole).unwrap();
        let mut live = Live::new(run, Handler::Shipped);
        let mut bytes = [0; 8];
        live.read(0x100_1000, &mut bytes).unwrap();
        assert!(live.late_reads().is_empty());
        let before = live.memory_total();
        assert_eq!(live.write_release_region("0x1000000 0x1000").unwrap(), Written::Accepted);
        assert_eq!(live.memory_total() - before, 0x2000, "one page more than it was told");
        live.read(0x100_1ffc, &mut bytes).unwrap();
        assert_eq!(live.late_reads(), [Extent::new(0x100_1000, 0x1000)]);
        live.read(0x100_1000, &mut bytes).unwrap();
        assert_eq!(bytes, FREED);
        assert_eq!(live.kept_back(), [Extent::between(0x100_2000, 48 << 20)]);
    }

    #[test]
    fn the_files_of_fadump_show_what_is_so_now() {
        let machine = Machine::new(Options::small_fadump()).unwrap();
        let run = scenario::run(machine, Event::CRASH, &[], Dirt::Whole).unwrap();
        let mut live = Live::new(run, Handler::Shipped);
        let show = |live: &Live, path: &str| live.show(path).unwrap().unwrap();
        let (region, registered) = ("sys/kernel/debug/powerpc/fadump_region", "sys/kernel/fadump/registered");
        assert!(show(&live, region).contains("Memory above"));
        let before = live.memory_total();
        assert_eq!(live.write(registered, "1").unwrap(), Written::NotPermitted);
        assert_eq!(live.write(WRITE_ONLY, "1").unwrap(), Written::Accepted);
        assert_eq!(live.write(WRITE_ONLY, "0").unwrap(), Written::NotPermitted);
        assert!(!show(&live, region).contains("Memory above"));
        assert!(live.memory_total() > before);
        assert_eq!(show(&live, registered), "0\n");
        assert_eq!(live.write(registered, "1\n").unwrap(), Written::Accepted);
        assert_eq!(show(&live, registered), "1\n");
        assert!(show(&live, "dev/kmsg").ends_with("Registration is successful!\n"));
        let mut bytes = [0; 8];
        live.read(40 << 20, &mut bytes).unwrap();
        assert_eq!(live.late_reads(), [Extent::new(40 << 20, 0x1_0000)]);
        // What a release leaves is the area for the next dump, up to the page in which it ends.
        assert_eq!(live.kept_back(), [Extent::between(16 << 20, (32 << 20) + 0x1_0000)]);
    }
}
