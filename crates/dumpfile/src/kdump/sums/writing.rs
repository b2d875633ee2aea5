//! Taking the checksums of a file while it is written.

use super::crc;
use super::layout::{Places, SEAL_LEN, SUM_LEN, Seal};
use crate::Error;
use crate::output::Sink;
use crc32fast::Hasher;
use std::io::IoSlice;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many sums of pages are written at once: those of 256 MiB.
const PENDING: usize = 1 << 14;

/// The checksums of a file that is being written.
#[derive(Debug)]
pub(in crate::kdump) struct SumsWriter {
    places: Places,
    state: Mutex<State>,
    /// What the last checkpoint covers.
    covered: Mutex<Option<State>>,
}

#[derive(Clone, Debug)]
struct State {
    /// What was written before the bitmaps adds to its sum.
    front: u32,
    /// What was written of each chunk of bitmaps and descriptors adds to its sum.
    meta: Vec<u32>,
    /// Where the bytes of pages end, and the sum of the chunk that they end in.
    end: u64,
    chunk: Hasher,
    /// The sums of whole chunks that are not yet written, and the number of the first of them.
    pending: Vec<u32>,
    first: u64,
    /// The sum of the last chunk was written as if zeros followed, and may be all that a resumed save can rely on.
    settled: bool,
}

impl SumsWriter {
    /// The checksums of a file without pages.
    pub(in crate::kdump) fn new(places: Places) -> Self {
        let meta = vec![0; places.meta_count() as usize];
        let state = State {
            front: 0,
            meta,
            end: places.data,
            chunk: Hasher::new(),
            pending: Vec::new(),
            first: 0,
            settled: false,
        };
        Self { places, state: Mutex::new(state), covered: Mutex::default() }
    }

    /// Those of a file whose bytes of pages up to `end` have theirs already: returns where a new chunk begins.
    pub(in crate::kdump) fn resume_at(&self, end: u64) -> u64 {
        let mut state = self.lock();
        let count = self.places.data_count(end);
        state.end = self.places.data + (count << self.places.data_shift);
        state.first = count;
        self.keep(&state);
        state.end
    }

