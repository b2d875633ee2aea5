//! Where the first kernel puts what: its reservation, and the sections it asks the firmware to copy.

use crate::error::{ModelError, Result};
use crate::extent::{Extent, intersect, merged, total};
use crate::firmware::opal_sizes;
use crate::linux::CrashHeader;
use crate::linux::{AreaEnd, HashParameters};
use crate::machine::{Mode, Options};
use crate::regsave;
use crate::structure::{KIND_CPU, KIND_HPTE, KIND_PARAMETER, KIND_REAL_MODE, Section, Structure};

/// Bytes of an ELF header and of a program header.
const ELF_HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;

/// Bytes of Linux's parameter area (`rtas-fadump.c`: COMMAND_LINE_SIZE).
pub const PARAMETER_AREA: u64 = 0x800;

/// Where things lie on a machine that has registered for a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Everything the first kernel reserved for the dump.
    pub reserved: Extent,
    /// Destination of the CPU state.
    pub cpu: Extent,
    /// Destination of the HPTEs.
    pub hpte: Extent,
    /// Boot memory regions and where each is copied.
    pub boot: Vec<(Extent, u64)>,
    /// The crash-info header; none in phyp-dump.
    pub crash_info: Option<Extent>,
    /// OPAL's kernel metadata.
    pub opal_metadata: Option<Extent>,
    /// Linux's parameter area.
    pub parameter: Option<Extent>,
}

impl Layout {
    /// Works out the reservation of a machine: top of RAM for phyp-dump, above boot memory for fadump.
    ///
    /// # Errors
    ///
    /// There is no room for it.
    pub fn plan(options: &Options) -> Result<Self> {
        let cpus = options.cpus.len() as u64;
        let cpu_size = match options.mode {
            Mode::Opal => opal_cpu_size(cpus),
            _ => options.cpu_section.unwrap_or_else(|| regsave::announced_size(options.firmware, cpus)),
        };
        let hpte_size = if options.mode == Mode::Opal { 0 } else { options.hpte_section };
        let page = options.page_size;
        let boot_size = total(&options.boot_memory);
        let before_boot = cpu_size + hpte_size;
        // The 2008 kernel never aligned the copy of boot memory.
        let aligned = options.aligned_destination && options.mode != Mode::Phyp2008;
        let boot_offset = if aligned { before_boot.next_multiple_of(page) } else { before_boot };
        let (info_size, metadata) = match options.mode {
            Mode::Phyp2008 => (None, None),
            Mode::Fadump(linux) => (Some(header_size(linux.facts().header, options)), None),
            Mode::Opal => (
                Some(header_size(CrashHeader::Sig, options)),
                Some(opal_sizes::METADATA.next_multiple_of(page)),
            ),
        };
        let (start, size) = if options.mode == Mode::Phyp2008 {
            // The 2008 kernel reserves room for all that the second boot takes, though it asks for 256 MiB.
            let size = before_boot + options.boot_top.max(boot_size);
            let start = options.ram_end().checked_sub(size).ok_or(NO_ROOM)?;
            (start / page * page, options.ram_end() - start / page * page)
        } else {
            let mut size = boot_offset + boot_size + info_size.unwrap_or(0);
            if options.mode.facts().is_some_and(|facts| facts.area_end == AreaEnd::WholePage) {
                // Until 6.10 the ELF core's headers came after the crash-info header, and all of it was whole pages
                // (`get_fadump_area_size`: one program header for notes, one for each range of memory, two to spare).
                let headers = 3 + options.ram.len() as u64;
                size = (size + ELF_HEADER + headers * PROGRAM_HEADER).next_multiple_of(page);
            }
            size += metadata.unwrap_or(0);
            (first_fit(options, size).ok_or(NO_ROOM)?, size)
        };
        let mut at = start + boot_offset;
        let mut boot = Vec::new();
        for region in &options.boot_memory {
            boot.push((*region, at));
            at += region.length;
        }
        let crash_info = info_size.map(|size| Extent::new(at, size));
        let opal_metadata = metadata.map(|size| Extent::new(at + info_size.unwrap_or(0), size));
        let reserved = Extent::new(start, size);
        Ok(Self {
            reserved,
            cpu: Extent::new(start, cpu_size),
            hpte: Extent::new(start + cpu_size, hpte_size),
            boot,
            crash_info,
            opal_metadata,
            parameter: parameter_area(options, reserved),
        })
    }

