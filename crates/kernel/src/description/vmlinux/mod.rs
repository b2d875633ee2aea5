//! A kernel's executable with its symbols and debug information: machine, build, symbols, bytes.
//!
//! A vmlinux of a distribution has some hundred megabytes, most of them debug information. It is never read as a whole:
//! headers and the symbol table are, everything else is read where it is asked for.
//!
//! Distributions ship it in pieces: a stripped executable and a file with the debug information beside it, tied together
//! by a build id. A [`Vmlinux`] is all pieces that were found; each fact is taken from the piece that has it.

mod find;
mod other;
mod part;
mod stream;

use crate::Error;
use object::CompressionFormat;
use part::Part;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use stream::{At, Bytes};
use vmcore::Machine;

pub(crate) use find::candidates;
pub(crate) use stream::SectionStream;

/// What is decompressed at once and not read from the file: strings and abbreviations of the largest kernels have some
/// ten megabytes.
const MAX_SECTION: u64 = 256 << 20;

/// What `.debug_sup` begins with: a version of two bytes, and whether this is the supplement.
const SUPPLEMENT_HEADER: usize = 3;

/// A vmlinux.
pub struct Vmlinux {
    path: PathBuf,
    /// The file itself, then those that belong to it.
    parts: Vec<Part>,
}

/// A symbol of a vmlinux, where the kernel was linked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linked {
    /// The address.
    pub addr: u64,
    /// Bytes, 0 when the file does not say.
    pub size: u64,
}

/// A symbol of a vmlinux with what its table says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<'v> {
    /// Its name.
    pub name: &'v str,
    /// Where it is.
    pub linked: Linked,
    /// It is global or weak.
    pub global: bool,
    /// It is weak.
    pub weak: bool,
}

impl Vmlinux {
    /// Reads headers and symbols, also of the files that have what this one lacks: its debug information, or for a file
    /// of debug information alone, the kernel.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is not an ELF file of a machine that runs Linux, or is damaged.
    pub fn open(path: &Path) -> Result<Self, Error> {
        // Opening a FIFO waits for somebody who writes to it, and a vmlinux is not read from front to back.
        if path.metadata().is_ok_and(|meta| meta.file_type().is_fifo()) {
            return Err(Error::Given {
                path: path.to_owned(),
                why: "a FIFO or a pipe, and a vmlinux is read at random: copy it into a file first".into(),
            });
        }
        let mut vmlinux = Self { path: path.to_owned(), parts: vec![Part::open(path)?] };
        for companion in find::companions(path, &vmlinux.parts[0]) {
            if vmlinux.is_whole() {
                break;
            }
            match Part::open(&companion) {
                Ok(part) if part.belongs_to(&vmlinux.parts[0]) => vmlinux.parts.push(part),
                Ok(_) => tracing::debug!("{} is of another build", companion.display()),
                Err(error) => tracing::debug!("no part of the vmlinux: {error}"),
            }
        }
        Ok(vmlinux)
    }

    /// Reports whether nothing is left to be looked for in other files.
    fn is_whole(&self) -> bool {
        self.find(".debug_info").is_some()
            && self.find(".rodata").is_some()
            && self.parts.iter().any(Part::has_symbols)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The machine that the kernel runs on.
    pub fn machine(&self) -> Machine {
        self.parts[0].machine
    }

    /// The build id in hexadecimal, as BUILD-ID of VMCOREINFO has it.
    pub fn build_id(&self) -> Option<&str> {
        self.parts[0].build_id.as_deref()
    }

    /// The symbol called `name`; of several the global one, or the first.
    pub fn symbol(&self, name: &str) -> Option<Linked> {
        self.parts.iter().find_map(|part| part.symbol(name))
    }

    /// All symbols of the first piece that has any, in the order of its table.
    pub fn symbols(&self) -> impl Iterator<Item = Named<'_>> {
        self.parts.iter().find(|part| part.has_symbols()).into_iter().flat_map(Part::symbols)
    }

    /// The kernel's release, `6.1.0-18-amd64`, from its banner; `None` for debug information alone, which lacks it.
    ///
    /// # Errors
    ///
    /// When the file has no symbols, and when something else is where the symbol of the banner leads.
    pub fn known_release(&self) -> Result<Option<String>, Error> {
        let banner = self.symbol("linux_banner").ok_or_else(|| {
            self.unusable("no symbol linux_banner; is this a vmlinux with its symbol table?")
        })?;
        let mut text = [0; 256];
        let read = self.read(banner.addr, &mut text)?;
        if read == 0 {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&text[..read]);
        let release = text.strip_prefix("Linux version ").and_then(|rest| rest.split_once(' '));
        release.map(|(release, _)| Some(release.to_owned())).ok_or_else(|| {
            let found: String = text.chars().take(32).collect();
            self.unusable(format!("linux_banner is {found:?}, expected \"Linux version RELEASE …\""))
        })
    }

