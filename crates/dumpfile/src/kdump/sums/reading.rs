//! Checking a file by its checksums.

use super::crc;
use super::layout::{
    Announced, Decoded, FRONT_LEN, NOTE_KIND, NOTE_NAME, Places, SEAL_LEN, SUM_LEN, Seal, is_note,
};
use crate::input::Input;
use crate::kdump::header::{Geometry, Headers};
use crate::kdump::layout::{PAGE_DESC_LEN, STATUS_INCOMPLETE};
use crate::notes::NoteReader;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};
use vmcore::{NotePlace, Notes, ReadError};

/// No writer has more before the bitmaps than notes of 1 GiB.
const MAX_FRONT: u64 = 2 << 30;
/// How much is read at once.
const READ: u64 = 1 << 20;
/// How many of these are checked in parallel before what was found is put together.
const AT_ONCE: u64 = 1 << 10;

/// What is known of a chunk of bitmaps or descriptors.
const UNKNOWN: u8 = 0;
const GOOD: u8 = 1;
const BAD: u8 = 2;

/// What a file has of checksums.
#[derive(Debug)]
pub(in crate::kdump) enum Found {
    /// It was written without, or not by hadump.
    None,
    /// It should have them and has not, or they are damaged: why.
    Broken(String),
    /// All of them.
    Sums(Box<Sums>),
}

/// The checksums of a file, checked where something is read.
#[derive(Debug)]
pub(in crate::kdump) struct Sums {
    seal: Seal,
    /// What is known of each chunk of bitmaps and descriptors.
    meta: Vec<AtomicU8>,
}

/// Where the note of a file says that the bytes of pages begin, if it has that note.
pub(in crate::kdump) fn announced_data(input: &Input, headers: &Headers) -> Result<Option<u64>, ReadError> {
    Ok(announced(input, headers)?.map(|announced| announced.data))
}

/// What the note of a file says. Notes that cannot be read have none.
fn announced(input: &Input, headers: &Headers) -> Result<Option<Announced>, ReadError> {
    let (offset, len) = (headers.sub.offset_note, headers.sub.size_note);
    if offset == 0 || offset.checked_add(len).is_none_or(|end| end > input.len()) {
        return Ok(None);
    }
    let order = headers.layout.order;
    let (notes, _) = NoteReader::new(input, order).read(NotePlace { offset, len, align: 4 })?;
    // Another tool that wrote the dump again kept the note that it found, and hadump then put its own behind it.
    Ok(notes.iter().rfind(|note| is_note(note)).and_then(|note| Announced::decode(note, order)))
}

/// Takes the note out of `notes`: it is of the file, not of the dump. A file that another tool wrote again may have two; a
/// hostile one has any number, each of which would take as long as all.
pub(in crate::kdump) fn take_note(notes: &mut Notes) {
    (0..4).take_while(|_| notes.take(NOTE_NAME, NOTE_KIND).is_some()).count();
}

/// Looks for the checksums of a file that has `pages` pages by its bitmaps.
pub(in crate::kdump) fn find(
    input: &Input,
    headers: &Headers,
    geometry: &Geometry,
    pages: u64,
) -> Result<Found, ReadError> {
    let order = headers.layout.order;
    let noted = announced(input, headers)?;
    let counted = pages
        .checked_mul(PAGE_DESC_LEN as u64)
        .and_then(|len| geometry.descriptors.checked_add(len)?.checked_add(headers.page_size.bytes()));
    // Damaged bitmaps count other pages than there are, and a damaged note leads elsewhere; not both at once.
    let mut left_out = false;
    for table in [noted.map(|noted| noted.table), counted].into_iter().flatten() {
        let mut bytes = [0; SEAL_LEN];
        if table.checked_add(SEAL_LEN as u64).is_none_or(|end| end > input.len()) {
            left_out |= noted.is_some_and(|noted| noted.table == table);
            continue;
        }
        input.read_at(table, &mut bytes)?;
        match Seal::decode(&bytes, order) {
            Decoded::Seal(seal) if seal.places.table == table => return Ok(sealed(seal, geometry, headers)),
            Decoded::Seal(_) | Decoded::Broken => {
                return Ok(Found::Broken("its checksums are damaged themselves".into()));
            }
            Decoded::Zeros => left_out = true,
            Decoded::Other => {}
        }
    }
    // A tool that writes a dump again copies its notes, and what this one announces is not there then: something else is.
    Ok(match noted {
        Some(noted) if left_out && counted == Some(noted.table) => {
            Found::Broken("the checksums that it should end with are not there".into())
        }
        _ => Found::None,
    })
}

