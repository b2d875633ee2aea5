//! `cargo xtask demo`: the main job on a real POWER dump, and a check of its result that owes nothing to hadump.

use crate::cargo::build_hadump;
use crate::pages::{Compared, compare};
use crate::reader::bit;
use crate::reader::kdump::Kdump;
use crate::unpack::unpack;
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The dump of `testdata/` that is shown.
const DUMP: &str = "power9-fadump-radix-64k";
/// The dump level of the conversion, hadump's default.
const LEVEL: usize = 31;

#[derive(clap::Args)]
pub(crate) struct Demo {
    /// What the main job starts from
    #[arg(long, value_enum, default_value_t = Start::Leavings)]
    from: Start,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Start {
    /// The hypervisor's leavings: the machine's memory after the second boot, and its device tree
    Leavings,
    /// The dump as /proc/vmcore shows it
    Vmcore,
}

impl Demo {
    pub(crate) fn run(self) -> Result<()> {
        let testdata = crate::root().join("testdata").join(DUMP);
        let work = work_directory()?;
        let hadump = build_hadump()?;
        // What the second kernel's own reassembly of the dump says is the truth to compare with, whatever the start.
        let vmcore = unpacked(&testdata.join("vmcore.elf.zst"), &work)?;
        let input = match self.from {
            Start::Leavings => leavings(&testdata, &work)?,
            Start::Vmcore => vmcore.clone(),
        };
        let output = work.join("vmcore.kdump");
        if output.exists() {
            fs::remove_file(&output)?;
        }

        println!("$ hadump convert {} -o {}", short(&input), short(&output));
        let status = Command::new(&hadump).arg("convert").arg(&input).arg("-o").arg(&output).status()?;
        ensure!(status.success(), "hadump: {status}");

        verify(&testdata, &vmcore, &output)?;
        Ok(())
    }
}

/// `target/demo`, wherever cargo puts its target directory.
fn work_directory() -> Result<PathBuf> {
    let executable = std::env::current_exe()?;
    let target = executable.ancestors().nth(2).context("xtask lies in a target directory")?;
    let work = target.join("demo");
    fs::create_dir_all(&work)?;
    Ok(work)
}

/// The unpacked, sparse copy of a file of `testdata/`.
fn unpacked(packed: &Path, work: &Path) -> Result<PathBuf> {
    let whole = work.join(packed.file_stem().context("a file name")?);
    if !whole.exists() {
        let partial = whole.with_extension("partial");
        let content = BufReader::new(File::open(packed).with_context(|| packed.display().to_string())?);
        unpack(content, File::create(&partial)?).with_context(|| packed.display().to_string())?;
        fs::rename(&partial, &whole)?;
    }
    Ok(whole)
}

/// A directory laid out like the root of the machine after its second boot, before anything was saved.
fn leavings(testdata: &Path, work: &Path) -> Result<PathBuf> {
    let root = work.join("machine");
    let (rtas, dev) = (root.join("proc/device-tree/rtas"), root.join("dev"));
    fs::create_dir_all(&rtas)?;
    fs::create_dir_all(&dev)?;
    for property in
        ["ibm,kernel-dump", "ibm,configure-kernel-dump-sizes", "ibm,configure-kernel-dump-version"]
    {
        fs::write(rtas.join(property), fs::read(testdata.join("firmware").join(property))?)?;
    }
    if !dev.join("mem").exists() {
        fs::rename(unpacked(&testdata.join("memory.raw.zst"), work)?, dev.join("mem"))?;
    }
    Ok(root)
}

/// Compares the output with the vmcore page by page, and its page set with the expected one.
fn verify(testdata: &Path, vmcore: &Path, output: &Path) -> Result<()> {
    let bitmaps = zstd::decode_all(File::open(testdata.join("expected/bitmaps.bin.zst"))?)?;
    let expected = &bitmaps[bitmaps.len() / 32 * LEVEL..][..bitmaps.len() / 32];
    let kdump = Kdump::open(output);
    for pfn in 0..kdump.max_mapnr.max(8 * expected.len() as u64) {
        let kept = bit(&kdump.bitmap2, pfn);
        ensure!(kept == bit(expected, pfn), "frame {pfn:#x} is kept: {kept}; expected the contrary");
    }
    let Compared { equal, left_out } = compare(vmcore, output)?;
    // In the columns of hadump's own report.
    println!("  verified  {equal} pages kept, every byte as in the second kernel's /proc/vmcore");
    println!("            {left_out} pages left out, exactly those that dump level {LEVEL} drops");
    println!("            the file names Linux {} on {}, {} CPUs", kdump.uts[2], kdump.uts[4], kdump.nr_cpus);
    Ok(())
}

/// A path as seen from the current directory.
fn short(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
