//! Several saves of one dump at once, in any order of their steps: no page is kept that differs from memory at the crash, and
//! none is read after it was released, unless somebody released it without asking.

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use common::machine::{Patient, Random};
use dumpfile::codec::Choice;
use dumpfile::kdump::{self, Options};
use dumpfile::output::OutputFile;
use dumpfile::{Facts, Progress};
use phyp_model::release::{Handler, Written};
use save::engine::{End, Limits};
use save::release::{ReleaseFile, Releaser};
use save::session::{Pages, SaveJob, save};
use save::state::{Alone, Hold, State};
use save::target::{FileTarget, Target};
use save::{Error, Guarded};
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use vmcore::{Dump, DumpLevel, Pfn, PhysAddr, Range, RangeSet, Selection};

const OPTIONS: Options =
    Options { method: Choice::One(None), level: None, part: None, beside: 0, dedup: false, checksums: true };

/// Lets one tool at a time take a step.
#[derive(Default)]
struct Turns {
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Default)]
struct Now {
    running: Option<usize>,
    waiting: Vec<bool>,
    done: Vec<bool>,
}

impl Turns {
    fn of(tools: usize) -> Self {
        let now = Now { running: None, waiting: vec![false; tools], done: vec![false; tools] };
        Self { now: Mutex::new(now), ..Self::default() }
    }

    /// Tool `id` has done what it was to do and waits for its next turn.
    fn step(&self, id: usize) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.waiting[id] = true;
        if now.running == Some(id) {
            now.running = None;
        }
        self.changed.notify_all();
        while now.running != Some(id) {
            now = self.changed.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
        now.waiting[id] = false;
    }

    fn done(&self, id: usize) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.done[id] = true;
        now.running = None;
        self.changed.notify_all();
    }

    /// Gives turns in the order that `choose` makes among those who wait, until all are done.
    fn give(&self, mut choose: impl FnMut(usize) -> usize) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let all_wait = (0..now.done.len()).all(|id| now.done[id] || now.waiting[id]);
            if now.running.is_some() || !all_wait {
                now = self.changed.wait(now).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let alive: Vec<usize> = (0..now.done.len()).filter(|id| !now.done[*id]).collect();
            if alive.is_empty() {
                return;
            }
            now.running = Some(alive[choose(alive.len())]);
            self.changed.notify_all();
        }
    }
}

/// Ends a tool's part also when it panics.
struct Done<'t>(&'t Turns, usize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.done(self.1);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Release {
    Never,
    Progressive,
    After,
}

/// One machine, and what a conversion made of its dump before anybody released anything.
struct Case {
    patient: Patient,
    directory: tempfile::TempDir,
    whole: Selection,
    kept_back: usize,
}

impl Case {
    fn new() -> Self {
        let patient = Patient::new(300, Handler::Shipped);
        let directory = tempfile::tempdir().unwrap();
        let dump = patient.dump();
        let whole = Selection::everything(&*dump.memory, DumpLevel::default(), None).unwrap();
        let plain = OutputFile::create(&directory.path().join("plain"), false).unwrap();
        kdump::write(&dump, &whole, &Facts::default(), &OPTIONS, &plain, &Progress::default()).unwrap();
        plain.commit().unwrap();
        let kept_back = patient.live.lock().unwrap().kept_back().len();
        Self { patient, directory, whole, kept_back }
    }

    fn state(&self) -> State {
        State::create(self.directory.path()).unwrap()
    }

    /// Somebody released memory who is no tool of ours.
    fn somebody_released(&self) -> Option<String> {
        let live = self.patient.live.lock().unwrap();
        (live.kept_back().len() != self.kept_back).then(|| "memory is gone".to_owned())
    }

