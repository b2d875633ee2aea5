//! The HPTE save area: the hash page-table entries that mapped the real-mode area.
//!
//! Layout: LoPAR "Hardware Page Table Entry Save Area Format", version 0, big-endian:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 00 | 8 | magic `HPTESAVE` |
//! | 08 | 4 | version, 0 |
//! | 0c | 4 | offset of the number of entries, 1ch |
//! | 18 | 8 | number of entries |
//! | 20 | 24 each | index into the table, first and second doubleword of the entry |
//!
//! The specification gives the count eight bytes at 18h and an offset of 1ch; read either way it is the same number as
//! long as it stays below 2^32. No kernel reads this area, QEMU does not write it, and radix guests have none.

use crate::bytes::Bytes;
use crate::{Error, Findings};
use std::collections::HashSet;

/// The magic number, `HPTESAVE` as a big-endian number.
pub const MAGIC: u64 = 0x4850_5445_5341_5645;

const NAME: &str = "HPTE save area";
const HEADER: usize = 0x20;
const ENTRY: usize = 24;

/// One entry of a hash page table (Power ISA 2.07, "Page Table Entry"; Linux `HPTE_V_*` and `HPTE_R_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hpte {
    /// The entry's index in the table.
    pub index: u64,
    /// The first doubleword.
    pub high: u64,
    /// The second doubleword.
    pub low: u64,
}

impl Hpte {
    /// The entry translates something.
    pub fn is_valid(self) -> bool {
        self.high & 1 != 0
    }

    /// The entry was placed by the secondary hash.
    pub fn is_secondary(self) -> bool {
        self.high & 2 != 0
    }

    /// The page is larger than 4 KiB.
    pub fn is_large(self) -> bool {
        self.high & 4 != 0
    }

    /// The software bits; Linux calls bit 1 bolted and bit 0 locked.
    pub fn software(self) -> u8 {
        (self.high >> 3 & 0xf) as u8
    }

    /// The abbreviated virtual page number, as it is in the entry (virtual address bits down to 2^23).
    pub fn avpn(self) -> u64 {
        (self.high & 0x3fff_ffff_ffff_ff80) >> 7
    }

    /// The segment size: 0 is 256 MiB, 1 is 1 TiB.
    pub fn segment_size(self) -> u8 {
        (self.high >> 62) as u8
    }

    /// The real page number with the page-size encoding in its low bits, in units of 4 KiB.
    pub fn rpn(self) -> u64 {
        (self.low & 0x0fff_ffff_ffff_f000) >> 12
    }

    /// The page protection, bit pp0 above the two pp bits.
    pub fn protection(self) -> u8 {
        ((self.low >> 63) << 2 | self.low & 3) as u8
    }

    /// The storage key.
    pub fn key(self) -> u8 {
        ((self.low >> 60 & 3) << 3 | self.low >> 9 & 7) as u8
    }

    /// The page was read or written.
    pub fn is_referenced(self) -> bool {
        self.low & 0x100 != 0
    }

    /// The page was written.
    pub fn is_changed(self) -> bool {
        self.low & 0x80 != 0
    }

    /// The storage attributes W, I, M and G, W highest.
    pub fn wimg(self) -> u8 {
        (self.low >> 3 & 0xf) as u8
    }

    /// Instructions may not be fetched from the page.
    pub fn is_no_execute(self) -> bool {
        self.low & 4 != 0
    }
}

/// What is unusual or wrong in the area.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The version is not 0; it was read as version 0.
    Version(u32),
    /// The offset of the count is not 1ch (18h is the same field); the field at 18h was read.
    Offset(u32),
    /// The count is one number as eight bytes at 18h and another as four bytes at 1ch.
    CountDisagrees {
        /// The number at 18h.
        wide: u64,
        /// The number at 1ch.
        narrow: u32,
    },
    /// The count says more entries than the area holds.
    Truncated {
        /// What the count says.
        claimed: u64,
        /// How many there are.
        found: usize,
    },
    /// An index appears twice.
    DuplicateIndex(u64),
}

/// The parsed area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HpteArea {
    /// The format's version; 0.
    pub version: u32,
    /// The entries in the firmware's order, which may be any.
    pub entries: Vec<Hpte>,
    /// The faults.
    pub faults: Vec<Fault>,
}

