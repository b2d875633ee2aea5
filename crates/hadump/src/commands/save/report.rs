//! What a save did, for people and as JSON.

use crate::outcome::Outcome;
use crate::show::report::{self, Gate, Input, Output, Pages, Seconds, words};
use crate::show::terminal::{self, Line};
use crate::show::units;
use ::save::Estimate;
use ::save::state::Saved;
use anyhow::Result;
use serde::Serialize;
use std::io::Write;
use std::time::Duration;

/// The report of one save. Field names are those of the JSON output, which `docs/json.md` describes.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) pages: Pages,
    /// What the checks of the kernel's structures found; `null` for a resumed save.
    pub(super) gate: Option<Gate>,
    pub(super) seconds: Seconds,
    /// `whole`, `no_room`, `stopped` or `failed`.
    pub(super) ended: &'static str,
    /// The dump level that was asked for; `output.dump_level` is higher if that did not fit.
    pub(super) asked_level: u8,
    /// What was expected before; `null` for a resumed save.
    pub(super) estimate: Option<Expected>,
    /// Pages of the selection that are not in the output, because there was no room or time.
    pub(super) unwritten: u64,
    /// The file with the kernel's log.
    pub(super) log: Option<String>,
    /// The files that say why the machine crashed: as text, and as JSON.
    pub(super) crash_report: Vec<String>,
    /// The journal, when the save can be resumed.
    pub(super) journal: Option<String>,
    pub(super) released: Released,
    /// An interrupted save was resumed.
    pub(super) resumed: bool,
    pub(super) remarks: Vec<String>,
    pub(super) exit_code: u8,
}

/// What was expected of the output.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Expected {
    pub(super) bytes: u64,
    pub(super) at_most_bytes: u64,
    /// What the target takes; `null` where that has no limit or is not known.
    pub(super) room_bytes: Option<u64>,
    pub(super) seconds: f64,
    pub(super) sampled_pages: u64,
}

/// What was released to the running system.
#[derive(Debug, Default, Serialize)]
pub(super) struct Released {
    pub(super) interface: Interface,
    /// Bytes released in this boot; 0 where all was released at once and the kernel's count of memory could not be read.
    pub(super) bytes: u64,
    /// Whether all that the kernel gives back was released.
    pub(super) all: bool,
    /// Why memory is kept that was to be released.
    pub(super) kept: Option<String>,
    /// What the kernel refused.
    pub(super) refused: Option<String>,
}

impl Released {
    /// What came back, in words; `None` where nothing was to be released, or not before the dump is whole.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self { kept: Some(_), .. } => Some("nothing; see the warning".into()),
            Self { refused: Some(why), .. } => Some(format!("not all: {why}")),
            Self { interface: Interface::None, .. } => None,
            Self { interface: Interface::ReleaseRegion, bytes, .. } => Some(units::bytes(*bytes)),
            Self { interface: Interface::ReleaseMem, all: false, .. } => None,
            // The area that the next dump needs stays reserved.
            Self { interface: Interface::ReleaseMem, bytes: 0, .. } => {
                Some("all memory but what is reserved for the next dump".into())
            }
            Self { interface: Interface::ReleaseMem, bytes, .. } => {
                Some(format!("{}; the rest is reserved for the next dump", units::bytes(*bytes)))
            }
        }
    }
}

/// The file of the kernel that memory is released through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Interface {
    /// Memory is not released.
    #[default]
    None,
    /// Range by range.
    ReleaseRegion,
    /// All at once.
    ReleaseMem,
}

impl Expected {
    pub(super) fn of(estimate: &Estimate, room: Option<u64>) -> Self {
        let threads = rayon::current_num_threads().max(1) as f64;
        Self {
            bytes: estimate.bytes,
            at_most_bytes: estimate.at_most,
            room_bytes: room,
            seconds: estimate.work.as_secs_f64() / threads,
            sampled_pages: estimate.sampled,
        }
    }

    /// The line printed before anything is written.
    pub(super) fn text(&self) -> String {
        let room = self
            .room_bytes
            .map_or(String::new(), |room| format!("; the target takes {}", units::bytes(room)));
        format!(
            "{}, at most {}{room}; {} for compressing alone",
            units::bytes(self.bytes),
            units::bytes(self.at_most_bytes),
            units::time(Duration::from_secs_f64(self.seconds))
        )
    }
}

/// Prints one line of a report on standard error.
pub(super) fn say(quiet: bool, label: &str, text: &str) {
    if !quiet {
        let _ = writeln!(terminal::stderr(), "{label:>10}  {}", Line(text));
    }
}

impl Report {
    /// Prints the report: as JSON on standard output, or for people on standard error.
    pub(super) fn print(&self, json: bool, quiet: bool) -> anyhow::Result<()> {
        if json {
            return crate::show::report::print_json(self);
        }
        let Self { output, pages, seconds, .. } = self;
        let line = |label: &str, text: String| say(quiet, label, &text);
        line(
            "saved",
            format!("{} pages: {} with data, {} zero", pages.data + pages.zero, pages.data, pages.zero),
        );
        if pages.lost > 0 {
            line("lost", format!("{} pages could not be read", pages.lost));
        }
        if self.unwritten > 0 {
            line("missing", format!("{} pages were not written: {}", self.unwritten, words(self.ended)));
        }
        let compression = output.compression(pages);
        let raised = if self.asked_level == output.dump_level {
            String::new()
        } else {
            format!(" ({} was asked for)", self.asked_level)
        };
        let unfinished = if output.complete { "" } else { ", INCOMPLETE" };
        line(
            "output",
            format!(
                "{}: {}{compression}, dump level {}{raised}, {}{unfinished}",
                output.paths.join(", "),
                output.format,
                output.dump_level,
                units::bytes(output.bytes)
            ),
        );
        if let Some(text) = self.released.text() {
            line("released", text);
        }
        if let Some(journal) = &self.journal {
            let first = match self.ended {
                "no_room" => "make room, then ",
                "failed" => "once the target can be written to again, ",
                _ => "",
            };
            line("to resume", format!("{first}run the same command with --resume; the journal is {journal}"));
        }
        let total = seconds.open + seconds.classify + seconds.write;
        line("time", units::time(Duration::from_secs_f64(total)));
        Ok(())
    }
}

/// Prints what is known of a save that was finished before, in the fields that a save's report has for it.
pub(super) fn saved_before(saved: &Saved, outcome: Outcome) -> Result<()> {
    let paths: Vec<String> = saved.files.iter().map(|file| file.display().to_string()).collect();
    report::print_json(&serde_json::json!({
        "ended": "before",
        "output": {
            "path": paths.first(),
            "paths": paths,
            "bytes": crate::output::length_of(&paths),
            "disk_bytes": crate::output::room_of(&paths),
            "dump_level": saved.level.bits(),
            "complete": saved.complete,
        },
        "asked_level": saved.asked.bits(),
        "exit_code": outcome.code(),
    }))
}
