//! `cargo xtask man`: the man pages, to read before they are packaged.

use crate::guest::work_directory;
use crate::manual;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

/// Writes the man pages; `man -l target/man/hadump-save.1` shows one.
#[derive(clap::Args)]
pub(crate) struct Pages {
    /// Where they go [default: target/man]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

impl Pages {
    pub(crate) fn run(self) -> Result<()> {
        let into = match self.into {
            Some(into) => into,
            None => work_directory("man")?,
        };
        fs::create_dir_all(&into).with_context(|| into.display().to_string())?;
        for page in manual::pages() {
            let path = into.join(&page.name);
            fs::write(&path, page.text).with_context(|| path.display().to_string())?;
            println!("{}", path.display());
        }
        Ok(())
    }
}
