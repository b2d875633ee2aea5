//! Dumps of synthetic kernels: every architecture, page size, memory model and generation of Linux, with the truth beside.
//!
//! [`build`] makes from a [`Spec`] what a dump holds: page tables, the array of `struct page`, nodes and zones with
//! counters and free lists, `mem_section`, the kernel's names, VMCOREINFO, data pages; and states for every frame what
//! a filter must do with it ([`Truth`]). [`Dump::write_elf`] writes it as a file; [`catalogue`] has specs by name.
//!
//! Layouts are written from the kernel's sources by definitions of their own. What no filter reads is left out: there is
//! no code, no task and no log. For an image with a log that a [`Machine`](crate::Machine) can crash with, see the parent
//! module.

mod arch;
pub mod catalogue;
mod elf;
mod facts;
mod generation;
mod note;
mod page;
mod place;
mod pool;
mod scene;
mod tables;
mod truth;
mod zone;

pub use arch::{Arch, Mmu};
pub use elf::{Load, prstatus};
pub use generation::Generation;
pub use truth::{Class, Run, Truth, Why};

use crate::bytes::ByteOrder;
use crate::content;
use crate::error::{ModelError, Result};
use crate::extent::{Extent, subtract};
use crate::memory::Memory;
use crate::rng::Rng;
use crate::synth::running::Laid;
use arch::{Basis, Orders, Space, image};
use generation::Type;
use page::{Map, Page, Top};
use place::Places;
use pool::Pool;
use scene::{Block, Ground, Kind};
use tables::Tables;

/// How a kernel finds the `struct page` of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// FLATMEM.
    Flat,
    /// DISCONTIGMEM, until 5.13.
    Discontig,
    /// SPARSEMEM with all sections in one table (SPARSEMEM_STATIC).
    Sparse,
    /// SPARSEMEM_EXTREME: sections in tables of their own, each with its array.
    SparseExtreme,
    /// SPARSEMEM_VMEMMAP.
    Vmemmap,
}

/// A stretch of RAM; whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bank {
    /// Where it is.
    pub extent: Extent,
    /// The node that it belongs to.
    pub node: u64,
}

/// A huge page whose place is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its first byte, a multiple of its size.
    pub address: u64,
    /// Its size as a power of two.
    pub shift: u32,
    /// Whether it is in hugetlb's pool, unused.
    pub free: bool,
}

/// What to build.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What tests and people call it.
    pub name: String,
    /// Architecture and address translation.
    pub mmu: Mmu,
    /// Byte order.
    pub order: ByteOrder,
    /// Page size in bytes.
    pub page_size: u64,
    /// Release of Linux.
    pub generation: Generation,
    /// Memory model.
    pub model: Model,
    /// Bytes of a `struct page`: 64, or 56 in small configurations, more with debugging.
    pub struct_page: u64,
    /// RAM, ascending.
    pub banks: Vec<Bank>,
    /// RAM that the dump does not hold: reserved for the crash kernel, or CMA that firmware keeps for a dump.
    pub absent: Vec<Extent>,
    /// RAM of the contiguous memory allocator: free, or movable pages.
    pub cma: Vec<Extent>,
    /// Huge pages with a place, ascending.
    pub placed: Vec<Placed>,
    /// CONFIG_MEMORY_FAILURE: broken pages have a flag, and some are.
    pub memory_failure: bool,
    /// Huge pages give most of the memory of their `struct page`s back, where the release can (HVO).
    pub shared_vmemmap: bool,
    /// vmemmap is mapped by large entries.
    pub huge_vmemmap: bool,
    /// PT_LOADs say where the linear map has their memory; otherwise 0, as dumpers do that do not know.
    pub addresses: bool,
    /// One page of data in this many has contents; 0 for none.
    pub fill: u64,
    /// Processors.
    pub cpus: u32,
    /// The seed of every choice.
    pub seed: u64,
}

impl Spec {
    /// Whether there is more than one node.
    pub fn is_numa(&self) -> bool {
        self.banks.iter().any(|bank| bank.node != 0)
    }

    /// The frames of each bank: first and number.
    pub(crate) fn frames(&self) -> Vec<(u64, u64)> {
        self.frames_of(&self.banks.iter().map(|bank| bank.extent).collect::<Vec<_>>())
    }

