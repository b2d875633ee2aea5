//! A kernel's executable with its symbols and debug information: machine, build, symbols, bytes.
//!
//! A vmlinux of a distribution has some hundred megabytes, most of them debug information. It is never read as a whole:
//! headers and the symbol table are, everything else is read where it is asked for.

use crate::Error;
use object::{CompressionFormat, Object, ObjectSection, ObjectSegment, ObjectSymbol, ReadCache};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use vmcore::{Arch, ByteOrder, Machine, WordSize};

/// What is decompressed at once and not read from the file: strings and abbreviations of the largest kernels have some
/// ten megabytes.
const MAX_SECTION: u64 = 256 << 20;

/// A vmlinux.
pub struct Vmlinux {
    path: PathBuf,
    file: File,
    machine: Machine,
    build_id: Option<String>,
    sections: Vec<Section>,
    segments: Vec<Segment>,
    names: String,
    symbols: Vec<Entry>,
}

/// A section as it lies in the file.
#[derive(Clone, Debug)]
struct Section {
    name: String,
    /// Where it begins in the file, and its bytes there.
    offset: u64,
    stored: u64,
    /// Its bytes when unpacked.
    size: u64,
    format: CompressionFormat,
}

/// Bytes of the file that are the kernel's memory when it starts.
#[derive(Clone, Copy, Debug)]
struct Segment {
    addr: u64,
    offset: u64,
    size: u64,
}

struct Entry {
    /// Where the name lies among all names.
    name: usize,
    len: usize,
    addr: u64,
    size: u64,
    global: bool,
}

/// A symbol of a vmlinux, where the kernel was linked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linked {
    /// The address.
    pub addr: u64,
    /// Bytes, 0 when the file does not say.
    pub size: u64,
}

impl Vmlinux {
    /// Reads headers and symbols.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is not an ELF file of a machine that runs Linux, or is damaged.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file =
            File::open(path).map_err(|source| failed(path, "this vmlinux cannot be opened", source))?;
        let cache = ReadCache::new(&file);
        let bad = |error: object::Error| Error::Given {
            path: path.to_owned(),
            why: format!("this is not a vmlinux ({error}); an uncompressed ELF file of the kernel is needed"),
        };
        let elf = object::File::parse(&cache).map_err(bad)?;
        let machine = machine(&elf).ok_or_else(|| Error::Given {
            path: path.to_owned(),
            why: format!("this is not a vmlinux but a file for {:?}", elf.architecture()),
        })?;
        let mut sections = Vec::new();
        for section in elf.sections() {
            let range = section.compressed_file_range().map_err(bad)?;
            sections.push(Section {
                name: section.name().map_err(bad)?.to_owned(),
                offset: range.offset,
                stored: range.compressed_size,
                size: range.uncompressed_size,
                format: range.format,
            });
        }
        let segments = elf.segments().map(|segment| {
            let (offset, size) = segment.file_range();
            Segment { addr: segment.address(), offset, size }
        });
        let segments = segments.collect();
        let (mut names, mut symbols) = (String::new(), Vec::new());
        for symbol in elf.symbols().filter(|s| !s.is_undefined()) {
            let Ok(name) = symbol.name() else { continue };
            if name.is_empty() {
                continue;
            }
            symbols.push(Entry {
                name: names.len(),
                len: name.len(),
                addr: symbol.address(),
                size: symbol.size(),
                global: symbol.is_global(),
            });
            names.push_str(name);
        }
        let build_id = elf.build_id().ok().flatten();
        let build_id = build_id.map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect());
        drop(cache);
        Ok(Self { path: path.to_owned(), file, machine, build_id, sections, segments, names, symbols })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The machine that the kernel runs on.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// The build id in hexadecimal, as BUILD-ID of VMCOREINFO has it.
    pub fn build_id(&self) -> Option<&str> {
        self.build_id.as_deref()
    }

    /// The symbol called `name`; of several the global one, or the first.
    pub fn symbol(&self, name: &str) -> Option<Linked> {
        let mut same = self.symbols.iter().filter(|s| self.names.get(s.name..s.name + s.len) == Some(name));
        let first = same.next()?;
        let found = if first.global { first } else { same.find(|s| s.global).unwrap_or(first) };
        Some(Linked { addr: found.addr, size: found.size })
    }

    /// The kernel's release, `6.1.0-18-amd64`, from its banner.
    ///
    /// # Errors
    ///
    /// When the file has no banner where its symbol says.
    pub fn release(&self) -> Result<String, Error> {
        let banner = self.symbol("linux_banner").ok_or_else(|| {
            self.unusable("no symbol linux_banner; is this a vmlinux with its symbol table?")
        })?;
        let mut text = [0; 256];
        let read = self.read(banner.addr, &mut text)?;
        let text = String::from_utf8_lossy(&text[..read]);
        let release = text.strip_prefix("Linux version ").and_then(|rest| rest.split_once(' '));
        release.map(|(release, _)| release.to_owned()).ok_or_else(|| {
            let found: String = text.chars().take(32).collect();
            self.unusable(format!("linux_banner is {found:?}, expected \"Linux version RELEASE …\""))
        })
    }

    /// Fills `bytes` with the kernel's initial memory from link address `addr` on; returns how many the file has.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn read(&self, addr: u64, bytes: &mut [u8]) -> Result<usize, Error> {
        let segment = self.segments.iter().find(|s| addr >= s.addr && addr - s.addr < s.size);
        let Some(segment) = segment else { return Ok(0) };
        let into = addr - segment.addr;
        let len = usize::try_from(segment.size - into).unwrap_or(usize::MAX).min(bytes.len());
        let mut source = At { file: &self.file, offset: segment.offset.saturating_add(into) };
        let mut done = 0;
        while done < len {
            match source.read(&mut bytes[done..len]) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(source) => return Err(failed(&self.path, "its data cannot be read", source)),
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

    /// A section to be read from its start, unpacked on the way.
    pub(crate) fn section(&self, name: &str) -> Result<Option<SectionStream<'_>>, Error> {
        let Some(section) = self.sections.iter().find(|s| s.name == name) else { return Ok(None) };
        let at = At { file: &self.file, offset: section.offset };
        let bytes = match section.format {
            CompressionFormat::None => Bytes::Plain(at),
            CompressionFormat::Zlib => Bytes::Packed(Box::new(flate2::read::ZlibDecoder::new(at))),
            CompressionFormat::Zstandard => {
                let decoder = zstd::Decoder::new(at);
                let decoder = decoder.map_err(|e| failed(&self.path, "a section cannot be unpacked", e))?;
                Bytes::Packed(Box::new(decoder))
            }
            other => {
                return Err(self.unusable(format!("section {name} is packed in a way not known: {other:?}")));
            }
        };
        // What is not packed ends with the file, whatever its header claims.
        let size = if matches!(bytes, Bytes::Plain(_)) { section.stored } else { section.size };
        Ok(Some(SectionStream { path: &self.path, bytes, position: 0, size }))
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

    /// The error that this file cannot be used.
    pub(crate) fn unusable(&self, why: impl Into<String>) -> Error {
        Error::Given { path: self.path.clone(), why: why.into() }
    }
}

