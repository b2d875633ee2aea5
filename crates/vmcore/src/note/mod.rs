//! ELF notes: the registers and facts that travel beside memory.

mod far;
mod scan;

pub use far::{Far, NoteSource};
pub use scan::{Found, MAX_NOTES, NotePlace, NoteRoom};

use crate::{ByteOrder, ReadError};

/// One ELF note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The owner's name without its terminating NUL: `CORE`, `LINUX`, `VMCOREINFO`.
    pub name: Vec<u8>,
    /// The type, which only has a meaning together with the name.
    pub kind: u32,
    /// The content.
    pub desc: Vec<u8>,
}

/// All notes of a dump, in their order, each with its name and content exactly as they were found.
///
/// Readers of dumps pair the Nth `NT_PRSTATUS` with the Nth CPU, so order is meaning. The raw bytes are kept
/// because a writer must copy every note unchanged, also those it does not know. Large ones stay in the input until then
/// and go behind all others, where they are in nobody's way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    notes: Vec<Note>,
    raw: Vec<u8>,
    far: Vec<Far>,
}

/// Why notes could not be parsed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("note at offset {offset:#x} of the notes claims {claimed} bytes, {left} are left")]
pub struct NoteError {
    /// Where the note starts, in bytes from the first note.
    pub offset: usize,
    /// What its header adds up to.
    pub claimed: u64,
    /// What there is.
    pub left: usize,
}

const HEADER: usize = 12;

fn padded(len: u64) -> u64 {
    len.next_multiple_of(4)
}

impl Notes {
    /// The note type of a CPU's general registers (`NT_PRSTATUS`), under the name `CORE`.
    pub const PRSTATUS: u32 = 1;

    /// Parses the content of one PT_NOTE segment: headers of `n_namesz`, `n_descsz`, `n_type` (32 bits each in
    /// `order`), then name and descriptor, each padded to four bytes, or to eight where only that makes sense.
    ///
    /// Zeros between notes and at the end are padding.
    ///
    /// # Errors
    ///
    /// When a note reaches past the end of `bytes`; what came before it is lost to the caller, who can parse
    /// `bytes[..offset]` again.
    pub fn parse(bytes: &[u8], order: ByteOrder) -> Result<Self, NoteError> {
        let found = Self::of_bytes(bytes, order);
        found.error.map_or(Ok(found.notes), Err)
    }

    /// Adds a note whose header and padded name are `head`.
    fn add(&mut self, head: &[u8], note: Note) {
        self.raw.extend(head);
        self.raw.extend(&note.desc);
        self.raw.resize(self.raw.len().next_multiple_of(4), 0);
        self.notes.push(note);
    }

    /// Appends a note made by the caller.
    pub fn push(&mut self, note: Note, order: ByteOrder) {
        // Raw save areas are notes of megabytes: what they lie in must not double for the small note after them.
        let needed = HEADER + note.name.len() + note.desc.len() + 8;
        if self.raw.capacity() - self.raw.len() < needed {
            self.raw.reserve_exact(needed.max(self.raw.len() / 8));
        }
        let namesz = note.name.len() + 1;
        for word in [namesz, note.desc.len(), note.kind as usize] {
            self.raw.extend(order.put_u32(word as u32));
        }
        self.raw.extend(&note.name);
        self.raw.push(0);
        self.raw.resize(self.raw.len().next_multiple_of(4), 0);
        self.raw.extend(&note.desc);
        self.raw.resize(self.raw.len().next_multiple_of(4), 0);
        self.notes.push(note);
    }

    /// Appends the notes of another segment.
    pub fn append(&mut self, mut other: Self) {
        self.notes.append(&mut other.notes);
        self.raw.append(&mut other.raw);
        self.far.append(&mut other.far);
    }

    /// All notes but those called `name`.
    pub fn without(&self, name: &str, order: ByteOrder) -> Self {
        let mut others = Self { far: self.far.clone(), ..Self::default() };
        let kept = self.notes.iter().filter(|note| note.name != name.as_bytes());
        kept.for_each(|note| others.push(note.clone(), order));
        others
    }

    /// Takes the last note away that is held.
    pub fn pop(&mut self) -> Option<Note> {
        let last = self.notes.len().checked_sub(1)?;
        let start = self.positions().nth(last).map(|(at, _)| at)?;
        self.raw.truncate(start);
        self.notes.pop()
    }

    /// Takes the first note with this name and type away.
    pub fn take(&mut self, name: &[u8], kind: u32) -> Option<Note> {
        let number = self.notes.iter().position(|note| note.name == name && note.kind == kind)?;
        let start = self.positions().nth(number).map(|(at, _)| at)?;
        let end = self.positions().nth(number + 1).map_or(self.raw.len(), |(at, _)| at);
        let end = end.min(self.raw.len());
        self.raw.drain(start.min(end)..end);
        Some(self.notes.remove(number))
    }

