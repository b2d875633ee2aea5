//! Saving segment by segment: each is written, made durable, recorded in the journal, and only then released.
//!
//! The order of steps guarantees that no memory is released before it is safe, and is the same for every segment: write its
//! pages; make the output durable; append a checkpoint to the journal and make that durable; append the ranges that are
//! about to be released and make that durable; release them. Whichever step a run dies at, a later one finds an output whose
//! pages below the last checkpoint are good, and a journal that lists every range that may be gone.

use crate::journal::{Journal, Record};
use crate::release::Releaser;
use crate::{DESCRIPTOR_LEN, Error, Segments};
use dumpfile::Progress;
use dumpfile::kdump::{Checkpoint, Writer};
use rustix::io::Errno;
use std::io;
use vmcore::{PageSize, PhysAddr, Selection};

/// The usual bytes of pages in a segment. A crash loses at most one segment of work; each costs one fsync of the output.
pub const SEGMENT: u64 = 256 << 20;

/// Room that the file system's own tables and the journal need beyond the bytes that are written.
pub const SLACK: u64 = 256 << 10;

/// How many more bytes the target takes, by the length that the output has; `None` where there is no limit.
pub type Room<'r> = dyn Fn(u64) -> Option<u64> + Sync + 'r;

/// Limits of a save: segment size and room at the target.
pub struct Limits<'r> {
    /// Bytes of pages in a segment, see [`SEGMENT`].
    pub segment: u64,
    /// What the target takes.
    pub room: &'r Room<'r>,
    /// Whether what was read until now was the dump's.
    pub given_away: &'r GivenAway<'r>,
}

/// Why the memory is no longer the dump's, if it is not: it was released by somebody who did not ask.
pub type GivenAway<'r> = dyn Fn() -> Option<String> + Sync + 'r;

/// How saving ended.
#[derive(Debug)]
pub enum End {
    /// Every page was written, or could not be read.
    Whole,
    /// The target has no more room.
    NoRoom(Option<Error>),
    /// The user asked to stop.
    Stopped,
    /// Something else failed.
    Failed(Error),
}

impl End {
    /// What an error means for a save: no more room, the user's wish to stop, or a failure.
    pub fn of(error: Error) -> Self {
        match &error {
            Error::Output(dumpfile::Error::Cancelled) => Self::Stopped,
            Error::Output(
                dumpfile::Error::Write { source, .. } | dumpfile::Error::NotDurable { source, .. },
            )
            | Error::Journal { source, .. }
                if is_full(source) =>
            {
                Self::NoRoom(Some(error))
            }
            _ => Self::Failed(error),
        }
    }
}

/// Reports whether an error means that there is no more room.
fn is_full(error: &io::Error) -> bool {
    let full = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG];
    Errno::from_io_error(error).is_some_and(|errno| full.contains(&errno))
}

/// Writes the pages of `parts`, one part after the other, and releases what is durable.
///
/// Without a journal nothing is released. What was written stays good however this ends; [`Writer::finish`] marks the
/// output complete.
///
/// What was read since the last checkpoint is taken back from the output when memory turns out to have been given away
/// meanwhile: nobody knows since when.
pub fn run(
    writer: &mut Writer<'_>,
    parts: &[Selection],
    page: PageSize,
    limits: &Limits<'_>,
    mut journal: Option<&mut Journal>,
    mut release: Option<&mut Releaser>,
    progress: &Progress,
) -> End {
    let mut segments = Segments::new(parts);
    let written = writer.written();
    let mut last = Checkpoint { next_offset: written.bytes, written };
    loop {
        let (pages, step) = segment(writer, &mut segments, page, limits, progress);
        if let Some(why) = (limits.given_away)() {
            let taken = pages.map_or(Ok(()), |pages| writer.take_back(&pages, &last));
            return End::Failed(taken.err().map_or(Error::GivenAway { why }, Error::from));
        }
        // Also after an error: what was written is not lost, and a resumed run need not write it again.
        let settled = settle(writer, journal.as_deref_mut()).map(|checkpoint| last = checkpoint);
        match step.and_then(|written| settled.map(|()| written)) {
            Ok(Step::Written) => (),
            Ok(Step::NoRoom) => return End::NoRoom(None),
            Ok(Step::Last) => return End::Whole,
            Err(error) => return End::of(error),
        }
        if let (Some(release), Some(journal)) = (release.as_deref_mut(), journal.as_deref_mut()) {
            let released = segments.mark().map_err(Error::from).and_then(|mark| {
                let durable = PhysAddr(mark.0.saturating_mul(page.bytes()));
                release.up_to(durable, journal)
            });
            if let Err(error) = released {
                return End::of(error);
            }
        }
        if progress.is_cancelled() {
            return if segments.left() == 0 { End::Whole } else { End::Stopped };
        }
    }
}

enum Step {
    Written,
    NoRoom,
    Last,
}

/// Writes the next segment, as large as the target takes, and answers which pages that were meant to be.
fn segment(
    writer: &mut Writer<'_>,
    segments: &mut Segments<'_>,
    page: PageSize,
    limits: &Limits<'_>,
    progress: &Progress,
) -> (Option<Selection>, Result<Step, Error>) {
    if segments.left() == 0 {
        return (None, Ok(Step::Last));
    }
    // In the worst case no page can be compressed.
    let fit = |room: u64| room.saturating_sub(SLACK) / (page.bytes() + DESCRIPTOR_LEN);
    let wanted = (limits.segment / page.bytes()).max(1);
    let pages = (limits.room)(writer.written().bytes).map_or(wanted, |room| wanted.min(fit(room)));
    match segments.next(pages) {
        Err(error) => (None, Err(error.into())),
        Ok(None) => (None, Ok(Step::Last)),
        Ok(Some(_)) if pages == 0 => (None, Ok(Step::NoRoom)),
        Ok(Some(segment)) => {
            let written = writer.write(&segment, progress);
            (Some(segment), written.map(|()| Step::Written).map_err(Error::from))
        }
    }
}

/// Makes the output durable and records how far it is.
fn settle(writer: &Writer<'_>, journal: Option<&mut Journal>) -> Result<Checkpoint, Error> {
    let checkpoint = writer.checkpoint()?;
    journal.map_or(Ok(()), |journal| journal.append(&Record::Checkpoint(checkpoint)))?;
    Ok(checkpoint)
}
