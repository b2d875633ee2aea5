//! Where the array of `struct page` lies: the memory models of Linux (`include/asm-generic/memory_model.h`,
//! `mm/sparse.c`).

use std::collections::BTreeMap;

use crate::bytes::Bytes;
use crate::error::Result;
use crate::memory::Memory;
use crate::synth::dump::arch::{Space, image};
use crate::synth::dump::generation::Generation;
use crate::synth::dump::page::{Map, Page};
use crate::synth::dump::pool::Pool;
use crate::synth::dump::scene::Block;
use crate::synth::dump::{Model, Spec};

/// Frames that get a `struct page`: first and number, one for each array that is allocated separately.
pub(crate) fn covered(spec: &Spec, space: &Space, free_orders: u32) -> Vec<(u64, u64)> {
    let banks = spec.frames();
    let grain = 1u64 << (free_orders - 1);
    let round = |first: u64, end: u64| {
        let start = first / grain * grain;
        (start, end.next_multiple_of(grain) - start)
    };
    let section = 1u64 << (space.section_bits - spec.page_size.trailing_zeros());
    let mut sections: Vec<u64> =
        banks.iter().flat_map(|(first, count)| first / section..(first + count).div_ceil(section)).collect();
    sections.sort_unstable();
    sections.dedup();
    match spec.model {
        Model::Flat => {
            let first = banks.first().map_or(0, |bank| bank.0);
            let end = banks.last().map_or(0, |bank| bank.0 + bank.1);
            vec![round(first, end)]
        }
        Model::Discontig => {
            let mut nodes: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
            for ((first, count), bank) in banks.iter().zip(&spec.banks) {
                let node = nodes.entry(bank.node).or_insert((*first, first + count));
                *node = (node.0.min(*first), node.1.max(first + count));
            }
            nodes.values().map(|(first, end)| round(*first, *end)).collect()
        }
        Model::Sparse | Model::SparseExtreme => {
            sections.iter().map(|number| (number * section, section)).collect()
        }
        Model::Vmemmap => {
            let mut runs: Vec<(u64, u64)> = Vec::new();
            for number in sections {
                match runs.last_mut() {
                    Some((first, count)) if *first + *count == number * section => *count += section,
                    _ => runs.push((number * section, section)),
                }
            }
            runs
        }
    }
}

/// Where each `struct page` is, virtually.
pub(crate) struct Places {
    /// First frame, number of frames, address of the first; with vmemmap one for all.
    arrays: Vec<(u64, u64, u64)>,
    vmemmap: Option<u64>,
    size: u64,
    /// Pieces of vmemmap: address and physical address.
    pub(crate) pieces: BTreeMap<u64, u64>,
    /// Since 7.1: the page of tails that huge pages of each order show, by its physical address.
    tails: BTreeMap<u32, u64>,
    unit: u64,
}

/// The size of a piece of vmemmap.
pub(crate) fn unit(spec: &Spec, space: &Space) -> u64 {
    let hash = matches!(spec.mmu, crate::synth::dump::Mmu::Hash { .. });
    if spec.huge_vmemmap || hash { space.vmemmap_entry } else { spec.page_size }
}

/// Bytes that the arrays can take, rounding included.
pub(crate) fn bytes(spec: &Spec, space: &Space, covered: &[(u64, u64)]) -> u64 {
    let unit = if spec.model == Model::Vmemmap { unit(spec, space) } else { spec.page_size };
    covered.iter().map(|(_, count)| (count * spec.struct_page).next_multiple_of(unit) + 2 * unit).sum()
}

