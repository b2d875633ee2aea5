//! A disk and processors that take exactly as long as they are told to, and the chooser between them.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const BATCH: f64 = (1u64 << 20) as f64;

/// A machine: its threads, its disk, and how its pages compress.
#[derive(Clone, Debug)]
struct Simulated {
    threads: usize,
    /// Bytes of the file per second.
    disk: f64,
    /// How many bytes it takes at once before that, in a cache.
    at_first: f64,
    /// The most batches that one write takes, of those that are on their way at once.
    at_once: usize,
    window: usize,
    batches: usize,
    /// What reading takes for each byte of pages, and each way besides.
    reading: f64,
    efforts: fn(usize, Option<Method>) -> Effort,
}

/// How the pages are compressed.
enum Policy {
    Fixed(Option<Method>),
    Chosen(Box<Chooser>),
}

/// What one run took, and how many batches were compressed in which way.
struct Outcome {
    seconds: f64,
    counts: BTreeMap<&'static str, usize>,
}

struct AtWork {
    until: f64,
    number: usize,
    ticket: Option<Ticket>,
    took: f64,
    stored: f64,
}

impl Simulated {
    /// Runs from event to event: a thread ends a batch, the writer ends a write.
    fn run(&self, mut policy: Policy) -> Outcome {
        let mut counts = BTreeMap::new();
        let (mut now, mut taken, mut outstanding) = (0.0, 0, 0);
        let mut at_work: Vec<AtWork> = Vec::new();
        let mut ready: BTreeMap<usize, (f64, Queued)> = BTreeMap::new();
        let (mut placed, mut bytes_out) = (0, 0.0);
        let mut to_write: Vec<(f64, Queued)> = Vec::new();
        let mut writing: Option<(f64, Vec<(f64, Queued)>)> = None;
        loop {
            while at_work.len() < self.threads && outstanding < self.window && taken < self.batches {
                let (ticket, method) = match &mut policy {
                    Policy::Fixed(method) => (None, *method),
                    Policy::Chosen(chooser) => {
                        let (ticket, method) = chooser.begin(now, BATCH as usize);
                        (Some(ticket), method)
                    }
                };
                *counts.entry(method.map_or("none", Method::name)).or_default() += 1;
                let effort = (self.efforts)(taken, method);
                let took = effort.time * BATCH;
                let until = now + took + self.reading * BATCH;
                at_work.push(AtWork { until, number: taken, ticket, took, stored: effort.size * BATCH });
                taken += 1;
                outstanding += 1;
            }
            if writing.is_none() && !to_write.is_empty() {
                let slots: Vec<_> = to_write.drain(..to_write.len().min(self.at_once)).collect();
                let bytes: f64 = slots.iter().map(|(bytes, _)| bytes).sum();
                if let Policy::Chosen(chooser) = &mut policy {
                    chooser.write_begins(now, bytes as usize);
                }
                // What the disk takes at once costs no time.
                let slow = bytes.min((bytes_out + bytes - self.at_first).max(0.0));
                bytes_out += bytes;
                writing = Some((now + slow / self.disk, slots));
            }
            let next_work = at_work.iter().map(|w| w.until).fold(f64::INFINITY, f64::min);
            let next_write = writing.as_ref().map_or(f64::INFINITY, |(until, _)| *until);
            if next_work.is_infinite() && next_write.is_infinite() {
                return Outcome { seconds: now, counts };
            }
            now = next_work.min(next_write);
            if let Some((_, slots)) = writing.take_if(|(until, _)| *until <= now) {
                outstanding -= slots.len();
                let bytes: f64 = slots.iter().map(|(bytes, _)| bytes).sum();
                if let Policy::Chosen(chooser) = &mut policy {
                    chooser.write_ends(
                        now,
                        bytes as usize,
                        true,
                        slots.into_iter().map(|(_, queued)| queued),
                    );
                }
            }
            let (done, rest): (Vec<_>, Vec<_>) = at_work.into_iter().partition(|w| w.until <= now);
            at_work = rest;
            for AtWork { number, ticket, took, stored, .. } in done {
                let queued = match (&mut policy, ticket) {
                    (Policy::Chosen(chooser), Some(ticket)) => {
                        chooser.end(ticket, stored as usize, Some(took))
                    }
                    _ => Queued::default(),
                };
                ready.insert(number, (stored, queued));
            }
            while let Some(slot) = ready.remove(&placed) {
                to_write.push(slot);
                placed += 1;
            }
        }
    }

    fn chosen(&self, methods: Methods) -> Outcome {
        self.run(Policy::Chosen(Box::new(Chooser::new(methods))))
    }

    /// The seconds of the fastest of the fixed ways.
    fn best(&self, methods: Methods) -> f64 {
        let runs = methods.ways().map(|method| self.run(Policy::Fixed(method)).seconds);
        runs.fold(f64::INFINITY, f64::min)
    }
}

/// A machine with so many processors and so many bytes a second to the disk, its pages as usual.
fn machine(threads: usize, disk: f64) -> Simulated {
    let window = 2 * threads + 8;
    let efforts = |_, method| usual(method);
    Simulated {
        threads,
        disk,
        at_first: 0.0,
        at_once: window / 2,
        window,
        batches: 2000,
        reading: 0.1e-9,
        efforts,
    }
}

fn share(outcome: &Outcome, name: &str) -> f64 {
    *outcome.counts.get(name).unwrap_or(&0) as f64 / outcome.counts.values().sum::<usize>() as f64
}

