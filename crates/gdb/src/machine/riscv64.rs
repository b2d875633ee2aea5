//! RISC-V. The order is that of x0 to x31.

use super::{Feature, Layout, Run, Source};

pub(super) const LAYOUT: Layout = Layout {
    architecture: "riscv:rv64",
    features: &[Feature {
        name: "org.gnu.gdb.riscv.cpu",
        registers: &[
            Run { name: "zero", numbered: None, bits: 64, shown: None, from: Source::Zero },
            Run::one("ra", 64, 1).shown("code_ptr"),
            Run::one("sp", 64, 2).shown("data_ptr"),
            Run::one("gp", 64, 3).shown("data_ptr"),
            Run::one("tp", 64, 4).shown("data_ptr"),
            Run::many("t", 0, 3, 5),
            Run::one("fp", 64, 8).shown("data_ptr"),
            Run::one("s1", 64, 9),
            Run::many("a", 0, 8, 10),
            Run::many("s", 2, 10, 18),
            Run::many("t", 3, 4, 28),
            Run::one("pc", 64, 0).shown("code_ptr"),
        ],
    }],
};
