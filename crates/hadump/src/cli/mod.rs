//! The command line.

mod completions;
mod gdb;
mod input;
mod look;
mod mount;
mod outputs;
mod parse;
mod report;
mod save;
mod write;

pub(crate) use completions::{Completions, Shell};
pub(crate) use gdb::Gdb;
pub(crate) use input::{Access, InputArgs};
pub(crate) use look::{Class, Read, Search, Shape};
pub(crate) use mount::{Mount, Role};
pub(crate) use outputs::{Cut, Shard, is_stream};
pub(crate) use report::{Report, Tasks};
pub(crate) use save::{CrashReport, Release, Save};
pub(crate) use write::{Compression, Format, WriteArgs};

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::num::{NonZeroU16, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use vmcore::PageSize;

const AFTER_HELP: &str = "\
`hadump makedumpfile ...`, or hadump called as makedumpfile, takes makedumpfile's command line; -h lists its options.

Exit codes: 0 complete; 1 nothing usable; 2 wrong usage; 3 complete, but more was kept than asked for; \
4 incomplete but readable.";

/// Save, filter, compress, convert and inspect Linux kernel crash dumps.
#[derive(Debug, Parser)]
#[command(name = "hadump", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print more on standard error (-v: what is done, -vv: debugging)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, display_order = 900)]
    pub(crate) verbose: u8,
    /// Print only errors on standard error
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = 901)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Save the dump waiting on this machine and, if asked, release its memory
    #[command(after_help = save::AFTER_HELP)]
    Save(Save),
    /// Filter, compress and convert a dump into a new file
    Convert(Convert),
    /// Show what a dump is and what it contains
    Info(Info),
    /// Say why the machine crashed, from the dump alone: cause, stacks, tasks, modules, memory, log
    Report(Report),
    /// Print the kernel log of a dump
    Dmesg(Dmesg),
    /// Show a dump to gdb as a stopped machine: CPUs and tasks as threads, registers, kernel memory
    Gdb(Gdb),
    /// Report whether a dump is waiting and whether the next crash would produce one
    Status(Status),
    /// List every saved register of every CPU, by name
    Regs(Regs),
    /// List the page-table entries that the hypervisor saved
    Hpte(Hpte),
    /// Receive a dump from a pipe into a file, keeping what arrived if the pipe breaks
    Receive(Receive),
    /// Join the files of a split set into one dump
    Join(Join),
    /// Read every page of a dump and report damage
    Verify(Verify),
    /// Show a dump as files that other tools open, without converting it
    #[command(after_help = mount::AFTER_HELP)]
    Mount(Mount),
    /// Compare two dumps page by page, in any formats (exit codes: 0 same, 1 different, 2 could not compare)
    Diff(Diff),
    /// List every page of a dump and its state
    Pages(Pages),
    /// Find text, bytes, words, pointers or a regular expression in a dump's memory
    Search(Search),
    /// Print memory at an address
    Read(Read),
    /// Decrypt what `--encrypt-to` wrote, a dump or a log
    Decrypt(Decrypt),
    /// Print a script that lets a shell complete the command line
    Completions(Completions),
}

#[derive(Debug, Args)]
pub(crate) struct Convert {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Output file, which appears under this name only when it is complete; `-` writes a flattened stream to standard
    /// output, for `hadump receive`; several names make a split set
    #[arg(short, long, value_name = "FILE", required_unless_present = "dry_run")]
    pub(crate) output: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    /// Write a flattened stream even to a file
    #[arg(long)]
    pub(crate) flattened: bool,
    /// Split into N files of similar page counts, or into files of at most SIZE before compression (e.g. 4G), named
    /// FILE.0, FILE.1, ... unless a name is given for each; readers need all of them
    #[arg(long, value_name = "N|SIZE", value_parser = outputs::cut)]
    pub(crate) split: Option<Cut>,
    /// Write only part I (from 0) of what --split N would write; every machine that has the input produces identical
    /// parts
    #[arg(long, value_name = "I/N", value_parser = outputs::shard, conflicts_with = "split")]
    pub(crate) shard: Option<Shard>,
    /// Replace an existing output file
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Write at most RATE bytes per second (e.g. 100M)
    #[arg(long, value_name = "RATE", value_parser = parse::rate)]
    pub(crate) limit_rate: Option<NonZeroU64>,
    /// Directory for temporary page lists [default: the output's directory; $TMPDIR or /var/tmp if it has none]
    #[arg(long, value_name = "DIR")]
    pub(crate) work_dir: Option<PathBuf>,
    /// Do everything but write, and report how large the output would be; needs no -o
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the report as JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

impl Convert {
    /// How the output is split: several names without a number make one part each.
    pub(crate) fn cut(&self) -> Option<Cut> {
        let names = u16::try_from(self.output.len()).ok().and_then(NonZeroU16::new);
        self.split.or_else(|| names.filter(|count| count.get() > 1).map(Cut::Count))
    }

