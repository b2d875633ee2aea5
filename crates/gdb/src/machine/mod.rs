//! The registers that gdb knows of each machine, and where they are among those of a note.
//!
//! gdb takes the registers that a target describes in XML. It knows them by the names of features and registers, which are
//! listed in its manual, appendix "Standard Target Features"; some of them it insists on, also where no dump has them.
//! Those are sent as unknown.

mod arm64;
mod loongarch64;
mod ppc64;
mod riscv64;
mod s390x;
mod x86_64;

use std::fmt::Write as _;
use vmcore::{Arch, ByteOrder, Machine};

/// Where a register's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Among the registers of the machine's NT_PRSTATUS note, at this place; of several side by side the first one's.
    Note(u8),
    /// It is always zero.
    Zero,
    /// No dump has it.
    Nowhere,
}

/// Registers side by side.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// The name; of several the part before their number.
    name: &'static str,
    /// The number of the first and how many there are; `None` where it is one without a number.
    numbered: Option<(u8, u8)>,
    bits: usize,
    /// The type that gdb shows it with, if not the usual one for its size.
    shown: Option<&'static str>,
    from: Source,
}

impl Run {
    const fn one(name: &'static str, bits: usize, place: u8) -> Self {
        Self { name, numbered: None, bits, shown: None, from: Source::Note(place) }
    }

    const fn many(name: &'static str, first: u8, count: u8, place: u8) -> Self {
        Self { name, numbered: Some((first, count)), bits: 64, shown: None, from: Source::Note(place) }
    }

    const fn nowhere(name: &'static str, bits: usize) -> Self {
        Self { name, numbered: None, bits, shown: None, from: Source::Nowhere }
    }

    const fn none_of(name: &'static str, count: u8, bits: usize) -> Self {
        Self { name, numbered: Some((0, count)), bits, shown: None, from: Source::Nowhere }
    }

    const fn shown(mut self, shown: &'static str) -> Self {
        self.shown = Some(shown);
        self
    }
}

/// A set of registers that gdb knows by name.
struct Feature {
    name: &'static str,
    registers: &'static [Run],
}

/// A machine as gdb knows it.
struct Layout {
    /// gdb's name of the architecture.
    architecture: &'static str,
    features: &'static [Feature],
}

/// A machine's registers in gdb's order.
pub(crate) struct Registers {
    order: ByteOrder,
    all: Vec<Register>,
    /// The description for gdb.
    pub(crate) xml: String,
}

struct Register {
    bytes: usize,
    from: Source,
}

impl Registers {
    /// Those of `machine`; `None` where gdb could not be told which registers there are.
    pub(crate) fn of(machine: Machine) -> Option<Self> {
        let layout = match machine.arch {
            Arch::X86_64 => x86_64::LAYOUT,
            Arch::Ppc64 => ppc64::LAYOUT,
            Arch::Aarch64 => arm64::LAYOUT,
            Arch::S390x => s390x::LAYOUT,
            Arch::Riscv64 => riscv64::LAYOUT,
            Arch::LoongArch64 => loongarch64::LAYOUT,
            _ => return None,
        };
        let mut all = Vec::new();
        let mut xml = format!(
            "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n\
             <architecture>{}</architecture>\n",
            layout.architecture
        );
        for feature in layout.features {
            let _ = writeln!(xml, "<feature name=\"{}\">", feature.name);
            for run in feature.registers {
                let (first, count) = run.numbered.unwrap_or((0, 1));
                for n in 0..count {
                    let number = run.numbered.map_or_else(String::new, |_| (first + n).to_string());
                    let shown = run.shown.map_or_else(String::new, |shown| format!(" type=\"{shown}\""));
                    let _ =
                        writeln!(xml, "<reg name=\"{}{number}\" bitsize=\"{}\"{shown}/>", run.name, run.bits);
                    let from = match run.from {
                        Source::Note(place) => Source::Note(place + n),
                        other => other,
                    };
                    all.push(Register { bytes: run.bits / 8, from });
                }
            }
            xml += "</feature>\n";
        }
        xml += "</target>\n";
        Some(Self { order: machine.order, all, xml })
    }

