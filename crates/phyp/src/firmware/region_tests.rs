use super::*;
use proptest::prelude::*;

/// The example of the design document of 2007, as it is printed there.
const SEED: &str = "CPU:0x177fee000-0x10000: HPTE:0x177ffe020-0x1000: /\n\
    DUMP:0x177fff020-0x10000000, 0x10000000-0x16F1D370A\n";
/// What Linux 2.6.26 to 3.3 prints on such a machine.
const SHIPPED: &str = "CPU:0x0-0x0: HPTE:0x10020-0x0: DUMP:0x11020-0x0, 0x10000000-0x167feefe0:\n";

fn pair(address: u64, second: u64) -> Pair {
    Pair { address: PhysAddr(address), second }
}

#[test]
fn the_documents_example_is_read_and_its_oddities_are_explained() {
    let region = ReleaseRegion::parse(SEED).unwrap();
    assert_eq!(region.cpu(), Some(pair(0x1_77fe_e000, 0x10000)));
    assert_eq!(region.hpte(), Some(pair(0x1_77ff_e020, 0x1000)));
    assert_eq!(region.low_memory(), Some(pair(0x1_77ff_f020, 0x1000_0000)));
    assert_eq!(region.in_place().collect::<Vec<_>>(), [pair(0x1000_0000, 0x1_6f1d_370a)]);
    assert!(!region.is_blank());
    let scratch = region.scratch();
    assert_eq!(scratch, Some(PhysAddr(0x1_77fe_e000)));

    let listed = region.listed(Reading::AddressLength, scratch, 0x1000);
    assert_eq!(listed[0].raw, Range::new(PhysAddr(0x1000_0000), PhysAddr(0x1_7f1d_370a)));
    assert_eq!(listed[0].clamped, Range::new(PhysAddr(0x1000_0000), PhysAddr(0x1_77fe_e000)));
    let listed = region.listed(Reading::StartEnd, scratch, 0x1000);
    assert_eq!(listed[0].clamped, Range::new(PhysAddr(0x1000_0000), PhysAddr(0x1_6f1d_3000)));

    let findings = region.findings(Reading::AddressLength, scratch, 0x1000);
    for words in [
        "line continuation",
        "does not end with a colon",
        "upper-case",
        "CPU is 0x10000 bytes long, HPTE begins 0x10020 bytes after its start",
        "the copy of low memory begins at 0x177fff020, inside a page",
        "ends at 0x17f1d370a, 0x71e570a bytes past the start of the save areas at 0x177fee000",
        "read as start and end it would stop",
        "142 MiB, short of them",
        "does not begin and end at pages of 0x1000 bytes",
    ] {
        assert!(findings.mentions(words), "{words}: {findings:#?}");
    }
}

#[test]
fn the_shipped_kernels_text_leaves_the_areas_to_the_device_tree() {
    let region = ReleaseRegion::parse(SHIPPED).unwrap();
    assert!(region.is_blank());
    assert_eq!(region.scratch(), None);
    let scratch = Some(PhysAddr(0x1_77fe_e000));
    let listed = region.listed(Reading::AddressLength, scratch, 0x1000);
    assert_eq!(listed[0].raw.end, PhysAddr(0x1_77fe_efe0));
    assert_eq!(listed[0].clamped.end, PhysAddr(0x1_77fe_e000));
    let findings = region.findings(Reading::AddressLength, scratch, 0x1000);
    assert!(
        findings.mentions("the device tree decides") && findings.mentions("0xfe0 bytes past"),
        "{findings:?}"
    );
    assert!(!findings.mentions("colon"));
}

