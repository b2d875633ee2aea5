//! The scenarios of `cargo xtask boot power`. The first is the one that CI runs.

use crate::guest::Spare;
use crate::guest::scenario::{Copy, Scenario, Step, nothing_more};

/// hadump-boot as it is shipped, asked to register where that is safe.
const REGISTERS: &str = "HADUMP_REGISTER=yes\n";
/// Long enough for whatever the kernel runs every now and then to meet memory that it should not have freed.
const TEN_MINUTES: &str = "FILL_SECONDS=600\n";

/// What a report says of a crash by SysRq-c, whatever the dump lacks.
const SYSRQ: &str = "asked for by hand (SysRq)";

/// All of them.
pub(crate) const ALL: [Scenario; 5] = [DEFAULT, COVERED, ABOVE, BY_HAND, DISKS];

/// The boots around the second one, which are the same in most scenarios.
macro_rules! cycle {
    ($second:literal, $settings:expr) => {
        &[
            ("settings.sh", $settings),
            ("1.sh", include_str!("scripts/cycle/1.sh")),
            ("2-initramfs.sh", include_str!("scripts/cycle/2-initramfs.sh")),
            ("2.sh", include_str!(concat!("scripts/", $second, "/2.sh"))),
            ("3.sh", include_str!("scripts/cycle/3.sh")),
            ("4-initramfs.sh", include_str!("scripts/cycle/4-initramfs.sh")),
            ("4.sh", include_str!("scripts/cycle/4.sh")),
        ]
    };
}

/// What every machine of less than 10 GiB is by default: release would free RTAS.
const DEFAULT: Scenario = Scenario {
    name: "default",
    about: "1 GiB, nothing set: the dump is saved, the memory kept, the lack of a next dump announced",
    memory: 1024,
    command_line: "fadump=on",
    configuration: REGISTERS,
    disks: &[],
    scripts: cycle!("kept", ""),
    steps: &[
        Step::new(1, "status", 0)
            .says(&["next crash  registered\n", "afterwards memory cannot be given back without a reboot"]),
        Step::new(1, "inhabit", 0),
        Step::new(2, "raw", 0),
        Step::new(2, "hadump-boot", 0)
            .says(&["hadump: the dump is saved", "hadump: not registered for the next crash"]),
        Step::new(2, "second-call", 0).says(&["the dump was saved in this boot already"]),
        Step::new(2, "status", 0).says(&["last boot  saved", "its memory cannot be given back"]),
        Step::new(2, "status-json", 0).says(&["\"last_boot\": \"saved\"", "\"possible\": false"]),
        Step::new(2, "level0", 0),
        Step::new(2, "fill", 0).says(&["\n0 pages wrong"]),
        Step::new(2, "registered", 0).says(&["0"]),
        Step::new(2, "register", 1).says(&["Operation not permitted"]),
        Step::new(2, "announced", 0).says(&["next crash  reboot before the next crash can be dumped"]),
        Step::new(3, "vmcore", 1),
        Step::new(3, "status", 0).says(&["next crash  registered\n", "last boot  ordinary"]),
        Step::new(4, "hadump-boot", 0).says(&["hadump: the dump is saved"]),
        Step::new(4, "second-call", 0).says(&["the dump was saved in this boot already"]),
        Step::new(4, "report", 0).says(&[SYSRQ]),
        Step::new(4, "verify", 0),
    ],
    copies: &[Copy { below: "crash", filtered: true }, Copy { below: "level0", filtered: false }],
    more: nothing_more,
    minutes: 20,
};

/// What is shown where the memory comes back.
const GIVEN_BACK: &[Step] = &[
    Step::new(1, "status", 0).says(&["next crash  registered\n"]).never(&["cannot be given back"]),
    Step::new(1, "inhabit", 0),
    Step::new(2, "raw", 0),
    Step::new(2, "hadump-boot", 0)
        .says(&["hadump: the dump is saved", "hadump: not registered for the next crash (reboot_first)"]),
    Step::new(2, "second-call", 0).says(&["the dump was saved in this boot already"]),
    Step::new(2, "status", 0)
        .says(&["last boot  given back", "next crash  reboot before the next crash can be dumped"]),
    Step::new(2, "status-json", 0)
        .says(&["\"last_boot\": \"given_back\"", "\"given_back\": \"release_mem\""]),
    Step::new(2, "save", 1),
    Step::new(2, "fill", 0).says(&["\n0 pages wrong"]),
    Step::new(2, "registered", 0).says(&["0"]),
    Step::new(2, "announced", 0).says(&["next crash  reboot before the next crash can be dumped"]),
    Step::new(3, "vmcore", 1),
    Step::new(3, "status", 0).says(&["next crash  registered\n", "last boot  ordinary"]),
    Step::new(4, "hadump-boot", 0).says(&["hadump: the dump is saved"]),
    Step::new(4, "second-call", 0).says(&["the dump was saved in this boot already"]),
    Step::new(4, "report", 0).says(&[SYSRQ]),
    Step::new(4, "verify", 0),
];

