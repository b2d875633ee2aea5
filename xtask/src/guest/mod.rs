//! Machines of QEMU that crash, and what is done on them: shared by `boot`, which judges hadump, and `bench`, which times it.
//!
//! A [`Guest`] has a root file system with programs and scripts, a disk for a raw copy, and a console that a host follows.
//! What depends on the architecture is its [`Platform`].

pub(crate) mod console;
mod cpio;
pub(crate) mod debian;
mod disk;
mod machine;
pub(crate) mod scenario;
mod step;
pub(crate) mod tree;
pub(crate) mod x86_64;

use anyhow::{Context, Result};
use disk::Disk;
use machine::Machine;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tree::{Tree, logged};

/// What all guests' scripts use, and the two programs that start them.
const LIBRARY: &str = include_str!("scripts/lib.sh");
const INITRAMFS: &str = include_str!("scripts/initramfs.sh");
const SYSTEM: &str = include_str!("scripts/system.sh");
/// Room for dumps and raw copies; the images have holes.
const ROOT_MIB: u64 = 8 << 10;
/// Directories of the guest's root file system that begin empty.
const EMPTY: [&str; 13] = [
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
    "var/level1",
    "var/peer",
    "var/tmp",
];

/// A file of a guest, by its path there without the leading slash, and the file of the host that it is a copy of.
pub(crate) type Program = (String, PathBuf);

/// What a kind of machine is made of.
#[derive(Debug)]
pub(crate) struct Platform<'a> {
    pub(crate) tree: &'a Tree,
    /// QEMU's program for it.
    pub(crate) qemu: &'static str,
    /// The machine, its processors and how they are emulated.
    pub(crate) arguments: Vec<String>,
    /// The serial line's device in the guest.
    pub(crate) console: &'static str,
    /// The kernel's image.
    pub(crate) kernel: PathBuf,
    /// What this kernel has to be told in every boot.
    pub(crate) command_line: String,
    /// Programs of the root file system.
    pub(crate) root: Vec<Program>,
    /// Programs of the initramfs, busybox among them.
    pub(crate) initramfs: Vec<Program>,
    /// Modules that the initramfs loads, in this order.
    pub(crate) modules: Vec<PathBuf>,
}

/// What one guest has besides.
#[derive(Debug)]
pub(crate) struct Content<'a> {
    /// MiB of memory.
    pub(crate) memory: u32,
    /// More of the kernel's command line.
    pub(crate) command_line: &'a str,
    /// `/etc/hadump.conf`.
    pub(crate) configuration: &'a str,
    /// Scripts by their names: `N.sh` runs in the Nth boot, `N-initramfs.sh` in its initramfs.
    pub(crate) scripts: &'a [(&'a str, &'a str)],
    /// More disks, from vdc on.
    pub(crate) disks: &'a [Spare],
    /// All boots together, on a slow and busy host.
    pub(crate) limit: Duration,
}

/// An ext4 file system for a purpose.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) name: &'static str,
    pub(crate) mib: u64,
}

/// A machine with its disks.
pub(crate) struct Guest<'a> {
    machine: Machine<'a>,
    disks: Vec<Disk<'a>>,
    directory: &'a Path,
}

impl<'a> Guest<'a> {
    /// Makes the guest's disks in `directory`, which is emptied.
    pub(crate) fn make(
        platform: &'a Platform<'a>,
        directory: &'a Path,
        content: &Content<'_>,
    ) -> Result<Self> {
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        fs::create_dir_all(directory)?;
        let initramfs = directory.join("initramfs");
        fs::write(&initramfs, make_initramfs(platform, content)?)?;
        let disks = make_disks(platform, directory, content, &initramfs)?;
        let machine = Machine {
            platform,
            directory,
            initramfs,
            command_line: format!(
                "console={} {} {}",
                platform.console, platform.command_line, content.command_line
            ),
            memory: content.memory,
            disks: disks.iter().map(|disk| disk.image().to_owned()).collect(),
            limit: content.limit,
        };
        Ok(Self { machine, disks, directory })
    }

