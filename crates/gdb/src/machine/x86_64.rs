//! x86_64. gdb insists on the registers of the floating-point unit and of SSE.

use super::{Feature, Layout, Run};

pub(super) const LAYOUT: Layout = Layout {
    architecture: "i386:x86-64",
    features: &[
        Feature {
            name: "org.gnu.gdb.i386.core",
            registers: &[
                Run::one("rax", 64, 10),
                Run::one("rbx", 64, 5),
                Run::one("rcx", 64, 11),
                Run::one("rdx", 64, 12),
                Run::one("rsi", 64, 13),
                Run::one("rdi", 64, 14),
                Run::one("rbp", 64, 4).shown("data_ptr"),
                Run::one("rsp", 64, 19).shown("data_ptr"),
                Run::one("r8", 64, 9),
                Run::one("r9", 64, 8),
                Run::one("r10", 64, 7),
                Run::one("r11", 64, 6),
                Run::one("r12", 64, 3),
                Run::one("r13", 64, 2),
                Run::one("r14", 64, 1),
                Run::one("r15", 64, 0),
                Run::one("rip", 64, 16).shown("code_ptr"),
                Run::one("eflags", 32, 18),
                Run::one("cs", 32, 17),
                Run::one("ss", 32, 20),
                Run::one("ds", 32, 23),
                Run::one("es", 32, 24),
                Run::one("fs", 32, 25),
                Run::one("gs", 32, 26),
                Run::none_of("st", 8, 80).shown("i387_ext"),
                Run::nowhere("fctrl", 32),
                Run::nowhere("fstat", 32),
                Run::nowhere("ftag", 32),
                Run::nowhere("fiseg", 32),
                Run::nowhere("fioff", 32),
                Run::nowhere("foseg", 32),
                Run::nowhere("fooff", 32),
                Run::nowhere("fop", 32),
            ],
        },
        Feature {
            name: "org.gnu.gdb.i386.sse",
            registers: &[Run::none_of("xmm", 16, 128).shown("uint128"), Run::nowhere("mxcsr", 32)],
        },
        Feature { name: "org.gnu.gdb.i386.linux", registers: &[Run::one("orig_rax", 64, 15)] },
        Feature {
            name: "org.gnu.gdb.i386.segments",
            registers: &[Run::one("fs_base", 64, 21), Run::one("gs_base", 64, 22)],
        },
    ],
};
