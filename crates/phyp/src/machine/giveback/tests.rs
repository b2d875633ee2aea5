//! Tables over machines: what a release frees, whom it would kill, what the next crash allows.
//!
//! The machines are made by the firmware's and the kernel's rules as this file states them: memory in one piece, RTAS
//! in the last page below the smaller of its end and 768 MiB, as Linux places QEMU 11.1's.

use super::*;
use crate::Leavings;
use crate::devtree::DumpSize;
use crate::system::FadumpFiles;
use proptest::prelude::*;
use vmcore::{PageSize, Range};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const RTAS: u64 = 0x83c;

fn range(start: u64, end: u64) -> Range<PhysAddr> {
    Range::new(PhysAddr(start), PhysAddr(end))
}

/// Which kernel.
#[derive(Clone, Copy, Debug)]
struct Kernel {
    page: PageSize,
    radix: bool,
    /// The area ends behind the crash-info header (since 6.10), and there is a parameter area.
    new: bool,
}

const V6_1: Kernel = Kernel { page: PageSize::K64, radix: true, new: false };
const V6_12: Kernel = Kernel { page: PageSize::K64, radix: true, new: true };
const V6_12_4K: Kernel = Kernel { page: PageSize::K4, radix: true, new: true };

/// A machine of `ram` bytes in an ordinary boot, with so much boot memory.
fn machine(ram: u64, boot: u64, kernel: Kernel) -> System {
    let top = ram.min(768 * MIB);
    let page = kernel.page.bytes();
    let rtas = range(top - page, top - page + RTAS);
    let initrd = range(0x101_0000, 0x107_fb60);
    let header = if kernel.new { 0x1b0 } else { page };
    let tree = FlatTree {
        len: 0x3_0000,
        version: 16,
        reservations: vec![range(0x101_0000, 0x108_0000), range(top - page, top)],
    };
    System {
        rtas: true,
        sizes: vec![DumpSize { kind: 1, size: 0xa00 }, DumpSize { kind: 2, size: 0 }],
        leavings: Leavings { memory_map: Some([range(0, ram)].into_iter().collect()), ..Leavings::default() },
        fadump: Some(FadumpFiles {
            enabled: true,
            mem_reserved: Some(page + boot + header),
            bootargs_append: kernel.new.then(String::new),
            ..FadumpFiles::default()
        }),
        boot: BootFacts {
            rtas: Some(rtas),
            initrd: Some(initrd),
            has_chosen: true,
            flat_tree: Some(tree),
            page_size: Some(kernel.page),
            radix: Some(kernel.radix),
            command_line: Some("fadump=on".into()),
            ..BootFacts::default()
        },
        ..System::default()
    }
}

/// The same machine after its crash.
fn crashed(ram: u64, boot: u64, kernel: Kernel) -> System {
    let mut system = machine(ram, boot, kernel);
    let section = |kind: u16, source: u64, len: u64, destination: u64| {
        let mut out = [1u32.to_be_bytes().to_vec(), kind.to_be_bytes().to_vec(), vec![0, 0]].concat();
        out.extend([source, len, len, destination].into_iter().flat_map(u64::to_be_bytes));
        out
    };
    let mut sections = vec![
        section(1, 0, 0xa00, boot),
        section(2, 0, 0, boot + 0xa00),
        section(0x11, 0, boot, boot + kernel.page.bytes()),
    ];
    if kernel.new {
        let at = if kernel.radix { ram - 2048 } else { 736 * MIB - 2048 };
        sections.push(section(0x100, at, 2048, at));
    }
    let mut header = vec![0; 0x28];
    header[3] = 1;
    header[5] = sections.len() as u8;
    header[6] = 0xc0;
    header[11] = 0x28;
    system.leavings.kernel_dump = Some([header, sections.concat()].concat());
    system
}

fn residents(release: &Release) -> Vec<Resident> {
    release.clashes.iter().map(|c| c.resident).collect()
}

