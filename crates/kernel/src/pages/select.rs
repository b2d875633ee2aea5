//! The making of a selection from a dump level.
//!
//! Chunks are decided in parallel, a wave of them at a time so that memory stays bounded, and appended in order. A block
//! of pages may reach past the chunk in which its head lies (huge pages of 16 GiB do): what reaches further is carried
//! over and taken out of later chunks before they are appended.

use crate::address::memmodel::MemModel;
use crate::pages::gate::{Found, Gate, Guard, Outcome};
use crate::pages::page::{Carry, Census, Classes, FreeList, REGION, Regions, Scan};
use crate::pages::walk::Walk;
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
    /// What could not be decided, one sentence per entry; the pages concerned are kept.
    pub remarks: Vec<String>,
    /// Pages kept because the dump does not hold their `struct page`.
    pub undecided: u64,
    /// What was checked before anything was left out, and what was kept because of it.
    pub gate: Gate,
}

/// What the decision needs to know of the kernel.
struct Prepared {
    classes: Classes,
    model: MemModel,
    /// Empty where free pages are marked.
    free: FreeList,
    /// What is looked at before anything is left out; `None` with `--no-gate`.
    guard: Option<Guard>,
}

/// One decided chunk.
struct Decided<'a> {
    index: u64,
    scan: Scan<'a>,
    /// What there was to decide about, if it is needed later.
    before: Option<Chunk>,
}

/// Sums over decided chunks.
#[derive(Default)]
struct Sums {
    undecided: u64,
    bad_orders: u64,
    doubtful: u64,
    uncovered: u64,
    known: u64,
    known_taken: u64,
    first_bad: Option<Pfn>,
    regions: Vec<Range<Pfn>>,
    census: Census,
}

impl Sums {
    fn add(&mut self, scan: &Scan<'_>) {
        self.undecided += scan.undecided;
        self.bad_orders += scan.bad_orders;
        self.uncovered += scan.uncovered;
        self.census.merge(&scan.census);
        self.first_bad = self.first_bad.or(scan.first_bad);
    }

    /// What was kept in doubt, one sentence per entry.
    fn remarks(&self, gate: &Gate) -> Vec<String> {
        let mut remarks = Vec::new();
        let Self { undecided, bad_orders, .. } = self;
        if *undecided > 0 {
            remarks.push(format!(
                "{undecided} pages are kept because the dump does not hold their struct pages"
            ));
        }
        if *bad_orders > 0 {
            remarks.push(format!("{bad_orders} free blocks are kept because their size makes no sense"));
        }
        let first = self.first_bad.or(self.regions.first().map(|region| region.start));
        if let (true, Some(first)) = (gate.held_back(), first) {
            let whole: u64 = gate.regions.iter().map(Range::len).sum();
            remarks.push(format!(
                "{} pages are kept because what their struct pages say makes no sense, the first at frame {first}, and \
                 {whole} in {} regions of which too much does not",
                gate.doubtful,
                gate.regions.len(),
            ));
        }
        remarks
    }
}

