//! What OPAL firmware leaves (MPIPL): CPU data by PIR, and the metadata that finds it.
//!
//! Layouts from skiboot's `opal-dump.h`/`mem-map.h` and Linux' `opal-fadump.h`: all big-endian.

use super::opal_sizes::{METADATA, THREAD_SIZE};
use crate::bytes::{ByteOrder, Bytes};
use crate::faults::{Fault, OpalFault, pick};
use crate::layout::Layout;
use crate::machine::{Cpu, Machine};

/// Entries begin this far after the thread's offset field at 8.
const ENTRY_OFFSET: u32 = 0x10;

/// Entry type: general purpose register.
const GPR: u32 = 1;
/// Entry type: special purpose register.
const SPR: u32 = 2;

/// SPR numbers that Linux looks for; the last three are its own (`SPR_NIP` and so on of `opal-fadump.h`).
fn special(cpu: &Cpu) -> [(u32, u64); 8] {
    let registers = &cpu.registers;
    [
        (9, registers.ctr),
        (8, registers.lr),
        (1, registers.xer),
        (19, registers.dar),
        (18, u64::from(registers.dsisr)),
        (0x7d0, registers.nia),
        (0x7d1, registers.msr),
        (0x7d2, u64::from(registers.cr)),
    ]
}

fn faults_of(faults: &[Fault]) -> Vec<OpalFault> {
    pick(faults, |fault| match fault {
        Fault::Opal(fault) => Some(*fault),
        _ => None,
    })
    .collect()
}

/// The CPU data of all threads, inactive ones included.
pub fn cpu_data(machine: &Machine, faults: &[Fault]) -> Vec<u8> {
    let faults = faults_of(faults);
    let mut out = Bytes::new(ByteOrder::Big);
    for (index, cpu) in machine.cpus.iter().enumerate() {
        let start = out.len();
        let inactive = !cpu.online || (index == 0 && faults.contains(&OpalFault::InactiveCore));
        let blind = index > 0 && faults.contains(&OpalFault::OffsetInFirstThreadOnly);
        let entries = 32 + special(cpu).len() as u32;
        out.u32(cpu.id).raw(&[if inactive { 0x0f } else { 0 }, 0, 0, 0]);
        if blind {
            out.raw(&[0; 16]);
        } else {
            out.u32(ENTRY_OFFSET).u32(entries).u32(16).u32(16);
        }
        for (number, value) in cpu.registers.gpr.iter().enumerate() {
            out.u32(GPR).u32(number as u32).u64(*value);
        }
        for (number, value) in special(cpu) {
            out.u32(SPR).u32(number).u64(value);
        }
        out.bytes.resize(start + THREAD_SIZE as usize, 0);
    }
    if faults.contains(&OpalFault::SizeNotMultiple) {
        out.bytes.truncate(out.len() - 8);
    }
    out.bytes
}

/// Tag 0, the firmware's metadata: version, crashing PIR, and where the CPU data lies.
pub fn cpu_metadata(machine: &Machine, layout: &Layout, length: u64, faults: &[Fault]) -> Vec<u8> {
    let faults = faults_of(faults);
    let version = faults.iter().find_map(|fault| match fault {
        OpalFault::Version(version) => Some(*version),
        _ => None,
    });
    let size = if faults.contains(&OpalFault::ThreadSizeZero) { 0 } else { THREAD_SIZE as u32 };
    let flag = if faults.contains(&OpalFault::FlaggedAddresses) { 1 << 63 } else { 0 };
    let mut out = Bytes::new(ByteOrder::Big);
    out.raw(&[version.unwrap_or(1), 0, 0, 0, 0, 0, 0, 0]);
    out.u32(machine.options.crashing_cpu.unwrap_or(u32::MAX)).u32(1).u32(size).u32(1);
    out.u64(0).u64(layout.cpu.start | flag).u64(length);
    out.bytes
}

/// Tag 2, the kernel's metadata: its boot memory regions and its crash-info header.
pub fn kernel_metadata(layout: &Layout, faults: &[Fault]) -> Vec<u8> {
    let faults = faults_of(faults);
    let count = layout.boot.len() as u16;
    let mut out = Bytes::new(ByteOrder::Big);
    out.raw(&[1, 0, 0, 0]).u16(count).u16(registered(&faults, count));
    out.u64(layout.crash_info.map_or(0, |info| info.start));
    for (region, destination) in &layout.boot {
        out.u64(region.start).u64(*destination).u64(region.length);
    }
    out.bytes.resize(METADATA as usize, 0);
    out.bytes
}

/// How many boot memory regions the firmware was told of.
pub(crate) fn registered_regions(layout: &Layout, faults: &[Fault]) -> usize {
    usize::from(registered(&faults_of(faults), layout.boot.len() as u16))
}

fn registered(faults: &[OpalFault], count: u16) -> u16 {
    let asked = faults.iter().find_map(|fault| match fault {
        OpalFault::Registered(count) => Some(*count),
        _ => None,
    });
    asked.unwrap_or(count).min(count)
}
