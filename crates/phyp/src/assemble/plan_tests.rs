use super::*;
use proptest::prelude::*;

fn r(start: u64, end: u64) -> Range<PhysAddr> {
    Range::new(PhysAddr(start), PhysAddr(end))
}

fn section(kind: SectionKind, source: u64, requested: u64, copied: u64, destination: u64) -> Section {
    let (source, destination) = (PhysAddr(source), PhysAddr(destination));
    Section { request: 1, kind, errors: 0, source, requested, copied, destination }
}

/// Boot memory 0..1000h, dump area from 1000h: CPU state 100h, padding, copy at 1200h, header after it.
fn plan() -> Plan {
    Plan {
        sections: vec![
            section(SectionKind::CpuState, 0, 0x100, 0x100, 0x1000),
            section(SectionKind::RealMode, 0, 0x1000, 0x1000, 0x1200),
            section(SectionKind::Os(0x100), 0x7f00, 0x100, 0x100, 0x7f00),
        ],
        boot_end: PhysAddr(0x1000),
        memory: set(r(0, 0x8000)),
        image: set(r(0, 0x8000)),
        after: vec![r(0x2200, 0x22b0)],
    }
}

fn at(range: Range<PhysAddr>, image: Option<u64>) -> Segment {
    Segment { range, image: image.map(PhysAddr) }
}

#[test]
fn boot_memory_is_at_its_copy_the_area_is_absent_and_the_rest_in_place() {
    let (segments, lost) = plan().segments();
    assert_eq!(segments, [at(r(0, 0x1000), Some(0x1200)), at(r(0x22b0, 0x8000), Some(0x22b0))]);
    assert_eq!(lost, Lost::default());
    assert_eq!(plan().reserved(), set(r(0x1000, 0x22b0)));
    assert_eq!(plan().locate(r(0x10, 0x20)), Some(r(0x1210, 0x1220)));
    assert_eq!(plan().locate(r(0x3000, 0x3010)), Some(r(0x3000, 0x3010)));
    assert_eq!(plan().locate(r(0xff0, 0x1010)), None);
}

#[test]
fn a_short_copy_loses_what_it_lacks_and_a_missing_one_everything() {
    for (copied, lost_from) in [(0xfff, 0xfff), (0x800, 0x800), (0, 0)] {
        let mut plan = plan();
        plan.sections[1].copied = copied;
        let (segments, lost) = plan.segments();
        assert_eq!(lost.overwritten, set(r(lost_from, 0x1000)));
        assert!(segments.contains(&at(r(lost_from, 0x1000), None)));
        assert_eq!(lost.all(), lost.overwritten);
    }
    let mut plan = plan();
    plan.sections[1].request = 0;
    assert_eq!(plan.segments().1.overwritten, set(r(0, 0x1000)));
}

#[test]
fn what_the_second_boot_used_beyond_the_copy_is_lost() {
    let mut plan = plan();
    plan.boot_end = PhysAddr(0x3000);
    plan.sections[0].destination = PhysAddr(0x4000);
    plan.sections[1].destination = PhysAddr(0x4200);
    plan.after = vec![r(0x5200, 0x52b0)];
    let (segments, lost) = plan.segments();
    assert_eq!(lost.overwritten, set(r(0x1000, 0x3000)));
    let in_place = [at(r(0x3000, 0x4000), Some(0x3000)), at(r(0x52b0, 0x8000), Some(0x52b0))];
    assert_eq!(segments[0], at(r(0, 0x1000), Some(0x4200)));
    assert_eq!(segments[2..], in_place);

    // A copy that the second boot has overwritten does not count.
    plan.boot_end = PhysAddr(0x4800);
    assert_eq!(plan.segments().1.copy_gone, set(r(0, 0x600)));
}

#[test]
fn several_regions_with_a_hole_between_them_are_each_read_at_their_own_copy() {
    let mut plan = plan();
    plan.memory = [r(0, 0x800), r(0xc00, 0x8000)].into_iter().collect();
    plan.sections[1] = section(SectionKind::RealMode, 0, 0x800, 0x800, 0x1200);
    plan.sections[2] = section(SectionKind::RealMode, 0xc00, 0x400, 0x400, 0x1a00);
    let (segments, lost) = plan.segments();
    assert_eq!(segments[..2], [at(r(0, 0x800), Some(0x1200)), at(r(0xc00, 0x1000), Some(0x1a00))]);
    assert_eq!(lost, Lost::default());
}

