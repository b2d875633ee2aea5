//! Whenever the tool dies and whatever the disk forgets then: what is saved in the end is the dump, no memory is read after
//! it was released, and all of it is released.

mod common;

use common::disk::{Disk, Steps};
use common::machine::{Patient, Random, same_pages, some_pages, two_parts};
use dumpfile::codec::{Choice, Method};
use dumpfile::kdump::{self, Options, Unfinished};
use dumpfile::output::OutputFile;
use dumpfile::{Facts, Progress};
use phyp_model::release::Handler;
use save::Guarded;
use save::engine::{End, Limits};
use save::release::Releaser;
use save::session::{Earlier, Pages, SaveJob, find, save};
use save::target::Target;
use std::path::Path;
use std::sync::Arc;
use vmcore::{Dump, RangeSet, Selection};

const OPTIONS: Options = Options {
    method: Choice::One(Some(Method::Snappy)),
    level: None,
    part: None,
    beside: 0,
    dedup: false,
    checksums: true,
};

/// One machine, the pages of it that are saved, and a plain conversion of them.
struct Case {
    patient: Patient,
    whole: Selection,
    parts: Vec<Selection>,
    counts: bool,
    late: bool,
    directory: tempfile::TempDir,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let handler = if random.below(2) == 0 { Handler::Shipped } else { Handler::Fixed };
        let patient = Patient::new(600, handler);
        let dump = patient.dump();
        let whole = some_pages(&dump, &mut random);
        let parts = match random.below(3) {
            0 => two_parts(&whole, &mut random),
            _ => vec![copy(&whole)],
        };
        let directory = tempfile::tempdir().unwrap();
        let plain = OutputFile::create(&directory.path().join("plain"), false).unwrap();
        kdump::write(&dump, &whole, &Facts::default(), &OPTIONS, &plain, &Progress::default()).unwrap();
        plain.commit().unwrap();
        // A kernel that neither ends its loop too late nor shows its memory keeps a page of each range.
        let counts = handler == Handler::Fixed || random.below(2) == 0;
        Self { patient, whole, parts, counts, late: random.below(5) == 0, directory }
    }

    fn name(&self) -> std::path::PathBuf {
        self.directory.path().join("vmcore")
    }

    /// Runs the tool until it is done or dead; returns whether it is done, and the steps it took.
    fn run(&self, steps: &Arc<Steps>, disk: &Disk) -> bool {
        let file = self.patient.release_file(self.counts, steps);
        let release = |released| Releaser::new(self.patient.ground(), file, released);
        let Ok(found) = find(disk) else { panic!("the journal of a dead tool is damaged") };
        let limits = Limits { segment: 2 << 20, room: &|_| None, given_away: &|| None };
        let progress = Progress::default();
        let work = |dump, pages, releaser| SaveJob {
            dump,
            pages,
            options: OPTIONS,
            limits,
            release: Some(releaser),
            release_late: self.late,
            boot: "this boot",
        };
        let (asked, more_kept) = (vmcore::DumpLevel::ALL, false);
        let all = || Pages::All { whole: &self.whole, parts: &self.parts, facts: &FACTS, asked, more_kept };
        let saved = match found {
            Earlier::Nothing(journal) => {
                let dump = self.patient.dump();
                save(disk, journal, work(&dump, all(), &mut release(RangeSet::default())), &progress)
            }
            Earlier::Begun(journal, history) => {
                let mut releaser = release(history.released_in("this boot"));
                let dump = guarded(self.patient.dump(), &history.gone);
                let unfinished = history.checkpoint.map(|checkpoint| {
                    Unfinished::open(&disk.unfinished().unwrap(), &checkpoint, || Ok(None)).unwrap()
                });
                let pages = unfinished.as_ref().map_or_else(all, Pages::Rest);
                save(disk, Some(journal), work(&dump, pages, &mut releaser), &progress)
            }
            Earlier::Unproven(..) => panic!("the output does not prove what the journal says"),
            Earlier::Done(mut journal, history) => {
                let mut releaser = release(history.released_in("this boot"));
                return releaser.rest(&mut journal).is_ok()
                    && releaser.refused().is_none()
                    && disk.forget(journal).is_ok();
            }
        };
        let Ok(saved) = saved else { return false };
        let done = matches!(saved.end, End::Whole) && saved.complete;
        done && self.all_is_back() && disk.forget(saved.journal).is_ok()
    }

    fn all_is_back(&self) -> bool {
        self.patient.live.lock().unwrap().kept_back().is_empty()
    }

    #[track_caller]
    fn check(&self) {
        let live = self.patient.live.lock().unwrap();
        assert_eq!(live.late_reads(), [], "read after it was released");
        assert_eq!(live.kept_back(), [], "not released");
        let names: Vec<_> =
            std::fs::read_dir(self.directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        let open = |name: &Path| dumpfile::open(name).unwrap();
        let made = open(&self.name());
        assert!(!made.source.incomplete);
        let check = made.memory.check().unwrap();
        assert_eq!((check.proved, check.problems), (true, Vec::new()));
        same_pages(&open(&self.directory.path().join("plain")), &made);
    }
}

