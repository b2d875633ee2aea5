//! `cargo xtask package`: what a distribution, or somebody without one, installs.
//!
//! For a machine: `hadump` and `hadump-makedumpfile` as `.deb` and `.rpm`, the program's debug information as either, and a tarball.
//! The program is static: it is copied into capture initramfs images, and one package serves every release.

mod changes;
mod check;
mod contents;
mod deb;
mod formats;
mod licences;
mod program;
mod redhat;
mod tarball;

use crate::cross::{self, Target};
use anyhow::{Context, Result};
use contents::Product;
use program::Program;
use std::fs;
use std::path::PathBuf;

/// Makes packages and a tarball; `--check` tries them.
#[derive(clap::Args)]
pub(crate) struct Packages {
    /// The machine to make them for, built in a Debian sid tree, which needs root [default: this machine, by its own cargo]
    #[arg(long, value_name = "TRIPLE", value_parser = cross::parse)]
    target: Option<&'static Target>,
    /// Where they go [default: target/package/TRIPLE]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Build without the LZO codec, which is under GPL-2.0
    #[arg(long)]
    without_lzo: bool,
    /// Make the sources that go with them, too: the repository's last commit, and the crates that it links
    #[arg(long)]
    source: bool,
    /// Then install, use, upgrade and remove them in fresh trees of Debian's releases, and read them with lintian and rpmlint;
    /// needs root and a quarter of an hour
    #[arg(long)]
    check: bool,
}

impl Packages {
    pub(crate) fn run(self) -> Result<()> {
        let target = match self.target {
            Some(target) => target,
            None => cross::host()?,
        };
        let program = match self.target {
            Some(target) => Program::cross(target, self.without_lzo)?,
            None => Program::native(target, self.without_lzo)?,
        };
        let into = match &self.into {
            Some(into) => into.clone(),
            None => crate::guest::work_directory("package")?.join(target.triple),
        };
        fs::create_dir_all(&into).with_context(|| into.display().to_string())?;
        let product = Product::new(target, program, self.without_lzo)?;
        let made = formats::write(&product, &into)?;
        for path in &made {
            println!("{:>9}  {}", fs::metadata(path)?.len(), path.display());
        }
        if self.source {
            for path in tarball::sources(&product, &into)? {
                println!("{:>9}  {}", fs::metadata(&path)?.len(), path.display());
            }
        }
        if self.check {
            check::run(product, &made)?;
        }
        Ok(())
    }
}
