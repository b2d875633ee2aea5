//! The command line.

mod input;
mod write;

pub(crate) use input::InputArgs;
pub(crate) use write::{Format, WriteArgs};

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit codes: 0 complete; 1 nothing usable; 2 wrong usage; 3 complete, but more was kept than asked for; \
4 incomplete but readable.";

/// Save, filter, compress, convert and inspect Linux kernel crash dumps.
#[derive(Debug, Parser)]
#[command(name = "hadump", version, after_help = EXIT_CODES)]
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
    /// The file to make; it appears under this name only when it is whole
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    /// Replace an existing output file
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Print the report as JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
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