#[test]
fn a_release_on_1_gib_frees_rtas_the_headers_page_and_the_parameter_area() {
    let release = release(&crashed(GIB, 320 * MIB, V6_12)).unwrap();
    assert_eq!(release.area.kept, range(0x1400_0000, 0x2801_01b0));
    assert_eq!(release.freed, [range(0x2801_0000, 0x4000_0000)].into_iter().collect());
    assert_eq!(release.objection().unwrap(), "release would free RTAS (0x2fff0000..0x2fff083c)");
    assert_eq!(
        release.hazards,
        [
            Hazard::HeaderPage(range(0x2801_0000, 0x2802_0000)),
            Hazard::Parameters(range(0x3fff_0000, 0x4000_0000)),
        ]
    );
    assert_eq!(
        release.registration_objection().unwrap(),
        "release gives the page of the crash-info header (0x28010000..0x28020000), the parameter area \
         (0x3fff0000..0x40000000) to the allocator"
    );
}

#[test]
fn a_dump_area_over_rtas_saves_it_and_boot_memory_above_it_does() {
    let covering = release(&crashed(2304 * MIB, 576 * MIB, V6_12)).unwrap();
    assert!(covering.is_safe() && covering.objection().is_none(), "{covering:?}");
    assert_eq!(covering.freed, [range(0x4801_0000, 0x9000_0000)].into_iter().collect());
    let above = release(&crashed(4 * GIB, GIB, V6_12)).unwrap();
    assert!(above.is_safe());
    assert_eq!(above.freed, [range(0x8001_0000, 0x1_0000_0000)].into_iter().collect());
    assert!(!above.allows_registration());
}

#[test]
fn up_to_6_9_nothing_that_the_next_registration_needs_is_freed() {
    let release = release(&crashed(4 * GIB, GIB, V6_1)).unwrap();
    assert!(release.is_safe() && release.allows_registration());
    assert_eq!(release.freed, [range(0x8002_0000, 0x1_0000_0000)].into_iter().collect());
    assert_eq!(release.registration_objection(), None);
}

#[test]
fn a_parameter_area_below_the_end_of_boot_memory_is_not_freed() {
    let hash = Kernel { radix: false, ..V6_12_4K };
    let release = release(&crashed(4 * GIB, GIB, hash)).unwrap();
    assert_eq!(release.hazards, [Hazard::HeaderPage(range(0x8000_1000, 0x8000_2000))]);
}

#[test]
fn pages_of_4_kib_are_rounded_as_such() {
    let release = release(&crashed(GIB, 320 * MIB, V6_12_4K)).unwrap();
    assert_eq!(release.freed.iter().next(), Some(range(0x2800_1000, 0x4000_0000)));
}

#[test]
fn a_page_size_that_nobody_says_follows_from_where_the_copy_lies() {
    for kernel in [V6_12, V6_12_4K] {
        let mut system = crashed(GIB, 320 * MIB, kernel);
        let known = release(&system).unwrap();
        system.boot.page_size = None;
        assert_eq!(release(&system).unwrap(), known);
    }
}

#[test]
fn an_initial_ram_disk_or_a_reservation_in_freed_memory_is_a_clash() {
    let mut system = crashed(4 * GIB, GIB, V6_12);
    system.boot.initrd = Some(range(0x9000_0000, 0x9010_0000));
    let tree = system.boot.flat_tree.as_mut().unwrap();
    tree.reservations.extend([range(0x9000_0000, 0x9010_0000), range(0xa000_0000, 0xa001_0000)]);
    let release = release(&system).unwrap();
    assert_eq!(residents(&release), [Resident::Initrd, Resident::Reservation]);
    assert_eq!(release.clashes[1].range, range(0xa000_0000, 0xa001_0000));
}

