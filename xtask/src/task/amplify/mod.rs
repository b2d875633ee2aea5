//! `cargo xtask amplify`: a large dump out of a small one.
//!
//! The small dump's memory is repeated as often as the size asks for, each copy after the one before, and the kernel's
//! own tables are extended so that every copy has `struct page`s: those that were copied along with it. So page
//! contents, classes and their mixture stay those of a real kernel at any size, for hadump and makedumpfile alike.

mod ppc64;
mod x86_64;
mod zones;

use crate::reader::elf::{Elf, Load, notes};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bytes read and written at once, and the unit that is left a hole with `--sparse`.
const BLOCK: u64 = 64 << 10;

#[derive(clap::Args)]
pub(crate) struct Amplify {
    /// The dump to start from, an ELF file of x86_64 (4 levels of tables) or of POWER with the radix MMU
    input: PathBuf,
    /// The dump to write
    output: PathBuf,
    /// Its size, for example 4G or 512M; whole copies are made until it is reached
    #[arg(long, default_value = "4G", value_parser = parse_size)]
    size: u64,
    /// Leave blocks of zeros out of the file; without it they are written, as /proc/vmcore has no holes
    #[arg(long)]
    sparse: bool,
}

impl Amplify {
    pub(crate) fn run(self) -> Result<()> {
        let copies = amplify(&self.input, &self.output, self.size, self.sparse)?;
        println!("{}: memory of {} {copies} times", self.output.display(), self.input.display());
        Ok(())
    }
}

/// Reads a number of bytes with an optional K, M or G.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        other => return Err(format!("{other}: not a unit; K, M and G are")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text}: not a size"))?;
    number.checked_mul(unit).ok_or_else(|| format!("{text}: too large"))
}

/// Bytes of the first copy that differ from the original's, by physical address.
struct Patch {
    address: u64,
    bytes: Vec<u8>,
}

/// What one architecture knows of its tables.
struct Tables {
    /// The distance between copies: the memory whose `struct page`s fill whole entries of a page table.
    stride: u64,
    /// The most copies that the existing tables can map.
    most: u64,
}

/// Writes a dump of at least `size` bytes to `output`, and returns how many copies it has.
pub(crate) fn amplify(input: &Path, output: &Path, size: u64, sparse: bool) -> Result<u64> {
    let dump = Original::open(input)?;
    let copies = size.div_ceil(dump.loads.iter().map(|load| load.filesz).sum()).max(1);
    let tables = match dump.elf.machine {
        62 => x86_64::tables(&dump)?,
        21 => ppc64::tables(&dump)?,
        other => bail!("{}: e_machine {other}; x86_64 and ppc64 are known", input.display()),
    };
    ensure!(copies <= tables.most, "{size} bytes: the kernel's tables reach for {} copies only", tables.most);
    let mut patches = match dump.elf.machine {
        62 => x86_64::patches(&dump, &tables, copies)?,
        _ => ppc64::patches(&dump, &tables, copies)?,
    };
    patches.extend(zones::patches(&dump, &tables, copies)?);
    let partial = output.with_extension("partial");
    write(&dump, &tables, &patches, copies, File::create(&partial)?, sparse)
        .with_context(|| partial.display().to_string())?;
    fs::rename(&partial, output)?;
    Ok(copies)
}

/// The dump to start from.
struct Original {
    elf: Elf,
    /// Segments of memory, without x86_64's second view of the kernel's text.
    loads: Vec<Load>,
    vmcoreinfo: String,
}

impl Original {
    fn open(path: &Path) -> Result<Self> {
        let elf = Elf::open(path);
        let info = notes(&elf.notes, elf.order).into_iter().find(|note| note.name == "VMCOREINFO");
        let vmcoreinfo = String::from_utf8_lossy(&info.context("no VMCOREINFO")?.desc).into_owned();
        let loads = elf.loads.iter().filter(|load| !is_text(load)).copied().collect();
        Ok(Self { elf, loads, vmcoreinfo })
    }

