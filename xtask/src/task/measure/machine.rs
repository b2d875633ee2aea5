//! What happens to a machine while a command runs: its memory, and how much its processors have to do.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often memory is looked at. Each look costs some ten thousand instructions, which are not the command's.
const EVERY: Duration = Duration::from_millis(20);

/// What was seen.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Machine {
    /// `MemAvailable` before the command, and the lowest meanwhile, in bytes.
    pub(crate) available: u64,
    pub(crate) lowest_available: u64,
    /// For each processor the part of its time in which it had something to do.
    pub(crate) busy: Vec<f64>,
}

/// A machine that is being watched.
pub(super) struct Watch {
    available: u64,
    /// Ticks that each processor has worked and been idle.
    begun: Vec<(u64, u64)>,
    thread: JoinHandle<Result<u64>>,
    over: std::sync::Arc<AtomicBool>,
}

impl Watch {
    pub(super) fn begin() -> Result<Self> {
        let available = available()?;
        let over = std::sync::Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let thread = std::thread::spawn(move || {
            let mut lowest = available;
            while !seen.load(Ordering::Relaxed) {
                lowest = lowest.min(self::available()?);
                std::thread::sleep(EVERY);
            }
            Ok(lowest)
        });
        Ok(Self { available, begun: ticks(&fs::read_to_string("/proc/stat")?), thread, over })
    }

    pub(super) fn end(self) -> Result<Machine> {
        let ended = ticks(&fs::read_to_string("/proc/stat")?);
        self.over.store(true, Ordering::Relaxed);
        let lowest_available = self.thread.join().ok().context("the watch over memory ended early")??;
        let busy = |(before, after): (&(u64, u64), &(u64, u64))| {
            let (worked, idle) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
            worked as f64 / (worked + idle).max(1) as f64
        };
        let busy = self.begun.iter().zip(&ended).map(busy).collect();
        Ok(Machine { available: self.available, lowest_available, busy })
    }
}

/// `MemAvailable`, in bytes.
fn available() -> Result<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.context("/proc/meminfo has no MemAvailable")? << 10)
}

/// Of each processor in /proc/stat the ticks in which it worked, and those in which it was idle or waited for a disk.
fn ticks(stat: &str) -> Vec<(u64, u64)> {
    let processor = |line: &str| {
        let rest = line.strip_prefix("cpu")?;
        let mut words = rest.split_whitespace();
        rest.starts_with(|c: char| c.is_ascii_digit()).then(|| words.next())?;
        let ticks: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
        let idle = ticks.get(3)? + ticks.get(4)?;
        // Guests' time is in users' already.
        Some((ticks.iter().take(8).sum::<u64>() - idle, idle))
    };
    stat.lines().filter_map(processor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processors_ticks_are_those_of_work_and_those_of_waiting() {
        let stat = "cpu  30 0 10 200 20 0 0 0 0 0\ncpu0 10 0 5 100 20 1 2 0 3 0\ncpu1 20 0 5 100 0 0 0 0 0 0\nintr 7\n";
        assert_eq!(ticks(stat), [(18, 120), (25, 100)]);
    }
}
