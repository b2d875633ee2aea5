//! The command line of `hadump save`.

use super::{Format, InputArgs, WriteArgs};
use crate::destination::{self, Cut};
use clap::{Args, ValueEnum};
use std::num::{NonZeroU16, NonZeroU64};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use vmcore::PageSize;

/// Exit codes and an example.
pub(crate) const AFTER_HELP: &str = "\
What a run that ended early has written stays as NAME-incomplete, with what is durable in NAME.journal: run the same \
command with --resume to go on. Exit codes: 0 complete, though perhaps at a higher dump level than asked for, which the \
report says; 3 complete, and more was kept than asked for; 4 incomplete but readable; 1 nothing usable; 2 wrong usage.";

#[derive(Debug, Args)]
pub(crate) struct Save {
    /// The root directory of the machine
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(crate) root: PathBuf,
    /// Where to: a directory, in which HOST-DATE/vmcore is made; a new file; a block device; or - for a flattened stream on
    /// standard output. Several are the files of a split set
    #[arg(long, value_name = "TARGET", required = true)]
    pub(crate) to: Vec<PathBuf>,
    /// Cut the dump into N files of about as many pages, or files of SIZE before compression, as 4G
    #[arg(long, value_name = "N|SIZE", value_parser = destination::parse_cut)]
    pub(crate) split: Option<Cut>,
    /// What the kernel wrote about itself, for a dump without VMCOREINFO, as for `convert`
    #[arg(long, value_name = "FILE")]
    vmcoreinfo: Option<PathBuf>,
    /// The kernel's vmlinux with debug information, as for `convert`
    #[arg(long, value_name = "FILE")]
    vmlinux: Option<PathBuf>,
    /// The kernel's page size, where VMCOREINFO is missing
    #[arg(long, value_name = "BYTES", value_parser = crate::input::parse_page_size)]
    page_size: Option<PageSize>,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    /// When to give the dumped memory back to the running system
    #[arg(long, value_name = "WHEN", default_value = "never")]
    pub(crate) release: Release,
    /// With --to -: a file or FIFO with what `hadump receive --ack` prints; memory is given back when it says that the dump is
    /// complete, and not otherwise
    #[arg(long, value_name = "FILE", conflicts_with = "trust_pipe")]
    pub(crate) acks: Option<PathBuf>,
    /// With --to -: take for safe what the pipe took, and give memory back when it took all
    #[arg(long)]
    pub(crate) trust_pipe: bool,
    /// Go on with an interrupted save of this dump, if there is one
    #[arg(long)]
    pub(crate) resume: bool,
    /// Where to note what is durable and what was given back [default: NAME.journal; none for a block device or a stream]
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
    /// Leave so much of the target's file system free (K, M, G, T)
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_size)]
    pub(crate) reserve_space: u64,
    /// Write so many bytes a second at most (K, M, G)
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) limit_rate: Option<NonZeroU64>,
    /// Write no more than so many bytes of pages between two looks at the disk (K, M, G)
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = parse_size, hide = true)]
    pub(crate) segment: u64,
    /// Where lists of pages go that outgrow memory [default: where the dump goes]
    #[arg(long, value_name = "DIR")]
    pub(crate) work_dir: Option<PathBuf>,
    /// Replace an existing output file, and begin anew where an earlier save was interrupted
    #[arg(short, long, conflicts_with = "resume")]
    pub(crate) force: bool,
    /// Print the report as JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// When memory is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Release {
    /// Not by hadump: a reboot gives it back
    Never,
    /// At once, when the dump is safe
    After,
    /// Piece by piece as it is safe, where the kernel can (phyp-dump); elsewhere as `after`
    Progressive,
}

impl Save {
    /// What is read.
    pub(crate) fn input(&self) -> InputArgs {
        InputArgs {
            vmcoreinfo: self.vmcoreinfo.clone(),
            vmlinux: self.vmlinux.clone(),
            page_size: self.page_size,
            ..InputArgs::path(&self.root)
        }
    }

    /// The dump goes to standard output.
    pub(crate) fn is_stream(&self) -> bool {
        self.to.iter().any(|to| destination::is_stream(to))
    }

    /// How the dump is cut: several names without a number are as many parts.
    pub(crate) fn cut(&self) -> Option<Cut> {
        let names = u16::try_from(self.to.len()).ok().and_then(NonZeroU16::new);
        self.split.or_else(|| names.filter(|count| count.get() > 1).map(Cut::Count))
    }

    /// What is wrong with options that do not go together.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let names = self.to.len();
        let plain = self.is_stream() || self.write.format == Format::Elf || self.cut().is_some();
        if names > 1
            && self.cut().is_some_and(|cut| !matches!(cut, Cut::Count(n) if usize::from(n.get()) == names))
        {
            return Some(format!("--split does not cut into as many files as there are names, {names}"));
        }
        if self.cut().is_some() && (self.is_stream() || self.write.format == Format::Elf) {
            return Some("only kdump files can be split".into());
        }
        if self.write.is_sealed() {
            let instead = "give a directory or a file, or --to - and a pipe into what takes it";
            let device =
                |to: &PathBuf| std::fs::metadata(to).is_ok_and(|meta| meta.file_type().is_block_device());
            if self.to.iter().any(device) {
                return Some(format!(
                    "an encrypted dump on a block device could not be gone on with: {instead}"
                ));
            }
            if self.cut().is_some() {
                return Some(format!("the files of a split set are not encrypted: {instead}"));
            }
            if self.write.format == Format::Elf {
                return Some(
                    "only kdump files are saved encrypted: leave out --format elf, and convert later".into(),
                );
            }
        }
        if self.write.fill_crash_notes && self.release == Release::Progressive {
            return Some("--fill-crash-notes needs memory that may be gone when a save goes on".into());
        }
        if self.write.dedup && self.release == Release::Progressive {
            return Some("to find equal pages memory is read again that would be given back by then".into());
        }
        if self.is_stream() && self.json {
            return Some("the dump goes to standard output, so the report cannot: leave out --json".into());
        }
        if plain && (self.resume || self.journal.is_some()) {
            return Some("only a kdump file on a disk can be gone on with".into());
        }
        let told = self.acks.is_some() || self.trust_pipe;
        if self.is_stream() && self.release != Release::Never && !told {
            return Some(
                "nothing tells when what went into a pipe is safe: --release needs a file, or --acks with what \
                 `hadump receive --ack` prints, or --trust-pipe"
                    .into(),
            );
        }
        if told && !self.is_stream() {
            return Some("--acks and --trust-pipe are about a pipe, that is --to -".into());
        }
        self.write.contradiction()
    }
}

/// A size in bytes, with K, M, G or T for powers of 1024.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let units = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];
    let unit = text.chars().last().and_then(|c| units.iter().find(|(u, _)| *u == c.to_ascii_uppercase()));
    let (digits, shift) = unit.map_or((text, 0), |(_, shift)| (&text[..text.len() - 1], *shift));
    let bytes = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift));
    bytes.ok_or_else(|| "a size is a number of bytes, as 4096, 64M or 2G".into())
}

fn parse_rate(text: &str) -> Result<NonZeroU64, String> {
    NonZeroU64::new(parse_size(text)?).ok_or_else(|| "at no bytes a second nothing is ever saved".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024() {
        assert_eq!(parse_size("0"), Ok(0));
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("64M"), Ok(64 << 20));
        assert_eq!(parse_size("2g"), Ok(2 << 30));
        for bad in ["", "M", "-1", "1.5G", "1X", "99999999999999T", "ü"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert!(parse_rate("0").is_err());
    }
}
