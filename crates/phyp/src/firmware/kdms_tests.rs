use super::*;
use proptest::prelude::*;

/// Request, type, error flags, source, requested, copied, destination.
type Written = (u32, u16, u16, u64, u64, u64, u64);

/// Writes the structure by its own idea of the layout, so that a wrong offset in the parser cannot cancel out.
fn write(sections: &[Written], count: u16, first: u32, status: u16) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(1u32.to_be_bytes());
    out.extend(count.to_be_bytes());
    out.extend(status.to_be_bytes());
    out.extend(first.to_be_bytes());
    out.extend([0; 0x28 - 0xc]);
    out.resize((first as usize).max(0x28), 0);
    for &(request, kind, errors, source, len, copied, dest) in sections {
        out.extend(request.to_be_bytes());
        out.extend(kind.to_be_bytes());
        out.extend(errors.to_be_bytes());
        for word in [source, len, copied, dest] {
            out.extend(word.to_be_bytes());
        }
    }
    out
}

fn good() -> Vec<Written> {
    vec![
        (1, 1, 0, 0, 0xa00, 0xa00, 0x1400_0000),
        (1, 2, 0, 0, 0x1000, 0x1000, 0x1400_1000),
        (1, 0x11, 0, 0, 0x1400_0000, 0x1400_0000, 0x1401_0000),
        (1, 0x100, 0, 0x2fff_f800, 0x800, 0x800, 0x2fff_f800),
    ]
}

fn faults_of(sections: &[Written]) -> Vec<Fault> {
    let ram = [Range::new(PhysAddr(0), PhysAddr(0x3000_0000))].into_iter().collect();
    let bytes = write(sections, sections.len() as u16, 0x28, 0xc000);
    KernelDump::parse(&bytes).unwrap().faults(Some(&ram))
}

#[test]
fn a_good_structure_is_read_and_has_no_faults() {
    let bytes = write(&good(), 4, 0x28, 0xc000);
    let dump = KernelDump::parse(&bytes).unwrap();
    assert_eq!(dump.sections.len(), 4);
    assert_eq!(dump.find(SectionKind::RealMode).unwrap().destination, PhysAddr(0x1401_0000));
    assert!(dump.sections[3].is_in_place() && !dump.sections[2].is_in_place());
    assert_eq!(dump.raw(), &bytes[..]);
    assert_eq!(faults_of(&good()), []);
}

#[test]
fn each_way_a_section_can_fail_has_its_own_fault() {
    let with = |i: usize, change: &dyn Fn(&mut Written)| {
        let mut sections = good();
        change(&mut sections[i]);
        faults_of(&sections)
    };
    assert_eq!(with(1, &|s| s.0 = 0), [Fault::NotRequested(1)]);
    assert_eq!(with(0, &|s| s.5 = 0), [Fault::NotCopied(0)]);
    assert_eq!(with(2, &|s| s.5 -= 1), [Fault::CopiedShort(2)]);
    assert_eq!(with(2, &|s| s.5 += 1), [Fault::CopiedMore(2)]);
    for (flag, _) in Section::ERRORS {
        assert_eq!(with(2, &|s| s.2 = flag), [Fault::ErrorFlag(2, flag)]);
    }
    assert_eq!(with(2, &|s| s.2 = 0x0040), [Fault::SwappedErrorFlag(2, 0x4000)]);
    assert_eq!(with(2, &|s| s.2 = 0x0100), [Fault::ReservedError(2, 0x0100)]);
    assert_eq!(with(3, &|s| s.1 = 0x13), [Fault::UnknownType(3, 0x13)]);
    assert_eq!(with(1, &|s| s.6 = 0x2fff_f000), [Fault::Overlap(1, 3), Fault::OverSource(1, 3)]);
    assert_eq!(with(1, &|s| s.6 = 0x3000_0000), [Fault::OutsideMemory(1)]);
    assert_eq!(with(1, &|s| s.6 = u64::MAX), [Fault::OutsideMemory(1)]);
    assert_eq!(with(1, &|s| s.6 = 0x1400_0800), [Fault::Overlap(0, 1)]);
    assert_eq!(
        with(2, &|s| s.6 = 0x13ff_f000),
        [Fault::Overlap(0, 2), Fault::Overlap(1, 2), Fault::OverSource(2, 2)]
    );
}

