//! The register save area: what the firmware wrote down of every CPU that was online.
//!
//! Layout: LoPAR "Register Save Area Format", version 0; big-endian whatever the kernel's byte order:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 00 | 8 | magic `REGSAVE\0` |
//! | 08 | 4 | version, 0 |
//! | 0c | 4 | offset of the number of CPUs: 1ch in PAPR, 10h in QEMU |
//! | there | 4 | number of CPUs |
//! | after it | 16 each | identifier and value; `CPUSTRT` and `CPUEND`, with the logical CPU id as value, around each CPU |
//!
//! QEMU's entries begin at 14h, so nothing is aligned. Linux takes the firmware's logical CPU id for its own CPU number
//! (`rtas_fadump_build_cpu_notes`), and so does this. Damage costs what it hit and no more: whatever can be read is
//! kept, and each oddity is a [`Fault`].

use crate::Error;
use crate::bytes::Bytes;
use crate::register::{RegisterId, RegisterKind};
use std::collections::HashSet;

/// The magic number, `REGSAVE\0` as a big-endian number.
pub const MAGIC: u64 = 0x5245_4753_4156_4500;

const NAME: &str = "register save area";
const HEADER: usize = 0x10;
const ENTRY: usize = 16;

/// The most oddities that are kept: more than any area has that was an area once.
const MAX_FAULTS: usize = 1 << 13;
/// The highest logical CPU id that is believed; Linux's NR_CPUS on POWER ends at 8192.
const MAX_CPU: u32 = 8192;

/// A register and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// Its name.
    pub id: RegisterId,
    /// The eight bytes that are beside the name; [`Register::value`] knows how many of them count.
    pub raw: u64,
}

impl Register {
    /// The value, without what is in the reserved half of a register of four bytes.
    pub fn value(self) -> u64 {
        if self.id.width() == 4 { self.raw & 0xffff_ffff } else { self.raw }
    }
}

/// The registers of one CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuState {
    /// The firmware's logical CPU id, which is Linux's CPU number.
    pub cpu: u32,
    /// The registers in the firmware's order.
    pub registers: Vec<Register>,
    /// The mark at the CPU's end was found and named the same CPU.
    pub complete: bool,
}

impl CpuState {
    /// The value of the register called `name`; the first when there are several.
    pub fn get(&self, name: &str) -> Option<u64> {
        let id = RegisterId::new(name);
        self.registers.iter().find(|r| r.id == id).map(|r| r.value())
    }

    /// The value of the first register of `kind` that is, or is not, a checkpoint.
    pub fn find(&self, kind: RegisterKind, checkpoint: bool) -> Option<u64> {
        let wanted = |r: &&Register| r.id.is_checkpoint() == checkpoint && r.id.kind() == kind;
        self.registers.iter().find(wanted).map(|r| r.value())
    }
}

/// What is unusual or wrong in the area.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The version is not 0; it was read as version 0.
    Version(u32),
    /// The number of CPUs is not where PAPR or QEMU put it; the offset was followed.
    Offset(u32),
    /// The header counts another number of CPUs than there are.
    Count {
        /// What the header says.
        claimed: u32,
        /// How many were found.
        found: usize,
    },
    /// Registers stand before any CPU's start; they were dropped. The offset in bytes of the first.
    NoStart(usize),
    /// A CPU has no end: another one starts, or the area ends.
    NoEnd(u32),
    /// A CPU's end names another CPU.
    EndOfOther {
        /// The CPU that was started.
        started: u32,
        /// The CPU that the end names.
        ended: u32,
    },
    /// A CPU appears twice; the first is kept.
    DuplicateCpu(u32),
    /// A CPU id that no Linux could have; its registers are kept out of the notes.
    HugeCpu(u32),
    /// An identifier that is in no specification.
    UnknownRegister(u32, RegisterId),
    /// A register of a CPU appears twice; the first counts.
    DuplicateRegister(u32, RegisterId),
    /// A register of four bytes has something in its reserved half, which was ignored.
    DirtyUpperHalf(u32, RegisterId),
    /// Registers of an array (`GPR`, `FPR`, `VR`) are not ascending and uninterrupted.
    OutOfOrder(u32, &'static str),
    /// The area ends inside an entry; the offset in bytes of that entry.
    Truncated(usize),
}

/// The parsed area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaveArea {
    /// The format's version; 0.
    pub version: u32,
    /// Where the number of CPUs is, in bytes.
    pub count_offset: u32,
    /// The number of CPUs that the header counts.
    pub claimed_cpus: u32,
    /// The CPUs in the firmware's order, each once.
    pub cpus: Vec<CpuState>,
    /// The faults, in the order of the bytes; of an area that is nonsense, only the first few thousand.
    pub faults: Vec<Fault>,
}

