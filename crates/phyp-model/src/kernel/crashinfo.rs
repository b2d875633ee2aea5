//! The crash-info header, through which the crashed kernel tells the next one which CPU crashed.
//!
//! `struct fadump_crash_info_header` (`asm/fadump-internal.h`), in the crashed kernel's byte order, right after the
//! copy of boot memory. Two generations: `FADMPINF`, and since 6.10 `FADMPSIG` with version and sizes.

use crate::bytes::{ByteOrder, Bytes};
use crate::error::Result;
use crate::faults::{CrashInfoFault, Fault, VmcoreinfoFault};
use crate::layout::Layout;
use crate::linux::CrashHeader;
use crate::machine::Machine;

/// `FADMPINF`.
pub const MAGIC_INF: u64 = 0x4641_444d_5049_4e46;
/// `FADMPSIG`.
pub const MAGIC_SIG: u64 = 0x4641_444d_5053_4947;

/// The mask of CPUs in the kernel's byte order of unsigned longs.
fn mask(machine: &Machine, possible: bool) -> Vec<u8> {
    let order = machine.options.order;
    let mut words = vec![0u64; machine.options.cpu_mask_size as usize / 8];
    for cpu in machine.cpus.iter().filter(|cpu| possible || cpu.online) {
        if let Some(word) = words.get_mut(cpu.id as usize / 64) {
            *word |= 1 << (cpu.id % 64);
        }
    }
    words.iter().flat_map(|word| order.u64(*word)).collect()
}

/// Writes the header as a registration does: no CPU has crashed, all possible ones count (`init_fadump_header`).
///
/// # Errors
///
/// The memory cannot be written.
pub(crate) fn initialise(machine: &mut Machine, layout: &Layout) -> Result<()> {
    write(machine, layout, &[Fault::PartitionEnded])
}

/// Writes what a crash writes into a header that a registration left there: the CPU that crashed, its registers, and the
/// mask of CPUs (`crash_fadump`).
///
/// # Errors
///
/// The memory cannot be written.
pub(crate) fn crash(machine: &mut Machine, layout: &Layout) -> Result<()> {
    let (Some(place), Some(facts)) = (layout.crash_info, machine.options.mode.facts()) else { return Ok(()) };
    let options = &machine.options;
    let (cpu_at, registers_at) = match facts.header {
        CrashHeader::Inf => (0x10, 0x18),
        CrashHeader::Sig => (0xc, 0x28),
    };
    let crashing = options.crashing_cpu.unwrap_or(u32::MAX);
    let mut out = Bytes::new(options.order);
    if let Some(cpu) = machine.cpus.iter().find(|cpu| Some(cpu.id) == options.crashing_cpu) {
        for word in cpu.registers.pt_regs() {
            out.u64(word);
        }
    }
    out.bytes.resize(options.pt_regs_size as usize, 0);
    out.raw(&mask(machine, false));
    let crashing = options.order.u32(crashing);
    machine.memory.write(place.start + cpu_at, &crashing)?;
    machine.memory.write(place.start + registers_at, &out.bytes)
}

/// Writes the header into the machine's reserved memory, as registration and crash leave it.
///
/// # Errors
///
/// The memory cannot be written.
pub(crate) fn write(machine: &mut Machine, layout: &Layout, faults: &[Fault]) -> Result<()> {
    let Some(place) = layout.crash_info else { return Ok(()) };
    let ended = faults.contains(&Fault::PartitionEnded);
    let options = &machine.options;
    let generation = options.mode.facts().map_or(CrashHeader::Sig, |facts| facts.header);
    let mut crashing = if ended { u32::MAX } else { options.crashing_cpu.unwrap_or(u32::MAX) };
    let mut order = options.order;
    let (mut magic, mut version) = (if generation == CrashHeader::Sig { MAGIC_SIG } else { MAGIC_INF }, 1);
    let mut zero = false;
    for fault in crate::faults::pick(faults, |fault| match fault {
        Fault::CrashInfo(fault) => Some(*fault),
        _ => None,
    }) {
        match fault {
            CrashInfoFault::Magic(value) => magic = value,
            CrashInfoFault::Swapped => order = order.swapped(),
            CrashInfoFault::Zero => zero = true,
            CrashInfoFault::Version(value) => version = value,
            CrashInfoFault::CrashingCpu(value) => crashing = value,
        }
    }
    if zero {
        return machine.memory.clear(place);
    }
    let mut out = Bytes::new(order);
    out.u64(magic);
    match generation {
        CrashHeader::Inf => {
            // The headers of the ELF core were after this header. The model writes as much of them as tells their
            // number: one for notes, one for each range of memory, two to spare.
            let count = 3 + machine.options.ram.len() as u16;
            let mut elf = Bytes::zeroed(order, 64);
            elf.bytes[..8].copy_from_slice(&[
                0x7f,
                b'E',
                b'L',
                b'F',
                2,
                u8::from(order == ByteOrder::Big) + 1,
                1,
                0,
            ]);
            elf.u64_at(0x20, 64);
            elf.bytes[0x36..0x3a].copy_from_slice(&[order.u16(56), order.u16(count)].concat());
            machine.memory.write(place.end(), &elf.bytes)?;
            out.u64(place.end()).u32(crashing).u32(0);
        }
        CrashHeader::Sig => {
            let original =
                machine.vmcoreinfo.filter(|_| !faults.contains(&Fault::Vmcoreinfo(VmcoreinfoFault::Missing)));
            let relocated = original.map_or(0, |note| {
                if faults.contains(&Fault::Vmcoreinfo(VmcoreinfoFault::NotRelocated)) {
                    note.start
                } else {
                    layout.copy_of(note.start).unwrap_or(note.start)
                }
            });
            out.u32(version).u32(crashing);
            out.u64(relocated).u64(original.map_or(0, |note| note.length));
            out.u32(options.pt_regs_size).u32(options.cpu_mask_size);
        }
    }
    let registers_at = out.len();
    if !ended && let Some(cpu) = machine.cpus.iter().find(|cpu| Some(cpu.id) == options.crashing_cpu) {
        for word in cpu.registers.pt_regs() {
            out.u64(word);
        }
    }
    out.bytes.resize(registers_at + options.pt_regs_size as usize, 0);
    out.raw(&mask(machine, ended));
    machine.memory.write(place.start, &out.bytes)
}
