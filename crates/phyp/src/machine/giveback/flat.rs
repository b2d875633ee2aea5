//! The flattened device tree that the kernel was started with: `/sys/firmware/fdt`.
//!
//! Only its header and its memory reservation map are read: the nodes are in `/proc/device-tree` already. The layout is
//! that of the Devicetree Specification, chapter 5; all numbers are big-endian.

use crate::Error;
use crate::bytes::Bytes;
use vmcore::{PhysAddr, Range};

const NAME: &str = "flattened device tree";
const MAGIC: u32 = 0xd00d_feed;
const HEADER: usize = 0x28;
const ENTRY: usize = 16;

/// What is read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlatTree {
    /// The length of the whole in bytes.
    pub len: u64,
    /// The version of its layout.
    pub version: u32,
    /// The memory reservation map: memory that the kernel must not use, in the map's order. On POWER the kernel's own
    /// start code (`prom_init.c`) writes RTAS, the initial RAM disk and the TPM's log there.
    pub reservations: Vec<Range<PhysAddr>>,
}

impl FlatTree {
    /// Parses the tree's bytes.
    ///
    /// # Errors
    ///
    /// When there is no header with its magic number, the bytes end before the tree does, or the reservation map has
    /// no end.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let get = Bytes::big(bytes);
        let short = |expected| Error::Short { what: NAME, found: bytes.len(), expected };
        let damaged = |field, offset, found: String, expected: String| Error::Damaged {
            what: NAME,
            field,
            offset,
            found,
            expected,
        };
        let word = |at| get.u32(at).ok_or_else(|| short(HEADER));
        let magic = word(0)?;
        if magic != MAGIC {
            return Err(damaged("magic", 0, format!("{magic:#x}"), format!("{MAGIC:#x}")));
        }
        let (len, map, version) = (word(4)? as usize, word(0x10)? as usize, word(0x14)?);
        word(HEADER - 4)?;
        let tree = bytes.get(..len).ok_or_else(|| short(len))?;
        let get = Bytes::big(tree);
        let mut reservations = Vec::new();
        let mut at = map;
        loop {
            let entry = at.checked_add(8).and_then(|size| Some((get.u64(at)?, get.u64(size)?)));
            let Some((start, size)) = entry else {
                let expected = format!("a map that ends with a size of zero below {len:#x}");
                return Err(damaged("off_mem_rsvmap", 0x10, format!("{map:#x}"), expected));
            };
            // Linux stops at the first size of zero, whatever its address (early_init_fdt_scan_reserved_mem).
            if size == 0 {
                break;
            }
            reservations.push(Range::new(PhysAddr(start), PhysAddr(start.saturating_add(size))));
            at += ENTRY;
        }
        Ok(Self { len: len as u64, version, reservations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(entries: &[(u64, u64)]) -> Vec<u8> {
        let len = HEADER + entries.len() * ENTRY;
        let words = [MAGIC, len as u32, 0x38, 0x38, 0x28, 17, 16, 0, 0, 0];
        let mut out: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
        out.extend(entries.iter().flat_map(|&(a, s)| [a, s]).flat_map(u64::to_be_bytes));
        out
    }

    #[test]
    fn the_reservation_map_is_read_up_to_its_end() {
        let bytes = tree(&[(0x101_0000, 0x7_0000), (0x1fff_0000, 0x1_0000), (5, 0), (7, 7)]);
        let tree = FlatTree::parse(&[bytes, vec![1, 2, 3]].concat()).unwrap();
        let range = |a, b| Range::new(PhysAddr(a), PhysAddr(b));
        assert_eq!(tree.reservations, [range(0x101_0000, 0x108_0000), range(0x1fff_0000, 0x2000_0000)]);
        assert_eq!((tree.len, tree.version), (0x68, 17));
    }

    #[test]
    fn what_is_no_tree_or_is_cut_short_or_has_no_end_is_an_error() {
        let text = |bytes: &[u8]| FlatTree::parse(bytes).unwrap_err().to_string();
        let whole = tree(&[(1, 1), (0, 0)]);
        assert!(text(&whole[..20]).contains("expected at least 40"));
        assert!(text(&whole[..whole.len() - 1]).contains("expected at least 72"));
        assert!(text(&[0; 64]).contains("magic at offset 0x0 is 0x0, expected 0xd00dfeed"));
        assert!(text(&tree(&[(1, 1)])).contains("off_mem_rsvmap at offset 0x10"));
        let mut far = whole;
        far[0x10..0x14].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(text(&far).contains("off_mem_rsvmap at offset 0x10 is 0xffffffff"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), magic: bool) {
            if magic && bytes.len() >= 8 {
                let len = (bytes.len() as u32).to_be_bytes();
                bytes[..4].copy_from_slice(&MAGIC.to_be_bytes());
                bytes[4..8].copy_from_slice(&len);
            }
            if let Ok(tree) = FlatTree::parse(&bytes) {
                prop_assert!(tree.reservations.len() * ENTRY <= bytes.len());
            }
        }
    }
}
