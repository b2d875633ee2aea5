//! How far things reach: what the second boot has used, and what was reserved for the dump.

use super::{MIB, Work};
use crate::assemble::vmcoreinfo;
use crate::crashinfo::{CrashInfo, Generation};
use crate::kdms::SectionKind;
use crate::region::ReleaseRegion;
use vmcore::{ByteOrder, PageSize, PhysAddr, Range};

/// What phyp-dump has the firmware copy, whatever it reserves (`PHYP_DUMP_RMR_END`).
const PHYP_COPY: u64 = 256 * MIB;
/// The smallest boot memory of fadump on RTAS (`RTAS_FADUMP_MIN_BOOT_MEM`).
const FADUMP_MIN: u64 = 320 * MIB;

impl Work<'_> {
    /// Where the crash-info header of a fadump kernel lies: after the copies of all boot memory.
    pub(super) fn crash_info_at(&self) -> Option<PhysAddr> {
        if let Some(opal) = &self.opal {
            return Some(opal.kernel.crash_info);
        }
        let first = self.plan.boot_sections().next()?.destination;
        let total = self.plan.boot_sections().try_fold(0u64, |sum, s| sum.checked_add(s.requested))?;
        first.0.checked_add(total).map(PhysAddr)
    }

    /// Whether a kernel without a crash-info header registered this dump: phyp-dump asks for exactly the first 256 MiB.
    pub(super) fn looks_like_phyp(&self) -> bool {
        let mut boot = self.plan.boot_sections();
        let first = boot.next().is_some_and(|s| s.source.0 == 0 && s.requested == PHYP_COPY);
        self.opal.is_none() && boot.next().is_none() && (first || self.phyp_dump || self.region.is_some())
    }

    /// Works out how far the second boot has used memory.
    pub(super) fn set_boot_end(&mut self, fadump: bool) {
        let copied = self.plan.boot_sections().map(|s| s.source_range().end).max();
        let memory_end = self.plan.memory.end().map_or(0, |e| e.0);
        // PHYP_DUMP_RMR_START: five percent in units of 256 MiB (`lmb_end_of_DRAM() / 20`).
        let five_percent = (memory_end / 20) & !(PHYP_COPY - 1);
        let end = match copied {
            Some(end) if fadump || !self.looks_like_phyp() => {
                self.reserved_above.map_or(end, |above| above.max(end))
            }
            Some(end) => {
                let in_place = self.region.iter().flat_map(ReleaseRegion::in_place).find(|p| p.second != 0);
                // Only a copy of 256 MiB is one that the shipped kernel asked for, with its rule for the rest.
                let rule = if end.0 == PHYP_COPY { five_percent.max(PHYP_COPY) } else { end.0 };
                let start = in_place.map_or(PhysAddr(rule), |p| p.address);
                end.max(start)
            }
            None => {
                let end = PhysAddr(five_percent.max(FADUMP_MIN));
                self.findings.damage(format!(
                    "no section holds boot memory; the second boot is taken to have used all below {end}"
                ));
                end
            }
        };
        let opal = self.opal.as_ref().and_then(|o| o.boot_memory_top).map_or(end, |top| top.max(end));
        self.plan.boot_end = self.options.boot_memory_end.unwrap_or(opal);
        if !fadump && self.looks_like_phyp() {
            self.reserve_top(memory_end, five_percent.max(PHYP_COPY));
        }
    }

    /// phyp-dump keeps the top of memory free, with room for a copy of all that the second boot uses although it asks for
    /// 256 MiB of it; the save areas begin at the start of that, aligned down to a page (`phyp_dump_reserve_mem`).
    pub(super) fn reserve_top(&mut self, memory_end: u64, copy: u64) {
        let requested = || self.plan.sections.iter().filter(|s| s.is_requested());
        let areas = requested().filter(|s| matches!(s.kind, SectionKind::CpuState | SectionKind::Hpte));
        let areas = areas.fold(0u64, |sum, s| sum.saturating_add(s.requested));
        let first = requested().map(|s| s.destination).min();
        let Some(first) = first else { return };
        let copied = self.plan.boot_sections().fold(0u64, |sum, s| sum.saturating_add(s.requested));
        let top = |copy: u64| {
            let start = memory_end.checked_sub(areas).and_then(|end| end.checked_sub(copy));
            let pages = [PageSize::K4, PageSize::K64];
            start.is_some_and(|start| pages.iter().any(|page| page.addr(page.pfn(PhysAddr(start))) == first))
        };
        if [copy, copied, self.plan.boot_end.0].into_iter().any(top) {
            self.plan.after.push(Range::new(first, PhysAddr(memory_end)));
        }
    }

    /// Adds what follows the crash-info header to the dump area: the ELF core header of older kernels fills up its page.
    pub(super) fn set_area_end(&mut self, crash: Option<&CrashInfo>, page: PageSize) {
        let align = |end: u64| PhysAddr(end.checked_next_multiple_of(page.bytes()).unwrap_or(u64::MAX));
        if let Some(elf) = crash.filter(|c| c.generation == Generation::Old).and_then(|c| c.elf_header) {
            let order = crash.map_or(ByteOrder::Big, |c| c.order);
            let headers = vmcoreinfo::program_headers(&self.image, elf, order).unwrap_or(0);
            let end = elf.0.saturating_add(64 + 56 * u64::from(headers));
            self.plan.after.push(Range::new(elf, align(end)));
        }
        self.add_opal_area(page);
    }
}
