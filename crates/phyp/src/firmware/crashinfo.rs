//! The crash-info header: what the dying kernel itself wrote down.
//!
//! It lies right after the copy of boot memory, in the byte order of the crashed kernel. Two generations exist (Linux
//! `struct fadump_crash_info_header`, `arch/powerpc/include/asm/fadump-internal.h`):
//!
//! | `FADMPINF`, up to 6.9 | | `FADMPSIG`, since 6.10 | |
//! |---|---|---|---|
//! | 00 | magic | 00 | magic |
//! | 08 | u64 address of the ELF core header | 08 | u32 version, 1 |
//! | 10 | u32 crashing CPU | 0c | u32 crashing CPU |
//! | 18 | `pt_regs` | 10 | u64 address, u64 length of the VMCOREINFO note's copy |
//! | | CPU mask | 20 | u32 size of `pt_regs`, u32 size of the CPU mask |
//! | | | 28 | `pt_regs`, CPU mask |
//!
//! The newer header gives its sizes, so every kernel's can be read. The older does not; but its ELF core header follows
//! right after it, which gives the sum of the two, and the set of CPUs that the firmware saved says where the mask
//! starts. Kernels before 3.4 (phyp-dump) have no such header.

use crate::Error;
use crate::bytes::Bytes;
use vmcore::{ByteOrder, PhysAddr, Range};

const NAME: &str = "crash-info header";
/// `FADMPINF` as a number.
pub const MAGIC_OLD: u64 = 0x4641_444d_5049_4e46;
/// `FADMPSIG` as a number.
pub const MAGIC: u64 = 0x4641_444d_5053_4947;
/// No CPU is known to have crashed (`FADUMP_CPU_UNKNOWN`).
const NO_CPU: u32 = u32::MAX;

const OLD_HEADER: usize = 0x18;
const HEADER: usize = 0x28;
/// Words of `pt_regs` that every kernel has: up to `result`.
pub const WORDS: usize = 44;
/// The most words that are believed to be `pt_regs`.
const MAX_WORDS: usize = 128;
/// The longest CPU mask that is believed, in bytes: 65,536 CPUs.
const MAX_MASK: usize = 8192;
/// Enough to hold any header of either generation, in bytes.
pub const MAX_LEN: usize = HEADER + MAX_WORDS * 8 + MAX_MASK;

/// Which kernels write such a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// `FADMPINF`: Linux 3.4 to 6.9.
    Old,
    /// `FADMPSIG`: Linux 6.10 and later.
    New,
}

/// What is unusual or wrong in the header.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The version is not 1; it was read as version 1.
    Version(u32),
    /// The size of `pt_regs` cannot be: the registers of the crashing CPU were not read.
    RegsSize(u32),
    /// The size of the CPU mask cannot be, or it reaches past what is there: there is no mask.
    MaskSize(u32),
    /// The crashing CPU is not in the mask.
    CrashingCpuOffline(u32),
    /// The size of `pt_regs` is not written down and several fit; the one that was taken, in bytes.
    GuessedRegsSize(usize),
    /// The address of the ELF core header does not follow the header, so that no size is known.
    ElfHeader(PhysAddr),
}

/// The parsed header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashInfo {
    /// Which kernels write such a header.
    pub generation: Generation,
    /// The crashed kernel's byte order.
    pub order: ByteOrder,
    /// The CPU that crashed; `None` when the hypervisor ended the partition. On OPAL it is a processor
    /// identification register.
    pub crashing_cpu: Option<u32>,
    /// The words of the crashing CPU's `pt_regs`; empty when they are not there.
    pub regs: Vec<u64>,
    /// The CPUs of the mask in ascending order: those online at the crash, or, without a crashing CPU, those possible.
    pub cpus: Vec<u32>,
    /// The mask was there.
    pub has_mask: bool,
    /// Where the copy of the VMCOREINFO note lies in memory as it is now.
    pub vmcoreinfo: Option<Range<PhysAddr>>,
    /// Where the old generation's ELF core header lies in memory as it is now.
    pub elf_header: Option<PhysAddr>,
    /// The header's length in bytes, `pt_regs` and mask included; without them when they are unknown.
    pub len: u64,
    /// The faults.
    pub faults: Vec<Fault>,
}

