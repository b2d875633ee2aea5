//! What several commands print, and how: reports of conversions and of crashes, progress, numbers with units, bytes of memory, sets of frames, text that is safe on a terminal.

pub(crate) mod bytes;
pub(crate) mod crash;
pub(crate) mod frameset;
pub(crate) mod log;
pub(crate) mod progress;
pub(crate) mod remedy;
pub(crate) mod report;
pub(crate) mod terminal;
pub(crate) mod units;
