//! Releasing memory through `release_region`, with the bugs of 2008 and without. What fadump does is in `fadump.rs`.

use phyp_model::hypervisor::State;
use phyp_model::invariants::{Step, Violation, check_durable_first, check_released};
use phyp_model::release::{Handler, ReleaseRegion, Written, scan};
use phyp_model::root::{ReleaseText, release_region};
use phyp_model::scenario::{self, Dirt, Event, FREED, Run};
use phyp_model::{Extent, Machine, Options};

const MIB: u64 = 1 << 20;

fn crashed(options: Options) -> Run {
    let mut machine = Machine::new(options).unwrap();
    machine.scatter(20).unwrap();
    scenario::run(machine, Event::CRASH, &[], Dirt::Whole).unwrap()
}

/// The frames that one write frees on a 48 MiB machine with 4 KiB pages, whose reserve is frames 0x1000 to 0x2fff.
fn freed(handler: Handler, text: &str) -> Vec<u64> {
    let mut run = crashed(Options::small_phyp());
    let mut release = ReleaseRegion::new(&run, handler);
    assert_eq!(release.write(&mut run, text).unwrap(), Written::Accepted, "{text}");
    release.freed().collect()
}

fn frames(range: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    range.collect()
}

#[test]
fn a_valid_range_frees_one_page_more_than_asked() {
    assert_eq!(freed(Handler::Shipped, "0x1000000 0x2000"), frames(0x1000..=0x1002));
    assert_eq!(freed(Handler::Fixed, "0x1000000 0x2000"), frames(0x1000..=0x1001));
}

#[test]
fn a_start_inside_a_page_frees_that_page_and_a_length_is_rounded_down() {
    assert_eq!(freed(Handler::Shipped, "0x1000fff 0x1fff"), frames(0x1000..=0x1001));
    assert_eq!(freed(Handler::Fixed, "0x1000fff 0x1fff"), frames(0x1001..=0x1001));
}

#[test]
fn a_start_below_the_reserve_slides_the_whole_window_up() {
    assert_eq!(freed(Handler::Shipped, "0 0x2000"), frames(0x1000..=0x1002));
    let mut run = crashed(Options::small_phyp());
    let mut release = ReleaseRegion::new(&run, Handler::Fixed);
    assert_eq!(release.write(&mut run, "0 0x2000").unwrap(), Written::Invalid);
}

#[test]
fn on_the_seed_machine_nought_to_256_mib_frees_256_to_512_mib() {
    let mut run = crashed(Options::seed_document());
    let mut release = ReleaseRegion::new(&run, Handler::Shipped);
    release.write(&mut run, "0 0x10000000").unwrap();
    let freed: Vec<u64> = release.freed().collect();
    assert_eq!((freed.first(), freed.last(), freed.len()), (Some(&0x1_0000), Some(&0x2_0000), 0x1_0001));
}

#[test]
fn a_range_past_the_end_is_cut_and_one_that_starts_there_runs_off_the_memory_map() {
    let freed = freed(Handler::Shipped, "0x2fff000 0x100000");
    assert_eq!(freed, [0x2fff], "the page past the end is no page of the reserve");
    let mut run = crashed(Options::small_phyp());
    let mut release = ReleaseRegion::new(&run, Handler::Shipped);
    assert_eq!(release.write(&mut run, "0x3001000 0x1000").unwrap(), Written::Oops);
}

#[test]
fn a_sum_that_wraps_passes_the_clamp() {
    let mut run = crashed(Options::small_phyp());
    let mut release = ReleaseRegion::new(&run, Handler::Shipped);
    assert_eq!(release.write(&mut run, "0x1000000 ffffffffff000000").unwrap(), Written::Oops);
}

#[test]
fn a_length_of_nought_frees_a_page_and_a_second_release_changes_nothing() {
    assert_eq!(freed(Handler::Shipped, "0x1005000 0"), [0x1005]);
    let mut run = crashed(Options::small_phyp());
    let mut release = ReleaseRegion::new(&run, Handler::Shipped);
    release.write(&mut run, "0x1000000 0x2000").unwrap();
    release.write(&mut run, "0x1000000 0x2000").unwrap();
    assert_eq!(release.log()[1].1, []);
    assert_eq!(release.freed().count(), 3);
}

