//! The register save area, as the firmware builds it.
//!
//! Layout from LoPAR, appendix "Firmware Assisted Dump Data Format": an eight-byte magic, a version, the offset
//! of the CPU count, the count, then entries of sixteen bytes, big-endian whatever the kernel. QEMU's
//! `spapr_fadump.c` puts the count at 10h and the entries right after it, so that they are not aligned.

use crate::Firmware;
use crate::bytes::{ByteOrder, Bytes};
use crate::machine::Cpu;

/// `REGSAVE` and a NUL.
pub const MAGIC: u64 = 0x5245_4753_4156_4500;

/// Entries that QEMU writes for each CPU: 77 registers and two markers.
const QEMU_ENTRIES: u64 = 79;

/// The identifier of a register or marker: up to eight ASCII bytes, NUL padded.
pub fn identifier(name: &str) -> [u8; 8] {
    let mut id = [0; 8];
    for (to, from) in id.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    id
}

/// One entry: a name and the eight bytes of its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Eight bytes, NUL padded.
    pub id: [u8; 8],
    /// The value; 32-bit registers and CPU markers use the low half.
    pub value: u64,
}

impl Entry {
    /// An entry by its name.
    pub fn new(name: &str, value: u64) -> Self {
        Self { id: identifier(name), value }
    }
}

/// A register save area before it becomes bytes, so that faults can be put into it.
#[derive(Clone, Debug)]
pub struct RegisterSave {
    /// The magic number.
    pub magic: u64,
    /// The version, 0.
    pub version: u32,
    /// Where the CPU count is.
    pub count_offset: u32,
    /// Where the CPU count is really put; faults set the field above apart from it.
    pub real_offset: u32,
    /// The number of CPUs.
    pub count: u32,
    /// Entries of all CPUs, markers included.
    pub entries: Vec<Entry>,
    /// Where the last entry is cut off, in bytes from its start; `None` for a whole one.
    pub cut: Option<usize>,
    /// What is after the entries: QEMU leaves twelve bytes of whatever was in its buffer.
    pub trailer: Vec<u8>,
}

impl RegisterSave {
    /// What the firmware writes for `cpus`, all of them; the caller leaves out those offline.
    pub fn of<'a>(firmware: Firmware, cpus: impl Iterator<Item = &'a Cpu>) -> Self {
        let mut entries = Vec::new();
        let mut count = 0;
        for cpu in cpus {
            count += 1;
            entries.push(Entry::new("CPUSTRT", u64::from(cpu.id)));
            let registers = cpu.registers.entries(firmware);
            entries.extend(registers.iter().map(|(name, value)| Entry::new(name, *value)));
            entries.push(Entry::new("CPUEND", u64::from(cpu.id)));
        }
        let (offset, trailer) = if firmware.is_qemu() { (0x10, vec![0xa5; 12]) } else { (0x1c, Vec::new()) };
        Self {
            magic: MAGIC,
            version: 0,
            count_offset: offset,
            real_offset: offset,
            count,
            entries,
            cut: None,
            trailer,
        }
    }

    /// The bytes the firmware writes to the section's destination.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Bytes::new(ByteOrder::Big);
        out.u64(self.magic).u32(self.version).u32(self.count_offset);
        let real = self.real_offset as usize;
        out.at(real, &self.count.to_be_bytes());
        for entry in &self.entries {
            out.raw(&entry.id).u64(entry.value);
        }
        if let Some(kept) = self.cut
            && !self.entries.is_empty()
        {
            out.bytes.truncate(out.len() - 16 + kept.min(16));
        } else {
            out.raw(&self.trailer);
        }
        out.bytes
    }
}

/// Bytes that the device tree announces for the CPU section of a machine with `cpus` processors.
///
/// QEMU counts exactly: 20h + n * 79 * 16, a00h for two. What PHYP announces was only ever seen as 20h plus a
/// multiple of 4 KiB; the full set of LoPAR's names, checkpointed ones included, takes up to 8 KiB a processor.
pub fn announced_size(firmware: Firmware, cpus: u64) -> u64 {
    if firmware.is_qemu() { 0x20 + cpus * QEMU_ENTRIES * 16 } else { 0x20 + cpus * 0x2000 }
}
