//! `hadump status` in every state of a machine, as docs/leavings.md says, each made by the model.

mod common;

use common::run::{self, Scratch};
use phyp_model::root::RootOptions;
use phyp_model::state::{self, Other, State};
use phyp_model::{Linux, Machine, Mode, Options};
use serde_json::Value;

/// The machine's state, the kernel, and what status says: whether the next crash would be dumped, and of the last boot.
#[rustfmt::skip] // One state a line, to be read in columns.
const TABLE: &[(&str, Linux, &str, &str)] = &[
    ("unsupported",      Linux::V7_2,  "unsupported",       "ordinary"),
    ("not-enabled",      Linux::V7_2,  "supported",         "ordinary"),
    ("not-registered",   Linux::V7_2,  "not_registered",    "ordinary"),
    ("registered",       Linux::V6_1,  "registered",        "ordinary"),
    ("registered",       Linux::V7_2,  "registered",        "ordinary"),
    ("waits",            Linux::V6_1,  "dump_active",       "dump_waiting"),
    ("waits",            Linux::V7_2,  "dump_active",       "dump_waiting"),
    ("waits",            Linux::Next,  "dump_active",       "dump_waiting"),
    ("given-back",       Linux::V6_1,  "not_registered",    "given_back"),
    ("given-back",       Linux::V7_2,  "reboot_first",      "given_back"),
    ("given-back",       Linux::Next,  "reboot_first",      "given_back"),
    ("refused",          Linux::V6_1,  "not_registered",    "refused_by_the_kernel"),
    ("refused",          Linux::V7_2,  "reboot_first",      "refused_by_the_kernel"),
    ("registered-again", Linux::V6_1,  "registered",        "given_back"),
    ("registered-again", Linux::V7_2,  "registered_unsafe", "given_back"),
    ("kdump-loaded",     Linux::V7_2,  "loaded",            "ordinary"),
    ("kdump-not-loaded", Linux::V7_2,  "not_loaded",        "ordinary"),
    ("kdump-captures",   Linux::V7_2,  "not_loaded",        "dump_waiting"),
];

fn status(name: &str, linux: Linux) -> Value {
    let root = Scratch::new("machine");
    let machine = || {
        let mut machine = Machine::new(Options { mode: Mode::Fadump(linux), ..Options::small_fadump() })?;
        machine.scatter(64)?;
        Ok(machine)
    };
    assert!(state::write(name, machine, root.path(), &RootOptions::default()).expect("a root"), "{name}");
    let output =
        run::hadump(["status".as_ref(), "--json".as_ref(), "--root".as_ref(), root.path().as_os_str()]);
    serde_json::from_str(&output.stdout)
        .unwrap_or_else(|e| panic!("{name}: {e}: {}{}", output.stdout, output.stderr))
}

#[test]
fn status_is_true_in_every_state_of_a_machine() {
    let mut wrong = Vec::new();
    for &(name, linux, readiness, last_boot) in TABLE {
        let answer = status(name, linux);
        if (&answer["readiness"], &answer["last_boot"]) != (&readiness.into(), &last_boot.into()) {
            wrong.push(format!(
                "{name}, {linux:?}: {} and {}: {answer:#}",
                answer["readiness"], answer["last_boot"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for name in State::ALL.map(|row| row.0).into_iter().chain(Other::ALL.map(|row| row.0)) {
        assert!(TABLE.iter().any(|row| row.0 == name), "{name} is not in the table");
    }
}
