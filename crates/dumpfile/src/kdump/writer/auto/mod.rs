//! Choosing for each batch how it is compressed: the chooser with a clock, and pages that nothing shrinks.

mod chooser;

pub(super) use chooser::Queued;
use chooser::{Chooser, Ticket};

use crate::codec::{Encoder, Method, Methods};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What the threads of a writer share, from its first page to its last.
#[derive(Debug)]
pub(super) struct Auto {
    chooser: Mutex<Chooser>,
    started: Instant,
}

/// A batch at work.
pub(super) struct Begun {
    ticket: Ticket,
    at: Instant,
}

impl Auto {
    /// Chooses among `methods`.
    pub(super) fn new(methods: Methods) -> Self {
        Self { chooser: Mutex::new(Chooser::new(methods)), started: Instant::now() }
    }

    /// Begins to write pages; what an earlier call did not come to write, it will not.
    pub(super) fn start(&self) {
        self.lock().start();
    }

    /// Begins a batch with so many bytes of pages that have content, and says how it is to be compressed.
    pub(super) fn begin(&self, bytes: usize) -> (Begun, Option<Method>) {
        let (ticket, method) = self.lock().begin(self.now(), bytes);
        (Begun { ticket, at: Instant::now() }, method)
    }

    /// Ends a batch, of which so many bytes are to be written; `compressed` unless it is stored as it is because nothing shrinks it.
    pub(super) fn end(&self, begun: Begun, stored: usize, compressed: bool) -> Queued {
        let seconds = compressed.then(|| begun.at.elapsed().as_secs_f64());
        self.lock().end(begun.ticket, stored, seconds)
    }

    /// Syncs by `sync`: what the system keeps in memory reaches the disk only there.
    pub(super) fn syncing<T, E>(&self, sync: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.timed(0, [], sync)
    }

    /// Writes by `write` the bytes of these batches, `bytes` in all. Batches without any, as of zeros' pages, say nothing of the
    /// disk.
    pub(super) fn writing<T, E>(
        &self,
        bytes: usize,
        batches: impl IntoIterator<Item = Queued>,
        write: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if bytes == 0 { write() } else { self.timed(bytes, batches, write) }
    }

    fn timed<T, E>(
        &self,
        bytes: usize,
        batches: impl IntoIterator<Item = Queued>,
        write: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.lock().write_begins(self.now(), bytes);
        let written = write();
        self.lock().write_ends(self.now(), bytes, written.is_ok(), batches);
        written
    }

    fn now(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn lock(&self) -> MutexGuard<'_, Chooser> {
        self.chooser.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of how many pages one is looked at before all are compressed.
const SAMPLED: usize = 16;

/// Reports whether a sample of `pages` shrinks by a sixteenth when `encoder` compresses it, with `room` for one page.
pub(super) fn shrinks<'p>(
    encoder: &mut Encoder,
    pages: impl Iterator<Item = &'p [u8]>,
    room: &mut Vec<u8>,
) -> bool {
    room.resize(room.len().max(encoder.out_len()), 0);
    let (mut before, mut after) = (0, 0);
    for page in pages.step_by(SAMPLED) {
        before += page.len();
        after += encoder.encode(page, room).unwrap_or(page.len());
    }
    after <= before - before / 16
}
