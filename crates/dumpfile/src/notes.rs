//! The notes of a dump file: reading them where they lie, and writing them, large ones piece by piece.

use crate::Error;
use crate::input::Input;
use crate::output::Sink;
use std::sync::Arc;
use vmcore::{ByteOrder, MAX_NOTES, NoteError, NotePlace, NoteRoom, NoteSource, Notes, ReadError};

/// Reads the notes of one file.
pub(crate) struct NoteReader {
    source: Arc<dyn NoteSource>,
    order: ByteOrder,
    room: NoteRoom,
    /// What was odd about them.
    pub(crate) remarks: Vec<String>,
    /// Whether notes were left out that the file has.
    pub(crate) incomplete: bool,
}

impl NoteReader {
    pub(crate) fn new(input: &Input, order: ByteOrder) -> Self {
        Self {
            source: Arc::new(input.clone()),
            order,
            room: NoteRoom::new(input.stored()),
            remarks: Vec::new(),
            incomplete: false,
        }
    }

    /// Reads the notes at a place inside the file, and says what ended them early. Those before that are there.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub(crate) fn read(&mut self, place: NotePlace) -> Result<(Notes, Option<NoteError>), ReadError> {
        let found = Notes::scan(&self.source, place, self.order, &mut self.room)?;
        for (name, kind, len) in &found.left_out {
            self.incomplete = true;
            self.remarks.push(format!(
                "the note \"{}\" of type {kind:#x} has {len} bytes, for which there is no room: of all notes, {} MiB \
                 are read, and not more than the file has; it is left out",
                name.escape_ascii(),
                MAX_NOTES >> 20
            ));
        }
        let rows = found.notes.far().iter().filter(|far| far.id.is_none()).map(|far| far.len).sum::<u64>();
        if rows > 0 {
            self.remarks.push(format!(
                "there are more notes than can be held: {rows} bytes of them are passed on and not looked at; registers \
                 among them are not counted"
            ));
        }
        if let Some(error) = &found.error {
            self.remarks.push(format!("the notes at {:#x} are damaged: {error}", place.offset));
        }
        Ok((found.notes, found.error))
    }
}

/// Writes what of `notes` is still in the input to where it belongs when all notes begin at `at`.
///
/// # Errors
///
/// When the input cannot be read or the output cannot be written.
pub(crate) fn write_far(notes: &Notes, at: u64, out: &dyn Sink) -> Result<(), Error> {
    let mut at = at + notes.raw().len() as u64;
    for far in notes.far() {
        far.copy(|piece| -> Result<(), Error> {
            out.write_at(at, piece)?;
            at += piece.len() as u64;
            Ok(())
        })?;
    }
    Ok(())
}
