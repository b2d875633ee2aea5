//! The Debian tree below `target/boot`: QEMU, a compiler for ppc64le and whatever else a boot needs, as sid has it.
//!
//! The tools come from there and not from the host, because stable releases' QEMU cannot do firmware-assisted dumps, and
//! their Rust has no standard library for ppc64le. A tree needs root: it is made by debootstrap and entered by chroot.

use crate::cargo::run;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where Debian comes from; its own redirector picks a mirror.
const MIRROR: &str = "http://deb.debian.org/debian";
/// Enters the tree: mounts what programs need there, and runs one.
const ENTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/guest/enter.sh");
/// The tree's apt: sid's indexes may be older than they say on a mirror that lags, and nothing is installed for comfort.
const APT: &str = "\
Acquire::Check-Valid-Until \"false\";
Acquire::Languages \"none\";
Acquire::Retries \"3\";
APT::Install-Recommends \"false\";
APT::Sandbox::User \"root\";
Dpkg::Options:: \"--force-unsafe-io\";
";

/// A release of Debian in a directory: sid for its tools, others to try packages in.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The directory that programs of the tree see as `/boots`: `target/boot`, or where packages are tried.
    work: PathBuf,
    /// Below it, on the host.
    root: PathBuf,
}

impl Tree {
    /// Makes the tree of the release `suite` below `work` if it is not there.
    ///
    /// # Errors
    ///
    /// Not root, no debootstrap and no way to install it, or Debian cannot be reached.
    pub(crate) fn make(work: &Path, suite: &str) -> Result<Self> {
        let root = work.join(suite);
        ensure!(
            fs::metadata("/proc/self")?.uid() == 0,
            "a Debian tree needs root: {} is made by debootstrap and entered by chroot",
            root.display()
        );
        if !root.exists() {
            install_debootstrap()?;
            let partial = work.join(format!("{suite}.partial"));
            if partial.exists() {
                fs::remove_dir_all(&partial).with_context(|| partial.display().to_string())?;
            }
            println!("making a Debian tree in {}", root.display());
            // In a mount namespace of its own: what debootstrap mounts is gone with it.
            let mut debootstrap = Command::new("unshare");
            debootstrap.args([
                "--mount",
                "debootstrap",
                "--variant=minbase",
                "--include=ca-certificates",
                suite,
            ]);
            logged(debootstrap.arg(&partial).arg(MIRROR), &work.join("debootstrap.log"))?;
            fs::write(partial.join("etc/apt/apt.conf.d/90boot"), APT)?;
            fs::rename(&partial, &root)?;
        }
        Ok(Self { work: work.to_owned(), root })
    }

    /// The directory that programs of the tree see as `/boots`.
    pub(crate) fn work(&self) -> &Path {
        &self.work
    }