    /// As [`Vmlinux::known_release`], for those that need it.
    ///
    /// # Errors
    ///
    /// As [`Vmlinux::known_release`], and when the file lacks it.
    pub fn release(&self) -> Result<String, Error> {
        self.known_release()?.ok_or_else(|| {
            self.unusable(
                "it has debug information alone and not the kernel's data; the vmlinux itself is needed beside it",
            )
        })
    }

    /// Fills `bytes` with the kernel's initial memory from link address `addr` on; returns how many the file has.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn read(&self, addr: u64, bytes: &mut [u8]) -> Result<usize, Error> {
        let inside =
            |part: &Part| part.contents.iter().copied().find(|s| addr >= s.addr && addr - s.addr < s.size);
        let found = self.parts.iter().find_map(|part| inside(part).map(|content| (part, content)));
        let Some((part, content)) = found else { return Ok(0) };
        let into = addr - content.addr;
        let len = usize::try_from(content.size - into).unwrap_or(usize::MAX).min(bytes.len());
        let mut source = At { file: &part.file, offset: content.offset.saturating_add(into) };
        let mut done = 0;
        while done < len {
            match source.read(&mut bytes[done..len]) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(source) => return Err(failed(&part.path, "its data cannot be read", source)),
            }
        }
        Ok(done)
    }

    /// Reports whether `text` is in the kernel's read-only data.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn mentions(&self, text: &str) -> Result<bool, Error> {
        let Some(mut stream) = self.section(".rodata")? else { return Ok(false) };
        let finder = memchr::memmem::Finder::new(text);
        let mut window = vec![0; 1 << 18];
        let mut kept = 0;
        loop {
            let read = stream.read(&mut window[kept..])?;
            if read == 0 {
                return Ok(false);
            }
            let filled = kept + read;
            if finder.find(&window[..filled]).is_some() {
                return Ok(true);
            }
            kept = filled.min(text.len().saturating_sub(1));
            window.copy_within(filled - kept..filled, 0);
        }
    }

    /// The piece that has the bytes of a section, and the section.
    fn find(&self, name: &str) -> Option<(&Part, &part::Section)> {
        self.parts.iter().find_map(|part| Some((part, part.section(name)?)))
    }

    /// A section to be read from its start, unpacked on the way.
    pub(crate) fn section(&self, name: &str) -> Result<Option<SectionStream<'_>>, Error> {
        let Some((part, section)) = self.find(name) else { return Ok(None) };
        let at = At { file: &part.file, offset: section.offset };
        let bytes = match section.format {
            CompressionFormat::None => Bytes::Plain(at),
            CompressionFormat::Zlib => Bytes::Packed(Box::new(flate2::read::ZlibDecoder::new(at))),
            CompressionFormat::Zstandard => {
                let decoder = zstd::Decoder::new(at);
                let decoder = decoder.map_err(|e| failed(&part.path, "a section cannot be unpacked", e))?;
                Bytes::Packed(Box::new(decoder))
            }
            other => {
                return Err(self.unusable(format!("section {name} is packed in a way not known: {other:?}")));
            }
        };
        // What is not packed ends with the file, whatever its header claims.
        let size = if matches!(bytes, Bytes::Plain(_)) { section.stored } else { section.size };
        Ok(Some(SectionStream { path: &part.path, bytes, position: 0, size }))
    }

    /// A whole section; empty when the file has none of that name.
    pub(crate) fn whole(&self, name: &str) -> Result<Vec<u8>, Error> {
        let Some(stream) = self.section(name)? else { return Ok(Vec::new()) };
        if stream.size > MAX_SECTION {
            return Err(self.unusable(format!("section {name} has {} bytes, too many", stream.size)));
        }
        let mut bytes = Vec::new();
        let mut limited = stream.bytes.take(stream.size);
        limited.read_to_end(&mut bytes).map_err(|e| failed(&self.path, "a section cannot be read", e))?;
        Ok(bytes)
    }

    /// The file that the debug information shares types with, if there is one: dwz names it in `.gnu_debugaltlink`, and
    /// for DWARF 5 in `.debug_sup`, by a path that may start at the file itself.
    pub(crate) fn shares_with(&self) -> Result<Option<PathBuf>, Error> {
        for (section, header) in [(".gnu_debugaltlink", 0), (".debug_sup", SUPPLEMENT_HEADER)] {
            let bytes = self.whole(section)?;
            // The supplement has a section `.debug_sup`, too, without a name in it.
            let name = bytes.get(header..).and_then(|name| name.split(|&b| b == 0).next());
            if let Some(name) = name.filter(|name| !name.is_empty()) {
                let name = Path::new(OsStr::from_bytes(name));
                let beside = self.find(section).and_then(|(part, _)| part.path.parent());
                return Ok(Some(beside.map_or_else(|| name.to_owned(), |beside| beside.join(name))));
            }
        }
        Ok(None)
    }

    /// The error that this file cannot be used.
    pub(crate) fn unusable(&self, why: impl Into<String>) -> Error {
        Error::Given { path: self.path.clone(), why: why.into() }
    }
}

fn failed(path: &Path, what: &'static str, source: io::Error) -> Error {
    Error::File { path: path.to_owned(), what, source }
}
