//! Running a target and watching it.

use crate::mutate::mutate;
use crate::rng::Rng;
use crate::{MEMORY, Seed, Target};
use rustix::time::{ClockId, clock_gettime};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most processor time that one input may take. What other programs take of the machine's counts for nothing.
pub const MAX_TIME: Duration = Duration::from_secs(5);
/// The most bytes that one input may make allocated at once, besides its own length.
pub const MAX_EXTRA: usize = 64 << 20;

/// A run that works on nothing for this long never ends.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// What no input may cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The target's name.
    pub target: &'static str,
    /// The number of the run, which the input follows from.
    pub run: u64,
    /// What happened.
    pub what: String,
    /// The input.
    pub input: Vec<u8>,
}

/// The one measure of memory is the whole program's, so runs must not overlap.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs one target.
pub struct Runner {
    target: &'static Target,
    seeds: Vec<Seed>,
}

impl Runner {
    /// A runner with the target's own seeds.
    pub fn new(target: &'static Target) -> Self {
        Self { target, seeds: (target.seeds)() }
    }

    /// The number of seeds.
    pub fn seeds(&self) -> usize {
        self.seeds.len()
    }

    /// The input of a run: a seed as it is, then changed ones.
    pub fn input(&self, run: u64) -> Vec<u8> {
        let count = self.seeds.len() as u64;
        let seed = &self.seeds[(run % count) as usize];
        if run < count { seed.bytes.clone() } else { mutate(seed, &mut Rng::new(run)) }
    }

    /// Does the runs of `range`, and returns how many inputs the reader took. A run that does not end ends the program,
    /// with a message.
    ///
    /// # Errors
    ///
    /// The first failure.
    pub fn run(&self, range: std::ops::Range<u64>) -> Result<u64, Box<Failure>> {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let watch = Watchdog::start(self.target.name);
        let mut taken = 0;
        for run in range {
            watch.current.store(run, Ordering::Relaxed);
            taken += u64::from(self.once(run, self.input(run))?);
        }
        Ok(taken)
    }

    /// Does a run with this input, and returns whether the reader took it.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub fn replay(&self, input: Vec<u8>) -> Result<bool, Box<Failure>> {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let _watch = Watchdog::start(self.target.name);
        self.once(u64::MAX, input)
    }

    fn once(&self, run: u64, input: Vec<u8>) -> Result<bool, Box<Failure>> {
        let (copy, len) = (input.clone(), input.len());
        let run_target = || catch_unwind(AssertUnwindSafe(|| (self.target.run)(input)));
        let (result, Cost { time, memory: extra }) = cost_of(run_target);
        let what = match result {
            Err(panic) => format!("panic: {}", message(&*panic)),
            Ok(_) if time > MAX_TIME => format!("took {time:?}"),
            Ok(_) if extra > MAX_EXTRA + len => {
                format!("allocated {extra} bytes at once for an input of {len} bytes")
            }
            Ok(taken) => return Ok(taken),
        };
        Err(Box::new(Failure { target: self.target.name, run, what, input: copy }))
    }
}

/// What something took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// The processor time of all threads.
    pub time: Duration,
    /// The most bytes that were allocated at once, besides those before.
    pub memory: usize,
}

/// Does `work`, alone in the program among those that come here, and measures it.
pub fn measured<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    cost_of(work)
}

fn cost_of<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let started = processor_time();
    let result = work();
    let time = processor_time().saturating_sub(started);
    (result, Cost { time, memory: MEMORY.peak_usage().saturating_sub(before) })
}

/// The processor time of all threads until now.
fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

/// Ends the program when a run does not end.
struct Watchdog {
    current: Arc<AtomicU64>,
}

impl Watchdog {
    fn start(target: &'static str) -> Self {
        let current = Arc::new(AtomicU64::new(u64::MAX));
        let watched = Arc::downgrade(&current);
        std::thread::spawn(move || {
            let mut last = (u64::MAX, Instant::now(), processor_time());
            // Ends with its owner.
            while let Some(now) = watched.upgrade() {
                let now = now.load(Ordering::Relaxed);
                let (waited, worked) = (last.1.elapsed(), processor_time().saturating_sub(last.2));
                if now != last.0 {
                    last = (now, Instant::now(), processor_time());
                } else if worked > 4 * MAX_TIME || waited > MAX_WAIT {
                    eprintln!("fuzz: target {target}, run {now} does not end");
                    std::process::exit(1);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self { current }
    }
}
