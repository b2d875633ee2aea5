//! The files that are worked on, and where.

use super::Peer;
use crate::unpack::unpack;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `target/bench`, wherever cargo puts its target directory.
pub(super) fn directory() -> Result<PathBuf> {
    let executable = std::env::current_exe()?;
    let directory = executable.ancestors().nth(2).context("xtask lies in a target directory")?.join("bench");
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// The dump at `path`, or what a .zst there holds.
pub(super) fn unpacked(path: &Path) -> Result<PathBuf> {
    if path.extension().is_none_or(|extension| extension != "zst") {
        return fs::canonicalize(path).with_context(|| path.display().to_string());
    }
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    let whole = directory()?.join(format!("{}.elf", folder.display()));
    if !whole.exists() {
        let partial = whole.with_extension("partial");
        let content = BufReader::new(File::open(path).with_context(|| path.display().to_string())?);
        unpack(content, File::create(&partial)?).with_context(|| path.display().to_string())?;
        fs::rename(&partial, &whole)?;
    }
    Ok(whole)
}

/// Where both programs work; disappears with the value.
pub(super) struct Work {
    pub(super) input: PathBuf,
    pub(super) directory: PathBuf,
    /// The root directory that the peer sees.
    tree: Option<PathBuf>,
    _removed: tempfile::TempDir,
}

impl Work {
    pub(super) fn new(peer: Option<&Peer>, input: &Path) -> Result<Self> {
        let tree = peer.and_then(|peer| peer.tree.clone());
        let removed = match &tree {
            Some(tree) => tempfile::tempdir_in(tree.join("tmp"))?,
            None => tempfile::tempdir_in(directory()?)?,
        };
        let mut work =
            Self { input: input.into(), directory: removed.path().into(), tree, _removed: removed };
        if work.tree.is_some() {
            let inside = work.directory.join("input");
            if fs::hard_link(&work.input, &inside).is_err() {
                // Not `cp`, which would leave zeros out: holes are read faster.
                fs::copy(&work.input, &inside)?;
                crate::cargo::run(Command::new("sync").arg(&inside))?;
            }
            work.input = inside;
        }
        Ok(work)
    }

    pub(super) fn as_peer_sees(&self, path: &Path) -> String {
        let inside = self.tree.as_ref().and_then(|tree| path.strip_prefix(tree).ok());
        inside.map_or_else(|| path.display().to_string(), |inside| format!("/{}", inside.display()))
    }
}
