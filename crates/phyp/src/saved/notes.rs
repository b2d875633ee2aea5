//! ELF notes from saved registers, in the crashed kernel's byte order.
//!
//! `NT_PRSTATUS` is what Linux makes of the save area, so that readers of `/proc/vmcore` see the same; what Linux throws
//! away follows it, CPU by CPU, where every register of a note was saved. Layouts: `arch/powerpc/kernel/ptrace/ptrace-view.c`
//! (`native_regsets`), `ptrace-altivec.c` (`vr_get`), `ptrace-vsx.c` (`vsr_get`), `ptrace-tm.c` (`tm_*_get`); types:
//! `include/uapi/linux/elf.h`. Numbers in `NT_PPC_VMX` are whole quadwords in the kernel's byte order, `VSCR` in the
//! rightmost word of its quadword, `VRSAVE` in the first four bytes of the last.
//!
//! The raw areas travel along as private notes ([`PRIVATE`]), so that a register without a standard note is not lost.

use crate::regsave::CpuState;
use crate::saved::values::Values;
use vmcore::{ByteOrder, Note, Notes};

/// The name of hadump's private notes.
pub const OWNER: &str = "HADUMP";
/// The CPU state as the firmware copied it (register save area).
pub const CPU_STATE: u32 = 0x101;
/// The HPTE save area as the firmware copied it.
pub const HPTE: u32 = 0x102;
/// The property `ibm,kernel-dump`.
pub const KERNEL_DUMP: u32 = 0x103;
/// The text of `release_region`.
pub const RELEASE_REGION: u32 = 0x104;
/// The crash-info header.
pub const CRASH_INFO: u32 = 0x105;
/// OPAL's metadata of the CPU data, followed by the CPU data itself.
pub const OPAL_CPU_DATA: u32 = 0x106;
/// OPAL's copy of the kernel's metadata.
pub const OPAL_KERNEL: u32 = 0x107;

/// Every private note type with what its descriptor holds; firmware's bytes are unchanged, so big-endian.
pub const PRIVATE: [(u32, &str); 7] = [
    (CPU_STATE, "register save area"),
    (HPTE, "HPTE save area"),
    (KERNEL_DUMP, "device-tree property ibm,kernel-dump"),
    (RELEASE_REGION, "text of /sys/kernel/release_region"),
    (CRASH_INFO, "crash-info header, in the kernel's byte order"),
    (OPAL_CPU_DATA, "OPAL metadata and CPU data"),
    (OPAL_KERNEL, "OPAL kernel metadata"),
];

/// The words of `pr_reg` (`elf_gregset_t`).
pub const GREGS: usize = 48;

/// Bytes of an `NT_PRSTATUS` descriptor on ppc64 (`struct elf_prstatus`).
const PRSTATUS_LEN: usize = 504;
const PR_PID: usize = 0x20;
const PR_REG: usize = 0x70;

/// The general registers of `NT_PRSTATUS` that the firmware saves, by their place in `struct pt_regs`.
const SPECIAL: [(usize, &str); 8] =
    [(32, "NIA"), (33, "MSR"), (35, "CTR"), (36, "LR"), (37, "XER"), (38, "CR"), (41, "DAR"), (42, "DSISR")];

/// What is known about one CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuRegisters {
    /// Linux's CPU number, or on OPAL the processor identification register.
    pub cpu: u32,
    /// The words of `pt_regs` as the crashing CPU saved them itself; they go before what the firmware saved.
    pub kernel: Option<Vec<u64>>,
    /// What the firmware saved.
    pub firmware: Option<CpuState>,
}

impl CpuRegisters {
    /// The words of `pr_reg`; zero where nothing is known, as Linux leaves them.
    pub fn gregs(&self) -> [u64; GREGS] {
        let mut words = [0; GREGS];
        match (&self.kernel, &self.firmware) {
            (Some(kernel), _) => words.iter_mut().zip(kernel).for_each(|(to, from)| *to = *from),
            (None, Some(state)) => words = gregs(&Values::new(state, false)),
            (None, None) => (),
        }
        words
    }
}

fn gregs(values: &Values) -> [u64; GREGS] {
    let mut words = [0; GREGS];
    for (n, word) in words.iter_mut().take(32).enumerate() {
        *word = values.gpr(n).unwrap_or_default();
    }
    for (at, name) in SPECIAL {
        words[at] = values.special(name).unwrap_or_default();
    }
    words
}

/// The notes of all CPUs in the order given: `NT_PRSTATUS`, then those of its other registers that were saved.
///
/// With `number` set, `pr_pid` is the CPU's number plus one, by which drgn finds a CPU when VMCOREINFO has no
/// CRASHTIME; Linux writes zero.
pub fn cpu_notes(cpus: &[CpuRegisters], order: ByteOrder, number: bool) -> Notes {
    let mut notes = Notes::default();
    for cpu in cpus {
        let pid = if number { cpu.cpu.saturating_add(1) } else { 0 };
        notes.push(note("CORE", Notes::PRSTATUS, prstatus(&cpu.gregs(), pid, order)), order);
        if let Some(state) = &cpu.firmware {
            let (run, saved) = (Values::new(state, false), Values::new(state, true));
            other_notes(&run, &saved, order).into_iter().for_each(|n| notes.push(n, order));
        }
    }
    notes
}