impl Kernel<'_> {
    /// Decides which pages `level` keeps, on the current rayon pool. `spill` is an empty file for what outgrows memory.
    ///
    /// Broken and offline pages go at every level where the kernel exports how they are marked; pages of zeros (bit 1)
    /// stay, as only a writer that reads them can know. At levels 0 and 1 a kernel whose structures are not understood
    /// has all its pages kept, with a remark.
    ///
    /// What VMCOREINFO and the struct pages say is held against what must be true of the kernel ([`Gate`]). Regions of
    /// memory of which nonsense is said are kept whole. If the kernel as a whole is not understood, be it because
    /// VMCOREINFO lacks what a class needs, everything is kept, and the selection's level is only bit 0 of `level`.
    ///
    /// # Errors
    ///
    /// When the input is damaged or the spill file fails.
    pub fn select(&self, level: DumpLevel, spill: Option<File>) -> Result<Selected, Error> {
        self.choose(level, spill, true)
    }

    /// As [`Kernel::select`], believing whatever VMCOREINFO and the struct pages say.
    ///
    /// # Errors
    ///
    /// As [`Kernel::select`], and when VMCOREINFO lacks what a class above level 1 needs or the kernel's tables make no
    /// sense.
    pub fn select_unchecked(&self, level: DumpLevel, spill: Option<File>) -> Result<Selected, Error> {
        self.choose(level, spill, false)
    }

    fn choose(&self, level: DumpLevel, spill: Option<File>, gated: bool) -> Result<Selected, Error> {
        let mut remarks = Vec::new();
        let above_zeros = level.bits() & !DumpLevel::ZERO != 0;
        let prepared = match self.prepare(level, gated, &mut remarks) {
            Ok(Some(prepared)) => prepared,
            Ok(None) => return self.everything(level, spill, remarks, Gate::default()),
            Err(error) if !above_zeros && !matches!(error, Error::Read(_)) => {
                remarks
                    .push(format!("broken and offline pages could not be looked for and are kept: {error}"));
                return self.everything(level, spill, remarks, Gate::default());
            }
            Err(error @ (Error::Read(_) | Error::Selection(_))) => return Err(error),
            Err(error) if gated => {
                return self.closed(level, spill, remarks, Gate::not_understood(&error));
            }
            Err(error) => return Err(error),
        };
        // What a closed gate makes of the work file begins at its start again.
        let again = spill.as_ref().and_then(|file| file.try_clone().ok());
        let (selection, sums) = self.decide_all(&prepared, level, spill)?;
        let gate = self.judge(&prepared, level, &sums)?;
        if gate.closed {
            return self.closed(level, again, remarks, gate);
        }
        remarks.extend(sums.remarks(&gate));
        Ok(Selected { selection, remarks, undecided: sums.undecided, gate })
    }

    /// Decides all chunks.
    fn decide_all(
        &self,
        prepared: &Prepared,
        level: DumpLevel,
        spill: Option<File>,
    ) -> Result<(Selection, Sums), Error> {
        let mut selection = Selection::new(self.memory_map().clone(), level, spill);
        let indices = selection.chunk_indices();
        let wave = rayon::current_num_threads().max(1) * CHUNKS_PER_THREAD;
        let mut carries: Vec<Carry> = Vec::new();
        let mut sums = Sums::default();
        for wave in indices.chunks(wave) {
            let decided: Vec<Decided<'_>> =
                wave.par_iter().map(|&index| self.decide(prepared, index)).collect::<Result<_, Error>>()?;
            for mut decided in decided {
                apply(&carries, decided.index, &mut decided.scan);
                sums.add(&decided.scan);
                self.spare(prepared, &mut decided, &carries, &mut sums)?;
                let Decided { index, mut scan, .. } = decided;
                sums.doubtful += scan.doubtful;
                carries.retain(|carry| carry.frames.end.0 > (index + 1) * CHUNK_FRAMES);
                carries.append(&mut scan.carries);
                selection.push(index, scan.chunk, &scan.reasons)?;
            }
        }
        Ok((selection, sums))
    }

    /// Keeps the regions whole of which too much is nonsense, or in which a page was left out that is known to be the
    /// kernel's.
    fn spare<'a>(
        &self,
        prepared: &'a Prepared,
        decided: &mut Decided<'a>,
        carries: &[Carry],
        sums: &mut Sums,
    ) -> Result<(), Error> {
        let (Some(guard), Some(before)) = (&prepared.guard, &decided.before) else { return Ok(()) };
        let first = decided.index * CHUNK_FRAMES;
        let chunk = Range::new(Pfn(first), Pfn(first + CHUNK_FRAMES));
        let mut whole = decided.scan.failed();
        for known in guard.known.within(chunk) {
            let mut start = known.start.0;
            while start < known.end.0 {
                let end = ((start / REGION + 1) * REGION).min(known.end.0);
                let there = before.count_within(start - first, end - first);
                let taken = there - decided.scan.chunk.count_within(start - first, end - first);
                sums.known += there;
                sums.known_taken += taken;
                if taken > 0 {
                    whole |= decided.scan.region(start);
                }
                start = end;
            }
        }
        if whole != 0 {
            decided.scan = self.scan(prepared, decided.index, whole)?.0;
            apply(carries, decided.index, &mut decided.scan);
            let regions = (0..64).filter(|i| whole >> i & 1 != 0).map(|i| first + i * REGION);
            sums.regions.extend(regions.map(|start| Range::new(Pfn(start), Pfn(start + REGION))));
        }
        Ok(())
    }

    /// Holds the sums against what the kernel says of itself.
    fn judge(&self, prepared: &Prepared, level: DumpLevel, sums: &Sums) -> Result<Gate, Error> {
        let Prepared { classes, model, guard: Some(guard), .. } = prepared else {
            return Ok(Gate::default());
        };
        let outside = guard.count_outside(self, model, classes)?;
        let found = Found {
            inside: &sums.census,
            outside: &outside,
            frames: self.memory_map().frames().total(),
            uncovered: sums.uncovered,
            known: sums.known,
            known_taken: sums.known_taken,
            by_free_list: classes.by_free_list,
        };
        let gate = guard.judge(level, &found);
        for check in &gate.checks {
            tracing::debug!("{}: {}: {}", check.name, check.outcome.name(), check.text);
        }
        Ok(Gate { regions: sums.regions.clone(), doubtful: sums.doubtful, ..gate })
    }

    /// The tests and the memory model; `None` when there is nothing to look for.
    fn prepare(
        &self,
        level: DumpLevel,
        gated: bool,
        remarks: &mut Vec<String>,
    ) -> Result<Option<Prepared>, Error> {
        if self.machine().word != WordSize::Bits64 {
            return Err(Error::Unsupported(format!(
                "pages of 32-bit kernels ({}) are not classified; dump levels 0 and 1 do not need that",
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
        let guard = gated.then(|| Guard::new(self, &model, &classes)).transpose()?;
        Ok(Some(Prepared { classes, model, free, guard }))
    }

    fn everything(
        &self,
        level: DumpLevel,
        spill: Option<File>,
        remarks: Vec<String>,
        gate: Gate,
    ) -> Result<Selected, Error> {
        let selection = Selection::everything(self.physical().memory(), level, spill)?;
        Ok(Selected { selection, remarks, undecided: 0, gate })
    }

    /// Keeps everything, as the kernel is not understood.
    fn closed(
        &self,
        level: DumpLevel,
        spill: Option<File>,
        mut remarks: Vec<String>,
        gate: Gate,
    ) -> Result<Selected, Error> {
        let failed = gate.checks.iter().filter(|check| check.outcome == Outcome::Failed);
        let why: Vec<&str> = failed.map(|check| check.text.as_str()).collect();
        let besides = if level.has(DumpLevel::ZERO) { " but those of zeros" } else { "" };
        // What was not even looked at is not contradicted.
        let looked = gate.checks.iter().any(|check| check.outcome == Outcome::Passed) || why.len() > 1;
        let contradicted = if looked || self.machine().word == WordSize::Bits64 {
            "the kernel is not what its VMCOREINFO says, so all pages are kept"
        } else {
            "all pages are kept"
        };
        remarks.push(format!("{contradicted}{besides}: {}", why.join("; ")));
        let zeros = DumpLevel::new((level.bits() & DumpLevel::ZERO).into()).unwrap_or_default();
        self.everything(zeros, spill, remarks, gate)
    }

    /// Decides chunk `index` on its own.
    fn decide<'a>(&self, prepared: &'a Prepared, index: u64) -> Result<Decided<'a>, Error> {
        let (scan, before) = self.scan(prepared, index, 0)?;
        Ok(Decided { index, scan, before })
    }

    /// Scans chunk `index`, of which the regions `whole` are kept; returns what there was before, too, if there is a
    /// guard.
    fn scan<'a>(
        &self,
        prepared: &'a Prepared,
        index: u64,
        whole: Regions,
    ) -> Result<(Scan<'a>, Option<Chunk>), Error> {
        let Prepared { classes, model, free, guard } = prepared;
        let map = self.memory_map();
        let first = index * CHUNK_FRAMES;
        let mut chunk = Chunk::of_map(map, index);
        let earlier = self.physical().memory().drop_excluded(Pfn(first), &mut chunk)?;
        let before = guard.as_ref().map(|_| chunk.clone());
        let sound = guard.as_ref().map(|guard| &guard.sound);
        let mut scan = Scan::new(classes, self.machine().order, sound, whole, Pfn(first), chunk);
        scan.reasons.add(Reason::Earlier, earlier);
        for &(pfn, order) in free.within(Range::new(Pfn(first), Pfn(first + CHUNK_FRAMES))) {
            if whole == 0 || scan.region(pfn.0) & whole == 0 {
                scan.free_block(pfn, order);
            }
        }
        let mut walk = Walk::new(self, model, Pfn(first));
        for frames in map.frames().within(Range::new(Pfn(first), Pfn(first + CHUNK_FRAMES))) {
            walk.frames(frames, &mut scan)?;
        }
        Ok((scan, before))
    }
}

/// Takes out of a chunk what blocks of earlier chunks reach into.
fn apply(carries: &[Carry], index: u64, scan: &mut Scan<'_>) {
    let first = index * CHUNK_FRAMES;
    let chunk = Range::new(Pfn(first), Pfn(first + CHUNK_FRAMES));
    for carry in carries {
        let part = carry.frames.intersect(&chunk);
        if !part.is_empty() {
            scan.take(part.start.0, part.end.0, carry.reason);
        }
    }
}
