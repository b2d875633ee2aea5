//! `--view`: a mounted dump, read in sequence beside decompressing alone, and at random, and the memory that this takes.

use super::alone::{Decompressed, decompress, decompressing};
use crate::cargo::run;
use crate::task::bench::{convert, median, mib};
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes of one read in sequence.
const PIECE: usize = 1 << 20;
/// Reads at random, of 4 KiB each, in as much of the file as fits the cache that a mount has by default.
const READS: u64 = 100_000;
const WARM: u64 = 16 << 20;
/// The processes of a mount, and the bound of their memory besides the cache.
const CACHE: u64 = 64 << 20;
const ROOM: u64 = 64 << 20;
const ROOM_PER_THREAD: u64 = 8 << 20;

/// Measures a dump made of `input` by each of `methods`, and prints a line for each.
pub(in crate::task::bench) fn measure(
    hadump: &Path,
    input: &Path,
    directory: &Path,
    methods: &[String],
    runs: usize,
) -> Result<()> {
    let decompress = decompress()?;
    let place = directory.join("mounted");
    std::fs::create_dir(&place)?;
    println!("MiB/s of pages with content; reads of 4 KiB a second; MiB\n");
    println!(
        "| pages | decompressing | in sequence | share | at random | past the page cache | memory | bound |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for method in methods {
        let dump = directory.join("dump");
        let words = convert(hadump, input, &dump, method, 1, None);
        run(Command::new(&words[0]).args(&words[1..]))?;
        // The first reader would pay for all.
        std::io::copy(&mut File::open(&dump)?, &mut std::io::sink())?;
        let (mut alone, mut shown, mut random, mut direct, mut peak) = (vec![], vec![], vec![], vec![], 0);
        for _ in 0..runs {
            let Decompressed { bytes, seconds } = decompressing(&decompress, &dump)?;
            alone.push(bytes / seconds);
            let mount = Mount::new(hadump, &dump, &place)?;
            shown.push(bytes / in_sequence(&place.join("vmcore"))?);
            random.push(at_random(&place.join("vmcore"), false)?);
            direct.push(at_random(&place.join("vmcore"), true)?);
            peak = peak.max(mount.peak()?);
        }
        let (alone, shown) = (median(alone), median(shown));
        let threads = 2 * std::thread::available_parallelism()?.get() as u64;
        println!(
            "| {method} | {:.0} | {:.0} | {:.0} % | {:.0} | {:.0} | {:.0} | {:.0} |",
            mib(alone as u64),
            mib(shown as u64),
            100.0 * shown / alone,
            median(random),
            median(direct),
            mib(peak),
            mib(ROOM + CACHE + threads * ROOM_PER_THREAD)
        );
        std::fs::remove_file(&dump)?;
    }
    Ok(())
}

/// Seconds for reading a file from its beginning to its end.
fn in_sequence(path: &Path) -> Result<f64> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut bytes = vec![0; PIECE];
    let begun = Instant::now();
    let mut at = 0;
    while at < len {
        let read = file.read_at(&mut bytes, at)?;
        ensure!(read > 0, "{}: ends at {at:#x} of {len:#x}", path.display());
        at += read as u64;
    }
    Ok(begun.elapsed().as_secs_f64())
}

/// Reads of 4 KiB a second, of what was read before.
fn at_random(path: &Path, past_the_page_cache: bool) -> Result<f64> {
    let mut options = File::options();
    if past_the_page_cache {
        // O_DIRECT (`include/uapi/asm-generic/fcntl.h`), on x86_64 as on most.
        options.custom_flags(0o40000);
    }
    let file = options.read(true).open(path)?;
    let len = file.metadata()?.len();
    let start = len / 2 / 4096 * 4096;
    let pages = WARM.min(len - start) / 4096;
    // Aligned, as reading past the page cache wants it.
    let mut room = vec![0; 8192];
    let lead = room.as_ptr().align_offset(4096);
    let page = &mut room[lead..lead + 4096];
    for number in 0..pages {
        file.read_exact_at(page, start + number * 4096)?;
    }
    let mut place = 1u64;
    let begun = Instant::now();
    for _ in 0..READS {
        place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        file.read_exact_at(page, start + (place >> 33) % pages * 4096)?;
    }
    Ok(READS as f64 / begun.elapsed().as_secs_f64())
}

/// A mounted dump, unmounted with the value.
struct Mount {
    place: PathBuf,
    child: std::process::Child,
}

impl Mount {
    fn new(hadump: &Path, dump: &Path, place: &Path) -> Result<Self> {
        let mut command = Command::new(hadump);
        command.args(["-q", "mount", "--foreground"]).arg(dump).arg(place).stdin(Stdio::null());
        let mut mount = Self { place: place.to_owned(), child: command.spawn()? };
        while !place.join("vmcore").exists() {
            ensure!(mount.child.try_wait()?.is_none(), "{command:?}: it ended");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(mount)
    }

    /// The most memory that the process which answers had resident, in bytes.
    fn peak(&self) -> Result<u64> {
        let place = self.place.display().to_string();
        let answers = |directory: &PathBuf| {
            let line = std::fs::read(directory.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            ["--role=serve", &place].iter().all(|wanted| line.split('\0').any(|word| word == *wanted))
        };
        let processes = std::fs::read_dir("/proc")?.flatten().map(|entry| entry.path());
        let serving = processes.into_iter().find(answers).context("no process answers")?;
        let status = std::fs::read_to_string(serving.join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.place).status();
        let _ = self.child.wait();
    }
}