impl CrashInfo {
    /// Parses the header that lies at `addr`; `bytes` is what is readable from there on, [`MAX_LEN`] at most, and
    /// `saved` the CPUs whose registers the firmware saved, which says where the old generation's mask begins.
    ///
    /// # Errors
    ///
    /// When there is no magic number of either generation, or the bytes end inside the fixed part.
    pub fn parse(bytes: &[u8], addr: PhysAddr, saved: &[u32]) -> Result<Self, Error> {
        let short = |expected| Error::Short { what: NAME, found: bytes.len(), expected };
        let magic = Bytes::big(bytes).u64(0).ok_or_else(|| short(8))?;
        let (order, generation) = match (magic, magic.swap_bytes()) {
            (MAGIC, _) => (ByteOrder::Big, Generation::New),
            (_, MAGIC) => (ByteOrder::Little, Generation::New),
            (MAGIC_OLD, _) => (ByteOrder::Big, Generation::Old),
            (_, MAGIC_OLD) => (ByteOrder::Little, Generation::Old),
            _ => {
                return Err(Error::Damaged {
                    what: NAME,
                    field: "magic_number",
                    offset: 0,
                    found: format!("{magic:#018x}"),
                    expected: format!("{MAGIC:#018x} or {MAGIC_OLD:#018x} in either byte order"),
                });
            }
        };
        let get = Bytes::new(bytes, order);
        let parsed = match generation {
            Generation::New => new(get, order).ok_or_else(|| short(HEADER)),
            Generation::Old => old(get, order, addr, saved).ok_or_else(|| short(OLD_HEADER)),
        };
        let mut info = parsed?;
        if let Some(cpu) = info.crashing_cpu
            && info.has_mask
            && !info.cpus.contains(&cpu)
        {
            info.faults.push(Fault::CrashingCpuOffline(cpu));
        }
        Ok(info)
    }
}

fn empty(generation: Generation, order: ByteOrder, crashing_cpu: u32, len: usize) -> CrashInfo {
    CrashInfo {
        generation,
        order,
        crashing_cpu: (crashing_cpu != NO_CPU).then_some(crashing_cpu),
        regs: Vec::new(),
        cpus: Vec::new(),
        has_mask: false,
        vmcoreinfo: None,
        elf_header: None,
        len: len as u64,
        faults: Vec::new(),
    }
}

fn new(get: Bytes<'_>, order: ByteOrder) -> Option<CrashInfo> {
    let mut info = empty(Generation::New, order, get.u32(0xc)?, HEADER);
    let (version, start, len) = (get.u32(8)?, get.u64(0x10)?, get.u64(0x18)?);
    let (regs_size, mask_size) = (get.u32(0x20)?, get.u32(0x24)?);
    if version != 1 {
        info.faults.push(Fault::Version(version));
    }
    let note = Range::new(PhysAddr(start), PhysAddr(start.saturating_add(len)));
    info.vmcoreinfo = (start != 0 && !note.is_empty()).then_some(note);
    let regs = regs_size as usize;
    if !(WORDS * 8..=MAX_WORDS * 8).contains(&regs)
        || !regs.is_multiple_of(8)
        || get.slice(HEADER, regs).is_none()
    {
        // Nothing says where the mask begins either.
        info.faults.push(Fault::RegsSize(regs_size));
        return Some(info);
    }
    info.regs = words(get, HEADER, regs);
    info.len += regs as u64;
    let mask = mask_size as usize;
    let mask = get.slice(HEADER + regs, mask).filter(|_| mask_fits(mask));
    match mask {
        Some(bytes) => {
            info.cpus = cpus(bytes, order);
            info.has_mask = true;
            info.len += u64::from(mask_size);
        }
        None => info.faults.push(Fault::MaskSize(mask_size)),
    }
    Some(info)
}

