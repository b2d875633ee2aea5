//! Which way each batch is compressed in, when [`Choice::Auto`](crate::codec::Choice) leaves that to the moment.
//!
//! Disk and processors work at the same time, and the slower of them decides how long all takes. So for each batch the way is
//! taken in which its bytes are on the disk first. What is ahead of the batch, waiting or being compressed by others,
//! keeps the disk busy for some time. As long as a stronger compression takes no longer than that it costs nothing, and
//! the fewest bytes win; while the disk waits for bytes, compressing has to save more time than it takes. Where
//! compressing and writing take turns the same rule holds with nothing ahead.
//!
//! All that is known is measured on the way: how long the disk takes for a byte, and what each way makes of a byte of pages,
//! and in what time. What was not measured for a while is gradually assumed to be in its usual proportion to what
//! was, so that it is tried again when the pages or the machine's load have changed.
//!
//! [`Chooser`] only calculates; it has no clock, no thread and no file.

use crate::codec::{Method, Methods};

#[cfg(test)]
#[path = "chooser_tests.rs"]
mod tests;

/// Chooses how batches are compressed.
#[derive(Clone, Debug)]
pub(in crate::kdump::writer) struct Chooser {
    ways: Vec<Way>,
    disk: Disk,
    /// Bytes that are to be written: of batches that are compressed, and what is expected of those at work.
    waiting: f64,
    at_work: f64,
}

/// One way of storing pages.
#[derive(Clone, Copy, Debug)]
struct Way {
    method: Option<Method>,
    usual: Effort,
    now: Effort,
}

/// What storing a byte of pages takes.
#[derive(Clone, Copy, Debug)]
struct Effort {
    /// Seconds of one thread.
    time: f64,
    /// Bytes of the file.
    size: f64,
}

impl Effort {
    /// Moves by `share` of the way towards `other`.
    fn approach(&mut self, other: Self, share: f64) {
        self.time += (other.time - self.time) * share;
        self.size += (other.size - self.size) * share;
    }
}

/// How much a new measurement counts, and how much one of another way says of a way that was not measured.
const MEASURED: f64 = 0.25;
const INFERRED: f64 = 0.02;

/// How much longer compressing is taken to last than it did, so that the disk does not run out of bytes while the next batch is read.
const MARGIN: f64 = 1.25;

/// Nanoseconds and bytes for each byte of a kernel's pages, at 4 KiB, on a processor of 2020: a start, soon replaced.
fn usual(method: Option<Method>) -> Effort {
    let (nanoseconds, size) = match method {
        None => (0.0, 1.0),
        Some(Method::Lzo) => (0.8, 0.40),
        Some(Method::Snappy) => (1.0, 0.43),
        Some(Method::Zstd) => (2.2, 0.27),
        Some(Method::Zlib) => (5.0, 0.30),
    };
    Effort { time: nanoseconds * 1e-9, size }
}

/// How fast bytes go out, the last writes counting most.
#[derive(Clone, Copy, Debug)]
struct Disk {
    bytes: f64,
    seconds: f64,
    /// Writes under way, and since when there is one.
    writes: u32,
    since: f64,
    /// The bytes of those.
    under_way: f64,
}

/// What remains of the weight of all earlier writes when another one ends.
const REMEMBERED: f64 = 0.9;

impl Disk {
    /// Before the first write a slow disk is assumed: a mistake costs the time of a few batches, the other one a file that
    /// begins with megabytes as they are.
    const UNKNOWN: Self = Self { bytes: 1e5, seconds: 5e-3, writes: 0, since: 0.0, under_way: 0.0 };

    /// What a byte takes, at `now`. That a write lasts longer than it should is known before it ends.
    fn seconds_per_byte(&self, now: f64) -> f64 {
        let known = self.seconds / self.bytes;
        if self.writes == 0 {
            return known;
        }
        let lasting = self.seconds + (now - self.since).max(0.0);
        known.max(lasting / (self.bytes + self.under_way))
    }

    /// Counts the time since writing began or was last counted, at `now`.
    fn count_time(&mut self, now: f64) {
        if self.writes > 0 {
            self.seconds += (now - self.since).max(0.0);
        }
        self.since = now;
    }

    fn begin_write(&mut self, bytes: usize) {
        self.writes += 1;
        self.under_way += bytes as f64;
    }

