//! The pipeline as events: workers that read and compress batches, an append that takes them in order, a disk.
//!
//! What a batch takes was measured and is replayed; who waits for whom follows from the rules of the real pipeline
//! (`dumpfile::pipeline`): batches are taken in order, a bounded number of them is on its way, places are given in order, and
//! one append at a time takes what is ready, up to half of that number. Its writing threads take piece after piece of it
//! (`dumpfile::output`), and it ends when all are written.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Batches on their way are at most two for each worker and these.
const SPARE_BATCHES: usize = 8;
/// The most bytes of one write.
const PIECE: f64 = (1 << 20) as f64;

/// A batch: seconds of a worker, bytes that it becomes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) seconds: f64,
    pub(super) bytes: f64,
}

/// What writing costs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk {
    /// Seconds of a writing thread for each byte, besides waiting.
    pub(super) thread: f64,
    /// Seconds until a write is done, besides its bytes. Writes in flight wait together.
    pub(super) latency: f64,
    /// Bytes a second, however many writes are in flight.
    pub(super) bandwidth: f64,
}

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) seconds: f64,
    /// Parts of that time in which all workers, all writing threads and the disk were busy.
    pub(super) workers: f64,
    pub(super) writers: f64,
    pub(super) disk: f64,
}

/// A moment; times are never not a number.
#[derive(Clone, Copy, Debug, PartialEq)]
struct At(f64);

impl Eq for At {}

impl PartialOrd for At {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for At {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A worker has made a record of this batch.
    Encoded(usize),
    /// An append of so many batches has ended.
    Written(usize),
}

struct Run<'a> {
    batches: &'a [Cost],
    disk: Disk,
    events: BinaryHeap<Reverse<(At, Event)>>,
    /// The next batch to take, and the next to be written.
    taken: usize,
    next: usize,
    /// Which of the batches from `next` on are encoded.
    ready: VecDeque<bool>,
    on_their_way: usize,
    window: usize,
    idle_workers: usize,
    /// How many threads write at once, and whether they do.
    writers: usize,
    writing: bool,
    /// When the disk has taken the bytes of all writes in flight.
    disk_free: f64,
    busy: (f64, f64, f64),
}

/// Runs all batches through so many workers and writers.
pub(super) fn simulate(batches: &[Cost], disk: Disk, workers: usize, writers: usize) -> Outcome {
    let mut run = Run {
        batches,
        disk,
        events: BinaryHeap::new(),
        taken: 0,
        next: 0,
        ready: VecDeque::new(),
        on_their_way: 0,
        window: 2 * workers + SPARE_BATCHES,
        idle_workers: workers,
        writers,
        writing: false,
        disk_free: 0.0,
        busy: (0.0, 0.0, 0.0),
    };
    let mut now = 0.0;
    run.start(now);
    while let Some(Reverse((At(at), event))) = run.events.pop() {
        now = at;
        match event {
            Event::Encoded(batch) => {
                run.idle_workers += 1;
                run.ready[batch - run.next] = true;
            }
            Event::Written(count) => {
                run.writing = false;
                run.on_their_way -= count;
            }
        }
        run.start(now);
    }
    let (worked, wrote, disk_busy) = run.busy;
    Outcome {
        seconds: now,
        workers: worked / (now * workers as f64),
        writers: wrote / (now * writers as f64),
        disk: disk_busy / now,
    }
}