impl Places {
    /// Allocates the arrays. Where a huge page shares the memory of its `struct page`s, `shared` has its block.
    pub(crate) fn new(
        spec: &Spec,
        space: &Space,
        covered: &[(u64, u64)],
        shared: &[Block],
        pool: &mut Pool,
    ) -> Result<Self> {
        let size = spec.struct_page;
        let unit = unit(spec, space);
        let mut places = Self {
            arrays: Vec::new(),
            vmemmap: None,
            size,
            pieces: BTreeMap::new(),
            tails: BTreeMap::new(),
            unit,
        };
        if spec.model != Model::Vmemmap {
            // The last one first, so that addresses do not follow frames.
            for (first, count) in covered.iter().rev() {
                let physical = pool.take(count * size, spec.page_size)?;
                places.arrays.push((*first, *count, space.linear.wrapping_add(physical)));
            }
            places.arrays.sort_unstable();
            return Ok(places);
        }
        places.vmemmap = Some(space.vmemmap);
        let mut wanted = Vec::new();
        for (first, count) in covered {
            let start = space.vmemmap.wrapping_add(first * size);
            let mut at = start / unit * unit;
            let end = start.wrapping_add(count * size);
            while at < end {
                wanted.push(at);
                at += unit;
            }
        }
        wanted.dedup();
        // Pieces that show another's memory: until 7.0 the one with the head, since then a page of tails.
        let mut shown: BTreeMap<u64, (u64, u32)> = BTreeMap::new();
        for block in shared {
            let head = places.address(block.frame);
            let mut at = head + unit;
            while at < places.address(block.end()) {
                shown.insert(at, (head, block.order));
                at += unit;
            }
            if spec.generation >= Generation::V7_1 && !places.tails.contains_key(&block.order) {
                places.tails.insert(block.order, pool.take(unit, unit)?);
            }
        }
        wanted.reverse();
        for address in wanted.iter().filter(|address| !shown.contains_key(address)) {
            places.pieces.insert(*address, pool.take(unit, unit)?);
        }
        for (address, (head, order)) in shown {
            let physical = places.tails.get(&order).or(places.pieces.get(&head)).copied().unwrap_or(0);
            places.pieces.insert(address, physical);
        }
        Ok(places)
    }

    /// The address of a frame's `struct page`.
    pub(crate) fn address(&self, frame: u64) -> u64 {
        if let Some(base) = self.vmemmap {
            return base.wrapping_add(frame * self.size);
        }
        let next = self.arrays.partition_point(|array| array.0 <= frame);
        let array = self.arrays[..next].last();
        array.map_or(0, |(first, _, address)| address.wrapping_add((frame - first) * self.size))
    }

    /// Puts all `struct page`s into memory.
    pub(crate) fn flush(
        &self,
        map: &Map,
        space: &Space,
        shared: &[Block],
        memory: &mut Memory,
    ) -> Result<()> {
        for part in &map.parts {
            let start = self.address(part.first);
            if self.vmemmap.is_none() {
                memory.write(start.wrapping_sub(space.linear), &part.bytes)?;
                continue;
            }
            let length = part.bytes.len() as u64;
            let mut done = 0;
            while done < length {
                let at = start + done;
                let piece = at / self.unit * self.unit;
                let now = (piece + self.unit - at).min(length - done);
                let shows_another = |block: &Block| {
                    self.address(block.frame) + self.unit <= at && at < self.address(block.end())
                };
                if !shared.iter().any(shows_another)
                    && let Some(physical) = self.pieces.get(&piece)
                {
                    let bytes = &part.bytes[done as usize..(done + now) as usize];
                    memory.write(physical + (at - piece), bytes)?;
                }
                done += now;
            }
        }
        for (order, physical) in &self.tails {
            let count = self.unit / self.size;
            let top = map.top().clone();
            let mut page = Map::new((map.generation, map.arch, map.order()), self.size, top, &[(0, count)]);
            let mask = !0u64 << (order + self.size.trailing_zeros());
            for frame in 0..count {
                page.write(frame, Page { refcount: 0, lru: [mask | 1, 0], ..Page::PLAIN });
            }
            memory.write(*physical, &page.parts[0].bytes)?;
        }
        Ok(())
    }
}

