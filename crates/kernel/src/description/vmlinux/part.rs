//! One file of a vmlinux: the executable, or its debug information apart.

use super::other;
use super::{Linked, Named, failed};
use crate::Error;
use object::{CompressionFormat, Object, ObjectSection, ObjectSegment, ObjectSymbol, ReadCache, SymbolKind};
use std::fs::File;
use std::path::{Path, PathBuf};
use vmcore::{Arch, ByteOrder, Machine, WordSize};

/// A file with what is needed of its headers.
pub(super) struct Part {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) machine: Machine,
    pub(super) build_id: Option<String>,
    /// The name of the file with the debug information (`.gnu_debuglink`).
    pub(super) link: Option<String>,
    sections: Vec<Section>,
    pub(super) contents: Vec<Content>,
    names: String,
    symbols: Vec<Entry>,
}

/// A section as it lies in the file.
#[derive(Clone, Debug)]
pub(super) struct Section {
    name: String,
    /// Where it begins in the file, and its bytes there.
    pub(super) offset: u64,
    pub(super) stored: u64,
    /// Its bytes when unpacked.
    pub(super) size: u64,
    pub(super) format: CompressionFormat,
}

/// Bytes of the file that are the kernel's memory when it starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content {
    pub(super) addr: u64,
    pub(super) offset: u64,
    pub(super) size: u64,
}

struct Entry {
    /// Where the name lies among all names.
    name: usize,
    len: usize,
    addr: u64,
    size: u64,
    global: bool,
    weak: bool,
}

impl Part {
    /// Reads headers and symbols.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is not an ELF file of a machine that runs Linux, or is damaged.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file =
            File::open(path).map_err(|source| failed(path, "this vmlinux cannot be opened", source))?;
        let unusable = |why: String| Error::Given { path: path.to_owned(), why };
        if let Some(what) = other::name(path, &file) {
            return Err(unusable(what));
        }
        let cache = ReadCache::new(&file);
        let bad = |error: object::Error| {
            unusable(format!(
                "this is not a vmlinux ({error}); an uncompressed ELF file of the kernel is needed"
            ))
        };
        let elf = object::File::parse(&cache).map_err(bad)?;
        let machine = machine(&elf).ok_or_else(|| {
            unusable(format!("this is not a vmlinux but a file for {:?}", elf.architecture()))
        })?;
        let (mut sections, mut contents) = (Vec::new(), Vec::new());
        for section in elf.sections() {
            // What debug information alone lacks has a header and no bytes.
            let range = section.compressed_file_range().map_err(bad)?;
            let plain = range.format == CompressionFormat::None && range.compressed_size > 0;
            if plain && section.address() != 0 {
                let (offset, size) = (range.offset, range.compressed_size);
                contents.push(Content { addr: section.address(), offset, size });
            }
            sections.push(Section {
                name: section.name().map_err(bad)?.to_owned(),
                offset: range.offset,
                stored: range.compressed_size,
                size: range.uncompressed_size,
                format: range.format,
            });
        }
        if sections.is_empty() {
            contents.extend(elf.segments().map(|segment| {
                let (offset, size) = segment.file_range();
                Content { addr: segment.address(), offset, size }
            }));
        }
        let (mut names, mut symbols) = (String::new(), Vec::new());
        let apart = |kind| matches!(kind, SymbolKind::File | SymbolKind::Section);
        for symbol in elf.symbols().filter(|s| !s.is_undefined() && !apart(s.kind())) {
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
                weak: symbol.is_weak(),
            });
            names.push_str(name);
        }
        let build_id = elf.build_id().ok().flatten();
        let build_id = build_id.map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect());
        let link =
            elf.gnu_debuglink().ok().flatten().and_then(|(name, _)| String::from_utf8(name.to_vec()).ok());
        drop(cache);
        Ok(Self { path: path.to_owned(), file, machine, build_id, link, sections, contents, names, symbols })
    }

    /// Reports whether this file is of the same build as another: they say so by their build ids, or have none.
    pub(super) fn belongs_to(&self, other: &Self) -> bool {
        self.machine == other.machine && self.build_id == other.build_id
    }

    pub(super) fn has_symbols(&self) -> bool {
        !self.symbols.is_empty()
    }

    /// The symbol called `name`; of several the global one, or the first.
    pub(super) fn symbol(&self, name: &str) -> Option<Linked> {
        let mut same = self.symbols.iter().filter(|s| self.names.get(s.name..s.name + s.len) == Some(name));
        let first = same.next()?;
        let found = if first.global { first } else { same.find(|s| s.global).unwrap_or(first) };
        Some(Linked { addr: found.addr, size: found.size })
    }

    /// All symbols, in the order of the table.
    pub(super) fn symbols(&self) -> impl Iterator<Item = Named<'_>> {
        self.symbols.iter().map(|entry| Named {
            name: self.names.get(entry.name..entry.name + entry.len).unwrap_or_default(),
            linked: Linked { addr: entry.addr, size: entry.size },
            global: entry.global,
            weak: entry.weak,
        })
    }

    /// The section called `name` that has bytes. Before sections had a flag for it, a packed one was called `.zdebug_…`.
    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        let is = |section: &Section| {
            let old = section.name.strip_prefix(".zdebug_").zip(name.strip_prefix(".debug_"));
            section.name == name || old.is_some_and(|(a, b)| a == b)
        };
        self.sections.iter().find(|section| section.stored > 0 && is(section))
    }
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
