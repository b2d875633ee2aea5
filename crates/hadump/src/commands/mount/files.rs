//! What is shown of a dump: its files.

use crate::choose::{choose, everything};
use crate::cli::{self, Tasks};
use crate::input::{self, Prefer};
use crate::outcome::Outcome;
use crate::output::work;
use crate::show::crash::{Shown, json, text};
use crate::show::{report, terminal};
use anyhow::Result;
use dumpfile::elf::Image;
use kernel::Kernel;
use kernel::knowledge::vmlinux_of;
use kernel::unwind::Prstatus;
use kernel::vmlinux::Vmlinux;
use rayon::ThreadPool;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use view::{Ahead, Bytes, Content, Core, LargeNote, Made, Missing, Pages, Physical, ROOT, Tree, note_name};
use vmcore::{Arch, Dump, DumpLevel, RangeSet};

/// What reports are made of.
struct Crash {
    dump: Arc<Dump>,
    vmlinux: Option<Vmlinux>,
    name: String,
    pool: Arc<ThreadPool>,
    made: OnceLock<(String, Result<Vec<u8>, String>)>,
}

/// Opens the dump, and makes the files that it is shown as. Threads of `pool` read ahead.
pub(super) fn show(args: &cli::Mount, pool: &Arc<ThreadPool>) -> Result<(Tree, Outcome)> {
    let input = &args.input;
    pool.install(|| {
        let mut dump = input::open_to_show(input, Prefer::Vmcore)?;
        let vmlinux = input.vmlinux.as_deref().map(|path| vmlinux_of(&mut dump, path)).transpose()?;
        let spill = work::files(None, None);
        // Memory itself has pages that the machine cannot read, and pages that this boot has written over.
        let is_memory = input::watch(input).is_some() || !dump.source.destroyed.is_empty();
        let (selection, facts) = if is_memory {
            let chosen = choose(input, &dump, DumpLevel::default(), true, Vec::new(), &spill)?;
            for remark in &chosen.remarks {
                tracing::warn!("{remark}");
            }
            (chosen.selection, chosen.facts)
        } else {
            everything(&dump, &spill)?
        };
        let dump = input::with_virtual_addresses(dump);
        let image = Image::new(&dump, &selection, &facts, Path::new(&input.name()));
        drop(selection);
        let outcome = Outcome::of(!dump.source.incomplete, false);
        let dump = Arc::new(dump);
        let mut tree = Tree::default();
        add_memory(&mut tree, args, &dump, image, pool);
        add_notes(&mut tree, &dump);
        add_registers(&mut tree, &dump);
        let crash =
            Crash { dump, vmlinux, name: input.name(), pool: Arc::clone(pool), made: OnceLock::new() };
        add_reports(&mut tree, Arc::new(crash));
        Ok((tree, outcome))
    })
}

/// `vmcore` and `memory`.
fn add_memory(
    tree: &mut Tree,
    args: &cli::Mount,
    dump: &Arc<Dump>,
    image: Result<Image, dumpfile::Error>,
    pool: &Arc<ThreadPool>,
) {
    let missing = if args.errors { Missing::Error } else { Missing::Zeros };
    let half = args.cache / 2;
    let pages = Arc::new(Pages::new(Arc::clone(dump), missing, half));
    let kept: Option<RangeSet<_>> = image.as_ref().ok().map(|image| image.memory().collect());
    let memory = Physical::new(Arc::clone(&pages), dump.memory.map().frames(), kept);
    let mut ahead = |name: &str, content: Arc<dyn Content>| {
        tree.file(ROOT, name, Ahead::new(content, Arc::clone(pool), half / 2));
    };
    ahead("memory", Arc::new(memory));
    match image {
        Ok(image) => ahead("vmcore", Arc::new(Core::new(image, pages))),
        Err(error) => tracing::warn!("vmcore is not shown: {error}"),
    }
}

/// `vmcoreinfo`, and each note by itself.
fn add_notes(tree: &mut Tree, dump: &Dump) {
    if let Some(note) = dump.notes.find("VMCOREINFO") {
        tree.file(ROOT, "vmcoreinfo", Bytes(note.desc.clone()));
    }
    let notes = tree.directory(ROOT, "notes");
    for (number, note) in dump.notes.iter().enumerate() {
        tree.file(notes, &note_name(number, &note.name, note.kind), Bytes(note.desc.clone()));
    }
    for (number, (name, kind, far)) in (dump.notes.iter().len()..).zip(dump.notes.named_far()) {
        tree.file(notes, &note_name(number, name, kind), LargeNote(far.clone()));
    }
}

/// The registers of each CPU, as far as they were saved and are known by name.
fn add_registers(tree: &mut Tree, dump: &Dump) {
    let directory = tree.directory(ROOT, "registers");
    let mut add = |cpu: u32, lines: String| tree.file(directory, &cpu.to_string(), Bytes(lines.into_bytes()));
    let line = |name: &str, value: u64| format!("{:<10} {value:#018x}\n", terminal::lines(name));
    if dump.machine.arch == Arch::Ppc64 {
        // The firmware's areas have more than the notes.
        for listed in phyp::registers(&dump.notes, dump.machine.order).unwrap_or_default() {
            let registers = listed.kernel.iter().chain(&listed.firmware);
            add(listed.cpu, registers.map(|r| line(&r.name, r.value)).collect());
        }
        return;
    }
    for (cpu, note) in (0..).zip(dump.notes.prstatus()) {
        if let Some(status) = Prstatus::parse(dump.machine, &note.desc) {
            add(cpu, status.named.iter().map(|(name, value)| line(name, *value)).collect());
        }
    }
}

/// What is made when somebody wants it.
fn add_reports(tree: &mut Tree, crash: Arc<Crash>) {
    let (text, json, log) = (Arc::clone(&crash), Arc::clone(&crash), crash);
    tree.file(ROOT, "report.txt", Made::new(move || Ok(text.report().0.clone().into_bytes())));
    tree.file(ROOT, "report.json", Made::new(move || json.report().1.clone()));
    tree.file(ROOT, "dmesg.txt", Made::new(move || log.log()));
}

impl Crash {
    /// The report as text and as JSON.
    fn report(&self) -> &(String, Result<Vec<u8>, String>) {
        self.made.get_or_init(|| self.pool.install(|| self.examine()))
    }

    fn examine(&self) -> (String, Result<Vec<u8>, String>) {
        let kernel = Kernel::open(&self.dump).ok();
        let options = triage::Options { stacks: triage::Stacks::Blocked };
        let found = triage::examine(&self.dump, kernel.as_ref(), self.vmlinux.as_ref(), &options);
        let shown = Shown::new(&self.name, &self.dump, Tasks::Blocked, &found);
        let mut json = Vec::new();
        let written =
            report::write_json(&mut json, &json::json(&shown)).map_err(|error| format!("{error:#}"));
        (terminal::lines(&text::text(&shown)), written.map(|()| json))
    }

    fn log(&self) -> Result<Vec<u8>, String> {
        self.pool.install(|| {
            let kernel = Kernel::open(&self.dump).map_err(|error| format!("dmesg.txt: {error}"))?;
            let mut text = Vec::new();
            let _ =
                kernel::log::read_log(&kernel, &mut text).map_err(|error| format!("dmesg.txt: {error}"))?;
            Ok(text)
        })
    }
}