fn sealed(seal: Seal, geometry: &Geometry, headers: &Headers) -> Found {
    let Places { bitmaps, descriptors, .. } = seal.places;
    if (bitmaps, descriptors) != (geometry.exist, geometry.descriptors) || bitmaps > MAX_FRONT {
        let (exist, there) = (geometry.exist, geometry.descriptors);
        return Found::Broken(format!(
            "its headers are damaged: by them the bitmaps are at {exist:#x} and the descriptors at {there:#x}, by its \
             checksums at {bitmaps:#x} and {descriptors:#x}"
        ));
    }
    if seal.incomplete && headers.header.status & STATUS_INCOMPLETE == 0 {
        return Found::Broken("its header no longer says that it is incomplete, as its checksums do".into());
    }
    let count = seal.places.meta_count() as usize;
    Found::Sums(Box::new(Sums { seal, meta: (0..count).map(|_| AtomicU8::new(UNKNOWN)).collect() }))
}

impl Sums {
    /// The pages of the whole dump.
    pub(in crate::kdump) fn pages(&self) -> u64 {
        self.seal.pages
    }

    /// Where the bytes of pages are.
    pub(in crate::kdump) fn data(&self) -> Range<u64> {
        self.seal.places.data..self.seal.end
    }

    /// Where the page of zeros is.
    pub(in crate::kdump) fn zero_page(&self, page_len: u64) -> u64 {
        self.seal.places.table - page_len
    }

    /// Reports whether everything before the bitmaps is as it was written.
    pub(in crate::kdump) fn front_is_good(
        &self,
        input: &Input,
        headers: &Headers,
    ) -> Result<bool, ReadError> {
        let places = &self.seal.places;
        let mut record = [0; FRONT_LEN];
        input.read_at(places.front(), &mut record)?;
        let Some(expected) = places.front_crc(&record) else { return Ok(false) };
        let mut header = vec![0; headers.layout.header_len().min(places.bitmaps as usize)];
        input.read_at(0, &mut header)?;
        // The mark of an incomplete dump comes and goes.
        if let Some(status) = header.get_mut(headers.layout.status_offset()..).and_then(|s| s.get_mut(..4)) {
            let bits = places.order.u32(status) & !STATUS_INCOMPLETE;
            status.copy_from_slice(&places.order.put_u32(bits));
        }
        let rest = header.len() as u64..places.bitmaps;
        let len = rest.end - rest.start;
        let sum = crc::shifted(crc::part(&header), len) ^ part(input, rest)?;
        Ok(sum ^ crc::of_zeros(places.bitmaps) == expected)
    }

    /// The chunks of bitmaps that are not as they were written, as bytes of the file.
    pub(in crate::kdump) fn bad_bitmaps(&self, input: &Input) -> Result<Vec<Range<u64>>, ReadError> {
        let places = &self.seal.places;
        let count = (places.descriptors - places.bitmaps).div_ceil(1 << places.meta_shift);
        let bad = (0..count)
            .map(|number| Ok((!self.meta_is_good(input, number)?).then(|| places.meta_chunk(number))));
        bad.filter_map(Result::transpose).collect()
    }

    /// The parts of the descriptors from `offset` on that are not as they were written.
    pub(in crate::kdump) fn bad_descriptors(
        &self,
        input: &Input,
        offset: u64,
        len: u64,
    ) -> Result<Vec<Range<u64>>, ReadError> {
        let places = &self.seal.places;
        let mut bad = Vec::new();
        let mut at = offset;
        while at < offset + len {
            if !(places.bitmaps..places.table).contains(&at) {
                bad.push(at..offset + len);
                break;
            }
            let number = (at - places.bitmaps) >> places.meta_shift;
            let end = places.meta_chunk(number).end;
            if !self.meta_is_good(input, number)? {
                bad.push(at..end);
            }
            at = end;
        }
        Ok(bad)
    }

    fn meta_is_good(&self, input: &Input, number: u64) -> Result<bool, ReadError> {
        let Some(known) = self.meta.get(number as usize) else { return Ok(false) };
        match known.load(Ordering::Relaxed) {
            UNKNOWN => {}
            state => return Ok(state == GOOD),
        }
        let chunk = self.seal.places.meta_chunk(number);
        let expected = self.sums(input, self.seal.places.meta_sums(), number, 1)?[0];
        let good = crc_of(input, chunk)? == expected;
        known.store(if good { GOOD } else { BAD }, Ordering::Relaxed);
        Ok(good)
    }

