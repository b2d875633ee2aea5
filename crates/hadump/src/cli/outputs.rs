//! The outputs that a command line names, and how a dump is split among them.

use super::parse;
use std::num::NonZeroU16;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How the output is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The number of files.
    Count(NonZeroU16),
    /// The most bytes of pages in a file, before compression.
    Size(u64),
}

/// One part of a split set, to be written alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// Its number, from 0.
    pub(crate) number: u16,
    /// The number of parts.
    pub(crate) of: NonZeroU16,
}

/// `N`, a number of files, or `SIZE` with a unit: how to split the output.
pub(crate) fn cut(text: &str) -> Result<Cut, String> {
    if let Ok(count) = text.parse() {
        return Ok(Cut::Count(count));
    }
    match parse::size(text) {
        // A number alone is one of files, and it was none.
        Ok(bytes) if bytes > 0 && text.ends_with(|c: char| c.is_ascii_alphabetic()) => Ok(Cut::Size(bytes)),
        _ => {
            Err("expected a number of files from 1 to 65535, or the size of each with a unit such as 4G"
                .into())
        }
    }
}

/// `I/N`: part I, counted from 0, of N.
pub(crate) fn shard(text: &str) -> Result<Shard, String> {
    let parse = || {
        let (number, of) = text.split_once('/')?;
        let shard = Shard { number: number.parse().ok()?, of: of.parse().ok()? };
        (shard.number < shard.of.get()).then_some(shard)
    };
    parse().ok_or_else(|| "expected I/N with I from 0 to N-1, such as 0/4".into())
}

/// Whether an output is standard output, as `-` names it.
pub(crate) fn is_stream(output: &Path) -> bool {
    output.as_os_str() == "-"
}

/// The first path that stands for the same file as one before it, under whatever name.
pub(crate) fn given_twice(paths: &[PathBuf]) -> Option<&Path> {
    let same = |a: &PathBuf, b: &PathBuf| {
        let identity = |path: &Path| path.metadata().map(|meta| (meta.dev(), meta.ino())).ok();
        let place = |path: &Path| {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or(Path::new("."));
            parent
                .canonicalize()
                .unwrap_or_else(|_| parent.to_owned())
                .join(path.file_name().unwrap_or_default())
        };
        let stream = is_stream(a) || is_stream(b);
        a == b || !stream && (place(a) == place(b) || identity(a).is_some_and(|it| Some(it) == identity(b)))
    };
    paths
        .iter()
        .enumerate()
        .find(|(n, path)| paths[..*n].iter().any(|other| same(path, other)))
        .map(|(_, p)| p.as_path())
}