    /// The structure the kernel registers: CPU state, HPTEs, each boot memory region, its parameter area.
    pub fn structure(&self) -> Structure {
        let section = |kind, source, requested, destination| Section {
            request: 1,
            kind,
            source,
            requested,
            destination,
            ..Section::default()
        };
        let mut sections = vec![
            section(KIND_CPU, 0, self.cpu.length, self.cpu.start),
            section(KIND_HPTE, 0, self.hpte.length, self.hpte.start),
        ];
        sections.extend(
            self.boot.iter().map(|(region, to)| section(KIND_REAL_MODE, region.start, region.length, *to)),
        );
        if let Some(area) = self.parameter {
            sections.push(section(KIND_PARAMETER, area.start, area.length, area.start));
        }
        Structure::new(sections)
    }

    /// Where the copy of the boot memory byte at `address` was meant to go.
    pub fn copy_of(&self, address: u64) -> Option<u64> {
        let (region, to) = self.boot.iter().find(|(region, _)| region.contains(address))?;
        Some(to + (address - region.start))
    }
}

const NO_ROOM: ModelError = ModelError::Options {
    what: "boot_memory",
    found: 0,
    expected: "less than half of RAM, so that its copy fits above it",
};

/// Bytes of the crash-info header.
pub fn header_size(header: CrashHeader, options: &Options) -> u64 {
    let fixed = match header {
        CrashHeader::Inf => 0x18,
        CrashHeader::Sig => 0x28,
    };
    fixed + u64::from(options.pt_regs_size) + u64::from(options.cpu_mask_size)
}

/// Bytes of OPAL's CPU data: a header and 34 + 6 entries of 16 bytes a thread.
pub(crate) fn opal_cpu_size(cpus: u64) -> u64 {
    cpus * opal_sizes::THREAD_SIZE
}

/// The highest free place for Linux's parameter area, in the range that kernel and MMU allow (`fadump_setup_param_area`).
fn parameter_area(options: &Options, reserved: Extent) -> Option<Extent> {
    const MIB: u64 = 1 << 20;
    let facts = options.mode.facts().filter(|facts| options.parameter_area && facts.parameter_area)?;
    let range = match (options.hash_rma, facts.hash_parameters) {
        (None, _) => Extent::between(options.ram_end() / 2, options.ram_end()),
        (Some(rma), _) if rma < 768 * MIB => return None,
        (Some(_), HashParameters::Fixed) => Extent::between(672 * MIB, 736 * MIB),
        (Some(rma), HashParameters::AboveTheLeastRma) => {
            Extent::between(768 * MIB, rma.min(options.boot_top))
        }
    };
    let mut taken = vec![reserved, options.rtas_extent(), options.initrd_extent()];
    taken.push(options.device_tree_extent());
    taken.extend(&options.reserved_ranges);
    intersect(&options.ram, &[range]).into_iter().rev().find_map(|piece| {
        let mut end = piece.end();
        loop {
            let start = end.checked_sub(PARAMETER_AREA)? / PARAMETER_AREA * PARAMETER_AREA;
            let area = Extent::new(start, PARAMETER_AREA);
            if start < piece.start {
                return None;
            }
            let Some(hit) = taken.iter().find(|range| !range.intersect(area).is_empty()) else {
                return Some(area);
            };
            end = hit.start;
        }
    })
}

