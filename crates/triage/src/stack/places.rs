//! Where machines other than x86_64 have their CPUs' stacks, and what a sleeping task begins with there.

use crate::Subject;
use kernel::unwind::Registers;
use kernel::unwind::loongarch64::Table;
use std::ops::Range;
use vmcore::{Arch, VirtAddr};

/// The most modules whose tables are looked up.
const MOST_MODULES: usize = 1 << 13;
/// The most entries of a table believed.
const MOST_ENTRIES: u64 = 1 << 24;

/// Bytes of the stack for exceptions that hit a full stack (`OVERFLOW_STACK_SIZE`).
const OVERFLOW: u64 = 4096;

/// The stacks of a CPU for interrupts and exceptions, as far as they can be found. `size`: bytes of a task's stack, which
/// those for interrupts have as well.
pub(super) fn stacks(subject: &Subject<'_>, cpu: u32, size: u64) -> Vec<Range<u64>> {
    let begins: Vec<u64> = match subject.machine().arch {
        Arch::Aarch64 => {
            per_cpu(subject, cpu, &["irq_stack_ptr", "sdei_stack_normal_ptr", "sdei_stack_critical_ptr"])
        }
        Arch::Riscv64 => per_cpu(subject, cpu, &["irq_stack_ptr"]),
        Arch::LoongArch64 => per_cpu(subject, cpu, &["irq_stack"]),
        Arch::Ppc64 => power(subject, cpu, size),
        Arch::S390x => lowcore(subject, cpu, size),
        _ => Vec::new(),
    };
    let mut stacks: Vec<_> = begins.into_iter().filter_map(|begin| range(begin, size)).collect();
    if matches!(subject.machine().arch, Arch::Aarch64 | Arch::Riscv64) {
        let overflow = subject.per_cpu_symbol("overflow_stack", cpu);
        stacks.extend(overflow.and_then(|begin| range(begin, OVERFLOW)));
    }
    stacks
}

fn range(begin: u64, size: u64) -> Option<Range<u64>> {
    Some(begin..begin.checked_add(size)?).filter(|_| begin != 0)
}

/// Per-CPU variables that point to a stack's lowest byte.
fn per_cpu(subject: &Subject<'_>, cpu: u32, names: &[&str]) -> Vec<u64> {
    names.iter().filter_map(|name| subject.pointer(subject.per_cpu_symbol(name, cpu)?)).collect()
}

/// `hardirq_ctx` and its like are arrays of pointers to stacks' lowest bytes; `paca_struct` has those behind the highest.
fn power(subject: &Subject<'_>, cpu: u32, size: u64) -> Vec<u64> {
    let element = |name: &str| {
        let array = subject.symbol(name)?;
        subject.pointer(array.wrapping_add(8 * u64::from(cpu)))
    };
    let mut begins: Vec<u64> = ["hardirq_ctx", "softirq_ctx"].into_iter().filter_map(element).collect();
    let paca = subject.symbol("paca_ptrs").and_then(|at| subject.pointer(at));
    let paca = paca.and_then(|array| subject.pointer(array.wrapping_add(8 * u64::from(cpu))));
    for name in ["emergency_sp", "nmi_emergency_sp", "mc_emergency_sp"] {
        let top = paca.and_then(|paca| subject.pointer_in(paca, &format!("paca_struct.{name}")));
        begins.extend(top.and_then(|top| top.checked_sub(size)));
    }
    begins
}

/// The prefix area of a CPU has the stack pointers with which its stacks begin, a little below their ends.
fn lowcore(subject: &Subject<'_>, cpu: u32, size: u64) -> Vec<u64> {
    let pointers = subject.symbol("lowcore_ptr");
    let lowcore = pointers.and_then(|array| subject.pointer(array.wrapping_add(8 * u64::from(cpu))));
    let Some(lowcore) = lowcore else { return Vec::new() };
    let names = ["async_stack", "nodat_stack", "mcck_stack", "restart_stack"];
    let inside = names.into_iter().filter_map(|name| {
        // The whole structure is known by either name, depending on the kernel.
        ["lowcore", "_lowcore"].iter().find_map(|all| subject.pointer_in(lowcore, &format!("{all}.{name}")))
    });
    inside.map(|inside| inside & !(size - 1)).collect()
}

/// The unwind tables of LoongArch: the kernel's, and those of its modules.
pub(super) fn tables(subject: &Subject<'_>) -> Vec<Table> {
    let table = |ips: u64, entries: u64, count: u64| {
        let count = u32::try_from(count).ok().filter(|&count| (1..=MOST_ENTRIES).contains(&count.into()))?;
        Some(Table { ips: VirtAddr(ips), entries: VirtAddr(entries), count })
    };
    let own = || {
        let (start, stop) =
            (subject.symbol("__start_orc_unwind_ip")?, subject.symbol("__stop_orc_unwind_ip")?);
        table(start, subject.symbol("__start_orc_unwind")?, stop.checked_sub(start)? / 4)
    };
    let mut tables: Vec<Table> = own().into_iter().collect();
    let Some(head) = subject.symbol("modules") else { return tables };
    let (modules, _) = subject.list(head, "module.list", MOST_MODULES);
    tables.extend(modules.into_iter().filter_map(|module| {
        table(
            subject.pointer_in(module, "module.arch.orc_unwind_ip")?,
            subject.pointer_in(module, "module.arch.orc_unwind")?,
            subject.number_in(module, "module.arch.num_orcs")?,
        )
    }));
    tables
}

/// The registers with which a task sleeps.
pub(super) fn sleeping(subject: &Subject<'_>, task: u64) -> Option<Registers> {
    let at = |name: &str| subject.pointer_in(task, &format!("task_struct.thread.{name}"));
    Some(match subject.machine().arch {
        Arch::Aarch64 => Registers {
            pc: at("cpu_context.pc")?,
            sp: at("cpu_context.sp")?,
            fp: at("cpu_context.fp"),
            ..Registers::default()
        },
        // The rest is on the stack.
        Arch::Ppc64 | Arch::S390x => Registers { sp: at("ksp")?, ..Registers::default() },
        Arch::Riscv64 => Registers { pc: at("ra")?, sp: at("sp")?, fp: at("s"), ..Registers::default() },
        Arch::LoongArch64 => {
            Registers { pc: at("reg01")?, sp: at("reg03")?, fp: at("reg22"), ..Registers::default() }
        }
        _ => return None,
    })
}
