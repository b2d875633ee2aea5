//! Which pages are in the file, and which descriptor is whose.
//!
//! The Nth set bit of the bitmap belongs to the Nth descriptor, so reading a page takes the number of bits before its
//! own. The bitmap stays in the file; held in memory are the number of bits before each [`CHUNK_FRAMES`] frames that
//! have any, and inside of those before each [`BLOCK_FRAMES`].

use crate::Error;
use crate::input::Input;
use crate::kdump::header::Geometry;
use vmcore::{CHUNK_FRAMES, Pfn, Range, ReadError};

/// Frames whose bits are counted at once: 512 bytes of bitmap.
pub(super) const BLOCK_FRAMES: u64 = 4096;
const BLOCK_BYTES: u64 = BLOCK_FRAMES / 8;
const CHUNK_BYTES: u64 = CHUNK_FRAMES / 8;
const BLOCKS: usize = (CHUNK_FRAMES / BLOCK_FRAMES) as usize;

/// The most separate pieces of memory that a file may have: a real machine has dozens. Without this a bitmap of
/// alternating bits would take a hundred times its size in memory.
const MAX_RANGES: usize = 1 << 19;

/// The bits before a chunk, and before each block in it.
#[derive(Debug)]
struct Entry {
    chunk: u64,
    before: u64,
    blocks: [u32; BLOCKS],
}

/// Returns which pages are in the file, and how many precede them.
#[derive(Debug)]
pub(super) struct Index {
    kept: u64,
    max_pfn: u64,
    total: u64,
    /// A frame past the last page in the file, see [`Index::end`].
    end: u64,
    entries: Vec<Entry>,
}

/// What the bitmaps say.
pub(super) struct Bitmaps {
    pub(super) index: Index,
    /// The frames that exist, or are in the file although they should not exist.
    pub(super) frames: Vec<Range<Pfn>>,
    /// How many frames are in the file although they should not exist.
    pub(super) strays: u64,
}

impl Bitmaps {
    /// Reads both bitmaps once, skipping the holes of a sparse file.
    pub(super) fn read(input: &Input, geometry: &Geometry) -> Result<Self, Error> {
        let mut index =
            Index { kept: geometry.kept, max_pfn: geometry.max_pfn, total: 0, end: 0, entries: Vec::new() };
        let mut frames: Vec<Range<Pfn>> = Vec::new();
        let mut strays = 0;
        let [mut exist, mut kept] = [(); 2].map(|()| vec![0; CHUNK_BYTES as usize]);
        let mut chunk = 0;
        while let Some(next) = next_chunk(input, geometry, chunk) {
            let first = next * CHUNK_FRAMES;
            read_bits(input, geometry.exist, geometry.max_pfn, first, &mut exist)?;
            read_bits(input, geometry.kept, geometry.max_pfn, first, &mut kept)?;
            index.push(next, &kept);
            for (exist, kept) in exist.iter_mut().zip(&kept) {
                strays += u64::from((kept & !*exist).count_ones());
                *exist |= kept;
            }
            push_runs(&mut frames, first, &exist);
            if frames.len() > MAX_RANGES {
                let found = format!("more than {MAX_RANGES} pieces of memory up to frame {first:#x}");
                return Err(input
                    .damaged("bitmap", geometry.exist, found, "the memory map of a machine")
                    .into());
            }
            chunk = next + 1;
        }
        Ok(Self { index, frames, strays })
    }
}

/// The first chunk at or after `chunk` in which either bitmap may have a bit.
fn next_chunk(input: &Input, geometry: &Geometry, chunk: u64) -> Option<u64> {
    let next = |bitmap: u64| {
        let from = bitmap + chunk * CHUNK_BYTES;
        (input.next_data(from).max(from) - bitmap) / CHUNK_BYTES
    };
    let chunks = geometry.max_pfn.div_ceil(CHUNK_FRAMES);
    if chunk >= chunks {
        return None;
    }
    Some(next(geometry.exist).min(next(geometry.kept))).filter(|&next| next < chunks)
}

