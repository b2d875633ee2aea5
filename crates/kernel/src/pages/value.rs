//! Pages in the order of their value to the reader of a dump.
//!
//! A dump that runs out of space or time should have lost what is missed least. What debuggers read before they can
//! say anything at all comes first, memory that the kernel has freed last.

use crate::address::memmodel::MemModel;
use crate::pages::frames::{self, Mapped};
use crate::pages::page::{Classes, FreeList, Sorter};
use crate::pages::walk::Walk;
use crate::pages::worth::Value;
use crate::{Error, Kernel, KernelMemory};
use rayon::prelude::*;
use std::fs::File;
use std::io;
use vmcore::{
    CHUNK_FRAMES, Chunk, DumpLevel, Pfn, Range, RangeSet, ReasonCounts, Selection, VirtAddr, WordSize,
};

/// Chunks of a wave for each thread.
const CHUNKS_PER_THREAD: usize = 4;

/// Frames whose struct pages are looked at together, if any of their pages has a value to find: as many as the largest block that
/// the allocator makes of small pages. A page's block begins among them, so nothing before them is needed to judge it.
const GROUP: u64 = 1024;

/// What the order needs to know of the kernel.
struct Prepared {
    /// The memory model and the tests; without them what `essential` holds is all that is known.
    pages: Option<(MemModel, Classes, FreeList)>,
    /// The flag of pages that were never in the allocator's hands; 0 when it is not known.
    reserved: u64,
    essential: RangeSet<Pfn>,
}

/// The most chunks of a part that are held in memory: 1 MiB of bitmap, for there are several parts.
const HELD: usize = 32;

