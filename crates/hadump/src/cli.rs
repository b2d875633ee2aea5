//! The command line.

use crate::input;
use clap::{Args, Parser, Subcommand, ValueEnum};
use dumpfile::codec::Method;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use vmcore::{DumpLevel, PageSize, PhysAddr};

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
}

/// What is read.
#[derive(Debug, Args)]
pub(crate) struct InputArgs {
    /// The dump to read: a file, or a directory laid out like the root of a POWER machine after its crash
    #[arg(required_unless_present = "memory")]
    pub(crate) input: Option<PathBuf>,
    /// The machine's memory after its second boot: a raw image, or any dump of it
    #[arg(long, value_name = "FILE", conflicts_with = "input", help_heading = LEAVINGS)]
    pub(crate) memory: Option<PathBuf>,
    /// The device-tree property ibm,kernel-dump
    #[arg(long, value_name = "FILE", requires = "memory", help_heading = LEAVINGS)]
    pub(crate) kernel_dump: Option<PathBuf>,
    /// The text of /sys/kernel/release_region
    #[arg(long, value_name = "FILE", requires = "memory", help_heading = LEAVINGS)]
    pub(crate) release_region: Option<PathBuf>,
    /// Where the machine has memory, in place of what its device tree says
    #[arg(long, value_name = "START-END,...", value_delimiter = ',', value_parser = input::parse_range,
          help_heading = LEAVINGS)]
    pub(crate) memory_map: Vec<vmcore::Range<PhysAddr>>,
    /// Read the pairs of release_region as first and last address instead of address and length
    #[arg(long, help_heading = LEAVINGS)]
    pub(crate) start_end: bool,
    /// The first address that the second boot left alone, where nothing tells
    #[arg(long, value_name = "ADDRESS", value_parser = input::parse_addr, help_heading = LEAVINGS)]
    pub(crate) boot_memory_end: Option<PhysAddr>,
    /// The kernel's page size, where VMCOREINFO is missing
    #[arg(long, value_name = "BYTES", value_parser = input::parse_page_size, help_heading = LEAVINGS)]
    pub(crate) page_size: Option<PageSize>,
}

const LEAVINGS: &str = "What the hypervisor left, file by file";

impl InputArgs {
    /// The root of a machine.
    pub(crate) fn root(root: &Path) -> Self {
        Self {
            input: Some(root.to_owned()),
            memory: None,
            kernel_dump: None,
            release_region: None,
            memory_map: Vec::new(),
            start_end: false,
            boot_memory_end: None,
            page_size: None,
        }
    }

    /// The input for messages and reports.
    pub(crate) fn name(&self) -> String {
        let path = self.memory.as_ref().or(self.input.as_ref());
        path.map(|p| p.display().to_string()).unwrap_or_default()
    }
}

#[derive(Debug, Args)]
pub(crate) struct Convert {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// The file to make; it appears under this name only when it is whole
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) level: LevelArgs,
    /// How to compress pages [default: zstd]
    #[arg(short, long, value_name = "METHOD")]
    pub(crate) compression: Option<Compression>,
    /// How hard to compress (zlib 1..9, zstd -5..19)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) compression_level: Option<i32>,
    /// The file format to write; an ELF file is never compressed
    #[arg(long, value_name = "FORMAT", default_value = "kdump")]
    pub(crate) format: Format,
    /// Threads to work with, at most one for every CPU, which is the default
    #[arg(short = 'j', long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Replace an existing output file
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Print the report as JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
    /// Put the registers of firmware-assisted dumps where drgn looks for those of running tasks: into the crashed
    /// kernel's own crash_notes, which fadump leaves empty. The output then differs from the memory it was made of,
    /// and says so in a note
    #[arg(long)]
    pub(crate) fill_crash_notes: bool,
    /// The kernel's vmlinux, for the symbols that --fill-crash-notes needs of kernels before 6.0
    #[arg(long, value_name = "FILE", requires = "fill_crash_notes")]
    pub(crate) vmlinux: Option<PathBuf>,
}

