//! Reports of real dumps, and what drgn found in them.

#![allow(dead_code, reason = "no test needs all helpers")]

use kernel::Kernel;
use kernel::knowledge::{Given, complete};
use kernel::vmlinux::Vmlinux;
use serde_json::Value;
use triage::{Options, Report, Stacks, Subject, examine, survey};

/// Dumps that describe themselves.
pub(crate) const ALONE: [&str; 3] = [corpus::X86_64_DEBIAN, corpus::ARM64, corpus::S390X];
/// Dumps whose types a vmlinux has.
pub(crate) const WITH_VMLINUX: [&str; 2] = [corpus::X86_64, corpus::POWER];

/// Runs `test` with the report of each dump that has a golden file, and with that.
pub(crate) fn each(test: impl Fn(&str, &Report, &Value)) {
    for name in ALONE {
        one(name, false, &test);
    }
    for name in WITH_VMLINUX {
        one(name, true, &test);
    }
}

/// Runs `test` with the report of one dump, if it is there.
pub(crate) fn one(name: &'static str, with_vmlinux: bool, test: impl Fn(&str, &Report, &Value)) {
    let Some(real) = corpus::dump(name) else { return };
    let Some(golden) = real.golden() else { return };
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let vmlinux = match with_vmlinux {
        true => match real.vmlinux() {
            Some(path) => Some(Vmlinux::open(&path).unwrap()),
            None => return,
        },
        false => None,
    };
    let mut dump = dumpfile::open(&real.elf).unwrap();
    complete(&mut dump, &Given::default()).unwrap();
    let kernel = Kernel::open(&dump).unwrap();
    let options = Options { stacks: Stacks::All };
    test(name, &examine(&dump, Some(&kernel), vmlinux.as_ref(), &options), &golden);
}

/// Runs `test` with the report of a dump by what it has itself, if it is there.
pub(crate) fn by_itself(name: &'static str, test: impl Fn(&Report)) {
    let Some(real) = corpus::dump(name) else { return };
    let mut dump = dumpfile::open(&real.elf).unwrap();
    complete(&mut dump, &Given::default()).unwrap();
    let kernel = Kernel::open(&dump).unwrap();
    test(&examine(&dump, Some(&kernel), None, &Options { stacks: Stacks::All }));
}

/// As [`each`], with what reads the kernel's structures by name.
pub(crate) fn each_with_subject(test: impl Fn(&str, &Subject<'_>, &Report, &Value)) {
    let names = ALONE.map(|name| (name, false)).into_iter().chain(WITH_VMLINUX.map(|name| (name, true)));
    for (name, with_vmlinux) in names {
        one(name, with_vmlinux, |_, report, golden| {
            let real = corpus::dump(name).unwrap();
            let vmlinux = with_vmlinux.then(|| Vmlinux::open(&real.vmlinux().unwrap()).unwrap());
            let mut dump = dumpfile::open(&real.elf).unwrap();
            complete(&mut dump, &Given::default()).unwrap();
            let kernel = Kernel::open(&dump).unwrap();
            survey(&dump, Some(&kernel), vmlinux.as_ref(), |subject, _| test(name, subject, report, golden));
        });
    }
}
