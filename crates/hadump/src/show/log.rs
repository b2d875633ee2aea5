//! The libraries' messages.

use super::terminal::Events;
use tracing_subscriber::filter::LevelFilter;

/// Sends those of `level` and above to standard error.
pub(crate) fn start(level: LevelFilter) {
    tracing_subscriber::fmt()
        .with_writer(|| Events)
        // What colours a line would be escaped with what a dump smuggles into it.
        .with_ansi(false)
        .with_max_level(level)
        .without_time()
        .log_internal_errors(false)
        .with_target(false)
        .init();
}
