//! Archives for whoever has no package manager, and of the sources.

use super::contents::{Content, File, Flavour, Product, gzip};
use crate::cargo::{cargo, run};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tar::{Builder, EntryType, Header};

/// Writes the archive of the program and what belongs to it, for `tar -C /usr/local --strip-components 1 -xf`, and that of its
/// debug information.
pub(crate) fn write(product: &Product, into: &Path) -> Result<Vec<PathBuf>> {
    let variant = product.release.strip_prefix('1').unwrap_or_default().replace('+', "-");
    let stem = format!("hadump-{}{variant}-{}", product.version, product.target.triple);
    let all = product.files(Flavour::Tarball);
    let files: Vec<(String, &[u8], u32)> = all.iter().filter_map(|file| entry(&stem, file)).collect();
    let debug = format!("{stem}/lib/debug/{}.debug", product.build_id());
    let mut made = Vec::new();
    for (name, files) in [
        (format!("{stem}.tar.gz"), files),
        (format!("{stem}-debug.tar.gz"), vec![(debug, product.debug_information(), 0o644)]),
    ] {
        let mut tar = Builder::new(Vec::new());
        for (path, content, mode) in files {
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::Regular);
            header.set_mode(mode);
            header.set_size(content.len() as u64);
            header.set_mtime(product.time);
            header.set_uid(0);
            header.set_gid(0);
            tar.append_data(&mut header, path, content)?;
        }
        let path = into.join(name);
        fs::write(&path, gzip(&tar.into_inner()?)).with_context(|| path.display().to_string())?;
        made.push(path);
    }
    Ok(made)
}

/// A file as it lies below a prefix: `/usr/bin/hadump` is `bin/hadump` there.
fn entry<'a>(stem: &str, file: &'a File) -> Option<(String, &'a [u8], u32)> {
    let Content::Bytes(content, mode) = &file.content else { return None };
    let path = file.path.strip_prefix("usr/").unwrap_or(&file.path);
    Some((format!("{stem}/{path}"), content, *mode))
}

/// Writes the sources of this repository as they were last committed, and those of the crates in Cargo.lock.
pub(crate) fn sources(product: &Product, into: &Path) -> Result<Vec<PathBuf>> {
    let stem = format!("hadump-{}", product.version);
    let into = &into.canonicalize().with_context(|| into.display().to_string())?;
    let own = into.join(format!("{stem}-source.tar.gz"));
    let mut archive = Command::new("git");
    archive.current_dir(crate::root()).args(["archive", "--format=tar.gz"]);
    run(archive.arg(format!("--prefix={stem}/")).arg("-o").arg(&own).arg("HEAD"))?;
    let crates = tempfile::tempdir_in(into).context("cannot make a temporary directory")?;
    let mut vendor = cargo(&["vendor", "--quiet", "--locked", "--versioned-dirs"]);
    run(vendor.arg(crates.path().join("vendor")).stdout(Stdio::null()))?;
    let theirs = into.join(format!("{stem}-vendor.tar.gz"));
    let mut archive = Command::new("tar");
    archive.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    archive.arg(format!("--mtime=@{}", product.time)).arg("-C").arg(crates.path());
    run(archive.arg("-czf").arg(&theirs).arg("vendor"))?;
    Ok(vec![own, theirs])
}
