//! What is in which package, and where.

use super::program::Program;
use super::{changes, licences};
use crate::cli::Shell;
use crate::cross::Target;
use crate::manual;
use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::io::Write;
use std::process::Command;

/// Everything that packages are made of, for one machine.
pub(crate) struct Product {
    pub(crate) target: &'static Target,
    /// hadump's.
    pub(crate) version: String,
    /// The packages' own, which tells a build without LZO from one with it.
    pub(crate) release: &'static str,
    /// Seconds since 1970: of the sources, so that the same sources make the same packages.
    pub(crate) time: u64,
    pub(crate) maintainer: String,
    /// What is new, for rpm.
    pub(crate) changes: String,
    /// The licence of the program as a whole, as SPDX writes it.
    pub(crate) licence: &'static str,
    program: Program,
    third_party: Vec<u8>,
}

/// Whose rules a package follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    Debian,
    Rpm,
    /// Files that somebody unpacks below a prefix.
    Tarball,
}

/// A package.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) about: &'static About,
    pub(crate) files: Vec<File>,
}

/// What does not depend on how a package is written.
pub(crate) struct About {
    pub(crate) summary: &'static str,
    pub(crate) description: &'static str,
    pub(crate) kind: Kind,
}

/// What kind of package it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The program.
    Program,
    /// The program under makedumpfile's name, for any machine.
    Makedumpfile,
    /// Debug information.
    Debug,
}

/// A file of a package.
#[derive(Debug)]
pub(crate) struct File {
    /// Without the slash at the beginning.
    pub(crate) path: String,
    pub(crate) content: Content,
    pub(crate) role: Role,
}

/// What a file is.
#[derive(Debug)]
pub(crate) enum Content {
    /// Bytes and mode.
    Bytes(Vec<u8>, u32),
    /// A symbolic link to a path.
    Link(&'static str),
}

/// What package managers do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Plain,
    /// Kept as its owner changed it.
    Configuration,
    Documentation,
    Licence,
}

const HADUMP: About = About {
    summary: "save, filter, convert and inspect Linux kernel crash dumps",
    description: "\
hadump takes the dump off a machine that has crashed: from /proc/vmcore, or
on POWER directly from the memory that the hypervisor preserved (fadump,
phyp-dump). It leaves out what is not needed, compresses on all processors,
and writes files that crash, drgn, gdb and libkdumpfile open. It does what
makedumpfile does, for dumps of any supported machine on any host, and takes
its command line.",
    kind: Kind::Program,
};

const MAKEDUMPFILE: About = About {
    summary: "stand-in for makedumpfile that runs hadump",
    description: "\
Lets the scripts of a distribution that run makedumpfile save crash dumps
with hadump: it puts hadump under that name. Removing the package puts the
distribution's makedumpfile back.",
    kind: Kind::Makedumpfile,
};

const DEBUG: About = About {
    summary: "debug information of hadump",
    description: "Lets a debugger, and the backtrace of a panic, name lines of hadump's sources.",
    kind: Kind::Debug,
};

impl Product {
    pub(crate) fn new(target: &'static Target, program: Program, without_lzo: bool) -> Result<Self> {
        Ok(Self {
            target,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            release: if without_lzo { "1+nolzo" } else { "1" },
            time: time()?,
            maintainer: maintainer()?,
            changes: changes::for_rpm(env!("CARGO_PKG_VERSION"))?,
            licence: if without_lzo { "MIT OR Apache-2.0" } else { "GPL-2.0-only" },
            third_party: licences::third_party(without_lzo, target)?,
            program,
        })
    }

    /// The same as if it were an older version, to upgrade from.
    pub(crate) fn called(self, version: &str) -> Self {
        Self { version: version.to_owned(), ..self }
    }

    /// The version that a package manager compares.
    pub(crate) fn full_version(&self) -> String {
        format!("{}-{}", self.version, self.release)
    }

    pub(crate) fn packages(&self, flavour: Flavour) -> Vec<Package> {
        let debug = if flavour == Flavour::Debian { "hadump-dbgsym" } else { "hadump-debuginfo" };
        vec![
            Package { name: "hadump", about: &HADUMP, files: self.files(flavour) },
            Package { name: "hadump-makedumpfile", about: &MAKEDUMPFILE, files: makedumpfile(flavour) },
            Package { name: debug, about: &DEBUG, files: self.debug(flavour) },
        ]
    }

