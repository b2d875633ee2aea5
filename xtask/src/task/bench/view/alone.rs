//! Reading and decompressing a dump and nothing else, on all processors: what the rest is held against.

use crate::cargo::{cargo, run};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What decompressing all pages of a dump on all processors took.
pub(super) struct Decompressed {
    /// Bytes of pages with content.
    pub(super) bytes: f64,
    pub(super) seconds: f64,
}

/// Reads and decompresses `dump` with the program `decompress`, which does nothing else.
pub(super) fn decompressing(decompress: &Path, dump: &Path) -> Result<Decompressed> {
    let output = Command::new(decompress).arg(dump).output()?;
    let words = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = words.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [_, bytes, seconds] = numbers[..] else { bail!("{}: {words}", decompress.display()) };
    Ok(Decompressed { bytes, seconds })
}

/// Builds the program of `crates/view/examples`, which lies beside hadump's.
pub(super) fn decompress() -> Result<PathBuf> {
    run(&mut cargo(&["build", "--release", "--package", "view", "--example", "decompress"]))?;
    let target = std::env::current_exe()?;
    let target = target.ancestors().nth(2).context("xtask lies in a target directory")?;
    Ok(target.join("release/examples/decompress"))
}