impl HpteArea {
    /// Parses the bytes that the firmware copied.
    ///
    /// # Errors
    ///
    /// When the area is too short for its header or has another magic number.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let get = Bytes::big(bytes);
        let short = || Error::Short { what: NAME, found: bytes.len(), expected: HEADER };
        let magic = get.u64(0).ok_or_else(short)?;
        if magic != MAGIC {
            return Err(Error::Damaged {
                what: NAME,
                field: "magic",
                offset: 0,
                found: format!("{magic:#018x}"),
                expected: format!("{MAGIC:#018x}"),
            });
        }
        let (version, offset) = (get.u32(8).ok_or_else(short)?, get.u32(0xc).ok_or_else(short)?);
        let (wide, narrow) = (get.u64(0x18).ok_or_else(short)?, get.u32(0x1c).ok_or_else(short)?);
        let mut faults = Vec::new();
        if version != 0 {
            faults.push(Fault::Version(version));
        }
        if ![0x18, 0x1c].contains(&offset) {
            faults.push(Fault::Offset(offset));
        }
        let room = bytes[HEADER..].chunks_exact(ENTRY);
        let fits = room.len() as u64;
        let mut claimed = wide;
        if wide != narrow.into() {
            faults.push(Fault::CountDisagrees { wide, narrow });
            claimed = if wide > fits { narrow.into() } else { wide };
        }
        let take = claimed.min(fits) as usize;
        let entries: Vec<Hpte> = room.take(take).filter_map(entry).collect();
        if claimed > fits {
            faults.push(Fault::Truncated { claimed, found: entries.len() });
        }
        let mut seen = HashSet::new();
        let twice = entries.iter().filter(|e| !seen.insert(e.index));
        faults.extend(twice.map(|e| Fault::DuplicateIndex(e.index)));
        Ok(Self { version, entries, faults })
    }

    /// The faults, one sentence per entry.
    pub fn findings(&self) -> Findings {
        let mut findings = Findings::default();
        self.report(&mut findings);
        findings
    }

    /// Adds them to those of a whole dump.
    pub(crate) fn report(&self, out: &mut Findings) {
        for fault in &self.faults {
            match fault {
                Fault::Version(v) => {
                    out.warning(format!("the HPTE save area has version {v}, read as version 0"));
                }
                Fault::Offset(at) => {
                    out.note(format!("the HPTE save area has the unexpected count offset {at:#x}"));
                }
                Fault::CountDisagrees { wide, narrow } => out.warning(format!(
                    "the HPTE save area claims {wide} entries in eight bytes but {narrow} in four"
                )),
                Fault::Truncated { claimed, found } => {
                    out.warning(format!("the HPTE save area claims {claimed} entries but contains {found}"));
                }
                Fault::DuplicateIndex(index) => {
                    out.note(format!("HPTE {index:#x} appears twice in the HPTE save area"));
                }
            }
        }
    }
}

fn entry(bytes: &[u8]) -> Option<Hpte> {
    let get = Bytes::big(bytes);
    Some(Hpte { index: get.u64(0)?, high: get.u64(8)?, low: get.u64(16)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn write(entries: &[(u64, u64, u64)]) -> Vec<u8> {
        let mut out = b"HPTESAVE\0\0\0\0\0\0\0\x1c".to_vec();
        out.extend([0; 8]);
        out.extend((entries.len() as u64).to_be_bytes());
        for (index, high, low) in entries {
            out.extend([*index, *high, *low].iter().flat_map(|w| w.to_be_bytes()));
        }
        out
    }

    #[test]
    fn the_fields_of_an_entry_are_those_of_the_architecture() {
        // A bolted 1 TiB-segment entry: avpn 0x12345, real page 0xabc000, key 9, referenced, changed, M, rw.
        let high = 1 << 62 | 0x12345 << 7 | 2 << 3 | 4 | 1;
        let low = 0xabc000 | 1 << 60 | 1 << 9 | 0x180 | 0x10 | 2;
        let entry = Hpte { index: 7, high, low };
        assert!(entry.is_valid() && entry.is_large() && !entry.is_secondary() && !entry.is_no_execute());
        assert_eq!((entry.avpn(), entry.segment_size(), entry.software()), (0x12345, 1, 2));
        assert_eq!((entry.rpn(), entry.key(), entry.wimg(), entry.protection()), (0xabc, 9, 2, 2));
        assert!(entry.is_referenced() && entry.is_changed());
        assert_eq!(Hpte { low: 1 << 63 | 3, ..entry }.protection(), 7);
    }

    #[test]
    fn faults_are_said_and_what_fits_is_read() {
        let good = write(&[(5, 1, 2), (3, 4, 5), (5, 6, 7)]);
        let area = HpteArea::parse(&good).unwrap();
        assert_eq!((area.entries.len(), &area.faults[..]), (3, &[Fault::DuplicateIndex(5)][..]));
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = write(&[(1, 1, 1), (2, 2, 2)]);
            change(&mut bytes);
            HpteArea::parse(&bytes).map(|a| (a.entries.len(), a.faults))
        };
        assert_eq!(with(&|_| ()).unwrap(), (2, vec![]));
        assert_eq!(with(&|b| b[0xf] = 0x18).unwrap(), (2, vec![]));
        assert_eq!(with(&|b| b[0xf] = 0x40).unwrap(), (2, vec![Fault::Offset(0x40)]));
        assert_eq!(with(&|b| b[0xb] = 1).unwrap(), (2, vec![Fault::Version(1)]));
        assert_eq!(with(&|b| b[0x1f] = 0).unwrap(), (0, vec![]));
        assert_eq!(with(&|b| b[0x1f] = 9).unwrap(), (2, vec![Fault::Truncated { claimed: 9, found: 2 }]));
        let wide = 1 << 32 | 2;
        assert_eq!(with(&|b| b[0x1b] = 1).unwrap(), (2, vec![Fault::CountDisagrees { wide, narrow: 2 }]));
        assert_eq!(
            with(&|b| b.truncate(0x37)).unwrap(),
            (0, vec![Fault::Truncated { claimed: 2, found: 0 }])
        );
        assert!(with(&|b| b[0] = 0).unwrap_err().to_string().contains("magic"));
        assert!(with(&|b| b.truncate(0x1f)).unwrap_err().to_string().contains("31 bytes long"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in prop::collection::vec(any::<(u64, u64, u64)>(), 0..20)) {
            let area = HpteArea::parse(&write(&entries)).unwrap();
            let read: Vec<(u64, u64, u64)> = area.entries.iter().map(|e| (e.index, e.high, e.low)).collect();
            prop_assert_eq!(read, entries);
        }

        #[test]
        fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), magic: bool) {
            if magic && bytes.len() > 8 {
                bytes[..8].copy_from_slice(b"HPTESAVE");
            }
            let _ = HpteArea::parse(&bytes);
        }
    }
}
