//! Reports for which there is not the time, or not the memory.

use kernel::Kernel;
use kernel::knowledge::{Given, complete};
use std::sync::atomic::{AtomicU64, Ordering};
use triage::{Budget, Options, examine, examine_within};
use vmcore::Dump;

fn opened(name: &'static str) -> Option<Dump> {
    let mut dump = dumpfile::open(&corpus::dump(name)?.elf).unwrap();
    complete(&mut dump, &Given::default()).unwrap();
    Some(dump)
}

#[test]
fn wherever_a_report_is_cut_it_has_the_log_and_the_cause_and_where_symbols_were_read_the_cpus() {
    for name in [corpus::X86_64_DEBIAN, corpus::ARM64, corpus::POWER] {
        let Some(dump) = opened(name) else { continue };
        let kernel = Kernel::open(&dump).unwrap();
        let options = Options::default();
        let all = examine(&dump, Some(&kernel), None, &options);
        let nothing = || None;
        let (whole, cut) = (Budget::new(u64::MAX, &nothing), Budget::new(u64::MAX, &nothing));
        let within = examine_within(&dump, &kernel, &options, &whole, &cut);
        assert!(within == all, "{name}: a budget that is not spent changes nothing");
        assert_eq!((whole.spent(), cut.reads()), (None, 0), "{name}");
        let reads = whole.reads();
        let mut with_cpus = 0;
        for most in (0..8).map(|part| reads * part / 8).chain([reads - 1]) {
            let (whole, cut) = (Budget::new(most, &nothing), Budget::new(u64::MAX, &nothing));
            let report = examine_within(&dump, &kernel, &options, &whole, &cut);
            // Without symbols nothing is known of CPUs, which is said.
            let named = report.missing.iter().any(|missing| missing.part == "symbols");
            assert!(named || !report.cpus.is_empty() || all.cpus.is_empty(), "{name}: {:?}", report.missing);
            let told = format!("more than {most} reads of the kernel's memory would have been needed");
            assert_eq!(report.missing[0].why, told, "{name}");
            assert_eq!(report.missing[0].part, "all but the log, the cause, the machine and the CPUs");
            assert_eq!(
                (report.cause.kind, &report.cause.lines),
                (all.cause.kind, &all.cause.lines),
                "{name}"
            );
            assert_eq!(report.log, all.log, "{name}");
            assert_eq!(report.machine.release, all.machine.release, "{name}");
            assert!(report.tasks.is_empty() && report.memory.is_none(), "{name}");
            assert!(whole.reads() < most + (1 << 20), "{name}: {} of {most}", whole.reads());
            with_cpus += usize::from(report.cpus.len() == all.cpus.len() && !all.cpus.is_empty());
            if let (Some(one), Some(other)) = (report.cpus.first(), all.cpus.first()) {
                assert_eq!(one.registers, other.registers, "{name}");
            }
        }
        assert!(with_cpus > 0 || all.cpus.is_empty(), "{name}: {with_cpus}");
    }
}

#[test]
fn what_is_used_up_besides_is_asked_for_now_and_then_and_ends_the_looking() {
    let Some(dump) = opened(corpus::X86_64_DEBIAN) else { return };
    let kernel = Kernel::open(&dump).unwrap();
    let asked = AtomicU64::new(0);
    let fourth = || (asked.fetch_add(1, Ordering::Relaxed) == 3).then(|| "2 s were not enough".to_owned());
    let nothing = || None;
    let (whole, cut) = (Budget::new(u64::MAX, &fourth), Budget::new(200, &nothing));
    let report = examine_within(&dump, &kernel, &Options::default(), &whole, &cut);
    assert_eq!(report.missing[0].why, "2 s were not enough");
    assert_eq!((whole.spent(), asked.load(Ordering::Relaxed)), (Some("2 s were not enough"), 4));
    // With both budgets spent it came to an end all the same.
    assert!(cut.spent().is_some());
}