#[test]
fn status_bits_are_tested_as_bits() {
    let faults = |status| KernelDump::parse(&write(&good(), 4, 0x28, status)).unwrap().faults(None);
    assert_eq!(faults(0xe000), [Fault::StatusError]);
    assert_eq!(faults(0x2000), [Fault::StatusError, Fault::NotPerformed(Status(0x2000))]);
    assert_eq!(faults(0x8000), [Fault::NotPerformed(Status(0x8000))]);
    assert_eq!(faults(0xc001), [Fault::ReservedStatus(1)]);
}

#[test]
fn versions_counts_and_offsets_that_are_off_are_followed_or_refused() {
    let parse = |count, first| KernelDump::parse(&write(&good(), count, first, 0xc000));
    assert_eq!(parse(0, 0x28).unwrap().faults(None), [Fault::MoreSections { claimed: 0, found: 4 }]);
    assert_eq!(parse(1, 0x28).unwrap().faults(None), [Fault::MoreSections { claimed: 1, found: 4 }]);
    assert_eq!(parse(1, 0x28).unwrap().sections.len(), 4);
    let nothing = KernelDump::parse(&write(&[], 0, 0x28, 0xc000)).unwrap();
    assert_eq!(nothing.faults(None), [Fault::NoSections]);
    assert_eq!(parse(5, 0x28).unwrap().faults(None), [Fault::MissingSections { claimed: 5, found: 4 }]);
    let many = parse(65535, 0x28).unwrap();
    assert!(many.faults(None).contains(&Fault::TooManySections(65535)));
    assert_eq!(many.sections.len(), 4);
    assert_eq!(parse(4, 0x40).unwrap().faults(None), [Fault::FirstSection(0x40)]);
    assert_eq!(parse(4, 0x40).unwrap().sections, parse(4, 0x28).unwrap().sections);

    let mut bytes = write(&good(), 4, 0x28, 0xc000);
    for first in [0u32, 0x27, 0x1000, u32::MAX] {
        bytes.truncate(0x28 + 4 * 0x28);
        bytes[8..12].copy_from_slice(&first.to_be_bytes());
        let dump = KernelDump::parse(&bytes).unwrap();
        assert_eq!((dump.sections.len(), dump.faults(None)), (4, vec![Fault::FirstSectionOutside(first)]));
        bytes.push(0);
        let message = KernelDump::parse(&bytes).unwrap_err().to_string();
        assert!(message.contains("offset of the first section at offset 0x8"), "{message}");
    }
    assert!(matches!(KernelDump::parse(&bytes[..0x27]), Err(Error::Short { found: 0x27, .. })));
    let mut old = write(&good(), 4, 0x28, 0xc000);
    old[3] = 2;
    assert_eq!(KernelDump::parse(&old).unwrap().faults(None), [Fault::Version(2)]);
}

#[test]
fn ten_sections_are_read_and_an_eleventh_is_not() {
    let section = (1, 0x100, 0, 0x1000, 0x10, 0x10, 0x1000);
    let eleven = KernelDump::parse(&write(&[section; 11], 11, 0x28, 0xc000)).unwrap();
    assert_eq!(eleven.sections.len(), 10);
    assert!(eleven.faults(None).contains(&Fault::TooManySections(11)));
}

fn filled_within_target(section: &Section) {
    assert!(section.filled().len() <= section.target().len());
}

proptest! {
    #[test]
    fn what_is_written_is_read(sections in prop::collection::vec(
        (any::<u32>(), any::<u16>(), any::<u16>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()), 0..10),
        status: u16) {
        let dump = KernelDump::parse(&write(&sections, sections.len() as u16, 0x28, status)).unwrap();
        prop_assert_eq!(dump.status, Status(status));
        prop_assert_eq!(dump.sections.len(), sections.len());
        for (read, &(request, kind, errors, source, len, copied, dest)) in dump.sections.iter().zip(&sections) {
            prop_assert_eq!(*read, Section {
                request, kind: SectionKind::from_type(kind), errors, source: PhysAddr(source),
                requested: len, copied, destination: PhysAddr(dest),
            });
        }
        let _ = dump.faults(None);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        if let Ok(dump) = KernelDump::parse(&bytes) {
            let _ = dump.faults(None);
            dump.sections.iter().for_each(filled_within_target);
        }
    }
}
