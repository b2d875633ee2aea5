//! Registers that an interrupt or exception stored on the stack.

/// Where registers are in `struct pt_regs`, in words (kernel: `arch/x86/include/asm/ptrace.h`).
pub(super) struct Places {
    pub(super) r13: usize,
    pub(super) bp: usize,
    pub(super) r10: usize,
    pub(super) ax: usize,
    pub(super) dx: usize,
    pub(super) di: usize,
    pub(super) ip: usize,
    pub(super) cs: usize,
    pub(super) sp: usize,
    pub(super) count: usize,
}

pub(super) const X86_64: Places =
    Places { r13: 2, bp: 4, r10: 7, ax: 10, dx: 12, di: 14, ip: 16, cs: 17, sp: 19, count: 21 };
