//! x86_64 guests: Debian's kernels as they are, this host's hadump as it is shipped, and makedumpfile of Debian sid.

use super::debian::Kernel;
use super::tree::Tree;
use super::{Platform, Program, memory};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// QEMU, the makers of disks and kernels, the compiler of `memory`, and the program that hadump is compared with.
const PACKAGES: [&str; 9] = [
    "qemu-system-x86",
    "e2fsprogs",
    "kmod",
    "xz-utils",
    "zstd",
    "gcc",
    "libc6-dev",
    "makedumpfile",
    "kexec-tools",
];
/// Any QEMU will do.
const QEMU: (u32, u32) = (7, 0);
/// The first boot of a guest that crashes into a capture kernel. Its settings are `INHABITED`, the MiB of its processes and files, `FILL_SECONDS`, for which free memory is
/// written before the crash, and `CAPTURE`, what the capture kernel is told.
pub(crate) const KDUMP: &str = include_str!("scripts/kdump.sh");
/// Where the programs are in a guest.
pub(crate) const HADUMP: &str = "bin/hadump";
pub(crate) const XTASK: &str = "bin/xtask";
pub(crate) const MAKEDUMPFILE: &str = "usr/bin/makedumpfile";
const KEXEC: &str = "usr/sbin/kexec";

/// How processors are emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// So many processors, each a thread of the host, by the host's clock.
    Wall(u32),
    /// One processor whose clock advances by [`NANOSECONDS`] with each instruction.
    Instructions,
}

/// The power of two of nanoseconds that an instruction takes. The kernel divides a program's time into user's and system's
/// by what it finds 250 times a second; the slower the processor, the more often it looks.
const SHIFT: u32 = 3;
/// What an instruction takes where instructions are counted.
pub(crate) const NANOSECONDS: f64 = (1 << SHIFT) as f64;

impl Clock {
    fn arguments(self) -> Vec<String> {
        let words: Vec<String> = match self {
            Self::Wall(processors) => {
                let processors = processors.to_string();
                ["-accel", "tcg,thread=multi", "-cpu", "max,la57=off", "-smp", &processors]
                    .map(str::to_owned)
                    .into()
            }
            Self::Instructions => {
                let counted = format!("shift={SHIFT},sleep=off");
                // Without these two the kernel copies and clears pages by one instruction for each byte.
                let model = "max,la57=off,erms=off,fsrm=off";
                ["-accel", "tcg", "-icount", &counted, "-cpu", model, "-smp", "1"].map(str::to_owned).into()
            }
        };
        ["-machine", "q35"].map(str::to_owned).into_iter().chain(words).collect()
    }
}

/// What all x86_64 guests of a run have in common.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    tree: &'a Tree,
    pub(crate) kernel: Kernel,
    /// What `makedumpfile -v` says.
    pub(crate) peer: String,
    root: Vec<Program>,
    busybox: PathBuf,
}

impl<'a> Parts<'a> {
    /// Collects them; `hadump` is the program that is looked at.
    pub(crate) fn make(tree: &'a Tree, work: &Path, kernel: Kernel, hadump: &Path) -> Result<Self> {
        let busybox = found(&tree.unpack("busybox-x86_64", &["busybox-static"])?, "bin/busybox")?;
        // Where the tree sees them, whose dynamic linker says what they need.
        let bin = work.join("bin");
        fs::create_dir_all(&bin)?;
        let copied = |from: &Path, name: &str| -> Result<PathBuf> {
            let to = bin.join(name);
            fs::copy(from, &to).with_context(|| from.display().to_string())?;
            Ok(to)
        };
        let hadump = copied(hadump, "hadump")?;
        let xtask = copied(&std::env::current_exe()?, "xtask")?;
        let mut root = vec![
            (HADUMP.to_owned(), hadump.clone()),
            (XTASK.to_owned(), xtask.clone()),
            (KEXEC.to_owned(), tree.root().join(KEXEC)),
            (MAKEDUMPFILE.to_owned(), tree.root().join(MAKEDUMPFILE)),
            ("bin/busybox".to_owned(), busybox.clone()),
            ("bin/memory".to_owned(), memory(tree, work, "gcc")?),
        ];
        let mut linked = tree.command("ldd");
        linked.arg(format!("/{MAKEDUMPFILE}")).arg(format!("/{KEXEC}"));
        for program in [&hadump, &xtask] {
            linked.arg(tree.inside(program)?);
        }
        let linked = linked.output().context("cannot run unshare")?;
        ensure!(linked.status.success(), "ldd: {}", String::from_utf8_lossy(&linked.stderr));
        let linked = String::from_utf8_lossy(&linked.stdout);
        ensure!(!linked.contains("not found"), "{} lacks libraries:\n{linked}", tree.root().display());
        for library in libraries(&linked) {
            root.push((library.to_owned(), tree.root().join(library)));
        }
        let version = tree.command(&format!("/{MAKEDUMPFILE}")).arg("-v").output()?;
        let peer = String::from_utf8_lossy(&version.stdout).into_owned();
        Ok(Self { tree, kernel, peer, root, busybox })
    }

    /// A machine of them.
    pub(crate) fn platform(&self, clock: Clock) -> Platform<'a> {
        Platform {
            tree: self.tree,
            qemu: "qemu-system-x86_64",
            arguments: clock.arguments(),
            console: "ttyS0",
            kernel: self.kernel.image.clone(),
            // On a busy host the kernel's test of the timer comes to the conclusion that it does not work, and by a clock of
            // instructions the checksums of a capture kernel take long enough for the watchdog to bark.
            command_line: "panic=-1 no_timer_check nowatchdog".to_owned(),
            root: self.root.clone(),
            // A capture kernel has little memory: only what mounts the root file system.
            initramfs: vec![("bin/busybox".to_owned(), self.busybox.clone())],
            modules: self.kernel.modules.clone(),
        }
    }
}

/// Installs what all of this is made with, and says which QEMU there is.
pub(crate) fn install(tree: &Tree) -> Result<String> {
    tree.install("x86_64", &PACKAGES)?;
    tree.qemu("qemu-system-x86_64", QEMU)
}

/// A program of an unpacked package, whether `/usr` is a directory of its own there or not.
fn found(root: &Path, program: &str) -> Result<PathBuf> {
    let places = [root.join("usr").join(program), root.join(program)];
    let path = places.iter().find(|path| path.exists());
    Ok(path.with_context(|| format!("{} has no {program}", root.display()))?.clone())
}

/// The files that `ldd` names, each once and without the leading slash.
fn libraries(linked: &str) -> Vec<&str> {
    let mut found: Vec<&str> = linked
        .lines()
        .filter(|line| line.starts_with(char::is_whitespace))
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(|path| path.trim_start_matches('/'))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_of_several_programs_are_named_once() {
        let linked = "/usr/bin/makedumpfile:\n\tlinux-vdso.so.1 (0x7f)\n\tlibz.so.1 => /usr/lib/x86_64-linux-gnu/libz.so.1 (0x7f)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x7f)\n/boots/bin/hadump:\n\t/lib64/ld-linux-x86-64.so.2 (0x7e)\n";
        assert_eq!(libraries(linked), ["lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu/libz.so.1"]);
    }
}