impl Kernel<'_> {
    /// Takes `selection` apart by the value of its pages: disjoint parts, the most valuable first, none empty, that
    /// together are the whole. Works on the current rayon pool. `spill` makes an empty file for each part that may
    /// outgrow memory.
    ///
    /// What the kernel does not distinguish stays together, so there are fewer parts then; at worst one.
    ///
    /// # Errors
    ///
    /// When the input is damaged, or a work file cannot be made, written or read.
    pub fn by_value(
        &self,
        selection: &Selection,
        spill: &dyn Fn() -> io::Result<File>,
    ) -> Result<Vec<(Value, Selection)>, Error> {
        let prepared = self.prepare_values()?;
        let mut parts = Vec::new();
        for value in Value::ALL {
            let file = spill().map_err(|source| vmcore::SelectionError::Spill {
                action: "keep",
                offset: 0,
                source,
            })?;
            let part = Selection::new(selection.map().clone(), selection.level(), Some(file));
            parts.push((value, part.holding(HELD)));
        }
        let positions: Vec<usize> = (0..selection.chunk_count()).collect();
        let wave = rayon::current_num_threads().max(1) * CHUNKS_PER_THREAD;
        let mut carries: Vec<(Range<Pfn>, Value)> = Vec::new();
        for wave in positions.chunks(wave) {
            let sorted: Vec<Sorter<'_>> = wave
                .par_iter()
                .map(|&position| {
                    let (first, chunk) = selection.chunk(position)?;
                    self.sort(&prepared, first, chunk)
                })
                .collect::<Result<_, Error>>()?;
            for mut sorter in sorted {
                let frames = Range::new(sorter.first, Pfn(sorter.first.0 + CHUNK_FRAMES));
                for &(carried, value) in &carries {
                    sorter.found(carried.intersect(&frames), value);
                }
                carries.retain(|(carried, _)| carried.end > frames.end);
                carries.append(&mut sorter.carries);
                let index = sorter.first.0 / CHUNK_FRAMES;
                for ((_, part), chunk) in parts.iter_mut().zip(sorter.chunks) {
                    part.push(index, chunk, &ReasonCounts::default())?;
                }
            }
        }
        parts.retain(|(_, part)| part.kept() > 0);
        Ok(parts)
    }

    /// Reports whether the kernel tells what its pages are used for: where it does not, [`Kernel::by_value`] has nearly all of
    /// them together.
    pub fn tells_classes(&self) -> bool {
        self.pages_by_class().is_ok()
    }

    /// Learns what can be learned; what cannot leaves pages together.
    fn prepare_values(&self) -> Result<Prepared, Error> {
        let Mapped { tables, memory } = Mapped::walk(self)?;
        let mut essential = vec![tables, memory, frames::image(self)?];
        let mut reserved = 0;
        let pages = match self.pages_by_class() {
            Ok(pages) => Some(pages),
            Err(Error::Read(error)) => return Err(error.into()),
            Err(why) => {
                tracing::debug!("pages cannot be put in order by class: {why}");
                None
            }
        };
        if let Some((model, classes, _)) = &pages {
            essential.push(frames::arrays(self, model, classes.size() as u64)?);
            reserved = self.reserved(model, classes)?;
        }
        let essential = essential.iter().flat_map(|set| set.iter()).collect();
        Ok(Prepared { pages, reserved, essential })
    }

    /// The memory model and the tests of all classes that this kernel describes.
    fn pages_by_class(&self) -> Result<(MemModel, Classes, FreeList), Error> {
        if self.machine().word != WordSize::Bits64 {
            return Err(Error::Unsupported("a 32-bit kernel".to_owned()));
        }
        let (info, page) = (self.info(), self.physical().page_size());
        let classes = |bits: u8| {
            Classes::new(info, page, DumpLevel::new(bits.into()).unwrap_or_default(), &mut Vec::new())
        };
        let told = [DumpLevel::CACHE | DumpLevel::CACHE_PRIVATE, DumpLevel::USER, DumpLevel::FREE];
        let told = told.into_iter().filter(|&bits| classes(bits).is_ok()).sum();
        let classes = classes(told)?;
        let model = self.mem_model()?;
        let free = match classes.by_free_list {
            true => FreeList::walk(self, &model, &mut Vec::new())?,
            false => FreeList::default(),
        };
        Ok((model, classes, free))
    }

    /// PG_reserved, whose number VMCOREINFO does not give: the one flag that the pages of the kernel's text have.
    fn reserved(&self, model: &MemModel, classes: &Classes) -> Result<u64, Error> {
        const SAMPLES: u64 = 16;
        const STEP: u64 = 1 << 16;
        /// Above are the numbers of nodes and the like. The flag's own has been between 10 and 13.
        const FLAGS: u64 = (1 << 20) - 1;
        let Some(text) = self.info().symbol("_stext") else { return Ok(0) };
        let mut seen = Vec::new();
        let mut runs = Vec::new();
        for addr in (0..SAMPLES).map(|i| VirtAddr(text.0.wrapping_add(i * STEP))) {
            let found = self.translate(addr).and_then(|phys| {
                let pfn = self.physical().page_size().pfn(phys);
                runs.clear();
                model.runs(self, Range::new(pfn, Pfn(pfn.0.saturating_add(1))), &mut runs)?;
                let run = runs.first().copied();
                run.map(|run| self.read_word(classes.flags_of(run.at))).transpose()
            });
            match found {
                Ok(Some(flags)) => seen.push(flags & FLAGS),
                Ok(None) => {}
                Err(Error::Read(error)) => return Err(error.into()),
                Err(_) => {}
            }
        }
        let common = seen.iter().fold(FLAGS, |all, flags| all & flags);
        Ok(if !seen.is_empty() && common.is_power_of_two() { common } else { 0 })
    }

    /// Sorts the pages of the chunk that begins at `first`.
    fn sort<'a>(&self, prepared: &'a Prepared, first: Pfn, chunk: Chunk) -> Result<Sorter<'a>, Error> {
        let frames = Range::new(first, Pfn(first.0 + CHUNK_FRAMES));
        let classes = prepared.pages.as_ref().map(|(_, classes, _)| classes);
        let mut sorter = Sorter::new(classes, self.machine().order, prepared.reserved, first, chunk);
        for known in prepared.essential.within(frames) {
            sorter.found(known, Value::Essential);
        }
        if let Some((model, _, free)) = &prepared.pages {
            for &(pfn, order) in free.within(frames) {
                sorter.block(pfn.0, order, Value::Free);
            }
            let mut walk = Walk::new(self, model, first);
            for group in groups(&sorter.chunks[Value::Kernel as usize]) {
                let group = Range::new(Pfn(first.0 + group.start), Pfn(first.0 + group.end));
                for frames in self.memory_map().frames().within(group) {
                    walk.frames(frames, &mut sorter)?;
                }
            }
        }
        Ok(sorter)
    }
}

/// The groups of frames in which `chunk` has any, those that follow each other as one. At a high dump level most groups, whose
/// pages are all free or a process's, have none.
fn groups(chunk: &Chunk) -> Vec<Range<u64>> {
    let mut groups: Vec<Range<u64>> = Vec::new();
    let mut at = 0;
    while let Some(run) = chunk.next_run(at) {
        let group = Range::new(run.start / GROUP * GROUP, run.end.next_multiple_of(GROUP));
        at = group.end;
        match groups.last_mut() {
            Some(last) if last.end == group.start => last.end = group.end,
            _ => groups.push(group),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_with_pages_are_looked_at() {
        let mut chunk = Chunk::empty();
        assert!(groups(&chunk).is_empty());
        for (start, end) in [(5, 6), (1023, 1025), (5000, 5001), (CHUNK_FRAMES - 1, CHUNK_FRAMES)] {
            chunk.set(start, end, true);
        }
        let some = [(0, 2048), (4096, 5120), (CHUNK_FRAMES - GROUP, CHUNK_FRAMES)];
        assert_eq!(groups(&chunk), some.map(|(start, end)| Range::new(start, end)));
        chunk.set(0, CHUNK_FRAMES, true);
        assert_eq!(groups(&chunk), [Range::new(0, CHUNK_FRAMES)]);
    }
}
