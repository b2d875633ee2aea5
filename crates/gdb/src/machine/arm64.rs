//! arm64.

use super::{Feature, Layout, Run};

pub(super) const LAYOUT: Layout = Layout {
    architecture: "aarch64",
    features: &[Feature {
        name: "org.gnu.gdb.aarch64.core",
        registers: &[
            Run::many("x", 0, 31, 0),
            Run::one("sp", 64, 31).shown("data_ptr"),
            Run::one("pc", 64, 32).shown("code_ptr"),
            Run::one("cpsr", 32, 33),
        ],
    }],
};
