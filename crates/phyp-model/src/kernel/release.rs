//! Giving memory back: `/sys/kernel/release_region` of 2008, with its bugs, and which pages fadump's `release_mem` frees.
//!
//! `store_release_region`, `release_memory_range` and `track_freed_range` of `arch/powerpc/platforms/pseries/phyp_dump.c`
//! (2.6.26 to 3.3); `fadump_release_memory` of `arch/powerpc/kernel/fadump.c`. The write itself is
//! [`Run::write_release_mem`].

use std::collections::BTreeSet;

use crate::error::Result;
use crate::extent::{Extent, intersect, merged, subtract};
use crate::hypervisor::{Command, OK};
use crate::machine::Mode;
use crate::scenario::{FREED, Run};

/// Which kernel handles the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// As shipped: one page too many, windows that slide, an underflow.
    Shipped,
    /// What it should have been: whole pages inside the range, nothing else, each page once.
    Fixed,
}

/// How a write to a sysfs file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// All bytes were taken, whatever became of them.
    Accepted,
    /// `EINVAL`.
    Invalid,
    /// `EPERM`.
    NotPermitted,
    /// The file does not exist.
    NoFile,
    /// `EEXIST`.
    Exists,
    /// `EIO`.
    Failed,
    /// The kernel ran off its memory map, or freed pages that belong to somebody.
    Oops,
}

/// The 2008 kernel's side of progressive release.
#[derive(Clone, Debug)]
pub struct ReleaseRegion {
    handler: Handler,
    page: u64,
    /// `init_reserve_start` and `init_reserve_size`.
    reserve: Extent,
    /// `reserved_scratch_addr` and `reserved_scratch_size`.
    scratch: Extent,
    ram_end: u64,
    freed: BTreeSet<u64>,
    /// Each write with the frames it freed.
    log: Vec<(String, Vec<u64>)>,
    reserved_sum: u64,
    scratch_sum: u64,
    /// Whether the sums came out equal and the kernel registered again.
    pub registered_again: bool,
    /// What the firmware answered to the "invalidate" that is really an unregister.
    pub invalidate_status: Option<i32>,
}

impl ReleaseRegion {
    /// The handler of a run's second kernel; memory below `boot_top` belongs to that kernel.
    pub fn new(run: &Run, handler: Handler) -> Self {
        let ram_end = run.options.ram_end();
        let scratch: u64 = run.layout.cpu.length
            + run.layout.hpte.length
            + run.layout.boot.iter().map(|(region, _)| region.length).sum::<u64>();
        Self {
            handler,
            page: run.options.page_size,
            reserve: Extent::between(run.options.boot_top, ram_end),
            scratch: Extent::new(run.layout.cpu.start, scratch),
            ram_end,
            freed: BTreeSet::new(),
            log: Vec::new(),
            reserved_sum: 0,
            scratch_sum: 0,
            registered_again: false,
            invalidate_status: None,
        }
    }

    /// Frames that were released so far, in ascending order.
    pub fn freed(&self) -> impl Iterator<Item = u64> + '_ {
        self.freed.iter().copied()
    }

    /// Whether a frame was released.
    pub fn is_free(&self, frame: u64) -> bool {
        self.freed.contains(&frame)
    }

    /// How many frames were released.
    pub fn free_frames(&self) -> u64 {
        self.freed.len() as u64
    }

    /// Each write's text and the frames it freed, in order.
    pub fn log(&self) -> &[(String, Vec<u64>)] {
        &self.log
    }

    /// Handles a write. Freed pages are poisoned at once, so that a late read shows.
    ///
    /// # Errors
    ///
    /// The run's memory cannot be written.
    pub fn write(&mut self, run: &mut Run, text: &str) -> Result<Written> {
        let Some((start, length)) = scan(text) else { return Ok(Written::Invalid) };
        let frames = match self.handler {
            Handler::Shipped => {
                self.track(run, start, length);
                let Some(frames) = self.shipped(start, length) else { return Ok(Written::Oops) };
                frames
            }
            Handler::Fixed => {
                let Some(frames) = self.fixed(start, length) else { return Ok(Written::Invalid) };
                frames
            }
        };
        let mut fresh = Vec::new();
        for frame in frames {
            // Only a page that is still reserved is freed: a second release changes nothing.
            let reserved = self.reserve.contains(frame * self.page) && self.freed.insert(frame);
            if reserved {
                fresh.push(frame);
            }
        }
        // Run by run: whole pieces of memory then cost nothing.
        for frames in fresh.chunk_by(|a, b| a + 1 == *b) {
            let freed = Extent::new(frames[0] * self.page, frames.len() as u64 * self.page);
            for extent in intersect(&run.ram_now, &[freed]) {
                run.memory.fill(extent, FREED)?;
            }
        }
        self.log.push((text.to_owned(), fresh));
        Ok(Written::Accepted)
    }

    /// The frames the shipped loop visits; `None` where it runs off the memory map.
    fn shipped(&self, start: u64, mut length: u64) -> Option<std::ops::RangeInclusive<u64>> {
        // Raised, but the length is not reduced: the window slides up.
        let start = start.max(self.reserve.start);
        let end = self.reserve.end();
        // The sum may wrap, and then nothing is clamped.
        if start.wrapping_add(length) > end {
            length = end.wrapping_sub(start);
        }
        let first = start / self.page;
        // `<=`: one page too many.
        let last = first.wrapping_add(length / self.page);
        // The memory map ends with the last section of memory; a frame past the end of RAM by one is still in it.
        (last <= self.ram_end / self.page).then_some(first..=last)
    }

    /// Whole pages inside the range and inside the reserve.
    fn fixed(&self, start: u64, length: u64) -> Option<std::ops::RangeInclusive<u64>> {
        let end = start.checked_add(length)?;
        if start < self.reserve.start || end > self.reserve.end() {
            return None;
        }
        let (first, behind) = (start.div_ceil(self.page), end / self.page);
        if first >= behind {
            return None;
        }
        Some(first..=behind - 1)
    }

    /// `track_freed_range`: raw lengths are summed, both bounds inclusive.
    fn track(&mut self, run: &mut Run, start: u64, length: u64) {
        if start < self.reserve.start {
            return;
        }
        if start <= self.reserve.end() {
            self.reserved_sum = self.reserved_sum.wrapping_add(length);
        }
        if (self.scratch.start..=self.scratch.end()).contains(&start) {
            self.scratch_sum = self.scratch_sum.wrapping_add(length);
        }
        if self.reserved_sum == self.reserve.length && self.scratch_sum == self.scratch.length {
            // Command 2 is unregister, which must fail while a dump is active; then it registers the scratch
            // area it has just given away.
            let status = run.hypervisor.configure(&run.options, Command::Unregister, 0, &[], 0);
            self.invalidate_status = Some(status);
            let structure = run.layout.structure().bytes();
            let length = structure.len() as u64;
            let status =
                run.hypervisor.configure(&run.options, Command::Register, 0x1000, &structure, length);
            self.registered_again = status == OK;
        }
    }
}