/// Fills `bits` with a bitmap from frame `first` on; bits from `max_pfn` on are cleared.
fn read_bits(input: &Input, bitmap: u64, max_pfn: u64, first: u64, bits: &mut [u8]) -> Result<(), ReadError> {
    let valid = max_pfn.saturating_sub(first).min(bits.len() as u64 * 8);
    let (inside, outside) = bits.split_at_mut(valid.div_ceil(8) as usize);
    outside.fill(0);
    input.read_at(bitmap + first / 8, inside)?;
    if let Some(last) = inside.last_mut()
        && !valid.is_multiple_of(8)
    {
        *last &= (1 << (valid % 8)) - 1;
    }
    Ok(())
}

fn word(bytes: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*bytes)
}

fn count(bits: &[u8]) -> u64 {
    let (words, rest) = bits.as_chunks();
    let rest: u32 = rest.iter().map(|b| b.count_ones()).sum();
    words.iter().map(|w| u64::from(word(w).count_ones())).sum::<u64>() + u64::from(rest)
}

/// Appends the runs of set bits to `frames`.
fn push_runs(frames: &mut Vec<Range<Pfn>>, first: u64, bits: &[u8]) {
    for (i, bytes) in bits.as_chunks().0.iter().enumerate() {
        let mut left = word(bytes);
        let base = first + i as u64 * 64;
        while left != 0 {
            let start = left.trailing_zeros();
            let len = (left >> start).trailing_ones();
            let (from, to) = (Pfn(base + u64::from(start)), Pfn(base + u64::from(start + len)));
            match frames.last_mut() {
                Some(last) if last.end == from => last.end = to,
                _ => frames.push(Range::new(from, to)),
            }
            left &= if start + len == 64 { 0 } else { u64::MAX << (start + len) };
        }
    }
}

impl Index {
    fn push(&mut self, chunk: u64, bits: &[u8]) {
        let mut blocks = [0; BLOCKS];
        let mut inside = 0;
        for (block, bits) in blocks.iter_mut().zip(bits.chunks_exact(BLOCK_BYTES as usize)) {
            *block = inside as u32;
            inside += count(bits);
        }
        if inside > 0 {
            let last = bits.iter().rposition(|&byte| byte != 0).unwrap_or(0) as u64 + 1;
            self.end = (chunk * CHUNK_FRAMES + last * 8).min(self.max_pfn);
            self.entries.push(Entry { chunk, before: self.total, blocks });
            self.total += inside;
        }
    }

    /// The number of pages in the file.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The number of pages in the file before frame `pfn`.
    pub(super) fn rank(&self, input: &Input, pfn: u64) -> Result<u64, ReadError> {
        if pfn >= self.max_pfn {
            return Ok(self.total);
        }
        Ok(self.look_up(input, pfn, 1, &mut Vec::new())?.0)
    }

    /// A frame past the last page in the file, with less than a byte of the bitmap in between.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The first frame number past all memory.
    pub(super) fn max_pfn(&self) -> u64 {
        self.max_pfn
    }

    /// Fills `bits` with the bits of as many frames from `first`, which is a multiple of 8, on.
    pub(super) fn read(&self, input: &Input, first: u64, bits: &mut [u8]) -> Result<(), ReadError> {
        read_bits(input, self.kept, self.max_pfn, first, bits)
    }

    /// Reads the bits of `count` frames from `first` on into `bits`, whose bit 0 is then that of frame `first` rounded
    /// down to a block, and returns the number of pages before frame `first` and where its bit is.
    pub(super) fn look_up(
        &self,
        input: &Input,
        first: u64,
        count: u64,
        bits: &mut Vec<u8>,
    ) -> Result<(u64, u64), ReadError> {
        let start = first - first % BLOCK_FRAMES;
        let skip = first - start;
        bits.resize((skip + count).div_ceil(8) as usize, 0);
        read_bits(input, self.kept, self.max_pfn, start, bits)?;
        let next = self.entries.partition_point(|e| e.chunk < start / CHUNK_FRAMES);
        let before = match self.entries.get(next) {
            Some(entry) if entry.chunk == start / CHUNK_FRAMES => {
                entry.before + u64::from(entry.blocks[(start % CHUNK_FRAMES / BLOCK_FRAMES) as usize])
            }
            Some(entry) => entry.before,
            None => self.total,
        };
        let whole = (skip / 8) as usize;
        let partial = if skip.is_multiple_of(8) { 0 } else { bits[whole] & ((1 << (skip % 8)) - 1) };
        Ok((before + self::count(&bits[..whole]) + u64::from(partial.count_ones()), skip))
    }
}
