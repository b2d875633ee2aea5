//! What OPAL firmware leaves of a memory-preserving reboot (MPIPL): the same as the hypervisor, in other words.
//!
//! All big-endian. Layouts: skiboot `include/opal-api.h` (`struct mpipl_fadump`), Linux
//! `arch/powerpc/platforms/powernv/opal-fadump.h` (`struct opal_mpipl_fadump`, `struct hdat_fadump_thread_hdr`,
//! `struct hdat_fadump_reg_entry`, `struct opal_fadump_mem_struct`).

use crate::Error;
use crate::bytes::Bytes;
use crate::register::RegisterId;
use crate::regsave::{CpuState, Register};
use vmcore::{PhysAddr, Range};

/// A piece of memory and its copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Where it was.
    pub source: PhysAddr,
    /// Where its copy lies.
    pub destination: PhysAddr,
    /// Bytes.
    pub size: u64,
}

impl Region {
    const LEN: usize = 24;

    fn parse(get: Bytes<'_>, at: usize) -> Option<Self> {
        Some(Self {
            source: PhysAddr(get.u64(at)? & ADDRESS),
            destination: PhysAddr(get.u64(at.checked_add(8)?)? & ADDRESS),
            size: get.u64(at.checked_add(16)?)?,
        })
    }

    /// Where it was.
    pub fn source_range(&self) -> Range<PhysAddr> {
        Range::new(self.source, PhysAddr(self.source.0.saturating_add(self.size)))
    }

    /// The copy.
    pub fn copy(&self) -> Range<PhysAddr> {
        Range::new(self.destination, PhysAddr(self.destination.0.saturating_add(self.size)))
    }
}

/// The firmware keeps a flag of its own in the highest bit of addresses.
const ADDRESS: u64 = !(1 << 63);

/// The metadata of tag 0 (CPU) or any other that the firmware made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The format's version; 1.
    pub version: u8,
    /// The processor identification register of the CPU that crashed.
    pub crashing_pir: u32,
    /// The version of the CPU data; 1.
    pub cpu_data_version: u32,
    /// Bytes of CPU data for each thread.
    pub thread_size: u32,
    /// The regions.
    pub regions: Vec<Region>,
    /// How many regions the metadata counts.
    pub claimed_regions: u32,
}

impl Metadata {
    const HEADER: usize = 0x18;

    /// Parses the metadata; regions that it counts and does not hold are left out.
    ///
    /// # Errors
    ///
    /// When it is shorter than its header.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let get = Bytes::big(bytes);
        let header = || {
            get.slice(0, Self::HEADER)?;
            Some((get.u32(8)?, get.u32(0xc)?, get.u32(0x10)?, get.u32(0x14)?))
        };
        let short = Error::Short { what: "OPAL metadata", found: bytes.len(), expected: Self::HEADER };
        let (crashing_pir, cpu_data_version, thread_size, claimed_regions) = header().ok_or(short)?;
        let at = |i: usize| Region::parse(get, Self::HEADER + i * Region::LEN);
        let regions = (0..claimed_regions as usize).map_while(at).collect();
        Ok(Self { version: bytes[0], crashing_pir, cpu_data_version, thread_size, regions, claimed_regions })
    }
}

/// The kernel's own metadata of tag 2: which memory it asked the firmware to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelMetadata {
    /// The format's version; 1.
    pub version: u8,
    /// How many regions the kernel listed.
    pub listed: u16,
    /// How many of them the firmware had accepted; the others were never copied.
    pub registered: u16,
    /// Where the crash-info header lies.
    pub crash_info: PhysAddr,
    /// All listed regions.
    pub regions: Vec<Region>,
}

impl KernelMetadata {
    /// The length in bytes: a header and 128 regions (`FADUMP_MAX_MEM_REGS`).
    pub const LEN: usize = 0x10 + 128 * Region::LEN;

    /// Parses the metadata.
    ///
    /// # Errors
    ///
    /// When it is shorter than its header, has another version, or lists more than 128 regions.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        const NAME: &str = "OPAL kernel metadata";
        let get = Bytes::big(bytes);
        let header = || {
            get.slice(0, 0x10)?;
            Some((get.u16(4)?, get.u16(6)?, get.u64(8)?))
        };
        let short = Error::Short { what: NAME, found: bytes.len(), expected: 0x10 };
        let (listed, registered, crash_info) = header().ok_or(short)?;
        let damaged = |field, offset, found, expected: &str| Error::Damaged {
            what: NAME,
            field,
            offset,
            found,
            expected: expected.into(),
        };
        if bytes[0] != 1 {
            return Err(damaged("version", 0, bytes[0].to_string(), "1"));
        }
        if listed > 128 {
            return Err(damaged("region_cnt", 4, listed.to_string(), "at most 128"));
        }
        let at = |i: usize| Region::parse(get, 0x10 + i * Region::LEN);
        let regions = (0..listed.into()).map_while(at).collect();
        Ok(Self {
            version: bytes[0],
            listed,
            registered,
            crash_info: PhysAddr(crash_info & ADDRESS),
            regions,
        })
    }

    /// The regions that were copied: those the firmware had accepted.
    pub fn copied(&self) -> &[Region] {
        &self.regions[..self.regions.len().min(self.registered.into())]
    }

    /// The regions that were listed and never copied.
    pub fn missing(&self) -> &[Region] {
        &self.regions[self.copied().len()..]
    }
}

