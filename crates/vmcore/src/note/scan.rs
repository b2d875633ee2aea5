//! Going through the notes of an input: what is held, what stays where it is, what is too much.
//!
//! Writers differ in how they pad. Most align names and contents to 4 bytes and some to 8; some leave zeros between two
//! notes, of any length. All of it is read; what is written again is aligned to 4, which every reader takes.

use super::far::{Far, NoteSource};
use super::{HEADER, Note, NoteError, Notes, padded};
use crate::{ByteOrder, ReadError};
use std::sync::Arc;

/// The most bytes of notes that an input may have. A machine with several network adapters has hundreds of MiB.
pub const MAX_NOTES: u64 = 1 << 30;

/// The longest content that is held; longer ones stay in the input. All registers of a CPU take 4 KiB.
const MAX_HELD: u32 = 64 << 10;

/// The most bytes of notes that are held, and their number: what 6,000 CPUs have that save every register, 4 KiB in
/// twelve notes each. What is more stays in the input.
const HELD_BYTES: u64 = 24 << 20;
const HELD_COUNT: usize = 1 << 18;

/// Notes that hadump reads itself are held up to this length: raw save areas of the firmware have 16 MiB.
const MAX_OWN: u32 = (16 << 20) + (64 << 10);
const OWN_BYTES: u64 = 64 << 20;
const OWN: [&[u8]; 3] = [b"VMCOREINFO", b"HADUMP", b"ERASEINFO"];

/// The most rows of small notes and notes left out that are remembered.
const MAX_ROWS: usize = 1 << 16;
const MAX_LEFT_OUT: usize = 64;

/// The longest name; a longer one is not the name of a note.
const MAX_NAME: u32 = 4096;

const WINDOW: u64 = 64 << 10;

/// What the notes of one input may still take, all its PT_NOTEs together.
#[derive(Clone, Debug)]
pub struct NoteRoom {
    bytes: u64,
    held: u64,
    held_count: usize,
    own: u64,
    /// The longest content that is held.
    longest: u32,
}

impl NoteRoom {
    /// For an input of which `stored` bytes are there.
    pub fn new(stored: u64) -> Self {
        Self {
            bytes: MAX_NOTES.min(stored),
            held: HELD_BYTES,
            held_count: HELD_COUNT,
            own: OWN_BYTES,
            longest: MAX_HELD,
        }
    }

    /// For bytes that are in memory already.
    fn unlimited() -> Self {
        Self { bytes: u64::MAX, held: u64::MAX, held_count: usize::MAX, own: u64::MAX, longest: u32::MAX }
    }

    fn may_hold(&self, name: &[u8], desc: u32) -> bool {
        let own = OWN.contains(&name) && desc <= MAX_OWN && u64::from(desc) <= self.own;
        self.held_count > 0 && (own || desc <= self.longest && u64::from(desc) <= self.held)
    }

    fn hold(&mut self, name: &[u8], desc: u32) {
        self.held_count -= 1;
        let room = if OWN.contains(&name) { &mut self.own } else { &mut self.held };
        *room = room.saturating_sub(desc.into());
    }
}

/// Where notes lie in their source.
#[derive(Clone, Copy, Debug)]
pub struct NotePlace {
    /// The first byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// What names and contents are aligned to, as far as the file says: 8, or anything else for 4.
    pub align: u64,
}

/// What was found at a place.
#[derive(Debug, Default)]
pub struct Found {
    /// The notes.
    pub notes: Notes,
    /// What ended them early.
    pub error: Option<NoteError>,
    /// Notes for which there was no room: name, type, and bytes of content. There may be more than are listed.
    pub left_out: Vec<(Vec<u8>, u32, u64)>,
    /// Whether a name is none, so that the alignment is not what it was taken for.
    odd: bool,
}

impl Found {
    fn is_sound(&self) -> bool {
        self.error.is_none() && !self.odd
    }

    fn leave_out(&mut self, name: &[u8], kind: u32, desc: u32) {
        if self.left_out.len() < MAX_LEFT_OUT {
            self.left_out.push((name.to_vec(), kind, desc.into()));
        }
    }
}

impl Notes {
    /// Reads the notes at a place of an input; those that are too large to be held stay there.
    ///
    /// # Errors
    ///
    /// When the input cannot be read. Damaged notes are what [`Found::error`] says, with all notes before them.
    pub fn scan(
        source: &Arc<dyn NoteSource>,
        place: NotePlace,
        order: ByteOrder,
        room: &mut NoteRoom,
    ) -> Result<Found, ReadError> {
        best(&**source, Some(source), place, order, room)
    }

