//! What the device tree says of memory and of the dump.
//!
//! The tree is a directory as `/proc/device-tree` shows it: a directory per node, a file per property, numbers
//! big-endian. Linux takes memory from the same places (`early_init_dt_scan_memory`, `early_init_drmem_v1`/`_v2` in
//! `arch/powerpc/kernel/prom.c` and `arch/powerpc/mm/drmem.c`).

use crate::bytes::Bytes;
use crate::{Error, Findings};
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use vmcore::{PhysAddr, Range, RangeSet};

/// The longest property that is read, in bytes; a list of a million memory blocks has 24 MB.
const MAX_PROPERTY: u64 = 64 << 20;
/// The highest address that is believed, so that a length cannot wrap.
const MAX_ADDR: u64 = 1 << 60;
/// The most memory that is believed: bitmaps and loops are proportional to it, and the largest machines have 64 TiB.
const MAX_MEMORY: u64 = 1 << 48;

/// Flags of a memory block (`DRCONF_MEM_*`, `arch/powerpc/include/asm/drmem.h`).
const ASSIGNED: u32 = 0x8;
const RESERVED: u32 = 0x80;

/// A device-tree directory.
#[derive(Clone, Debug)]
pub struct DeviceTree {
    root: PathBuf,
}

/// Memory as the tree describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeMemory {
    /// All memory of the partition.
    pub memory: RangeSet<PhysAddr>,
    /// What firmware keeps for itself (`reserved-ranges`). It is memory as well, and in `/proc/vmcore`.
    pub reserved: RangeSet<PhysAddr>,
}

/// A size that the firmware wants for a section: `ibm,configure-kernel-dump-sizes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpSize {
    /// The section's type: 1 CPU state, 2 HPTE.
    pub kind: u32,
    /// Bytes.
    pub size: u64,
}

impl DeviceTree {
    /// The tree in `root`, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Reports whether there is such a node.
    pub fn has_node(&self, node: &str) -> bool {
        self.root.join(node).is_dir()
    }

    /// A property's bytes; `path` is node and name, relative to the tree's root. `None` when it does not exist.
    ///
    /// # Errors
    ///
    /// When it exists and cannot be read, or is longer than any property could be.
    pub fn property(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        read_file(&self.root.join(path), MAX_PROPERTY)
    }

    /// Reports whether a property exists, readable or not.
    pub fn has(&self, path: &str) -> bool {
        self.root.join(path).is_file()
    }

    /// A property of one 32-bit number.
    fn number(&self, path: &str) -> Result<Option<u32>, Error> {
        Ok(self.property(path)?.and_then(|p| Bytes::big(&p).u32(0)))
    }

    /// The property `ibm,kernel-dump`: the result of a pending dump.
    ///
    /// # Errors
    ///
    /// As [`DeviceTree::property`], here and below.
    pub fn kernel_dump(&self) -> Result<Option<Vec<u8>>, Error> {
        self.property("rtas/ibm,kernel-dump")
    }

    /// The sizes that the firmware wants for its sections.
    ///
    /// # Errors
    ///
    /// As [`DeviceTree::property`].
    pub fn dump_sizes(&self) -> Result<Vec<DumpSize>, Error> {
        let bytes = self.property("rtas/ibm,configure-kernel-dump-sizes")?.unwrap_or_default();
        let get = Bytes::big(&bytes);
        let at = |i: usize| Some(DumpSize { kind: get.u32(i * 12)?, size: get.u64(i * 12 + 4)? });
        Ok((0..bytes.len() / 12).filter_map(at).collect())
    }

    /// Where the tree says that memory is; `None` when it says nothing.
    ///
    /// # Errors
    ///
    /// As [`DeviceTree::property`]. Properties that make no sense are findings, and the rest counts.
    pub fn memory(&self, findings: &mut Findings) -> Result<Option<TreeMemory>, Error> {
        let cells = |name: &str| -> Result<usize, Error> {
            let cells = self.number(name)?.map_or(2, |c| c as usize);
            Ok(if (1..=2).contains(&cells) { cells } else { 2 })
        };
        let (address, size) = (cells("#address-cells")?, cells("#size-cells")?);
        let mut ranges = Vec::new();
        for node in self.nodes()? {
            let name = node.split('@').next().unwrap_or_default();
            let kind = self.property(&format!("{node}/device_type"))?.unwrap_or_default();
            if name != "memory" && !kind.starts_with(b"memory") {
                continue;
            }
            // linux,usable-memory narrows a node down for a kexec'ed kernel; the crashed one had all of it.
            let Some(reg) = self.property(&format!("{node}/reg"))? else { continue };
            if reg.len() % ((address + size) * 4) != 0 {
                findings.warning(format!("{node}/reg has {} bytes, no whole number of ranges", reg.len()));
            }
            ranges.extend(pairs(&reg, address, size));
        }
        self.blocks(&mut ranges, findings)?;
        let reserved = self.property("reserved-ranges")?.unwrap_or_default();
        let memory = within_reason(ranges.into_iter().collect(), findings);
        let reserved = pairs(&reserved, 2, 2).into_iter().collect();
        Ok((!memory.is_empty()).then_some(TreeMemory { memory, reserved }))
    }