impl SaveArea {
    /// Parses the bytes that the firmware copied.
    ///
    /// # Errors
    ///
    /// When the area is too short for its header, has another magic number, or puts the number of CPUs outside
    /// itself: then there are no registers.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let get = Bytes::big(bytes);
        let short = || Error::Short { what: NAME, found: bytes.len(), expected: HEADER + 4 };
        let magic = get.u64(0).ok_or_else(short)?;
        if magic != MAGIC {
            let swapped = magic.swap_bytes() == MAGIC;
            return Err(Error::Damaged {
                what: NAME,
                field: "magic",
                offset: 0,
                found: format!("{magic:#018x}{}", if swapped { ", which is byte-swapped" } else { "" }),
                expected: format!("{MAGIC:#018x}"),
            });
        }
        let (version, count_offset) = (get.u32(8).ok_or_else(short)?, get.u32(0xc).ok_or_else(short)?);
        let at = count_offset as usize;
        let claimed = (at >= HEADER).then(|| get.u32(at)).flatten().ok_or_else(|| Error::Damaged {
            what: NAME,
            field: "NumCpusOffset",
            offset: 0xc,
            found: format!("{count_offset:#x}"),
            expected: format!("{HEADER:#x} to {:#x}", bytes.len().saturating_sub(4)),
        })?;
        let mut faults = Vec::new();
        if version != 0 {
            faults.push(Fault::Version(version));
        }
        if ![0x10, 0x1c].contains(&count_offset) {
            faults.push(Fault::Offset(count_offset));
        }
        let mut walk = Walk { cpus: Vec::new(), seen: HashSet::new(), open: None, ended: 0, faults };
        walk.entries(bytes, at + 4, claimed);
        let Walk { mut cpus, mut faults, .. } = walk;
        if cpus.len() as u64 != u64::from(claimed) {
            faults.push(Fault::Count { claimed, found: cpus.len() });
        }
        cpus.iter().for_each(|cpu| check(cpu, &mut faults));
        cpus.shrink_to_fit();
        Ok(Self { version, count_offset, claimed_cpus: claimed, cpus, faults })
    }

    /// The registers of a CPU.
    pub fn cpu(&self, cpu: u32) -> Option<&CpuState> {
        self.cpus.iter().find(|c| c.cpu == cpu)
    }

    /// The CPUs that Linux could have had, in ascending order.
    pub fn into_ascending(mut self) -> Vec<CpuState> {
        self.cpus.retain(|c| c.cpu < MAX_CPU);
        self.cpus.sort_by_key(|c| c.cpu);
        self.cpus
    }
}

/// The walk over the entries: at most one CPU is open.
struct Walk {
    cpus: Vec<CpuState>,
    seen: HashSet<u32>,
    open: Option<CpuState>,
    ended: u32,
    faults: Vec<Fault>,
}

impl Walk {
    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(fault);
        }
    }

    fn entries(&mut self, bytes: &[u8], start: usize, claimed: u32) {
        let get = Bytes::big(bytes);
        let mut at = start;
        let mut orphan = false;
        // What follows the last CPU is not cleared by QEMU: an end is an end once the count is reached.
        while let (Some(id), Some(raw)) = (get.slice(at, 8), get.u64(at + 8)) {
            let id = RegisterId(id.try_into().unwrap_or_default());
            if id == RegisterId::START {
                self.close(None);
                self.open = Some(CpuState { cpu: raw as u32, ..CpuState::default() });
            } else if id == RegisterId::END {
                self.close(Some(raw as u32));
            } else if let Some(cpu) = &mut self.open {
                cpu.registers.push(Register { id, raw });
            } else if self.ended >= claimed || id.0 == [0; 8] {
                // The rest is padding, unless more CPUs follow; those start with a mark of their own.
            } else if !orphan {
                orphan = true;
                self.fault(Fault::NoStart(at));
            }
            at += ENTRY;
        }
        let cut = at < bytes.len() && self.open.is_some();
        self.close(None);
        if cut {
            self.fault(Fault::Truncated(at));
        }
    }

    /// Ends the open CPU; `end` is what its end mark names.
    fn close(&mut self, end: Option<u32>) {
        let Some(mut cpu) = self.open.take() else { return };
        self.ended += 1;
        match end {
            Some(id) if id == cpu.cpu => cpu.complete = true,
            Some(ended) => self.fault(Fault::EndOfOther { started: cpu.cpu, ended }),
            None => self.fault(Fault::NoEnd(cpu.cpu)),
        }
        if self.seen.insert(cpu.cpu) {
            self.cpus.push(cpu);
        } else {
            self.fault(Fault::DuplicateCpu(cpu.cpu));
        }
    }
}

/// Looks for faults in the registers of one CPU.
fn check(cpu: &CpuState, faults: &mut Vec<Fault>) {
    if cpu.cpu >= MAX_CPU {
        faults.push(Fault::HugeCpu(cpu.cpu));
    }
    let mut seen = HashSet::new();
    for register in &cpu.registers {
        if faults.len() >= MAX_FAULTS {
            return;
        }
        let id = register.id;
        if !seen.insert(id) {
            faults.push(Fault::DuplicateRegister(cpu.cpu, id));
        }
        if id.kind() == RegisterKind::Unknown {
            faults.push(Fault::UnknownRegister(cpu.cpu, id));
        }
        if register.raw != register.value() {
            faults.push(Fault::DirtyUpperHalf(cpu.cpu, id));
        }
    }
    for class in ["GPR", "FPR", "VR"] {
        let numbers: Vec<Option<u8>> = cpu.registers.iter().map(|r| index(r.id, class)).collect();
        let first = numbers.iter().position(Option::is_some).unwrap_or_default();
        let last = numbers.iter().rposition(Option::is_some).map_or(first, |at| at + 1);
        let run = &numbers[first..last];
        if run.contains(&None) || !run.is_sorted() {
            faults.push(Fault::OutOfOrder(cpu.cpu, class));
        }
    }
}

/// The place of a register in its array, so that the high half of a pair comes first.
fn index(id: RegisterId, class: &str) -> Option<u8> {
    match id.kind() {
        _ if id.is_checkpoint() => None,
        RegisterKind::Gpr(n) if class == "GPR" => Some(n),
        RegisterKind::Fpr(n) if class == "FPR" => Some(n),
        RegisterKind::Vr(n, high) if class == "VR" => Some(n * 2 + u8::from(!high)),
        _ => None,
    }
}

#[cfg(test)]
#[path = "regsave_tests.rs"]
mod tests;