    fn end_write(&mut self, bytes: usize, begun: usize) {
        self.writes = self.writes.saturating_sub(1);
        self.under_way = (self.under_way - begun as f64).max(0.0);
        // After a sync of nothing new the earlier writes still count.
        if bytes > 0 {
            self.bytes = self.bytes * REMEMBERED + bytes as f64;
            self.seconds *= REMEMBERED;
        }
    }
}

/// A batch at work.
#[derive(Clone, Copy, Debug)]
pub(in crate::kdump::writer) struct Ticket {
    way: usize,
    /// Bytes of pages with content.
    bytes: f64,
    expected: f64,
}

/// What is to be written of a batch that is compressed.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::kdump::writer) struct Queued(f64);

impl Chooser {
    /// Chooses among `methods`.
    pub(in crate::kdump::writer) fn new(methods: Methods) -> Self {
        let way = |method| Way { method, usual: usual(method), now: usual(method) };
        let ways = methods.ways().map(way).collect();
        Self { ways, disk: Disk::UNKNOWN, waiting: 0.0, at_work: 0.0 }
    }

    /// Forgets batches that will never be written, because a run ended early.
    pub(in crate::kdump::writer) fn start(&mut self) {
        (self.waiting, self.at_work) = (0.0, 0.0);
        (self.disk.writes, self.disk.under_way) = (0, 0.0);
    }

    /// Begins a batch with so many bytes of pages that have content at `now`, in seconds from any moment on, and says how it is to
    /// be compressed.
    pub(in crate::kdump::writer) fn begin(&mut self, now: f64, bytes: usize) -> (Ticket, Option<Method>) {
        let bytes = bytes as f64;
        let per_byte = self.disk.seconds_per_byte(now);
        let ahead = (self.waiting + self.at_work) * per_byte;
        let done = |way: &Way| ahead.max(way.now.time * bytes * MARGIN) + way.now.size * bytes * per_byte;
        let ways = self.ways.iter().enumerate();
        let best = ways.min_by(|(_, a), (_, b)| done(a).total_cmp(&done(b)));
        let (way, expected, method) =
            best.map_or((0, bytes, None), |(n, way)| (n, way.now.size * bytes, way.method));
        self.at_work += expected;
        (Ticket { way, bytes, expected }, method)
    }

    /// Ends a batch, of which so many bytes are to be written. `seconds` is what compressing took, `None` if it was stored as it
    /// is because nothing shrinks it.
    pub(in crate::kdump::writer) fn end(
        &mut self,
        ticket: Ticket,
        stored: usize,
        seconds: Option<f64>,
    ) -> Queued {
        let stored = stored as f64;
        self.at_work = (self.at_work - ticket.expected).max(0.0);
        self.waiting += stored;
        if let Some(seconds) = seconds
            && ticket.bytes > 0.0
        {
            self.learn(ticket.way, Effort { time: seconds / ticket.bytes, size: stored / ticket.bytes });
        }
        Queued(stored)
    }

    fn learn(&mut self, way: usize, found: Effort) {
        let Some(Way { method: Some(_), usual, now }) = self.ways.get_mut(way) else { return };
        now.approach(found, MEASURED);
        let (time, size) = (now.time / usual.time, now.size / usual.size);
        for (_, other) in self.ways.iter_mut().enumerate().filter(|(n, _)| *n != way) {
            let inferred = Effort { time: other.usual.time * time, size: (other.usual.size * size).min(1.0) };
            if other.method.is_some() {
                other.now.approach(inferred, INFERRED);
            }
        }
    }

    /// Notes that a write of `bytes` begins at `now`.
    pub(in crate::kdump::writer) fn write_begins(&mut self, now: f64, bytes: usize) {
        self.disk.count_time(now);
        self.disk.begin_write(bytes);
    }

    /// Notes that such a write ended at `now`, and whether it succeeded: `batches` do not wait any more in either case.
    pub(in crate::kdump::writer) fn write_ends(
        &mut self,
        now: f64,
        bytes: usize,
        succeeded: bool,
        batches: impl IntoIterator<Item = Queued>,
    ) {
        self.disk.count_time(now);
        self.disk.end_write(if succeeded { bytes } else { 0 }, bytes);
        let queued: f64 = batches.into_iter().map(|queued| queued.0).sum();
        self.waiting = (self.waiting - queued).max(0.0);
    }
}
