//! Where the kernel's own areas lie: of the dump that waits, or, in an ordinary boot, of the next one.

use super::{Unknown, cmdline, down, memory, up};
use crate::kdms::{KernelDump, Section, SectionKind};
use crate::system::System;
use vmcore::{PageSize, PhysAddr, Range, RangeSet};

const MIB: u64 = 1 << 20;
/// The least boot memory that the kernel accepts on RTAS (`RTAS_FADUMP_MIN_BOOT_MEM`).
pub(super) const MIN_BOOT: u64 = 320 * MIB;
/// The share of memory that `crashkernel=` is cut down to (`MAX_BOOT_MEM_RATIO`).
const MAX_SHARE: u64 = 4;

/// The kernel's areas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// The end of boot memory. While a dump waits, everything from here on is kept back, and a release begins here.
    pub boot_end: PhysAddr,
    /// The dump area, which a release leaves to the next registration. Since 6.10 it ends inside a page.
    pub kept: Range<PhysAddr>,
    /// Where the parameter area lies (since 6.10): what is appended to the next boot's command line. In an ordinary
    /// boot whose debugfs does not show it, where it may lie.
    pub parameters: Option<Range<PhysAddr>>,
    /// The page sizes that the running kernel may have: one, when it is known.
    pub pages: Vec<PageSize>,
}

impl Area {
    /// The areas of the dump that waits (`rtas_fadump_get_config`; the size is `get_fadump_area_size` of the running
    /// kernel, which it shows as `mem_reserved`).
    pub(super) fn of_dump(system: &System, dump: &KernelDump) -> Result<Self, Unknown> {
        let of = |kind| dump.sections.iter().filter(move |s| s.kind == kind);
        let boot = of(SectionKind::RealMode).next_back().ok_or_else(|| missing("boot memory"))?;
        let cpus = of(SectionKind::CpuState).next_back().ok_or_else(|| missing("the CPU state"))?;
        let (start, size) = (cpus.destination, reserved(system)?);
        let copied = of(SectionKind::RealMode).map(Section::target);
        let kept = Range::new(start, PhysAddr(start.0.saturating_add(size)));
        if let Some(outside) = copied.into_iter().find(|c| c.intersect(&kept) != *c) {
            return Err(Unknown::new(format!(
                "the copy of boot memory, {outside:?}, does not lie in the {size:#x} bytes from {start} on that \
                 mem_reserved says are kept"
            )));
        }
        Ok(Self {
            boot_end: boot.source_range().end,
            kept,
            parameters: dump.find(SectionKind::Os(0x100)).map(Section::target),
            pages: pages(system, dump),
        })
    }

    /// The areas of this ordinary boot, which are those of the next crash's. The kernel says how much it keeps
    /// (`mem_reserved`); how much of that is boot memory follows from the sizes that the firmware wants.
    pub(super) fn now(system: &System) -> Result<Self, Unknown> {
        let page =
            system.boot.page_size.ok_or_else(|| Unknown::new("the kernel's page size is not known"))?;
        let size = reserved(system)?;
        let rest = up(areas(system), page.bytes()) + 1;
        let boot = size.checked_sub(rest).map(|boot| down(boot, page.bytes()));
        let boot = boot.filter(|&boot| boot > 0);
        let boot = boot.ok_or_else(|| Unknown::new(format!("mem_reserved is only {size:#x}")))?;
        let mut area = Self::planned(system, boot, size, page)?;
        // A kernel that places the area by other rules says so.
        if let Some(start) = printed_start(system) {
            area.kept = Range::new(start, PhysAddr(start.0.saturating_add(size)));
        }
        Ok(area)
    }

    /// The areas that a kernel with so much boot memory would have; `None` when it would find no place for them or
    /// refuse.
    pub(super) fn with_boot_memory(system: &System, boot: u64) -> Option<Self> {
        let page = system.boot.page_size?;
        // The crash-info header is shorter than a page.
        let size = up(areas(system), page.bytes()).checked_add(boot)?.checked_add(1)?;
        Self::planned(system, boot, size, page).ok()
    }

    fn planned(system: &System, boot: u64, size: u64, page: PageSize) -> Result<Self, Unknown> {
        let memory = memory(system)?;
        let boot_end = boot_end(memory, boot, page.bytes());
        let start = locate(memory, &system.reserved_ranges, boot_end, size, page.bytes());
        let start = start.ok_or_else(|| Unknown::new(format!("there is no room for {size:#x} bytes")))?;
        Ok(Self {
            boot_end: PhysAddr(boot_end),
            kept: Range::new(PhysAddr(start), PhysAddr(start + size)),
            parameters: parameters(system, memory),
            pages: vec![page],
        })
    }
}

