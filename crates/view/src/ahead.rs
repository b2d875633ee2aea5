//! Reading ahead of those who read in sequence.
//!
//! A reader asks for 128 KiB and waits, so one thread would decompress at a time. Here all do: once a reader has read on for a
//! while, the blocks after what it asked for are read by the pool's threads before it comes there. A block is handed out and
//! forgotten; the system's page cache has it then.
//!
//! A file may have several readers, and one of them several threads, so each place where somebody reads on is a stream of its own.
//! The kernel's requests of one reader may overtake each other, so that a stream is followed within some distance.

use crate::content::{Content, Failure};
use rayon::ThreadPool;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use vmcore::Range;

/// Bytes of a block: a few hundred pages, so that descriptors and neighbouring pages are read at once, and little enough to stay
/// in a core's own cache until it is handed out.
const BLOCK: u64 = 512 << 10;

/// Bytes that are read in sequence before anything is read ahead.
const BEGIN: u64 = 512 << 10;

/// How far from where a stream is a request still belongs to it.
const REACH: u64 = 1 << 20;

/// Streams that are followed in one file.
const STREAMS: usize = 8;

/// A piece of the file, read by whoever comes first; `None` when one of its bytes cannot be had.
struct Block {
    at: u64,
    len: usize,
    bytes: OnceLock<Option<Vec<u8>>>,
}

impl Block {
    fn bytes(&self, content: &dyn Content) -> Option<&[u8]> {
        let read = || {
            let mut bytes = vec![0; self.len];
            content.read_at(self.at, &mut bytes).is_ok().then_some(bytes)
        };
        self.bytes.get_or_init(read).as_deref()
    }

    fn range(&self) -> Range<u64> {
        Range::new(self.at, self.at + self.len as u64)
    }
}

/// One place where somebody reads on.
#[derive(Default)]
struct Stream {
    /// Behind the furthest byte that was asked for.
    next: u64,
    /// Bytes that were asked for.
    read: u64,
    /// Where the next block begins.
    ahead: u64,
    blocks: VecDeque<Arc<Block>>,
    /// When it was last read on.
    used: u64,
}

/// A file that is read ahead.
pub struct Ahead {
    content: Arc<dyn Content>,
    pool: Arc<ThreadPool>,
    /// Blocks that all streams may hold.
    room: usize,
    streams: Mutex<(u64, Vec<Stream>)>,
}

impl Ahead {
    /// `content`, of which at most `room` bytes are read ahead by the threads of `pool`.
    pub fn new(content: Arc<dyn Content>, pool: Arc<ThreadPool>, room: u64) -> Self {
        let room = usize::try_from(room / BLOCK).unwrap_or(usize::MAX);
        Self { content, pool, room, streams: Mutex::default() }
    }

    /// The blocks that have a byte in `wanted`; those that come after it are begun.
    fn blocks(&self, wanted: &Range<u64>) -> Vec<Arc<Block>> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let (clock, streams) = &mut *streams;
        *clock += 1;
        let near = |s: &Stream| wanted.start <= s.next + REACH && s.next <= wanted.end + REACH;
        let place = streams.iter().position(near).unwrap_or_else(|| {
            let new = Stream { next: wanted.start, ahead: wanted.end, ..Stream::default() };
            if streams.len() < STREAMS {
                streams.push(new);
                return streams.len() - 1;
            }
            let oldest = (0..streams.len()).min_by_key(|i| streams[*i].used).unwrap_or(0);
            streams[oldest] = new;
            oldest
        });
        let others: usize =
            streams.iter().map(|s| s.blocks.len()).sum::<usize>() - streams[place].blocks.len();
        let stream = &mut streams[place];
        stream.used = *clock;
        stream.next = stream.next.max(wanted.end);
        stream.read = stream.read.saturating_add(wanted.len());
        // Requests that overtook each other come back for what lies behind, but not far.
        while stream.blocks.front().is_some_and(|block| block.range().end + REACH / 2 <= stream.next) {
            stream.blocks.pop_front();
        }
        if stream.read >= BEGIN {
            self.begin(stream, others);
        }
        let covers = |block: &&Arc<Block>| !block.range().intersect(wanted).is_empty();
        stream.blocks.iter().filter(covers).cloned().collect()
    }

    /// Begins with the blocks that a stream is about to need; the others hold `others`.
    fn begin(&self, stream: &mut Stream, others: usize) {
        // As far ahead as it was read until now, so that who reads little costs little.
        let far = stream.next.saturating_add(stream.read).min(self.content.len());
        stream.ahead = stream.ahead.max(stream.next / BLOCK * BLOCK);
        while stream.ahead < far && stream.blocks.len() + others < self.room {
            // Blocks end at multiples of their length, whatever a stream begins with, so that pages are not cut.
            let end = (stream.ahead / BLOCK + 1).saturating_mul(BLOCK).min(self.content.len());
            let len = (end - stream.ahead) as usize;
            let block = Arc::new(Block { at: stream.ahead, len, bytes: OnceLock::new() });
            let (wanted, content) = (Arc::downgrade(&block), Arc::clone(&self.content));
            self.pool.spawn(move || {
                // Forgotten before its turn came.
                if let Some(block) = Weak::upgrade(&wanted) {
                    block.bytes(&*content);
                }
            });
            stream.blocks.push_back(block);
            stream.ahead = end;
        }
    }
}

impl Content for Ahead {
    fn len(&self) -> u64 {
        self.content.len()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Failure> {
        let all = Range::new(offset, offset + bytes.len() as u64);
        let blocks = if self.room == 0 { Vec::new() } else { self.blocks(&all) };
        let mut at = offset;
        let mut rest = bytes;
        for block in blocks {
            let part = block.range().intersect(&Range::new(at, all.end));
            // What is before the block, or between two.
            let (before, behind) = rest.split_at_mut((part.start.max(at) - at) as usize);
            if !before.is_empty() {
                self.content.read_at(at, before)?;
            }
            at += before.len() as u64;
            rest = behind;
            // What a block cannot have is asked for again: it may be another page of the block that is missing.
            if let Some(read) = block.bytes(&*self.content)
                && !part.is_empty()
            {
                let (now, later) = rest.split_at_mut(part.len() as usize);
                now.copy_from_slice(&read[(part.start - block.at) as usize..][..now.len()]);
                (at, rest) = (part.end, later);
            }
        }
        if rest.is_empty() { Ok(()) } else { self.content.read_at(at, rest) }
    }

    fn stored(&self) -> u64 {
        self.content.stored()
    }

    fn data_from(&self, offset: u64) -> Option<Range<u64>> {
        self.content.data_from(offset)
    }
}

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod tests;