    /// The nodes right below the root, sorted by name.
    fn nodes(&self) -> Result<Vec<String>, Error> {
        let io = |source| Error::Io {
            path: self.root.clone(),
            action: "list the nodes of the device tree",
            source,
        };
        let entries = match fs::read_dir(&self.root) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io)?,
        };
        let mut nodes = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io)?;
            if entry.path().is_dir() {
                nodes.extend(entry.file_name().into_string());
            }
        }
        nodes.sort();
        Ok(nodes)
    }

    /// The blocks of memory that can come and go (`ibm,dynamic-reconfiguration-memory`).
    fn blocks(&self, ranges: &mut Vec<Range<PhysAddr>>, findings: &mut Findings) -> Result<(), Error> {
        const NODE: &str = "ibm,dynamic-reconfiguration-memory";
        let Some(size) = self.property(&format!("{NODE}/ibm,lmb-size"))? else { return Ok(()) };
        let Some(size) = number(&size) else {
            findings.warning(format!("{NODE}/ibm,lmb-size has {} bytes, 4 or 8 are expected", size.len()));
            return Ok(());
        };
        let old = self.property(&format!("{NODE}/ibm,dynamic-memory"))?;
        let new = self.property(&format!("{NODE}/ibm,dynamic-memory-v2"))?;
        let (list, entry, read): (_, _, fn(Bytes<'_>, usize) -> Option<Blocks>) = match (&new, &old) {
            (Some(new), _) => (new, 24, blocks_v2),
            (None, Some(old)) => (old, 24, blocks_v1),
            (None, None) => return Ok(()),
        };
        let get = Bytes::big(list);
        let count = get.u32(0).unwrap_or_default() as usize;
        let there = list.len().saturating_sub(4) / entry;
        if count != there {
            findings.warning(format!("{NODE} counts {count} entries and has {there}"));
        }
        for i in 0..count.min(there) {
            let Some(blocks) = read(get, 4 + i * entry) else { break };
            if blocks.flags & ASSIGNED != 0 && blocks.flags & RESERVED == 0 {
                let len = size.saturating_mul(blocks.count.into());
                ranges.extend(range(blocks.base, len));
            }
        }
        Ok(())
    }
}

/// Blocks that lie side by side and have the same flags.
struct Blocks {
    base: u64,
    count: u32,
    flags: u32,
}

/// `ibm,dynamic-memory`: address, DRC index, reserved, associativity index, flags.
fn blocks_v1(get: Bytes<'_>, at: usize) -> Option<Blocks> {
    Some(Blocks { base: get.u64(at)?, count: 1, flags: get.u32(at + 20)? })
}

/// `ibm,dynamic-memory-v2`: number of blocks, address, DRC index, associativity index, flags.
fn blocks_v2(get: Bytes<'_>, at: usize) -> Option<Blocks> {
    Some(Blocks { base: get.u64(at + 4)?, count: get.u32(at)?, flags: get.u32(at + 20)? })
}

/// What of `memory` a machine can have: from its start on, up to [`MAX_MEMORY`].
fn within_reason(memory: RangeSet<PhysAddr>, findings: &mut Findings) -> RangeSet<PhysAddr> {
    let total = memory.total();
    if total <= MAX_MEMORY {
        return memory;
    }
    findings.warning(format!(
        "the device tree has {total:#x} bytes of memory, more than any machine; what is beyond {MAX_MEMORY:#x} is ignored"
    ));
    let mut left = MAX_MEMORY;
    let cut = |range: Range<PhysAddr>| {
        let len = range.len().min(left);
        left -= len;
        Range::new(range.start, PhysAddr(range.start.0 + len))
    };
    memory.iter().map(cut).filter(|range| !range.is_empty()).collect()
}

fn number(bytes: &[u8]) -> Option<u64> {
    let get = Bytes::big(bytes);
    match bytes.len() {
        4 => get.u32(0).map(u64::from),
        8 => get.u64(0),
        _ => None,
    }
}

fn range(start: u64, len: u64) -> Option<Range<PhysAddr>> {
    let end = start.checked_add(len).filter(|&end| end <= MAX_ADDR && len > 0)?;
    Some(Range::new(PhysAddr(start), PhysAddr(end)))
}

/// Pairs of address and size, of this many 32-bit cells each.
fn pairs(bytes: &[u8], address: usize, size: usize) -> Vec<Range<PhysAddr>> {
    let pair = |chunk: &[u8]| {
        let (start, len) = chunk.split_at(address * 4);
        range(number(start)?, number(len)?)
    };
    bytes.chunks_exact((address + size) * 4).filter_map(pair).collect()
}

/// Reads a whole file of at most `limit` bytes; `None` when it does not exist.
pub(crate) fn read_file(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let io = |action, source| Error::Io { path: path.to_owned(), action, source };
    let file = match fs::File::open(path) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        file => file.map_err(|e| io("open it", e))?,
    };
    let mut bytes = Vec::new();
    // Files of procfs and sysfs have no length before they are read.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| io("read it", e))?;
    if bytes.len() as u64 > limit {
        return Err(io("read it: it is too long", ErrorKind::InvalidData.into()));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
#[path = "devtree_tests.rs"]
mod tests;
