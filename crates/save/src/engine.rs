//! The saving itself: a segment, made durable, written down, and only then given back.
//!
//! The order of steps is what keeps the promise that nothing is given back before it is safe, and it is the same for every
//! segment: write its pages; make the output durable; append a checkpoint to the journal and make that durable; append
//! what is about to be given back and make that durable; give it back. Killed between any two of them, a later run finds an
//! output whose pages below the last checkpoint are good, and knows of every range that may be gone.

use crate::journal::{Journal, Record};
use crate::release::Releaser;
use crate::{Error, Segments};
use dumpfile::Progress;
use dumpfile::kdump::Writer;
use rustix::io::Errno;
use std::io;
use vmcore::{PageSize, PhysAddr, Selection};

/// Bytes of pages in a segment. After a crash of the tool as much is done again; each segment waits for the disk once.
pub const SEGMENT: u64 = 256 << 20;

/// What the target keeps for itself beyond the bytes that are written to it: its own tables, and the journal.
const SLACK: u64 = 256 << 10;

/// Bytes of a page's descriptor.
const DESCRIPTOR: u64 = 24;

/// How many bytes more the target takes, asked with the length that the output has; `None` where it has no end.
pub type Room<'r> = dyn Fn(u64) -> Option<u64> + Sync + 'r;

/// How much is written between two looks at the world, and where that ends.
pub struct Limits<'r> {
    /// Bytes of pages in a segment, see [`SEGMENT`].
    pub segment: u64,
    /// What the target takes.
    pub room: &'r Room<'r>,
}

/// How saving ended.
#[derive(Debug)]
pub enum End {
    /// Every page was tried.
    Whole,
    /// The target takes no more.
    NoRoom(Option<Error>),
    /// Somebody asked to stop.
    Stopped,
    /// Something else failed.
    Failed(Error),
}

impl End {
    /// What an error means for a save: nothing more fits, somebody asked to stop, or it failed.
    pub fn of(error: Error) -> Self {
        match &error {
            Error::Output(dumpfile::Error::Cancelled) => Self::Stopped,
            Error::Output(dumpfile::Error::Write { source, .. }) | Error::Journal { source, .. }
                if is_full(source) =>
            {
                Self::NoRoom(Some(error))
            }
            _ => Self::Failed(error),
        }
    }
}

/// Reports whether an error means that nothing more fits.
fn is_full(error: &io::Error) -> bool {
    let full = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG];
    Errno::from_io_error(error).is_some_and(|errno| full.contains(&errno))
}

/// Writes the pages of `parts`, one part after the other, and gives back what is durable.
///
/// Without a journal nothing is given back. What was written stays good however this ends; that the output is complete is
/// for [`Writer::finish`] to say.
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
    loop {
        let step = segment(writer, &mut segments, page, limits, progress);
        // Also after an error: what was written is not lost, and a resumed run need not do it again.
        let settled = settle(writer, journal.as_deref_mut());
        match step.and_then(|written| settled.map(|()| written)) {
            Ok(Step::Written) => (),
            Ok(Step::NoRoom) => return End::NoRoom(None),
            Ok(Step::Last) => return End::Whole,
            Err(error) => return End::of(error),
        }
        if let (Some(release), Some(journal)) = (release.as_deref_mut(), journal.as_deref_mut()) {
            let given = segments.mark().map_err(Error::from).and_then(|mark| {
                let durable = PhysAddr(mark.0.saturating_mul(page.bytes()));
                release.up_to(durable, journal)
            });
            if let Err(error) = given {
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

/// Writes the next segment, as large as the target takes.
fn segment(
    writer: &mut Writer<'_>,
    segments: &mut Segments<'_>,
    page: PageSize,
    limits: &Limits<'_>,
    progress: &Progress,
) -> Result<Step, Error> {
    if segments.left() == 0 {
        return Ok(Step::Last);
    }
    // At worst nothing of a page can be compressed, and its descriptor is the first in a block of the file.
    let fit = |room: u64| room.saturating_sub(SLACK) / (page.bytes() + DESCRIPTOR);
    let wanted = (limits.segment / page.bytes()).max(1);
    let pages = (limits.room)(writer.written().bytes).map_or(wanted, |room| wanted.min(fit(room)));
    match segments.next(pages)? {
        None => Ok(Step::Last),
        Some(_) if pages == 0 => Ok(Step::NoRoom),
        Some(segment) => writer.write(&segment, progress).map(|()| Step::Written).map_err(Error::from),
    }
}

/// Makes the output durable and writes down how far it is.
fn settle(writer: &Writer<'_>, journal: Option<&mut Journal>) -> Result<(), Error> {
    let checkpoint = writer.checkpoint()?;
    journal.map_or(Ok(()), |journal| journal.append(&Record::Checkpoint(checkpoint)))
}
