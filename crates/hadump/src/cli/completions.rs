//! What lets a shell complete the command line.

use super::Cli;
use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::shells;

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// The shells that completions are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// Reads it from /usr/share/bash-completion/completions/hadump
    Bash,
    /// Reads it from _hadump in a directory of fpath
    Zsh,
    /// Reads it from /usr/share/fish/vendor_completions.d/hadump.fish
    Fish,
}

impl Shell {
    /// The script for this shell.
    pub(crate) fn script(self) -> Vec<u8> {
        let (mut cli, mut script) = (Cli::command(), Vec::new());
        match self {
            Self::Bash => clap_complete::generate(shells::Bash, &mut cli, "hadump", &mut script),
            Self::Zsh => clap_complete::generate(shells::Zsh, &mut cli, "hadump", &mut script),
            Self::Fish => clap_complete::generate(shells::Fish, &mut cli, "hadump", &mut script),
        }
        script
    }
}