    pub(crate) fn frames_of(&self, extents: &[Extent]) -> Vec<(u64, u64)> {
        extents.iter().map(|extent| (extent.start / self.page_size, extent.length / self.page_size)).collect()
    }
}

/// What was built.
#[derive(Clone, Debug)]
pub struct Dump {
    /// From what.
    pub spec: Spec,
    /// Physical memory: what is not in `loads` is not in the dump.
    pub memory: Memory,
    /// The PT_LOADs.
    pub loads: Vec<Load>,
    /// All notes, as they are in PT_NOTE.
    pub notes: Vec<u8>,
    /// The text of VMCOREINFO.
    pub vmcoreinfo: String,
    /// What `uname -r` said.
    pub release: String,
    /// Where the kernel's image begins: its virtual address and its physical one.
    pub image: (u64, u64),
    /// What every frame of the dump is by what VMCOREINFO exports.
    pub truth: Truth,
    /// What it is in truth: older kernels export less than there is.
    pub nature: Truth,
    /// Frames in the buddy allocator, absent ones included; the zones' counters are this less what processors hold back.
    pub free_frames: u64,
    /// Virtual addresses and where they lead; `None` for those that are mapped nowhere.
    pub translations: Vec<(u64, Option<u64>)>,
}

/// Builds a dump.
///
/// # Errors
///
/// The first bank has no room for the image and the kernel's structures.
pub fn build(spec: &Spec) -> Result<Dump> {
    let orders = arch::orders(spec.mmu, spec.page_size);
    let ram_start = spec.banks.first().map_or(0, |bank| bank.extent.start);
    let basis = Basis {
        mmu: spec.mmu,
        generation: spec.generation,
        page_size: spec.page_size,
        order: spec.order,
        ram_start,
        struct_page: spec.struct_page,
        numa: spec.is_numa(),
    };
    let mut space = arch::space(basis);
    let covered = place::covered(spec, &space, orders.free);
    let mut pool = plan_pool(spec, &space, &covered)?;
    let end = spec.banks.last().map_or(0, |bank| bank.extent.end());
    let mut memory = Memory::new(end);
    let rng = Rng::new(spec.seed);

    // What is where.
    let reserved = reserved(spec, &space, &pool);
    let reserved_frames = spec.frames_of(&reserved);
    let blocks = lay_out(spec, &orders, &reserved_frames, &mut rng.fork(1));
    let shared = shared_blocks(spec, &space, &blocks);
    let places = Places::new(spec, &space, &covered, &shared, &mut pool)?;
    let sections = place::sections(spec, &space, &covered, &places, &mut memory, &mut pool)?;

    // The array of struct pages.
    let mut map = new_map(spec, &space, &covered);
    let mut runs =
        write_pages(spec, &space, (&reserved_frames, &blocks, &shared), &mut map, &places, &mut rng.fork(2));
    let free_frames = zone::write(
        spec,
        &space,
        (&blocks, orders.free),
        &mut map,
        &places,
        (&mut memory, &mut pool),
        &mut rng.fork(3),
    )?;
    let mut translations = Vec::new();
    if let Some(entries) = space.entries.take() {
        let tables =
            map_all(spec, (&space, basis), entries, &places, &mut memory, &mut pool, &mut translations)?;
        mark_tables(spec, &mut map, &tables);
    }
    for (address, physical) in places.pieces.iter().step_by((places.pieces.len() / 16).max(1)) {
        translations.push((address + 0x38, Some(physical + 0x38)));
    }
    places.flush(&map, &space, &shared, &mut memory)?;
    drop(map);

    // Contents.
    let vmcoreinfo = note::text(spec, &space, &orders, sections.as_ref());
    let release = note::release(spec);
    facts::write(spec, (&space, basis), &places, (&vmcoreinfo, &release), &mut memory, &mut pool)?;
    fill(spec, &reserved, &mut memory, &rng)?;
    let notes = elf::notes(spec.mmu.arch(), spec.order, spec.cpus, &vmcoreinfo, &mut rng.fork(5));
    let kernel = |(first, count): &(u64, u64)| Run {
        first: *first,
        count: *count,
        class: Class::Kernel,
        poisoned: false,
    };
    runs.extend(reserved_frames.iter().map(kernel));
    let nature = blocks.iter().map(|block| scene::nature(*block));
    let nature = nature.chain(reserved_frames.iter().map(kernel)).collect();
    let absent = spec.frames_of(&spec.absent);
    Ok(Dump {
        loads: loads(spec, &space),
        notes,
        vmcoreinfo,
        release,
        image: (space.image.wrapping_add(space.image_at), space.image_at),
        truth: Truth::new(runs, &absent),
        nature: Truth::new(nature, &absent),
        free_frames,
        translations,
        memory,
        spec: spec.clone(),
    })
}

