//! s390x. gdb insists on access and floating-point registers.

use super::{Feature, Layout, Run};

pub(super) const LAYOUT: Layout = Layout {
    architecture: "s390:64-bit",
    features: &[
        Feature {
            name: "org.gnu.gdb.s390.core",
            registers: &[Run::one("pswm", 64, 0), Run::one("pswa", 64, 1), Run::many("r", 0, 16, 2)],
        },
        Feature { name: "org.gnu.gdb.s390.acr", registers: &[Run::none_of("acr", 16, 32)] },
        Feature {
            name: "org.gnu.gdb.s390.fpr",
            registers: &[Run::nowhere("fpc", 32), Run::none_of("f", 16, 64).shown("ieee_double")],
        },
    ],
};