#[test]
fn freed_memory_below_rtas_may_hold_the_device_tree() {
    let mut system = crashed(2304 * MIB, 576 * MIB, V6_12);
    // The firmware's memory above boot memory moves the dump area up.
    let property = system.leavings.kernel_dump.as_mut().unwrap();
    for (section, shift) in [(0, 0x100_0000u64), (1, 0x100_0000), (2, 0x100_0000)] {
        let at = 0x28 + section * 0x28 + 0x20;
        let moved = u64::from_be_bytes(property[at..at + 8].try_into().unwrap()) + shift;
        property[at..at + 8].copy_from_slice(&moved.to_be_bytes());
    }
    let release = release(&system).unwrap();
    assert_eq!(residents(&release), [Resident::FlatTree]);
    assert_eq!(release.clashes[0].range, range(0x2400_0000, 0x2500_0000));
    assert!(release.objection().unwrap().contains("in which the device tree may lie"));
}

#[test]
fn memory_is_kept_when_something_is_not_known() {
    let why = |change: &dyn Fn(&mut System)| {
        let mut system = crashed(4 * GIB, GIB, V6_12);
        assert!(release(&system).unwrap().is_safe());
        change(&mut system);
        release(&system).unwrap_err().to_string()
    };
    assert!(why(&|s| s.boot.rtas = None).contains("/rtas/linux,rtas-base"));
    assert!(why(&|s| s.boot.flat_tree = None).contains("/sys/firmware/fdt"));
    assert!(why(&|s| s.boot.has_chosen = false).contains("/chosen"));
    assert!(why(&|s| s.boot.by_kexec = true).contains("kexec"));
    assert!(why(&|s| s.boot.has_reserved_memory = true).contains("/reserved-memory"));
    assert!(why(&|s| s.opal = true).contains("OPAL"));
    assert!(why(&|s| s.leavings.kernel_dump = None).contains("no dump waits"));
    assert!(why(&|s| s.leavings.memory_map = None).contains("where memory is"));
    assert!(why(&|s| s.fadump.as_mut().unwrap().mem_reserved = None).contains("mem_reserved"));
    assert!(why(&|s| s.fadump.as_mut().unwrap().mem_reserved = Some(GIB)).contains("does not lie in"));
    assert!(why(&|s| s.leavings.kernel_dump.as_mut().unwrap().truncate(0x28)).contains("no section"));
    assert!(why(&|s| s.leavings.kernel_dump.as_mut().unwrap().truncate(9)).contains("expected at least"));
}

#[test]
fn rtas_in_the_copy_of_boot_memory_costs_the_pages_that_lay_there() {
    let lost = overwritten(&crashed(2304 * MIB, 576 * MIB, V6_12)).unwrap();
    assert_eq!(lost.len(), 1);
    assert_eq!((lost[0].resident, lost[0].at), (Resident::Rtas, range(0x2fff_0000, 0x2fff_083c)));
    assert_eq!(lost[0].lost, [range(0xbfe_0000, 0xbfe_083c)].into_iter().collect());
    assert!(overwritten(&crashed(4 * GIB, GIB, V6_12)).unwrap().is_empty());
    // RTAS in memory that was left in place lay there before the crash, too.
    assert!(overwritten(&crashed(GIB, 320 * MIB, V6_12)).unwrap().is_empty());
}

#[test]
fn an_initial_ram_disk_above_boot_memory_costs_what_lay_there_in_place_or_in_the_copy() {
    let mut system = crashed(4 * GIB, GIB, V6_12);
    system.boot.initrd = Some(range(0x7fff_0000, 0x8002_0000));
    let lost = overwritten(&system).unwrap();
    let expected = [range(0x3ffe_0000, 0x4000_0000), range(0x8001_01b0, 0x8002_0000)];
    assert_eq!(lost[0].lost, expected.into_iter().collect());
}

