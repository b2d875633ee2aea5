//! Where x86_64 has its stacks, and what a sleeping task has on its own.

use crate::Subject;
use kernel::unwind::Registers;
use std::ops::Range;

/// Where rbp and the return address are in `struct inactive_task_frame`, above four registers, rbx and what they follow.
const FRAME_BP: u64 = 40;
const FRAME_PC: u64 = 48;

/// The stacks for interrupts and exceptions of a CPU, as far as they are known.
pub(super) fn stacks(subject: &Subject<'_>, cpu: u32, size: u64) -> Vec<Range<u64>> {
    let mut stacks: Vec<_> = interrupts(subject, cpu, size).into_iter().collect();
    // `struct cea_exception_stacks`, since 5.2.
    let exceptions = subject.per_cpu_symbol("cea_exception_stacks", cpu).and_then(|at| subject.pointer(at));
    if let Some(start) = exceptions.filter(|&start| start != 0) {
        for name in ["DF", "NMI", "DB", "MCE", "VC", "VC2"] {
            let place = subject.place(&format!("cea_exception_stacks.{name}_stack"));
            stacks.extend(place.and_then(|place| {
                let start = start.checked_add(place.offset)?;
                Some(start..start.checked_add(place.size)?)
            }));
        }
    }
    stacks
}

/// The stack for interrupts. The kernel keeps its top, or since 5.8 the last word below that.
fn interrupts(subject: &Subject<'_>, cpu: u32, size: u64) -> Option<Range<u64>> {
    let hot = || {
        let hot = subject.per_cpu_symbol("pcpu_hot", cpu)?;
        subject.pointer_in(hot, "pcpu_hot.hardirq_stack_ptr")
    };
    let variable = |name: &str| subject.pointer(subject.per_cpu_symbol(name, cpu)?);
    let top = variable("hardirq_stack_ptr").or_else(hot).or_else(|| variable("irq_stack_ptr"));
    let end = top.filter(|&top| top != 0)?.checked_next_multiple_of(4096)?;
    Some(end.checked_sub(size.max(16 << 10))?..end)
}

/// The registers with which a task sleeps (`struct inactive_task_frame`, where `thread.sp` points to).
pub(super) fn sleeping(subject: &Subject<'_>, task: u64) -> Option<Registers> {
    let at = subject.pointer_in(task, "task_struct.thread.sp")?;
    let member = |path: &str, usual: u64| at.wrapping_add(subject.offset(path).unwrap_or(usual));
    let pc = member("inactive_task_frame.ret_addr", FRAME_PC);
    Some(Registers {
        pc: subject.pointer(pc)?,
        sp: pc.wrapping_add(8),
        fp: subject.pointer(member("inactive_task_frame.bp", FRAME_BP)),
        ..Registers::default()
    })
}
