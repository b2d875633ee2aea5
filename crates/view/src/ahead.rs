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
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
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

/// What a block of zeros is.
static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// What a block consists of, once it was read.
enum Held {
    /// Its bytes, in a buffer that is used again.
    Bytes(Vec<u8>),
    /// Nothing but zeros, as large parts of memory are.
    Zeros,
    /// One of its bytes cannot be had.
    Nothing,
}

/// A piece of the file, read by whoever comes first.
struct Block {
    at: u64,
    len: usize,
    held: OnceLock<Held>,
    buffers: Arc<Buffers>,
}

/// Buffers of blocks that were forgotten: fresh memory costs a page fault for each 4 KiB.
#[derive(Default)]
struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    fn all(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Block {
    /// The bytes, or `None` when one of them cannot be had.
    fn bytes(&self, content: &dyn Content) -> Option<&[u8]> {
        match self.held.get_or_init(|| self.read(content)) {
            Held::Bytes(bytes) => Some(&bytes[..self.len]),
            Held::Zeros => Some(&ZEROS[..self.len]),
            Held::Nothing => None,
        }
    }

    fn read(&self, content: &dyn Content) -> Held {
        let used = self.buffers.all().pop();
        let mut buffer = used.unwrap_or_else(|| vec![0; BLOCK as usize]);
        let bytes = &mut buffer[..self.len];
        let read = content.read_at(self.at, bytes);
        // The end of a file need not be that of a page.
        let (whole, rest) = bytes.split_at(self.len - self.len % 256);
        let held = read.is_ok().then(|| vmcore::is_zero(whole) && rest.iter().all(|byte| *byte == 0));
        match held {
            Some(false) => return Held::Bytes(buffer),
            Some(true) | None => self.buffers.all().push(buffer),
        }
        if held.is_some() { Held::Zeros } else { Held::Nothing }
    }

    fn range(&self) -> Range<u64> {
        Range::new(self.at, self.at + self.len as u64)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(Held::Bytes(buffer)) = self.held.take() {
            self.buffers.all().push(buffer);
        }
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
    buffers: Arc<Buffers>,
    streams: Mutex<(u64, Vec<Stream>)>,
}

impl Ahead {
    /// `content`, of which at most `room` bytes are read ahead by the threads of `pool`.
    pub fn new(content: Arc<dyn Content>, pool: Arc<ThreadPool>, room: u64) -> Self {
        let room = usize::try_from(room / BLOCK).unwrap_or(usize::MAX);
        Self { content, pool, room, buffers: Arc::default(), streams: Mutex::default() }
    }

    /// The blocks that have a byte in `wanted`; those that come after it are begun.
    fn blocks(&self, wanted: &Range<u64>) -> Vec<Arc<Block>> {
        if self.room == 0 {
            return Vec::new();
        }
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

    /// Fills `bytes` from `offset` on, out of `blocks` where they have them.
    fn put_together(&self, blocks: &[Arc<Block>], offset: u64, bytes: &mut [u8]) -> Result<(), Failure> {
        let end = offset + bytes.len() as u64;
        let (mut at, mut rest) = (offset, bytes);
        for block in blocks {
            let part = block.range().intersect(&Range::new(at, end));
            // What is before the block, or between two.
            let (before, behind) = rest.split_at_mut((part.start.max(at) - at) as usize);
            if !before.is_empty() {
                self.content.read_at(at, before)?;
            }
            (at, rest) = (at + before.len() as u64, behind);
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

    /// Begins with the blocks that a stream is about to need; the others hold `others`.
    fn begin(&self, stream: &mut Stream, others: usize) {
        // As far ahead as it was read until now, so that who reads little costs little.
        let far = stream.next.saturating_add(stream.read).min(self.content.len());
        stream.ahead = stream.ahead.max(stream.next / BLOCK * BLOCK);
        while stream.ahead < far && stream.blocks.len() + others < self.room {
            // Blocks end at multiples of their length, whatever a stream begins with, so that pages are not cut.
            let end = (stream.ahead / BLOCK + 1).saturating_mul(BLOCK).min(self.content.len());
            let len = (end - stream.ahead) as usize;
            let buffers = Arc::clone(&self.buffers);
            let block = Arc::new(Block { at: stream.ahead, len, held: OnceLock::new(), buffers });
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
        let blocks = self.blocks(&Range::new(offset, offset + bytes.len() as u64));
        self.put_together(&blocks, offset, bytes)
    }

    fn lend(
        &self,
        offset: u64,
        len: usize,
        buffer: &mut Vec<u8>,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Failure> {
        let wanted = Range::new(offset, offset + len as u64);
        let blocks = self.blocks(&wanted);
        if let [block] = &blocks[..]
            && block.range().intersect(&wanted) == wanted
            && let Some(read) = block.bytes(&*self.content)
        {
            take(&read[(offset - block.at) as usize..][..len]);
            return Ok(());
        }
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        self.put_together(&blocks, offset, &mut buffer[..len])?;
        take(&buffer[..len]);
        Ok(())
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
