//! Registers and page-table entries of a dump as plain data, to be shown.
//!
//! A dump that hadump put together carries the firmware's raw areas as private notes, through every later conversion; of
//! any other dump the `NT_PRSTATUS` notes are all there is.

use crate::Error;
use crate::crashinfo::CrashInfo;
use crate::hpte::HpteArea;
use crate::notes::{self, GREGS, OWNER};
use crate::opal::CpuData;
use crate::regsave::{CpuState, SaveArea};
use vmcore::{ByteOrder, Notes, PhysAddr};

/// The words of `struct pt_regs` (`arch/powerpc/include/uapi/asm/ptrace.h`) after the 32 general registers.
const WORDS: [&str; 12] =
    ["NIP", "MSR", "ORIG_GPR3", "CTR", "LINK", "XER", "CCR", "SOFTE", "TRAP", "DAR", "DSISR", "RESULT"];

/// A register by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRegister {
    /// The name as its source spells it.
    pub name: String,
    /// The value.
    pub value: u64,
    /// Bytes in the value: 4 or 8.
    pub width: u8,
    /// The register is a transactional-memory checkpoint.
    pub checkpoint: bool,
}

/// All that is known of a CPU's registers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuListing {
    /// Linux's CPU number (on OPAL the processor identification register); of a dump without the firmware's areas, the
    /// place of the CPU's note.
    pub cpu: u32,
    /// The kernel says that this CPU crashed.
    pub crashed: bool,
    /// What the firmware saved, in its order.
    pub firmware: Vec<NamedRegister>,
    /// What the kernel saved itself, or what the CPU's `NT_PRSTATUS` holds: the words of `struct pt_regs`.
    pub kernel: Vec<NamedRegister>,
}

/// Lists every register of every CPU, in ascending order of CPUs; `notes` are a dump's, in `order`.
///
/// # Errors
///
/// When the raw area that the notes carry cannot be read at all and the kernel saved nothing either.
pub fn registers(notes: &Notes, order: ByteOrder) -> Result<Vec<CpuListing>, Error> {
    let saved = saved_states(notes);
    let states = saved.as_ref().map_or(&[][..], |s| s);
    let crash = crash_info(notes, states);

    // OPAL's threads are not counted by the kernel's mask.
    let opal = private(notes, notes::OPAL_CPU_DATA).is_some();
    let mut cpus: Vec<CpuListing> = states.iter().map(listing).collect();
    if cpus.is_empty() && crash.is_none() {
        let listed = from_prstatus(notes, order);
        return if listed.is_empty() { saved.map(|_| listed) } else { Ok(listed) };
    }
    if let Some(crash) = crash
        && let Some(number) = crash.crashing_cpu
    {
        let at = cpus.iter().position(|c| c.cpu == number).unwrap_or_else(|| {
            cpus.push(CpuListing { cpu: number, ..CpuListing::default() });
            cpus.len() - 1
        });
        cpus[at].crashed = true;
        cpus[at].kernel = pt_regs(&crash.regs);
        // Of a CPU that was online and not saved there is nothing, and that should be seen.
        let known: Vec<u32> = cpus.iter().map(|c| c.cpu).collect();
        let missing = crash.cpus.iter().filter(|c| !opal && !known.contains(c));
        cpus.extend(missing.map(|&cpu| CpuListing { cpu, ..CpuListing::default() }));
    }
    cpus.sort_by_key(|c| c.cpu);
    Ok(cpus)
}

/// The saved page-table entries, when the dump has any.
///
/// # Errors
///
/// When the area has no magic number.
pub fn hptes(notes: &Notes) -> Result<Option<HpteArea>, Error> {
    private(notes, notes::HPTE).map(HpteArea::parse).transpose()
}

fn private(notes: &Notes, kind: u32) -> Option<&[u8]> {
    notes.iter().find(|n| n.name == OWNER.as_bytes() && n.kind == kind).map(|n| &n.desc[..])
}

fn saved_states(notes: &Notes) -> Result<Vec<CpuState>, Error> {
    if let Some(area) = private(notes, notes::CPU_STATE) {
        return Ok(SaveArea::parse(area)?.cpus);
    }
    match private(notes, notes::OPAL_CPU_DATA).and_then(|d| d.split_first_chunk::<4>()) {
        Some((size, data)) => Ok(CpuData::parse(data, u32::from_be_bytes(*size))?.cpus),
        None => Ok(Vec::new()),
    }
}

fn crash_info(notes: &Notes, states: &[CpuState]) -> Option<CrashInfo> {
    let bytes = private(notes, notes::CRASH_INFO)?;
    let saved: Vec<u32> = states.iter().map(|s| s.cpu).collect();
    let first = CrashInfo::parse(bytes, PhysAddr(0), &saved).ok()?;
    // The old header is as long as the distance to the address it names; the note holds just the header.
    let elf = crate::bytes::Bytes::new(bytes, first.order).u64(8)?;
    let at = PhysAddr(elf.saturating_sub(bytes.len() as u64));
    CrashInfo::parse(bytes, at, &saved).ok()
}