#[test]
fn every_spelling_says_the_same() {
    let plain = "CPU:0x1000-0x100: HPTE:0x2000-0x200: DUMP:0x3000-0x300, 0x10000-0xf000:\n";
    let expected = ReleaseRegion::parse(plain).unwrap().groups;
    for text in [
        "CPU:0x1000-0x100: HPTE:0x2000-0x200: DUMP:0x3000-0x300, 0x10000-0xf000",
        "CPU:0x1000-0x100: HPTE:0x2000-0x200: /\nDUMP:0x3000-0x300, 0x10000-0xF000",
        "CPU:0x1000-0x100: HPTE:0x2000-0x200: \\\n  DUMP:0x3000-0x300,0x10000-0xf000:",
        "CPU:1000-100: HPTE:2000-200: DUMP:3000-300, 10000-f000:",
        "cpu:0X1000-0X100: hpte:0x2000-0x200: dump:0x3000-0x300 0x10000-0xf000",
        "# cat /sys/kernel/release-region\nCPU:0x1000-0x100: HPTE:0x2000-0x200: DUMP:0x3000-0x300, 0x10000-0xf000:",
        "/sys/kernel/release_region: CPU:0x1000-0x100: HPTE:0x2000-0x200: DUMP:0x3000-0x300, 0x10000-0xf000:\0",
        "CPU: 0x1000-0x100: HPTE: 0x2000-0x200: DUMP: 0x3000 - 0x300, 0x10000-0xf000:",
    ] {
        assert_eq!(
            ReleaseRegion::parse(text).map(|r| r.groups).map_err(|e| e.to_string()),
            Ok(expected.clone()),
            "{text}"
        );
    }
}

#[test]
fn groups_may_be_missing_unknown_in_any_order_and_have_many_pairs() {
    let region = ReleaseRegion::parse("DUMP:0x1-0x2, 0x3-0x4, 0x5-0x6: OTHER:0x7-0x8: CPU:0x9-0xa:").unwrap();
    assert_eq!((region.cpu(), region.hpte()), (Some(pair(9, 10)), None));
    assert_eq!(region.in_place().count(), 2);
    assert!(region.findings(Reading::AddressLength, None, 0x1000).mentions("unknown meaning"));
    assert_eq!(pair(0x20, 0x10).range(Reading::StartEnd).len(), 0);
    assert_eq!(pair(u64::MAX, 0x10).range(Reading::AddressLength).len(), 0);
}

#[test]
fn what_is_no_pair_of_hexadecimal_numbers_is_refused_with_its_column() {
    for (text, why) in [
        ("", "no pair of numbers"),
        (" \n", "no pair of numbers"),
        ("CPU:", "no pair of numbers"),
        ("CPU:0x10", "a number without a partner"),
        ("CPU:0x10-", "a number without a partner"),
        ("CPU:0x10-0x20: DUMP:0x30", "a number without a partner"),
        ("0x10-0x20", "a pair before any group"),
        ("CPU:-0x10-0x20", "'-' where"),
        ("CPU:0x10-+0x20", "'+' where"),
        ("CPU:0x10--0x20", "'-' where"),
        ("CPU:0x10-256M", "\"256M\" is not a hexadecimal number"),
        ("CPU:0x10-0x", "\"0x\" is not a hexadecimal number"),
        ("CPU:0x10000000000000000-0x1", "more than 64 bits"),
    ] {
        let message = ReleaseRegion::parse(text).unwrap_err().to_string();
        assert!(message.contains(why) && message.contains("column"), "{text:?}: {message}");
    }
    assert!(ReleaseRegion::parse("CPU:0x0000000000000000001-0x1").is_ok());
}

proptest! {
    #[test]
    fn what_is_printed_is_read(cpu: (u64, u64), hpte: (u64, u64), dump in prop::collection::vec(any::<(u64, u64)>(), 1..5)) {
        let pairs: Vec<String> = dump.iter().map(|(a, l)| format!("{a:#x}-{l:#x}")).collect();
        let text = format!("CPU:{:#x}-{:#x}: HPTE:{:#x}-{:#x}: DUMP:{}:\n", cpu.0, cpu.1, hpte.0, hpte.1, pairs.join(", "));
        let region = ReleaseRegion::parse(&text).unwrap();
        prop_assert_eq!(region.cpu(), Some(pair(cpu.0, cpu.1)));
        prop_assert_eq!(region.hpte(), Some(pair(hpte.0, hpte.1)));
        let read: Vec<(u64, u64)> = region.pairs("DUMP").map(|p| (p.address.0, p.second)).collect();
        prop_assert_eq!(read, dump);
        let _ = region.findings(Reading::AddressLength, region.scratch(), 0x1000);
        let _ = region.findings(Reading::StartEnd, region.scratch(), 0x10000);
    }

    #[test]
    fn random_text_never_panics(text in "[CPUDMHTEcpu0-9a-fxX:,/ \\\\\n-]{0,80}|\\PC{0,60}") {
        if let Ok(region) = ReleaseRegion::parse(&text) {
            let _ = region.findings(Reading::AddressLength, Some(PhysAddr(0x1000)), 0x1000);
        }
    }
}
