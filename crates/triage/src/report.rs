//! All that was found, and what could not be.

use crate::budget::{Bounded, Budget};
use crate::cause::{self, Cause, Facts, Kind};
use crate::debuginfo::DebugInformation;
use crate::log::Log;
use crate::machine::Machine;
use crate::memory::Memory;
use crate::modules::Modules;
use crate::notes::DumpNote;
use crate::parts::{self, Parts};
use crate::signature::Signature;
use crate::tasks::{Cpu, Queues, Task};
use crate::{Subject, debuginfo, log, machine, memory, modules, notes, signature, stack, tasks};
use kernel::btf::Btf;
use kernel::dwarf::Dwarf;
use kernel::symbol_map::SymbolMap;
use kernel::types::Types;
use kernel::vmlinux::Vmlinux;
use kernel::{Kernel, KernelMemory};
use vmcore::{Dump, VirtAddr};

/// What was found in a dump, most important first.
///
/// Each part stands for itself: one that could not be found is empty, and [`Report::missing`] says why.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// What happened.
    pub cause: Cause,
    /// The machine and its kernel.
    pub machine: Machine,
    /// Every CPU with its running task and that one's stack.
    pub cpus: Vec<Cpu>,
    /// All tasks, by pid; idle tasks, whose pid is 0, first and by CPU.
    pub tasks: Vec<Task>,
    /// The modules.
    pub modules: Modules,
    /// Who had the memory; `None` where it cannot be told.
    pub memory: Option<Memory>,
    /// The log.
    pub log: Log,
    /// Device dumps and other notes that are nobody's registers.
    pub notes: Vec<DumpNote>,
    /// What crashes of the same kind have in common.
    pub signature: Option<Signature>,
    /// Where debug information is to be had.
    pub debug_information: DebugInformation,
    /// What could not be found, and why.
    pub missing: Vec<Missing>,
}

/// A part of the report, or some of it, that could not be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The part, in a few words: `stacks of sleeping tasks`.
    pub part: String,
    /// Why, in a sentence without a full stop: `the kernel has no BTF, and no --vmlinux was given`.
    pub why: String,
}

/// Of which sleeping tasks stacks are unwound, besides those that run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stacks {
    /// Of none.
    Running,
    /// Of those that wait without being woken by signals.
    #[default]
    Blocked,
    /// Of all.
    All,
}

/// What a report is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whose stacks.
    pub stacks: Stacks,
}

/// Finds everything. A part that cannot be found is named in [`Report::missing`].
///
/// `kernel` is `None` where the dump's kernel could not be opened. Symbols and types are the dump's own; where it has none
/// they are those of `vmlinux`.
pub fn examine(
    dump: &Dump,
    kernel: Option<&Kernel<'_>>,
    vmlinux: Option<&Vmlinux>,
    options: &Options,
) -> Report {
    let mut report = Report::default();
    let parts = kernel.map(|kernel| Parts::new(kernel, dump));
    let memory = parts.as_ref().map(|parts| parts as &dyn KernelMemory);
    let (symbols, types) = knowledge(memory, vmlinux, &mut report);
    let mut subject = Subject::new(dump, memory, symbols, types.as_deref());
    subject.utsname = kernel.map(Kernel::utsname);
    if memory.is_none() {
        report.lacks("everything that is in the kernel's memory", "the kernel could not be opened");
    }
    let queues = begin(&subject, parts.as_ref(), &mut report);
    finish(&mut subject, parts.as_ref(), &queues, options, &mut report);
    report
}

