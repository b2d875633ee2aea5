//! A guest's disks: images with holes, and ext4 file systems in them that are made and read without mounting.

use super::tree::{Tree, logged};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// An image.
#[derive(Debug)]
pub(crate) struct Disk<'a> {
    tree: &'a Tree,
    image: PathBuf,
    log: PathBuf,
}

impl<'a> Disk<'a> {
    /// A disk of nothing.
    pub(crate) fn raw(tree: &'a Tree, directory: &Path, name: &str, mib: u64) -> Result<Self> {
        let image = directory.join(name);
        File::create(&image)?.set_len(mib << 20).with_context(|| image.display().to_string())?;
        Ok(Self { tree, image, log: directory.join("disks.log") })
    }

    /// A disk with an empty ext4 file system.
    pub(crate) fn empty(tree: &'a Tree, directory: &Path, name: &str, mib: u64) -> Result<Self> {
        let disk = Self::raw(tree, directory, name, mib)?;
        let mut make = tree.command("mkfs.ext4");
        logged(make.args(["-q", "-F"]).arg(tree.inside(&disk.image)?), &disk.log)?;
        Ok(disk)
    }

    /// A disk with an ext4 file system that has the files below `from`.
    pub(crate) fn with_files(
        tree: &'a Tree,
        directory: &Path,
        name: &str,
        mib: u64,
        from: &Path,
    ) -> Result<Self> {
        let disk = Self::raw(tree, directory, name, mib)?;
        let mut make = tree.command("mkfs.ext4");
        make.args(["-q", "-F", "-d"]).arg(tree.inside(from)?).arg(tree.inside(&disk.image)?);
        logged(&mut make, &disk.log)?;
        Ok(disk)
    }

    /// The image, on the host.
    pub(crate) fn image(&self) -> &Path {
        &self.image
    }

    /// Copies directories of the file system into `to`; those that are not there are left out.
    pub(crate) fn fetch(&self, directories: &[&str], to: &Path) -> Result<()> {
        let (image, to) = (self.tree.inside(&self.image)?, self.tree.inside(to)?);
        // A guest that died has left a journal; exit code 1 means that something was mended.
        let script = "e2fsck -fy \"$1\"; [ $? -le 1 ] || exit 1; image=$1; to=$2; shift 2; \
                      for directory in \"$@\"; do debugfs -R \"rdump $directory $to\" \"$image\"; done";
        let mut fetch = self.tree.command("sh");
        logged(fetch.args(["-c", script, "sh"]).arg(image).arg(to).args(directories), &self.log)
    }

    /// Removes the image, which takes room.
    pub(crate) fn remove(&self) -> Result<()> {
        fs::remove_file(&self.image).with_context(|| self.image.display().to_string())
    }
}