#[test]
fn numbers_are_hexadecimal_and_anything_else_between_them_is_invalid() {
    assert_eq!(scan("256 16"), Some((0x256, 0x16)));
    assert_eq!(scan("  0xA 0XB trailing words\n"), Some((0xa, 0xb)));
    assert_eq!(scan("0x10\n20"), Some((0x10, 0x20)));
    for text in ["", "0x10", "0x10,0x20", "0x10-0x20", "-1 2", "g 1", "10 z"] {
        assert_eq!(scan(text), None, "{text:?}");
    }
}

#[test]
fn a_freed_page_holds_the_pattern_at_once_and_its_neighbour_does_not() {
    let mut run = crashed(Options::small_phyp());
    let mut release = ReleaseRegion::new(&run, Handler::Fixed);
    release.write(&mut run, "0x1004000 0x1000").unwrap();
    assert_eq!(run.memory.bytes(0x100_4000, 8).unwrap(), FREED);
    let neighbour = Extent::new(0x100_5000, 0x1000);
    assert!(run.memory.equals(&run.truth.image, neighbour).unwrap());
}

#[test]
fn two_writes_reach_equal_sums_on_the_seed_machine_and_the_firmware_refuses() {
    let mut run = crashed(Options::seed_document());
    let text = release_region(&run, ReleaseText::Shipped);
    assert_eq!(text, "CPU:0x0-0x0: HPTE:0x10020-0x0: DUMP:0x11020-0x0, 0x10000000-0x167feefe0:\n");
    let mut release = ReleaseRegion::new(&run, Handler::Shipped);
    release.write(&mut run, "0x10000000 0x167feefe0").unwrap();
    assert_eq!(release.invalidate_status, None);
    // One page too many: the first page of the scratch area, the register save area's header, is gone.
    assert!(release.freed().any(|frame| frame == 0x17_7fee));
    release.write(&mut run, "0x177fee000 0x10011020").unwrap();
    assert_eq!(release.invalidate_status, Some(-10), "unregister while a dump is active");
    assert!(!release.registered_again);
    assert_eq!(run.hypervisor.state(), State::DumpActive);
}

#[test]
fn overlapping_writes_never_reach_equal_sums() {
    let mut run = crashed(Options::seed_document());
    let mut release = ReleaseRegion::new(&run, Handler::Shipped);
    for text in ["0x10000000 0x1000", "0x10000000 0x167feefe0", "0x177fee000 0x10011020"] {
        release.write(&mut run, text).unwrap();
    }
    assert_eq!(release.invalidate_status, None);
}

#[test]
fn the_text_of_the_seed_document_comes_out_as_printed() {
    let run = crashed(Options::seed_document());
    let text = release_region(&run, ReleaseText::Document);
    let expected = "CPU:0x177fee000-0x10000: HPTE:0x177ffe020-0x1000: /\nDUMP:0x177fff020-0x10000000, \
                    0x10000000-0x16F1D370A\n";
    assert_eq!(text, expected);
    let missed = release_region(&run, ReleaseText::ShippedEarlyScanMissed);
    assert!(missed.ends_with(", 0x177feefe0-0x0:\n"), "{missed}");
    let absolute = release_region(&run, ReleaseText::Absolute);
    assert!(
        absolute.starts_with("CPU:0x177fee000-0x10020: HPTE:0x177ffe020-0x1000: DUMP:0x177fff020"),
        "{absolute}"
    );
}

#[test]
fn the_checks_of_release_see_what_the_bugs_do() {
    let mut run = crashed(Options::small_phyp());
    let asked = [Extent::new(16 * MIB, 0x2000)];
    for (handler, verdict) in [
        (Handler::Fixed, Ok(())),
        (Handler::Shipped, Err(Violation::Released { frame: 0x1002, what: "released but not asked for" })),
    ] {
        let mut release = ReleaseRegion::new(&run, handler);
        release.write(&mut run, "1000000 2000").unwrap();
        assert_eq!(check_released(&asked, &release, 0x1000), verdict);
        let steps = [Step::Durable(asked[0]), Step::Freed(release.freed().collect())];
        let needed = [Extent::new(16 * MIB, 32 * MIB)];
        let durable = check_durable_first(&steps, &needed, 0x1000);
        assert_eq!(durable.is_ok(), handler == Handler::Fixed);
    }
}
