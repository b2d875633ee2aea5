//! `hadump info`: what a dump is and what it contains, and a note of it alone.

use crate::cli;
use crate::input::mini::Mini;
use crate::input::{self, Prefer};
use crate::outcome::Outcome;
use crate::output::{self, FORCE, SinkWriter};
use crate::show::terminal::Line;
use crate::show::{report, units};
use anyhow::{Context, Result, bail};
use phyp::notes::{OWNER, PRIVATE};
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use vmcore::{ByteOrder, Dump, Utsname, WordSize};

/// What is known about a dump without walking its pages. `docs/json.md` describes the fields.
#[derive(Debug, Serialize)]
struct Facts {
    path: String,
    format: String,
    machine: &'static str,
    byte_order: &'static str,
    word_bits: u8,
    page_size: u64,
    system: Option<System>,
    crash_time: Option<u64>,
    cpus: usize,
    dump_level: Option<u8>,
    mini: Option<Mini>,
    complete: bool,
    memory_bytes: u64,
    frames: u64,
    partial_frames: u64,
    memory: Vec<MemoryRange>,
    notes: Vec<NoteFacts>,
    vmcoreinfo_keys: usize,
    remarks: Vec<String>,
}

/// The six strings of `uname`.
#[derive(Debug, Serialize)]
struct System {
    sysname: String,
    nodename: String,
    release: String,
    version: String,
    machine: String,
    domainname: String,
}

#[derive(Debug, Serialize)]
struct MemoryRange {
    start: u64,
    end: u64,
}

#[derive(Debug, Serialize)]
struct NoteFacts {
    name: String,
    #[serde(rename = "type")]
    kind: u32,
    bytes: u64,
}

/// Prints what the dump is.
pub(crate) fn run(args: &cli::Info) -> Result<Outcome> {
    let wanted = args.wanted_note().map_err(anyhow::Error::msg)?;
    if let Some((_, file)) = wanted.filter(|(_, file)| !cli::is_stream(file)) {
        output::refuse_input(&args.input, &[file.to_owned()])?;
    }
    let dump = input::open_to_show(&args.input, Prefer::Vmcore)?;
    if let Some((number, file)) = wanted {
        extract(args, &dump, number, file)?;
        return Ok(if dump.source.incomplete { Outcome::Incomplete } else { Outcome::Complete });
    }
    let mut remarks = dump.source.remarks.clone();
    // A kdump header has the names; those of an ELF file are in the kernel's memory.
    let mut remark = |remark: String| {
        tracing::warn!("{}: {remark}", args.input.name());
        remarks.push(remark);
    };
    let kernel = dump.vmcoreinfo.as_ref().map(|_| kernel::Kernel::open(&dump));
    let lent = kernel.as_ref().and_then(|kernel| input::lent::remark(&dump, kernel.as_ref().ok()?));
    lent.into_iter().for_each(&mut remark);
    let names = dump.source.utsname.clone().or_else(|| match kernel? {
        Ok(kernel) => Some(kernel.utsname().clone()),
        Err(error) => {
            remark(format!("the kernel cannot be understood: {error}"));
            None
        }
    });
    let facts = Facts::new(args, &dump, names, remarks);
    if args.json {
        report::print_json(&facts)?;
    } else {
        facts.print()?;
    }
    Ok(if facts.complete { Outcome::Complete } else { Outcome::Incomplete })
}

/// Writes the content of one note to `file`. The file gets its name when all of it is there.
fn extract(args: &cli::Info, dump: &Dump, number: usize, file: &Path) -> Result<()> {
    let held = dump.notes.iter().count();
    let count = held + dump.notes.named_far().count();
    if number >= count {
        bail!("{}: there is no note {number}; there are {count}, counted from 0", args.input.name());
    }
    let content = |out: &mut dyn Write| -> Result<()> {
        match dump.notes.iter().nth(number) {
            Some(note) => out.write_all(&note.desc)?,
            None => {
                let far = dump.notes.named_far().nth(number - held);
                far.map_or(Ok(()), |(.., far)| far.content(|piece| anyhow::Ok(out.write_all(piece)?)))?;
            }
        }
        Ok(out.flush()?)
    };
    if cli::is_stream(file) {
        output::check_standard_output()?;
        return content(&mut io::stdout().lock());
    }
    if output::is_null_device(file) {
        return content(&mut io::sink());
    }
    let output = output::create(file, args.force, FORCE)?;
    let mut writer = BufWriter::with_capacity(1 << 20, SinkWriter::new(&output));
    content(&mut writer).with_context(|| format!("{}: cannot write note {number}", file.display()))?;
    drop(writer);
    output.commit()?;
    Ok(())
}

