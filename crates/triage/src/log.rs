//! The lines of the log that matter after a crash.

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// As `dmesg` prints it, with its time, without a line end.
    pub text: String,
    /// How urgent it was: 0 emergency to 7 debug. `None` where the log does not say.
    pub level: Option<u8>,
    /// It belongs to the crash: the oops, the panic, their registers and traces.
    pub crash: bool,
}

/// What is shown of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// How many lines the whole log has.
    pub total: u64,
    /// All lines of level error (3) and more urgent that come before [`Log::tail`].
    pub errors: Vec<Line>,
    /// The last lines.
    pub tail: Vec<Line>,
    /// What was wrong with the log, one sentence per entry.
    pub remarks: Vec<String>,
}