/// The lowest page at or above boot memory where `size` bytes of RAM follow that firmware does not claim
/// (`fadump_locate_reserve_mem`).
fn first_fit(options: &Options, size: u64) -> Option<u64> {
    let page = options.page_size;
    let mut avoided = options.reserved_ranges.clone();
    if options.mode.facts().is_some_and(|facts| facts.area_avoids_firmware) {
        avoided.extend([options.rtas_extent(), options.initrd_extent(), options.device_tree_extent()]);
    }
    let avoided = merged(avoided);
    let above = Extent::between(options.boot_top, options.ram_end());
    intersect(&options.ram, &[above]).into_iter().find_map(|extent| {
        let mut at = extent.start.next_multiple_of(page);
        while at + size <= extent.end() {
            let area = Extent::new(at, size);
            let Some(hit) = avoided.iter().find(|range| !range.intersect(area).is_empty()) else {
                return Some(at);
            };
            at = hit.end().next_multiple_of(page);
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::Linux;

    #[test]
    fn the_seed_machine_has_its_scratch_area_where_the_document_prints_it() {
        let layout = Layout::plan(&Options::seed_document()).unwrap();
        assert_eq!(layout.cpu, Extent::new(0x1_77fe_e000, 0x1_0020));
        assert_eq!(layout.hpte, Extent::new(0x1_77ff_e020, 0x1000));
        assert_eq!(layout.boot, [(Extent::new(0, 0x1000_0000), 0x1_77ff_f020)]);
    }

    #[test]
    fn the_corpus_machine_has_its_copy_where_qemu_put_it() {
        let options = Options {
            ram: vec![Extent::new(0, 0x3000_0000)],
            boot_memory: vec![Extent::new(0, 0x1400_0000)],
            boot_top: 0x1400_0000,
            cpus: vec![(0, true), (1, true)],
            ..Options::small_fadump()
        };
        let layout = Layout::plan(&options).unwrap();
        assert_eq!(layout.cpu, Extent::new(0x1400_0000, 0xa00));
        assert_eq!(layout.boot[0].1, 0x1401_0000);
        assert_eq!(layout.crash_info, Some(Extent::new(0x2801_0000, 0x1b0)));
        assert_eq!(layout.parameter, Some(Extent::new(0x2fff_f800, 0x800)));
        assert_eq!(layout.structure().bytes().len(), 200);
    }

    #[test]
    fn the_parameter_area_is_high_with_radix_and_where_no_firmware_reaches_with_hash() {
        const MIB: u64 = 1 << 20;
        let place = |linux, hash_rma, boot: u64| {
            let options = Options {
                mode: Mode::Fadump(linux),
                ram: vec![Extent::new(0, 4096 * MIB)],
                boot_memory: vec![Extent::new(0, boot * MIB)],
                boot_top: boot * MIB,
                hash_rma,
                rtas: Some(Extent::new(0x2fff_0000, 0x83c)),
                ..Options::small_fadump()
            };
            Layout::plan(&options).unwrap().parameter.map(|area| area.end() / MIB)
        };
        let gib = Some(1024 * MIB);
        assert_eq!(place(Linux::V6_1, None, 320), None);
        assert_eq!(place(Linux::V6_12, None, 320), Some(4096));
        assert_eq!(place(Linux::V6_12, gib, 320), Some(736));
        // The dump area is in the way.
        assert_eq!(place(Linux::V6_12, gib, 400), None);
        assert_eq!(place(Linux::V6_12, Some(512 * MIB), 320), None);
        assert_eq!(place(Linux::V7_2, gib, 320), None, "boot memory ends below");
        assert_eq!(place(Linux::V7_2, gib, 1024), Some(1024));
        assert_eq!(place(Linux::V7_2, gib, 900), Some(900));
    }

    #[test]
    fn a_hole_above_boot_memory_pushes_the_reservation_up() {
        let options = Options {
            ram: vec![Extent::new(0, 0x120_0000), Extent::new(0x200_0000, 0x200_0000)],
            ..Options::small_fadump()
        };
        assert_eq!(Layout::plan(&options).unwrap().reserved.start, 0x200_0000);
    }
}
