//! What a mini dump keeps: what tells why the machine crashed, of however much memory.
//!
//! A mini dump is for sending: so small that it fits anywhere, and yet a dump that debuggers open. What the report reads is
//! found by recording what it reads ([`recorder`]); what crash and drgn read besides is known by trying them, and is named in
//! [`areas`]. Everything is in groups, the most useful first, so that who has less room knows what to leave out.
//!
//! Nothing here walks all of memory: a mini dump of a machine with terabytes takes no longer than one of a small machine.

mod areas;
mod recorder;

use crate::parts::Parts;
use crate::report::{find_cause, knowledge};
use crate::{Missing, Options, Report, Stacks, Subject, log, machine, memory, modules, stack, tasks};
use areas::Areas;
use kernel::vmlinux::Vmlinux;
use kernel::{Error, Kernel};
use recorder::Recorder;
use vmcore::{Dump, Pfn};

/// The most frames that groups have together: 4 GiB of memory with pages of 4 KiB, and some 30 MiB to note them.
const MOST: usize = 1 << 20;

/// Frames that are of use for the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What they hold, in a few words: `the log`.
    pub name: &'static str,
    /// The frames, the most useful first. None is in two groups.
    pub frames: Vec<Pfn>,
}

/// What a mini dump keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The groups, the most useful first.
    pub groups: Vec<Group>,
    /// The kernel's tasks and modules are among them. Without types nobody can tell where these are.
    pub typed: bool,
    /// There were more frames than can be noted.
    pub cut: bool,
    /// What of the kernel could not be found, and why.
    pub missing: Vec<Missing>,
}

/// The groups until now.
struct Groups<'r> {
    recorder: &'r Recorder<'r>,
    parts: &'r Parts<'r>,
    done: Vec<Group>,
}

impl Groups<'_> {
    /// What was read since the last group ended is one.
    fn end(&mut self, name: &'static str) {
        let frames = self.recorder.take();
        self.add(name, frames);
        // Each may read as often as a part of a report.
        self.parts.next();
    }

    fn add(&mut self, name: &'static str, frames: Vec<Pfn>) {
        if !frames.is_empty() {
            self.done.push(Group { name, frames });
        }
    }
}

/// Finds what a mini dump of `dump` keeps. Symbols and types are those that a report would use.
///
/// # Errors
///
/// When the dump's kernel cannot be opened.
pub fn find(dump: &Dump, vmlinux: Option<&Vmlinux>) -> Result<Kept, Error> {
    let recorder = Recorder::new(&*dump.memory, MOST);
    let kernel = Kernel::open_through(dump, &recorder)?;
    let parts = Parts::new(&kernel, dump);
    let mut groups = Groups { recorder: &recorder, parts: &parts, done: Vec::new() };
    let mut report = Report::default();
    // What is wrong with the log the report says.
    let _ = log::Entries::read(&kernel);
    groups.end("the log");
    let (symbols, types) = knowledge(Some(&parts), vmlinux, &mut report);
    let mut subject = Subject::new(dump, Some(&parts), symbols, types.as_deref());
    subject.utsname = Some(kernel.utsname());
    groups.end("symbols and types");
    // In the order in which a report is filled, as each part looks at what those before it have found.
    modules::find(&mut subject, &mut report);
    let of_modules = recorder.take();
    let queues = tasks::queues(&subject, &mut report);
    tasks::find(&subject, &queues, &mut report);
    machine::find(&subject, &mut report);
    groups.end("the list of tasks");
    let missing = report.missing.clone();
    let areas = Areas { subject: &subject };
    stack::find(&subject, &Options { stacks: Stacks::Running }, &mut report);
    find_cause(&subject, Some(parts.whole()), &mut report);
    areas.tasks(report.tasks.iter().filter(|task| task.running));
    areas.stacks();
    groups.end("what CPUs were doing");
    groups.add("the list of modules and their symbols", of_modules);
    stack::find(&subject, &Options { stacks: Stacks::Blocked }, &mut report);
    groups.end("stacks of blocked tasks");
    memory::find(&subject, &mut report);
    areas.heads();
    areas.sections();
    groups.end("counters of memory");
    areas.data();
    groups.end("the kernel's variables");
    areas.per_cpu();
    groups.end("variables of each CPU");
    areas.pids();
    groups.end("the numbers of tasks");
    areas.read_only();
    groups.end("the kernel's constants");
    areas.tasks(report.tasks.iter());
    groups.end("tasks and their stacks");
    areas.modules(&report.modules);
    groups.end("modules");
    areas.text();
    groups.end("the kernel's code");
    Ok(Kept { groups: groups.done, typed: types.is_some(), cut: recorder.is_full(), missing })
}
