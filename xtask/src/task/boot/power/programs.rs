//! What runs in the guest: hadump as the sources are now, busybox, makedumpfile, and the program that uses memory.

use crate::cargo::{cargo, run};
use crate::guest::tree::{Tree, logged};
use crate::guest::{Program, memory};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The guest's architecture in cargo's words.
const TARGET: &str = "powerpc64le-unknown-linux-gnu";
/// The packages of the cross compilers; QEMU and the makers of disks.
const PACKAGES: [&str; 7] = [
    "qemu-system-ppc",
    "e2fsprogs",
    "gcc-powerpc64le-linux-gnu",
    "libc6-dev-ppc64el-cross",
    "rustc",
    "cargo",
    "libstd-rust-dev:ppc64el",
];

/// The first QEMU whose `pseries` machine was seen to keep a dump over the reset.
const QEMU: (u32, u32) = (11, 1);

/// The guest's programs, made where they are missing or older than their sources, and where it has them.
pub(crate) fn make(tree: &Tree, work: &Path) -> Result<Vec<Program>> {
    tree.install("boots", &PACKAGES)?;
    println!("boot: {}", tree.qemu("qemu-system-ppc64", QEMU)?);
    let busybox = tree.unpack("busybox", &["busybox-static:ppc64el"])?.join("usr/bin/busybox");
    Ok(vec![
        ("bin/busybox".to_owned(), busybox),
        ("bin/hadump".to_owned(), hadump(tree, work)?),
        ("bin/memory".to_owned(), memory(tree, work, "powerpc64le-linux-gnu-gcc")?),
        ("usr/sbin/hadump-boot".to_owned(), crate::root().join("dist/hadump-boot")),
    ])
}

/// hadump, static and quick to build rather than small: the boots are about what it does, not how fast.
fn hadump(tree: &Tree, work: &Path) -> Result<PathBuf> {
    vendor(work)?;
    println!("boot: building hadump for {TARGET}");
    let mut build = tree.command("cargo");
    build.args(["build", "--release", "--locked", "--offline", "--package", "hadump", "--target", TARGET]);
    build.args(["--manifest-path", "/hadump/Cargo.toml"]);
    build.args(["--config", "source.crates-io.replace-with=\"vendored\""]);
    build.args(["--config", "source.vendored.directory=\"/boots/vendor\""]);
    build.env("CARGO_HOME", "/boots/cargo-home").env("CARGO_TARGET_DIR", "/boots/build");
    let gcc = "powerpc64le-linux-gnu-gcc";
    for (name, value) in [
        ("CARGO_PROFILE_RELEASE_LTO", "off"),
        ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
        ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "2"),
        ("CARGO_PROFILE_RELEASE_DEBUG", "none"),
        ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
        ("CARGO_PROFILE_RELEASE_INCREMENTAL", "true"),
        ("CARGO_TARGET_POWERPC64LE_UNKNOWN_LINUX_GNU_LINKER", gcc),
        ("CARGO_TARGET_POWERPC64LE_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-C target-feature=+crt-static"),
        ("CC_powerpc64le_unknown_linux_gnu", gcc),
        ("AR_powerpc64le_unknown_linux_gnu", "powerpc64le-linux-gnu-ar"),
    ] {
        build.env(name, value);
    }
    logged(&mut build, &work.join("build.log"))?;
    Ok(work.join("build").join(TARGET).join("release/hadump"))
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