#[test]
fn no_disk_and_no_number_of_processors_makes_it_a_tenth_slower_than_the_best_fixed_way() {
    let all = Methods::of(Method::ALL.map(Some).into_iter().chain([None])).unwrap();
    for methods in [Methods::default(), all] {
        for threads in [1, 2, 4, 16, 64] {
            for disk in [10e6, 50e6, 200e6, 500e6, 1e9, 2e9, 5e9, 20e9, 1e12] {
                let machine = machine(threads, disk);
                let (chosen, best) = (machine.chosen(methods).seconds, machine.best(methods));
                // The first batches, before the disk is known, take some milliseconds.
                assert!(
                    chosen <= 1.1 * best + 0.02,
                    "{methods}: {threads} threads, {disk:e} B/s: {chosen} s, best {best} s"
                );
            }
        }
    }
}

#[test]
fn a_slow_disk_gets_the_smallest_files_and_a_fast_one_pages_as_they_are() {
    let slow = machine(2, 50e6).chosen(Methods::default());
    assert!(share(&slow, "zstd") > 0.98, "{:?}", slow.counts);
    let fast = machine(2, 1e11).chosen(Methods::default());
    assert!(share(&fast, "none") > 0.9, "{:?}", fast.counts);
}

#[test]
fn between_two_ways_both_disk_and_processors_are_kept_busy() {
    // Too fast for zstd alone, too slow for LZO alone; and the same for LZO and pages as they are.
    for disk in [500e6, 2e9] {
        let machine = machine(2, disk);
        let (chosen, best) = (machine.chosen(Methods::default()).seconds, machine.best(Methods::default()));
        assert!(chosen < 0.97 * best, "{disk:e}: {chosen} s, best {best} s");
    }
}

#[test]
fn a_file_does_not_begin_with_megabytes_as_they_are() {
    let machine = Simulated { batches: 12, ..machine(2, 50e6) };
    let chosen = machine.chosen(Methods::default());
    assert_eq!(share(&chosen, "zstd"), 1.0, "{:?}", chosen.counts);
}

#[test]
fn a_disk_that_takes_the_first_megabytes_at_once_is_found_out_before_they_are_many() {
    for disk in [20e6, 50e6, 100e6] {
        let machine = Simulated { batches: 250, at_first: 0.1 * disk, ..machine(2, disk) };
        let (chosen, best) = (machine.chosen(Methods::default()), machine.best(Methods::default()));
        assert!(
            chosen.seconds <= 1.1 * best,
            "{disk:e}: {} s, best {best} s: {:?}",
            chosen.seconds,
            chosen.counts
        );
    }
}

#[test]
fn pages_that_change_on_the_way_are_noticed() {
    // First pages that hardly shrink, and slowly, then ones that do.
    let efforts = |number, method: Option<Method>| match method {
        Some(_) if number < 1000 => Effort { time: usual(method).time * 3.0, size: 0.95 },
        _ => usual(method),
    };
    for disk in [50e6, 400e6, 3e9] {
        let machine = Simulated { efforts, ..machine(2, disk) };
        let (chosen, best) = (machine.chosen(Methods::default()), machine.best(Methods::default()));
        assert!(chosen.seconds <= 1.1 * best, "{disk:e}: {} s, best {best} s", chosen.seconds);
    }
}

#[test]
fn compressing_and_writing_in_turns_counts_both() {
    // Nothing is ever ahead: the best is the least sum.
    let mut chooser = Chooser::new(Methods::default());
    let mut turns = |disk: f64| {
        let mut names = Vec::new();
        for number in 0..200 {
            let now = f64::from(number) * 10.0;
            let (ticket, method) = chooser.begin(now, BATCH as usize);
            let effort = usual(method);
            let stored = effort.size * BATCH;
            let queued = chooser.end(ticket, stored as usize, Some(effort.time * BATCH));
            chooser.write_begins(now, stored as usize);
            chooser.write_ends(now + stored / disk, stored as usize, true, [queued]);
            names.push(method.map_or("none", Method::name));
        }
        names.pop().unwrap()
    };
    assert_eq!([turns(20e6), turns(500e6), turns(20e9)], ["zstd", "lzo", "none"]);
}

#[test]
fn batches_without_bytes_say_nothing_of_the_disk() {
    let auto = super::super::Auto::new(Methods::default());
    let rate = || auto.lock().disk.seconds_per_byte(0.0);
    let before = rate();
    for _ in 0..10_000 {
        auto.writing(0, [Queued::default()], || Ok::<_, ()>(())).unwrap();
    }
    assert_eq!(rate(), before);
    for _ in 0..10_000 {
        auto.syncing(|| Ok::<_, ()>(())).unwrap();
    }
    assert!(rate().is_finite() && rate() >= before);
}

proptest! {
    #[test]
    fn any_measurement_leads_to_a_way_that_is_allowed(
        steps in prop::collection::vec((any::<u32>(), any::<u32>(), 0f64..100.0, any::<bool>()), 1..50),
        raw: bool,
    ) {
        let methods = Methods::of([raw.then_some(Method::Zlib), Some(Method::Snappy)]).unwrap();
        let mut chooser = Chooser::new(methods);
        let mut now = 0.0;
        for (bytes, stored, seconds, written) in steps {
            let (ticket, method) = chooser.begin(now, bytes as usize);
            prop_assert!(methods.ways().any(|way| way == method));
            let queued = chooser.end(ticket, stored as usize, (stored % 3 > 0).then_some(seconds));
            if written {
                chooser.write_begins(now, stored as usize);
                now += seconds;
                chooser.write_ends(now, stored as usize, stored % 5 > 0, [queued]);
            }
        }
        prop_assert!(chooser.disk.seconds_per_byte(now).is_finite());
    }
}