    /// Runs it until it says that it has finished, and copies what it left in `directories`, also of a guest that died.
    ///
    /// # Errors
    ///
    /// What went wrong, all of it; what the kernel said on its console is part of that.
    pub(crate) fn run(&self, directories: &[&str]) -> Vec<String> {
        let ran = self.machine.run();
        let fetched = self.disks[0].fetch(directories, self.directory);
        let log = fs::read(self.machine.console()).unwrap_or_default();
        let mut wrong = console::faults(&log);
        wrong.extend([ran, fetched].into_iter().filter_map(|done| Some(format!("{:#}", done.err()?))));
        wrong
    }

    /// The image of the disk that `/proc/vmcore` is copied to.
    pub(crate) fn raw(&self) -> &Path {
        self.disks[1].image()
    }

    /// Removes the disks, which take room.
    pub(crate) fn remove(&self) -> Result<()> {
        self.disks.iter().try_for_each(Disk::remove)
    }
}

/// The root file system, the disk for a raw copy, and what else is asked for.
fn make_disks<'a>(
    platform: &Platform<'a>,
    directory: &Path,
    content: &Content<'_>,
    initramfs: &Path,
) -> Result<Vec<Disk<'a>>> {
    let root = directory.join("root");
    for empty in EMPTY {
        fs::create_dir_all(root.join(empty))?;
    }
    let mut scripts = vec![
        ("sbin/init".to_owned(), SYSTEM),
        ("scenario/lib.sh".to_owned(), LIBRARY),
        ("boots".to_owned(), "0\n"),
        ("etc/hadump.conf".to_owned(), content.configuration),
    ];
    scripts.extend(content.scripts.iter().map(|(name, script)| (format!("scenario/{name}"), *script)));
    for (path, script) in scripts {
        file(&root.join(path), script.as_bytes())?;
    }
    // A capture kernel is started from files of the system that crashes.
    let booted = [
        ("boot/kernel".to_owned(), platform.kernel.clone()),
        ("boot/initramfs".to_owned(), initramfs.to_owned()),
    ];
    for (path, from) in platform.root.iter().chain(&booted) {
        file(&root.join(path), &fs::read(from).with_context(|| from.display().to_string())?)?;
    }
    let raw_mib = u64::from(content.memory) + 64;
    let mut disks = vec![
        Disk::with_files(platform.tree, directory, "vda", ROOT_MIB, &root)?,
        Disk::raw(platform.tree, directory, "vdb", raw_mib)?,
    ];
    for spare in content.disks {
        disks.push(Disk::empty(platform.tree, directory, spare.name, spare.mib)?);
    }
    fs::remove_dir_all(root)?;
    Ok(disks)
}

fn make_initramfs(platform: &Platform<'_>, content: &Content<'_>) -> Result<Vec<u8>> {
    let mut archive = cpio::Archive::default();
    for directory in ["bin", "dev", "etc", "modules", "usr", "usr/sbin"] {
        archive.directory(directory);
    }
    archive.device("dev/console", 5, 1);
    archive.script("init", INITRAMFS);
    archive.script("etc/hadump.conf", content.configuration);
    for (path, from) in &platform.initramfs {
        archive.program(path, from)?;
    }
    for (at, from) in platform.modules.iter().enumerate() {
        archive.program(&format!("modules/{at:03}.ko"), from)?;
    }
    Ok(archive.finish())
}

fn file(path: &Path, content: &[u8]) -> Result<()> {
    fs::create_dir_all(path.parent().context("a file of the root file system")?)?;
    fs::write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Builds the program that uses memory, from `scripts/memory.c`, with this compiler of the tree.
pub(crate) fn memory(tree: &Tree, work: &Path, gcc: &str) -> Result<PathBuf> {
    let name = format!("memory-{gcc}");
    let mut compile = tree.command(gcc);
    compile.args(["-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o"]).arg(format!("/boots/{name}"));
    compile.arg("/hadump/xtask/src/guest/scripts/memory.c");
    logged(&mut compile, &work.join("build.log"))?;
    Ok(work.join(name))
}

/// `target/NAME`, wherever cargo puts its target directory; boots are made in `target/boot`.
pub(crate) fn work_directory(name: &str) -> Result<PathBuf> {
    let executable = std::env::current_exe()?;
    let target = executable.ancestors().nth(2).context("xtask lies in a target directory")?;
    let work = target.join(name);
    fs::create_dir_all(&work)?;
    Ok(work)
}
