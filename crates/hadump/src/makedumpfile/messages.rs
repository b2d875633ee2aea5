//! What is printed, and where: makedumpfile's kinds of messages.
//!
//! Scripts redirect and search them: common ones go to standard output unless that takes the dump, errors and progress
//! to standard error. Failures to print are ignored, as they must not change how a dump ends.

use super::args::MessageLevel;
use crate::show::progress::ProgressView;
use crate::show::terminal;
use std::io::Write;
use std::time::{Duration, Instant};

/// The printer of one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Messages {
    level: MessageLevel,
    /// Standard output takes the dump.
    stdout_taken: bool,
}

impl Messages {
    pub(super) fn new(level: MessageLevel, stdout_taken: bool) -> Self {
        Self { level, stdout_taken }
    }

    pub(super) fn level(self) -> MessageLevel {
        self.level
    }

    /// A common message.
    pub(super) fn common(self, text: &str) {
        self.print(MessageLevel::COMMON, text);
    }

    /// What was counted and measured.
    pub(super) fn report(self, text: &str) {
        self.print(MessageLevel::REPORT, text);
    }

    pub(super) fn debug(self, text: &str) {
        self.print(MessageLevel::DEBUG, text);
    }

    /// How long a step took, with the report.
    pub(super) fn step(self, name: &str, took: Duration) {
        self.report(&format!("STEP [{name:<26}] : {}.{:06} seconds", took.as_secs(), took.subsec_micros()));
    }

    /// An error, always on standard error.
    pub(super) fn error(self, text: &str) {
        if self.level.has(MessageLevel::ERROR) {
            let _ = writeln!(terminal::stderr(), "makedumpfile: {text}");
        }
    }

    fn print(self, kind: u8, text: &str) {
        if !self.level.has(kind) {
            return;
        }
        let _ = if self.stdout_taken {
            writeln!(terminal::stderr(), "{text}")
        } else {
            writeln!(terminal::stdout(), "{text}")
        };
    }

    /// The progress of a job that counts to `pages`.
    pub(super) fn progress(self, pages: u64) -> Box<dyn ProgressView> {
        let shown = self.level.has(MessageLevel::PROGRESS);
        Box::new(Percent { shown, pages, started: Instant::now(), printed: None, turn: 0 })
    }
}

/// A line that is rewritten once a second.
struct Percent {
    shown: bool,
    pages: u64,
    started: Instant,
    printed: Option<Instant>,
    turn: usize,
}

impl Percent {
    fn print(&mut self, done: u64) {
        const WHEEL: [char; 4] = ['|', '/', '-', '\\'];
        let tenths = done.saturating_mul(1000).checked_div(self.pages).unwrap_or(1000);
        let eta = match self.started.elapsed().as_secs().checked_mul(self.pages.saturating_sub(done)) {
            Some(left) if done > 0 => format!("eta: {}", clock(left / done)),
            _ => String::new(),
        };
        let (percent, wheel) = (format!("{:3}.{}", tenths / 10, tenths % 10), WHEEL[self.turn % WHEEL.len()]);
        let _ = write!(std::io::stderr(), "\r{:<50}: [{percent} %] {wheel}  {eta:>16}", "Copying data");
        self.turn += 1;
    }
}

impl ProgressView for Percent {
    fn update(&mut self, done: u64) {
        if self.shown && self.printed.is_none_or(|printed| printed.elapsed() >= Duration::from_secs(1)) {
            self.printed = Some(Instant::now());
            self.print(done);
        }
    }

    fn finish(&mut self, done: u64) {
        if self.shown {
            self.print(done);
            let _ = writeln!(std::io::stderr());
        }
    }

    fn is_shown(&self) -> bool {
        self.shown
    }
}

/// Seconds as `3s`, `2m10s`, `1h02m`.
fn clock(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        assert_eq!(
            [0, 59, 60, 3599, 3600, 90061].map(clock),
            ["0s", "59s", "1m0s", "59m59s", "1h00m", "25h01m"]
        );
    }
}