    /// The register `number` for a packet: digits in the machine's byte order, or as many `x` where it is not known.
    /// `saved`: the registers of a note. `None` where there is no such register.
    pub(crate) fn one(&self, saved: &[Option<u64>], number: u64) -> Option<String> {
        let register = self.all.get(usize::try_from(number).ok()?)?;
        let value = match register.from {
            Source::Note(place) => saved.get(usize::from(place)).copied().flatten(),
            Source::Zero => Some(0),
            Source::Nowhere => None,
        };
        let Some(value) = value else { return Some("xx".repeat(register.bytes)) };
        Some(match self.order {
            // What is wider in the note than for gdb is cut: segments, the condition register.
            ByteOrder::Big => hex(&value.to_be_bytes()[8 - register.bytes.min(8)..]),
            ByteOrder::Little => hex(&value.to_le_bytes()[..register.bytes.min(8)]),
        })
    }

    /// All registers for a packet.
    pub(crate) fn all(&self, saved: &[Option<u64>]) -> String {
        (0..self.all.len() as u64).filter_map(|number| self.one(saved, number)).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 7] = ["x86_64", "ppc64le", "ppc64", "aarch64", "s390x", "riscv64", "loongarch64"];

    fn registers(name: &str) -> Registers {
        Registers::of(Machine::from_name(name).unwrap()).unwrap()
    }

    #[test]
    fn all_registers_of_each_machine_fit_a_packet_and_are_described_once() {
        for name in NAMES {
            let registers = registers(name);
            assert!(registers.all(&[]).len() < crate::LONGEST, "{name}");
            assert_eq!(registers.xml.matches("<reg ").count(), registers.all.len(), "{name}");
            let mut names: Vec<&str> =
                registers.xml.lines().filter(|line| line.starts_with("<reg ")).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), registers.all.len(), "{name}");
        }
        assert!(Registers::of(Machine::from_name("mips").unwrap()).is_none());
    }

    #[test]
    fn no_place_of_a_note_is_shown_twice() {
        for name in NAMES {
            let places = registers(name).all.into_iter().filter_map(|register| match register.from {
                Source::Note(place) => Some(place),
                _ => None,
            });
            let mut places: Vec<u8> = places.collect();
            let count = places.len();
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), count, "{name}");
        }
    }

    #[test]
    fn a_register_has_the_machines_byte_order_and_gdbs_width() {
        let saved: Vec<_> = (0..50).map(|n| Some(0x1122_3344_5566_7700 + n)).collect();
        assert_eq!(registers("x86_64").one(&saved, 16).unwrap(), "1077665544332211", "rip");
        assert_eq!(registers("x86_64").one(&saved, 17).unwrap(), "12776655", "eflags");
        assert_eq!(registers("ppc64le").one(&saved, 32).unwrap(), "2077665544332211", "pc");
        assert_eq!(registers("ppc64").one(&saved, 32).unwrap(), "1122334455667720", "pc");
        assert_eq!(registers("ppc64").one(&saved, 34).unwrap(), "55667726", "cr");
        assert_eq!(registers("s390x").one(&saved, 1).unwrap(), "1122334455667701", "pswa");
        assert_eq!(registers("riscv64").one(&saved, 0).unwrap(), "0000000000000000", "zero");
        assert_eq!(registers("riscv64").one(&saved, 32).unwrap(), "0077665544332211", "pc");
        assert_eq!(registers("riscv64").one(&saved, 33), None);
        assert_eq!(registers("aarch64").one(&[None, Some(1)], 0).unwrap(), "x".repeat(16));
        assert_eq!(registers("aarch64").one(&[None, Some(1)], 1).unwrap(), "0100000000000000");
    }
}
