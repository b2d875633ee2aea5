//! LoongArch.

use super::{Feature, Layout, Run, Source};

pub(super) const LAYOUT: Layout = Layout {
    architecture: "loongarch64",
    features: &[Feature {
        name: "org.gnu.gdb.loongarch.base",
        registers: &[
            Run { name: "r0", numbered: None, bits: 64, shown: None, from: Source::Zero },
            Run::many("r", 1, 31, 1),
            Run::one("orig_a0", 64, 32),
            Run::one("pc", 64, 33).shown("code_ptr"),
            Run::one("badv", 64, 34).shown("code_ptr"),
        ],
    }],
};
