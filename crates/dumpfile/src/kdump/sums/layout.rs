//! What the checksums of a file look like and where they are. docs/formats.md has the same for other readers.

use crate::kdump::layout::PAGE_DESC_LEN;
use std::ops::Range;
use vmcore::{ByteOrder, Note};

/// The name and the type of the note that announces the checksums.
pub(super) const NOTE_NAME: &[u8] = b"HADUMP";
pub(super) const NOTE_KIND: u32 = 2;
/// The length of the note's descriptor.
const NOTE_LEN: usize = 32;
/// The only version that there is.
const VERSION: u32 = 1;
/// How the seal begins and how it ends: one damaged byte does not hide it.
const MAGIC: [&[u8; 8]; 2] = [b"HADUMPCK", b"KCPMUDAH"];
/// The length of the seal, which is written last.
pub(super) const SEAL_LEN: usize = 128;
/// Where in the seal its own checksum is.
const SEAL_CRC: usize = 116;
/// The length of what follows the seal: the checksum of everything before the bitmaps, written first.
pub(super) const FRONT_LEN: usize = 16;
const FRONT_MAGIC: &[u8; 8] = b"HADUMPFR";
/// The length of one checksum.
pub(super) const SUM_LEN: u64 = 4;
/// 16 KiB of pages to a checksum: 0.02 % of the file, and about that much is lost with one bad bit where a page cannot
/// prove itself.
const DATA_SHIFT: u32 = 14;
/// The most checksums of bitmaps and descriptors, which are in memory while the file is written: 1 MiB. Larger tables have
/// larger chunks.
const MAX_META: u64 = 1 << 18;
/// Each resumed save begins a new chunk. More of them than this, in a dump of which no page can be compressed, leave pages
/// at the end without a checksum.
const SPARE: u64 = 64;

/// Where everything is that checksums are taken of, and where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kdump) struct Places {
    pub(super) order: ByteOrder,
    /// Where bitmaps and descriptors are: up to `table`, the page of zeros among them.
    pub(super) bitmaps: u64,
    pub(super) descriptors: u64,
    /// Where the checksums are.
    pub(super) table: u64,
    /// Where the bytes of pages begin.
    pub(super) data: u64,
    pub(super) meta_shift: u32,
    pub(super) data_shift: u32,
}

/// Bytes of checksums for a page of `page` bytes and its descriptor, at most.
pub(in crate::kdump) fn each_page(page: u64) -> u64 {
    let of = |bytes: u64| SUM_LEN * bytes.div_ceil(1 << DATA_SHIFT);
    of(page) + of(PAGE_DESC_LEN as u64)
}

impl Places {
    /// The places in a file whose zero page is at the end of `pages` descriptors, and that itself has `stored` bytes of
    /// pages at most.
    pub(in crate::kdump) fn new(
        order: ByteOrder,
        [bitmaps, descriptors, table]: [u64; 3],
        stored: u64,
    ) -> Option<Self> {
        let meta_shift = (DATA_SHIFT..64).find(|&shift| (table - bitmaps) >> shift < MAX_META)?;
        let mut places =
            Self { order, bitmaps, descriptors, table, data: 0, meta_shift, data_shift: DATA_SHIFT };
        let sums = stored.div_ceil(1 << DATA_SHIFT) + SPARE;
        places.data = places.data_sums().checked_add(SUM_LEN * sums)?.next_multiple_of(8);
        Some(places)
    }

    /// No places, for a note that is as long as the real one.
    pub(in crate::kdump) fn nowhere(order: ByteOrder) -> Self {
        Self { order, bitmaps: 0, descriptors: 0, table: 0, data: 0, meta_shift: 0, data_shift: 0 }
    }

    /// Where the bytes of pages begin.
    pub(in crate::kdump) fn data(&self) -> u64 {
        self.data
    }

    /// The note that announces the checksums.
    pub(in crate::kdump) fn note(&self) -> Note {
        let order = self.order;
        let mut desc = Vec::with_capacity(NOTE_LEN);
        [VERSION, self.meta_shift, self.data_shift, 0].iter().for_each(|n| desc.extend(order.put_u32(*n)));
        [self.table, self.data].iter().for_each(|n| desc.extend(order.put_u64(*n)));
        Note { name: NOTE_NAME.into(), kind: NOTE_KIND, desc }
    }