impl Dump {
    /// Puts a running kernel into the image, where its code would be, and says in VMCOREINFO where its parts are. The notes
    /// then have the registers that are given, one `NT_PRSTATUS` for each CPU, in the order of `elf_gregset_t`.
    ///
    /// # Errors
    ///
    /// It does not begin in the image, or is larger than its code.
    pub fn put(&mut self, laid: &Laid, registers: &[Vec<u64>]) -> Result<()> {
        let (address, physical) = self.image;
        let offset = laid.base.wrapping_sub(address);
        if offset.saturating_add(laid.bytes.len() as u64) > image::SWAPPER {
            let expected = "a kernel no larger than its image";
            return Err(ModelError::Options { what: "running kernel", found: offset, expected });
        }
        self.memory.write(physical + offset, &laid.bytes)?;
        let key = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
        let keys: Vec<String> = laid.vmcoreinfo.lines().map(key).collect();
        let mut text = String::new();
        for line in self.vmcoreinfo.lines().filter(|line| !keys.contains(&key(line))) {
            text.push_str(line);
            text.push('\n');
        }
        self.vmcoreinfo = text + &laid.vmcoreinfo;
        self.notes = elf::notes_of(self.spec.mmu.arch(), self.spec.order, registers, &self.vmcoreinfo);
        Ok(())
    }
}

/// Sets memory aside after the image for all that the kernel allocates.
fn plan_pool(spec: &Spec, space: &Space, covered: &[(u64, u64)]) -> Result<Pool> {
    let image = Extent::new(space.image_at, image::SIZE);
    let bank = spec.banks.iter().find(|bank| bank.extent.intersect(image) == image);
    let expected = "a bank with room for the kernel image and its structures";
    let missing = |found: u64| ModelError::Options { what: "banks", found, expected };
    let bank = bank.ok_or_else(|| missing(space.image_at))?.extent;
    let table = space.entries.as_ref().map_or(0, |entries| {
        entries.levels().iter().skip(1).map(|level| 8u64 << level.bits).max().unwrap_or(0)
    });
    let unit = place::unit(spec, space);
    // Banks end and begin anywhere: tables down to the last level for either end, and for image and vmalloc.
    let linear: u64 = spec.banks.iter().map(|bank| (bank.extent.length >> 29) + 10).sum::<u64>() * table;
    let vmemmap = place::bytes(spec, space, covered) / spec.page_size * 16 + 16 * table;
    let nodes = (spec.banks.len() as u64 + 1) * 0x1_0000;
    let wanted = place::bytes(spec, space, covered)
        + place::section_bytes(spec, space)
        + linear
        + vmemmap
        + nodes
        + 16 * spec.page_size.max(0x1_0000);
    let start = image.end().next_multiple_of(unit.max(spec.page_size).max(0x1_0000));
    let extent = Extent::new(start, (wanted + 2 * unit).next_multiple_of(spec.page_size.max(0x1_0000)));
    if bank.intersect(extent) != extent {
        return Err(missing(extent.length));
    }
    Ok(Pool::new(extent))
}

/// Memory that is the kernel's from the beginning.
fn reserved(spec: &Spec, space: &Space, pool: &Pool) -> Vec<Extent> {
    let mut out = vec![Extent::new(space.image_at, image::SIZE), pool.extent];
    let start = spec.banks.first().map_or(0, |bank| bank.extent.start);
    if space.image_at > start {
        // Firmware, the lowcore, vectors.
        out.push(Extent::new(start, 0x1_0000));
    }
    // The crash kernel's memory is reserved; a dump's reservation in CMA is not.
    out.extend(subtract(&spec.absent, &spec.cma));
    out.sort_unstable();
    out
}

