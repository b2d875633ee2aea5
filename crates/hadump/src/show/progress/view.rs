//! How progress looks: a bar on a terminal emulator, lines elsewhere.
//!
//! A serial console takes 960 bytes a second, and the kernel waits for it: a bar that is redrawn ten times a second would fill
//! it and slow the machine down. So a bar is drawn only where redrawing costs nothing, and where it turns out to take long,
//! no more.

use crate::show::units;
use rustix::termios::tcgetwinsize;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Jobs shorter than this show no progress.
const PATIENCE: Duration = Duration::from_secs(1);
/// The time between two lines on a console.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest time between two lines in a file.
const LONG_PAUSE: Duration = Duration::from_secs(60);
/// What a redrawn bar may take.
const SLOW: Duration = Duration::from_millis(50);
/// Columns that a bar needs beside rate and time.
const LEAST_BAR: usize = 10;

/// Shows the progress of a job.
pub(crate) trait ProgressView: Send {
    /// Called often with the pages done.
    fn update(&mut self, done: u64);

    /// Called once when the job is over.
    fn finish(&mut self, done: u64);

    /// Whether anything is shown at all.
    fn is_shown(&self) -> bool;
}

/// What standard error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Screen {
    /// A terminal emulator or a virtual console.
    Emulator,
    /// A serial line or another console, on which lines stay.
    Console,
    /// A file or a pipe.
    File,
}

impl Screen {
    /// What standard error is: only pseudo-terminals and virtual consoles are redrawn at no cost, whatever `$TERM` claims of
    /// others, and not even these where it says that they cannot be.
    fn of_standard_error() -> Self {
        let stderr = std::io::stderr();
        if !stderr.is_terminal() {
            return Self::File;
        }
        let device = rustix::fs::fstat(&stderr)
            .map(|stat| (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)));
        let term = std::env::var("TERM").unwrap_or_default();
        match device {
            Ok((major, minor)) => Self::of(major, minor, &term),
            Err(_) => Self::Console,
        }
    }

    /// What a terminal is by its device's numbers (Linux: `Documentation/admin-guide/devices.txt`) and `$TERM`.
    fn of(major: u32, minor: u32, term: &str) -> Self {
        let pseudo = (136..=143).contains(&major);
        let virtual_console = major == 4 && (1..64).contains(&minor);
        let able = !matches!(term, "" | "dumb" | "unknown");
        if able && (pseudo || virtual_console) { Self::Emulator } else { Self::Console }
    }
}

/// hadump's own view of a job of `pages` pages of `size` bytes.
pub(super) fn own(pages: u64, size: u64, quiet: bool) -> Box<dyn ProgressView> {
    let job = Job { started: Instant::now(), pages, size };
    if quiet || pages == 0 {
        return Box::new(Nothing);
    }
    let lines = |console| Lines { job, console, tenths: 0, said: Instant::now() };
    match Screen::of_standard_error() {
        Screen::Emulator => Box::new(Bar { lines: lines(true), drawn: false, slow: false }),
        screen => Box::new(lines(screen == Screen::Console)),
    }
}

/// A job and when it began.
#[derive(Clone, Copy)]
struct Job {
    started: Instant,
    pages: u64,
    /// Bytes of a page.
    size: u64,
}

impl Job {
    /// Rate and time left, by what was measured since the job began; nothing before that means anything.
    fn pace(&self, done: u64) -> Option<String> {
        let spent = self.started.elapsed();
        if spent < PATIENCE || done == 0 {
            return None;
        }
        let rate = done as f64 * self.size as f64 / spent.as_secs_f64();
        let rate = units::bytes(rate as u64);
        if done >= self.pages {
            return Some(format!("{rate}/s, waiting for the disk"));
        }
        let left = spent.mul_f64((self.pages - done) as f64 / done as f64);
        Some(format!("{rate}/s, {} left", units::time(left)))
    }

    fn percent(&self, done: u64) -> u64 {
        (u128::from(done) * 100 / u128::from(self.pages.max(1))).min(100) as u64
    }
}

struct Nothing;

impl ProgressView for Nothing {
    fn update(&mut self, _: u64) {}

    fn finish(&mut self, _: u64) {}

    fn is_shown(&self) -> bool {
        false
    }
}

/// A line every few seconds.
struct Lines {
    job: Job,
    /// Somebody is looking; a file gets a line for every tenth.
    console: bool,
    tenths: u64,
    said: Instant,
}

impl ProgressView for Lines {
    fn update(&mut self, done: u64) {
        let percent = self.job.percent(done);
        let due = self.said.elapsed() >= if self.console { PAUSE } else { LONG_PAUSE };
        let another = !self.console && percent / 10 > self.tenths && percent < 100;
        if let Some(pace) = self.job.pace(done).filter(|_| due || another) {
            (self.tenths, self.said) = (percent / 10, Instant::now());
            let _ = writeln!(std::io::stderr(), "{percent} %, {pace}");
        }
    }

