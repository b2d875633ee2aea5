//! Architectures by name.

use crate::bytes::ByteOrder;

/// Architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arch {
    /// 64-bit POWER.
    Ppc64,
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Arm64,
    /// 64-bit IBM Z.
    S390x,
    /// 64-bit RISC-V.
    Riscv64,
    /// 64-bit LoongArch.
    LoongArch64,
}

impl Arch {
    /// `e_machine` of its ELF files.
    pub(crate) fn e_machine(self) -> u16 {
        match self {
            Self::Ppc64 => 21,
            Self::X86_64 => 62,
            Self::Arm64 => 183,
            Self::S390x => 22,
            Self::Riscv64 => 243,
            Self::LoongArch64 => 258,
        }
    }

    /// What `uname -m` says.
    pub fn name(self, order: ByteOrder) -> &'static str {
        match (self, order) {
            (Self::Ppc64, ByteOrder::Big) => "ppc64",
            (Self::Ppc64, ByteOrder::Little) => "ppc64le",
            (Self::X86_64, _) => "x86_64",
            (Self::Arm64, ByteOrder::Big) => "aarch64_be",
            (Self::Arm64, ByteOrder::Little) => "aarch64",
            (Self::S390x, _) => "s390x",
            (Self::Riscv64, _) => "riscv64",
            (Self::LoongArch64, _) => "loongarch64",
        }
    }

    /// Bits of a node's number (CONFIG_NODES_SHIFT), where there can be more than one.
    pub fn node_bits(self) -> u32 {
        match self {
            Self::Ppc64 => 8,
            Self::X86_64 | Self::LoongArch64 => 6,
            Self::Arm64 => 4,
            Self::Riscv64 => 2,
            Self::S390x => 1,
        }
    }

    /// Bytes of the register set in `NT_PRSTATUS` (`elf_gregset_t`), and of what follows it.
    pub(crate) fn registers(self) -> (usize, usize) {
        match self {
            Self::Ppc64 => (48 * 8, 8),
            Self::X86_64 => (27 * 8, 8),
            Self::Arm64 => (34 * 8, 8),
            Self::S390x => (27 * 8, 8),
            Self::Riscv64 => (32 * 8, 8),
            Self::LoongArch64 => (45 * 8, 8),
        }
    }
}
