//! The progress of a long job: a bar on a terminal, elsewhere a line for every tenth.

use crate::units;
use dumpfile::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_default};
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(100);

/// Jobs shorter than this show no progress.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shows the progress of a job.
pub(crate) trait ProgressView: Send {
    /// Called often with the pages done.
    fn update(&mut self, done: u64);

    /// Called once when the job is over.
    fn finish(&mut self, done: u64);
}

/// Runs `job` while a thread shows its progress; `pages` is what it counts up to, `page_size` the bytes of each.
pub(crate) fn watch<T>(pages: u64, page_size: u64, quiet: bool, job: impl FnOnce(&Progress) -> T) -> T {
    watch_as(Box::new(Own::new(pages, page_size, quiet)), job)
}

/// Runs `job` while a thread shows its progress by `view` and passes on the user's wish to stop.
///
/// A SIGINT, SIGTERM or SIGHUP cancels the job, which ends with an error of its own.
pub(crate) fn watch_as<T>(mut view: Box<dyn ProgressView>, job: impl FnOnce(&Progress) -> T) -> T {
    let Signals { came: stop, end } = &*SIGNALS;
    end.store(false, Ordering::SeqCst);
    let progress = Progress::default();
    let (finished, watcher) = channel();
    std::thread::scope(|scope| {
        let progress = &progress;
        scope.spawn(move || show(progress, stop, &watcher, &mut *view));
        let result = job(progress);
        drop(finished);
        result
    })
}

/// The signals by which a user asks to stop.
struct Signals {
    /// One came.
    came: Arc<AtomicBool>,
    /// The next one ends the program.
    end: Arc<AtomicBool>,
}

/// Caught from the first job on: what was done by default before cannot be brought back by giving up a handler.
static SIGNALS: LazyLock<Signals> = LazyLock::new(|| {
    let signals = Signals { came: Arc::default(), end: Arc::default() };
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // A signal that cannot be caught does what it does by default.
        let _ = register_conditional_default(signal, Arc::clone(&signals.end));
        let _ = register(signal, Arc::clone(&signals.came));
    }
    signals
});

/// Lets a SIGINT, SIGTERM or SIGHUP end the program until the next job begins, also one that came too late to stop the last
/// job. For what takes long between jobs and leaves nothing half done. After a job they do nothing otherwise, so that what
/// was written gets its name.
pub(crate) fn let_signals_end() {
    let Signals { came, end } = &*SIGNALS;
    end.store(true, Ordering::SeqCst);
    if came.load(Ordering::SeqCst) {
        let _ = signal_hook::low_level::emulate_default_handler(SIGTERM);
    }
}

fn show(progress: &Progress, stop: &AtomicBool, done: &Receiver<()>, view: &mut dyn ProgressView) {
    while done.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
        if stop.load(Ordering::Relaxed) {
            progress.cancel();
        }
        view.update(progress.pages());
    }
    view.finish(progress.pages());
}

/// hadump's own views.
enum Own {
    Quiet,
    Bar { bar: ProgressBar, size: u64 },
    Lines { started: Instant, pages: u64, size: u64, tenths: u64 },
}

impl Own {
    fn new(pages: u64, size: u64, quiet: bool) -> Self {
        if quiet || pages == 0 {
            Self::Quiet
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(pages * size), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(
                "{percent:>3} % [{wide_bar}] {binary_bytes_per_sec}, {eta} left",
            );
            bar.set_style(style.expect("the template is valid").progress_chars("=> "));
            Self::Bar { bar, size }
        } else {
            Self::Lines { started: Instant::now(), pages, size, tenths: 0 }
        }
    }
}

impl ProgressView for Own {
    fn update(&mut self, done: u64) {
        match self {
            Self::Quiet => {}
            Self::Bar { bar, size } => bar.set_position(done * *size),
            Self::Lines { started, pages, size, tenths } => {
                let (now, spent) = (done * 10 / *pages, started.elapsed());
                if now > *tenths && now < 10 && spent > PATIENCE {
                    *tenths = now;
                    let rate = (done * *size) as f64 / spent.as_secs_f64();
                    let left = spent.mul_f64((*pages - done) as f64 / done as f64);
                    let (rate, left) = (units::bytes(rate as u64), units::time(left));
                    let _ = writeln!(std::io::stderr(), "{} %, {rate}/s, {left} left", now * 10);
                }
            }
        }
    }

    fn finish(&mut self, _done: u64) {
        if let Self::Bar { bar, .. } = self {
            bar.finish_and_clear();
        }
    }
}
