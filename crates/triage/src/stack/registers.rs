//! The registers that CPUs saved when the machine crashed, and those with which a task goes on that sleeps.

use crate::Subject;
use kernel::KernelMemory;
use kernel::unwind::Prstatus;
use std::collections::{BTreeMap, HashSet};
use vmcore::{Arch, VirtAddr};

/// `struct inactive_task_frame` of x86_64, where `thread.sp` points to: names, and where each is unless types say
/// otherwise; then its place in a note.
const X86_64: [(&str, u64, usize); 7] = [
    ("r15", 0, 0),
    ("r14", 8, 1),
    ("r13", 16, 2),
    ("r12", 24, 3),
    ("bx", 32, 5),
    ("bp", 40, 4),
    ("ret_addr", 48, 16),
];
/// Where a note has the stack pointer of x86_64.
const X86_64_SP: usize = 19;

/// Where a frame of s390x has r6, in either of its layouts, and that r15 in it is the frame itself.
const S390X_FRAMES: [u64; 2] = [72, 48];
/// Where `_switch` of POWER has `struct pt_regs` in its frame: 48 bytes since 6.2 in kernels of the second ABI.
const POWER_REGS: [u64; 2] = [48, 112];

/// The registers that were saved, by CPU: in the kernel's own memory where it saved them, which says whose they are,
/// else in the dump's notes, which are in the order of CPUs that were online.
pub(crate) fn saved(
    subject: &Subject<'_>,
    memory: &dyn KernelMemory,
    online: impl Iterator<Item = u32>,
) -> BTreeMap<u32, Prstatus> {
    let machine = subject.machine();
    let symbol = |name: &str| Ok(subject.symbol(name).map(VirtAddr));
    let buffers = kernel::crash_notes(memory, symbol).unwrap_or_default();
    let mut saved = BTreeMap::new();
    // No two CPUs have one buffer.
    let mut seen = HashSet::new();
    for buffer in buffers.iter().filter(|buffer| buffer.filled && seen.insert(buffer.addr)) {
        let mut bytes = vec![0; buffer.capacity];
        if memory.read(buffer.addr, &mut bytes).is_ok()
            && let Some(prstatus) = bytes.get(20..).and_then(|desc| Prstatus::parse(machine, desc))
        {
            saved.insert(buffer.cpu, prstatus);
        }
    }
    if saved.is_empty() { online.zip(noted(subject)).collect() } else { saved }
}

/// The registers in the dump's notes.
pub(crate) fn noted(subject: &Subject<'_>) -> impl Iterator<Item = Prstatus> {
    let machine = subject.machine();
    subject.dump.notes.prstatus().filter_map(move |note| Prstatus::parse(machine, &note.desc))
}

/// The registers with which a sleeping task will go on, in the order of a note, as far as the kernel keeps them: those
/// that a function leaves as they were. Empty where nothing is known.
pub(crate) fn asleep(subject: &Subject<'_>, task: u64) -> Vec<Option<u64>> {
    let found = match subject.machine().arch {
        Arch::X86_64 => x86_64(subject, task),
        Arch::Aarch64 => arm64(subject, task),
        Arch::Ppc64 => power(subject, task),
        Arch::S390x => s390x(subject, task),
        Arch::Riscv64 => riscv64(subject, task),
        Arch::LoongArch64 => loongarch64(subject, task),
        _ => None,
    };
    found.unwrap_or_default()
}

/// Sets the register at `place` of a note.
fn set(registers: &mut Vec<Option<u64>>, place: usize, value: Option<u64>) {
    if registers.len() <= place {
        registers.resize(place + 1, None);
    }
    registers[place] = value;
}

/// A member of `task_struct.thread`.
fn thread(subject: &Subject<'_>, task: u64, name: &str) -> Option<u64> {
    subject.pointer_in(task, &format!("task_struct.thread.{name}"))
}