/// A private note of one of the types in [`PRIVATE`].
pub fn private_note(kind: u32, desc: Vec<u8>) -> Note {
    note(OWNER, kind, desc)
}

fn note(name: &str, kind: u32, desc: Vec<u8>) -> Note {
    Note { name: name.into(), kind, desc }
}

fn prstatus(gregs: &[u64; GREGS], pid: u32, order: ByteOrder) -> Vec<u8> {
    let mut desc = vec![0; PRSTATUS_LEN];
    desc[PR_PID..PR_PID + 4].copy_from_slice(&order.put_u32(pid));
    for (word, to) in gregs.iter().zip(desc[PR_REG..].chunks_exact_mut(8)) {
        to.copy_from_slice(&order.put_u64(*word));
    }
    desc
}

/// The registers of a note that is a plain array of special registers.
type Plain = (u32, &'static [&'static str]);

/// `NT_PPC_TAR`, `PPR`, `DSCR`, `EBB`, `PMU`, `TM_SPR`, `PKEY`: 64-bit words in the order of `struct thread_struct`.
const RUNNING: [Plain; 7] = [
    (0x103, &["TAR"]),
    (0x104, &["PPR"]),
    (0x105, &["DSCR"]),
    (0x106, &["EBBRR", "EBBHR", "BESCR"]),
    (0x107, &["SIAR", "SDAR", "SIER", "MMCR2", "MMCR0"]),
    (0x10c, &["TFHAR", "TEXASR", "TFIAR"]),
    (0x110, &["AMR", "IAMR", "UAMOR"]),
];

/// `NT_PPC_TM_CTAR`, `TM_CPPR`, `TM_CDSCR`.
const CHECKPOINT: [Plain; 3] = [(0x10d, &["TAR"]), (0x10e, &["PPR"]), (0x10f, &["DSCR"])];

fn other_notes(run: &Values, saved: &Values, order: ByteOrder) -> Vec<Note> {
    let mut out: Vec<(u32, Option<Vec<u8>>)> =
        vec![(2, fpregs(run, order)), (0x100, vmx(run, order)), (0x102, vsx(run, order))];
    out.extend(RUNNING.iter().map(|&(kind, names)| (kind, plain(run, names, order))));
    out.push((0x108, checkpointed_gprs(saved, order)));
    out.push((0x109, fpregs(saved, order)));
    out.push((0x10a, vmx(saved, order)));
    out.push((0x10b, vsx(saved, order)));
    out.extend(CHECKPOINT.iter().map(|&(kind, names)| (kind, plain(saved, names, order))));
    // Readers take notes in the order of their types, as a core file has them.
    out.sort_by_key(|(kind, _)| *kind);
    let name = |kind| if kind == 2 { "CORE" } else { "LINUX" };
    out.into_iter().filter_map(|(kind, desc)| Some(note(name(kind), kind, desc?))).collect()
}

fn plain(values: &Values, names: &[&str], order: ByteOrder) -> Option<Vec<u8>> {
    words(names.iter().map(|name| values.special(name)), order)
}

/// The words, when all of them are known.
fn words(values: impl Iterator<Item = Option<u64>>, order: ByteOrder) -> Option<Vec<u8>> {
    let values: Vec<u64> = values.collect::<Option<_>>()?;
    Some(values.iter().flat_map(|&v| order.put_u64(v)).collect())
}

/// `NT_PRFPREG`: 32 floating-point registers and FPSCR.
fn fpregs(values: &Values, order: ByteOrder) -> Option<Vec<u8>> {
    let scr = std::iter::once(values.special("FPSCR"));
    words((0..32).map(|n| values.fpr(n)).chain(scr), order)
}

/// `NT_PPC_VSX`: the low halves of the first 32 vector-scalar registers.
fn vsx(values: &Values, order: ByteOrder) -> Option<Vec<u8>> {
    words((0..32).map(|n| values.vsr_low(n)), order)
}

/// `NT_PPC_VMX`: 32 vector registers, VSCR and VRSAVE, a quadword each.
fn vmx(values: &Values, order: ByteOrder) -> Option<Vec<u8>> {
    let mut desc = Vec::with_capacity(34 * 16);
    for n in 0..32 {
        desc.extend(quadword(values.vr(n)?, order));
    }
    desc.extend(quadword([0, values.special("VSCR")?], order));
    desc.extend(order.put_u32(values.special("VRSAVE")? as u32));
    desc.resize(34 * 16, 0);
    Some(desc)
}

/// A number of 128 bits, given high half first.
fn quadword([high, low]: [u64; 2], order: ByteOrder) -> [u8; 16] {
    let value = u128::from(high) << 64 | u128::from(low);
    match order {
        ByteOrder::Little => value.to_le_bytes(),
        ByteOrder::Big => value.to_be_bytes(),
    }
}

/// `NT_PPC_TM_CGPR`: a `pt_regs` of the checkpoint, whose NIP and MSR the firmware does not save.
fn checkpointed_gprs(saved: &Values, order: ByteOrder) -> Option<Vec<u8>> {
    let all = (0..32).all(|n| saved.gpr(n).is_some());
    let names = ["CTR", "LR", "XER", "CR"];
    let all = all && names.iter().all(|n| saved.special(n).is_some());
    all.then(|| gregs(saved).iter().flat_map(|&w| order.put_u64(w)).collect())
}

#[cfg(test)]
#[path = "notes_tests.rs"]
mod tests;