fn next(system: &System) -> NextCrash {
    match forecast(system).unwrap() {
        Forecast::Next(next) => *next,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_next_crash_is_foretold_as_it_will_be() {
    for kernel in [V6_1, V6_12, V6_12_4K, Kernel { page: PageSize::K4, ..V6_1 }] {
        for (ram, boot) in
            [(GIB, 320), (2304 * MIB, 576), (4 * GIB, 1024), (64 * GIB, 3072), (768 * MIB, 320)]
        {
            let foretold = next(&machine(ram, boot * MIB, kernel)).release;
            let happens = release(&crashed(ram, boot * MIB, kernel)).unwrap();
            let what = format!("{kernel:?} {ram:#x} {boot}");
            assert_eq!(foretold.area.kept, happens.area.kept, "{what}");
            assert_eq!(foretold.freed, happens.freed, "{what}");
            assert_eq!(foretold.clashes, happens.clashes, "{what}");
            assert_eq!(foretold.allows_registration(), happens.allows_registration(), "{what}");
        }
    }
}

#[test]
fn a_dump_area_that_lies_elsewhere_is_believed_when_debugfs_says_where() {
    let mut system = machine(2304 * MIB, 576 * MIB, V6_12);
    let text = |start: &str| Some(format!("CPU :[0x{start}-0x000000300009ff] 0xa00 bytes, Dumped: 0x0\n"));
    system.fadump.as_mut().unwrap().region = text("00000024000000");
    assert!(next(&system).release.is_safe());
    // A kernel that puts the area above RTAS, and frees what is below.
    system.fadump.as_mut().unwrap().region = text("00000030000000");
    let above = next(&system);
    assert_eq!(above.release.area.kept, range(0x3000_0000, 0x5401_01b0));
    assert_eq!((residents(&above.release), above.lost), (vec![Resident::Rtas], 0));
    system.fadump.as_mut().unwrap().region = text("zz");
    assert!(next(&system).release.is_safe());
}

#[test]
fn the_advice_follows_the_kernels_rules_on_every_size_of_machine() {
    let reach = Advice::Crashkernel { size: 768 * MIB, nocma: false, lost: 0 };
    let cover = Advice::Crashkernel { size: 384 * MIB, nocma: true, lost: RTAS };
    for (ram, expected) in [
        (704 * MIB, Advice::Impossible),
        (768 * MIB, Advice::Impossible),
        (GIB, Advice::Impossible),
        (1280 * MIB, Advice::Impossible),
        (1520 * MIB, Advice::Impossible),
        (1536 * MIB, cover),
        (2 * GIB, cover),
        (3 * GIB - MIB, cover),
        (3 * GIB, reach),
        (4 * GIB, reach),
        (9 * GIB, reach),
        // The default, 512 MiB, has a dump area that covers RTAS, which costs a page of the dump.
        (10 * GIB, reach),
        (15 * GIB, Advice::Nothing),
        (64 * GIB, Advice::Nothing),
    ] {
        for kernel in [V6_1, V6_12, V6_12_4K] {
            let next = next(&machine(ram, area::boot_memory("", ram), kernel));
            assert_eq!(next.advice, expected, "{kernel:?} {} MiB", ram / MIB);
        }
    }
}

#[test]
fn a_covered_rtas_that_no_number_reaches_is_left_alone_unless_programs_get_it() {
    let mut system = machine(2304 * MIB, 576 * MIB, V6_12);
    let quiet = next(&system);
    assert_eq!((quiet.advice, quiet.lost, quiet.lent), (Advice::Nothing, RTAS, None));
    system.boot.cma_total = Some(576 * MIB);
    let lent = next(&system);
    assert_eq!(lent.lent, Some(range(0x2fff_0000, 0x2fff_083c)));
    assert_eq!(lent.advice, Advice::Nocma);
    // The default of 10 to 15 GiB: there is a size that spares RTAS, and it need not be lent at all.
    let mut system = machine(12 * GIB, 512 * MIB, V6_12);
    system.boot.cma_total = Some(512 * MIB);
    let lent = next(&system);
    assert!(lent.lent.is_some());
    assert_eq!(lent.advice, Advice::Crashkernel { size: 768 * MIB, nocma: false, lost: 0 });
    // Where the dump area does not cover RTAS, lending it is right.
    let mut system = machine(4 * GIB, GIB, V6_12);
    system.boot.cma_total = Some(GIB);
    assert_eq!(next(&system).lent, None);
}

#[test]
fn a_crashkernel_below_the_minimum_has_switched_fadump_off() {
    let refused = |ram, asked: &str| {
        let mut system = machine(ram, 320 * MIB, V6_12);
        let fadump = system.fadump.as_mut().unwrap();
        (fadump.enabled, fadump.mem_reserved) = (false, Some(0));
        system.boot.command_line = Some(format!("fadump=on {asked}"));
        forecast(&system)
    };
    assert_eq!(
        refused(GIB, "crashkernel=512M").unwrap(),
        Forecast::Refused { boot_memory: 256 * MIB, advice: Advice::Impossible }
    );
    let advice = Advice::Crashkernel { size: 768 * MIB, nocma: false, lost: 0 };
    assert_eq!(
        refused(4 * GIB, "crashkernel=128M").unwrap(),
        Forecast::Refused { boot_memory: 128 * MIB, advice }
    );
    assert_eq!(refused(4 * GIB, "crashkernel=1G").unwrap_err().to_string(), "fadump is off");
    assert_eq!(refused(4 * GIB, "fadump=off crashkernel=128M").unwrap_err().to_string(), "fadump is off");
}

#[test]
fn an_advice_is_a_line_that_can_be_copied() {
    let text = |advice: Advice| advice.to_string();
    assert_eq!(text(Advice::Crashkernel { size: 768 * MIB, nocma: false, lost: 0 }), "crashkernel=768M");
    assert_eq!(
        text(Advice::Crashkernel { size: 384 * MIB, nocma: true, lost: RTAS }),
        "crashkernel=384M fadump=nocma, which costs 2108 bytes of the dump"
    );
}

proptest! {
    #[test]
    fn what_is_advised_works_after_the_kernels_cap_and_minimum(
        ram in 41u64..4096,
        page in prop::sample::select(vec![V6_1, V6_12, V6_12_4K]),
    ) {
        let ram = ram * 16 * MIB;
        let next = next(&machine(ram, area::boot_memory("", ram), page));
        if let Advice::Crashkernel { size, lost, .. } = next.advice {
            let taken = area::boot_memory(&format!("crashkernel={}M", size / MIB), ram);
            prop_assert_eq!(taken, size);
            prop_assert!(size >= area::MIN_BOOT);
            let crashed = crashed(ram, taken, page);
            prop_assert!(release(&crashed).unwrap().is_safe());
            let destroyed: u64 = overwritten(&crashed).unwrap().iter().map(|o| o.lost.total()).sum();
            prop_assert_eq!(destroyed, lost);
        } else {
            prop_assert_eq!(next.release.is_safe(), next.advice == Advice::Nothing);
        }
    }

    #[test]
    fn no_structure_and_no_numbers_make_it_panic(
        property in prop::collection::vec(any::<u8>(), 0..0xc8),
        reserved: u64,
        ranges in prop::collection::vec((any::<u64>(), any::<u64>()), 0..6),
        page in prop::sample::select(vec![None, Some(PageSize::K4), Some(PageSize::K64)]),
        whole: bool,
    ) {
        let mut system = crashed(4 * GIB, GIB, V6_12);
        let real = system.leavings.kernel_dump.clone().unwrap();
        let mixed = real.iter().zip(property.iter().chain(std::iter::repeat(&0)));
        let mixed = mixed.enumerate().map(|(i, (r, m))| if whole || i < 0x30 { *r } else { *m }).collect();
        system.leavings.kernel_dump = Some(mixed);
        system.fadump.as_mut().unwrap().mem_reserved = Some(reserved);
        let ranges: Vec<_> = ranges.iter().map(|&(a, b)| range(a.min(b), a.max(b))).collect();
        system.leavings.memory_map = Some(ranges.iter().copied().take(3).collect());
        system.reserved_ranges = ranges.iter().copied().skip(3).collect();
        system.boot.page_size = page;
        let _ = (release(&system), overwritten(&system), forecast(&system));
        system.leavings.kernel_dump = None;
        let _ = forecast(&system);
        system.fadump.as_mut().unwrap().enabled = false;
        system.boot.command_line = Some(format!("fadump=on crashkernel={}", reserved % (1 << 28)));
        let _ = forecast(&system);
    }
}