/// What is unusual or wrong in the CPU data.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The data is no multiple of a thread's size; the bytes left over.
    Ragged(usize),
    /// A thread's own header does not say where its registers are; the first thread's was used, as Linux does.
    HeaderFromFirst(u32),
    /// A thread's registers reach past its part of the data.
    Truncated(u32),
    /// A register of an unknown type or number: type and number.
    UnknownRegister(u32, u32, u32),
    /// A processor identification appears twice; the first is kept.
    DuplicatePir(u32),
}

/// The registers of all threads that were active.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuData {
    /// The threads in the firmware's order; their CPU number is the processor identification register.
    pub cpus: Vec<CpuState>,
    /// The threads whose core was not active.
    pub inactive: Vec<u32>,
    /// The faults.
    pub faults: Vec<Fault>,
}

/// `core_state` of a thread that was not running (`HDAT_FADUMP_CORE_INACTIVE`).
const INACTIVE: u8 = 0x0f;
const ENTRY: usize = 16;

impl CpuData {
    /// Parses `bytes` as threads of `thread_size` bytes each.
    ///
    /// # Errors
    ///
    /// When a thread's size is too small to hold a header.
    pub fn parse(bytes: &[u8], thread_size: u32) -> Result<Self, Error> {
        let size = thread_size as usize;
        if size < 0x18 {
            return Err(Error::Damaged {
                what: "OPAL metadata",
                field: "cpu_data_size",
                offset: 0x10,
                found: thread_size.to_string(),
                expected: "at least 24".into(),
            });
        }
        let mut data = Self::default();
        let threads = bytes.chunks_exact(size);
        if !threads.remainder().is_empty() {
            data.faults.push(Fault::Ragged(threads.remainder().len()));
        }
        let mut first = None;
        for thread in threads {
            data.thread(thread, &mut first);
        }
        Ok(data)
    }

    fn thread(&mut self, bytes: &[u8], first: &mut Option<(u32, u32, u32)>) {
        let get = Bytes::big(bytes);
        let header = (get.u32(0), bytes.get(4), get.u32(8), get.u32(0xc), get.u32(0x10));
        let (Some(pir), Some(&state), Some(offset), Some(count), Some(step)) = header else { return };
        let own = (offset, count, step);
        let (offset, count, step) = if count != 0 && step as usize >= ENTRY {
            *first.get_or_insert(own)
        } else {
            first.unwrap_or(own)
        };
        if state == INACTIVE {
            self.inactive.push(pir);
            return;
        }
        // Linux reads the header of the first thread only and applies it to all.
        if own != (offset, count, step) {
            self.faults.push(Fault::HeaderFromFirst(pir));
        }
        if self.cpus.iter().any(|c| c.cpu == pir) {
            self.faults.push(Fault::DuplicatePir(pir));
            return;
        }
        let mut cpu = CpuState { cpu: pir, registers: Vec::new(), complete: true };
        let start = 8 + offset as usize;
        for i in 0..count as usize {
            let at = i.checked_mul(step as usize).and_then(|o| o.checked_add(start));
            let entry = at.and_then(|at| get.slice(at, ENTRY)).map(Bytes::big);
            let Some(entry) = entry.filter(|_| step as usize >= ENTRY) else {
                self.faults.push(Fault::Truncated(pir));
                cpu.complete = false;
                break;
            };
            let (kind, number) = (entry.u32(0).unwrap_or_default(), entry.u32(4).unwrap_or_default());
            let raw = entry.u64(8).unwrap_or_default();
            match name(kind, number) {
                Some(name) => cpu.registers.push(Register { id: RegisterId::new(&name), raw }),
                None => self.faults.push(Fault::UnknownRegister(pir, kind, number)),
            }
        }
        self.cpus.push(cpu);
    }
}

/// Special registers by number: Power ISA's numbers, and three of skiboot's own for what is no SPR
/// (`SPR_NUM_NIP`, `_MSR`, `_CR`).
const SPRS: [(u32, &str); 44] = [
    (1, "XER"),
    (8, "LR"),
    (9, "CTR"),
    (13, "AMR"),
    (18, "DSISR"),
    (19, "DAR"),
    (22, "DEC"),
    (26, "SRR0"),
    (27, "SRR1"),
    (28, "CFAR"),
    (29, "AMR"),
    (48, "PID"),
    (61, "IAMR"),
    (128, "TFHAR"),
    (129, "TFIAR"),
    (130, "TEXASR"),
    (136, "CTRL"),
    (152, "CTRL"),
    (153, "FSCR"),
    (157, "UAMOR"),
    (159, "PSPB"),
    (176, "DPDES"),
    (180, "DAWR0"),
    (186, "RPR"),
    (187, "CIABR"),
    (188, "DAWRX0"),
    (256, "VRSAVE"),
    (268, "TB"),
    (272, "SPRG0"),
    (273, "SPRG1"),
    (274, "SPRG2"),
    (275, "SPRG3"),
    (287, "PVR"),
    (308, "SPURR"),
    (309, "PURR"),
    (804, "EBBHR"),
    (805, "EBBRR"),
    (806, "BESCR"),
    (815, "TAR"),
    (896, "PPR"),
    (1023, "PIR"),
    (0x7d0, "NIA"),
    (0x7d1, "MSR"),
    (0x7d2, "CR"),
];

/// The name, as the register save area spells it, of a register that OPAL gives by type and number.
fn name(kind: u32, number: u32) -> Option<String> {
    match kind {
        1 if number < 32 => Some(format!("GPR{number:02}")),
        2 => SPRS.iter().find(|(n, _)| *n == number).map(|(_, name)| (*name).to_owned()),
        _ => None,
    }
}

#[cfg(test)]
#[path = "opal_tests.rs"]
mod tests;