    /// Its root directory, on the host.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A copy of the tree, called `name`, beside it.
    pub(crate) fn copy(&self, name: &str) -> Result<Self> {
        let root = self.work.join(name);
        run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&self.root).arg(&root))?;
        Ok(Self { work: self.work.clone(), root })
    }

    /// Installs packages, once, for the purpose `name`; `NAME:ARCH` is one of another architecture.
    pub(crate) fn install(&self, name: &str, packages: &[&str]) -> Result<()> {
        self.once(&self.root.join("var").join(name), packages, |tree| {
            println!("installing {}", packages.join(" "));
            let script = "for package; do case $package in *:*) dpkg --add-architecture \"${package#*:}\" ;; esac; done; \
                          apt-get --quiet update && exec apt-get --quiet --yes install \"$@\"";
            let mut install = tree.command("sh");
            install.args(["-c", script, "sh"]).args(packages);
            install.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
            logged(&mut install, &tree.work.join("apt.log"))
        })
    }

    /// Downloads packages and unpacks them into `target/boot/NAME`, once: programs for the guest, which are not
    /// installed beside those of the tree.
    pub(crate) fn unpack(&self, name: &str, packages: &[&str]) -> Result<PathBuf> {
        let to = self.work.join(name);
        self.once(&to.join("done"), packages, |tree| {
            fs::create_dir_all(&to)?;
            let script = "to=$1; shift; cd \"$(mktemp -d)\" && apt-get --quiet download \"$@\" && \
                          for package in *.deb; do dpkg-deb -x \"$package\" \"$to\" || exit 1; done; rm -r \"$PWD\"";
            let mut unpack = tree.command("sh");
            unpack.args(["-c", script, "sh"]).arg(format!("/boots/{name}")).args(packages);
            logged(&mut unpack, &tree.work.join("apt.log"))
        })?;
        Ok(to)
    }

    /// Runs `make` unless it has been run for the same `packages`, as the file `done` says.
    fn once(&self, done: &Path, packages: &[&str], make: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let wanted = packages.join(" ");
        if fs::read_to_string(done).is_ok_and(|list| list == wanted) {
            return Ok(());
        }
        make(self)?;
        fs::write(done, wanted)?;
        Ok(())
    }

    /// A program of the tree. It sees the repository as `/hadump`, read-only, and `target/boot` as `/boots`.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", ENTER]).arg(&self.root).arg(crate::root()).arg(&self.work);
        command.arg(program);
        // Nothing of the host's own setting belongs there, least of all its cargo's.
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
        command
    }

    /// A file below `target/boot` as programs of the tree see it.
    pub(crate) fn inside(&self, path: &Path) -> Result<PathBuf> {
        let below = path.strip_prefix(&self.work);
        Ok(Path::new("/boots")
            .join(below.with_context(|| format!("{} is not below target/boot", path.display()))?))
    }

    /// The version of a QEMU of the tree, if it is at least `least`.
    pub(crate) fn qemu(&self, program: &str, least: (u32, u32)) -> Result<String> {
        let output = self.command(program).arg("--version").output().context("cannot run unshare")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = parse_version(&text);
        let Some(version) = version else {
            bail!("{program} --version prints {text:?}, {:?}", String::from_utf8_lossy(&output.stderr));
        };
        ensure!(
            version >= least,
            "the tree's QEMU is {}.{}; these boots need {}.{} or newer: remove {} to make it anew",
            version.0,
            version.1,
            least.0,
            least.1,
            self.root.display()
        );
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }
}

/// Reads `QEMU emulator version 11.1.3 (Debian …)`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix("QEMU emulator version ")?.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Installs debootstrap on the host, where it is missing.
fn install_debootstrap() -> Result<()> {
    if Path::new("/usr/sbin/debootstrap").exists() {
        return Ok(());
    }
    let mut install = Command::new("apt-get");
    install.args([
        "--quiet=2",
        "--yes",
        "--no-install-recommends",
        "-o",
        "DPkg::Lock::Timeout=300",
        "install",
    ]);
    install.arg("debootstrap").env("DEBIAN_FRONTEND", "noninteractive");
    run(&mut install).context("a Debian tree needs debootstrap: install it")
}

/// Runs a command whose output nobody reads unless it fails.
pub(crate) fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let file = fs::File::create(log).with_context(|| log.display().to_string())?;
    let ran = run(command.stdin(Stdio::null()).stderr(file.try_clone()?).stdout(file));
    ran.with_context(|| last_lines(log))
}

/// As [`logged`], for a command whose standard output counts.
pub(crate) fn logged_output(command: &mut Command, log: &Path) -> Result<String> {
    let file = fs::File::create(log).with_context(|| log.display().to_string())?;
    let output = command.stdin(Stdio::null()).stderr(file).output().context("cannot run unshare")?;
    ensure!(output.status.success(), "{command:?}: {}; {}", output.status, last_lines(log));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    format!("{}, which ends with\n{}", log.display(), lines[lines.len().saturating_sub(20)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemus_version_is_read() {
        assert_eq!(parse_version("QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1)\n"), Some((11, 1)));
        assert_eq!(parse_version("qemu: not found"), None);
    }
}
