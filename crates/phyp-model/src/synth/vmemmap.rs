//! The array of `struct page`, piece by piece, and its mapping.

use std::collections::HashMap;

use crate::error::Result;
use crate::memory::Memory;
use crate::synth::pool::Pool;
use crate::synth::sections::SECTION_BITS;
use crate::synth::statics::StaticData;
use crate::synth::{Mmu, SynthOptions, hash, radix};

/// Bytes of a `struct page`.
pub(crate) const STRUCT_PAGE: u64 = 64;
/// The size in bytes of one piece of vmemmap as it is mapped.
pub(crate) fn unit(options: &SynthOptions) -> u64 {
    match options.mmu {
        Mmu::Radix { huge_vmemmap: true } => radix::HUGE,
        Mmu::Radix { huge_vmemmap: false } => options.page_size,
        Mmu::Hash { vmemmap_shift } => 1 << vmemmap_shift,
    }
}

/// Numbers of the pieces that the sections with RAM need, in ascending order.
pub(crate) fn pieces(options: &SynthOptions) -> Vec<u64> {
    let unit = unit(options);
    let mut out: Vec<u64> = Vec::new();
    let bytes = (1u64 << SECTION_BITS) / options.page_size * STRUCT_PAGE;
    for extent in &options.ram {
        let sections = extent.start >> SECTION_BITS..extent.end().div_ceil(1 << SECTION_BITS);
        let range = sections.start * bytes / unit..(sections.end * bytes).div_ceil(unit);
        let from = out.last().map_or(range.start, |last| range.start.max(last + 1));
        out.extend(from..range.end);
    }
    out
}

/// The array under construction. Pages are written in ascending order, but for links into older ones.
pub(crate) struct Vmemmap {
    base: u64,
    unit: u64,
    /// Physical address of each piece; unknown until written where pieces are shared.
    places: HashMap<u64, u64>,
    order_made: Vec<u64>,
    share: bool,
    by_contents: HashMap<Vec<u8>, u64>,
    current: Option<u64>,
    buffer: Vec<u8>,
    spare: Vec<u64>,
}

impl Vmemmap {
    pub(crate) fn plan(options: &SynthOptions, pool: &mut Pool) -> Result<Self> {
        let base = match (options.mmu, options.page_size) {
            (Mmu::Radix { .. }, _) => radix::VMEMMAP,
            (Mmu::Hash { .. }, 0x1000) => hash::VMEMMAP_4K,
            (Mmu::Hash { .. }, _) => hash::VMEMMAP_64K,
        };
        let unit = unit(options);
        let order_made = pieces(options);
        let mut places = HashMap::new();
        let mut spare = Vec::new();
        if options.share_vmemmap {
            for _ in 0..order_made.len().min(512) {
                spare.push(pool.take(unit, unit)?);
            }
            spare.reverse();
        } else {
            for piece in &order_made {
                places.insert(*piece, pool.take(unit, unit)?);
            }
        }
        Ok(Self {
            base,
            unit,
            places,
            order_made,
            share: options.share_vmemmap,
            by_contents: HashMap::new(),
            current: None,
            buffer: vec![0; unit as usize],
            spare,
        })
    }

    /// Where vmemmap begins.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// Virtual address of a frame's `struct page`.
    pub(crate) fn address(&self, frame: u64) -> u64 {
        self.base + frame * STRUCT_PAGE
    }

    /// Whether links between pages can be written.
    pub(crate) fn can_link(&self) -> bool {
        !self.share
    }

    /// Writes one `struct page`.
    pub(crate) fn write(&mut self, memory: &mut Memory, frame: u64, page: &[u8; 64]) -> Result<()> {
        let offset = frame * STRUCT_PAGE;
        self.turn_to(memory, offset / self.unit)?;
        let at = (offset % self.unit) as usize;
        self.buffer[at..at + 64].copy_from_slice(page);
        Ok(())
    }

    /// Changes eight bytes of a `struct page` that was written before.
    pub(crate) fn patch(&mut self, memory: &mut Memory, address: u64, word: [u8; 8]) -> Result<()> {
        let offset = address - self.base;
        let (piece, at) = (offset / self.unit, offset % self.unit);
        if self.current == Some(piece) {
            self.buffer[at as usize..at as usize + 8].copy_from_slice(&word);
            return Ok(());
        }
        match self.places.get(&piece) {
            Some(place) => memory.write(place + at, &word),
            None => Ok(()),
        }
    }

    fn turn_to(&mut self, memory: &mut Memory, piece: u64) -> Result<()> {
        if self.current == Some(piece) {
            return Ok(());
        }
        self.flush(memory)?;
        self.current = Some(piece);
        Ok(())
    }

    fn flush(&mut self, memory: &mut Memory) -> Result<()> {
        let Some(piece) = self.current.take() else { return Ok(()) };
        let place = if self.share {
            let known = self.by_contents.get(&self.buffer).copied();
            let place = match known {
                Some(place) => place,
                None => self.fresh(piece)?,
            };
            self.by_contents.insert(self.buffer.clone(), place);
            self.places.insert(piece, place);
            if known.is_some() {
                self.buffer.fill(0);
                return Ok(());
            }
            place
        } else {
            self.places.get(&piece).copied().map_or_else(|| self.fresh(piece), Ok)?
        };
        memory.write(place, &self.buffer)?;
        self.buffer.fill(0);
        Ok(())
    }

    fn fresh(&mut self, piece: u64) -> Result<u64> {
        let expected = "a mix whose vmemmap has at most 512 different pieces, to share them";
        self.spare.pop().ok_or(crate::ModelError::Options { what: "share_vmemmap", found: piece, expected })
    }

    /// Maps all pieces, and returns some addresses and where they lead.
    pub(crate) fn finish(
        &mut self,
        options: &SynthOptions,
        memory: &mut Memory,
        pool: &mut Pool,
        data: &StaticData,
    ) -> Result<Vec<(u64, Option<u64>)>> {
        self.flush(memory)?;
        if self.share {
            // Pieces of sections whose frames are holes were never written: they share the first free place.
            let blank = self.spare.pop();
            for piece in &self.order_made {
                if let Some(blank) = blank {
                    self.places.entry(*piece).or_insert(blank);
                }
            }
        }
        let mut mapped = Vec::new();
        for piece in &self.order_made {
            if let Some(place) = self.places.get(piece) {
                mapped.push((self.base + piece * self.unit, *place));
            }
        }
        match options.mmu {
            Mmu::Radix { .. } => {
                for (address, place) in &mapped {
                    radix::map(options.page_size, memory, pool, *address, *place, self.unit)?;
                }
            }
            Mmu::Hash { .. } => hash::write_list(options, memory, pool, data, &mapped)?,
        }
        let step = (mapped.len() / 16).max(1);
        let mut known: Vec<(u64, Option<u64>)> = mapped
            .iter()
            .step_by(step)
            .map(|(address, place)| (address + 0x38, Some(place + 0x38)))
            .collect();
        let behind = self.order_made.last().map_or(0, |last| last + 1);
        known.push((self.base + behind * self.unit, None));
        Ok(known)
    }
}
