//! The copy step: what the firmware does between the crash and the reset.

use crate::Firmware;
use crate::bytes::be_u16;
use crate::error::Result;
use crate::extent::{Extent, covers, subtract};
use crate::faults::{Fault, HpteFault, RegistersFault, pick};
use crate::hpte::HpteSave;
use crate::machine::{Cpu, Machine};
use crate::regsave::{Entry, RegisterSave};
use crate::structure::{
    ERROR_DESTINATION, ERROR_LENGTH, ERROR_SOURCE, ERROR_TOO_SMALL, ERROR_TYPE, KIND_CPU, KIND_HPTE,
    KIND_PARAMETER, KIND_REAL_MODE, STATUS_ERROR, STATUS_PERFORMED, STATUS_TRIGGERED, Section, Structure,
};

/// Bytes QEMU's `spapr_fadump.c` copies at a time; PHYP's step is not known.
pub const STEP: u64 = 32 << 20;

/// Where bytes of the crashed system's boot memory can still be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The original bytes.
    pub source: Extent,
    /// Where their copy begins.
    pub destination: u64,
}

/// What the copy step did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The structure with results.
    pub structure: Structure,
    /// Copies that are whole.
    pub copied: Vec<Copied>,
    /// Every range of memory the firmware wrote.
    pub written: Vec<Extent>,
}

/// Performs the registered sections in order, on the machine's memory.
///
/// # Errors
///
/// The memory cannot be read or written.
pub fn perform(machine: &mut Machine, mut structure: Structure, faults: &[Fault]) -> Result<Outcome> {
    let firmware = machine.options.firmware;
    let mut outcome =
        Outcome { structure: Structure::new(Vec::new()), copied: Vec::new(), written: Vec::new() };
    let mut failed = false;
    for (index, section) in structure.sections.iter_mut().enumerate() {
        section.error = 0;
        section.copied = 0;
        if section.request & 1 == 0 {
            continue;
        }
        let (amount, said) = amounts(index, section.requested, faults);
        let flags = pick(faults, |fault| match fault {
            Fault::SectionFlags { section, flags, copied_in_full } if *section == index => {
                Some((*flags, *copied_in_full))
            }
            _ => None,
        })
        .next();
        if let Some((flags, false)) = flags {
            section.error = flags;
            failed = true;
            continue;
        }
        match section.kind {
            KIND_CPU => {
                let bytes = register_save(machine, faults).bytes();
                save(machine, section, &bytes, amount, said, &mut outcome)?;
            }
            KIND_HPTE if !firmware.is_qemu() => {
                let bytes =
                    if section.requested == 0 { Vec::new() } else { hpte_save(machine, faults).bytes() };
                save(machine, section, &bytes, amount, said, &mut outcome)?;
            }
            // QEMU does not implement the HPTE region: nothing asked, nothing copied.
            KIND_HPTE => {}
            KIND_REAL_MODE | KIND_PARAMETER.. => move_memory(machine, section, amount, said, &mut outcome)?,
            _ => section.error = ERROR_TYPE,
        }
        failed |= section.error != 0;
        if firmware == Firmware::QemuLe && section.error == ERROR_SOURCE {
            section.error = section.error.swap_bytes();
        }
        if let Some((flags, true)) = flags {
            section.error |= flags;
            failed = true;
        }
    }
    structure.status = STATUS_PERFORMED | STATUS_TRIGGERED;
    // QEMU sets the error bit and then overwrites the field.
    if failed && !firmware.is_qemu() {
        structure.status |= STATUS_ERROR;
    }
    outcome.structure = structure;
    Ok(outcome)
}

/// Bytes to copy and bytes to say.
fn amounts(index: usize, requested: u64, faults: &[Fault]) -> (u64, u64) {
    pick(faults, |fault| match fault {
        Fault::Copied(section, amount) if *section == index => Some(amount.of(requested)),
        _ => None,
    })
    .next()
    .unwrap_or((requested, requested))
}