    /// The value of a line of VMCOREINFO.
    fn value(&self, key: &str) -> Result<&str> {
        let mut lines = self.vmcoreinfo.lines().filter_map(|line| line.split_once('='));
        lines.find(|(name, _)| *name == key).map(|(_, value)| value).with_context(|| format!("no {key}"))
    }

    /// SYMBOL(`name`).
    fn symbol(&self, name: &str) -> Result<u64> {
        Ok(u64::from_str_radix(self.value(&format!("SYMBOL({name})"))?, 16)?)
    }

    /// A number of VMCOREINFO, decimal.
    fn number(&self, key: &str) -> Result<u64> {
        let value = self.value(key)?;
        Ok(value.parse::<i64>().with_context(|| format!("{key}={value}"))? as u64)
    }

    /// The bytes at physical `address`, all of which the dump must have.
    fn bytes(&self, address: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let found = self.elf.read_from(&self.loads, address, &mut bytes);
        ensure!(found == len as u64, "{len} bytes at {address:#x}: the dump has {found} of them");
        Ok(bytes)
    }

    /// Where memory ends.
    fn end(&self) -> u64 {
        self.loads.iter().map(|load| load.paddr + load.memsz).max().unwrap_or(0)
    }

    /// The memory whose `struct page`s fill `bytes` bytes.
    fn told_by(&self, bytes: u64) -> Result<u64> {
        Ok(bytes / self.number("SIZE(page)")? * self.number("PAGESIZE")?)
    }

    /// The dump's memory rounded up to what a page of `bytes` bytes of `struct page`s covers.
    fn stride(&self, bytes: u64) -> Result<u64> {
        let unit = self.told_by(bytes)?;
        let section = 1 << self.number("NUMBER(SECTION_SIZE_BITS)")?;
        ensure!(unit.is_multiple_of(section), "a page table entry covers less than a section");
        Ok(self.end().next_multiple_of(unit))
    }

    /// The table of sections with those of the first copy repeated, as a patch.
    ///
    /// With vmemmap each section's `section_mem_map` is the same, that array's start and some flags. Only one root of
    /// sections is made use of.
    fn sections(&self, root: u64, stride: u64, copies: u64) -> Result<Patch> {
        let entry = self.number("SIZE(mem_section)")?;
        let each = (stride >> self.number("NUMBER(SECTION_SIZE_BITS)")?) * entry;
        let first = self.bytes(root, each as usize)?;
        let address = root + each;
        Ok(Patch { address, bytes: first.repeat(copies as usize - 1) })
    }

    /// How many copies the sections of one root are enough for.
    fn sections_in_root(&self, stride: u64) -> Result<u64> {
        let root = self.number("PAGESIZE")? / self.number("SIZE(mem_section)")?;
        Ok(root / (stride >> self.number("NUMBER(SECTION_SIZE_BITS)")?))
    }
}

/// Reports whether a segment is x86_64's mapping of the kernel's image, which lies in RAM as well.
fn is_text(load: &Load) -> bool {
    load.vaddr >= 0xffff_ffff_8000_0000
}