impl Run<'_> {
    /// Gives everybody who is idle something to do, as far as there is something.
    fn start(&mut self, now: f64) {
        while self.idle_workers > 0 && self.on_their_way < self.window && self.taken < self.batches.len() {
            let seconds = self.batches[self.taken].seconds;
            self.events.push(Reverse((At(now + seconds), Event::Encoded(self.taken))));
            self.ready.push_back(false);
            self.busy.0 += seconds;
            self.taken += 1;
            self.on_their_way += 1;
            self.idle_workers -= 1;
        }
        if self.writing || self.ready.front() != Some(&true) {
            return;
        }
        let (mut count, mut bytes) = (0, 0.0);
        while self.ready.front() == Some(&true) && count < self.window / 2 {
            self.ready.pop_front();
            bytes += self.batches[self.next].bytes;
            self.next += 1;
            count += 1;
        }
        self.writing = true;
        let end = self.append(now, bytes);
        self.events.push(Reverse((At(end), Event::Written(count))));
    }

    /// When all of so many bytes are written by threads of which each takes the next piece when it is done with one.
    fn append(&mut self, now: f64, bytes: f64) -> f64 {
        let mut writers: BinaryHeap<_> = (0..self.writers).map(|_| Reverse(At(now))).collect();
        let (mut rest, mut end) = (bytes, now);
        while rest > 0.0 {
            let piece = rest.min(PIECE);
            rest -= piece;
            let Some(Reverse(At(free))) = writers.pop() else { break };
            let prepared = free + piece * self.disk.thread;
            let transfer = piece / self.disk.bandwidth;
            self.disk_free = self.disk_free.max(prepared) + transfer;
            self.busy.1 += piece * self.disk.thread;
            self.busy.2 += transfer;
            let done = self.disk_free + self.disk.latency;
            writers.push(Reverse(At(done)));
            end = end.max(done);
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCHES: usize = 4000;

    fn batches(seconds: f64, bytes: f64) -> Vec<Cost> {
        vec![Cost { seconds, bytes }; BATCHES]
    }

    fn near(seconds: f64, expected: f64) {
        assert!((seconds / expected - 1.0).abs() < 0.05, "{seconds} s, expected {expected}");
    }

    #[test]
    fn time_is_that_of_whoever_is_the_slowest() {
        let fast = Disk { thread: 0.0, latency: 0.0, bandwidth: 1e12 };
        let megabyte = f64::from(1 << 20);
        // Workers: 10 ms a batch, 16 at once.
        near(simulate(&batches(0.01, megabyte), fast, 16, 1).seconds, 0.01 * BATCHES as f64 / 16.0);
        // The disk: 1 ms for each MiB, whatever the number of workers and writers.
        let slow = Disk { bandwidth: megabyte * 1e3, ..fast };
        let outcome = simulate(&batches(0.01, megabyte), slow, 64, 4);
        near(outcome.seconds, 0.001 * BATCHES as f64);
        assert!(outcome.disk > 0.95 && outcome.workers < 0.2, "{outcome:?}");
        // One writer waits for each write, four wait for four at once.
        let far = Disk { latency: 0.002, ..fast };
        near(simulate(&batches(0.001, megabyte), far, 64, 1).seconds, 0.002 * BATCHES as f64);
        near(simulate(&batches(0.001, megabyte), far, 64, 4).seconds, 0.0005 * BATCHES as f64);
        // More writers than half of the batches on their way are of no use.
        let few = simulate(&batches(0.001, megabyte), Disk { latency: 0.02, ..fast }, 2, 8).seconds;
        near(few, 0.02 * BATCHES as f64 / 6.0);
    }

    #[test]
    fn a_writer_takes_small_batches_together() {
        let far = Disk { thread: 0.0, latency: 0.002, bandwidth: 1e12 };
        let alone = simulate(&batches(0.001, f64::from(1 << 20)), far, 64, 1).seconds;
        let together = simulate(&batches(0.001, f64::from(1 << 17)), far, 64, 1).seconds;
        assert!(together < alone / 4.0, "{together} {alone}");
    }

    #[test]
    fn one_batch_that_takes_long_holds_up_those_behind_it_when_the_window_is_full() {
        let fast = Disk { thread: 0.0, latency: 0.0, bandwidth: 1e12 };
        let mut costs = batches(0.001, 1000.0);
        costs[0].seconds = 1.0;
        // The window of 2 * 4 + 8 batches is full after a few; then all wait for the first.
        let seconds = simulate(&costs, fast, 4, 1).seconds;
        near(seconds, 1.0 + 0.001 * (BATCHES - 16) as f64 / 4.0);
    }
}