/// Where the dump area begins, as debugfs prints it: `CPU :[0x00000014000000-0x000000140009ff] ...`.
fn printed_start(system: &System) -> Option<PhysAddr> {
    let text = system.fadump.as_ref()?.region.as_deref()?;
    let line = text.lines().find_map(|l| l.trim_start().strip_prefix("CPU"))?;
    let start = line.split_once("[0x")?.1.split('-').next()?;
    u64::from_str_radix(start, 16).ok().map(PhysAddr)
}

fn missing(what: &str) -> Unknown {
    Unknown::new(format!("ibm,kernel-dump has no section for {what}"))
}

fn reserved(system: &System) -> Result<u64, Unknown> {
    let size = system.fadump.as_ref().and_then(|f| f.mem_reserved).filter(|&size| size > 0);
    size.ok_or_else(|| {
        Unknown::new("the kernel does not say how much it keeps (/sys/kernel/fadump/mem_reserved)")
    })
}

/// What the firmware wants for the CPU state and the page-table entries, in bytes.
fn areas(system: &System) -> u64 {
    system.sizes.iter().filter(|s| s.kind <= 2).fold(0, |sum, s| sum.saturating_add(s.size).min(1 << 40))
}

/// The page sizes with which the kernel would have put the copy of boot memory where it is: behind the areas before
/// it, at the start of a page (since 5.19).
fn pages(system: &System, dump: &KernelDump) -> Vec<PageSize> {
    if let Some(page) = system.boot.page_size {
        return vec![page];
    }
    let all = [PageSize::K4, PageSize::K64];
    let ends = dump.sections.iter().filter(|s| !s.kind.copies_memory()).map(|s| s.target().end.0);
    let (Some(end), Some(boot)) = (ends.max(), dump.find(SectionKind::RealMode)) else { return all.into() };
    let fits = |p: &PageSize| up(end, p.bytes()) == boot.destination.0;
    let fitting: Vec<PageSize> = all.into_iter().filter(fits).collect();
    if fitting.len() == 1 { fitting } else { all.into() }
}

/// Where boot memory of `size` bytes ends when memory has holes (`fadump_get_boot_mem_regions`): the kernel counts
/// the holes before the range in which it has enough, and each full range both off what it looks for and on to what
/// it has.
fn boot_end(memory: &RangeSet<PhysAddr>, size: u64, page: u64) -> u64 {
    let (mut wanted, mut found, mut holes, mut last) = (size, 0u64, 0u64, 0);
    for range in memory.iter() {
        holes += range.start.0 - last;
        if found.saturating_add(range.len()) >= wanted {
            break;
        }
        wanted = wanted.saturating_sub(range.len());
        found += range.len();
        last = range.end.0;
    }
    up(size.saturating_add(holes), page)
}

/// The lowest place of `size` bytes from `base` on that is memory and not the firmware's
/// (`fadump_locate_reserve_mem`). RTAS, the initial RAM disk and the device tree are reserved only later, so that the
/// place may cover them.
fn locate(
    memory: &RangeSet<PhysAddr>,
    firmware: &RangeSet<PhysAddr>,
    mut base: u64,
    size: u64,
    page: u64,
) -> Option<u64> {
    for range in memory.iter() {
        if range.start.0 > base {
            base = up(range.start.0, page);
        }
        while let Some(end) = base.checked_add(size).filter(|&end| end <= range.end.0) {
            let taken = firmware.within(Range::new(PhysAddr(base), PhysAddr(end))).last();
            let Some(taken) = taken.and_then(|part| firmware.find(part.start)) else {
                return Some(base);
            };
            // The last range of the address space has no page behind it.
            base = up(taken.end.0, page).max(taken.end.0);
        }
    }
    None
}

