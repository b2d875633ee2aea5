//! The command line of `hadump mount`.

use super::input::InputArgs;
use super::parse;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// What follows the options of `hadump mount --help`.
pub(crate) const AFTER_HELP: &str = "\
`fusermount -u DIR`, or Ctrl-C with --foreground, ends it. Only who mounts can look in, and root cannot either where somebody \
else does.

Exit codes: 0 mounted; 1 not mounted; 2 wrong usage; 4 mounted, and the dump is incomplete.";

#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub(crate) struct Mount {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Directory to show it at
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Stay in the foreground, and say there which reads fail
    #[arg(long)]
    pub(crate) foreground: bool,
    /// Keep at most SIZE bytes of decompressed pages in memory, half of them read ahead
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = parse::size)]
    pub(crate) cache: u64,
    /// Pages that are lost or were left out are errors (EIO) and not zeros
    #[arg(long)]
    pub(crate) errors: bool,
    /// Let all users look in; needs user_allow_other in /etc/fuse.conf unless root mounts
    #[arg(long)]
    pub(crate) allow_other: bool,
    /// What of the mount this process does
    #[arg(long, hide = true)]
    pub(crate) role: Option<Role>,
}

/// A mount is two processes, which the program is run again for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Waits for the end of the other and unmounts
    Watch,
    /// Answers the kernel
    Serve,
}