#[test]
fn copies_that_overlap_lose_what_the_later_one_wrote_over() {
    let mut over = plan();
    over.sections.push(section(SectionKind::Hpte, 0, 0x80, 0x80, 0x1280));
    let (segments, lost) = over.segments();
    assert_eq!(lost.copy_gone, set(r(0x80, 0x100)));
    assert_eq!(
        segments[..3],
        [at(r(0, 0x80), Some(0x1200)), at(r(0x80, 0x100), None), at(r(0x100, 0x1000), Some(0x1300))]
    );

    let mut before = plan();
    before.sections.insert(0, section(SectionKind::Hpte, 0, 0x80, 0x80, 0x400));
    assert_eq!(before.segments().1.copy_gone, set(r(0x400, 0x480)));

    let mut own = plan();
    own.sections[1].destination = PhysAddr(0xc00);
    // The first quarter's copy lies in memory that the second boot used, the last one was smeared.
    assert_eq!(own.segments().1.copy_gone, [r(0, 0x400), r(0xc00, 0x1000)].into_iter().collect());
}

#[test]
fn a_copy_longer_than_asked_for_overwrites_what_follows() {
    let mut plan = plan();
    plan.after.clear();
    plan.sections[1].copied = 0x1100;
    let (segments, lost) = plan.segments();
    assert_eq!(lost.overrun, set(r(0x2200, 0x2300)));
    assert_eq!(segments[0], at(r(0, 0x1000), Some(0x1200)));
}

#[test]
fn what_lies_outside_the_image_is_lost() {
    let mut plan = plan();
    plan.image = set(r(0, 0x7000));
    assert_eq!(plan.segments().1.not_in_image, set(r(0x7000, 0x8000)));
    plan.image = set(r(0, 0x1a00));
    let (_, lost) = plan.segments();
    assert_eq!((lost.copy_gone, lost.not_in_image), (set(r(0x800, 0x1000)), set(r(0x22b0, 0x8000))));
    plan.sections[1].destination = PhysAddr(u64::MAX - 0x10);
    assert_eq!(plan.segments().1.all().within(r(0, 0x1000)).collect::<Vec<_>>(), [r(0, 0x1000)]);
}

#[test]
fn parts_of_the_area_that_lie_far_apart_leave_what_is_between_in_the_dump() {
    let mut plan = plan();
    plan.memory = set(r(0, 0x10_0000));
    plan.image = plan.memory.clone();
    plan.sections[0].destination = PhysAddr(0xa_0000);
    assert_eq!(plan.reserved(), [r(0x1200, 0x22b0), r(0xa_0000, 0xa_0100)].into_iter().collect());
}

proptest! {
    #[test]
    fn segments_are_disjoint_and_cover_all_memory_but_the_area(
        sections in prop::collection::vec((0u32..2, 0u16..4, 0u64..0x6000, 0u64..0x3000, 0u64..0x3000, 0u64..0x9000), 0..10),
        boot_end in 0u64..0x4000, image_end in 0u64..0x9000,
    ) {
        let kinds = [SectionKind::CpuState, SectionKind::RealMode, SectionKind::Os(0x101), SectionKind::Unknown(3)];
        let sections: Vec<Section> = sections.into_iter().map(|(request, kind, source, len, copied, dest)| {
            Section { request, ..section(kinds[usize::from(kind)], source, len, copied, dest) }
        }).collect();
        let plan = Plan { sections, boot_end: PhysAddr(boot_end), memory: [r(0, 0x3000), r(0x3800, 0x8000)].into_iter().collect(),
            image: set(r(0, image_end)), after: vec![] };
        let (segments, lost) = plan.segments();
        prop_assert!(segments.is_sorted_by(|a, b| a.range.end <= b.range.start && !a.range.is_empty()));
        let all: RangeSet<PhysAddr> = segments.iter().map(|s| s.range).collect();
        let sources: RangeSet<PhysAddr> = plan.sections.iter().filter(|s| is_copy(s)).map(|s| s.source_range()).collect();
        let expected = plan.memory.subtract(&plan.reserved());
        prop_assert_eq!(expected.subtract(&all).total(), 0);
        prop_assert_eq!(all.subtract(&expected).subtract(&sources).total(), 0);
        let nowhere: RangeSet<PhysAddr> = segments.iter().filter(|s| s.image.is_none()).map(|s| s.range).collect();
        prop_assert_eq!(nowhere, lost.all());
        for s in segments.iter().filter_map(|s| s.image.map(|i| (i.0, s.range.len()))) {
            prop_assert!(s.0 + s.1 <= image_end);
        }
    }

    #[test]
    fn any_numbers_are_planned_without_panic(sections in prop::collection::vec(any::<(u32, u16, u64, u64, u64, u64)>(), 0..10), boot_end: u64) {
        let sections = sections.into_iter().map(|(request, kind, source, len, copied, dest)| {
            Section { request, ..section(SectionKind::from_type(kind % 0x14), source, len, copied, dest) }
        }).collect();
        let plan = Plan { sections, boot_end: PhysAddr(boot_end), memory: set(r(0, u64::MAX)), image: set(r(0, u64::MAX)), after: vec![] };
        let _ = (plan.segments(), plan.locate(r(0, 16)), plan.boot_copies());
    }
}