fn old(get: Bytes<'_>, order: ByteOrder, addr: PhysAddr, saved: &[u32]) -> Option<CrashInfo> {
    let mut info = empty(Generation::Old, order, get.u32(0x10)?, OLD_HEADER);
    let elf = PhysAddr(get.u64(8)?);
    let total = elf.0.checked_sub(addr.0).and_then(|t| usize::try_from(t).ok());
    let Some(body) =
        total.and_then(|t| t.checked_sub(OLD_HEADER)).filter(|&b| get.slice(OLD_HEADER, b).is_some())
    else {
        info.faults.push(Fault::ElfHeader(elf));
        guess(get, &mut info, saved, None);
        return Some(info);
    };
    info.elf_header = Some(elf);
    guess(get, &mut info, saved, Some(body));
    info.len = (OLD_HEADER + body) as u64;
    Some(info)
}

/// Finds out how long `pt_regs` is. Kernels had 352, 368 and 384 bytes; the mask after it holds a power of two of
/// CPUs, 64 at least (NR_CPUS of every ppc64 default configuration). Among the splits that are possible the one whose
/// mask is the set of CPUs that the firmware saved wins, else one whose mask has the crashing CPU, else the shortest.
fn guess(get: Bytes<'_>, info: &mut CrashInfo, saved: &[u32], body: Option<usize>) {
    let mut saved = saved.to_vec();
    saved.sort_unstable();
    let mut best: Option<(u8, usize, Vec<u32>, usize)> = None;
    let mut fits = 0;
    for regs in (WORDS * 8..=MAX_WORDS * 8).step_by(8) {
        let masks = match body {
            Some(body) => vec![body.saturating_sub(regs)],
            None => (3..=10).map(|shift| 1 << shift).collect(),
        };
        for mask in masks.into_iter().filter(|&m| mask_fits(m) && m.is_power_of_two()) {
            let Some(bytes) = get.slice(OLD_HEADER + regs, mask) else { continue };
            let set = cpus(bytes, info.order);
            let score = if !saved.is_empty() && set == saved {
                3
            } else if info.crashing_cpu.is_some_and(|c| set.contains(&c)) {
                2
            } else {
                u8::from(!set.is_empty())
            };
            fits += 1;
            if best.as_ref().is_none_or(|b| score > b.0) {
                best = Some((score, regs, set, mask));
            }
        }
    }
    let Some((score, regs, set, mask)) = best.filter(|b| b.0 > 0) else {
        info.faults.push(Fault::RegsSize(0));
        return;
    };
    if score < 3 && fits > 1 {
        info.faults.push(Fault::GuessedRegsSize(regs));
    }
    info.regs = words(get, OLD_HEADER, regs);
    info.cpus = set;
    info.has_mask = true;
    info.len = (OLD_HEADER + regs + mask) as u64;
}

fn mask_fits(len: usize) -> bool {
    (8..=MAX_MASK).contains(&len) && len.is_multiple_of(8)
}

fn words(get: Bytes<'_>, at: usize, len: usize) -> Vec<u64> {
    (0..len / 8).filter_map(|i| get.u64(at + i * 8)).collect()
}

/// The members of a kernel's `cpumask`: an array of words, lowest bit first.
fn cpus(mask: &[u8], order: ByteOrder) -> Vec<u32> {
    let bits = |(i, word): (usize, &[u8])| {
        let word = order.u64(word);
        (0..64u32).filter(move |b| word >> b & 1 != 0).map(move |b| i as u32 * 64 + b)
    };
    mask.chunks_exact(8).enumerate().flat_map(bits).collect()
}

#[cfg(test)]
#[path = "crashinfo_tests.rs"]
mod tests;