    fn finish(&mut self, _: u64) {}

    fn is_shown(&self) -> bool {
        true
    }
}

/// A line that is redrawn.
struct Bar {
    /// What is shown instead where redrawing takes long.
    lines: Lines,
    drawn: bool,
    slow: bool,
}

impl ProgressView for Bar {
    fn update(&mut self, done: u64) {
        if self.slow {
            return self.lines.update(done);
        }
        let columns = tcgetwinsize(std::io::stderr()).map_or(0, |size| usize::from(size.ws_col));
        // Terminals that do not say how wide they are have 80 columns.
        let columns = if columns == 0 { 80 } else { columns };
        let text = bar(self.lines.job.percent(done), self.lines.job.pace(done), columns);
        let began = Instant::now();
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "\r{text}\x1b[K").and_then(|()| stderr.flush());
        self.drawn = true;
        if began.elapsed() > SLOW {
            self.slow = true;
            let _ = writeln!(stderr);
        }
    }

    fn finish(&mut self, _: u64) {
        if self.drawn && !self.slow {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        self.drawn = false;
    }

    fn is_shown(&self) -> bool {
        true
    }
}

/// A bar in fewer than `columns` columns: a terminal that is written to in the last one begins a new line.
fn bar(percent: u64, pace: Option<String>, columns: usize) -> String {
    let number = format!("{percent:>3} %");
    let pace = pace.unwrap_or_default();
    let room = columns.saturating_sub(1);
    let bar = room.saturating_sub(number.len() + 4 + pace.len());
    if bar >= LEAST_BAR {
        let full = bar * percent as usize / 100;
        let tip = if full < bar { ">" } else { "" };
        let line = format!("{}{tip}", "=".repeat(full));
        return format!("{number} [{line:<bar$}] {pace}").trim_end().to_owned();
    }
    if number.len() + 2 + pace.len() <= room && !pace.is_empty() {
        return format!("{number}, {pace}");
    }
    number.chars().take(room).collect()
}

/// Says that something goes on that cannot say how far it is.
pub(crate) struct Waiting {
    quiet: bool,
    began: Instant,
    next: Duration,
}

impl Waiting {
    /// Begins to wait.
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, began: Instant::now(), next: PATIENCE * 2 }
    }

    /// Says `what` goes on, if it is time to: after two seconds, and then more and more seldom.
    pub(crate) fn say(&mut self, what: &str) {
        let spent = self.began.elapsed();
        if self.quiet || spent < self.next {
            return;
        }
        let since =
            if spent < PATIENCE * 3 { String::new() } else { format!(", {} so far", units::time(spent)) };
        let _ = writeln!(std::io::stderr(), "{what}{since}");
        self.next = (self.next * 2).max(PAUSE).min(self.next + LONG_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fits_every_width_and_says_nothing_of_the_pace_before_it_is_known() {
        let pace = || Some("123 MiB/s, 3 min 05 s left".to_owned());
        for columns in 0..200 {
            for percent in [0, 7, 50, 99, 100] {
                for pace in [None, pace()] {
                    let text = bar(percent, pace, columns);
                    assert!(text.len() < columns.max(1), "{columns}: {text:?}");
                }
            }
        }
        assert_eq!(bar(0, None, 20), "  0 % [>         ]");
        assert_eq!(
            bar(50, pace(), 80),
            " 50 % [======================>                     ] 123 MiB/s, 3 min 05 s left"
        );
        assert_eq!(bar(50, pace(), 40), " 50 %, 123 MiB/s, 3 min 05 s left");
        assert_eq!(bar(50, pace(), 29), " 50 %");
    }

    #[test]
    fn only_pseudo_terminals_and_virtual_consoles_are_redrawn() {
        let emulator = |major, minor, term| Screen::of(major, minor, term) == Screen::Emulator;
        assert!(emulator(136, 3, "xterm-256color") && emulator(4, 1, "linux"));
        // ttyS0, hvc0, ttyAMA0, /dev/console, SCLP.
        for (major, minor) in [(4, 64), (229, 0), (204, 64), (5, 1), (4, 65)] {
            assert!(!emulator(major, minor, "linux") && !emulator(major, minor, "vt220"), "{major}:{minor}");
        }
        assert!(!emulator(136, 3, "dumb") && !emulator(136, 3, ""));
    }

    #[test]
    fn nothing_is_said_of_the_pace_of_the_first_second() {
        let job = Job { started: Instant::now(), pages: 100, size: 4096 };
        assert_eq!(job.pace(50), None);
        let started = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let job = Job { started, ..job };
        assert_eq!(job.pace(0), None);
        assert_eq!(job.pace(50).as_deref(), Some("20.0 KiB/s, 10 s left"));
        assert_eq!(job.pace(100).as_deref(), Some("40.0 KiB/s, waiting for the disk"));
    }
}
