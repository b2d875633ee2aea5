//! The scenarios of `cargo xtask boot kdump`.

use super::judge;
use crate::guest::Spare;
use crate::guest::scenario::{Copy, Scenario, Step};
use crate::guest::x86_64::KDUMP;

/// All of them.
pub(super) const ALL: [Scenario; 1] = [CAPTURE];

/// What a report says of the crash.
const BY_HAND: &str = "asked for by hand (SysRq)";

/// The least that distributions set aside, and more processors than one thread for each would have room for.
const CAPTURE: Scenario = Scenario {
    name: "capture",
    about: "4 processors, crashkernel=128M: the dump is whole, and memory suffices for all processors",
    memory: 768,
    command_line: "crashkernel=128M ignore_loglevel",
    configuration: "",
    disks: &[Spare { name: "vdc", mib: 8 }],
    scripts: &[
        ("settings.sh", "FILL_SECONDS=10\nINHABITED=200\nCAPTURE=nr_cpus=4\n"),
        ("1.sh", KDUMP),
        ("2.sh", include_str!("scripts/2.sh")),
    ],
    steps: &[
        Step::new(1, "load", 0),
        Step::new(1, "loaded", 0).says(&["1"]),
        Step::new(1, "inhabit", 0),
        Step::new(1, "fill", 0).says(&["\n0 pages wrong"]),
        Step::new(2, "raw", 0),
        Step::new(2, "log", 0).says(&["sysrq triggered crash"]),
        Step::new(2, "save", 0).says(&["\"code\":0"]),
        Step::new(2, "verify", 0),
        Step::new(2, "report-beside", 0).says(&[BY_HAND, "task  sh, pid", "\"kind\": \"sysrq\""]),
        Step::new(2, "report", 0).says(&["\"code\":0"]),
        Step::new(2, "no-room", 1).says(&["\"ended\": \"no_room\""]),
        Step::new(2, "no-room-log", 0),
        Step::new(2, "no-room-report", 0).says(&[BY_HAND, "\"kind\": \"sysrq\""]),
        Step::new(2, "level1", 0).says(&["\"code\":0"]),
        Step::new(2, "peer-31", 0),
        Step::new(2, "peer-1", 0),
    ],
    copies: &[Copy { below: "crash", filtered: true }, Copy { below: "level1", filtered: true }],
    more: judge::judge,
    minutes: 20,
};