fn x86_64(subject: &Subject<'_>, task: u64) -> Option<Vec<Option<u64>>> {
    let at = thread(subject, task, "sp")?;
    let mut registers = Vec::new();
    for (name, usual, place) in X86_64 {
        let offset = subject.offset(&format!("inactive_task_frame.{name}")).unwrap_or(usual);
        let member = at.wrapping_add(offset);
        set(&mut registers, place, subject.pointer(member));
        if name == "ret_addr" {
            set(&mut registers, X86_64_SP, Some(member.wrapping_add(8)));
        }
    }
    Some(registers)
}

/// `struct cpu_context`: x19 to x29, sp, and where it goes on.
fn arm64(subject: &Subject<'_>, task: u64) -> Option<Vec<Option<u64>>> {
    let mut registers = Vec::new();
    for number in 19..29 {
        set(&mut registers, number, thread(subject, task, &format!("cpu_context.x{number}")));
    }
    // `cpu_switch_to` returns by x30.
    for (name, place) in [("fp", 29), ("pc", 30), ("sp", 31), ("pc", 32)] {
        set(&mut registers, place, thread(subject, task, &format!("cpu_context.{name}")));
    }
    Some(registers)
}

/// `thread.ksp` is the frame of `_switch`, which has r14 to r31 and the condition register as members of a
/// `struct pt_regs`. Its caller goes on with the frame before. Where the members are shows by the return address, which is
/// among them as well.
fn power(subject: &Subject<'_>, task: u64) -> Option<Vec<Option<u64>>> {
    let ksp = thread(subject, task, "ksp")?;
    let caller = subject.pointer(ksp)?;
    let link = subject.pointer(caller.wrapping_add(16))?;
    let mut registers = Vec::new();
    set(&mut registers, 1, Some(caller));
    // `_switch` returns by the link register.
    set(&mut registers, 32, Some(link));
    set(&mut registers, 36, Some(link));
    let member = |regs: u64, place: usize| subject.pointer(ksp.wrapping_add(regs + 8 * place as u64));
    if let Some(regs) = POWER_REGS.into_iter().find(|&regs| member(regs, 32) == Some(link)) {
        for place in (14..32).chain([38]) {
            set(&mut registers, place, member(regs, place));
        }
    }
    Some(registers)
}

/// `__switch_to` stores r6 to r15 in its caller's frame, which is where `thread.ksp` points to.
fn s390x(subject: &Subject<'_>, task: u64) -> Option<Vec<Option<u64>>> {
    let ksp = thread(subject, task, "ksp")?;
    let stored = |frame: u64, number: u64| subject.pointer(ksp.wrapping_add(frame + 8 * (number - 6)));
    let frame = S390X_FRAMES.into_iter().find(|&frame| stored(frame, 15) == Some(ksp))?;
    let mut registers = Vec::new();
    for number in 6..16 {
        set(&mut registers, 2 + number as usize, stored(frame, number));
    }
    set(&mut registers, 1, stored(frame, 14));
    Some(registers)
}

/// `struct thread_struct` of RISC-V: ra, sp, s0 to s11.
fn riscv64(subject: &Subject<'_>, task: u64) -> Option<Vec<Option<u64>>> {
    let ra = thread(subject, task, "ra")?;
    let saved = subject.place("task_struct.thread.s")?.offset;
    let mut registers = Vec::new();
    // `__switch_to` returns by ra.
    set(&mut registers, 0, Some(ra));
    set(&mut registers, 1, Some(ra));
    set(&mut registers, 2, thread(subject, task, "sp"));
    for (number, place) in [8, 9].into_iter().chain(18..28).enumerate() {
        let at = task.wrapping_add(saved).wrapping_add(8 * number as u64);
        set(&mut registers, place, subject.pointer(at));
    }
    Some(registers)
}

fn loongarch64(subject: &Subject<'_>, task: u64) -> Option<Vec<Option<u64>>> {
    let mut registers = Vec::new();
    for number in [3].into_iter().chain(22..32) {
        set(&mut registers, number, thread(subject, task, &format!("reg{number:02}")));
    }
    // `__switch_to` returns by ra.
    let ra = thread(subject, task, "reg01")?;
    set(&mut registers, 1, Some(ra));
    set(&mut registers, 33, Some(ra));
    Some(registers)
}