/// What VMCOREINFO says of the sections.
pub(crate) struct Sections {
    /// Address of the table.
    pub(crate) symbol: u64,
    /// LENGTH(mem_section).
    pub(crate) length: u64,
    /// SIZE(mem_section).
    pub(crate) size: u64,
}

fn section_size(spec: &Spec) -> u64 {
    let grown = spec.mmu.arch() == crate::synth::dump::Arch::Ppc64 && spec.generation >= Generation::V5_10;
    if grown { 32 } else { 16 }
}

/// Bytes that [`sections`] takes from the pool.
pub(crate) fn section_bytes(spec: &Spec, space: &Space) -> u64 {
    let count = 1u64 << (space.physmem_bits - space.section_bits);
    let size = section_size(spec);
    match spec.model {
        Model::Sparse => count * size + spec.page_size,
        Model::SparseExtreme | Model::Vmemmap => {
            let roots = count.div_ceil(spec.page_size / size);
            roots * 8 + (spec.banks.len() as u64 * 4 + 4) * spec.page_size
        }
        Model::Flat | Model::Discontig => 0,
    }
}

/// Writes `mem_section`; `None` for kernels without.
pub(crate) fn sections(
    spec: &Spec,
    space: &Space,
    covered: &[(u64, u64)],
    places: &Places,
    memory: &mut Memory,
    pool: &mut Pool,
) -> Result<Option<Sections>> {
    if matches!(spec.model, Model::Flat | Model::Discontig) {
        return Ok(None);
    }
    let size = section_size(spec);
    let count = 1u64 << (space.physmem_bits - space.section_bits);
    let frames = 1u64 << (space.section_bits - spec.page_size.trailing_zeros());
    let per_root = spec.page_size / size;
    // Present, has a map, online (4.13), early (5.5).
    let flags: u64 = match spec.generation {
        generation if generation < Generation::V4_14 => 0b11,
        Generation::V4_14 => 0b111,
        _ => 0b1111,
    };
    let numbers: Vec<u64> =
        covered.iter().flat_map(|(first, count)| first / frames..(first + count) / frames).collect();
    let entry = |number: u64| {
        let first = number * frames;
        let map = places.address(first).wrapping_sub(first * spec.struct_page);
        let usage = space.linear.wrapping_add(pool_hint(number));
        let mut out = Bytes::new(spec.order);
        out.u64(map | flags).u64(usage);
        out.bytes.resize(size as usize, 0);
        out.bytes
    };
    if spec.model == Model::Sparse {
        let table = pool.take(count * size, spec.page_size)?;
        for number in numbers {
            memory.write(table + number * size, &entry(number))?;
        }
        let symbol = space.linear.wrapping_add(table);
        return Ok(Some(Sections { symbol, length: count, size }));
    }
    let roots = count.div_ceil(per_root);
    // Static until 4.14, allocated since.
    let (table, symbol) = if spec.generation <= Generation::V4_14 {
        let at = space.image_at + image::ROOTS;
        (at, space.image.wrapping_add(at))
    } else {
        let at = pool.take(roots * 8, spec.page_size)?;
        (at, space.linear.wrapping_add(at))
    };
    let mut made: BTreeMap<u64, u64> = BTreeMap::new();
    for number in numbers {
        let root = number / per_root;
        let block = match made.get(&root) {
            Some(block) => *block,
            None => {
                let block = pool.take(spec.page_size, spec.page_size)?;
                memory.write(table + root * 8, &spec.order.u64(space.linear.wrapping_add(block)))?;
                made.insert(root, block);
                block
            }
        };
        memory.write(block + number % per_root * size, &entry(number))?;
    }
    Ok(Some(Sections { symbol, length: roots, size }))
}

/// Some address for `mem_section.usage`, which no filter reads.
fn pool_hint(number: u64) -> u64 {
    0x20_0000 + number % 64 * 0x40
}
