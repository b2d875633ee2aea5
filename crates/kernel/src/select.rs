//! The making of a selection from a dump level.
//!
//! Chunks are decided in parallel, a wave of them at a time so that memory stays bounded, and appended in order. A block
//! of pages may reach past the chunk in which its head lies (huge pages of 16 GiB do): what reaches further is carried
//! over and taken out of later chunks before they are appended.

use crate::memmodel::MemModel;
use crate::page::{Carry, Classes, FreeList, Scan};
use crate::walk::Walk;
use crate::{Error, Kernel, KernelMemory};
use rayon::prelude::*;
use std::fs::File;
use vmcore::{CHUNK_FRAMES, Chunk, DumpLevel, Pfn, Range, Reason, Selection, WordSize};

/// Chunks of a wave for each thread, so that one slow chunk does not leave the other threads idle.
const CHUNKS_PER_THREAD: usize = 4;

/// What was selected.
#[derive(Debug)]
pub struct Selected {
    /// The pages to keep and why the others go.
    pub selection: Selection,
    /// What could not be decided, a sentence each; the pages concerned are kept.
    pub remarks: Vec<String>,
    /// Pages kept because the dump does not hold their `struct page`.
    pub undecided: u64,
}

/// What the decision needs to know of the kernel.
struct Prepared {
    classes: Classes,
    model: MemModel,
    /// Empty where free pages are marked.
    free: FreeList,
}

/// One decided chunk.
struct Decided<'a> {
    index: u64,
    scan: Scan<'a>,
}

impl Kernel<'_> {
    /// Decides which pages `level` keeps, on the current rayon pool. `spill` is an empty file for what outgrows memory.
    ///
    /// Broken and offline pages go at every level where the kernel tells them; pages of zeros (bit 1) stay, as only a
    /// writer that reads them can know. At levels 0 and 1 a kernel whose structures are not understood has all its pages
    /// kept, with a remark.
    ///
    /// # Errors
    ///
    /// When VMCOREINFO lacks what a class above level 1 needs, when the kernel's tables make no sense, when the input is
    /// damaged or the spill file fails.
    pub fn select(&self, level: DumpLevel, spill: Option<File>) -> Result<Selected, Error> {
        let mut remarks = Vec::new();
        let above_zeros = level.bits() & !DumpLevel::ZERO != 0;
        let prepared = match self.prepare(level, &mut remarks) {
            Ok(Some(prepared)) => prepared,
            Ok(None) => return self.everything(level, spill, remarks),
            Err(error) if !above_zeros && !matches!(error, Error::Read(_)) => {
                remarks
                    .push(format!("broken and offline pages could not be looked for and are kept: {error}"));
                return self.everything(level, spill, remarks);
            }
            Err(error) => return Err(error),
        };

        let mut selection = Selection::new(self.memory_map().clone(), level, spill);
        let indices = selection.chunk_indices();
        let wave = rayon::current_num_threads().max(1) * CHUNKS_PER_THREAD;
        let mut carries: Vec<Carry> = Vec::new();
        let (mut undecided, mut bad_orders) = (0, 0);
        for wave in indices.chunks(wave) {
            let decided: Vec<Decided<'_>> =
                wave.par_iter().map(|&index| self.decide(&prepared, index)).collect::<Result<_, Error>>()?;
            for Decided { index, mut scan } in decided {
                apply(&mut carries, index, &mut scan);
                carries.append(&mut scan.carries);
                undecided += scan.undecided;
                bad_orders += scan.bad_orders;
                selection.push(index, scan.chunk, &scan.reasons)?;
            }
        }
        if undecided > 0 {
            remarks.push(format!(
                "{undecided} pages are kept because the dump does not hold their struct pages"
            ));
        }
        if bad_orders > 0 {
            remarks.push(format!("{bad_orders} free blocks are kept because their size makes no sense"));
        }
        Ok(Selected { selection, remarks, undecided })
    }

    /// The tests and the memory model; `None` when there is nothing to look for.
    fn prepare(&self, level: DumpLevel, remarks: &mut Vec<String>) -> Result<Option<Prepared>, Error> {
        if self.machine().word != WordSize::Bits64 {
            return Err(Error::Unsupported(format!(
                "pages of 32-bit kernels ({}) are not told apart; dump levels 0 and 1 need not tell them apart",
                self.machine()
            )));
        }
        let classes = Classes::new(self.info(), self.physical().page_size(), level, remarks)?;
        if !classes.finds_something() {
            return Ok(None);
        }
        let model = self.mem_model()?;
        let free = match classes.by_free_list {
            true => FreeList::walk(self, &model, remarks)?,
            false => FreeList::default(),
        };
        Ok(Some(Prepared { classes, model, free }))
    }

    fn everything(
        &self,
        level: DumpLevel,
        spill: Option<File>,
        remarks: Vec<String>,
    ) -> Result<Selected, Error> {
        let selection = Selection::everything(self.physical().memory(), level, spill)?;
        Ok(Selected { selection, remarks, undecided: 0 })
    }

    /// Decides chunk `index` by itself.
    fn decide<'a>(&self, prepared: &'a Prepared, index: u64) -> Result<Decided<'a>, Error> {
        let Prepared { classes, model, free } = prepared;
        let map = self.memory_map();
        let first = index * CHUNK_FRAMES;
        let mut chunk = Chunk::of_map(map, index);
        let earlier = self.physical().memory().drop_excluded(Pfn(first), &mut chunk)?;
        let mut scan = Scan::new(classes, self.machine().order, Pfn(first), chunk);
        scan.reasons.add(Reason::Earlier, earlier);
        for &(pfn, order) in free.within(Range::new(Pfn(first), Pfn(first + CHUNK_FRAMES))) {
            scan.free_block(pfn, order);
        }
        let mut walk = Walk::new(self, model, Pfn(first));
        for frames in map.frames().within(Range::new(Pfn(first), Pfn(first + CHUNK_FRAMES))) {
            walk.frames(frames, &mut scan)?;
        }
        Ok(Decided { index, scan })
    }
}

/// Takes out of a chunk what blocks of earlier chunks reach into, and forgets what ends there.
fn apply(carries: &mut Vec<Carry>, index: u64, scan: &mut Scan<'_>) {
    let first = index * CHUNK_FRAMES;
    let chunk = Range::new(Pfn(first), Pfn(first + CHUNK_FRAMES));
    for carry in carries.iter() {
        let part = carry.frames.intersect(&chunk);
        if !part.is_empty() {
            let removed = scan.chunk.remove(part.start.0 - first, part.end.0 - first);
            scan.reasons.add(carry.reason, removed);
        }
    }
    carries.retain(|carry| carry.frames.end > chunk.end);
}
