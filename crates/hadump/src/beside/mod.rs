//! Small files beside the dump, which are saved before any page is looked at: the kernel's log, and a report of why the machine
//! crashed. They are quickly written and often all that is needed.

mod allowance;
pub(crate) mod log;
mod manner;
pub(crate) mod report;

pub(crate) use manner::Manner;

use manner::path;
use std::path::{Path, PathBuf};

/// Those of a dump.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beside {
    pub(crate) log: Option<PathBuf>,
    /// The report, as text and as JSON.
    pub(crate) report: Vec<PathBuf>,
}

impl Beside {
    /// Those that an earlier run left beside the dump `name`.
    pub(crate) fn of(name: &Path, encrypted: bool) -> Self {
        let there = |suffix| Some(path(name, suffix, encrypted)).filter(|path| path.exists());
        Self { log: there(log::SUFFIX), report: report::SUFFIXES.into_iter().filter_map(there).collect() }
    }
}