    /// The files of the package `hadump`.
    pub(crate) fn files(&self, flavour: Flavour) -> Vec<File> {
        let mut files = vec![
            File::program("usr/bin/hadump", self.program.stripped.clone()),
            File::program("usr/sbin/hadump-boot", include_bytes!("../../../../dist/hadump-boot")),
            File {
                path: "etc/hadump.conf".into(),
                content: Content::Bytes(include_bytes!("../../../../dist/hadump.conf").to_vec(), 0o644),
                role: Role::Configuration,
            },
        ];
        for (path, content) in [
            (
                "system/hadump-save.service",
                &include_bytes!("../../../../dist/systemd/hadump-save.service")[..],
            ),
            (
                "system/hadump-registered.service",
                include_bytes!("../../../../dist/systemd/hadump-registered.service"),
            ),
        ] {
            files.push(File::plain(&format!("usr/lib/systemd/{path}"), content));
        }
        for (name, content) in [
            ("module-setup.sh", &include_bytes!("../../../../dist/dracut/90hadump/module-setup.sh")[..]),
            ("hadump-pre-pivot.sh", include_bytes!("../../../../dist/dracut/90hadump/hadump-pre-pivot.sh")),
        ] {
            files.push(File::program(&format!("usr/lib/dracut/modules.d/90hadump/{name}"), content));
        }
        for page in manual::pages() {
            let section = page.name.rsplit('.').next().unwrap_or_default();
            files.push(File::doc(
                &format!("usr/share/man/man{section}/{}.gz", page.name),
                gzip(page.text.as_bytes()),
            ));
        }
        let zsh = if flavour == Flavour::Debian { "vendor-completions" } else { "site-functions" };
        for (shell, path) in [
            (Shell::Bash, "usr/share/bash-completion/completions/hadump"),
            (Shell::Zsh, &format!("usr/share/zsh/{zsh}/_hadump")),
            (Shell::Fish, "usr/share/fish/vendor_completions.d/hadump.fish"),
        ] {
            files.push(File::plain(path, shell.script()));
        }
        files.extend(self.documentation(flavour));
        files
    }

    /// The documents and the licences.
    fn documentation(&self, flavour: Flavour) -> Vec<File> {
        let doc = "usr/share/doc/hadump";
        let mut files: Vec<File> = documents()
            .into_iter()
            .map(|(name, content)| File::doc(&format!("{doc}/{name}"), content))
            .collect();
        let told = include_bytes!("../../../../CHANGELOG.md");
        let licences = match flavour {
            Flavour::Debian => {
                let version = self.full_version();
                let changelog = changes::for_debian(&version, &self.version, &self.maintainer, self.time);
                files.push(File::doc(&format!("{doc}/changelog.gz"), gzip(told)));
                files.push(File::doc(&format!("{doc}/changelog.Debian.gz"), gzip(changelog.as_bytes())));
                doc.to_owned()
            }
            Flavour::Rpm | Flavour::Tarball => {
                files.push(File::doc(&format!("{doc}/CHANGELOG.md"), told));
                "usr/share/licenses/hadump".to_owned()
            }
        };
        let mut licence = |name: &str, content: Vec<u8>| {
            let content = Content::Bytes(content, 0o644);
            files.push(File { path: format!("{licences}/{name}"), content, role: Role::Licence });
        };
        licence("copyright", licences::copyright(&self.version, self.has_lzo()).into_bytes());
        licence("third-party.gz", gzip(&self.third_party));
        // Debian has the text on every machine, and wants a reference to it instead.
        if flavour != Flavour::Debian {
            licence("LICENSE-MIT", include_bytes!("../../../../LICENSE-MIT").to_vec());
            licence("LICENSE-APACHE", include_bytes!("../../../../LICENSE-APACHE").to_vec());
            if self.has_lzo() {
                licence("GPL-2.0.txt", include_bytes!("../../../../dist/packages/GPL-2.0.txt").to_vec());
            }
        }
        files
    }

