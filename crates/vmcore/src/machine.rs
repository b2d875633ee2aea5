//! The machine a dump came from.

use std::fmt;

/// The order of bytes in the dumped kernel's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// The size of the dumped kernel's `unsigned long`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WordSize {
    /// Four bytes.
    Bits32,
    /// Eight bytes.
    Bits64,
}

impl WordSize {
    /// Bytes in a word.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Bits32 => 4,
            Self::Bits64 => 8,
        }
    }
}

/// The processor architectures whose dumps hadump can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Arch {
    /// 64-bit POWER, either byte order.
    Ppc64,
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
    /// 64-bit IBM Z.
    S390x,
    /// 64-bit RISC-V.
    Riscv64,
    /// 64-bit LoongArch.
    LoongArch64,
    /// 32-bit x86.
    I386,
    /// 32-bit Arm.
    Arm,
    /// 32-bit POWER.
    Ppc,
}

impl Arch {
    /// Every architecture with its ELF `e_machine`.
    const TABLE: [(Self, u16); 9] = [
        (Self::Ppc64, 21),
        (Self::X86_64, 62),
        (Self::Aarch64, 183),
        (Self::S390x, 22),
        (Self::Riscv64, 243),
        (Self::LoongArch64, 258),
        (Self::I386, 3),
        (Self::Arm, 40),
        (Self::Ppc, 20),
    ];

    /// The architecture that an ELF header of `class` with this `e_machine` names.
    pub fn from_elf(e_machine: u16) -> Option<Self> {
        Self::TABLE.iter().find(|(_, m)| *m == e_machine).map(|(a, _)| *a)
    }

    /// The ELF `e_machine` of this architecture (`EM_*` of the kernel's `elf-em.h`).
    pub fn e_machine(self) -> u16 {
        Self::TABLE.iter().find(|(a, _)| *a == self).map_or(0, |(_, m)| *m)
    }
}

/// What is fixed about the machine that crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    /// The architecture.
    pub arch: Arch,
    /// The kernel's byte order.
    pub order: ByteOrder,
    /// The kernel's word size.
    pub word: WordSize,
}

impl Machine {
    /// The machine as `uname -m` spells it, which is what readers of a kdump header compare.
    pub fn name(self) -> &'static str {
        match (self.arch, self.order) {
            (Arch::Ppc64, ByteOrder::Little) => "ppc64le",
            (Arch::Ppc64, ByteOrder::Big) => "ppc64",
            (Arch::X86_64, _) => "x86_64",
            (Arch::Aarch64, ByteOrder::Little) => "aarch64",
            (Arch::Aarch64, ByteOrder::Big) => "aarch64_be",
            (Arch::S390x, _) => "s390x",
            (Arch::Riscv64, _) => "riscv64",
            (Arch::LoongArch64, _) => "loongarch64",
            (Arch::I386, _) => "i686",
            (Arch::Arm, ByteOrder::Little) => "armv7l",
            (Arch::Arm, ByteOrder::Big) => "armv7b",
            (Arch::Ppc, _) => "ppc",
        }
    }

    /// The machine that `uname -m` calls `name`; the inverse of [`Machine::name`], with older spellings.
    pub fn from_name(name: &str) -> Option<Self> {
        use {ByteOrder::*, WordSize::*};
        let (arch, order, word) = match name {
            "ppc64le" => (Arch::Ppc64, Little, Bits64),
            "ppc64" => (Arch::Ppc64, Big, Bits64),
            "x86_64" => (Arch::X86_64, Little, Bits64),
            "aarch64" => (Arch::Aarch64, Little, Bits64),
            "aarch64_be" => (Arch::Aarch64, Big, Bits64),
            "s390x" => (Arch::S390x, Big, Bits64),
            "riscv64" => (Arch::Riscv64, Little, Bits64),
            "loongarch64" => (Arch::LoongArch64, Little, Bits64),
            "i386" | "i486" | "i586" | "i686" => (Arch::I386, Little, Bits32),
            "ppc" => (Arch::Ppc, Big, Bits32),
            arm if arm.starts_with("arm") => {
                (Arch::Arm, if arm.ends_with('b') { Big } else { Little }, Bits32)
            }
            _ => return None,
        };
        Some(Self { arch, order, word })
    }

    /// Reads an unsigned 16-bit number from the start of `bytes`.
    ///
    /// # Panics
    ///
    /// When `bytes` is shorter than the number, here and in the methods below: a caller has checked lengths.
    pub fn u16(self, bytes: &[u8]) -> u16 {
        self.order.u16(bytes)
    }

    /// Reads an unsigned 32-bit number from the start of `bytes`.
    pub fn u32(self, bytes: &[u8]) -> u32 {
        self.order.u32(bytes)
    }

    /// Reads an unsigned 64-bit number from the start of `bytes`.
    pub fn u64(self, bytes: &[u8]) -> u64 {
        self.order.u64(bytes)
    }

    /// Reads an `unsigned long` of this machine from the start of `bytes`.
    pub fn word(self, bytes: &[u8]) -> u64 {
        match self.word {
            WordSize::Bits32 => self.u32(bytes).into(),
            WordSize::Bits64 => self.u64(bytes),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn head<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("the caller checked the length")
}

impl ByteOrder {
    /// Reads an unsigned 16-bit number from the start of `bytes`.
    ///
    /// # Panics
    ///
    /// When `bytes` is shorter than the number, here and in the methods below.
    pub fn u16(self, bytes: &[u8]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(head(bytes)),
            Self::Big => u16::from_be_bytes(head(bytes)),
        }
    }

    /// Reads an unsigned 32-bit number from the start of `bytes`.
    pub fn u32(self, bytes: &[u8]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(head(bytes)),
            Self::Big => u32::from_be_bytes(head(bytes)),
        }
    }

    /// Reads an unsigned 64-bit number from the start of `bytes`.
    pub fn u64(self, bytes: &[u8]) -> u64 {
        match self {
            Self::Little => u64::from_le_bytes(head(bytes)),
            Self::Big => u64::from_be_bytes(head(bytes)),
        }
    }

    /// The bytes of a 16-bit number.
    pub fn put_u16(self, value: u16) -> [u8; 2] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    /// The bytes of a 32-bit number.
    pub fn put_u32(self, value: u32) -> [u8; 4] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    /// The bytes of a 64-bit number.
    pub fn put_u64(self, value: u64) -> [u8; 8] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_machines_are_inverse() {
        for name in
            ["ppc64le", "ppc64", "x86_64", "aarch64", "s390x", "riscv64", "loongarch64", "i686", "armv7l"]
        {
            assert_eq!(Machine::from_name(name).unwrap().name(), name);
        }
        assert_eq!(Machine::from_name("vax"), None);
    }

    #[test]
    fn elf_machines_are_inverse() {
        for (arch, number) in Arch::TABLE {
            assert_eq!(Arch::from_elf(number), Some(arch));
            assert_eq!(arch.e_machine(), number);
        }
        assert_eq!(Arch::from_elf(0), None);
    }
}
