//! A root directory from a real machine: the memory the hypervisor left, and the firmware's properties.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bytes::{ByteOrder, be_u64};
use crate::error::{ModelError, Result};
use crate::extent::{Extent, merged};
use crate::memory::Memory;
use crate::structure::{KIND_REAL_MODE, STATUS_TRIGGERED, Structure};
use crate::tree::{FadumpFiles, MemoryNodes, Tree};

/// What to make a root directory from.
#[derive(Clone, Debug)]
pub struct CorpusOptions {
    /// Physical memory in the second boot, before user space saved anything: byte `n` is address `n`.
    pub memory_raw: PathBuf,
    /// Directory with `ibm,kernel-dump`, `ibm,configure-kernel-dump-sizes` and `-version`, and, if there are
    /// any, `fadump_region.txt` and `iomem.txt`.
    pub firmware: PathBuf,
    /// `/proc/vmcore` of the second boot, if it is to stand in the root as well.
    pub vmcore: Option<PathBuf>,
    /// Whether large files are linked rather than copied where the file system can.
    pub hard_link: bool,
}

/// What a root directory made from a real machine holds.
#[derive(Clone, Debug)]
pub struct CorpusRoot {
    /// Memory ranges of the machine.
    pub ram: Vec<Extent>,
    /// The kernel dump memory structure.
    pub structure: Structure,
    /// Boot memory regions and where their copies lie.
    pub boot: Vec<(Extent, u64)>,
}

/// Makes a root directory from a memory image and a directory of firmware properties; the image is linked or
/// copied with its holes.
///
/// # Errors
///
/// A file is missing or is not what its name says, or the directory cannot be written.
pub fn root_from_corpus(memory_raw: &Path, firmware: &Path, out: &Path) -> Result<CorpusRoot> {
    let options = CorpusOptions {
        memory_raw: memory_raw.to_path_buf(),
        firmware: firmware.to_path_buf(),
        vmcore: None,
        hard_link: true,
    };
    write_root(&options, out)
}

/// As [`root_from_corpus`], with every choice open.
///
/// # Errors
///
/// As [`root_from_corpus`].
pub fn write_root(options: &CorpusOptions, out: &Path) -> Result<CorpusRoot> {
    let read = |name: &str| {
        let path = options.firmware.join(name);
        fs::read(&path).map_err(ModelError::io(&path, "read the property"))
    };
    let property = read("ibm,kernel-dump")?;
    let structure = parse(options, &property)?;
    let text = |name: &str| fs::read_to_string(options.firmware.join(name)).ok();
    let iomem = text("iomem.txt");
    let length =
        fs::metadata(&options.memory_raw).map_err(ModelError::io(&options.memory_raw, "ask the size"))?.len();
    let ram = iomem.as_deref().map(ram_of_iomem).filter(|ram| !ram.is_empty());
    let ram = ram.unwrap_or_else(|| vec![Extent::new(0, length)]);

    let tree = Tree::new(out)?;
    tree.memory(&ram, 256 << 20, MemoryNodes::Plain)?;
    tree.rtas(&[], Some(&property))?;
    for name in ["ibm,configure-kernel-dump-sizes", "ibm,configure-kernel-dump-version"] {
        tree.property(&format!("rtas/{name}"), &read(name)?)?;
    }
    let boot: Vec<(Extent, u64)> = structure
        .sections
        .iter()
        .filter(|section| section.kind == KIND_REAL_MODE)
        .map(|section| (Extent::new(section.source, section.requested), section.destination))
        .collect();
    let first = structure.sections.iter().map(|section| section.destination).min().unwrap_or(0);
    let end = boot.iter().map(|(region, to)| to.saturating_add(region.length)).max().unwrap_or(first);
    tree.fadump(&FadumpFiles {
        enabled: true,
        registered: false,
        mem_reserved: end.saturating_sub(first),
        hotplug_ready: true,
        bootargs_append: (structure.sections.len() > 3).then(String::new),
        release_mem: true,
        old_names: true,
    })?;
    if let Some(region) = text("fadump_region.txt") {
        tree.file("sys/kernel/debug/powerpc/fadump_region", 0o444, region.as_bytes())?;
    }
    if let Some(iomem) = iomem {
        tree.file("proc/iomem", 0o444, iomem.as_bytes())?;
    }
    place(&options.memory_raw, &tree.parent("dev/mem")?, options.hard_link)?;
    if let Some(vmcore) = &options.vmcore {
        place(vmcore, &tree.parent("proc/vmcore")?, options.hard_link)?;
    }
    Ok(CorpusRoot { ram, structure, boot })
}

