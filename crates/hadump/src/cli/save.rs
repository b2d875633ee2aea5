//! The command line of `hadump save`.

use super::input::{Access, InputArgs};
use super::outputs::{self, Cut, given_twice, is_stream};
use super::parse;
use super::write::{Format, WriteArgs};
use ::save::engine::SEGMENT;
use clap::{Args, ValueEnum};
use std::num::{NonZeroU16, NonZeroU64};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use vmcore::PageSize;

/// Exit codes and an example.
pub(crate) const AFTER_HELP: &str = "\
A save that ends early leaves NAME-incomplete and NAME.journal: run the same command with --resume to continue it. Exit \
codes: 0 complete, though perhaps at a higher dump level than asked for, which the report says; 1 nothing usable; 2 wrong \
usage; 3 complete, but more was kept than asked for; 4 incomplete but readable.";

#[derive(Debug, Args)]
pub(crate) struct Save {
    /// The root directory of the machine
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(crate) root: PathBuf,
    /// Target: a directory (HOST-DATE/vmcore is created in it), a new file, a block device, or `-` for a flattened stream on
    /// standard output; several targets make a split set
    #[arg(long, value_name = "TARGET", required = true)]
    pub(crate) to: Vec<PathBuf>,
    /// Split into N files of similar page counts, or into files of at most SIZE before compression (e.g. 4G), named
    /// NAME.0, NAME.1, ... unless a target is given for each
    #[arg(long, value_name = "N|SIZE", value_parser = outputs::cut)]
    pub(crate) split: Option<Cut>,
    /// VMCOREINFO of the crashed kernel, for a dump that lacks it, as for `convert`
    #[arg(long, value_name = "FILE")]
    vmcoreinfo: Option<PathBuf>,
    /// vmlinux of the crashed kernel with debug information, as for `convert`
    #[arg(long, value_name = "FILE")]
    vmlinux: Option<PathBuf>,
    /// Page size of the crashed kernel, as for `convert`
    #[arg(long, value_name = "BYTES", value_parser = parse::page_size)]
    page_size: Option<PageSize>,
    /// How the dump is read; the bytes are the same
    #[arg(long, value_name = "HOW", default_value = "usual")]
    access: Access,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    /// When to release the dumped memory to the running system
    #[arg(long, value_name = "WHEN", default_value = "never")]
    pub(crate) release: Release,
    /// Release the memory also when the dump level was raised for lack of room: what was left out is then gone for good
    #[arg(long)]
    pub(crate) release_raised: bool,
    /// Save what the firmware copied of a dump whose memory was given back to the running system, as for `convert`
    #[arg(long)]
    what_is_left: bool,
    /// With --to -: FIFO carrying the output of `hadump receive --ack`; memory is released only when it reports the
    /// dump complete
    #[arg(long, value_name = "FIFO", conflicts_with = "trust_pipe")]
    pub(crate) acks: Option<PathBuf>,
    /// With --to -: trust that everything written to the pipe is safe, and release memory at the end
    #[arg(long)]
    pub(crate) trust_pipe: bool,
    /// Resume an interrupted save of this dump, if there is one
    #[arg(long)]
    pub(crate) resume: bool,
    /// Journal of what is durable and what was released [default: NAME.journal; none for a block device or a stream]
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
    /// Leave SIZE of the target free (e.g. 64M, 2GiB)
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse::size)]
    pub(crate) reserve_space: u64,
    /// Write at most RATE bytes per second (e.g. 100M)
    #[arg(long, value_name = "RATE", value_parser = parse::rate)]
    pub(crate) limit_rate: Option<NonZeroU64>,
    /// Sync after at most SIZE bytes of pages
    #[arg(long, value_name = "SIZE", default_value_t = SEGMENT, value_parser = parse::size, hide = true)]
    pub(crate) segment: u64,
    /// Directory for temporary page lists [default: the target's directory; $TMPDIR or /var/tmp if it has none]
    #[arg(long, value_name = "DIR")]
    pub(crate) work_dir: Option<PathBuf>,
    /// Replace an existing output file or what is on a block device, and start over if an earlier save was interrupted
    #[arg(short, long, conflicts_with = "resume")]
    pub(crate) force: bool,
    /// Whether to report why the machine crashed, in NAME-report.txt and NAME-report.json, before any page is saved
    #[arg(
        long,
        value_name = "WHEN",
        num_args = 0..=1,
        require_equals = true,
        default_value = "beside",
        default_missing_value = "beside"
    )]
    pub(crate) report: CrashReport,
    /// Print the report of the save as JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whether a save reports why the machine crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CrashReport {
    /// No
    Never,
    /// In files beside the dump, as the log
    Beside,
}