    /// `count` of the sums at `at`, from number `first` on.
    fn sums(&self, input: &Input, at: u64, first: u64, count: u64) -> Result<Vec<u32>, ReadError> {
        let mut bytes = vec![0; (count * SUM_LEN) as usize];
        input.read_at(at + first * SUM_LEN, &mut bytes)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|sum| self.seal.places.order.u32(sum)).collect())
    }

    /// The smallest stretch of whole chunks of pages that covers `range`, which is inside of [`Sums::data`].
    pub(in crate::kdump) fn widen(&self, range: Range<u64>) -> Range<u64> {
        let places = &self.seal.places;
        let first = (range.start - places.data) >> places.data_shift;
        let last = (range.end.max(range.start + 1) - 1 - places.data) >> places.data_shift;
        places.data_chunk(first, self.seal.end).start..places.data_chunk(last, self.seal.end).end
    }

    /// The chunks that are not as they were written among `bytes`, which are whole chunks of pages from `start` on.
    pub(in crate::kdump) fn bad_data(
        &self,
        input: &Input,
        start: u64,
        bytes: &[u8],
    ) -> Result<Vec<Range<u64>>, ReadError> {
        let places = &self.seal.places;
        let first = (start - places.data) >> places.data_shift;
        let chunks = bytes.chunks(1 << places.data_shift);
        let there = places.capacity().saturating_sub(first).min(chunks.len() as u64);
        let sums = self.sums(input, places.data_sums(), first, there)?;
        let sums = sums.into_iter().map(Some).chain(std::iter::repeat(None));
        let bad = (first..).zip(chunks.zip(sums));
        // The last one counts zeros to its end.
        let of =
            |chunk: &[u8]| crc::padded(crc32fast::hash(chunk), (1 << places.data_shift) - chunk.len() as u64);
        let bad = bad.filter(|(_, (chunk, sum))| *sum != Some(of(chunk)));
        Ok(bad.map(|(number, _)| places.data_chunk(number, self.seal.end)).collect())
    }

    /// The first stretch of [`READ`] bytes of pages, from number `from` on, that a sum may have been written of.
    fn next_sums(&self, input: &Input, from: u64) -> u64 {
        let places = &self.seal.places;
        let sums = (READ >> places.data_shift).max(1) * SUM_LEN;
        let at = places.data_sums() + from * sums;
        let next = input.next_data(at);
        if next >= at + sums { (next - places.data_sums()) / sums } else { from }
    }

    /// Reads everything, and returns what is not as it was written, neighbouring chunks as one.
    pub(in crate::kdump) fn all_bad(&self, input: &Input) -> Result<Vec<Range<u64>>, ReadError> {
        let places = &self.seal.places;
        let meta = (0..places.meta_count()).into_par_iter().map(|number| {
            let good = self.meta_is_good(input, number)?;
            Ok(if good { Vec::new() } else { vec![places.meta_chunk(number)] })
        });
        let mut bad: Vec<Range<u64>> = meta.collect::<Result<Vec<_>, ReadError>>()?.concat();
        let data = self.data();
        let there = data.end.min(input.len()).max(data.start);
        let reads = (there - data.start).div_ceil(READ);
        let range = |number: u64| data.start + number * READ..(data.start + (number + 1) * READ).min(there);
        let mut number = 0;
        while number < reads {
            // Where sums were never written nothing fits; a sparse file of a few bytes could have any number of these.
            let next = self.next_sums(input, number).min(reads);
            if next > number {
                join(&mut bad, range(number).start..range(next - 1).end);
            }
            let until = reads.min(next + AT_ONCE);
            let found = (next..until).into_par_iter().map(|number| {
                let Range { start, end } = range(number);
                let mut bytes = vec![0; (end - start) as usize];
                match input.read_at(start, &mut bytes) {
                    Ok(()) => self.bad_data(input, start, &bytes),
                    Err(_) => Ok(std::iter::once(start..end).collect()),
                }
            });
            for chunk in found.collect::<Result<Vec<_>, ReadError>>()?.concat() {
                join(&mut bad, chunk);
            }
            number = until;
        }
        if there < data.end {
            join(&mut bad, there..data.end);
        }
        Ok(bad)
    }
}

/// Adds a stretch behind the others.
fn join(bad: &mut Vec<Range<u64>>, next: Range<u64>) {
    match bad.last_mut() {
        Some(last) if last.end >= next.start => last.end = last.end.max(next.end),
        _ => bad.push(next),
    }
}

/// The CRC of a part of the file.
fn crc_of(input: &Input, range: Range<u64>) -> Result<u32, ReadError> {
    let len = range.end - range.start;
    Ok(part(input, range)? ^ crc::of_zeros(len))
}

/// What a part of the file contributes to the CRC of the chunk that it is the end of; holes are not read.
fn part(input: &Input, range: Range<u64>) -> Result<u32, ReadError> {
    let mut sum = 0;
    let mut bytes = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let next = input.next_data(at).min(range.end);
        if next > at {
            sum = crc::shifted(sum, next - at);
            at = next;
            continue;
        }
        bytes.resize(READ.min(range.end - at) as usize, 0);
        input.read_at(at, &mut bytes)?;
        sum = crc::shifted(sum, bytes.len() as u64) ^ crc::part(&bytes);
        at += bytes.len() as u64;
    }
    Ok(sum)
}