    /// As [`Notes::scan`] for bytes in memory, all of which are held.
    pub(super) fn of_bytes(bytes: &[u8], order: ByteOrder) -> Found {
        let place = NotePlace { offset: 0, len: bytes.len() as u64, align: 4 };
        let found = best(&Slice(bytes), None, place, order, &mut NoteRoom::unlimited());
        found.unwrap_or_default()
    }
}

struct Slice<'a>(&'a [u8]);

impl NoteSource for Slice<'_> {
    fn read_note(&self, offset: u64, bytes: &mut [u8]) -> Result<(), ReadError> {
        bytes.copy_from_slice(&self.0[offset as usize..][..bytes.len()]);
        Ok(())
    }
}

/// Reads with the alignment that the file states, and with the other one if only that makes sense.
fn best(
    source: &dyn NoteSource,
    far: Option<&Arc<dyn NoteSource>>,
    place: NotePlace,
    order: ByteOrder,
    room: &mut NoteRoom,
) -> Result<Found, ReadError> {
    let aligns = if place.align == 8 { [8, 4] } else { [4, 8] };
    let mut first = None;
    for align in aligns {
        let mut left = room.clone();
        let found =
            Walk { source, far, at: place.offset, end: place.offset.saturating_add(place.len), order, align }
                .collect(&mut left)?;
        if found.is_sound() {
            *room = left;
            return Ok(found);
        }
        first.get_or_insert((found, left));
    }
    let (found, left) = first.unwrap_or_else(|| (Found::default(), room.clone()));
    *room = left;
    Ok(found)
}

struct Walk<'s> {
    source: &'s dyn NoteSource,
    far: Option<&'s Arc<dyn NoteSource>>,
    at: u64,
    end: u64,
    order: ByteOrder,
    align: u64,
}

/// A note's header, and where its parts end.
struct Head {
    namesz: u32,
    descsz: u32,
    kind: u32,
}

