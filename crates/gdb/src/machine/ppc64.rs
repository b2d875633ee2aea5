//! 64-bit POWER, in both byte orders.

use super::{Feature, Layout, Run};

pub(super) const LAYOUT: Layout = Layout {
    architecture: "powerpc:common64",
    features: &[
        Feature {
            name: "org.gnu.gdb.power.core",
            registers: &[
                Run::many("r", 0, 32, 0),
                Run::one("pc", 64, 32).shown("code_ptr"),
                Run::one("msr", 64, 33),
                Run::one("cr", 32, 38),
                Run::one("lr", 64, 36).shown("code_ptr"),
                Run::one("ctr", 64, 35),
                Run::one("xer", 32, 37),
            ],
        },
        Feature {
            name: "org.gnu.gdb.power.linux",
            registers: &[Run::one("orig_r3", 64, 34), Run::one("trap", 64, 40)],
        },
    ],
};