impl Convert {
    /// What is wrong with options that do not go together.
    pub(crate) fn contradiction(&self) -> Option<String> {
        if self.format == Format::Elf {
            let compressed = self.compression.is_some_and(|c| c != Compression::None);
            return (compressed || self.compression_level.is_some())
                .then(|| "an ELF file is not compressed: leave that out, or use --format kdump".into());
        }
        let level = self.compression_level?;
        let compression = self.compression.unwrap_or(Compression::Zstd);
        let levels = compression.method().and_then(Method::levels);
        let name = compression.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default();
        match levels {
            None => Some(format!("{name} has no compression levels")),
            Some(levels) if !levels.contains(&level) => {
                Some(format!("{name} has compression levels {} to {}", levels.start(), levels.end()))
            }
            Some(_) => None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct LevelArgs {
    /// Which pages to leave out, the sum of: 1 zeros, 2 page cache, 4 page cache with private data,
    /// 8 user processes, 16 free [default: 31]
    #[arg(short = 'd', long = "dump-level", value_name = "LEVEL", value_parser = parse_level)]
    level: Option<DumpLevel>,
    /// The same by name
    #[arg(long, value_name = "CLASS,...", value_delimiter = ',', conflicts_with = "level")]
    exclude: Vec<PageClass>,
}

impl LevelArgs {
    /// The dump level asked for.
    pub(crate) fn level(&self) -> DumpLevel {
        if self.exclude.is_empty() {
            return self.level.unwrap_or(DumpLevel::ALL);
        }
        let bits = self.exclude.iter().fold(0, |bits, class| bits | class.bit());
        DumpLevel::new(bits.into()).expect("classes are the bits of 31")
    }
}

/// The classes of pages that can be left out.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PageClass {
    /// Pages of zeros
    Zero,
    /// Page cache without private data
    Cache,
    /// All page cache
    Private,
    /// Memory of user processes
    User,
    /// Free pages
    Free,
}

impl PageClass {
    fn bit(self) -> u8 {
        match self {
            Self::Zero => DumpLevel::ZERO,
            Self::Cache => DumpLevel::CACHE,
            Self::Private => DumpLevel::CACHE_PRIVATE,
            Self::User => DumpLevel::USER,
            Self::Free => DumpLevel::FREE,
        }
    }
}

fn parse_level(text: &str) -> Result<DumpLevel, String> {
    text.parse().ok().and_then(DumpLevel::new).ok_or_else(|| "a dump level is a number from 0 to 31".into())
}

/// How pages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compression {
    /// Smallest at its speed; not read by tools built without it
    Zstd,
    /// Read by every tool
    Zlib,
    /// Fast, larger
    Lzo,
    /// Fast, larger still
    Snappy,
    /// As they are
    None,
}

impl Compression {
    /// The codec; `None` to store pages as they are.
    pub(crate) fn method(self) -> Option<Method> {
        match self {
            Self::Zstd => Some(Method::Zstd),
            Self::Zlib => Some(Method::Zlib),
            Self::Lzo => Some(Method::Lzo),
            Self::Snappy => Some(Method::Snappy),
            Self::None => None,
        }
    }
}

/// The formats that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// makedumpfile's kdump-compressed format
    Kdump,
    /// An ELF core
    Elf,
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn level(args: &[&str]) -> Result<u8, clap::Error> {
        let fixed = ["hadump", "convert", "in", "-o", "out"];
        let cli = Cli::try_parse_from(fixed.iter().chain(args))?;
        let Command::Convert(convert) = cli.command else { unreachable!("it says convert") };
        Ok(convert.level.level().bits())
    }

    #[test]
    fn options_that_contradict_each_other_are_found() {
        let contradiction = |args: &[&str]| {
            let fixed = ["hadump", "convert", "in", "-o", "out"];
            let Command::Convert(convert) = Cli::parse_from(fixed.iter().chain(args)).command else {
                unreachable!("it says convert")
            };
            convert.contradiction()
        };
        for good in [
            &["-c", "zlib", "--compression-level", "9"][..],
            &["--compression-level=-5"],
            &["--format", "elf"],
        ] {
            assert_eq!(contradiction(good), None);
        }
        for bad in [
            &["-c", "zlib", "--compression-level", "10"][..],
            &["-c", "none", "--compression-level", "1"],
            &["-c", "lzo", "--compression-level", "1"],
            &["--format", "elf", "-c", "zlib"],
            &["--format", "elf", "--compression-level", "1"],
        ] {
            assert!(contradiction(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn levels_are_given_as_a_sum_or_by_name() {
        assert_eq!(level(&[]).unwrap(), 31);
        assert_eq!(level(&["-d", "17"]).unwrap(), 17);
        assert_eq!(level(&["--exclude", "zero,free"]).unwrap(), 17);
        assert_eq!(level(&["--exclude", "private"]).unwrap(), 4);
        assert!(level(&["-d", "32"]).is_err());
        assert!(level(&["-d", "1", "--exclude", "zero"]).is_err());
    }
}
