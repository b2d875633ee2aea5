//! Crash, save, release, register again, a workload, crash: what the third boot finds.

use phyp_model::again::SOMEBODY;
use phyp_model::release::Written;
use phyp_model::scenario::{self, Dirt, Event, Run};
use phyp_model::verdict::HEADER;
use phyp_model::{Extent, Linux, Machine, Mode, ModelError, Options, extent};

const MIB: u64 = 1 << 20;
const PAGE: u64 = 0x1_0000;

fn released(linux: Linux, rtas: Option<Extent>) -> Run {
    let options = Options { mode: Mode::Fadump(linux), rtas, ..Options::small_fadump() };
    let mut machine = Machine::new(options).unwrap();
    machine.scatter(30).unwrap();
    let mut run = scenario::run(machine, Event::CRASH, &[], Dirt::Whole).unwrap();
    assert_eq!(run.write_release_mem("1").unwrap(), Written::Accepted);
    run
}

/// The second dump is whole: everything outside of the reserved area is in place or in its copy.
fn assert_whole(run: &Run) {
    assert_eq!((run.rejected, run.fadump.vmcore, run.released()), (None, true, false));
    assert!(run.truth.lost.is_empty(), "{:x?}", run.truth.lost);
    for copy in &run.truth.copied {
        let same =
            run.memory.equals_at(copy.destination, &run.truth.image, copy.source.start, copy.source.length);
        assert!(same.unwrap(), "{copy:x?}");
    }
    let above = extent::subtract(&[Extent::between(run.options.boot_top, 48 * MIB)], &run.truth.reserved);
    for piece in above {
        assert!(run.memory.equals(&run.truth.image, piece).unwrap(), "{piece:x?}");
    }
}

#[test]
fn registering_again_is_safe_where_the_area_ends_at_a_page_and_where_the_kernel_is_mended() {
    for linux in [Linux::V6_1, Linux::Mended] {
        let mut run = released(linux, None);
        run.write_registered("1").unwrap();
        run.dirty_free_memory().unwrap();
        let first = run.truth.cpus[1].registers.clone();
        let third = run.crash_again(&[], Dirt::Whole).unwrap();
        assert_whole(&third);
        assert_ne!(third.truth.cpus[1].registers.gpr, first.gpr, "another crash");
        // Whatever the workload left is in the dump.
        assert_eq!(third.truth.image.bytes(40 * MIB, 8).unwrap(), SOMEBODY);
    }
}

#[test]
fn since_6_10_the_next_dump_is_thrown_away_once_somebody_wrote_into_the_headers_page() {
    for linux in [Linux::V6_12, Linux::V7_2, Linux::Next] {
        let mut run = released(linux, None);
        run.write_registered("1").unwrap();
        assert!(run.fadump.registered);
        let lucky = run.clone().crash_again(&[], Dirt::Whole).unwrap();
        assert_whole(&lucky);

        run.dirty_free_memory().unwrap();
        let third = run.crash_again(&[], Dirt::Whole).unwrap();
        assert_eq!(third.rejected, Some(HEADER), "{linux:?}");
        assert!(third.released() && !third.fadump.vmcore && third.kernel_dump.is_some());
        // The copy of boot memory is what can be rescued; memory above is somebody's.
        assert_eq!(third.truth.copied[0].source, Extent::new(0, 16 * MIB));
        assert_eq!(
            third.truth.lost,
            [Extent::between(32 * MIB + 2 * PAGE, 48 * MIB)]
                .map(|lost| Extent::between(third.layout.reserved.end(), lost.end()))
        );
    }
}

#[test]
fn without_a_new_registration_the_next_crash_makes_no_dump() {
    for linux in Linux::ALL {
        let mut run = released(linux, None);
        run.dirty_free_memory().unwrap();
        let mut third = run.crash_again(&[], Dirt::Whole).unwrap();
        assert!(!third.dump_waits() && third.kernel_dump.is_none());
        // It is an ordinary boot, with whole memory, and registers by itself: that one is safe.
        assert!(third.fadump.registered && !third.fadump.had_dump);
        third.dirty_free_memory().unwrap();
        assert_whole(&third.crash_again(&[], Dirt::Whole).unwrap());
    }
}

#[test]
fn a_machine_whose_rtas_was_freed_hangs_once_memory_is_used() {
    let above = Some(Extent::new(40 * MIB, PAGE));
    for (linux, hangs) in [(Linux::V6_1, true), (Linux::V7_2, true), (Linux::Mended, false)] {
        let mut run = released(linux, above);
        // The model poisons what is freed; a real machine lives until the page is written.
        run.dirty_free_memory().unwrap();
        assert_eq!(run.rtas_is_there().unwrap(), !hangs, "{linux:?}");
        let next = run.crash_again(&[], Dirt::Whole);
        assert_eq!(matches!(next, Err(ModelError::Hangs { .. })), hangs, "{linux:?}");
    }
    // Inside the dump area it is not freed, and outlives the workload.
    let mut run = released(Linux::V6_12, Some(Extent::new(20 * MIB, PAGE)));
    run.dirty_free_memory().unwrap();
    assert!(run.rtas_is_there().unwrap());
}

#[test]
fn a_boot_without_a_dump_lends_rtas_to_programs_where_the_dump_area_covers_it() {
    let inside = Some(Extent::new(20 * MIB, PAGE));
    for (linux, nocma, hangs) in [
        (Linux::V6_1, false, true),
        (Linux::V6_12, false, true),
        (Linux::V7_2, true, false),
        (Linux::Mended, false, false),
    ] {
        let ram = vec![Extent::new(0, 64 * MIB)];
        let mode = Mode::Fadump(linux);
        let options = Options { mode, rtas: inside, nocma, ram, ..Options::small_fadump() };
        let machine = Machine::new(options).unwrap();
        let mut run = scenario::run(machine, Event::CrashUnregistered, &[], Dirt::Whole).unwrap();
        assert_eq!(run.lent().is_empty(), nocma);
        run.dirty_free_memory().unwrap();
        assert_eq!(run.rtas_is_there().unwrap(), !hangs, "{linux:?}, {nocma}");
    }
}

#[test]
fn the_next_kernel_appends_to_its_command_line_whatever_stands_in_the_parameter_area() {
    for (linux, appended) in [(Linux::V7_2, "SOMEBODY"), (Linux::Mended, "nr_cpus=1")] {
        let mut run = released(linux, None);
        run.write_bootargs_append("nr_cpus=1\n").unwrap();
        run.write_registered("1").unwrap();
        run.dirty_free_memory().unwrap();
        let third = run.crash_again(&[], Dirt::Whole).unwrap();
        let text = third.bootargs_append().unwrap().unwrap();
        // A kernel that refuses frees the area once more, and shows what is there then.
        let text = if third.released() { run_text(&third) } else { text };
        assert!(text.starts_with(appended), "{linux:?}: {text:?}");
    }
}

/// The parameter area at the crash.
fn run_text(run: &Run) -> String {
    let area = run.layout.parameter.unwrap();
    let bytes = run.truth.image.bytes(area.start, area.length).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
