//! What happened to a crashed kernel, for people, for programs and for browsers: views of a [`Report`].
//!
//! Names, log lines and tasks' names come from the dump and hold whatever they like. Each view makes them safe for where it goes.

pub(crate) mod html;
pub(crate) mod json;
mod stacks;
pub(crate) mod text;
pub(crate) mod words;

use crate::cli::Tasks;
use crate::input::mini::Mini;
use crate::outcome::Outcome;
use triage::Report;
use vmcore::Dump;

/// What is shown.
#[derive(Clone)]
pub(crate) struct Shown<'a> {
    /// The input as the user named it.
    pub(crate) path: &'a str,
    /// The input's format.
    pub(crate) format: &'a str,
    /// The input has all that its writer meant to write.
    pub(crate) complete: bool,
    /// The input is a mini dump: how large it was to be, and what had no room.
    pub(crate) mini: Option<Mini>,
    /// What was wrong with the input and was tolerated.
    pub(crate) remarks: &'a [String],
    /// Whose stacks are shown besides those of running tasks.
    pub(crate) tasks: Tasks,
    /// What was found.
    pub(crate) report: &'a Report,
}

impl<'a> Shown<'a> {
    /// The report of `dump`, which the user named `path`.
    pub(crate) fn new(path: &'a str, dump: &'a Dump, tasks: Tasks, report: &'a Report) -> Self {
        let source = &dump.source;
        let (format, remarks) = (&source.format, &source.remarks);
        Self { path, format, complete: !source.incomplete, mini: Mini::of(dump), remarks, tasks, report }
    }

    /// How a run ends that could show this.
    pub(crate) fn outcome(&self) -> Outcome {
        Outcome::of(self.complete, false)
    }
}

#[cfg(test)]
mod tests;