    /// The notes that are held, in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, Note> {
        self.notes.iter()
    }

    /// The notes that are still in the input, as they are too large to be held.
    pub fn far(&self) -> &[Far] {
        &self.far
    }

    /// Those of [`Notes::far`] that are one note each, with name and type. They are numbered after those that are held.
    pub fn named_far(&self) -> impl Iterator<Item = (&[u8], u32, &Far)> {
        self.far.iter().filter_map(|far| far.id.as_ref().map(|(name, kind)| (name.as_slice(), *kind, far)))
    }

    /// The bytes of the notes that are held, as they go into a PT_NOTE segment. Those of [`Notes::far`] come after them.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The length in bytes of all notes, as they go into a PT_NOTE segment.
    pub fn total(&self) -> u64 {
        self.far.iter().map(Far::size).fold(self.raw.len() as u64, u64::saturating_add)
    }

    /// Fills `bytes`, which are no more than there are, with what goes into a PT_NOTE segment, from `offset` on.
    ///
    /// # Errors
    ///
    /// When notes that are still in the input cannot be read.
    pub fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
        let raw = self.raw.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default();
        let (held, mut rest) = bytes.split_at_mut(raw.len().min(bytes.len()));
        held.copy_from_slice(&raw[..held.len()]);
        let mut at = (offset + held.len() as u64).saturating_sub(self.raw.len() as u64);
        for far in &self.far {
            if rest.is_empty() {
                break;
            }
            if at >= far.size() {
                at -= far.size();
                continue;
            }
            let (now, later) = rest.split_at_mut((far.size() - at).min(rest.len() as u64) as usize);
            far.read_stored_at(at, now)?;
            (at, rest) = (0, later);
        }
        Ok(())
    }

    /// The first note with this name.
    pub fn find(&self, name: &str) -> Option<&Note> {
        self.notes.iter().find(|n| n.name == name.as_bytes())
    }

    /// The `NT_PRSTATUS` notes, one per CPU whose registers were saved.
    pub fn prstatus(&self) -> impl Iterator<Item = &Note> {
        self.notes.iter().filter(|n| n.name == b"CORE" && n.kind == Self::PRSTATUS)
    }

    /// Where the descriptor of the first note called `name` lies in [`Notes::raw`].
    pub fn desc_position(&self, name: &str) -> Option<std::ops::Range<usize>> {
        let found = self.notes.iter().zip(self.positions()).find(|(note, _)| note.name == name.as_bytes());
        found.map(|(note, (_, desc))| desc..desc + note.desc.len())
    }

    /// Where each note starts in the raw bytes, and where its descriptor does.
    fn positions(&self) -> impl Iterator<Item = (usize, usize)> {
        let mut at = 0;
        self.notes.iter().map(move |note| {
            // A name's length on file counts its NUL, which a careless writer leaves out; take it from the file.
            let desc = at + HEADER + self.name_field(at);
            (std::mem::replace(&mut at, desc + note.desc.len().next_multiple_of(4)), desc)
        })
    }

    /// The padded length of the name of the note at `at` in the raw bytes.
    fn name_field(&self, at: usize) -> usize {
        // A name of megabytes, which no writer has, is taken for a shorter one, and what follows lies nowhere then.
        let Some(raw) = self.raw.get(at..).filter(|raw| raw.len() >= 4) else { return 0 };
        let (le, be) = (ByteOrder::Little.u32(raw), ByteOrder::Big.u32(raw));
        padded(le.min(be).into()) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_note() -> impl Strategy<Value = Note> {
        ("[A-Z]{1,12}", 0u32..0x400, prop::collection::vec(any::<u8>(), 1..64))
            .prop_map(|(name, kind, desc)| Note { name: name.into_bytes(), kind, desc })
    }

    proptest! {
        #[test]
        fn what_is_pushed_parses_back(notes in prop::collection::vec(any_note(), 0..8), big: bool) {
            let order = if big { ByteOrder::Big } else { ByteOrder::Little };
            let mut made = Notes::default();
            notes.iter().for_each(|n| made.push(n.clone(), order));
            let parsed = Notes::parse(made.raw(), order).unwrap();
            prop_assert_eq!(&parsed, &made);
            for note in &notes {
                let name = str::from_utf8(&note.name).unwrap();
                let found = made.find(name).unwrap();
                prop_assert_eq!(&made.raw()[made.desc_position(name).unwrap()], &found.desc[..]);
            }
            let mut fewer = Notes::default();
            notes.iter().rev().skip(1).rev().for_each(|n| fewer.push(n.clone(), order));
            prop_assert_eq!(made.pop(), notes.last().cloned());
            prop_assert_eq!(&made, &fewer);
            if let Some(first) = fewer.iter().next().cloned() {
                let mut rest = Notes::default();
                fewer.iter().skip(1).for_each(|n| rest.push(n.clone(), order));
                prop_assert_eq!(fewer.take(&first.name, first.kind), Some(first));
                prop_assert_eq!(fewer, rest);
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = Notes::parse(&bytes, ByteOrder::Little);
            let _ = Notes::parse(&bytes, ByteOrder::Big);
        }
    }

    #[test]
    fn a_cut_note_is_an_error_and_trailing_zeros_are_not() {
        let mut made = Notes::default();
        made.push(Note { name: b"CORE".into(), kind: 1, desc: vec![7; 16] }, ByteOrder::Big);
        let raw = made.raw();
        let error = Notes::parse(&raw[..raw.len() - 1], ByteOrder::Big).unwrap_err();
        assert_eq!(error, NoteError { offset: 0, claimed: 36, left: 35 });
        let mut with_padding = raw.to_vec();
        with_padding.resize(raw.len() + 100, 0);
        assert_eq!(Notes::parse(&with_padding, ByteOrder::Big).unwrap(), made);
    }
}