fn failed(path: &Path, what: &'static str, source: io::Error) -> Error {
    Error::File { path: path.to_owned(), what, source }
}

fn machine<'a>(elf: &impl Object<'a>) -> Option<Machine> {
    use object::Architecture as A;
    let arch = match elf.architecture() {
        A::PowerPc64 => Arch::Ppc64,
        A::X86_64 => Arch::X86_64,
        A::Aarch64 => Arch::Aarch64,
        A::S390x => Arch::S390x,
        A::Riscv64 => Arch::Riscv64,
        A::LoongArch64 => Arch::LoongArch64,
        A::I386 => Arch::I386,
        A::Arm => Arch::Arm,
        A::PowerPc => Arch::Ppc,
        _ => return None,
    };
    let order = if elf.is_little_endian() { ByteOrder::Little } else { ByteOrder::Big };
    let word = if elf.is_64() { WordSize::Bits64 } else { WordSize::Bits32 };
    Some(Machine { arch, order, word })
}

/// A file from some offset on, without its cursor.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(bytes, self.offset)?;
        self.offset = self.offset.saturating_add(read as u64);
        Ok(read)
    }
}

enum Bytes<'a> {
    Plain(At<'a>),
    Packed(Box<dyn Read + 'a>),
}

impl Read for Bytes<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(at) => at.read(bytes),
            Self::Packed(decoder) => decoder.read(bytes),
        }
    }
}

/// A section being read.
pub(crate) struct SectionStream<'a> {
    path: &'a Path,
    bytes: Bytes<'a>,
    position: u64,
    size: u64,
}

impl SectionStream<'_> {
    /// Where the next byte comes from.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that are left, as the section's header has it.
    pub(crate) fn left(&self) -> u64 {
        self.size - self.position
    }

    /// Reads some bytes; none at the end.
    pub(crate) fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Error> {
        let len = usize::try_from(self.left()).unwrap_or(usize::MAX).min(bytes.len());
        let read = self.bytes.read(&mut bytes[..len]);
        let read = read.map_err(|e| failed(self.path, "a section cannot be read", e))?;
        self.position += read as u64;
        Ok(read)
    }

    /// Appends `len` bytes, or as many as there are. Room grows with what is really read.
    pub(crate) fn append(&mut self, len: u64, to: &mut Vec<u8>) -> Result<u64, Error> {
        let mut limited = (&mut self.bytes).take(len.min(self.size - self.position));
        let read = limited.read_to_end(to).map_err(|e| failed(self.path, "a section cannot be read", e))?;
        self.position += read as u64;
        Ok(read as u64)
    }

    /// Goes forward by `len` bytes.
    pub(crate) fn skip(&mut self, len: u64) -> Result<(), Error> {
        let len = len.min(self.left());
        if let Bytes::Plain(at) = &mut self.bytes {
            at.offset = at.offset.saturating_add(len);
        } else {
            let skipped = io::copy(&mut (&mut self.bytes).take(len), &mut io::sink());
            skipped.map_err(|e| failed(self.path, "a section cannot be unpacked", e))?;
        }
        self.position += len;
        Ok(())
    }
}
