//! The causes of real dumps' crashes, from their logs and what else they say.

use corpus::{ARM64, POWER, POWER_BE, S390X, X86_64, X86_64_DEBIAN};
use kernel::kallsyms::Kallsyms;
use kernel::{Kernel, knowledge};
use std::collections::BTreeSet;
use triage::cause::{self, Facts, Found, Kind};
use triage::log::{Entries, TAIL};
use triage::signature;

/// What the dump called `name` yields, with its log's entries and what it knows besides.
fn with_cause(name: &'static str, test: impl FnOnce(&corpus::Dump, &Entries, &Facts, &Found)) {
    let Some(real) = corpus::dump(name) else { return };
    let mut dump = dumpfile::open(&real.elf).unwrap();
    let _ = knowledge::complete(&mut dump, &Default::default());
    let kernel = Kernel::open(&dump).unwrap();
    let table = Kallsyms::open(&kernel).unwrap();
    let entries = Entries::read(&kernel).unwrap();
    let facts = Facts::read(&kernel, table.find("panic_cpu").unwrap());
    test(&real, &entries, &facts, &cause::find(&entries, &facts));
}

#[test]
fn sysrq_is_named_as_the_cause_where_it_was() {
    for (name, cpu, pid, comm) in [
        (X86_64, 1, 1, "init"),
        (X86_64_DEBIAN, 0, 147, "sh"),
        (ARM64, 0, 1, "init"),
        (POWER, 1, 1, "init"),
        (POWER_BE, 1, 1, "init"),
    ] {
        with_cause(name, |_, _, facts, found| {
            let cause = &found.cause;
            assert_eq!(cause.kind, Kind::SysRq, "{name}: {cause:#?}");
            assert!(facts.crash_time, "{name}");
            assert_eq!(facts.panic_cpu, Some(Some(cpu)), "{name}");
            assert_eq!((cause.cpu, cause.pid, cause.comm.as_deref()), (Some(cpu), Some(pid), Some(comm)));
            assert_eq!(cause.panic.as_deref(), Some("sysrq triggered crash"));
            assert!(cause.at.as_ref().unwrap().contains("sysrq_handle_crash+"), "{name}: {:?}", cause.at);
            assert_eq!(cause.address, None);
            let signature = signature::find(cause, &[]).unwrap();
            let functions = ["sysrq_handle_crash", "__handle_sysrq", "write_sysrq_trigger", "proc_reg_write"];
            assert_eq!(signature.parts[1], "sysrq");
            assert_eq!(signature.parts[2..6], functions, "{name}");
        });
    }
}

/// So crashes of the same kind group, whatever the machine and the kernel.
#[test]
fn the_signature_is_the_same_on_all_machines_whose_functions_are() {
    let mut hashes = BTreeSet::new();
    for name in [X86_64, X86_64_DEBIAN, ARM64, POWER, POWER_BE] {
        with_cause(name, |_, _, _, found| {
            hashes.insert(signature::find(&found.cause, &[]).unwrap().hash);
        });
    }
    assert!(hashes.len() <= 1, "{hashes:?}");
}

#[test]
fn a_dump_that_was_made_by_hand_shows_no_crash() {
    with_cause(S390X, |_, entries, facts, found| {
        assert_eq!((facts.crash_time, facts.panic_cpu), (false, Some(None)));
        assert_eq!(found.cause.kind, Kind::NoCrash);
        assert!(found.cause.lines.is_empty() && found.entries.is_empty());
        assert_eq!(signature::find(&found.cause, &[]), None);
        assert!(entries.show(TAIL, &found.entries).tail.iter().all(|line| !line.crash));
    });
}

#[test]
fn the_log_is_shown_as_dmesg_prints_it_with_the_crash_marked() {
    for name in [X86_64, X86_64_DEBIAN, ARM64, POWER, S390X] {
        with_cause(name, |real, entries, _, found| {
            let expected = real.text("expected/dmesg.txt");
            let log = entries.show(TAIL, &found.entries);
            let lines: Vec<_> = expected.lines().collect();
            assert_eq!(log.total, lines.len() as u64, "{name}");
            let tail: Vec<_> = log.tail.iter().map(|line| line.text.as_str()).collect();
            assert_eq!(tail, lines[lines.len() - TAIL..], "{name}");
            assert!(log.tail.iter().all(|line| line.level.is_some()), "{name}");
            for line in log.errors.iter() {
                assert!(line.level.unwrap() <= 3 && lines.contains(&line.text.as_str()), "{name}");
            }
            for line in found.cause.lines.iter() {
                assert!(lines.contains(&line.as_str()), "{name}");
            }
            for line in log.tail.iter().filter(|line| line.crash) {
                assert!(!line.text.contains("EXT4-fs"), "{name}: {}", line.text);
            }
            let marked = log.tail.iter().filter(|line| line.crash).count();
            assert!(name == S390X || marked >= 15, "{name}: {marked}");
        });
    }
}