/// Where the parameter area lies, as debugfs prints it (`[0x2ffff800-0x2fffffff]: cmdline append`), or may lie
/// (`fadump_setup_param_area`): with radix anywhere in the upper half of memory; with hash in 6.12 between 672 and
/// 736 MiB, in 7.2 between 768 MiB and the end of boot memory, which a release does not reach.
fn parameters(system: &System, memory: &RangeSet<PhysAddr>) -> Option<Range<PhysAddr>> {
    let fadump = system.fadump.as_ref()?;
    let line = fadump.region.iter().flat_map(|t| t.lines()).find(|l| l.contains("cmdline append"));
    let printed = line.and_then(|line| {
        let (start, end) = line.trim_start().strip_prefix("[0x")?.split_once("-0x")?;
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let end = number(end.split(']').next()?)?.checked_add(1)?;
        Some(Range::new(PhysAddr(number(start)?), PhysAddr(end)))
    });
    if printed.is_some() || fadump.bootargs_append.is_none() {
        return printed;
    }
    let end = memory.end()?.0;
    Some(match system.boot.radix {
        Some(false) => Range::new(PhysAddr(672 * MIB), PhysAddr(736 * MIB)),
        _ => Range::new(PhysAddr(end / 2), PhysAddr(end)),
    })
}

/// How much boot memory the kernel takes on a machine of `ram` bytes (`fadump_calculate_reserve_size`): what
/// `crashkernel=` says, at most a quarter of memory, otherwise a twentieth in steps of 256 MiB, at least 320 MiB.
/// Fewer than [`MIN_BOOT`] bytes, which only `crashkernel=` can bring about, switch fadump off.
pub(super) fn boot_memory(command_line: &str, ram: u64) -> u64 {
    match cmdline::crashkernel(command_line, ram) {
        Some(size) => size.min(largest(ram)),
        None => down(ram / 20, 256 * MIB).max(MIN_BOOT),
    }
}

/// The most that `crashkernel=` can ask for.
pub(super) fn largest(ram: u64) -> u64 {
    ram / MAX_SHARE
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn set(ranges: &[(u64, u64)]) -> RangeSet<PhysAddr> {
        ranges.iter().map(|&(a, b)| Range::new(PhysAddr(a), PhysAddr(b))).collect()
    }

    #[test]
    fn boot_memory_follows_the_kernels_rules() {
        for (ram, asked, expected) in [
            (512 * MIB, "", 320),
            (GIB, "", 320),
            (GIB, "crashkernel=512M", 256),
            (1280 * MIB, "crashkernel=1G", 320),
            (2304 * MIB, "crashkernel=832M", 576),
            (4 * GIB, "crashkernel=1G", 1024),
            (4 * GIB, "crashkernel=128M", 128),
            (9 * GIB, "", 320),
            (10 * GIB, "", 512),
            (15 * GIB, "", 768),
            (64 * GIB, "", 3072),
            (64 * GIB, "crashkernel=2G-4G:384M,4G-16G:512M,16G-:1G", 1024),
        ] {
            assert_eq!(boot_memory(asked, ram) / MIB, expected, "{ram:#x} {asked}");
        }
    }

    #[test]
    fn holes_in_boot_memory_move_its_end() {
        assert_eq!(boot_end(&set(&[(0, GIB)]), MIN_BOOT, 0x10000), MIN_BOOT);
        // The kernel takes 256 MiB off what it looks for and has 256 MiB: the second range is enough.
        let holes = set(&[(0, 256 * MIB), (512 * MIB, 2 * GIB)]);
        assert_eq!(boot_end(&holes, MIN_BOOT, 0x10000), (320 + 256) * MIB);
        assert_eq!(boot_end(&set(&[]), 0x123, 0x1000), 0x1000);
    }

    #[test]
    fn the_dump_area_avoids_the_firmwares_memory_and_holes() {
        let memory = set(&[(0, 0x3000_0000), (0x4000_0000, 0x8000_0000)]);
        let at = |firmware: &[(u64, u64)], size| locate(&memory, &set(firmware), 0x1400_0000, size, 0x10000);
        assert_eq!(at(&[], 0x1401_01b0), Some(0x1400_0000));
        assert_eq!(at(&[(0x1500_0000, 0x1500_1000)], 0x1401_01b0), Some(0x1501_0000));
        assert_eq!(at(&[(0x1500_0000, 0x2000_0000)], 0x1401_01b0), Some(0x4000_0000));
        assert_eq!(at(&[], 0x4000_0000), Some(0x4000_0000));
        assert_eq!(at(&[], 0x4000_0001), None);
        assert_eq!(at(&[], u64::MAX), None);
        assert_eq!(at(&[(0, u64::MAX)], 1), None);
    }
}
