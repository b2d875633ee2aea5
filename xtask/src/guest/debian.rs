//! Debian's kernels for x86_64, as their packages have them.

use super::tree::{Tree, logged_output};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// Which of Debian's kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Suite {
    /// The newest of Debian 13: 6.12
    Trixie,
    /// The newest of Debian unstable
    Sid,
    /// The newest of unstable and experimental
    Newest,
}

/// A kernel that is unpacked.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) version: String,
    pub(crate) image: PathBuf,
    /// What drives the guest's disks, in the order in which it is loaded.
    pub(crate) modules: Vec<PathBuf>,
}

impl Kernel {
    /// The kernel that Debian's archive has today.
    ///
    /// # Errors
    ///
    /// The archive cannot be reached, or its packages are laid out in a way that is not known here.
    pub(crate) fn of(suite: Suite, tree: &Tree, work: &Path) -> Result<Self> {
        let suites: &[&str] = match suite {
            Suite::Trixie => &["trixie"],
            Suite::Sid => &["sid"],
            Suite::Newest => &["sid", "experimental"],
        };
        let directory = work.join("debian");
        fs::create_dir_all(&directory)?;
        let mut script = tree.command("sh");
        script.arg("/hadump/xtask/src/guest/scripts/kernel.sh").arg(tree.inside(&directory)?).args(suites);
        let version = logged_output(&mut script, &work.join("kernel.log"))?.trim().to_owned();
        let root = directory.join(&version);
        let load = root.join("load");
        let mut modules: Vec<PathBuf> = fs::read_dir(&load)
            .with_context(|| load.display().to_string())?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        modules.sort();
        let image = root.join("image");
        ensure!(image.exists(), "{} has no image of a kernel", root.display());
        Ok(Self { version, image, modules })
    }
}
