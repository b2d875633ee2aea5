//! Registers as a core's NT_PRSTATUS note has them.
//!
//! `struct elf_prstatus` begins alike on all 64-bit machines: what it says of signals, of the process and of times takes 112
//! bytes. Then follow the registers in the order of the machine's `struct pt_regs` or `user_regs_struct`.

use super::Registers;
use vmcore::{Arch, Machine, WordSize};

/// Where the registers begin in `struct elf_prstatus` of a 64-bit machine.
const REGISTERS: usize = 112;
/// Where `pr_pid` is.
const PID: usize = 32;

/// Where registers are among those of a note, in words.
struct Layout {
    pc: usize,
    sp: usize,
    fp: Option<usize>,
    link: Option<usize>,
    count: usize,
    /// What is shown, in the order in which the kernel prints them.
    names: &'static [(&'static str, usize)],
}

/// `struct user_regs_struct` (kernel: `arch/x86/include/asm/user_64.h`).
const X86_64: Layout = Layout {
    pc: 16,
    sp: 19,
    fp: Some(4),
    link: None,
    count: 27,
    names: &[
        ("RIP", 16),
        ("RSP", 19),
        ("EFLAGS", 18),
        ("RAX", 10),
        ("RBX", 5),
        ("RCX", 11),
        ("RDX", 12),
        ("RSI", 13),
        ("RDI", 14),
        ("RBP", 4),
        ("R08", 9),
        ("R09", 8),
        ("R10", 7),
        ("R11", 6),
        ("R12", 3),
        ("R13", 2),
        ("R14", 1),
        ("R15", 0),
        ("CS", 17),
        ("SS", 20),
    ],
};

/// `struct user_pt_regs` (kernel: `arch/arm64/include/uapi/asm/ptrace.h`).
const ARM64: Layout = Layout {
    pc: 32,
    sp: 31,
    fp: Some(29),
    link: Some(30),
    count: 34,
    names: &[
        ("pstate", 33),
        ("pc", 32),
        ("lr", 30),
        ("sp", 31),
        ("x29", 29),
        ("x28", 28),
        ("x27", 27),
        ("x26", 26),
        ("x25", 25),
        ("x24", 24),
        ("x23", 23),
        ("x22", 22),
        ("x21", 21),
        ("x20", 20),
        ("x19", 19),
        ("x18", 18),
        ("x17", 17),
        ("x16", 16),
        ("x15", 15),
        ("x14", 14),
        ("x13", 13),
        ("x12", 12),
        ("x11", 11),
        ("x10", 10),
        ("x9", 9),
        ("x8", 8),
        ("x7", 7),
        ("x6", 6),
        ("x5", 5),
        ("x4", 4),
        ("x3", 3),
        ("x2", 2),
        ("x1", 1),
        ("x0", 0),
    ],
};

/// `struct pt_regs` (kernel: `arch/powerpc/include/uapi/asm/ptrace.h`).
const PPC64: Layout = Layout {
    pc: 32,
    sp: 1,
    fp: None,
    link: Some(36),
    count: 44,
    names: &[
        ("NIP", 32),
        ("LR", 36),
        ("CTR", 35),
        ("TRAP", 40),
        ("MSR", 33),
        ("CR", 38),
        ("XER", 37),
        ("DAR", 41),
        ("DSISR", 42),
        ("GPR00", 0),
        ("GPR01", 1),
        ("GPR02", 2),
        ("GPR03", 3),
        ("GPR04", 4),
        ("GPR05", 5),
        ("GPR06", 6),
        ("GPR07", 7),
        ("GPR08", 8),
        ("GPR09", 9),
        ("GPR10", 10),
        ("GPR11", 11),
        ("GPR12", 12),
        ("GPR13", 13),
        ("GPR14", 14),
        ("GPR15", 15),
        ("GPR16", 16),
        ("GPR17", 17),
        ("GPR18", 18),
        ("GPR19", 19),
        ("GPR20", 20),
        ("GPR21", 21),
        ("GPR22", 22),
        ("GPR23", 23),
        ("GPR24", 24),
        ("GPR25", 25),
        ("GPR26", 26),
        ("GPR27", 27),
        ("GPR28", 28),
        ("GPR29", 29),
        ("GPR30", 30),
        ("GPR31", 31),
    ],
};

/// `s390_regs`: the program status word, the general registers (kernel: `arch/s390/include/uapi/asm/ptrace.h`).
const S390X: Layout = Layout {
    pc: 1,
    sp: 17,
    fp: None,
    link: Some(16),
    count: 18,
    names: &[
        ("PSW mask", 0),
        ("PSW", 1),
        ("R0", 2),
        ("R1", 3),
        ("R2", 4),
        ("R3", 5),
        ("R4", 6),
        ("R5", 7),
        ("R6", 8),
        ("R7", 9),
        ("R8", 10),
        ("R9", 11),
        ("R10", 12),
        ("R11", 13),
        ("R12", 14),
        ("R13", 15),
        ("R14", 16),
        ("R15", 17),
    ],
};