/// When memory is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Release {
    /// Never; a reboot frees it
    Never,
    /// All of it, once the dump is safe
    After,
    /// Range by range during the save where the kernel supports it (phyp-dump), otherwise like `after`
    Progressive,
}

impl Save {
    /// What is read.
    pub(crate) fn input(&self) -> InputArgs {
        InputArgs {
            vmcoreinfo: self.vmcoreinfo.clone(),
            vmlinux: self.vmlinux.clone(),
            page_size: self.page_size,
            access: self.access,
            what_is_left: self.what_is_left,
            ..InputArgs::path(&self.root)
        }
    }

    /// The dump goes to standard output.
    pub(crate) fn is_stream(&self) -> bool {
        self.to.iter().any(|to| is_stream(to))
    }

    /// How the dump is split: several targets without a number make one part each.
    pub(crate) fn cut(&self) -> Option<Cut> {
        let names = u16::try_from(self.to.len()).ok().and_then(NonZeroU16::new);
        self.split.or_else(|| names.filter(|count| count.get() > 1).map(Cut::Count))
    }

    /// Whether the dump is written in one go, without a journal: to a pipe, as a split set, as an ELF file. Such a save
    /// cannot be resumed.
    pub(crate) fn is_plain(&self) -> bool {
        self.is_stream() || self.write.format == Format::Elf || self.cut().is_some()
    }

    /// The first contradiction between options, as a message.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let names = self.to.len();
        if let Some(twice) = given_twice(&self.to) {
            return Some(format!("{}: given twice; each target needs a name of its own", twice.display()));
        }
        if let Some(journal) = &self.journal
            && given_twice(&[&self.to[..], std::slice::from_ref(journal)].concat()).is_some()
        {
            return Some(format!(
                "{}: this is the target; the journal is a file of its own",
                journal.display()
            ));
        }
        if names > 1
            && self.cut().is_some_and(|cut| !matches!(cut, Cut::Count(n) if usize::from(n.get()) == names))
        {
            return Some(format!("--split must match the number of targets ({names})"));
        }
        if self.write.level.mini().is_some() && self.cut().is_some() {
            return Some("a mini dump is one file: leave out --split and further targets".into());
        }
        if self.cut().is_some() && (self.is_stream() || self.write.format == Format::Elf) {
            return Some("only kdump files can be split".into());
        }
        if self.write.is_encrypted() {
            let instead = "give a directory or a file, or --to - and pipe it to where it should go";
            let device =
                |to: &PathBuf| std::fs::metadata(to).is_ok_and(|meta| meta.file_type().is_block_device());
            if self.to.iter().any(device) {
                return Some(format!("an encrypted save to a block device cannot be resumed: {instead}"));
            }
            if self.cut().is_some() {
                return Some(format!("the files of a split set cannot be encrypted: {instead}"));
            }
            if self.write.format == Format::Elf {
                return Some(
                    "only kdump files can be saved encrypted: leave out --format elf, and convert later"
                        .into(),
                );
            }
        }
        if self.write.fill_crash_notes && self.release == Release::Progressive {
            return Some(
                "--fill-crash-notes cannot be combined with --release progressive: a resumed save may no longer have \
                 the memory that it needs"
                    .into(),
            );
        }
        if self.write.dedup && self.release == Release::Progressive {
            return Some(
                "--dedup cannot be combined with --release progressive: it rereads memory that would be released by \
                 then"
                    .into(),
            );
        }
        if self.is_stream() && self.json {
            return Some(
                "standard output takes the dump and cannot take the report too: leave out --json".into(),
            );
        }
        if self.is_plain() && (self.resume || self.journal.is_some()) {
            return Some("--resume and --journal need a single kdump file on a disk".into());
        }
        let confirmed = self.acks.is_some() || self.trust_pipe;
        if self.is_stream() && self.release != Release::Never && !confirmed {
            return Some(
                "--release with --to - needs --acks or --trust-pipe: otherwise nothing says when the dump is safe"
                    .into(),
            );
        }
        let is_fifo = |path: &PathBuf| path.metadata().is_ok_and(|meta| meta.file_type().is_fifo());
        if let Some(acks) = self.acks.as_ref().filter(|acks| !is_fifo(acks)) {
            return Some(format!(
                "{}: --acks needs a FIFO (mkfifo {0}): a file may hold the answer of an earlier run",
                acks.display()
            ));
        }
        if confirmed && !self.is_stream() {
            return Some("--acks and --trust-pipe need --to -".into());
        }
        self.write.contradiction()
    }
}
