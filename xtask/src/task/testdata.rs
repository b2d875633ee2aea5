//! `cargo xtask testdata`: takes into `testdata/` what fits of a corpus of dumps.

use crate::reader::bit;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// What a checkout may weigh because of dumps, in bytes.
const BUDGET: u64 = 45_000_000;

/// What is taken. Dumps are packed already, with `zstd -19 --long=27`; the rest is small.
const FILES: [&str; 15] = [
    "power9-fadump-radix-64k/memory.raw.zst",
    "power9-fadump-radix-64k/vmcore.elf.zst",
    "power9-fadump-radix-64k/console.log",
    "power9-fadump-radix-64k/firmware/ibm,kernel-dump",
    "power9-fadump-radix-64k/firmware/ibm,configure-kernel-dump-sizes",
    "power9-fadump-radix-64k/firmware/ibm,configure-kernel-dump-version",
    "power9-fadump-radix-64k/firmware/fadump_region.txt",
    "power9-fadump-radix-64k/firmware/iomem.txt",
    "power9-fadump-radix-64k/expected/bitmaps.bin.zst",
    "power9-fadump-radix-64k/expected/dmesg.txt",
    "power9-fadump-radix-64k/expected/levels.json",
    "x86_64-kdump-6.1/vmcore.elf.zst",
    "x86_64-kdump-6.1/expected/bitmaps.bin.zst",
    "x86_64-kdump-6.1/expected/dmesg.txt",
    "x86_64-kdump-6.1/expected/levels.json",
];

#[derive(clap::Args)]
pub(crate) struct Testdata {
    /// The corpus, one directory a dump
    corpus: PathBuf,
    /// Where the files go
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata"))]
    into: PathBuf,
}

impl Testdata {
    pub(crate) fn run(self) -> Result<()> {
        let mut total = 0;
        for name in FILES {
            let (from, to) = (self.corpus.join(name), self.into.join(name));
            let content = fs::read(&from).with_context(|| format!("{}", from.display()))?;
            total += content.len() as u64;
            fs::create_dir_all(to.parent().context("a directory")?)?;
            fs::write(&to, content).with_context(|| format!("{}", to.display()))?;
        }
        ensure!(total <= BUDGET, "testdata would hold {total} bytes, more than {BUDGET}");
        for dump in ["power9-fadump-radix-64k", "x86_64-kdump-6.1"] {
            agree(&self.into.join(dump).join("expected")).with_context(|| dump.to_owned())?;
        }
        println!("{}: {} files, {total} bytes of at most {BUDGET}", self.into.display(), FILES.len());
        Ok(())
    }
}

/// `levels.json` and `bitmaps.bin` count the same pages at each level.
fn agree(expected: &Path) -> Result<()> {
    let levels: Value = serde_json::from_slice(&fs::read(expected.join("levels.json"))?)?;
    let bitmaps = zstd::decode_all(&fs::read(expected.join("bitmaps.bin.zst"))?[..])?;
    let size = levels["bytes_per_bitmap"].as_u64().context("bytes_per_bitmap")? as usize;
    ensure!(bitmaps.len() == 32 * size, "bitmaps.bin holds {} bytes, not 32 × {size}", bitmaps.len());
    for (level, bitmap) in bitmaps.chunks_exact(size).enumerate() {
        let kept = (0..8 * size as u64).filter(|pfn| bit(bitmap, *pfn)).count() as u64;
        let stated = levels["levels"][level.to_string()]["kept"].as_u64().context("kept")?;
        ensure!(kept == stated, "level {level}: the bitmap keeps {kept} pages, levels.json {stated}");
    }
    Ok(())
}
