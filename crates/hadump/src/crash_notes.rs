//! `--fill-crash-notes`: the registers of a firmware-assisted dump, put where drgn looks for them.
//!
//! drgn takes the registers of running tasks from the `crash_notes` in the dumped memory when VMCOREINFO has a
//! CRASHTIME. A kernel that crashes into fadump leaves these buffers empty, since the firmware saves the registers.

use crate::cli::InputArgs;
use anyhow::{Context, Result, bail};
use kernel::kallsyms::Kallsyms;
use object::{Object, ObjectSymbol};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;
use vmcore::{
    Chunk, Damage, Dump, MemoryMap, Note, PageState, Pfn, PhysAddr, PhysicalMemory, ReadError, VirtAddr,
};

/// The owner and type of the note that records what was filled: a line of text for each CPU, `CPU ADDRESS LENGTH`,
/// the address physical and in hexadecimal.
const OWNER: &str = "HADUMP";
const FILLED: u32 = 0x110;

/// The symbols that lead to the buffers.
const SYMBOLS: [&str; 5] =
    ["crash_notes", "__per_cpu_offset", "nr_cpu_ids", "__cpu_online_mask", "__cpu_possible_mask"];

/// Answers the dump with its empty crash notes filled, and the note that says so.
pub(crate) fn fill(mut dump: Dump, input: &InputArgs, vmlinux: Option<&Path>) -> Result<(Dump, Vec<Note>)> {
    let patches = plan(&dump, input, vmlinux).context("cannot fill the kernel's crash_notes")?;
    let record: String =
        patches.iter().map(|p| format!("{} {:#x} {}\n", p.cpu, p.at.0, p.bytes.len())).collect();
    tracing::info!("filled the crash_notes of {} CPUs", patches.len());
    dump.memory = Box::new(Patched::new(dump.memory, patches));
    Ok((dump, vec![Note { name: OWNER.into(), kind: FILLED, desc: record.into_bytes() }]))
}

/// Bytes that go over physical memory.
struct Patch {
    cpu: u32,
    at: PhysAddr,
    bytes: Vec<u8>,
}

fn plan(dump: &Dump, input: &InputArgs, vmlinux: Option<&Path>) -> Result<Vec<Patch>> {
    let kernel = crate::input::kernel(dump, input)?;
    let buffers = match vmlinux {
        Some(vmlinux) => {
            let symbols = vmlinux_symbols(vmlinux, dump)?;
            kernel::crash_notes(&kernel, |name| Ok(symbols.get(name).copied()))?
        }
        None => {
            let table = Kallsyms::open(&kernel).context("the dump has no symbols; give --vmlinux FILE")?;
            kernel::crash_notes(&kernel, |name| table.find(name))?
        }
    };
    // Readers pair notes and online CPUs in the same way.
    let online = buffers.iter().filter(|b| b.online);
    let mut patches = Vec::new();
    for (buffer, note) in online.zip(dump.notes.prstatus()) {
        if buffer.filled {
            continue;
        }
        let Some(bytes) = buffer.content(dump.machine, &note.desc) else {
            bail!(
                "the NT_PRSTATUS note of CPU {} has {} bytes, which do not fit",
                buffer.cpu,
                note.desc.len()
            );
        };
        // The buffer is virtually contiguous and may cross pages that are not neighbours.
        let mut done = 0;
        while done < bytes.len() {
            let virt = VirtAddr(buffer.addr.0.wrapping_add(done as u64));
            let at = kernel.translate(virt)?;
            let page = dump.page_size();
            let len = (page.len() - page.offset(at.0)).min(bytes.len() - done);
            patches.push(Patch { cpu: buffer.cpu, at, bytes: bytes[done..done + len].to_vec() });
            done += len;
        }
    }
    if patches.is_empty() {
        bail!("they hold registers already; leave out --fill-crash-notes");
    }
    Ok(patches)
}

/// Where a vmlinux says the symbols are, moved by what the kernel was relocated.
fn vmlinux_symbols(path: &Path, dump: &Dump) -> Result<HashMap<&'static str, VirtAddr>> {
    let file = File::open(path).with_context(|| format!("{}: cannot be opened", path.display()))?;
    let cache = object::ReadCache::new(file);
    let vmlinux =
        object::File::parse(&cache).with_context(|| format!("{}: not a vmlinux", path.display()))?;
    let moved = dump.vmcoreinfo.as_ref().and_then(|v| v.get("KERNELOFFSET"));
    let moved = moved.and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
    let find = |name: &&'static str| {
        Some((*name, VirtAddr(vmlinux.symbol_by_name(name)?.address().wrapping_add(moved))))
    };
    Ok(SYMBOLS.iter().filter_map(find).collect())
}

/// Memory with some bytes of it replaced.
struct Patched {
    memory: Box<dyn PhysicalMemory>,
    patches: BTreeMap<Pfn, Vec<Patch>>,
}

impl Patched {
    fn new(memory: Box<dyn PhysicalMemory>, all: Vec<Patch>) -> Self {
        let page = memory.map().page_size();
        let mut patches: BTreeMap<Pfn, Vec<Patch>> = BTreeMap::new();
        for patch in all {
            patches.entry(page.pfn(patch.at)).or_default().push(patch);
        }
        Self { memory, patches }
    }

    /// Puts the replaced bytes of frame `pfn` over `page`, when its content is known.
    fn apply(&self, pfn: Pfn, page: &mut [u8], state: PageState) -> PageState {
        let Some(patches) = self.patches.get(&pfn).filter(|_| state.is_known()) else { return state };
        let size = self.memory.map().page_size();
        for patch in patches {
            let from = size.offset(patch.at.0);
            page[from..from + patch.bytes.len()].copy_from_slice(&patch.bytes);
        }
        PageState::Present
    }
}

impl PhysicalMemory for Patched {
    fn map(&self) -> &MemoryMap {
        self.memory.map()
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        let state = self.memory.read_page(pfn, page)?;
        Ok(self.apply(pfn, page, state))
    }

    fn read_run(&self, first: Pfn, pages: &mut [u8], states: &mut [PageState]) -> Result<(), ReadError> {
        self.memory.read_run(first, pages, states)?;
        let size = self.map().page_size().len();
        let end = Pfn(first.0 + states.len() as u64);
        for &pfn in self.patches.range(first..end).map(|(pfn, _)| pfn) {
            let i = (pfn.0 - first.0) as usize;
            states[i] = self.apply(pfn, &mut pages[i * size..(i + 1) * size], states[i]);
        }
        Ok(())
    }

    fn drop_excluded(&self, first: Pfn, chunk: &mut Chunk) -> Result<u64, ReadError> {
        self.memory.drop_excluded(first, chunk)
    }

    fn lost_run(&self, first: Pfn, limit: u64) -> u64 {
        self.memory.lost_run(first, limit)
    }

    fn damage(&self) -> Damage {
        self.memory.damage()
    }
}
