//! How much memory a kernel sets aside to boot in after a crash, and machines made by that rule.
//!
//! `fadump_calculate_reserve_size` and `fadump_reserve_mem` of `arch/powerpc/kernel/fadump.c`, `rtas_fadump_get_bootmem_min`.

use crate::extent::Extent;
use crate::linux::Linux;
use crate::machine::{Mode, Options};

const MIB: u64 = 1 << 20;

/// Less than this the kernel does not do with: it turns fadump off.
pub const LEAST_BOOT_MEMORY: u64 = 320 * MIB;
/// Where firmware's memory ends at the latest, whatever the first block of memory is (`prom_init_mem`).
const RMA: u64 = 768 * MIB;

/// Bytes of boot memory on a machine with `ram` bytes; `None` where fadump is refused.
///
/// Without `crashkernel=` five percent, in steps of 256 MiB, and at least 320 MiB. With it the size asked for, but at most a
/// quarter of memory, and nothing at all below 320 MiB: with less than 1280 MiB of memory any `crashkernel=` turns fadump off.
/// Kernels that lend the area to programs round up to a block of such memory, until 7.2 rounds the lent part down instead.
pub fn boot_memory(linux: Linux, ram: u64, crashkernel: Option<u64>, nocma: bool) -> Option<u64> {
    let size = match crashkernel {
        Some(wanted) => wanted.min(ram / 4),
        None => (ram / 20 / (256 * MIB) * (256 * MIB)).max(LEAST_BOOT_MEMORY),
    };
    let block = if nocma { 1 } else { linux.facts().lending_block };
    Some(size.next_multiple_of(block)).filter(|size| *size >= LEAST_BOOT_MEMORY)
}

impl Options {
    /// A machine of `ram` bytes as QEMU makes one, with this kernel, 64 KiB pages and the radix MMU; `None` where the kernel
    /// refuses fadump. RTAS lies where prom_init puts it, the initial RAM disk and the device tree right above the kernel.
    pub fn machine(linux: Linux, ram: u64, crashkernel: Option<u64>) -> Option<Self> {
        let page = 0x1_0000;
        let boot = boot_memory(linux, ram, crashkernel, false)?.next_multiple_of(page);
        Some(Self {
            mode: Mode::Fadump(linux),
            ram: vec![Extent::new(0, ram)],
            lmb_size: 256 * MIB,
            cpus: vec![(0, true), (1, true)],
            boot_memory: vec![Extent::new(0, boot)],
            boot_top: boot,
            rtas: Some(Extent::new(ram.min(RMA) - page, 0x83c)),
            initrd: Some(Extent::new(0x101_0000, 0xc0_ee00)),
            device_tree: Some(Extent::new(0x1c2_0000, 0x3_0000)),
            crashkernel,
            ..Self::small_fadump()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;
    use crate::release;
    use crate::scenario::{self, Dirt, Event};
    use crate::{Machine, extent};

    #[test]
    fn boot_memory_is_five_percent_at_least_320_mib_and_asked_for_at_most_a_quarter() {
        let mib = |ram: u64, crashkernel: Option<u64>| {
            boot_memory(Linux::V6_12, ram * MIB, crashkernel.map(|size| size * MIB), false)
                .map(|size| size / MIB)
        };
        for (ram, size) in
            [(1024, 320), (4096, 320), (10_239, 320), (10_240, 512), (15_360, 768), (65_536, 3072)]
        {
            assert_eq!(mib(ram, None), Some(size), "{ram} MiB");
        }
        assert_eq!(mib(2304, Some(832)), Some(576), "capped");
        assert_eq!(mib(4096, Some(1024)), Some(1024));
        assert_eq!(mib(4096, Some(256)), None, "too little");
        assert_eq!(mib(1272, Some(320)), None, "any size turns fadump off");
        assert_eq!(mib(1280, Some(4096)), Some(320));
    }

    #[test]
    fn until_7_2_the_size_is_rounded_up_to_a_block_that_can_be_lent() {
        let size = |linux, nocma| boot_memory(linux, 4096 * MIB, Some(400 * MIB + 1), nocma);
        assert_eq!(size(Linux::V6_12, false), Some(402 * MIB));
        assert_eq!(size(Linux::V6_12, true), Some(400 * MIB + 1));
        assert_eq!(size(Linux::V7_2, false), Some(400 * MIB + 1));
    }

    /// Whether a release frees RTAS, and whether this boot's RTAS lies in the dump area.
    fn rtas(ram: u64, crashkernel: Option<u64>) -> (bool, bool) {
        let options = Options::machine(Linux::V6_1, ram * MIB, crashkernel.map(|size| size * MIB)).unwrap();
        let layout = Layout::plan(&options).unwrap();
        let covered = extent::covers(&[layout.reserved], options.rtas_extent());
        let machine = Machine::new(options).unwrap();
        let run = scenario::run(machine, Event::CRASH, &[], Dirt::Stamps).unwrap();
        (release::clashes(&run).iter().any(|(name, _)| *name == "RTAS"), covered)
    }

    #[test]
    fn whether_rtas_is_freed_covered_or_left_alone_depends_on_the_sizes() {
        for (ram, crashkernel, freed, covered) in [
            (1024, None, true, false),
            (8192, None, true, false),
            (10_240, None, false, true),
            (15_360, None, false, false),
            (1536, Some(384), false, true),
            (1528, Some(382), true, false),
            (2304, Some(832), false, true),
            (3072, Some(768), false, false),
            (4096, Some(1024), false, false),
        ] {
            assert_eq!(rtas(ram, crashkernel), (freed, covered), "{ram} MiB, crashkernel={crashkernel:?}");
        }
    }
}