    /// How many chunks bitmaps and descriptors make.
    pub(super) fn meta_count(&self) -> u64 {
        (self.table - self.bitmaps).div_ceil(1 << self.meta_shift)
    }

    /// Where the chunk of bitmaps and descriptors of this number is.
    pub(super) fn meta_chunk(&self, number: u64) -> Range<u64> {
        let start = self.bitmaps + (number << self.meta_shift);
        start..(start + (1 << self.meta_shift)).min(self.table)
    }

    /// Where the chunk of pages of this number is, in a file whose pages end at `end`.
    pub(super) fn data_chunk(&self, number: u64, end: u64) -> Range<u64> {
        let start = self.data + (number << self.data_shift);
        start..(start + (1 << self.data_shift)).min(end)
    }

    /// How many chunks pages make that end at `end`.
    pub(super) fn data_count(&self, end: u64) -> u64 {
        (end - self.data).div_ceil(1 << self.data_shift)
    }

    /// How many chunks of pages there is room for.
    pub(super) fn capacity(&self) -> u64 {
        (self.data - self.data_sums()) / SUM_LEN
    }

    pub(super) fn front(&self) -> u64 {
        self.table + SEAL_LEN as u64
    }

    pub(super) fn meta_sums(&self) -> u64 {
        self.front() + FRONT_LEN as u64
    }

    pub(super) fn data_sums(&self) -> u64 {
        self.meta_sums() + SUM_LEN * self.meta_count()
    }

    /// The checksum of everything before the bitmaps, with its own.
    pub(super) fn front_record(&self, crc: u32) -> [u8; FRONT_LEN] {
        let mut record = [0; FRONT_LEN];
        record[..8].copy_from_slice(FRONT_MAGIC);
        record[8..12].copy_from_slice(&self.order.put_u32(crc));
        let own = crc32fast::hash(&record[..12]);
        record[12..].copy_from_slice(&self.order.put_u32(own));
        record
    }

    /// The checksum of everything before the bitmaps, if `record` is whole.
    pub(super) fn front_crc(&self, record: &[u8; FRONT_LEN]) -> Option<u32> {
        let crc = self.order.u32(&record[8..]);
        (self.front_record(crc) == *record).then_some(crc)
    }
}

/// Reports whether this is the note that announces checksums.
pub(in crate::kdump) fn is_note(note: &Note) -> bool {
    note.name == NOTE_NAME && note.kind == NOTE_KIND
}

/// What the note says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) table: u64,
    pub(super) data: u64,
}

impl Announced {
    /// Decodes the note; `None` for a version that is not known.
    pub(super) fn decode(note: &Note, order: ByteOrder) -> Option<Self> {
        let desc = &note.desc[..];
        (desc.len() >= NOTE_LEN && order.u32(desc) == VERSION)
            .then(|| Self { table: order.u64(&desc[16..]), data: order.u64(&desc[24..]) })
    }
}

/// What is written when all else is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    pub(super) places: Places,
    /// Where the bytes of pages end.
    pub(super) end: u64,
    /// The pages of the whole dump.
    pub(super) pages: u64,
    /// The header says so too.
    pub(super) incomplete: bool,
}

/// What is where a seal should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    Seal(Seal),
    /// It is damaged, or of a version that is not known.
    Broken,
    /// Nothing was written there.
    Zeros,
    Other,
}

impl Seal {
    pub(super) fn encode(&self) -> [u8; SEAL_LEN] {
        let Places { order, bitmaps, descriptors, table, data, meta_shift, data_shift } = self.places;
        let mut bytes = [0; SEAL_LEN];
        bytes[..8].copy_from_slice(MAGIC[0]);
        let narrow = [VERSION, self.incomplete.into(), meta_shift, data_shift];
        let wide = [bitmaps, descriptors, table, data, self.end, self.pages];
        let numbers =
            narrow.iter().flat_map(|n| order.put_u32(*n)).chain(wide.iter().flat_map(|n| order.put_u64(*n)));
        bytes[8..].iter_mut().zip(numbers).for_each(|(byte, number)| *byte = number);
        let crc = crc32fast::hash(&bytes[..SEAL_CRC]);
        bytes[SEAL_CRC..SEAL_CRC + 4].copy_from_slice(&order.put_u32(crc));
        bytes[SEAL_LEN - 8..].copy_from_slice(MAGIC[1]);
        bytes
    }

