//! A scenario: what a guest does over several boots, and what each step must show.

use super::disk::Disk;
use super::machine::Machine;
use super::programs::Programs;
use super::tree::Tree;
use super::{console, cpio, opens};
use crate::pages::compare;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What all guests' scripts use, and the two programs that start them.
const LIBRARY: &str = include_str!("guest/lib.sh");
const INITRAMFS: &str = include_str!("guest/initramfs.sh");
const SYSTEM: &str = include_str!("guest/system.sh");
/// Room for dumps and raw copies; the images have holes.
const ROOT_MIB: u64 = 8 << 10;
/// Directories of the guest's root file system that begin empty.
const EMPTY: [&str; 11] = [
    "dev",
    "proc",
    "results",
    "run",
    "sys",
    "tmp",
    "usr/bin",
    "var/crash",
    "var/left",
    "var/level0",
    "var/tmp",
];

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
    /// All boots together, on a slow and busy host.
    pub(crate) minutes: u64,
}

/// An ext4 file system for a purpose.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) name: &'static str,
    pub(crate) mib: u64,
}

/// A dump below a directory of the guest, whose HOST-DATE nobody knows beforehand.
#[derive(Debug)]
pub(crate) struct Copy {
    /// The directory; the first dump below it counts.
    pub(crate) below: &'static str,
    /// Whether pages may be left out.
    pub(crate) filtered: bool,
}

/// What a step must end with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// The boot, counted from 1, and the step's name in its script.
    name: (u32, &'static str),
    exit: i32,
    says: &'static [&'static str],
    never: &'static [&'static str],
}

impl Step {
    /// Step `name` of boot `boot` ends with this exit code.
    pub(crate) const fn new(boot: u32, name: &'static str, exit: i32) -> Self {
        Self { name: (boot, name), exit, says: &[], never: &[] }
    }

    /// Its output has all of these.
    pub(crate) const fn says(self, says: &'static [&'static str]) -> Self {
        Self { says, ..self }
    }

    /// Its output has none of these.
    pub(crate) const fn never(self, never: &'static [&'static str]) -> Self {
        Self { never, ..self }
    }

    /// What is wrong with what the step left below `results`; empty when nothing is.
    fn judge(&self, results: &Path) -> Vec<String> {
        let (boot, name) = self.name;
        let file = |kind: &str| results.join(boot.to_string()).join(format!("{name}.{kind}"));
        let Ok(exit) = fs::read_to_string(file("exit")) else {
            return vec![format!("{boot}.{name} did not run, or did not end")];
        };
        let output = fs::read(file("out")).unwrap_or_default();
        let output = String::from_utf8_lossy(&output);
        let mut wrong = Vec::new();
        if exit.trim() != self.exit.to_string() {
            wrong.push(format!("{boot}.{name} ended with {}, expected {}", exit.trim(), self.exit));
        }
        for words in self.says.iter().filter(|words| !output.contains(**words)) {
            wrong.push(format!("{boot}.{name} does not say {words:?}"));
        }
        for words in self.never.iter().filter(|words| output.contains(**words)) {
            wrong.push(format!("{boot}.{name} says {words:?}"));
        }
        if !wrong.is_empty() {
            wrong.push(format!("    {}", output.trim_end().replace('\n', "\n    ")));
        }
        wrong
    }
}

/// What scenarios are run with.
pub(crate) struct Lab<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) programs: &'a Programs,
    /// The kernel's image and what it has to be told.
    pub(crate) kernel: &'a Path,
    pub(crate) command_line: &'static str,
    /// The kernel with its debug information.
    pub(crate) vmlinux: &'a Path,
    /// Whether the dumps are opened in other programs.
    pub(crate) open: bool,
    /// Where runs are kept.
    pub(crate) runs: &'a Path,
}

