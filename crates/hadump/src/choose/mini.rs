//! The pages of a mini dump: what is of most use, as far as a file of a given size has room.
//!
//! What pages take is not estimated: each is compressed as the writer will, and counted with all that the format adds for it, so
//! the file is never larger than it may be.

use super::Chosen;
use crate::cli::{Format, InputArgs};
use crate::input::mini::{LeftOut, Mini};
use crate::show::units;
use anyhow::{Context, Result, bail};
use dumpfile::codec::{Choice, Encoder};
use dumpfile::{Facts, Room, elf, kdump};
use kernel::vmlinux::Vmlinux;
use kernel::{Gate, Kernel, Value};
use rayon::prelude::*;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use vmcore::{
    CHUNK_FRAMES, Chunk, Dump, DumpLevel, Note, PageState, Pfn, Reason, ReasonCounts, Selection, is_zero,
};

/// What is left out of a mini dump: of every class more than is kept, but no zero page that was asked for.
const LEVEL: u32 = (DumpLevel::CACHE | DumpLevel::CACHE_PRIVATE | DumpLevel::USER | DumpLevel::FREE) as u32;
/// Pages that are compressed by one thread, and by all, before it is seen whether there is room for more.
const PIECE: usize = 64;
const BATCH: usize = 32 * PIECE;
/// What of the budget may go to pieces of streams and of encryption: records of 16 bytes for each 64 KiB and more, and 16
/// bytes for each 64 KiB.
const FRAMES_SHARE: u64 = 64;
const FRAMES: u64 = 64 << 10;
/// What a pause may leave empty: the rest of a chunk of pages with a checksum of its own.
const PAUSE: u64 = 16 << 10;
/// What is kept by its value, where nobody knows what it is.
const OTHER: &str = "the kernel's other memory";

/// What is asked for.
pub(crate) struct Wanted<'a> {
    /// The most bytes of the file.
    pub(crate) budget: u64,
    pub(crate) format: Format,
    /// How pages of a kdump file are stored.
    pub(crate) options: kdump::Options,
    /// The file is sent as a stream, encrypted, or made with pauses: it has more than its format needs.
    pub(crate) framed: bool,
    /// After so many bytes of pages the file is made durable, if it is now and then.
    pub(crate) segment: Option<u64>,
    /// What knows the kernel's types where it does not say them itself.
    pub(crate) vmlinux: Option<&'a Vmlinux>,
}

/// Chooses the pages of a mini dump.
pub(crate) fn choose(
    input: &InputArgs,
    dump: &Dump,
    wanted: &Wanted<'_>,
    notes: Vec<Note>,
    spill: &dyn Fn() -> io::Result<File>,
) -> Result<(Chosen, Mini)> {
    let kernel = crate::input::kernel(dump, input)?;
    let mut facts = Facts { utsname: kernel.utsname().clone(), phys_base: kernel.phys_base(), notes };
    let found = triage::mini::find(dump, wanted.vmlinux)
        .with_context(|| format!("{}: cannot find out what a mini dump needs", input.name()))?;
    let mut packing = Packing::new(dump, wanted, &facts)?;
    let mut mini = Mini { budget: wanted.budget, ..Mini::default() };
    for group in &found.groups {
        let without = packing.add(group.frames.iter().copied())?;
        if without > 0 {
            mini.left_out.push(LeftOut { what: group.name.to_owned(), pages: without });
        }
    }
    let mut remarks = Vec::new();
    if !found.typed {
        let why: Vec<&str> = found.missing.iter().map(|missing| missing.why.as_str()).collect();
        remarks.push(format!(
            "{}: where its tasks and modules are is not known, and the kernel's own memory is kept in the order of its \
             value as far as there is room; --vmlinux FILE would tell",
            why.join("; ")
        ));
        let without = add_by_value(dump, &kernel, &mut packing, spill)?;
        if without > 0 {
            mini.left_out.push(LeftOut { what: OTHER.to_owned(), pages: without });
        }
    }
    if found.cut {
        remarks.push("the kernel has more tasks and modules than are looked at".to_owned());
    }
    if let Some(short) = mini.short() {
        let budget = units::bytes(wanted.budget);
        remarks.push(format!(
            "{budget} have no room for {short}; crash may not open such a mini dump; --mini=SIZE gives more"
        ));
    }
    if let Some(earlier) = Mini::of(dump) {
        if let Some(short) = earlier.short() {
            remarks.push(format!("{} is a mini dump itself, which lacks {short}", input.name()));
        }
        mini = mini.after(earlier);
    }
    let mut selection = packing.selection(Some(spill().context("cannot create a work file")?))?;
    if let Some(earlier) = dump.source.dump_level {
        selection.add_level(earlier);
    }
    facts.notes.push(mini.note());
    Ok((Chosen { selection, facts, undecided: 0, gate: Gate::default(), remarks }, mini))
}

/// Adds what else the kernel uses, for as long as there is room, and returns how many pages had none.
fn add_by_value(
    dump: &Dump,
    kernel: &Kernel<'_>,
    packing: &mut Packing<'_>,
    spill: &dyn Fn() -> io::Result<File>,
) -> Result<u64> {
    let file = spill().context("cannot create a work file")?;
    let all = Selection::everything(&*dump.memory, DumpLevel::default(), Some(file))?;
    let parts = kernel.by_value(&all, spill)?;
    let mut without = 0;
    for (_, part) in parts.iter().filter(|(value, _)| matches!(value, Value::Essential | Value::Kernel)) {
        for position in 0..part.chunk_count() {
            let (first, chunk) = part.chunk(position)?;
            without += packing.add(chunk.runs().flatten().map(|frame| Pfn(first.0 + frame)))?;
        }
    }
    Ok(without)
}