impl Facts {
    fn new(args: &cli::Info, dump: &Dump, names: Option<Utsname>, remarks: Vec<String>) -> Self {
        let map = dump.memory.map();
        let note = |name: &[u8], kind, bytes| NoteFacts {
            name: String::from_utf8_lossy(name).into_owned(),
            kind,
            bytes,
        };
        let held = dump.notes.iter().map(|n| note(&n.name, n.kind, n.desc.len() as u64));
        let info = dump.vmcoreinfo.as_ref();
        Self {
            path: args.input.name(),
            format: dump.source.format.clone(),
            machine: dump.machine.name(),
            byte_order: match dump.machine.order {
                ByteOrder::Little => "little",
                ByteOrder::Big => "big",
            },
            word_bits: match dump.machine.word {
                WordSize::Bits32 => 32,
                WordSize::Bits64 => 64,
            },
            page_size: dump.page_size().bytes(),
            system: names.map(System::from),
            crash_time: info.and_then(|v| v.crash_time()),
            cpus: dump.cpus(),
            dump_level: dump.source.dump_level.map(|l| l.bits()),
            mini: Mini::of(dump),
            complete: !dump.source.incomplete,
            memory_bytes: map.bytes().total(),
            frames: map.frames().total(),
            partial_frames: map.partial_frames(),
            memory: map.bytes().iter().map(|r| MemoryRange { start: r.start.0, end: r.end.0 }).collect(),
            notes: held
                .chain(dump.notes.named_far().map(|(name, kind, far)| note(name, kind, far.len)))
                .collect(),
            vmcoreinfo_keys: info.map_or(0, vmcore::VmcoreInfo::len),
            remarks,
        }
    }

    fn print(&self) -> Result<()> {
        let mut out = crate::show::terminal::stdout();
        let mut line = |label: &str, value: String| writeln!(out, "{label:>10}  {}", Line(&value));
        line("file", format!("{}: {}", self.path, self.format))?;
        line(
            "machine",
            format!("{}, {}-endian, {}-bit words", self.machine, self.byte_order, self.word_bits),
        )?;
        if let Some(s) = &self.system {
            line("kernel", format!("{} {} {}", s.sysname, s.release, s.version))?;
            line("host", s.nodename.clone())?;
        }
        if let Some(time) = self.crash_time {
            // A time beyond the calendar is shown as a number.
            let date = i64::try_from(time).ok().and_then(|t| jiff::Timestamp::from_second(t).ok());
            line("crashed", date.map_or_else(|| format!("{time} s after 1970"), |d| d.to_string()))?;
        }
        line("cpus", format!("{} with registers", self.cpus))?;
        line("memory", units::memory(self.memory_bytes, self.frames, self.page_size, self.partial_frames))?;
        const SHOWN: usize = 16;
        for r in self.memory.iter().take(SHOWN) {
            line("", format!("{:#014x} .. {:#014x}  {}", r.start, r.end, units::bytes(r.end - r.start)))?;
        }
        if self.memory.len() > SHOWN {
            line("", format!("and {} more ranges; --json lists all", self.memory.len() - SHOWN))?;
        }
        if let Some(level) = self.dump_level {
            line("level", format!("{level}"))?;
        }
        if let Some(mini) = &self.mini {
            line("mini dump", mini.words())?;
        }
        for (number, n) in self.notes.iter().enumerate() {
            let own = PRIVATE.iter().find(|(kind, _)| n.name == OWNER && n.kind == *kind);
            let what =
                own.map(|(_, what)| *what).or(Mini::is(n.name.as_bytes(), n.kind).then_some(Mini::WHAT));
            let what = what.map_or(String::new(), |what| format!(" ({what})"));
            line(
                &format!("note {number}"),
                format!("{} type {:#x}{what}, {} bytes", n.name, n.kind, n.bytes),
            )?;
        }
        line("vmcoreinfo", format!("{} keys", self.vmcoreinfo_keys))?;
        if !self.complete {
            line("INCOMPLETE", "some of the memory that it should have is missing".into())?;
        }
        Ok(())
    }
}

impl From<Utsname> for System {
    fn from(names: Utsname) -> Self {
        let Utsname { sysname, nodename, release, version, machine, domainname } = names;
        Self { sysname, nodename, release, version, machine, domainname }
    }
}