impl Scenario {
    /// Runs the scenario and judges it.
    ///
    /// # Errors
    ///
    /// What went wrong, all of it.
    pub(crate) fn run(&self, lab: &Lab<'_>) -> Result<()> {
        println!("\nboot: {}: {}", self.name, self.about);
        let begun = Instant::now();
        let directory = lab.runs.join(self.name);
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        let disks = self.disks(lab, &directory)?;
        let initramfs = directory.join("initramfs");
        fs::write(&initramfs, self.initramfs(lab)?)?;
        let machine = Machine {
            tree: lab.tree,
            directory: &directory,
            kernel: lab.kernel,
            initramfs: &initramfs,
            command_line: format!("console=hvc0 {} {}", lab.command_line, self.command_line),
            memory: self.memory,
            disks: disks.iter().map(|disk| disk.image().to_owned()).collect(),
            limit: Duration::from_secs(60 * self.minutes),
        };
        let ran = machine.run();
        // Also of a guest that died: what it did until then.
        let fetched = disks[0].fetch(&["/results", "/var/crash", "/var/level0", "/var/left"], &directory);
        let mut wrong = console::faults(&fs::read(machine.console())?);
        for step in self.steps {
            wrong.extend(step.judge(&directory.join("results")));
        }
        wrong.extend([ran, fetched].into_iter().filter_map(|done| Some(format!("{:#}", done.err()?))));
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        for copy in self.copies {
            let dump = copy.dump(&directory)?;
            println!("  {}", copy.check(&dump, disks[1].image())?);
            if lab.open {
                println!("  {}", opens::in_drgn(lab.vmlinux, &dump)?);
                println!("  {}", opens::in_crash(lab.tree, lab.vmlinux, &dump)?);
            }
        }
        for disk in &disks {
            disk.remove()?;
        }
        let seconds = begun.elapsed().as_secs();
        println!("  all {} steps as expected, {seconds} s; see {}", self.steps.len(), directory.display());
        Ok(())
    }

    /// The root file system, the disk for a raw copy, and what else the scenario asks for.
    fn disks<'a>(&self, lab: &Lab<'a>, directory: &Path) -> Result<Vec<Disk<'a>>> {
        let root = directory.join("root");
        for empty in EMPTY {
            fs::create_dir_all(root.join(empty))?;
        }
        let mut scripts = vec![("sbin/init", SYSTEM), ("scenario/lib.sh", LIBRARY), ("boots", "0\n")];
        scripts.push(("etc/hadump.conf", self.configuration));
        let names: Vec<String> = self.scripts.iter().map(|(name, _)| format!("scenario/{name}")).collect();
        scripts.extend(names.iter().map(String::as_str).zip(self.scripts.iter().map(|(_, script)| *script)));
        for (path, content) in scripts {
            disk_file(&root.join(path), content.as_bytes())?;
        }
        for (path, from) in programs(lab) {
            disk_file(&root.join(path), &fs::read(&from).with_context(|| from.display().to_string())?)?;
        }
        let raw_mib = u64::from(self.memory) + 64;
        let mut disks = vec![
            Disk::with_files(lab.tree, directory, "vda", ROOT_MIB, &root)?,
            Disk::raw(lab.tree, directory, "vdb", raw_mib)?,
        ];
        for spare in self.disks {
            disks.push(Disk::empty(lab.tree, directory, spare.name, spare.mib)?);
        }
        fs::remove_dir_all(root)?;
        Ok(disks)
    }

    fn initramfs(&self, lab: &Lab<'_>) -> Result<Vec<u8>> {
        let mut archive = cpio::Archive::default();
        for directory in ["bin", "dev", "etc", "usr", "usr/sbin"] {
            archive.directory(directory);
        }
        archive.device("dev/console", 5, 1);
        archive.script("init", INITRAMFS);
        archive.script("etc/hadump.conf", self.configuration);
        for (path, from) in programs(lab) {
            archive.program(path, &from)?;
        }
        Ok(archive.finish())
    }
}

/// The guest's programs, and where it has them.
fn programs(lab: &Lab<'_>) -> [(&'static str, PathBuf); 4] {
    [
        ("bin/busybox", lab.programs.busybox.clone()),
        ("bin/hadump", lab.programs.hadump.clone()),
        ("bin/memory", lab.programs.memory.clone()),
        ("usr/sbin/hadump-boot", crate::root().join("dist/hadump-boot")),
    ]
}

fn disk_file(path: &Path, content: &[u8]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(path.parent().context("a file of the root file system")?)?;
    fs::write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_did_not_run_or_ended_otherwise_is_a_failure() {
        let results = tempfile::tempdir().unwrap();
        let step = Step::new(2, "save", 0).says(&["saved"]).never(&["waits"]);
        assert_eq!(step.judge(results.path()), ["2.save did not run, or did not end"]);
        fs::create_dir(results.path().join("2")).unwrap();
        let (exit, out) = (results.path().join("2/save.exit"), results.path().join("2/save.out"));
        fs::write(&exit, "0\n").unwrap();
        fs::write(&out, "saved\n").unwrap();
        assert!(step.judge(results.path()).is_empty());
        fs::write(&exit, "4\n").unwrap();
        fs::write(&out, "a dump waits\n").unwrap();
        let wrong = [
            "2.save ended with 4, expected 0",
            "2.save does not say \"saved\"",
            "2.save says \"waits\"",
            "    a dump waits",
        ];
        assert_eq!(step.judge(results.path()), wrong);
    }
}