impl Walk<'_> {
    fn collect(mut self, room: &mut NoteRoom) -> Result<Found, ReadError> {
        let mut found = Found::default();
        let start = self.at;
        let mut window = Window { source: self.source, start: 0, bytes: Vec::new(), end: self.end };
        loop {
            let before = self.at;
            self.skip_padding(&mut window, room)?;
            let rest = self.end.saturating_sub(self.at);
            if rest < HEADER as u64 {
                // In the wrong alignment the end of the last content is left over.
                found.odd |= rest > 0 && window.get(self.at, rest as usize)?.iter().any(|&b| b != 0);
                return Ok(found);
            }
            let head = self.head(&mut window)?;
            let left = self.end - self.at;
            let body = (HEADER as u64 + u64::from(head.namesz)).next_multiple_of(self.align);
            let claimed = body + u64::from(head.descsz);
            if claimed > left || head.namesz > MAX_NAME {
                let offset = (self.at - start) as usize;
                found.error = Some(NoteError { offset, claimed, left: left as usize });
                return Ok(found);
            }
            let field = window.get(self.at + HEADER as u64, head.namesz as usize)?.to_vec();
            found.odd |= !is_name(&field);
            let at = self.at;
            // The padding of the very last content may be cut off.
            self.at += (body + u64::from(head.descsz).next_multiple_of(self.align)).min(left);
            let name = field.strip_suffix(&[0]).unwrap_or(&field);
            if claimed > room.bytes {
                found.leave_out(name, head.kind, head.descsz);
                continue;
            }
            room.bytes -= claimed;
            if room.may_hold(name, head.descsz) {
                room.hold(name, head.descsz);
                let mut desc = vec![0; head.descsz as usize];
                self.source.read_note(at + body, &mut desc)?;
                found.notes.add(
                    &head.encode(&field, self.order),
                    Note { name: name.to_vec(), kind: head.kind, desc },
                );
            } else if !self.stay(&mut found.notes, &head, &field, [before, at, at + body]) {
                found.leave_out(name, head.kind, head.descsz);
            }
        }
    }

    /// Goes past zeros before the next note. One word of them looks like the beginning of a note without a name.
    fn skip_padding(&mut self, window: &mut Window<'_>, room: &mut NoteRoom) -> Result<(), ReadError> {
        while self.end.saturating_sub(self.at) >= HEADER as u64 {
            let Head { namesz, descsz, .. } = self.head(window)?;
            if namesz != 0 {
                return Ok(());
            }
            if descsz == 0 {
                let zeros = window.zeros_at(self.at)? / 4 * 4;
                self.at += zeros.max(4);
                let Some(left) = room.bytes.checked_sub(zeros) else {
                    self.at = self.end;
                    return Ok(());
                };
                room.bytes = left;
                continue;
            }
            let after = Self { at: self.at + 4, ..*self };
            if !after.is_note(window)? {
                return Ok(());
            }
            self.at = after.at;
        }
        Ok(())
    }

    /// Reports whether a note with a sensible name begins here.
    fn is_note(&self, window: &mut Window<'_>) -> Result<bool, ReadError> {
        let left = self.end.saturating_sub(self.at);
        if left < HEADER as u64 {
            return Ok(false);
        }
        let head = self.head(window)?;
        let fits = HEADER as u64 + u64::from(head.namesz) + u64::from(head.descsz) <= left;
        if !fits || !(2..=MAX_NAME).contains(&head.namesz) {
            return Ok(false);
        }
        let field = window.get(self.at + HEADER as u64, head.namesz as usize)?;
        Ok(field.last() == Some(&0) && is_name(field))
    }

    fn head(&self, window: &mut Window<'_>) -> Result<Head, ReadError> {
        let bytes = window.get(self.at, HEADER)?;
        let [namesz, descsz, kind] = [0, 4, 8].map(|at| self.order.u32(&bytes[at..]));
        Ok(Head { namesz, descsz, kind })
    }

    /// Leaves a note in the input; `false` when there is no room even for that. `before` is where the note before it ended.
    fn stay(&self, notes: &mut Notes, head: &Head, field: &[u8], [before, at, desc]: [u64; 3]) -> bool {
        let Some(source) = self.far else { return false };
        if head.descsz > MAX_HELD {
            let name = field.strip_suffix(&[0]).unwrap_or(field).to_vec();
            notes.far.push(Far {
                id: Some((name, head.kind)),
                len: head.descsz.into(),
                head: head.encode(field, self.order),
                offset: desc,
                source: Arc::clone(source),
            });
            return true;
        }
        // A row is copied as it is, so it has to be aligned as what is written.
        if self.align != 4 {
            return false;
        }
        let follows = |row: &Far| row.id.is_none() && row.offset + row.len == before;
        if !notes.far.last().is_some_and(follows) {
            if notes.far.len() >= MAX_ROWS {
                return false;
            }
            notes.far.push(Far::row(source, at));
        }
        if let Some(row) = notes.far.last_mut() {
            row.len = self.at - row.offset;
        }
        true
    }
}

impl Head {
    /// The header and the name, padded to 4 bytes.
    fn encode(&self, field: &[u8], order: ByteOrder) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + field.len() + 4);
        for word in [self.namesz, self.descsz, self.kind] {
            bytes.extend(order.put_u32(word));
        }
        bytes.extend(field);
        bytes.resize(padded(bytes.len() as u64) as usize, 0);
        bytes
    }
}

/// Reports whether the bytes of a name are one: text, then zeros.
fn is_name(field: &[u8]) -> bool {
    let end = field.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
    end > 0 && field[..end].iter().all(|b| (b' '..=b'~').contains(b))
}

/// The part of the input that headers and names are read from.
struct Window<'s> {
    source: &'s dyn NoteSource,
    start: u64,
    bytes: Vec<u8>,
    end: u64,
}

impl Window<'_> {
    /// `len` bytes at `at`, which end by the end of the notes.
    fn get(&mut self, at: u64, len: usize) -> Result<&[u8], ReadError> {
        let inside = at >= self.start && at + len as u64 <= self.start + self.bytes.len() as u64;
        if !inside {
            self.fill(at)?;
        }
        Ok(&self.bytes[(at - self.start) as usize..][..len])
    }

    fn fill(&mut self, at: u64) -> Result<(), ReadError> {
        self.start = at;
        self.bytes.resize(WINDOW.min(self.end - at) as usize, 0);
        self.source.read_note(at, &mut self.bytes)
    }

    /// How many zeros there are from `at` on, as far as the window reaches.
    fn zeros_at(&mut self, at: u64) -> Result<u64, ReadError> {
        if at < self.start || at + HEADER as u64 > self.start + self.bytes.len() as u64 {
            self.fill(at)?;
        }
        let rest = &self.bytes[(at - self.start) as usize..];
        Ok(rest.iter().position(|&b| b != 0).unwrap_or(rest.len()) as u64)
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