/// The dump area covers RTAS, which the second boot's release therefore spares. Without `nocma` the *first* boot lends
/// RTAS's page to programs, and dies of it when memory fills: seen with 6.12.
const COVERED: Scenario = Scenario {
    name: "covered",
    about: "2304 MiB, crashkernel=832M (capped to 576): the dump area covers RTAS, the memory is given back",
    memory: 2304,
    command_line: "fadump=nocma crashkernel=832M",
    configuration: REGISTERS,
    disks: &[],
    scripts: cycle!("given-back", TEN_MINUTES),
    steps: GIVEN_BACK,
    copies: &[Copy { below: "crash", filtered: true }],
    more: nothing_more,
    minutes: 40,
};

/// Boot memory reaches above RTAS.
const ABOVE: Scenario = Scenario {
    name: "above",
    about: "4 GiB, crashkernel=1G: boot memory ends above RTAS, the memory is given back",
    memory: 4096,
    command_line: "fadump=on crashkernel=1G",
    configuration: REGISTERS,
    disks: &[],
    scripts: cycle!("given-back", TEN_MINUTES),
    steps: GIVEN_BACK,
    copies: &[Copy { below: "crash", filtered: true }],
    more: nothing_more,
    minutes: 45,
};

/// Memory is somebody else's before anything is saved, and the next dump's header with it.
const BY_HAND: Scenario = Scenario {
    name: "by-hand",
    about: "somebody else gives the memory back and registers again; the kernel refuses the next dump",
    memory: 4096,
    command_line: "fadump=on crashkernel=1G",
    configuration: "",
    disks: &[],
    scripts: &[
        ("1.sh", include_str!("scripts/cycle/1.sh")),
        ("2.sh", include_str!("scripts/released-by-hand/2.sh")),
        ("3-initramfs.sh", include_str!("scripts/released-by-hand/3-initramfs.sh")),
        ("3.sh", include_str!("scripts/released-by-hand/3.sh")),
    ],
    steps: &[
        Step::new(1, "status", 0),
        Step::new(2, "release", 0),
        Step::new(2, "status", 0).says(&["given back"]),
        Step::new(2, "status-json", 0),
        Step::new(2, "convert", 1),
        Step::new(2, "save", 1),
        Step::new(2, "hadump-boot", 0).says(&["was given back without hadump"]),
        Step::new(2, "what-is-left", 4),
        Step::new(2, "register", 0),
        Step::new(2, "status-registered", 0)
            .says(&["registered, but the dump may be lost: reboot before the next crash"]),
        Step::new(2, "fill", 0).says(&["\n0 pages wrong"]),
        Step::new(3, "hadump-boot", 4)
            .says(&["the kernel refused the dump", "what firmware copied of the dump is saved"])
            .never(&["to resume"]),
        Step::new(3, "second-call", 0).says(&["the dump was saved in this boot already"]),
        Step::new(3, "status", 0).says(&["last boot  refused by the kernel"]),
        Step::new(3, "status-json", 0).says(&["\"last_boot\": \"refused_by_the_kernel\""]),
    ],
    copies: &[],
    more: nothing_more,
    minutes: 25,
};

/// What happens to the disk that is saved to.
const DISKS: Scenario = Scenario {
    name: "disks",
    about: "disks that fill, vanish and are cut off in the middle of a save",
    memory: 1024,
    command_line: "fadump=on",
    configuration: "",
    disks: &[Spare { name: "vdc", mib: 24 }, Spare { name: "vdd", mib: 2048 }],
    scripts: &[("1.sh", include_str!("scripts/cycle/1.sh")), ("2.sh", include_str!("scripts/disks/2.sh"))],
    steps: &[
        Step::new(1, "inhabit", 0),
        Step::new(2, "full", 4).says(&["INCOMPLETE"]),
        Step::new(2, "waits-after-full", 0),
        Step::new(2, "pulled", 4),
        Step::new(2, "waits-after-pulled", 0),
        Step::new(2, "interrupted", 0),
        Step::new(2, "resumed", 0),
        Step::new(2, "verify", 0),
    ],
    copies: &[],
    more: nothing_more,
    minutes: 20,
};