fn lay_out(spec: &Spec, orders: &Orders, reserved: &[(u64, u64)], rng: &mut Rng) -> Vec<Block> {
    let page = spec.page_size.trailing_zeros();
    let placed: Vec<Block> = spec
        .placed
        .iter()
        .map(|placed| Block {
            frame: placed.address >> page,
            order: placed.shift - page,
            kind: if placed.free { Kind::HugetlbFree } else { Kind::Hugetlb },
        })
        .collect();
    let cma = spec.frames_of(&spec.cma);
    let edges = cma.iter().chain(reserved).flat_map(|(first, count)| [*first, first + count]);
    let absent = spec.frames_of(&spec.absent);
    let cuts: Vec<u64> =
        edges.chain(absent.iter().flat_map(|(first, count)| [*first, first + count])).collect();
    let ground = Ground {
        generation: spec.generation,
        arch: spec.mmu.arch(),
        memory_failure: spec.memory_failure,
        orders,
        ram: &spec.frames(),
        reserved,
        cma: &cma,
        placed: &placed,
        cuts: &cuts,
    };
    scene::lay_out(&ground, rng)
}

/// Huge pages whose `struct page`s share memory.
fn shared_blocks(spec: &Spec, space: &Space, blocks: &[Block]) -> Vec<Block> {
    let possible = spec.shared_vmemmap
        && spec.generation.shares_hugetlb_vmemmap(spec.mmu.arch())
        && spec.model == Model::Vmemmap
        && spec.struct_page.is_power_of_two()
        && place::unit(spec, space) == spec.page_size;
    let large = |block: &&Block| block.is_hugetlb() && spec.struct_page << block.order > spec.page_size;
    if possible { blocks.iter().filter(large).copied().collect() } else { Vec::new() }
}

fn new_map(spec: &Spec, space: &Space, covered: &[(u64, u64)]) -> Map {
    let page = spec.page_size.trailing_zeros();
    let sections = matches!(spec.model, Model::Sparse | Model::SparseExtreme)
        .then_some((space.physmem_bits - space.section_bits, space.section_bits - page));
    let top = Top {
        banks: spec
            .banks
            .iter()
            .zip(spec.frames())
            .map(|(bank, (first, count))| (first, first + count, bank.node))
            .collect(),
        normal: (4 << 30) >> page,
        node_bits: if spec.is_numa() { spec.mmu.arch().node_bits() } else { 0 },
        section: sections,
    };
    Map::new((spec.generation, spec.mmu.arch(), spec.order), spec.struct_page, top, covered)
}

/// Writes the `struct page` of every frame, holes included; returns what the blocks are.
fn write_pages(
    spec: &Spec,
    space: &Space,
    (reserved, blocks, shared): (&[(u64, u64)], &[Block], &[Block]),
    map: &mut Map,
    places: &Places,
    rng: &mut Rng,
) -> Vec<Run> {
    let page = Page { flags: map.flag("reserved"), ..Page::PLAIN };
    let ram: Vec<Extent> = spec.frames().iter().map(|(first, count)| Extent::new(*first, *count)).collect();
    let covered: Vec<Extent> = map.parts.iter().map(|part| Extent::new(part.first, part.count)).collect();
    let holes = subtract(&covered, &ram).into_iter().map(|extent| (extent.start, extent.length));
    for (first, count) in holes.chain(reserved.iter().copied()) {
        for frame in first..first + count {
            map.write(frame, page);
        }
    }
    let linear = space.linear.wrapping_add(space.image_at);
    let mut runs = Vec::new();
    for block in blocks {
        let until = if shared.contains(block) { spec.page_size / spec.struct_page } else { u64::MAX };
        runs.extend(scene::write(map, *block, (places.address(block.frame), linear), until, rng));
    }
    runs
}