/// `sscanf(buf, "%lx %lx")`: two hexadecimal numbers, `0x` optional, trailing text ignored.
///
/// Digits that do not fit 64 bits wrap, as the kernel's `simple_strtoull` lets them.
pub fn scan(text: &str) -> Option<(u64, u64)> {
    let mut rest = text;
    let mut number = || {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
        let prefixed = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X"));
        let digits = match prefixed {
            Some(after) if after.starts_with(|c: char| c.is_ascii_hexdigit()) => after,
            _ => rest,
        };
        let length = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
        if length == 0 {
            return None;
        }
        let (number, after) = digits.split_at(length);
        rest = after;
        let value = number.chars().filter_map(|c| c.to_digit(16));
        Some(value.fold(0u64, |value, digit| value.wrapping_mul(16).wrapping_add(u64::from(digit))))
    };
    let first = number()?;
    Some((first, number()?))
}

/// What a write of 1 to `release_mem` frees on this machine, or a kernel that refuses the dump: whole pages, sorted, as
/// they become the allocator's one by one (`fadump_release_memory`, `fadump_release_reserved_area`).
///
/// From the end of boot memory to the end of memory, less the area reserved for the dump and the device tree's
/// `reserved-ranges`. Both ends of what lies between two of these are rounded *down* to a page: the page in which a spared
/// range ends is freed with it. RTAS, the initial RAM disk, the flattened device tree and the parameter area are nowhere
/// looked at: where they lie in there, they are freed ([`clashes`]).
pub fn frees(run: &Run) -> Vec<Extent> {
    let Some(facts) = run.options.mode.facts() else { return Vec::new() };
    let page = run.options.page_size;
    let mut spared = vec![run.layout.reserved];
    spared.extend(&run.options.reserved_ranges);
    if facts.spares_firmware {
        spared.extend(furniture(run).into_iter().map(|(_, extent)| whole_pages(extent, page)));
    }
    let ends = run.ram_now.iter().map(|extent| extent.end()).max().unwrap_or(0);
    let first = if facts.frees_the_areas_last_page { |address, page| address / page } else { u64::div_ceil };
    let between = subtract(&[Extent::between(run.options.boot_top, ends)], &merged(spared));
    // A range of memory counts from its first whole page to its last (`for_each_mem_pfn_range`).
    let ram = run
        .ram_now
        .iter()
        .map(|ram| Extent::between(ram.start.next_multiple_of(page), ram.end() / page * page));
    let ram: Vec<Extent> = ram.collect();
    let frames =
        between.iter().map(|gap| Extent::between(first(gap.start, page) * page, gap.end() / page * page));
    intersect(&merged(frames.collect()), &ram)
}

/// What of this boot a release would free under the running kernel, by name: `RTAS`, `initrd`, `device tree`,
/// `parameter area`, and `crash-info header` where the page of the next registration's header goes.
///
/// With RTAS the kernel dies at its next call of the firmware after somebody wrote into the freed page
/// (`rtas_event_scan`, once a second or so). The device tree's properties are read from there for ever. The initial RAM disk was
/// freed before, when it had been unpacked: its pages are freed twice. The other two kill nothing now: they spoil the
/// next dump.
pub fn clashes(run: &Run) -> Vec<(&'static str, Extent)> {
    let frees = frees(run);
    let header = run.layout.crash_info.map(|header| ("crash-info header", header));
    furniture(run)
        .into_iter()
        .chain(header)
        .filter(|(_, extent)| !intersect(&frees, &[*extent]).is_empty())
        .collect()
}

/// What this boot has in memory that no release may free.
fn furniture(run: &Run) -> Vec<(&'static str, Extent)> {
    let options = &run.options;
    let mut out = Vec::new();
    if options.mode != Mode::Opal {
        out.push(("RTAS", options.rtas_extent()));
    }
    out.push(("initrd", options.initrd_extent()));
    out.push(("device tree", options.device_tree_extent()));
    out.extend(run.layout.parameter.map(|area| ("parameter area", area)));
    out
}

/// The pages in which `extent` lies, whole.
fn whole_pages(extent: Extent, page: u64) -> Extent {
    Extent::between(extent.start / page * page, extent.end().next_multiple_of(page))
}