/// Pages that are put into a file of a given size until the first that does not fit.
struct Packing<'a> {
    dump: &'a Dump,
    options: kdump::Options,
    format: Format,
    room: Room,
    /// Bytes that are left.
    left: u64,
    kept: HashSet<Pfn>,
    full: bool,
}

impl<'a> Packing<'a> {
    fn new(dump: &'a Dump, wanted: &Wanted<'_>, facts: &Facts) -> Result<Self> {
        let mut room = match wanted.format {
            Format::Kdump => kdump::room(dump, facts, &wanted.options)?,
            Format::Elf => elf::room(dump, facts)?,
        };
        if let Some(segment) = wanted.segment {
            room.each += dump.page_size().bytes().saturating_mul(PAUSE).div_ceil(segment.max(1));
        }
        let framing = if wanted.framed { wanted.budget / FRAMES_SHARE + FRAMES } else { 0 };
        let fixed = room.fixed.saturating_add(framing).saturating_add(Mini::MOST);
        let Some(left) = wanted.budget.checked_sub(fixed) else {
            let help = match wanted.format {
                Format::Kdump => " (bitmaps of all memory, most of it; --format elf has none)",
                Format::Elf => "",
            };
            bail!(
                "a mini dump of at most {} is too small: without a page the file takes {}{help}",
                units::bytes(wanted.budget),
                units::bytes(fixed)
            );
        };
        let Wanted { options, format, .. } = *wanted;
        Ok(Self { dump, options, format, room, left, kept: HashSet::new(), full: false })
    }

    /// Adds pages, and returns how many had no room.
    fn add(&mut self, frames: impl Iterator<Item = Pfn>) -> Result<u64> {
        let frames: Vec<Pfn> = frames.filter(|pfn| !self.kept.contains(pfn)).collect();
        let mut done = 0;
        for batch in frames.chunks(BATCH) {
            if self.full {
                break;
            }
            let sizes: Vec<Vec<Option<u64>>> =
                batch.par_chunks(PIECE).map(|piece| self.sizes(piece)).collect::<Result<_>>()?;
            for (pfn, size) in batch.iter().zip(sizes.into_iter().flatten()) {
                // What cannot be read is nobody's loss.
                let Some(size) = size else { continue };
                match self.left.checked_sub(size.saturating_add(self.room.each)) {
                    Some(left) => self.left = left,
                    None => {
                        self.full = true;
                        break;
                    }
                }
                self.kept.insert(*pfn);
                done += 1;
            }
        }
        Ok(if self.full { frames.len() as u64 - done } else { 0 })
    }

    /// The bytes that pages take in the file; `None` for those that are not there.
    fn sizes(&self, frames: &[Pfn]) -> Result<Vec<Option<u64>>> {
        let page = self.dump.page_size();
        let mut encoder = match (self.format, self.options.method) {
            (Format::Kdump, Choice::One(Some(method))) => {
                let encoder = Encoder::new(method, self.options.level, page)?;
                Some(if self.options.checksums { encoder.with_checksum()? } else { encoder })
            }
            // Pages are stored as they are, or how is not known before.
            _ => None,
        };
        let mut room = vec![0; encoder.as_ref().map_or(0, Encoder::out_len)];
        let mut bytes = vec![0; page.len()];
        let mut size = |pfn: Pfn| {
            Ok(match self.dump.memory.read_page(pfn, &mut bytes)? {
                // All pages of zeros are one in a kdump file; in a core they may lie between others.
                PageState::Present | PageState::Zero if self.format == Format::Elf => Some(page.bytes()),
                PageState::Zero => Some(0),
                PageState::Present if is_zero(&bytes) => Some(0),
                PageState::Present => {
                    let packed = encoder.as_mut().and_then(|encoder| encoder.encode(&bytes, &mut room));
                    Some(packed.map_or(page.bytes(), |len| len as u64))
                }
                PageState::Excluded | PageState::Lost | PageState::Absent => None,
            })
        };
        frames.iter().map(|&pfn| size(pfn)).collect()
    }

    /// The pages that have room, as a selection.
    fn selection(self, spill: Option<File>) -> Result<Selection> {
        let level = DumpLevel::new(LEVEL).unwrap_or_default();
        let mut selection = Selection::new(self.dump.memory.map().clone(), level, spill);
        let mut kept: Vec<Pfn> = self.kept.into_iter().collect();
        kept.sort_unstable();
        let mut rest = &kept[..];
        for index in selection.chunk_indices() {
            let first = index * CHUNK_FRAMES;
            let mut all = Chunk::of_map(selection.map(), index);
            let mut reasons = ReasonCounts::default();
            reasons.add(Reason::Earlier, self.dump.memory.drop_excluded(Pfn(first), &mut all)?);
            let mut chunk = Chunk::empty();
            let (here, later) = rest.split_at(rest.partition_point(|pfn| pfn.0 < first + CHUNK_FRAMES));
            here.iter().for_each(|pfn| chunk.set(pfn.0 - first, pfn.0 - first + 1, true));
            rest = later;
            reasons.add(Reason::Mini, all.count().saturating_sub(chunk.count()));
            selection.push(index, chunk, &reasons)?;
        }
        Ok(selection)
    }
}