    /// Where the bytes of further pages go: what a checkpoint covers shares no chunk with them.
    pub(in crate::kdump) fn next_offset(&self) -> u64 {
        let State { end, settled, .. } = *self.lock();
        let chunk = 1 << self.places.data_shift;
        if settled { self.places.data + (end - self.places.data).next_multiple_of(chunk) } else { end }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the bytes of pages end that were added.
    pub(in crate::kdump) fn end(&self) -> u64 {
        self.lock().end
    }

    /// Adds what is before the bitmaps, where there was nothing yet.
    pub(in crate::kdump) fn add_front(&self, offset: u64, bytes: &[u8]) {
        let behind = self.places.bitmaps - offset - bytes.len() as u64;
        self.lock().front ^= crc::shifted(crc::part(bytes), behind);
    }

    /// Writes the sum of what is before the bitmaps.
    pub(in crate::kdump) fn write_front(&self, out: &dyn Sink) -> Result<(), Error> {
        let state = self.lock();
        self.keep(&state);
        let sum = state.front ^ crc::of_zeros(self.places.bitmaps);
        let record = self.places.front_record(sum);
        if out.is_stream() {
            return out.write_at(self.places.front(), &record);
        }
        // What was here before may have had a seal.
        let mut bytes = vec![0; SEAL_LEN];
        bytes.extend(record);
        out.write_at(self.places.table, &bytes)
    }

    /// Takes the seal away from a file that is to be continued.
    pub(in crate::kdump) fn unseal(&self, out: &dyn Sink) -> Result<(), Error> {
        out.write_at(self.places.table, &[0; SEAL_LEN])
    }

    /// Adds bitmaps or descriptors that go to `offset`, where there was nothing yet.
    pub(in crate::kdump) fn add_meta(&self, mut offset: u64, mut bytes: &[u8]) {
        let mut state = self.lock();
        while !bytes.is_empty() {
            let number = (offset - self.places.bitmaps) >> self.places.meta_shift;
            let chunk = self.places.meta_chunk(number);
            let len = (chunk.end - offset).min(bytes.len() as u64);
            let (now, later) = bytes.split_at(len as usize);
            if let Some(sum) = state.meta.get_mut(number as usize) {
                *sum ^= crc::shifted(crc::part(now), chunk.end - offset - len);
            }
            (offset, bytes) = (offset + len, later);
        }
    }

    /// Adds the bytes of pages that were written from `offset` on, which is not behind [`SumsWriter::end`], and writes sums
    /// when there are many.
    pub(in crate::kdump) fn add_data(
        &self,
        out: &dyn Sink,
        offset: u64,
        parts: &[IoSlice<'_>],
    ) -> Result<(), Error> {
        let mut state = self.lock();
        // What is written once more, because not all could be written at once, counts once.
        let mut done = state.end.saturating_sub(offset) as usize;
        for part in parts {
            state.add(&self.places, part.get(done..).unwrap_or_default());
            done = done.saturating_sub(part.len());
        }
        if state.pending.len() >= PENDING { self.write_pending(&mut state, out) } else { Ok(()) }
    }

    fn write_pending(&self, state: &mut State, out: &dyn Sink) -> Result<(), Error> {
        self.write_sums(out, state.first, &state.pending)?;
        state.first += state.pending.len() as u64;
        state.pending.clear();
        Ok(())
    }

    /// Writes the sums of chunks of pages from number `first` on, as far as there is room.
    fn write_sums(&self, out: &dyn Sink, first: u64, sums: &[u32]) -> Result<(), Error> {
        let room = self.places.capacity().saturating_sub(first).min(sums.len() as u64) as usize;
        let bytes: Vec<u8> = sums[..room].iter().flat_map(|sum| self.places.order.put_u32(*sum)).collect();
        if bytes.is_empty() {
            return Ok(());
        }
        out.write_at(self.places.data_sums() + SUM_LEN * first, &bytes)
    }

    /// Writes the sums of what is there now, so that the file can be resumed at the next chunk: zeros follow up to that.
    pub(in crate::kdump) fn write_until_now(&self, out: &dyn Sink) -> Result<(), Error> {
        let mut state = self.lock();
        // In a stream nothing can be written again.
        if let Some(sum) = state.unfinished(&self.places).filter(|_| !out.is_stream()) {
            self.write_sums(out, state.first + state.pending.len() as u64, &[sum])?;
            state.settled = true;
        }
        self.write_pending(&mut state, out)?;
        self.keep(&state);
        Ok(())
    }

    fn keep(&self, state: &State) {
        *self.covered.lock().unwrap_or_else(PoisonError::into_inner) = Some(state.clone());
    }

    /// Forgets what was added since the last checkpoint, which is taken out of the file.
    pub(in crate::kdump) fn take_back(&self) {
        if let Some(covered) = &*self.covered.lock().unwrap_or_else(PoisonError::into_inner) {
            *self.lock() = covered.clone();
        }
    }

    /// Writes all sums that are missing, and the seal of a file of `pages` pages, which is marked incomplete or not.
    pub(in crate::kdump) fn finish(&self, out: &dyn Sink, pages: u64, incomplete: bool) -> Result<(), Error> {
        let mut state = self.lock();
        if let Some(sum) = state.unfinished(&self.places) {
            state.pending.push(sum);
        }
        self.write_pending(&mut state, out)?;
        let sum = |(number, sum): (u64, &u32)| {
            let chunk = self.places.meta_chunk(number);
            self.places.order.put_u32(sum ^ crc::of_zeros(chunk.end - chunk.start))
        };
        let sums: Vec<u8> = (0..).zip(&state.meta).flat_map(sum).collect();
        out.write_at(self.places.meta_sums(), &sums)?;
        // A seal must not be on the disk before what it seals, and in a stream it is the last piece.
        out.sync()?;
        let seal = Seal { places: self.places, end: state.end, pages, incomplete };
        out.write_at(self.places.table, &seal.encode())
    }
}

impl State {
    /// The sum of the chunk that the pages end in, as if zeros followed to its end.
    fn unfinished(&self, places: &Places) -> Option<u32> {
        let chunk = 1 << places.data_shift;
        let len = (self.end - places.data) % chunk;
        (len > 0).then(|| crc::padded(self.chunk.clone().finalize(), chunk - len))
    }

    /// Adds bytes that follow the others.
    fn add(&mut self, places: &Places, mut bytes: &[u8]) {
        let chunk = 1 << places.data_shift;
        while !bytes.is_empty() {
            let left = chunk - (self.end - places.data) % chunk;
            let (now, later) = bytes.split_at(left.min(bytes.len() as u64) as usize);
            self.chunk.update(now);
            self.end += now.len() as u64;
            if now.len() as u64 == left {
                self.settled = false;
                self.pending.push(std::mem::take(&mut self.chunk).finalize());
            }
            bytes = later;
        }
    }
}