/// Writes what the firmware built itself (CPU state, HPTEs) to a section's destination.
fn save(
    machine: &mut Machine,
    section: &mut Section,
    bytes: &[u8],
    amount: u64,
    said: u64,
    outcome: &mut Outcome,
) -> Result<()> {
    let qemu = machine.options.firmware.is_qemu();
    let mut bytes = bytes.to_vec();
    if !qemu {
        if bytes.len() as u64 > section.requested {
            section.error = ERROR_TOO_SMALL;
            return Ok(());
        }
        bytes.resize(section.requested as usize, 0);
    }
    // QEMU writes the full length without looking at what was asked for.
    let natural = bytes.len() as u64;
    bytes.truncate(natural.min(amount.max(if amount == section.requested { natural } else { 0 })) as usize);
    let place = Extent::new(section.destination, bytes.len() as u64);
    if !covers(&machine.options.ram, place) {
        section.error = ERROR_DESTINATION;
        return Ok(());
    }
    overwrite(&mut outcome.copied, place);
    outcome.written.push(place);
    machine.memory.write(place.start, &bytes)?;
    section.copied = if said == section.requested { natural } else { said };
    Ok(())
}

/// Copies a range of memory, as type 11h and OS-defined sections ask.
fn move_memory(
    machine: &mut Machine,
    section: &mut Section,
    amount: u64,
    said: u64,
    outcome: &mut Outcome,
) -> Result<()> {
    let ram = &machine.options.ram;
    if !ram.iter().any(|extent| extent.contains(section.source)) {
        section.error = ERROR_SOURCE;
        return Ok(());
    }
    if !covers(ram, Extent::new(section.source, amount)) {
        section.error = ERROR_LENGTH;
        return Ok(());
    }
    if !covers(ram, Extent::new(section.destination, amount)) {
        section.error = ERROR_DESTINATION;
        return Ok(());
    }
    section.copied = said;
    if section.source == section.destination {
        return Ok(());
    }
    copy_tracked(machine, Extent::new(section.source, amount), section.destination, outcome)
}

/// Copies in steps and keeps account of what is still whole afterwards.
pub(crate) fn copy_tracked(
    machine: &mut Machine,
    source: Extent,
    to: u64,
    outcome: &mut Outcome,
) -> Result<()> {
    machine.memory.copy(source.start, to, source.length, STEP)?;
    let mut done = 0;
    while done < source.length {
        let now = STEP.min(source.length - done);
        let target = Extent::new(to + done, now);
        overwrite(&mut outcome.copied, target);
        // Bytes that this very copy, or any write before it, had already changed are no copy of the original.
        let mut dirty = outcome.written.clone();
        dirty.push(Extent::new(to, done));
        dirty.sort_unstable();
        for piece in subtract(&[Extent::new(source.start + done, now)], &dirty) {
            outcome.copied.push(Copied { source: piece, destination: to + (piece.start - source.start) });
        }
        done += now;
    }
    outcome.written.push(Extent::new(to, source.length));
    Ok(())
}

/// Takes out of `copied` whatever stood in `place`.
pub(crate) fn overwrite(copied: &mut Vec<Copied>, place: Extent) {
    let before = std::mem::take(copied);
    for item in before {
        let target = Extent::new(item.destination, item.source.length);
        for piece in subtract(&[target], &[place]) {
            let source = Extent::new(item.source.start + (piece.start - item.destination), piece.length);
            copied.push(Copied { source, destination: piece.start });
        }
    }
}

/// The register save area of a machine, faults included.
pub fn register_save(machine: &Machine, faults: &[Fault]) -> RegisterSave {
    let faults_of = |wanted: RegistersFault| faults.contains(&Fault::Registers(wanted));
    let mut cpus: Vec<&Cpu> =
        machine.cpus.iter().filter(|cpu| cpu.online || faults_of(RegistersFault::OfflineIncluded)).collect();
    if faults.contains(&Fault::CrashingCpuNotSaved) {
        cpus.retain(|cpu| Some(cpu.id) != machine.options.crashing_cpu);
    }
    if faults_of(RegistersFault::DescendingCpus) {
        cpus.reverse();
    }
    if faults_of(RegistersFault::DuplicateCpu)
        && let Some(first) = cpus.first().copied()
    {
        cpus.insert(1, first);
    }
    let mut save = RegisterSave::of(machine.options.firmware, cpus.into_iter());
    for fault in pick(faults, |fault| match fault {
        Fault::Registers(fault) => Some(*fault),
        _ => None,
    }) {
        spoil(&mut save, fault);
    }
    save
}