    fn debug(&self, flavour: Flavour) -> Vec<File> {
        let (directory, rest) = self.program.build_id.split_at(2);
        let mut files = vec![File::plain(
            &format!("usr/lib/debug/.build-id/{directory}/{rest}.debug"),
            self.program.debug.clone(),
        )];
        if flavour == Flavour::Debian {
            files.push(File::link("usr/share/doc/hadump-dbgsym", "hadump"));
        }
        files
    }

    pub(crate) fn build_id(&self) -> &str {
        &self.program.build_id
    }

    /// The debug information, for whoever has the tarball.
    pub(crate) fn debug_information(&self) -> &[u8] {
        &self.program.debug
    }

    pub(crate) fn has_lzo(&self) -> bool {
        self.licence.starts_with("GPL")
    }
}

/// The files of the package `hadump-makedumpfile`. Debian's is diverted, so both may be installed.
fn makedumpfile(flavour: Flavour) -> Vec<File> {
    let path = if flavour == Flavour::Debian { "usr/bin/makedumpfile" } else { "usr/sbin/makedumpfile" };
    let target = if flavour == Flavour::Debian { "hadump" } else { "../bin/hadump" };
    let mut files = vec![
        File::link(path, target),
        File::link("usr/share/man/man1/makedumpfile.1.gz", "hadump-makedumpfile.1.gz"),
    ];
    if flavour == Flavour::Debian {
        files.push(File::link("usr/share/doc/hadump-makedumpfile", "hadump"));
    }
    files
}

/// README and docs/, by the names by which they refer to each other.
fn documents() -> Vec<(String, Vec<u8>)> {
    let root = crate::root();
    let mut names = vec!["README.md".to_owned(), "SECURITY.md".to_owned(), "dist/README.md".to_owned()];
    for directory in ["docs", "docs/kernel"] {
        let entries = fs::read_dir(root.join(directory)).into_iter().flatten().flatten();
        let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
        names.extend(files.map(|entry| format!("{directory}/{}", entry.file_name().to_string_lossy())));
    }
    for name in ["kdump-tools/kdump-tools.conf", "kdump-utils/kdump.conf", "opensuse-kdump/kdump"] {
        names.push(format!("dist/{name}"));
    }
    names.sort();
    names
        .into_iter()
        .filter_map(|name| fs::read(root.join(&name)).ok().map(|content| (name, content)))
        .collect()
}

impl File {
    fn plain(path: &str, content: impl Into<Vec<u8>>) -> Self {
        Self { path: path.to_owned(), content: Content::Bytes(content.into(), 0o644), role: Role::Plain }
    }

    fn program(path: &str, content: impl Into<Vec<u8>>) -> Self {
        Self { path: path.to_owned(), content: Content::Bytes(content.into(), 0o755), role: Role::Plain }
    }

    fn doc(path: &str, content: impl Into<Vec<u8>>) -> Self {
        Self { role: Role::Documentation, ..Self::plain(path, content) }
    }

    fn link(path: &str, to: &'static str) -> Self {
        Self { path: path.to_owned(), content: Content::Link(to), role: Role::Plain }
    }
}

/// Compressed without a name or a time in it, as Debian's policy has it.
pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

/// `SOURCE_DATE_EPOCH`, or the time of the last commit.
fn time() -> Result<u64> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(given) => given,
        Err(_) => git(&["log", "-1", "--format=%ct"])?,
    };
    text.trim().parse().with_context(|| format!("SOURCE_DATE_EPOCH or git's time: {text:?} is no number"))
}

/// Who makes the packages: `DEBFULLNAME` and `DEBEMAIL`, as Debian's tools have it, or whom git knows.
fn maintainer() -> Result<String> {
    let of = |name: &str, git_name: &str| match std::env::var(name) {
        Ok(given) => Ok(given),
        Err(_) => git(&["config", git_name]),
    };
    Ok(format!("{} <{}>", of("DEBFULLNAME", "user.name")?.trim(), of("DEBEMAIL", "user.email")?.trim()))
}

fn git(arguments: &[&str]) -> Result<String> {
    let output =
        Command::new("git").current_dir(crate::root()).args(arguments).output().context("cannot run git")?;
    anyhow::ensure!(output.status.success(), "git {}: {}", arguments.join(" "), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests;