fn write(
    dump: &Original,
    tables: &Tables,
    patches: &[Patch],
    copies: u64,
    file: File,
    sparse: bool,
) -> Result<()> {
    let elf = &dump.elf;
    let copied = |copy: u64| {
        let shift = copy * tables.stride;
        dump.loads.iter().map(move |l| Load { paddr: l.paddr + shift, vaddr: l.vaddr + shift, ..*l })
    };
    let text = elf.loads.iter().filter(|load| is_text(load)).copied();
    let mut loads: Vec<Load> = text.chain((0..copies).flat_map(copied)).collect();
    let page = dump.number("PAGESIZE")?;
    let notes_at = (64 + 56 * (1 + loads.len() as u64)).next_multiple_of(page);
    let mut offset = notes_at + elf.notes.len() as u64;
    for load in &mut loads {
        // Behind the same offset in a page as its address, as in /proc/vmcore.
        load.offset = offset.next_multiple_of(page) + load.paddr % page;
        offset = load.offset + load.filesz;
    }

    let mut out = BufWriter::with_capacity(1 << 20, file);
    out.write_all(&headers(elf, &loads, notes_at))?;
    out.seek(SeekFrom::Start(notes_at))?;
    out.write_all(&elf.notes)?;
    let mut block = vec![0; BLOCK as usize];
    for load in &loads {
        out.seek(SeekFrom::Start(load.offset))?;
        // Blocks as the page cache has them, so that holes are whole pages.
        let mut at = load.paddr;
        let end = load.paddr + load.filesz;
        while at < end {
            let len = (BLOCK - at % BLOCK).min(end - at);
            let bytes = &mut block[..len as usize];
            elf.read_from(&dump.loads, at % tables.stride, bytes);
            apply(patches, at, bytes);
            if sparse && bytes.iter().all(|byte| *byte == 0) {
                out.seek_relative(len as i64)?;
            } else {
                out.write_all(bytes)?;
            }
            at += len;
        }
    }
    let file = out.into_inner().map_err(|error| error.into_error())?;
    file.set_len(offset)?;
    // Writing it back later would disturb what is measured.
    file.sync_all()?;
    Ok(())
}

/// Puts what patches say into `bytes`, which begin at `address`.
fn apply(patches: &[Patch], address: u64, bytes: &mut [u8]) {
    for patch in patches {
        let end = (address + bytes.len() as u64).min(patch.address + patch.bytes.len() as u64);
        let start = address.max(patch.address);
        if start < end {
            let from = &patch.bytes[(start - patch.address) as usize..(end - patch.address) as usize];
            bytes[(start - address) as usize..(end - address) as usize].copy_from_slice(from);
        }
    }
}

/// The ELF header and program headers, in the original's byte order.
fn headers(elf: &Elf, loads: &[Load], notes_at: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |value: u64, width: usize| {
        let all = value.to_le_bytes();
        let mut field = all[..width].to_vec();
        if elf.order.big {
            field.reverse();
        }
        bytes.extend(field);
    };
    for byte in [0x7f, b'E', b'L', b'F', 2, 1 + u8::from(elf.order.big), 1, 0] {
        put(byte.into(), 1);
    }
    // e_ident's end, e_type (ET_CORE), e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags, e_ehsize, e_phentsize,
    // e_phnum, e_shentsize, e_shnum, e_shstrndx.
    let flags = if elf.machine == 21 { 2 } else { 0 };
    let phnum = 1 + loads.len() as u64;
    for (value, width) in [
        (0, 8),
        (4, 2),
        (elf.machine, 2),
        (1, 4),
        (0, 8),
        (64, 8),
        (0, 8),
        (flags, 4),
        (64, 2),
        (56, 2),
        (phnum, 2),
        (0, 2),
        (0, 2),
        (0, 2),
    ] {
        put(value, width);
    }
    let len = elf.notes.len() as u64;
    let note = Load { offset: notes_at, vaddr: 0, paddr: 0, filesz: len, memsz: len };
    for (kind, flags, load) in [(4, 0, &note)].into_iter().chain(loads.iter().map(|load| (1, 7, load))) {
        put(kind, 4);
        put(flags, 4);
        for value in [load.offset, load.vaddr, load.paddr, load.filesz, load.memsz, 0] {
            put(value, 8);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("4G"), Ok(4 << 30));
        assert_eq!(parse_size("512MiB"), Ok(512 << 20));
        assert_eq!(parse_size("17"), Ok(17));
        assert!(parse_size("4T").is_err() && parse_size("G").is_err());
    }

    #[test]
    fn a_patch_changes_only_the_bytes_it_names_wherever_blocks_end() {
        let patches = [Patch { address: 10, bytes: vec![7; 10] }];
        let mut bytes = [0; 30];
        for (block, bytes) in bytes.chunks_mut(8).enumerate() {
            apply(&patches, 8 * block as u64, bytes);
        }
        let expected: Vec<u8> = (0..30).map(|at| if (10..20).contains(&at) { 7 } else { 0 }).collect();
        assert_eq!(bytes[..], expected);
    }
}