fn spoil(save: &mut RegisterSave, fault: RegistersFault) {
    let find =
        |entries: &[Entry], name: &str| entries.iter().position(|e| e.id == crate::regsave::identifier(name));
    match fault {
        RegistersFault::Magic(magic) => save.magic = magic,
        RegistersFault::Version(version) => save.version = version,
        RegistersFault::CountAt(offset) => (save.count_offset, save.real_offset) = (offset, offset),
        RegistersFault::SaysCountAt(offset) => save.count_offset = offset,
        RegistersFault::Count(count) => save.count = count,
        RegistersFault::NoStart => {
            if let Some(at) = find(&save.entries, "CPUSTRT") {
                save.entries.remove(at);
            }
        }
        RegistersFault::NoEnd => {
            if let Some(at) = save.entries.iter().rposition(|e| e.id == crate::regsave::identifier("CPUEND"))
            {
                save.entries.remove(at);
            }
        }
        RegistersFault::EndId(id) => {
            if let Some(at) = find(&save.entries, "CPUEND") {
                save.entries[at].value = u64::from(id);
            }
        }
        RegistersFault::CpuId(id) => {
            for name in ["CPUSTRT", "CPUEND"] {
                if let Some(at) = find(&save.entries, name) {
                    save.entries[at].value = u64::from(id);
                }
            }
        }
        RegistersFault::ExtraEntry(id, value) => {
            if let Some(at) = find(&save.entries, "CPUSTRT") {
                save.entries.insert(at + 1, Entry { id, value });
            }
        }
        RegistersFault::DuplicateRegister => {
            if let Some(at) = find(&save.entries, "GPR05") {
                let twin = Entry { value: !save.entries[at].value, ..save.entries[at].clone() };
                save.entries.insert(at + 1, twin);
            }
        }
        RegistersFault::DirtyUpperHalves => {
            let names = crate::registers::FOUR_BYTES.map(crate::regsave::identifier);
            let narrow = save.entries.iter_mut().filter(|entry| names.contains(&entry.id));
            narrow.for_each(|entry| entry.value |= 0xdead_beef_0000_0000);
        }
        RegistersFault::OutOfOrder => {
            let start = crate::regsave::identifier("CPUSTRT");
            // CPUs with a transactional-memory checkpoint have more registers than others.
            for cpu in save.entries.chunk_by_mut(|_, next| next.id != start) {
                let last = cpu.len().saturating_sub(1);
                if let Some(registers) = cpu.get_mut(1..last) {
                    registers.reverse();
                }
            }
        }
        RegistersFault::TruncatedAt(bytes) => save.cut = Some(bytes),
        // These were applied to the list of CPUs.
        RegistersFault::DuplicateCpu | RegistersFault::OfflineIncluded | RegistersFault::DescendingCpus => {}
    }
}

/// The HPTE save area of a machine, faults included.
pub fn hpte_save(machine: &Machine, faults: &[Fault]) -> HpteSave {
    let mut save = HpteSave::of(&machine.hptes);
    for fault in pick(faults, |fault| match fault {
        Fault::Hptes(fault) => Some(*fault),
        _ => None,
    }) {
        match fault {
            HpteFault::Magic(magic) => save.magic = magic,
            HpteFault::Count(count) => save.count = count,
            HpteFault::CountAt1c(count) => save.count_at_1c = Some(count),
            HpteFault::DuplicateIndices => save.entries.iter_mut().for_each(|entry| entry.index = 7),
        }
    }
    save
}

/// The status field of a property as it is in the device tree.
pub fn status_of(property: &[u8]) -> Option<u16> {
    be_u16(property, 6)
}