    /// What a run of hadump does.
    fn tool(
        self: &Arc<Self>,
        id: usize,
        turns: &Arc<Turns>,
        release: Release,
        alert: bool,
    ) -> Option<(bool, End)> {
        let _done = Done(turns, id);
        turns.step(id);
        let state = self.state();
        let hold = state.hold().unwrap();
        let mut system = self.patient.system();
        system.released = state.released().unwrap();
        if system.areas_are_gone() {
            return None;
        }
        let mut dump = self.patient.dump();
        dump.memory = Box::new(Guarded::new(dump.memory, &system.released));
        turns.step(id);
        let (case, known) = (Arc::clone(self), system.released);
        let file = File { case, turns: Arc::clone(turns), id, hold, alone: None, known };
        let mut releaser = Releaser::new(self.patient.ground(), Box::new(file), RangeSet::default());
        let room = |_| {
            turns.step(id);
            None
        };
        let given_away = || {
            turns.step(id);
            alert.then(|| self.somebody_released()).flatten()
        };
        let job = SaveJob {
            dump: &dump,
            pages: Pages::All {
                whole: &self.whole,
                parts: std::slice::from_ref(&self.whole),
                facts: &Facts::default(),
                asked: DumpLevel::default(),
                more_kept: false,
            },
            options: OPTIONS,
            limits: Limits { segment: 12 << 20, room: &room, given_away: &given_away },
            release: (release != Release::Never).then_some(&mut releaser),
            release_late: release == Release::After,
            boot: "this boot",
        };
        let target = FileTarget::new(&self.directory.path().join(format!("vmcore{id}")), false);
        let saved = save(&target, None, job, &Progress::default()).unwrap();
        Some((saved.complete, saved.end))
    }

    /// Every page in the file of tool `id` is what it was at the crash.
    #[track_caller]
    fn check(&self, id: usize, complete: bool, order: &str) {
        let target = FileTarget::new(&self.directory.path().join(format!("vmcore{id}")), false);
        let path = if complete { target.name } else { target.unfinished().unwrap() };
        let (saved, plain) = (dumpfile::open(&path).unwrap(), self.plain());
        assert_eq!(saved.source.incomplete, !complete, "{order}");
        let (mut one, mut two) = (vec![0; 4096], vec![0; 4096]);
        for pfn in plain.memory.map().frames().iter().flat_map(|r| r.start.0..r.end.0).map(Pfn) {
            let known = saved.memory.read_page(pfn, &mut one).unwrap().is_known();
            assert!(plain.memory.read_page(pfn, &mut two).unwrap().is_known());
            assert!(known || !complete, "{order}: frame {pfn} is missing");
            assert!(!known || one == two, "{order}: frame {pfn} of tool {id} has other bytes");
        }
    }

    fn plain(&self) -> Dump {
        dumpfile::open(&self.directory.path().join("plain")).unwrap()
    }
}

/// Releases memory as hadump does.
struct File {
    case: Arc<Case>,
    turns: Arc<Turns>,
    id: usize,
    hold: Hold,
    alone: Option<Alone>,
    known: RangeSet<PhysAddr>,
}

impl ReleaseFile for File {
    fn release(&mut self, start: PhysAddr, len: u64) -> io::Result<()> {
        let range = Range::new(start, PhysAddr(start.0 + len + 4096));
        self.case.state().note_released(range).unwrap();
        self.known.insert(range);
        let mut live = self.case.patient.live.lock().unwrap();
        match live.write_release_region(&format!("{:#x} {len:#x}\n", start.0)).unwrap() {
            Written::Accepted => Ok(()),
            other => panic!("the kernel says {other:?} to {start} {len:#x}"),
        }
    }

    fn memory_total(&mut self) -> Option<u64> {
        Some(self.case.patient.live.lock().unwrap().memory_total())
    }

    fn claim(&mut self, last: bool) -> Result<RangeSet<PhysAddr>, Error> {
        self.turns.step(self.id);
        for _ in 0..200 {
            let alone = if last {
                self.hold.alone_at_last(Duration::ZERO, |_| ()).ok()
            } else {
                self.hold.alone().unwrap()
            };
            if alone.is_some() {
                self.alone = alone;
                return Ok(self.case.state().released()?.subtract(&self.known));
            }
            if !last {
                break;
            }
            self.turns.step(self.id);
        }
        Err(Error::Held { holders: Vec::new() })
    }

    fn let_go(&mut self) {
        self.alone = None;
    }
}

/// Orders of turns: by chance, or one after another all there are.
enum Order {
    Chance(Random),
    /// What was chosen at each turn, and among how many.
    Path(Vec<(usize, usize)>),
}

impl Order {
    fn choose(&mut self, turn: usize, among: usize) -> usize {
        match self {
            Self::Chance(random) => random.below(among as u64) as usize,
            Self::Path(path) => {
                if path.len() <= turn {
                    path.push((0, among));
                }
                path[turn].0
            }
        }
    }

    /// The next order; `None` after the last.
    fn next(self, number: u64) -> Option<Self> {
        match self {
            Self::Chance(_) => Some(Self::Chance(Random(number))),
            Self::Path(mut path) => loop {
                let (chosen, among) = path.pop()?;
                if chosen + 1 < among {
                    path.push((chosen + 1, among));
                    return Some(Self::Path(path));
                }
            },
        }
    }
}

