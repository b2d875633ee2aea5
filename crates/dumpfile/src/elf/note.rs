//! hadump's own note in the ELF files it writes.
//!
//! ELF has one way to say that memory has no bytes in the file, `p_memsz > p_filesz`, and its writers mean two things
//! by it: makedumpfile an excluded page, everybody else zeros. hadump's files mean zeros, and say so here.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | version, 1 |
//! | 4 | 4 | the dump level that was applied |
//! | 8 | 4 | flags: bit 0, the dump is incomplete |
//! | 12 | 4 | 0 |
//! | 16 | 8 | the sum of `p_memsz - p_filesz` over all PT_LOADs |
//! | 24 | 8 | pages that were to be kept and could not be read |
//!
//! Numbers are in the dump's byte order. Fields may follow in later files; the version changes when a field changes
//! its meaning. The sum ties the note to its file: another tool that filters the dump again hands the note on, and
//! then its tails must not be taken for ours.

use vmcore::{ByteOrder, Note, Notes};

const NAME: &str = "HADUMP";
const KIND: u32 = 1;
const VERSION: u32 = 1;
const INCOMPLETE: u32 = 1;
const LEN: usize = 32;

/// The content of the note.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnNote {
    pub(super) dump_level: u32,
    pub(super) incomplete: bool,
    /// The sum of `p_memsz - p_filesz` over all PT_LOADs, in bytes.
    pub(super) tails: u64,
    pub(super) lost_pages: u64,
}

impl OwnNote {
    /// Reports whether a note is one of these.
    pub(super) fn is(note: &Note) -> bool {
        note.name == NAME.as_bytes() && note.kind == KIND
    }

    /// The note of the file itself: the last one, as those before it came with the input of an earlier run.
    pub(super) fn find(notes: &Notes, order: ByteOrder) -> Option<Self> {
        let note = notes.iter().rfind(|n| Self::is(n))?;
        let desc = note.desc.get(..LEN).filter(|d| order.u32(d) == VERSION)?;
        Some(Self {
            dump_level: order.u32(&desc[4..]),
            incomplete: order.u32(&desc[8..]) & INCOMPLETE != 0,
            tails: order.u64(&desc[16..]),
            lost_pages: order.u64(&desc[24..]),
        })
    }

    /// The note as it goes into a file; its length does not depend on its content.
    pub(super) fn encode(&self, order: ByteOrder) -> Note {
        let flags = if self.incomplete { INCOMPLETE } else { 0 };
        let mut desc: Vec<u8> =
            [VERSION, self.dump_level, flags, 0].iter().flat_map(|&word| order.put_u32(word)).collect();
        desc.extend(order.put_u64(self.tails));
        desc.extend(order.put_u64(self.lost_pages));
        Note { name: NAME.into(), kind: KIND, desc }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_note_of_a_known_version_counts() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let first = OwnNote { dump_level: 1, incomplete: false, tails: 4096, lost_pages: 0 };
            let last = OwnNote { dump_level: 31, incomplete: true, tails: 1 << 40, lost_pages: 3 };
            let mut notes = Notes::default();
            notes.push(first.encode(order), order);
            assert_eq!(OwnNote::find(&notes, order), Some(first));
            let mut longer = last.encode(order);
            longer.desc.extend([9; 16]);
            notes.push(longer, order);
            assert_eq!(OwnNote::find(&notes, order), Some(last));
            let mut foreign = last.encode(order);
            foreign.desc[..4].copy_from_slice(&order.put_u32(2));
            notes.push(foreign, order);
            assert_eq!(OwnNote::find(&notes, order), None);
        }
    }
}
