//! What a report may take before a save begins.

use crate::show::units;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Reads of the kernel's memory. Debian's 7.2 with 76 tasks takes 220,000 of them, a machine of 1 TiB with 16 CPUs and 100,000
/// processes 8.5 million, and a second and a half of a busy processor. What a report is cut to is its symbols, its log and
/// a few reads for each CPU.
const READS: u64 = 16 << 20;
const READS_OF_CUT: u64 = READS / 8;

/// Processor time, of which a part is for what a report is cut to.
const TIME: Duration = Duration::from_secs(2);
const TIME_OF_WHOLE: Duration = Duration::from_millis(1800);

/// The share of the available memory, and how much of that is kept for what a report is cut to.
const SHARE: u64 = 4;
const KEPT: u64 = 8;

/// The time and memory that this thread has taken, and may take.
pub(super) struct Allowance {
    begun: Duration,
    held: u64,
    /// `None` where it is not known how much is available.
    memory: Option<u64>,
}

/// Which part of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// All that is looked at.
    Whole,
    /// What a report is cut to.
    Cut,
}

impl Allowance {
    /// Begins to count, in the thread that is to be watched.
    pub(super) fn new() -> Self {
        let memory = dumpfile::available_memory().map(|available| available / SHARE);
        Self { begun: taken(), held: held().unwrap_or(0), memory }
    }

    /// The most reads.
    pub(super) fn reads(what: For) -> u64 {
        if what == For::Whole { READS } else { READS_OF_CUT }
    }

    /// What is used up, if anything is.
    pub(super) fn spent(&self, what: For) -> Option<String> {
        let time = if what == For::Whole { TIME_OF_WHOLE } else { TIME };
        if taken().saturating_sub(self.begun) > time {
            return Some(format!("it would take more than {} s of processor time", TIME.as_secs()));
        }
        let memory = self.memory?;
        let limit = if what == For::Whole { memory - memory / KEPT } else { memory };
        (held()?.saturating_sub(self.held) > limit).then(|| {
            let limit = units::bytes(memory);
            format!("it would take more than {limit} of memory, a quarter of what was available")
        })
    }
}

/// The processor time of this thread.
fn taken() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// Bytes of memory that this process has for itself: resident, and of no file.
fn held() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = pages.split_whitespace().skip(1).map_while(|number| number.parse::<u64>().ok());
    let (resident, of_files) = (pages.next()?, pages.next()?);
    resident.saturating_sub(of_files).checked_mul(rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_memory_that_are_used_up_are_named() {
        assert!(held().is_some_and(|bytes| bytes > 1 << 16), "{:?}", held());
        let plenty = Allowance { begun: taken(), held: 0, memory: Some(u64::MAX) };
        assert_eq!(plenty.spent(For::Whole), None);
        let unknown = Allowance { begun: taken(), held: 0, memory: None };
        assert_eq!(unknown.spent(For::Cut), None);
        let little = Allowance { begun: taken(), held: 0, memory: Some(8 << 10) };
        let told = "it would take more than 8.0 KiB of memory, a quarter of what was available";
        assert_eq!(little.spent(For::Cut).as_deref(), Some(told));
        let begun = taken();
        let mut work = 0u64;
        while taken() - begun < Duration::from_millis(5) {
            work = std::hint::black_box(work + 1);
        }
        assert!(Allowance::new().begun > begun);
    }
}