/// The memory of a real machine as it was when it crashed: boot memory is put back from its copy.
///
/// What the second boot did elsewhere, and the reserved area, stay as they are in the image.
///
/// # Errors
///
/// As [`root_from_corpus`].
pub fn memory_at_crash(memory_raw: &Path, firmware: &Path) -> Result<Memory> {
    let options = CorpusOptions {
        memory_raw: memory_raw.to_path_buf(),
        firmware: firmware.to_path_buf(),
        vmcore: None,
        hard_link: true,
    };
    let path = firmware.join("ibm,kernel-dump");
    let property = fs::read(&path).map_err(ModelError::io(&path, "read the property"))?;
    let structure = parse(&options, &property)?;
    let mut memory = Memory::over(memory_raw)?;
    for section in structure.sections.iter().filter(|section| section.kind == KIND_REAL_MODE) {
        memory.copy(section.destination, section.source, section.copied, section.copied.max(1))?;
    }
    Ok(memory)
}

/// Where a VMCOREINFO note with text is in the first `end` bytes, at the beginning of a page, as Linux
/// allocates it; the integers of its header are in `order`.
///
/// # Errors
///
/// The memory cannot be read.
pub fn find_vmcoreinfo(memory: &Memory, order: ByteOrder, end: u64) -> Result<Option<Extent>> {
    for piece in memory.data_within(Extent::new(0, end))? {
        for at in (piece.start.next_multiple_of(0x1000)..piece.end()).step_by(0x1000) {
            if at + 0x1000 > end {
                break;
            }
            let head = memory.bytes(at, 24)?;
            if head[..4] != order.u32(11) || &head[12..24] != b"VMCOREINFO\0\0" {
                continue;
            }
            let length = match order {
                ByteOrder::Big => u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
                ByteOrder::Little => u32::from_le_bytes([head[4], head[5], head[6], head[7]]),
            };
            let note = Extent::new(at, 24 + u64::from(length).next_multiple_of(4));
            if length > 0 && note.end() <= end {
                return Ok(Some(note));
            }
        }
    }
    Ok(None)
}

fn parse(options: &CorpusOptions, property: &[u8]) -> Result<Structure> {
    let wrong = |field, found, expected| ModelError::Firmware {
        path: options.firmware.join("ibm,kernel-dump"),
        field,
        found,
        expected,
    };
    let structure = Structure::parse(property).ok_or_else(|| {
        wrong("length", be_u64(property, 0).map_or(0, |_| property.len() as u64), "header and sections")
    })?;
    if structure.version != 1 {
        return Err(wrong("format version", u64::from(structure.version), "1"));
    }
    if structure.status & STATUS_TRIGGERED == 0 {
        return Err(wrong("status", u64::from(structure.status), "a dump triggered by the previous boot"));
    }
    Ok(structure)
}

/// The `System RAM` ranges of `/proc/iomem`, whose ends are inclusive.
fn ram_of_iomem(text: &str) -> Vec<Extent> {
    let ranges = text.lines().filter_map(|line| {
        let (range, name) = line.split_once(" : ")?;
        if name != "System RAM" || range.starts_with(' ') {
            return None;
        }
        let (start, end) = range.split_once('-')?;
        let start = u64::from_str_radix(start, 16).ok()?;
        let end = u64::from_str_radix(end, 16).ok()?;
        Some(Extent::between(start, end.checked_add(1)?))
    });
    merged(ranges.collect())
}

/// Puts a large file in place: linked, or copied with its holes.
fn place(from: &Path, to: &Path, hard_link: bool) -> Result<()> {
    if hard_link && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    Memory::over(from)?.write_raw(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_ram_lines_of_iomem_count() {
        let text = "00000000-2fffffff : System RAM\n  00100000-001fffff : Kernel code\n40000000-4fffffff : System RAM\n\
                    200080000000-2000ffffffff : pci@800000020000000\n";
        assert_eq!(ram_of_iomem(text), [Extent::new(0, 0x3000_0000), Extent::new(0x4000_0000, 0x1000_0000)]);
    }
}