/// How many orders are tried, `all` or a number.
fn orders() -> (u64, Order) {
    match std::env::var("HADUMP_ORDERS").as_deref() {
        Ok("all") => (u64::MAX, Order::Path(Vec::new())),
        Ok(number) => (number.parse().unwrap(), Order::Chance(Random(0))),
        Err(_) => (6, Order::Chance(Random(0))),
    }
}

/// Runs tools with these releases at once in many orders.
fn together(releases: &[Release]) {
    let (limit, mut order) = orders();
    let mut complete = 0;
    for number in 1..=limit {
        let (case, turns) = (Arc::new(Case::new()), Arc::new(Turns::of(releases.len())));
        let mut turn = 0;
        let mut taken = String::new();
        let ends: Vec<_> = std::thread::scope(|scope| {
            let tools: Vec<_> = releases
                .iter()
                .enumerate()
                .map(|(id, &release)| {
                    let (case, turns) = (&case, &turns);
                    scope.spawn(move || case.tool(id, turns, release, false))
                })
                .collect();
            turns.give(|among| {
                let chosen = order.choose(turn, among);
                turn += 1;
                taken += &chosen.to_string();
                chosen
            });
            tools.into_iter().map(|tool| tool.join().expect("a tool")).collect()
        });
        let taken = format!("{releases:?} in the order {taken}");
        for (id, end) in ends.iter().enumerate() {
            if let Some((whole, end)) = end {
                assert!(matches!(end, End::Whole), "{taken}: {end:?}");
                case.check(id, *whole, &taken);
                complete += usize::from(*whole);
            }
        }
        let live = case.patient.live.lock().unwrap();
        assert_eq!(live.late_reads(), [], "{taken}: read after it was released");
        if releases.iter().all(|release| *release != Release::Never) {
            assert_eq!(live.kept_back(), [], "{taken}: not released");
        }
        drop(live);
        match order.next(number) {
            Some(next) => order = next,
            None => break,
        }
    }
    assert!(complete > 0);
}

#[test]
fn two_saves_at_once_keep_no_wrong_page() {
    use Release::{After, Never, Progressive};
    for releases in [[After, After], [Progressive, After], [Progressive, Progressive], [Never, Progressive]] {
        together(&releases);
    }
}

#[test]
fn three_saves_at_once_keep_no_wrong_page() {
    use Release::{After, Never, Progressive};
    together(&[Progressive, After, Never]);
    together(&[Progressive, Progressive, After]);
}

#[test]
fn what_was_read_while_somebody_released_memory_behind_its_back_is_not_kept() {
    let (mut lost, mut whole) = (0, 0);
    for at in 0..12 {
        let (case, turns) = (Arc::new(Case::new()), Arc::new(Turns::of(1)));
        let mut turn = 0;
        let end = std::thread::scope(|scope| {
            let tool = scope.spawn(|| case.tool(0, &turns, Release::Never, true));
            turns.give(|_| {
                if turn == at {
                    let all = case.patient.ground().all();
                    let mut live = case.patient.live.lock().unwrap();
                    for range in all.iter() {
                        let line = format!("{:#x} {:#x}\n", range.start.0, range.len() - 4096);
                        live.write_release_region(&line).unwrap();
                    }
                }
                turn += 1;
                0
            });
            tool.join().expect("a tool")
        });
        let (complete, end) = end.expect("a dump");
        case.check(0, complete, &format!("gone at {at}"));
        match end {
            End::Whole => whole += 1,
            End::Failed(Error::GivenAway { .. }) => lost += 1,
            other => panic!("{other:?}"),
        }
        // It is all that was taken back: what was durable before is still there.
        let saved = OutputPages::of(&case, complete);
        assert!(complete || at < 4 || saved.known > 0, "nothing is left of what was saved by {at}");
    }
    assert!(lost > 2 && whole > 0, "{lost} {whole}");
}

/// How many pages a file has.
struct OutputPages {
    known: u64,
}

impl OutputPages {
    fn of(case: &Case, complete: bool) -> Self {
        let target = FileTarget::new(Path::new(&case.directory.path().join("vmcore0")), false);
        let path = if complete { target.name } else { target.unfinished().unwrap() };
        let dump = dumpfile::open(&path).unwrap();
        let mut page = vec![0; 4096];
        let frames = dump.memory.map().frames().iter().flat_map(|r| r.start.0..r.end.0);
        let known = frames.filter(|pfn| dump.memory.read_page(Pfn(*pfn), &mut page).unwrap().is_known());
        Self { known: known.count() as u64 }
    }
}
