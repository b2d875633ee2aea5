//! Debian's packages: an ar archive of a format number and two tar archives, the one for dpkg and the one with the files.

use super::contents::{Content, File, Kind, Package, Product, Role, gzip};
use anyhow::{Context, Result};
use md5::{Digest, Md5};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// The lines of a package's control file that are its own.
fn relations(kind: Kind, version: &str) -> String {
    match kind {
        Kind::Program => "Section: admin\nSuggests: crash, dracut, fuse3, kdump-tools\n".to_owned(),
        Kind::Makedumpfile => {
            format!("Section: admin\nDepends: hadump (= {version})\nProvides: makedumpfile\n")
        }
        Kind::Debug => {
            format!("Section: debug\nDepends: hadump (= {version})\nAuto-Built-Package: debug-symbols\n")
        }
    }
}

/// What dpkg runs.
fn scripts(kind: Kind) -> &'static [(&'static str, &'static str)] {
    match kind {
        Kind::Program => &[
            ("prerm", include_str!("../../../../dist/packages/hadump.prerm")),
            ("postrm", include_str!("../../../../dist/packages/hadump.postrm")),
        ],
        Kind::Makedumpfile => &[
            ("preinst", include_str!("../../../../dist/packages/hadump-makedumpfile.preinst")),
            ("postrm", include_str!("../../../../dist/packages/hadump-makedumpfile.postrm")),
        ],
        Kind::Debug => &[],
    }
}

/// What lintian is told, and why it is so.
const OVERRIDES: &str = "\
# It is copied into capture initramfs images, and one package serves every release.
hadump: statically-linked-binary [usr/bin/hadump]
# There is no bug in Debian's tracker that asks for the package.
hadump: initial-upload-closes-no-bugs *
# The units are for machines whose firmware keeps dumps: enabled by whoever wants hadump to save there.
hadump: maintainer-script-calls-systemctl *
";

/// Writes `package` into the directory `into`.
pub(crate) fn write(product: &Product, package: &Package, into: &Path) -> Result<PathBuf> {
    let kind = package.about.kind;
    let architecture = if kind == Kind::Makedumpfile { "all" } else { product.target.debian };
    let version = product.full_version();
    let mut data = Archive::new(product.time);
    for file in &package.files {
        data.file(file)?;
    }
    if kind == Kind::Program {
        data.bytes("usr/share/lintian/overrides/hadump", OVERRIDES.as_bytes(), 0o644)?;
    }
    let (data, sums, size) = data.finish()?;
    let mut control = Archive::new(product.time);
    let description: Vec<String> = package.about.description.lines().map(|line| format!(" {line}")).collect();
    let text = format!(
        "Package: {}\nSource: hadump\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: {}\n\
         Installed-Size: {}\n{}Priority: optional\nDescription: {}\n{}\n",
        package.name,
        product.maintainer,
        size.div_ceil(1024),
        relations(kind, &version),
        package.about.summary,
        description.join("\n"),
    );
    let text = if package.name == "hadump" { text.replace("Source: hadump\n", "") } else { text };
    control.bytes("control", text.as_bytes(), 0o644)?;
    control.bytes("md5sums", sums.as_bytes(), 0o644)?;
    let configuration: String = package.files.iter().filter(|file| file.role == Role::Configuration).fold(
        String::new(),
        |mut list, file| {
            let _ = writeln!(list, "/{}", file.path);
            list
        },
    );
    if !configuration.is_empty() {
        control.bytes("conffiles", configuration.as_bytes(), 0o644)?;
    }
    for (name, script) in scripts(kind) {
        control.bytes(name, script.as_bytes(), 0o755)?;
    }
    let (control, _, _) = control.finish()?;
    let mut file = b"!<arch>\n".to_vec();
    member(&mut file, "debian-binary", product.time, b"2.0\n");
    member(&mut file, "control.tar.gz", product.time, &control);
    member(&mut file, "data.tar.gz", product.time, &data);
    let path = into.join(format!("{}_{version}_{architecture}.deb", package.name));
    fs::write(&path, file).with_context(|| path.display().to_string())?;
    Ok(path)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Appends a member to an ar archive: a header of 60 characters, and the content, padded to an even length.
fn member(archive: &mut Vec<u8>, name: &str, time: u64, content: &[u8]) {
    let header = format!("{name:<16}{time:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, "100644", content.len());
    archive.extend(header.as_bytes());
    archive.extend(content);
    if content.len() % 2 == 1 {
        archive.push(b'\n');
    }
}

/// A tar archive whose files are root's and of one time.
struct Archive {
    tar: Builder<Vec<u8>>,
    time: u64,
    /// Directories are entries of their own, before what is in them.
    directories: BTreeSet<PathBuf>,
    /// Lines of `md5sums`.
    sums: String,
    size: u64,
}

impl Archive {
    fn new(time: u64) -> Self {
        let mut archive = Self {
            tar: Builder::new(Vec::new()),
            time,
            directories: BTreeSet::new(),
            sums: String::new(),
            size: 0,
        };
        archive.directories.insert(PathBuf::new());
        archive
    }

    fn header(&self, kind: EntryType, mode: u32, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(self.time);
        header.set_uid(0);
        header.set_gid(0);
        // Of twelve characters in the format, which every name here fits in.
        header.set_username("root").and_then(|()| header.set_groupname("root")).expect("a short name");
        header
    }

    /// The directories above `path`.
    fn above(&mut self, path: &str) -> Result<()> {
        let mut above: Vec<&Path> = Path::new(path).ancestors().skip(1).collect();
        above.reverse();
        for directory in above {
            if self.directories.insert(directory.to_owned()) {
                let mut header = self.header(EntryType::Directory, 0o755, 0);
                self.tar.append_data(&mut header, format!("{}/", directory.display()), &[][..])?;
            }
        }
        Ok(())
    }

    fn bytes(&mut self, path: &str, content: &[u8], mode: u32) -> Result<()> {
        self.above(path)?;
        let mut header = self.header(EntryType::Regular, mode, content.len() as u64);
        self.tar.append_data(&mut header, path, content)?;
        writeln!(self.sums, "{}  {path}", hex(&Md5::digest(content)))?;
        self.size += content.len() as u64;
        Ok(())
    }

    fn file(&mut self, file: &File) -> Result<()> {
        match &file.content {
            Content::Bytes(content, mode) => self.bytes(&file.path, content, *mode),
            Content::Link(to) => {
                self.above(&file.path)?;
                let mut header = self.header(EntryType::Symlink, 0o777, 0);
                Ok(self.tar.append_link(&mut header, &file.path, to)?)
            }
        }
    }

    /// The compressed archive, the sums of its files, and their length.
    fn finish(self) -> Result<(Vec<u8>, String, u64)> {
        Ok((gzip(&self.tar.into_inner()?), self.sums, self.size))
    }
}
