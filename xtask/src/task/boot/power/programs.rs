//! What runs in the guest: hadump as the sources are now, busybox, makedumpfile, and the program that uses memory.

use crate::cross::POWER;
use crate::guest::tree::Tree;
use crate::guest::{Program, memory};
use anyhow::Result;
use std::path::Path;

/// QEMU and the makers of disks.
const PACKAGES: [&str; 2] = ["qemu-system-ppc", "e2fsprogs"];

/// The first QEMU whose `pseries` machine was seen to keep a dump over the reset.
const QEMU: (u32, u32) = (11, 1);

/// The guest's programs, made where they are missing or older than their sources, and where it has them.
pub(crate) fn make(tree: &Tree, work: &Path) -> Result<Vec<Program>> {
    tree.install("boots", &PACKAGES)?;
    println!("boot: {}", tree.qemu("qemu-system-ppc64", QEMU)?);
    // First, as it is what tells the tree of the architecture and brings the compiler.
    let hadump = POWER.quick_hadump(tree)?;
    let busybox = tree.unpack("busybox", &["busybox-static:ppc64el"])?.join("usr/bin/busybox");
    Ok(vec![
        ("bin/busybox".to_owned(), busybox),
        ("bin/hadump".to_owned(), hadump),
        ("bin/memory".to_owned(), memory(tree, work, "powerpc64le-linux-gnu-gcc")?),
        ("usr/sbin/hadump-boot".to_owned(), crate::root().join("dist/hadump-boot")),
    ])
}
