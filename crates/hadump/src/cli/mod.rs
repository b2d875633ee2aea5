//! The command line.

mod input;
mod save;
mod write;

pub(crate) use input::InputArgs;
pub(crate) use save::{Release, Save};
pub(crate) use write::{Compression, Format, WriteArgs, on_threads};

use crate::destination::{self, Cut, Shard};
use clap::{Args, Parser, Subcommand};
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;

const AFTER_HELP: &str = "\
`hadump makedumpfile ...`, or hadump under the name makedumpfile, takes makedumpfile's command line; -h lists its options.

Exit codes: 0 complete; 1 nothing usable; 2 wrong usage; 3 complete, but more was kept than asked for; \
4 incomplete but readable.";

/// Save, filter, compress, convert and inspect Linux kernel crash dumps.
#[derive(Debug, Parser)]
#[command(name = "hadump", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Say more on standard error (-v: what is done, -vv: for debugging)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Say nothing on standard error but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take the dump that waits off this machine, and give its memory back
    #[command(after_help = save::AFTER_HELP)]
    Save(Save),
    /// Filter, compress and convert a dump into a new file
    Convert(Convert),
    /// Show what a dump is and what it holds
    Info(Info),
    /// Print the kernel log of a dump
    Dmesg(Dmesg),
    /// Say whether a dump waits on this machine, and whether the next crash would make one
    Status(Status),
    /// List every saved register of every CPU, by name
    Regs(Regs),
    /// List the page-table entries that the hypervisor saved
    Hpte(Hpte),
    /// Write a dump that comes through a pipe into a file, whatever happens to the pipe
    Receive(Receive),
    /// Put the files of a split set together
    Join(Join),
    /// Read every page of a dump, and say what is wrong with it
    Verify(Verify),
    /// Compare two dumps page by page, whatever their formats (exit codes: 0 same, 1 different, 2 not comparable)
    Diff(Diff),
    /// List every page of a dump, with its checksum if asked
    Pages(Pages),
}

#[derive(Debug, Args)]
pub(crate) struct Convert {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// The file to make; it appears under this name only when it is whole. `-` is standard output, which gets a
    /// flattened stream for `hadump receive`; several are the files of a split set
    #[arg(short, long, value_name = "FILE", required = true)]
    pub(crate) output: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    /// Write the flattened form that pipes take, also into a file
    #[arg(long)]
    pub(crate) flattened: bool,
    /// Cut the output into N files of about as many pages, or files of SIZE before compression, as 4G. They are named
    /// FILE.0, FILE.1 and so on, unless there is a name for each; readers take all of them together
    #[arg(long, value_name = "N|SIZE", value_parser = destination::parse_cut)]
    pub(crate) split: Option<Cut>,
    /// Make only part I, counted from 0, of what --split N would make: the same bytes on any machine that has the
    /// input
    #[arg(long, value_name = "I/N", value_parser = destination::parse_shard, conflicts_with = "split")]
    pub(crate) shard: Option<Shard>,
    /// Replace an existing output file
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Print the report as JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

impl Convert {
    /// How the output is cut: several names without a number are as many parts.
    pub(crate) fn cut(&self) -> Option<Cut> {
        let names = u16::try_from(self.output.len()).ok().and_then(NonZeroU16::new);
        self.split.or_else(|| names.filter(|count| count.get() > 1).map(Cut::Count))
    }

    /// What is wrong with options that do not go together.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let stream = self.output.iter().any(|output| destination::is_stream(output));
        let in_parts = self.cut().is_some() || self.shard.is_some();
        let names = self.output.len();
        if names > 1
            && self.cut().is_some_and(|cut| !matches!(cut, Cut::Count(n) if usize::from(n.get()) == names))
        {
            return Some(format!("--split does not cut into as many files as there are names, {names}"));
        }
        if names > 1 && self.shard.is_some() {
            return Some("a shard is one file: give one name".into());
        }
        if in_parts && self.write.format == Format::Elf {
            return Some("an ELF file cannot be split: leave that out, or use --format kdump".into());
        }
        if in_parts && (stream || self.flattened) {
            return Some("the files of a split set are not flattened".into());
        }
        if in_parts && self.write.is_sealed() {
            return Some(
                "the files of a split set are not encrypted: leave out --split, or encrypt each with age"
                    .into(),
            );
        }
        if stream && self.json {
            return Some("the dump goes to standard output, so the report cannot: leave out --json".into());
        }
        self.write.contradiction()
    }
}

#[derive(Debug, Args)]
pub(crate) struct Info {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Dmesg {
    #[command(flatten)]
    pub(crate) input: InputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The root directory of the machine to look at
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(crate) root: PathBuf,
    /// Note in var/lib/hadump/registered-on on which machine the kernel is registered, for a later look to tell whether
    /// that was lost by a migration: to be run once after each registration
    #[arg(long)]
    pub(crate) record_registration: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Regs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Only this CPU
    #[arg(long, value_name = "N")]
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
    /// The file to make; until everything arrived it is called FILE-incomplete
    pub(crate) file: PathBuf,
    /// A private key that opens an encrypted stream: an identity file of age, or an SSH key without a passphrase
    #[arg(short, long, value_name = "KEYFILE")]
    pub(crate) identity: Vec<PathBuf>,
    /// Whenever the stream pauses, make what arrived durable and print on standard output how much that is, for a
    /// sender that gives memory back only then
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
    /// The files of the set, in any order; what the missing ones held is lost, and said
    #[arg(required = true)]
    pub(crate) parts: Vec<PathBuf>,
    /// The file to make; it appears under this name only when it is whole
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// How to compress pages [default: as the parts are]
    #[arg(short, long, value_name = "METHOD")]
    pub(crate) compression: Option<Compression>,
    /// Threads to work with, at most one for every CPU, which is the default
    #[arg(short = 'j', long, value_name = "N")]
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
    /// A private key that opens an encrypted dump: an identity file of age, or an SSH key without a passphrase
    #[arg(short, long, value_name = "KEYFILE")]
    pub(crate) identity: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Pages {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Print the CRC-32 of each page that is there (that of zlib, 8 hexadecimal digits) in place of `data` or `zero`
    #[arg(long)]
    pub(crate) crc32: bool,
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