static FACTS: Facts = Facts {
    utsname: vmcore::Utsname {
        sysname: String::new(),
        nodename: String::new(),
        release: String::new(),
        version: String::new(),
        machine: String::new(),
        domainname: String::new(),
    },
    phys_base: 0,
    notes: Vec::new(),
};

fn copy(whole: &Selection) -> Selection {
    let mut copy = Selection::new(whole.map().clone(), whole.level(), None);
    for position in 0..whole.chunk_count() {
        let (first, chunk) = whole.chunk(position).unwrap();
        copy.push(first.0 / vmcore::CHUNK_FRAMES, chunk, whole.reasons()).unwrap();
    }
    copy
}

fn guarded(mut dump: Dump, gone: &RangeSet<vmcore::PhysAddr>) -> Dump {
    dump.memory = Box::new(Guarded::new(dump.memory, gone));
    dump
}

/// Steps that a run takes that is let live.
fn whole_run(seed: u64) -> u64 {
    let case = Case::new(seed);
    let steps = Steps::until(u64::MAX);
    assert!(case.run(&steps, &Disk::new(&case.name(), &steps)));
    case.check();
    steps.taken()
}

/// Lets the tool die up to `deaths` times at steps of chance, the power with it if `power` is set, and then live.
fn die_and_resume(seed: u64, first: u64, deaths: u64, power: bool) {
    let case = Case::new(seed);
    let mut random = Random(seed ^ 0xdead);
    let mut last = first;
    for death in 0.. {
        let steps = Steps::until(if death < deaths { last } else { u64::MAX });
        let disk = Disk::new(&case.name(), &steps);
        let done = case.run(&steps, &disk);
        if done {
            break;
        }
        assert!(death < deaths, "a tool that is let live is not done");
        if power {
            disk.cut(&mut random);
        } else {
            // The tool alone died: the system writes out what it was given.
            disk.keep();
        }
        last = random.below(first.max(20));
    }
    case.check();
}

#[test]
fn a_save_that_is_let_live_gives_everything_back_and_reads_nothing_late() {
    for seed in 0..8 {
        whole_run(seed);
    }
}

#[test]
fn a_tool_that_is_killed_at_every_single_step_and_resumed_saves_the_same() {
    let all = whole_run(1);
    // Every step of the beginning and the end, every third between.
    for last in (0..all).filter(|n| *n < 40 || *n + 40 > all || n % 3 == 0) {
        die_and_resume(1, last, 1, false);
    }
}

#[test]
fn power_cuts_that_drop_and_reorder_all_writes_since_the_last_sync_lose_nothing() {
    let seeds = std::env::var("HADUMP_SEEDS").map_or(200, |n| n.parse().unwrap());
    for seed in 0..seeds {
        let first = Random(seed).below(400);
        die_and_resume(seed, first, 3, true);
    }
}