/// Maps vmemmap, the linear map, the image and a few pages of vmalloc.
fn map_all(
    spec: &Spec,
    (space, basis): (&Space, Basis),
    entries: Box<dyn tables::Entries>,
    places: &Places,
    memory: &mut Memory,
    pool: &mut Pool,
    known: &mut Vec<(u64, Option<u64>)>,
) -> Result<Tables> {
    for (at, value) in arch::loongarch64::invalid_tables(basis) {
        let page = spec.order.u64(value).repeat(spec.page_size as usize / 8);
        memory.write(space.image_at + at, &page)?;
    }
    let mut tables = Tables::new(entries, space.image_at + image::SWAPPER, memory)?;
    let unit = place::unit(spec, space);
    for (address, physical) in &places.pieces {
        tables.map_range(memory, pool, (*address, *physical, unit), unit)?;
    }
    if let Some((last, _)) = places.pieces.last_key_value() {
        // Behind vmemmap there is nothing, nor one entry of any size further.
        known.push((last.wrapping_add(unit).wrapping_add(unit), None));
    }
    if space.maps_all {
        for bank in &spec.banks {
            let Extent { start, length } = bank.extent;
            let address = space.linear.wrapping_add(start);
            tables.map_range(memory, pool, (address, start, length), 2 << 30)?;
        }
        if space.image != space.linear {
            let address = space.image.wrapping_add(space.image_at);
            tables.map_range(memory, pool, (address, space.image_at, image::SIZE), 2 << 20)?;
        }
    }
    for bank in &spec.banks {
        let Extent { start, length } = bank.extent;
        for at in [start + 0x123, start + length - 8] {
            known.push((space.linear.wrapping_add(at), Some(at)));
        }
    }
    let text = space.image_at + 0x8_1238;
    known.push((space.image.wrapping_add(text), Some(text)));
    // Every other page, in descending order of physical address.
    let page = spec.page_size;
    let area = pool.take(4 * page, page)?;
    for n in 0..4 {
        let (address, physical) = (space.vmalloc + 2 * n * page, area + (3 - n) * page);
        tables.map_range(memory, pool, (address, physical, page), page)?;
        memory.write(physical, &address.to_be_bytes())?;
        known.push((address + 8, Some(physical + 8)));
        known.push((address + page, None));
    }
    Ok(tables)
}

/// Page tables have a type of their own in newer kernels.
fn mark_tables(spec: &Spec, map: &mut Map, tables: &Tables) {
    if spec.generation.type_word(Type::Table).is_none() {
        return;
    }
    let page = Page { mapcount: map.typed(Type::Table), ..Page::PLAIN };
    for extent in &tables.taken {
        for frame in extent.start / spec.page_size..extent.end().div_ceil(spec.page_size) {
            map.write(frame, page);
        }
    }
}

/// Gives data pages contents.
fn fill(spec: &Spec, reserved: &[Extent], memory: &mut Memory, rng: &Rng) -> Result<()> {
    if spec.fill == 0 {
        return Ok(());
    }
    let mut page = vec![0; spec.page_size as usize];
    let banks: Vec<Extent> = spec.banks.iter().map(|bank| bank.extent).collect();
    // Huge pages with a place are as large as all of the rest: their first pages will do.
    let gigantic: Vec<Extent> = spec
        .placed
        .iter()
        .map(|placed| Extent::between(placed.address + (1 << 20), placed.address + (1 << placed.shift)))
        .collect();
    let data = subtract(&subtract(&banks, reserved), &gigantic);
    for extent in data {
        for at in (extent.start..extent.end()).step_by(spec.page_size as usize) {
            let mut own = rng.fork(0x4000_0000 + at / spec.page_size);
            if own.below(spec.fill) == 0 {
                content::fill_page(&mut own, &mut page);
                memory.write(at, &page)?;
            }
        }
    }
    Ok(())
}

fn loads(spec: &Spec, space: &Space) -> Vec<Load> {
    let mut loads = Vec::new();
    if space.image_segment {
        let physical = Extent::new(space.image_at, image::SIZE);
        loads.push(Load { physical, address: space.image.wrapping_add(space.image_at) });
    }
    let banks: Vec<Extent> = spec.banks.iter().map(|bank| bank.extent).collect();
    for physical in subtract(&banks, &spec.absent) {
        let address = if spec.addresses { space.linear.wrapping_add(physical.start) } else { 0 };
        loads.push(Load { physical, address });
    }
    loads
}
