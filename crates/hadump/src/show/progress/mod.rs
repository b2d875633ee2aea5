//! The progress of a long job, and the user's wish to stop it.

mod view;

pub(crate) use view::{ProgressView, Waiting};

use dumpfile::Progress;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_default};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(100);

/// Runs `job` while a thread shows its progress; `pages` is what it counts up to, `page_size` the bytes of each.
pub(crate) fn watch<T>(pages: u64, page_size: u64, quiet: bool, job: impl FnOnce(&Progress) -> T) -> T {
    watch_as(view::own(pages, page_size, quiet), job)
}

/// Runs `job` while a thread shows its progress by `view` and passes on the user's wish to stop.
///
/// A SIGINT, SIGTERM or SIGHUP cancels the job, which ends with an error of its own and keeps what it wrote. The second one
/// ends the program at once, as if it had been killed.
pub(crate) fn watch_as<T>(mut view: Box<dyn ProgressView>, job: impl FnOnce(&Progress) -> T) -> T {
    let Signals { came: stop, end } = &*SIGNALS;
    end.store(false, Ordering::SeqCst);
    let progress = Progress::default();
    let (finished, watcher) = channel();
    std::thread::scope(|scope| {
        let progress = &progress;
        // Where the system refuses a thread, nothing is shown, and a signal ends the program as it does by default.
        let watching = std::thread::Builder::new()
            .spawn_scoped(scope, move || show(progress, stop, &watcher, &mut *view));
        if watching.is_err() {
            end.store(true, Ordering::SeqCst);
        }
        let result = job(progress);
        drop(finished);
        result
    })
}

/// Runs `work`, of which nobody knows how long it takes, and says after a while and then now and again that it goes on with
/// `what`, which may say how far it is.
/// Signals end the program, as there is nothing to keep.
pub(crate) fn patiently<T>(what: impl Fn() -> String + Send, quiet: bool, work: impl FnOnce() -> T) -> T {
    let (finished, watcher) = channel::<()>();
    std::thread::scope(|scope| {
        // Where the system refuses a thread, nothing is said.
        let _ = std::thread::Builder::new().spawn_scoped(scope, move || {
            let mut waiting = Waiting::new(quiet);
            while watcher.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                waiting.say(&what());
            }
        });
        let result = work();
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
        // A signal that cannot be caught does what it does by default. Handlers run in this order, so that the second signal
        // finds that one came.
        let _ = register_conditional_default(signal, Arc::clone(&signals.end));
        let _ = register_conditional_default(signal, Arc::clone(&signals.came));
        let _ = register(signal, Arc::clone(&signals.came));
    }
    signals
});

/// Lets a SIGINT, SIGTERM or SIGHUP end the program until the next job begins, also one that came too late to stop the last
/// job. For what takes long between jobs and leaves nothing half done. After a job the first one does nothing otherwise, so
/// that what was written gets its name.
pub(crate) fn let_signals_end() {
    let Signals { came, end } = &*SIGNALS;
    end.store(true, Ordering::SeqCst);
    if came.load(Ordering::SeqCst) {
        let _ = signal_hook::low_level::emulate_default_handler(SIGTERM);
    }
}

fn show(progress: &Progress, stop: &AtomicBool, done: &Receiver<()>, view: &mut dyn ProgressView) {
    let mut stopping = false;
    while done.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
        if stop.load(Ordering::Relaxed) && !stopping {
            stopping = true;
            progress.cancel();
            // Whoever waits for the pace of --limit-rate would notice only afterwards.
            ::save::pace::hurry();
            view.finish(progress.pages());
            if view.is_shown() {
                let text = "stopping; what was written is kept (a second signal ends at once)";
                let _ = writeln!(std::io::stderr(), "{text}");
            }
        }
        if !stopping {
            view.update(progress.pages());
        }
    }
    if !stopping {
        view.finish(progress.pages());
    }
}
