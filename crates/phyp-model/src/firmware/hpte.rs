//! The HPTE save area: the page-table entries that mapped the real-mode area.
//!
//! Layout from LoPAR, "Firmware Assisted Dump Data Format": magic, version, offset of the count, the count,
//! entries of 24 bytes, big-endian. The text contradicts itself: the count has eight bytes at 18h, but
//! `NumEntriesOffset` says 1ch, where its low half is.

use crate::bytes::{ByteOrder, Bytes};
use crate::rng::Rng;

/// `HPTESAVE`.
pub const MAGIC: u64 = 0x4850_5445_5341_5645;

/// One saved entry of the hashed page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hpte {
    /// Its index in the table.
    pub index: u64,
    /// First doubleword: segment size, abbreviated virtual page number, software bits, large, hash, valid.
    pub high: u64,
    /// Second doubleword: real page number, protection, reference and change bits, storage attributes.
    pub low: u64,
}

impl Hpte {
    /// Valid entries that map a real-mode area of `length` bytes in 64 KiB pages, in no order.
    pub(crate) fn random_table(rng: &mut Rng, entries: u64, length: u64) -> Vec<Self> {
        let pages = (length >> 16).max(1);
        (0..entries)
            .map(|n| {
                let page = n % pages;
                // 1 TiB segment, VRMA virtual segment id 0x1ffffff, valid; WIMG 0010, read and write for the kernel.
                let high = 0x4000_0000_0000_0000 | (0x01ff_ffff << 24 & 0x3fff_ffff_ff80) | (page << 7) | 0x5;
                Self { index: rng.below(1 << 18), high, low: (page << 16) | 0x1000 | 0x190 }
            })
            .collect()
    }
}

/// An HPTE save area before it becomes bytes, so that faults can be put into it.
#[derive(Clone, Debug)]
pub struct HpteSave {
    /// The magic number.
    pub magic: u64,
    /// The version, 0.
    pub version: u32,
    /// What the offset field says.
    pub count_offset: u32,
    /// The eight-byte count at 18h.
    pub count: u64,
    /// What is at 1ch instead of the count's low half, for the two to disagree.
    pub count_at_1c: Option<u32>,
    /// The entries.
    pub entries: Vec<Hpte>,
}

impl HpteSave {
    /// What the firmware writes for `entries`.
    pub fn of(entries: &[Hpte]) -> Self {
        Self {
            magic: MAGIC,
            version: 0,
            count_offset: 0x1c,
            count: entries.len() as u64,
            count_at_1c: None,
            entries: entries.to_vec(),
        }
    }

    /// The bytes the firmware writes to the section's destination.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Bytes::new(ByteOrder::Big);
        out.u64(self.magic).u32(self.version).u32(self.count_offset).u64(0).u64(self.count);
        if let Some(count) = self.count_at_1c {
            out.u32_at(0x1c, count);
        }
        for entry in &self.entries {
            out.u64(entry.index).u64(entry.high).u64(entry.low);
        }
        out.bytes
    }
}