/// As [`examine`], but no more is read than `whole` allows. Where that is too little, the report is cut to the log, the
/// cause, the machine and the CPUs, on the budget `cut`, and [`Report::missing`] begins with the reason.
pub fn examine_within(
    dump: &Dump,
    kernel: &Kernel<'_>,
    options: &Options,
    whole: &Budget<'_>,
    cut: &Budget<'_>,
) -> Report {
    let mut report = Report::default();
    let on_whole = Bounded { memory: kernel, budget: whole };
    let parts = Parts::new(&on_whole, dump);
    let (symbols, types) = knowledge(Some(&parts), None, &mut report);
    let unknown = report.missing.clone();
    let mut subject = Subject::new(dump, Some(&parts), symbols, types.as_deref());
    subject.utsname = Some(kernel.utsname());
    let mut queues = begin(&subject, Some(&parts), &mut report);
    let mut first = None;
    if whole.spent().is_none() {
        first = Some(report.clone());
        finish(&mut subject, Some(&parts), &queues, options, &mut report);
    }
    let Some(why) = whole.spent() else { return report };
    // What was being found is half of something. Symbols and types are kept as far as they were read.
    let on_cut = Bounded { memory: kernel, budget: cut };
    let parts = Parts::new(&on_cut, dump);
    let mut subject = Subject::new(dump, Some(&parts), subject.symbols, types.as_deref());
    subject.utsname = Some(kernel.utsname());
    report = first.unwrap_or_else(|| {
        let mut report = Report { missing: unknown, ..Report::default() };
        queues = begin(&subject, Some(&parts), &mut report);
        report
    });
    let missing = std::mem::take(&mut report.missing);
    report.lacks("all but the log, the cause, the machine and the CPUs", why);
    report.missing.extend(missing);
    report.tasks = tasks::running(&subject, &queues);
    stack::find(&subject, &Options { stacks: Stacks::Running }, &mut report);
    // Those of CPUs are no list of tasks.
    report.tasks.clear();
    conclude(&subject, &mut report);
    report
}

/// The symbols and types to go by.
pub(crate) fn knowledge<'v>(
    memory: Option<&dyn KernelMemory>,
    vmlinux: Option<&'v Vmlinux>,
    report: &mut Report,
) -> (SymbolMap, Option<Box<dyn Types + 'v>>) {
    let symbols = memory.map_or_else(SymbolMap::default, |memory| symbols(memory, vmlinux, report));
    let types = memory.and_then(|memory| types(memory, &symbols, vmlinux, report));
    (symbols, types)
}