/// `struct user_regs_struct` (kernel: `arch/riscv/include/uapi/asm/ptrace.h`).
const RISCV64: Layout = Layout {
    pc: 0,
    sp: 2,
    fp: Some(8),
    link: Some(1),
    count: 32,
    names: &[
        ("epc", 0),
        ("ra", 1),
        ("sp", 2),
        ("gp", 3),
        ("tp", 4),
        ("t0", 5),
        ("t1", 6),
        ("t2", 7),
        ("s0", 8),
        ("s1", 9),
        ("a0", 10),
        ("a1", 11),
        ("a2", 12),
        ("a3", 13),
        ("a4", 14),
        ("a5", 15),
        ("a6", 16),
        ("a7", 17),
        ("s2", 18),
        ("s3", 19),
        ("s4", 20),
        ("s5", 21),
        ("s6", 22),
        ("s7", 23),
        ("s8", 24),
        ("s9", 25),
        ("s10", 26),
        ("s11", 27),
        ("t3", 28),
        ("t4", 29),
        ("t5", 30),
        ("t6", 31),
    ],
};

/// `struct user_pt_regs` (kernel: `arch/loongarch/include/uapi/asm/ptrace.h`).
const LOONGARCH64: Layout = Layout {
    pc: 33,
    sp: 3,
    fp: Some(22),
    link: Some(1),
    count: 35,
    names: &[
        ("pc", 33),
        ("ra", 1),
        ("tp", 2),
        ("sp", 3),
        ("a0", 4),
        ("a1", 5),
        ("a2", 6),
        ("a3", 7),
        ("a4", 8),
        ("a5", 9),
        ("a6", 10),
        ("a7", 11),
        ("t0", 12),
        ("t1", 13),
        ("t2", 14),
        ("t3", 15),
        ("t4", 16),
        ("t5", 17),
        ("t6", 18),
        ("t7", 19),
        ("t8", 20),
        ("u0", 21),
        ("s9", 22),
        ("s0", 23),
        ("s1", 24),
        ("s2", 25),
        ("s3", 26),
        ("s4", 27),
        ("s5", 28),
        ("s6", 29),
        ("s7", 30),
        ("s8", 31),
        ("badv", 34),
    ],
};

/// The registers of a CPU, out of its NT_PRSTATUS note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prstatus {
    /// The process that ran.
    pub pid: u32,
    /// What a walk begins with.
    pub registers: Registers,
    /// The registers by name, in the order in which the kernel prints them.
    pub named: Vec<(&'static str, u64)>,
}

impl Prstatus {
    /// Reads the content of a note; `None` when it is too short, and for machines whose registers are not known.
    pub fn parse(machine: Machine, desc: &[u8]) -> Option<Self> {
        let layout = match machine.arch {
            Arch::X86_64 => X86_64,
            Arch::Aarch64 => ARM64,
            Arch::Ppc64 => PPC64,
            Arch::S390x => S390X,
            Arch::Riscv64 => RISCV64,
            Arch::LoongArch64 => LOONGARCH64,
            _ => return None,
        };
        if machine.word != WordSize::Bits64 {
            return None;
        }
        let bytes = desc.get(REGISTERS..)?.get(..8 * layout.count)?;
        let words: Vec<u64> = bytes.chunks_exact(8).map(|word| machine.u64(word)).collect();
        let at = |place: usize| words.get(place).copied();
        Some(Self {
            pid: machine.u32(desc.get(PID..PID + 4)?),
            registers: Registers {
                pc: at(layout.pc)?,
                sp: at(layout.sp)?,
                fp: layout.fp.and_then(at),
                link: layout.link.and_then(at),
                general: words.iter().map(|&word| Some(word)).collect(),
            },
            named: layout.names.iter().filter_map(|&(name, place)| Some((name, at(place)?))).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BE64, LE32, LE64};

    #[test]
    fn a_note_is_read_by_the_machines_layout_and_a_short_one_is_none() {
        let mut note = vec![0; 336];
        note[32..36].copy_from_slice(&7u32.to_le_bytes());
        note[112 + 16 * 8..][..8].copy_from_slice(&0x1234u64.to_le_bytes());
        note[112 + 19 * 8..][..8].copy_from_slice(&0x5678u64.to_le_bytes());
        let read = Prstatus::parse(LE64, &note).unwrap();
        assert_eq!((read.pid, read.registers.pc, read.registers.sp), (7, 0x1234, 0x5678));
        assert_eq!(read.named[..2], [("RIP", 0x1234), ("RSP", 0x5678)]);
        assert_eq!(Prstatus::parse(LE64, &note[..200]), None);
        assert_eq!(Prstatus::parse(LE32, &note), None);
        assert_eq!(Prstatus::parse(BE64, &note), None, "POWER has more registers");
    }
}