fn listing(state: &CpuState) -> CpuListing {
    let register = |r: &crate::regsave::Register| NamedRegister {
        name: r.id.name(),
        value: r.value(),
        width: r.id.width(),
        checkpoint: r.id.is_checkpoint(),
    };
    CpuListing {
        cpu: state.cpu,
        firmware: state.registers.iter().map(register).collect(),
        ..CpuListing::default()
    }
}

fn pt_regs(words: &[u64]) -> Vec<NamedRegister> {
    let name = |i: usize| match i.checked_sub(32) {
        None => format!("GPR{i:02}"),
        Some(special) => WORDS.get(special).map_or_else(|| format!("PT_REGS[{i}]"), |n| (*n).to_owned()),
    };
    let named =
        |(i, &value): (usize, &u64)| NamedRegister { name: name(i), value, width: 8, checkpoint: false };
    words.iter().enumerate().map(named).collect()
}

fn from_prstatus(notes: &Notes, order: ByteOrder) -> Vec<CpuListing> {
    let words = |desc: &[u8]| -> Vec<u64> {
        let regs = desc.get(0x70..).unwrap_or_default();
        regs.chunks_exact(8).take(GREGS).map(|w| order.u64(w)).collect()
    };
    let listing = |(i, note): (usize, &vmcore::Note)| CpuListing {
        cpu: i as u32,
        kernel: pt_regs(&words(&note.desc)),
        ..CpuListing::default()
    };
    notes.prstatus().enumerate().map(listing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notes::{CpuRegisters, cpu_notes, private_note};

    fn save_area(cpus: &[u64]) -> Vec<u8> {
        let mut out = b"REGSAVE\0\0\0\0\0\0\0\0\x10".to_vec();
        out.extend((cpus.len() as u32).to_be_bytes());
        for &cpu in cpus {
            for (name, value) in
                [("CPUSTRT\0", cpu), ("CFAR\0\0\0\0", 0x77), ("CR\0\0\0\0\0\0", 5), ("CPUEND\0\0", cpu)]
            {
                out.extend(name.bytes());
                out.extend(value.to_be_bytes());
            }
        }
        out
    }

    #[test]
    fn the_firmwares_and_the_kernels_registers_are_listed_side_by_side() {
        let order = ByteOrder::Little;
        let mut header = b"GISPMDAF".to_vec();
        header.extend([1u32, 0].iter().flat_map(|w| w.to_le_bytes()));
        header.extend([0; 16]);
        header.extend([0x180u32, 8].iter().flat_map(|w| w.to_le_bytes()));
        header.extend((0..48u64).flat_map(|w| (w + 100).to_le_bytes()));
        header.extend(3u64.to_le_bytes());
        let mut notes = Notes::default();
        notes.push(private_note(notes::CPU_STATE, save_area(&[1, 0])), order);
        notes.push(private_note(notes::CRASH_INFO, header), order);
        let cpus = registers(&notes, order).unwrap();
        assert_eq!(cpus.iter().map(|c| (c.cpu, c.crashed)).collect::<Vec<_>>(), [(0, true), (1, false)]);
        let names: Vec<&str> = cpus[1].firmware.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["CFAR", "CR"]);
        assert_eq!((cpus[1].firmware[1].width, cpus[1].firmware[0].value), (4, 0x77));
        let nip = cpus[0].kernel.iter().find(|r| r.name == "NIP").unwrap();
        assert_eq!((nip.value, cpus[0].kernel[47].name.as_str()), (132, "PT_REGS[47]"));
        assert!(hptes(&notes).unwrap().is_none());
    }

    #[test]
    fn a_dump_without_the_areas_shows_its_prstatus() {
        let order = ByteOrder::Big;
        let cpu = CpuRegisters { cpu: 4, kernel: Some((0..48).collect()), firmware: None };
        let cpus = registers(&cpu_notes(&[cpu], order, false), order).unwrap();
        assert_eq!((cpus[0].cpu, cpus[0].kernel[32].name.as_str(), cpus[0].kernel[32].value), (0, "NIP", 32));
        assert!(registers(&Notes::default(), order).unwrap().is_empty());
    }

    #[test]
    fn saved_page_table_entries_are_found() {
        let mut area = b"HPTESAVE\0\0\0\0\0\0\0\x1c".to_vec();
        area.extend([0; 15]);
        area.push(1);
        area.extend([9; 24]);
        let mut notes = Notes::default();
        notes.push(private_note(notes::HPTE, area), ByteOrder::Big);
        assert_eq!(hptes(&notes).unwrap().unwrap().entries.len(), 1);
        let mut bad = Notes::default();
        bad.push(private_note(notes::HPTE, vec![0; 40]), ByteOrder::Big);
        assert!(hptes(&bad).is_err());
    }
}