/// Finds the symbols and types, the modules and the tasks, without their stacks, and lets `work` ask for more. For what is not a
/// report and needs names.
pub fn survey<R>(
    dump: &Dump,
    kernel: Option<&Kernel<'_>>,
    vmlinux: Option<&Vmlinux>,
    work: impl FnOnce(&Subject<'_>, &Report) -> R,
) -> R {
    let mut report = Report::default();
    let memory = kernel.map(|kernel| kernel as &dyn KernelMemory);
    let (symbols, types) = knowledge(memory, vmlinux, &mut report);
    let mut subject = Subject::new(dump, memory, symbols, types.as_deref());
    modules::find(&mut subject, &mut report);
    let queues = tasks::queues(&subject, &mut report);
    tasks::find(&subject, &queues, &mut report);
    work(&subject, &report)
}

/// Fills what matters most, which takes little: what CPUs were doing, the machine, the cause and the log. The log has bounds
/// of its own.
fn begin(subject: &Subject<'_>, parts: Option<&Parts<'_>>, report: &mut Report) -> Queues {
    let queues = parts::one(parts, "CPUs", report, |report| tasks::queues(subject, report));
    parts::one(parts, "machine", report, |report| machine::find(subject, report));
    find_cause(subject, parts.map(Parts::whole), report);
    queues
}

/// Fills the other parts. Modules come first: their symbols are needed for stacks.
fn finish(
    subject: &mut Subject<'_>,
    parts: Option<&Parts<'_>>,
    queues: &Queues,
    options: &Options,
    report: &mut Report,
) {
    parts::one(parts, "modules", report, |report| modules::find(subject, report));
    parts::one(parts, "tasks", report, |report| tasks::find(subject, queues, report));
    parts::one(parts, "memory", report, |report| memory::find(subject, report));
    parts::one(parts, "stacks", report, |report| stack::find(subject, options, report));
    conclude(subject, report);
}

/// Fills what follows from the other parts.
fn conclude(subject: &Subject<'_>, report: &mut Report) {
    report.notes = notes::find(subject.dump);
    let machine = &report.machine;
    report.debug_information =
        debuginfo::find(&machine.release, &machine.version, machine.build_id.as_deref());
    let crashed = report.cpus.iter().find(|cpu| cpu.crashed).and_then(|cpu| cpu.stack.as_ref());
    let frames = crashed.map_or(&[][..], |stack| &stack.frames);
    report.signature = signature::find(&report.cause, frames);
    if report.signature.is_none() && report.cause.kind != Kind::NoCrash {
        report.lacks("the signature", "no function is known that the crash was in");
    }
}

/// Finds the cause in the log, and shows that.
pub(crate) fn find_cause(subject: &Subject<'_>, memory: Option<&dyn KernelMemory>, report: &mut Report) {
    let Some(memory) = memory else {
        report.cause = cause::without_log(&Facts::of(subject.dump));
        return;
    };
    let mut facts = Facts::read(memory, subject.symbol("panic_cpu").map(VirtAddr));
    if let Some(Some(crashed)) = facts.panic_cpu
        && let Some(cpu) = report.cpus.iter_mut().find(|cpu| cpu.cpu == crashed)
    {
        cpu.crashed = true;
        facts.task = cpu.pid.zip(cpu.comm.clone());
    }
    match log::Entries::read(memory) {
        Ok(entries) => {
            let found = cause::find(&entries, &facts);
            report.log = entries.show(log::TAIL, &found.entries);
            report.cause = found.cause;
        }
        Err(error) => {
            report.lacks("the log", error.to_string());
            report.cause = cause::without_log(&facts);
        }
    }
    // Kernels before 4.5 do not keep which CPU it was; the log may say it.
    if facts.panic_cpu.is_none()
        && let Some(cpu) = report.cpus.iter_mut().find(|cpu| Some(cpu.cpu) == report.cause.cpu)
    {
        cpu.crashed = true;
    }
}

/// The dump's own symbols, else the vmlinux's.
pub(crate) fn symbols(
    memory: &dyn KernelMemory,
    vmlinux: Option<&Vmlinux>,
    report: &mut Report,
) -> SymbolMap {
    match (SymbolMap::of_dump(memory), vmlinux) {
        (Ok(map), _) => map,
        (Err(_), Some(vmlinux)) => SymbolMap::of_vmlinux(memory, vmlinux),
        (Err(error), None) => {
            report.lacks(
                "symbols",
                format!("the kernel's own table cannot be read ({error}), and no vmlinux was given"),
            );
            SymbolMap::default()
        }
    }
}

/// The kernel's own types, else the vmlinux's.
fn types<'v>(
    memory: &dyn KernelMemory,
    symbols: &SymbolMap,
    vmlinux: Option<&'v Vmlinux>,
    report: &mut Report,
) -> Option<Box<dyn Types + 'v>> {
    let own = match Btf::of_dump(memory, symbols) {
        Ok(Some(own)) => return Some(Box::new(own)),
        Ok(None) => "the kernel has no BTF".to_owned(),
        Err(error) => format!("the kernel's BTF cannot be read ({error})"),
    };
    let given = match vmlinux.map(Dwarf::open) {
        Some(Ok(Some(given))) => return Some(Box::new(given)),
        Some(Ok(None)) => "the vmlinux has no debug information".to_owned(),
        Some(Err(error)) => error.to_string(),
        None => "no vmlinux was given".to_owned(),
    };
    report.lacks("tasks, modules and memory", format!("{own}, and {given}"));
    None
}

impl Report {
    /// Notes what could not be found, and why.
    pub(crate) fn lacks(&mut self, part: impl Into<String>, why: impl Into<String>) {
        self.missing.push(Missing { part: part.into(), why: why.into() });
    }
}
