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
    /// Another architecture of Linux, by its ELF `e_machine`: its dumps are converted whole, and nothing is known of its
    /// kernels.
    Other(u16),
}

/// Other architectures that run or ran Linux: `e_machine`, word size, and the name that `uname -m` has for it. Where a
/// machine has two names for its byte orders, the first is the little-endian one.
const OTHERS: [(u16, WordSize, [&str; 2]); 30] = {
    use WordSize::{Bits32, Bits64};
    [
        (2, Bits32, ["sparc"; 2]),
        (18, Bits32, ["sparc"; 2]),
        (43, Bits64, ["sparc64"; 2]),
        (4, Bits32, ["m68k"; 2]),
        (8, Bits32, ["mips"; 2]),
        (8, Bits64, ["mips64"; 2]),
        (10, Bits32, ["mips"; 2]),
        (15, Bits32, ["parisc"; 2]),
        (15, Bits64, ["parisc64"; 2]),
        (22, Bits32, ["s390"; 2]),
        (0xa390, Bits32, ["s390"; 2]),
        (42, Bits32, ["sh4"; 2]),
        (50, Bits64, ["ia64"; 2]),
        (76, Bits32, ["cris"; 2]),
        (88, Bits32, ["m32r"; 2]),
        (89, Bits32, ["mn10300"; 2]),
        (92, Bits32, ["openrisc"; 2]),
        (93, Bits32, ["arc", "arceb"]),
        (195, Bits32, ["arc", "arceb"]),
        (94, Bits32, ["xtensa"; 2]),
        (106, Bits32, ["blackfin"; 2]),
        (113, Bits32, ["nios2"; 2]),
        (164, Bits32, ["hexagon"; 2]),
        (167, Bits32, ["nds32"; 2]),
        (189, Bits32, ["microblazeel", "microblaze"]),
        (191, Bits64, ["tilegx"; 2]),
        (243, Bits32, ["riscv32"; 2]),
        (252, Bits32, ["csky"; 2]),
        (258, Bits32, ["loongarch32"; 2]),
        (0x9026, Bits64, ["alpha"; 2]),
    ]
};

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

    /// The ELF `e_machine` of this architecture (`EM_*` of the kernel's `elf-em.h`).
    pub fn e_machine(self) -> u16 {
        match self {
            Self::Other(number) => number,
            known => Self::TABLE.iter().find(|(a, _)| *a == known).map_or(0, |(_, m)| *m),
        }
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
    /// The machine that an ELF header with this `e_machine` names. `word` is what its class says, which for some machines
    /// says nothing: a machine of 32 bits with much memory has cores of 64.
    pub fn from_elf(e_machine: u16, word: WordSize, order: ByteOrder) -> Option<Self> {
        let known = Arch::TABLE.iter().find(|(_, m)| *m == e_machine).map(|(a, _)| *a);
        let fixed = match known {
            Some(Arch::I386 | Arch::Arm | Arch::Ppc) => WordSize::Bits32,
            Some(_) => WordSize::Bits64,
            None => word,
        };
        let other = |word| OTHERS.iter().any(|(m, w, _)| (*m, *w) == (e_machine, word));
        // The 32-bit siblings of some machines have their number.
        if word == WordSize::Bits32 && other(word) {
            return Some(Self { arch: Arch::Other(e_machine), order, word });
        }
        if let Some(arch) = known {
            return Some(Self { arch, order, word: fixed });
        }
        let word = [word, WordSize::Bits64, WordSize::Bits32].into_iter().find(|word| other(*word))?;
        Some(Self { arch: Arch::Other(e_machine), order, word })
    }

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
            (Arch::Other(number), order) => {
                let found = OTHERS.iter().find(|(m, w, _)| (*m, *w) == (number, self.word));
                found.map_or("unknown", |(.., names)| names[usize::from(order == ByteOrder::Big)])
            }
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
            other => return Self::other(other),
        };
        Some(Self { arch, order, word })
    }

    /// One of [`OTHERS`] by its name, in the byte order that most of them have.
    fn other(name: &str) -> Option<Self> {
        let (number, word, names) = OTHERS.iter().find(|(.., names)| names.contains(&name))?;
        let big = match *number {
            50 | 0x9026 | 94 | 106 | 164 | 243 | 252 | 258 | 42 | 76 | 113 | 191 => false,
            _ if names[0] != names[1] => name == names[1],
            _ => true,
        };
        let order = if big { ByteOrder::Big } else { ByteOrder::Little };
        Some(Self { arch: Arch::Other(*number), order, word: *word })
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
        for order in [ByteOrder::Little, ByteOrder::Big] {
            for (arch, number) in Arch::TABLE {
                assert_eq!(Machine::from_elf(number, WordSize::Bits64, order).unwrap().arch, arch);
                assert_eq!(arch.e_machine(), number);
            }
            for (number, word, names) in OTHERS {
                let machine = Machine::from_elf(number, word, order).unwrap();
                assert_eq!((machine.arch.e_machine(), machine.word, machine.order), (number, word, order));
                assert!(names.contains(&machine.name()));
                assert_eq!(Machine::from_name(machine.name()).unwrap().name(), machine.name());
            }
            assert_eq!(Machine::from_elf(0, WordSize::Bits64, order), None);
        }
    }
}
