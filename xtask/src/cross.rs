//! hadump for other machines, built by the tools of a Debian sid tree: only it has Rust's library for each of them.

use crate::cargo::{cargo, run};
use crate::guest::tree::{Tree, logged};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A machine that hadump is built for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// In cargo's words.
    pub(crate) triple: &'static str,
    /// In Debian's.
    pub(crate) debian: &'static str,
    /// What the names of its C compiler and its tools begin with.
    pub(crate) tools: &'static str,
    /// In rpm's and QEMU's.
    pub(crate) machine: &'static str,
}

/// POWER, little-endian: the machine that most of hadump is for.
pub(crate) const POWER: &Target = &ALL[1];

/// All machines that packages are made for.
pub(crate) const ALL: [Target; 4] = [
    Target {
        triple: "x86_64-unknown-linux-gnu",
        debian: "amd64",
        tools: "x86_64-linux-gnu-",
        machine: "x86_64",
    },
    Target {
        triple: "powerpc64le-unknown-linux-gnu",
        debian: "ppc64el",
        tools: "powerpc64le-linux-gnu-",
        machine: "ppc64le",
    },
    Target {
        triple: "aarch64-unknown-linux-gnu",
        debian: "arm64",
        tools: "aarch64-linux-gnu-",
        machine: "aarch64",
    },
    Target {
        triple: "s390x-unknown-linux-gnu",
        debian: "s390x",
        tools: "s390x-linux-gnu-",
        machine: "s390x",
    },
];

/// The target with this triple, for command lines.
pub(crate) fn parse(triple: &str) -> Result<&'static Target, String> {
    let names = || ALL.each_ref().map(|target| target.triple).join(", ");
    ALL.iter()
        .find(|target| target.triple == triple)
        .ok_or_else(|| format!("no such target; there are {}", names()))
}

/// The target that this machine is.
pub(crate) fn host() -> Result<&'static Target> {
    ALL.iter().find(|target| target.is_host()).with_context(|| {
        format!(
            "no packages are made for {}: --target names a machine that there are some for",
            std::env::consts::ARCH
        )
    })
}

impl Target {
    /// Whether this machine runs its programs.
    pub(crate) fn is_host(&self) -> bool {
        let arch = self.triple.split('-').next().unwrap_or_default();
        let little = cfg!(target_endian = "little");
        arch == std::env::consts::ARCH
            || arch == "powerpc64le" && std::env::consts::ARCH == "powerpc64" && little
    }

    /// The tree's packages that build for it.
    fn packages(&self) -> Vec<String> {
        let mut packages = vec!["rustc".to_owned(), "cargo".to_owned()];
        if self.debian == "amd64" {
            packages.extend(["gcc".to_owned(), "libc6-dev".to_owned()]);
        } else {
            packages.push(format!("gcc-{}", self.tools.trim_end_matches('-')));
            packages.push(format!("libc6-dev-{}-cross", self.debian));
            packages.push(format!("libstd-rust-dev:{}", self.debian));
        }
        packages
    }

    /// A variable of cargo's or of the crate cc's for this target.
    fn variable(&self, before: &str, after: &str) -> String {
        let triple = self.triple.replace('-', "_");
        match before {
            "CARGO" => format!("CARGO_TARGET_{}_{after}", triple.to_uppercase()),
            _ => format!("{before}_{triple}"),
        }
    }

    /// The variable with the flags of the compiler for it.
    pub(crate) fn rustflags(&self) -> String {
        self.variable("CARGO", "RUSTFLAGS")
    }

    /// The variable that tells cargo what runs this target's programs.
    pub(crate) fn runner(&self) -> String {
        self.variable("CARGO", "RUNNER")
    }

    /// cargo in the tree, which builds static programs for this target in `/boots/build`.
    pub(crate) fn cargo(&self, tree: &Tree, subcommand: &str) -> Result<Command> {
        let packages = self.packages();
        let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
        tree.install(&format!("cross-{}", self.debian), &packages)?;
        vendor(tree.work())?;
        let mut cargo = tree.command("cargo");
        cargo.args([subcommand, "--locked", "--offline", "--target", self.triple]);
        cargo.args(["--manifest-path", "/hadump/Cargo.toml"]);
        cargo.args(["--config", "source.crates-io.replace-with=\"vendored\""]);
        cargo.args(["--config", "source.vendored.directory=\"/boots/vendor\""]);
        cargo.env("CARGO_HOME", "/boots/cargo-home").env("CARGO_TARGET_DIR", "/boots/build");
        let gcc = format!("{}gcc", self.tools);
        cargo.env(self.variable("CARGO", "LINKER"), &gcc).env(self.variable("CC", ""), &gcc);
        cargo.env(self.variable("AR", ""), format!("{}ar", self.tools));
        cargo.env(self.rustflags(), "-C target-feature=+crt-static");
        Ok(cargo)
    }

    /// Where that cargo puts what it builds, on the host.
    pub(crate) fn built(&self, tree: &Tree, profile: &str) -> PathBuf {
        tree.work().join("build").join(self.triple).join(profile)
    }

    /// hadump for this target, quick to build rather than small: for runs that are about what it does, not how fast.
    pub(crate) fn quick_hadump(&self, tree: &Tree) -> Result<PathBuf> {
        println!("building hadump for {}", self.triple);
        let mut build = self.cargo(tree, "build")?;
        build.args(["--release", "--package", "hadump"]);
        for (name, value) in [
            ("LTO", "off"),
            ("CODEGEN_UNITS", "16"),
            ("OPT_LEVEL", "2"),
            ("DEBUG", "none"),
            ("STRIP", "symbols"),
            ("INCREMENTAL", "true"),
        ] {
            build.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
        }
        logged(&mut build, &tree.work().join("build.log"))?;
        Ok(self.built(tree, "release").join("hadump"))
    }
}

/// The crates of Cargo.lock, fetched by the host's cargo, which is known to reach them.
fn vendor(work: &Path) -> Result<()> {
    let lock = fs::read(crate::root().join("Cargo.lock")).context("Cargo.lock")?;
    let done = work.join("vendor.done");
    if fs::read(&done).is_ok_and(|of| of == lock) {
        return Ok(());
    }
    let mut vendor = cargo(&["vendor", "--quiet", "--locked", "--versioned-dirs"]);
    run(vendor.arg(work.join("vendor")).stdout(std::process::Stdio::null()))?;
    fs::write(done, lock)?;
    Ok(())
}