    pub(super) fn decode(bytes: &[u8; SEAL_LEN], order: ByteOrder) -> Decoded {
        if bytes.iter().all(|&byte| byte == 0) {
            return Decoded::Zeros;
        }
        if !bytes.starts_with(MAGIC[0]) && !bytes.ends_with(MAGIC[1]) {
            return Decoded::Other;
        }
        let [version, flags, meta_shift, data_shift] = [8, 12, 16, 20].map(|at| order.u32(&bytes[at..]));
        let [bitmaps, descriptors, table, data, end, pages] =
            [24, 32, 40, 48, 56, 64].map(|at| order.u64(&bytes[at..]));
        let seal = Self {
            places: Places { order, bitmaps, descriptors, table, data, meta_shift, data_shift },
            end,
            pages,
            incomplete: flags & 1 != 0,
        };
        let possible = version == VERSION && seal.is_possible();
        if possible && seal.encode() == *bytes { Decoded::Seal(seal) } else { Decoded::Broken }
    }

    /// Reports whether the numbers are those of a file: a reader may then calculate with them.
    fn is_possible(&self) -> bool {
        let Places { bitmaps, descriptors, table, data, meta_shift, data_shift, .. } = self.places;
        let ascending = bitmaps <= descriptors && descriptors < table && table < data && data <= self.end;
        let small = self.end < 1 << 60 && (12..48).contains(&meta_shift) && (12..21).contains(&data_shift);
        let fits = |pages: u64| {
            pages.checked_mul(PAGE_DESC_LEN as u64).is_some_and(|len| len <= table - descriptors)
        };
        ascending
            && small
            && fits(self.pages)
            && self.places.meta_count() <= MAX_META
            && self.places.data_sums() <= data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal() -> Seal {
        let places = Places::new(ByteOrder::Big, [8192, 16384, 100_000], 1 << 20).unwrap();
        Seal { places, end: places.data + 5000, pages: 3000, incomplete: false }
    }

    #[test]
    fn a_seal_comes_back_and_no_damaged_bit_makes_another_one_or_none() {
        let bytes = seal().encode();
        assert_eq!(Seal::decode(&bytes, ByteOrder::Big), Decoded::Seal(seal()));
        for bit in 0..SEAL_LEN * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Seal::decode(&bytes, ByteOrder::Big), Decoded::Broken, "{bit}");
        }
        assert_eq!(Seal::decode(&[0; SEAL_LEN], ByteOrder::Big), Decoded::Zeros);
        assert_eq!(Seal::decode(&[7; SEAL_LEN], ByteOrder::Big), Decoded::Other);
    }

    #[test]
    fn the_front_record_proves_itself() {
        let places = seal().places;
        let record = places.front_record(0x1234_5678);
        assert_eq!(places.front_crc(&record), Some(0x1234_5678));
        for bit in 0..FRONT_LEN * 8 {
            let mut record = record;
            record[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(places.front_crc(&record), None, "{bit}");
        }
    }

    #[test]
    fn the_note_says_where_the_checksums_are() {
        let places = seal().places;
        let announced = Announced::decode(&places.note(), ByteOrder::Big);
        assert_eq!(announced, Some(Announced { table: places.table, data: places.data }));
    }

    /// 64 TiB of memory in pages of 4 KiB have 412 GB of descriptors.
    #[test]
    fn the_checksums_in_memory_are_bounded_and_those_in_the_file_are_few() {
        let pages = 1u64 << 34;
        let table = (4 << 30) + pages * PAGE_DESC_LEN as u64;
        let places = Places::new(ByteOrder::Little, [8192, 4 << 30, table], pages << 12).unwrap();
        assert!(places.meta_count() <= MAX_META);
        assert!(places.capacity() * SUM_LEN < (pages << 12) / 4000);
        assert!(places.capacity() >= places.data_count(places.data + (pages << 12)));
    }
}
