//! A scenario: what a guest does over several boots, and what each step must show.

use super::{Content, Guest, Platform, Spare};
use crate::pages::compare;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) use super::step::Step;

/// A machine, what is done on it, and what has to come of it.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What it shows, in a line.
    pub(crate) about: &'static str,
    /// MiB of memory.
    pub(crate) memory: u32,
    /// More of the kernel's command line.
    pub(crate) command_line: &'static str,
    /// `/etc/hadump.conf`.
    pub(crate) configuration: &'static str,
    /// More disks, from vdc on.
    pub(crate) disks: &'static [Spare],
    /// Scripts by their names: `N.sh` runs in the Nth boot, `N-initramfs.sh` in its initramfs.
    pub(crate) scripts: &'static [(&'static str, &'static str)],
    pub(crate) steps: &'static [Step],
    /// Dumps that must have the bytes of the raw copy in vdb.
    pub(crate) copies: &'static [Copy],
    /// What else is looked at afterwards, in the directory of the run.
    pub(crate) more: fn(&Path) -> Result<Vec<String>>,
    /// All boots together, on a slow and busy host.
    pub(crate) minutes: u64,
}

/// What is looked at after the last boot.
const FETCHED: [&str; 6] = ["/results", "/var/crash", "/var/level0", "/var/level1", "/var/left", "/var/peer"];

/// For scenarios whose steps and copies say all.
pub(crate) fn nothing_more(_: &Path) -> Result<Vec<String>> {
    Ok(Vec::new())
}

/// A dump below a directory of the guest, whose HOST-DATE nobody knows beforehand.
#[derive(Debug)]
pub(crate) struct Copy {
    /// The directory; the first dump below it counts.
    pub(crate) below: &'static str,
    /// Whether pages may be left out.
    pub(crate) filtered: bool,
}

/// Opens a dump in other programs, and says what they see.
pub(crate) type Open<'a> = &'a dyn Fn(&Path) -> Result<Vec<String>>;

impl Scenario {
    /// Runs the scenario below `runs` and judges it; `open` is shown each dump.
    ///
    /// # Errors
    ///
    /// What went wrong, all of it.
    pub(crate) fn run(&self, platform: &Platform<'_>, runs: &Path, open: Option<Open<'_>>) -> Result<()> {
        println!("\nboot: {}: {}", self.name, self.about);
        let begun = Instant::now();
        let directory = runs.join(self.name);
        let content = Content {
            memory: self.memory,
            command_line: self.command_line,
            configuration: self.configuration,
            scripts: self.scripts,
            disks: self.disks,
            limit: Duration::from_secs(60 * self.minutes),
        };
        let guest = Guest::make(platform, &directory, &content)?;
        let mut wrong = guest.run(&FETCHED);
        for step in self.steps {
            wrong.extend(step.judge(&directory.join("results")));
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        for copy in self.copies {
            let dump = copy.dump(&directory)?;
            println!("  {}", copy.check(&dump, guest.raw())?);
            for seen in open.map_or(Ok(Vec::new()), |open| open(&dump))? {
                println!("  {seen}");
            }
        }
        for seen in (self.more)(&directory)? {
            println!("  {seen}");
        }
        guest.remove()?;
        let seconds = begun.elapsed().as_secs();
        println!("  all {} steps as expected, {seconds} s; see {}", self.steps.len(), directory.display());
        Ok(())
    }
}

impl Copy {
    /// Where the dump is on the host.
    fn dump(&self, directory: &Path) -> Result<PathBuf> {
        let below = directory.join(self.below);
        let mut hosts: Vec<PathBuf> = fs::read_dir(&below)
            .with_context(|| below.display().to_string())?
            .map(|entry| Ok(entry?.path().join("vmcore")))
            .collect::<Result<_>>()?;
        hosts.retain(|dump| dump.exists());
        hosts.sort();
        hosts.into_iter().next().with_context(|| format!("no vmcore below {}", below.display()))
    }

    /// Compares the dump with the raw copy.
    fn check(&self, dump: &Path, raw: &Path) -> Result<String> {
        let compared = compare(raw, dump)?;
        ensure!(
            compared.equal > 0 && (self.filtered || compared.left_out == 0),
            "{} has {} pages and lacks {}",
            dump.display(),
            compared.equal,
            compared.left_out
        );
        let (equal, left_out) = (compared.equal, compared.left_out);
        Ok(format!("{}: {equal} pages as in /proc/vmcore, {left_out} left out", self.below))
    }
}