    /// The first contradiction between options, as a message.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let stream = self.output.iter().any(|output| is_stream(output));
        let in_parts = self.cut().is_some() || self.shard.is_some();
        let names = self.output.len();
        if let Some(twice) = outputs::given_twice(&self.output) {
            return Some(format!("{}: given twice; each output needs a name of its own", twice.display()));
        }
        if names > 1
            && self.cut().is_some_and(|cut| !matches!(cut, Cut::Count(n) if usize::from(n.get()) == names))
        {
            return Some(format!("--split must match the number of output files ({names})"));
        }
        if names > 1 && self.shard.is_some() {
            return Some("--shard writes one file: give one name".into());
        }
        if self.shard.is_some() && self.write.compression() == Compression::Auto {
            return Some(
                "--shard needs the same bytes on every machine, which -c auto does not give: name one method"
                    .into(),
            );
        }
        if in_parts && self.write.format == Format::Elf {
            return Some(
                "an ELF file cannot be split: leave out --split or --shard, or use --format kdump".into(),
            );
        }
        if in_parts && self.write.level.mini().is_some() {
            return Some("a mini dump is one file: leave out --split, --shard and further names".into());
        }
        if in_parts && (stream || self.flattened) {
            return Some("the files of a split set cannot be flattened".into());
        }
        if in_parts && self.write.is_encrypted() {
            return Some(
                "the files of a split set cannot be encrypted: leave out --split, or encrypt each with age"
                    .into(),
            );
        }
        if stream && self.json && !self.dry_run {
            return Some(
                "standard output takes the dump and cannot take the report too: leave out --json".into(),
            );
        }
        self.write.contradiction()
    }
}

#[derive(Debug, Args)]
pub(crate) struct Info {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Write the content of note number N, as a device's driver left it, to FILE (`-`: standard output) and print nothing else
    #[arg(long, num_args = 2, value_names = ["N", "FILE"], conflicts_with = "json")]
    pub(crate) extract_note: Option<Vec<OsString>>,
    /// Replace FILE if it exists
    #[arg(long, requires = "extract_note")]
    pub(crate) force: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Info {
    /// The note to take out, by its number, and where to.
    ///
    /// # Errors
    ///
    /// What is given is no number; the message says so.
    pub(crate) fn wanted_note(&self) -> Result<Option<(usize, &Path)>, String> {
        let Some([number, file]) = self.extract_note.as_deref() else { return Ok(None) };
        match number.to_str().and_then(|number| number.parse().ok()) {
            Some(number) => Ok(Some((number, Path::new(file)))),
            None => Err(format!(
                "--extract-note {}: expected the number of a note, as info shows it, then a file",
                number.display()
            )),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Dmesg {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The root directory of the machine to look at
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(crate) root: PathBuf,
    /// Record in var/lib/hadump/registered-on which machine the kernel is registered on, so that a later status detects
    /// a registration lost in a migration; run once after each registration
    #[arg(long)]
    pub(crate) record_registration: bool,
    /// Print only this field of the JSON report, as plain text, for scripts
    #[arg(long, value_name = "FIELD", conflicts_with = "json")]
    pub(crate) only: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Regs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Only this CPU
    #[arg(long, value_name = "N", value_parser = parse::cpu)]
    pub(crate) cpu: Option<u32>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Hpte {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Receive {
    /// Output file, called FILE-incomplete until everything has arrived
    pub(crate) file: PathBuf,
    /// Private key for an encrypted stream: an age identity file, or an SSH key without a passphrase
    #[arg(short, long, value_name = "KEYFILE")]
    pub(crate) identity: Vec<PathBuf>,
    /// Whenever the stream pauses, sync and print on standard output how many bytes are safe; at the end, print that the
    /// dump is complete, for a sender that releases memory only then
    #[arg(long, conflicts_with = "json")]
    pub(crate) ack: bool,
    /// Replace an existing file
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Print the report as JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Join {
    /// Files of the set, in any order; pages of missing files are reported as lost
    #[arg(required = true)]
    pub(crate) parts: Vec<PathBuf>,
    /// Output file, which appears under this name only when it is complete
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Compression method [default: that of the parts]
    #[arg(short, long, value_name = "METHOD")]
    pub(crate) compression: Option<Compression>,
    /// Worker threads [default and maximum: one per CPU]
    #[arg(short = 'j', long, value_name = "N", value_parser = parse::threads)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Replace an existing output file
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Print the report as JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// One dump
    pub(crate) a: PathBuf,
    /// The other dump
    pub(crate) b: PathBuf,
    /// Private key for an encrypted dump: an age identity file, or an SSH key without a passphrase
    #[arg(short, long, value_name = "KEYFILE")]
    pub(crate) identity: Vec<PathBuf>,
    /// Compare only what neither dump was told to leave out: pages that were filtered out of one of them, or do not exist in
    /// it, do not count; lost ones do
    #[arg(long)]
    pub(crate) common: bool,
    /// Page size of both, where one of them does not say it
    #[arg(long, value_name = "BYTES", value_parser = parse::page_size)]
    pub(crate) page_size: Option<PageSize>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Decrypt {
    /// Encrypted files: one, such as a log, or those of a dump, of which the first stands for all that are beside it
    #[arg(required = true)]
    pub(crate) input: Vec<PathBuf>,
    /// Private key: an age identity file, or an SSH key without a passphrase
    #[arg(short, long, value_name = "KEYFILE", required = true)]
    pub(crate) identity: Vec<PathBuf>,
    /// Output file, which appears under this name only when it is complete; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Replace an existing output file
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Pages {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Print the CRC-32 of each page (zlib's, 8 hexadecimal digits) instead of `data` or `zero`
    #[arg(long)]
    pub(crate) crc32: bool,
    /// Print JSON: runs of pages with the same state, or with --crc32 every page
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
