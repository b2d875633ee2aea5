//! The program as it is shipped: static, stripped, and its debug information beside it.

use crate::cargo::cargo;
use crate::cargo::run;
use crate::cross::Target;
use crate::guest::tree::Tree;
use crate::guest::work_directory;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Static, so that it runs in any initramfs and on any release; its identity is what finds its debug information; its
/// relocations, which are all relative, as a bitmap, which is a sixth of a mebibyte smaller.
const FLAGS: &str =
    "-C target-feature=+crt-static -C link-arg=-Wl,--build-id=sha1 -C link-arg=-Wl,-z,pack-relative-relocs";

/// More than this, stripped, means that something large was linked by mistake: of the 8.9 MiB that the program had when this was
/// written, `dist/README.md` says what they are.
const LARGEST: u64 = 12 << 20;

/// A built program.
#[derive(Debug)]
pub(crate) struct Program {
    /// The stripped ELF file.
    pub(crate) stripped: Vec<u8>,
    /// What was stripped.
    pub(crate) debug: Vec<u8>,
    /// Hexadecimal.
    pub(crate) build_id: String,
}

impl Program {
    /// Built on this machine, for it.
    pub(crate) fn native(target: &Target, without_lzo: bool) -> Result<Self> {
        println!("building hadump for {}", target.triple);
        let work = work_directory("package")?;
        let mut build = cargo(&["build", "--locked", "--target", target.triple]);
        build.arg("--target-dir").arg(work.join("build"));
        build.env(target.rustflags(), FLAGS);
        run(build.args(options(without_lzo)))?;
        let built = work.join("build").join(target.triple).join("release/hadump");
        Self::split(&built, &|tool| Ok(Command::new(tool)), &|path| Ok(path.to_owned()))
    }

    /// Built by the Debian tree of the boots, for any machine.
    pub(crate) fn cross(target: &Target, without_lzo: bool) -> Result<Self> {
        println!("building hadump for {} in a Debian tree", target.triple);
        let tree = Tree::make(&work_directory("boot")?, "sid")?;
        let mut build = target.cargo(&tree, "build")?;
        build.env(target.rustflags(), FLAGS);
        run(build.args(options(without_lzo)))?;
        let built = target.built(&tree, "release").join("hadump");
        let tool = |tool: &str| Ok(tree.command(&format!("{}{tool}", target.tools)));
        Self::split(&built, &tool, &|path| tree.inside(path))
    }

    /// Takes the debug information out of `built`, with the tools and by the names that `tool` and `seen` give.
    fn split(
        built: &Path,
        tool: &dyn Fn(&str) -> Result<Command>,
        seen: &dyn Fn(&Path) -> Result<PathBuf>,
    ) -> Result<Self> {
        let (debug, stripped) = (built.with_extension("debug"), built.with_extension("stripped"));
        let only = ["--only-keep-debug", "--compress-debug-sections=zlib"];
        run(tool("objcopy")?.args(only).arg(seen(built)?).arg(seen(&debug)?))?;
        let strip = ["--strip-all", "--remove-section=.comment"];
        run(tool("objcopy")?.args(strip).arg(seen(built)?).arg(seen(&stripped)?))?;
        let notes = tool("readelf")?.arg("-n").arg(seen(built)?).output().context("cannot run readelf")?;
        let notes = String::from_utf8_lossy(&notes.stdout).into_owned();
        let build_id = notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: "));
        let build_id = build_id.with_context(|| format!("{}: no build id", built.display()))?.to_owned();
        let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
        let program = Self { stripped: read(&stripped)?, debug: read(&debug)?, build_id };
        let size = program.stripped.len() as u64;
        ensure!(size <= LARGEST, "the program has {size} bytes, and should have {LARGEST} at most");
        Ok(program)
    }
}

/// Arguments of `cargo build`.
fn options(without_lzo: bool) -> Vec<&'static str> {
    let mut options = vec!["--release", "--quiet", "--package", "hadump"];
    if without_lzo {
        options.push("--no-default-features");
    }
    options
}
