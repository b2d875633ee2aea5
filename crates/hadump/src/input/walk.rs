//! Every page of one dump or of several side by side, in frame order, read by all threads.

use crate::show::progress;
use anyhow::{Result, bail};
use dumpfile::Progress;
use rayon::prelude::*;
use vmcore::{CHUNK_FRAMES, Chunk, Dump, PageState, Pfn, PhysicalMemory};

/// Bytes of pages that one thread reads from each dump at once.
const PIECE_BYTES: usize = 512 << 10;

/// Pieces of a wave for each thread, so that one slow piece does not leave the other threads idle.
const PIECES_PER_THREAD: usize = 4;

/// The same frames in each of the dumps.
pub(crate) struct View<'b> {
    /// The first frame.
    pub(crate) first: Pfn,
    /// The states of the frames and their bytes, for each dump.
    pub(crate) sides: Vec<(&'b [PageState], &'b [u8])>,
}

/// Which frames are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frames {
    /// All that exist in any of the dumps.
    Existing,
    /// Only those of them that an earlier filter left in at least one dump.
    Unfiltered,
}

/// How many frames [`pages`] will look at.
pub(crate) fn count(memories: &[&dyn PhysicalMemory], frames: Frames) -> Result<u64> {
    chunks(memories).try_fold(0, |sum, index| Ok(sum + union(memories, frames, index)?.count()))
}

/// Passes the pages that exist in `dump` to `look`, many at once and in parallel, and what it returns to `take`, in frame
/// order, while the progress is shown.
///
/// # Errors
///
/// When the input is damaged, `take` fails, or the user asks to stop.
pub(crate) fn every<T: Send>(
    dump: &Dump,
    quiet: bool,
    look: impl Fn(Pfn, &[PageState], &[u8]) -> T + Sync,
    take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let memories = [&*dump.memory];
    let total = count(&memories, Frames::Existing)?;
    progress::watch(total, dump.page_size().bytes(), quiet, |progress| {
        let look = |view: &View<'_>| {
            let (states, bytes) = view.sides[0];
            look(view.first, states, bytes)
        };
        pages(&memories, Frames::Existing, progress, look, take)
    })
}

/// Passes every page to `look`, many at once and in parallel, and what it returns to `take`, in frame order.
///
/// All dumps have pages of one size.
///
/// # Errors
///
/// When an input is damaged, `take` fails, or `progress` asks to stop.
pub(crate) fn pages<T: Send>(
    memories: &[&dyn PhysicalMemory],
    frames: Frames,
    progress: &Progress,
    look: impl Fn(&View<'_>) -> T + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let Some(size) = memories.first().map(|m| m.map().page_size().len()) else { return Ok(()) };
    let most = (PIECE_BYTES / size).max(1) as u64;
    let wave = rayon::current_num_threads() * PIECES_PER_THREAD;
    let mut pieces: Vec<(Pfn, usize)> = Vec::new();
    let mut read = |pieces: &mut Vec<(Pfn, usize)>| -> Result<()> {
        if progress.is_cancelled() {
            bail!("interrupted");
        }
        let seen: Vec<Result<T>> = pieces
            .par_iter()
            .map_init(Vec::new, |sides: &mut Vec<(Vec<PageState>, Vec<u8>)>, &(first, count)| {
                sides.resize_with(memories.len(), Default::default);
                for (memory, (states, bytes)) in memories.iter().zip(sides.iter_mut()) {
                    states.resize(count, PageState::Absent);
                    bytes.resize(count * size, 0);
                    memory.read_run(first, bytes, states)?;
                }
                let sides = sides.iter().map(|(states, bytes)| (&states[..], &bytes[..])).collect();
                Ok(look(&View { first, sides }))
            })
            .collect();
        for (seen, (_, count)) in seen.into_iter().zip(pieces.drain(..)) {
            take(seen?)?;
            progress.add(count as u64);
        }
        Ok(())
    };
    for index in chunks(memories) {
        for run in union(memories, frames, index)?.runs() {
            let mut at = run.start;
            while at < run.end {
                let count = most.min(run.end - at);
                pieces.push((Pfn(index * CHUNK_FRAMES + at), count as usize));
                at += count;
                if pieces.len() == wave {
                    read(&mut pieces)?;
                }
            }
        }
    }
    read(&mut pieces)
}

/// The numbers of the chunks in which any of the dumps has memory, ascending.
fn chunks(memories: &[&dyn PhysicalMemory]) -> impl Iterator<Item = u64> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let first = memories.iter().filter_map(|m| {
            let behind = vmcore::Range::new(Pfn(next * CHUNK_FRAMES), Pfn(u64::MAX));
            m.map().frames().within(behind).next().map(|r| r.start.0 / CHUNK_FRAMES)
        });
        let index = first.min()?;
        next = index + 1;
        Some(index)
    })
}

/// The frames to look at in one chunk.
fn union(memories: &[&dyn PhysicalMemory], frames: Frames, index: u64) -> Result<Chunk> {
    let mut all = Chunk::empty();
    for memory in memories {
        let mut chunk = Chunk::of_map(memory.map(), index);
        if frames == Frames::Unfiltered {
            memory.drop_excluded(Pfn(index * CHUNK_FRAMES), &mut chunk)?;
        }
        all.unite(&chunk);
    }
    Ok(all)
}
