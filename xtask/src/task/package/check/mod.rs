//! `cargo xtask package --check`: the packages as users meet them, in fresh trees of Debian's releases.

use super::contents::Product;
use super::formats;
use crate::guest::tree::Tree;
use crate::guest::work_directory;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Releases that the packages are for; the last one has the tools that judge them.
const SUITES: [&str; 3] = ["bookworm", "trixie", "sid"];
/// Installs, uses, upgrades, removes.
const LIFE: &str = include_str!("life.sh");
/// lintian, rpm with a root of its own, and rpmlint.
const JUDGES: &str = include_str!("judges.sh");

/// Tries the packages that were `made`, and an older version of the same product to upgrade from.
pub(crate) fn run(product: Product, made: &[PathBuf]) -> Result<()> {
    if !product.target.is_host() {
        bail!("only packages of this machine can be tried here, not of {}", product.target.triple);
    }
    let work = work_directory("package/trees")?;
    let packages = work.join("packages");
    let _ = fs::remove_dir_all(&packages);
    fs::create_dir_all(packages.join("old"))?;
    for path in made {
        fs::copy(path, packages.join(path.file_name().context("a package has a name")?))?;
    }
    let version = product.full_version();
    formats::write(&product.called("0.1.9"), &packages.join("old"))?;
    let dump = corpus::dump(corpus::POWER).context("testdata/ has the dump of a POWER machine")?;
    fs::copy(&dump.elf, work.join("vmcore.elf"))?;
    for suite in SUITES {
        let base = Tree::make(&work, suite)?;
        step(
            &format!("{suite}: install, use, upgrade, remove"),
            &fresh(&base, &work, "run")?,
            LIFE,
            &version,
        )?;
    }
    let sid = Tree::make(&work, "sid")?;
    let judges = fresh_once(&sid, &work, "judges")?;
    judges.install("judges", &["lintian", "rpm", "rpmlint"])?;
    // rpm installs into a tree of its own, which has a shell for what packages run.
    fresh(&sid, &work, "rpm-root")?;
    step("lintian, rpm, rpmlint", &judges, JUDGES, &version)?;
    println!("\npackages: as expected");
    Ok(())
}

/// Runs a script in a tree, in which `/boots` has the packages and a dump.
fn step(about: &str, tree: &Tree, script: &str, version: &str) -> Result<()> {
    println!("\n== {about}");
    crate::cargo::run(tree.command("sh").args(["-eu", "-c", script, "sh", version])).context(about.to_owned())
}

/// A copy of a tree in which nothing was done yet.
fn fresh(base: &Tree, work: &Path, name: &str) -> Result<Tree> {
    let path: PathBuf = work.join(name);
    if path.exists() {
        fs::remove_dir_all(&path).with_context(|| path.display().to_string())?;
    }
    base.copy(name)
}

/// A copy that is kept, with what was installed in it.
fn fresh_once(base: &Tree, work: &Path, name: &str) -> Result<Tree> {
    if work.join(name).exists() { Tree::make(work, name) } else { fresh(base, work, name) }
}
