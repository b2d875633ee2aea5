//! What a conversion did, for people and as JSON.

use crate::input::mini::Mini;
use crate::show::terminal::Json;
use crate::show::units;
use dumpfile::Written;
use dumpfile::codec::{Choice, Method};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::time::Duration;
use vmcore::{Dump, Reason, Selection};

/// The report of one conversion. Field names are those of the JSON output, which `docs/json.md` describes.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) input: Input,
    pub(crate) output: Output,
    pub(crate) pages: Pages,
    pub(crate) gate: Gate,
    pub(crate) seconds: Seconds,
    /// Anomalies and what was done about them, one sentence each.
    pub(crate) remarks: Vec<String>,
    pub(crate) exit_code: u8,
}

#[derive(Debug, Serialize)]
pub(crate) struct Input {
    pub(crate) path: String,
    pub(crate) format: String,
    pub(crate) machine: &'static str,
    pub(crate) page_size: u64,
    pub(crate) release: Option<String>,
    pub(crate) cpus: usize,
    /// Bytes of memory that exist.
    pub(crate) memory_bytes: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Output {
    /// The file, or the first of them.
    pub(crate) path: String,
    /// All files.
    pub(crate) paths: Vec<String>,
    pub(crate) format: &'static str,
    /// `null` when pages are stored as they are.
    pub(crate) compression: Option<&'static str>,
    pub(crate) dump_level: u8,
    /// The size that a mini dump was to have, and what it has no room for; `null` for other dumps.
    pub(crate) mini: Option<Mini>,
    pub(crate) bytes: u64,
    /// What the files take on the disk; `null` where that is not known, as in a pipe.
    pub(crate) disk_bytes: Option<u64>,
    pub(crate) complete: bool,
    /// What ended the output before its end.
    pub(crate) error: Option<String>,
}

/// Pages by state; `total` is the sum of `data`, `zero`, `lost`, `unwritten` and all of `excluded`.
#[derive(Debug, Serialize)]
pub(crate) struct Pages {
    pub(crate) total: u64,
    /// Frames that exist only in part; their missing bytes read as zero.
    pub(crate) partial: u64,
    pub(crate) kept: u64,
    pub(crate) data: u64,
    /// Of `data`, those that compression did not shrink, or was left out for lack of time.
    pub(crate) raw: u64,
    /// Of `data`, those stored in each of the ways that `-c auto` chose from; `null` with one method for all.
    pub(crate) methods: Option<BTreeMap<&'static str, u64>>,
    pub(crate) zero: u64,
    pub(crate) lost: u64,
    /// Of `data`, those that share the bytes of an equal one.
    pub(crate) shared: u64,
    /// Those of other shards, or those that the output had no more room for.
    pub(crate) unwritten: u64,
    /// Left out, by reason.
    pub(crate) excluded: BTreeMap<&'static str, u64>,
}

/// What was checked before pages were left out.
#[derive(Debug, Serialize)]
pub(crate) struct Gate {
    /// A check failed: nothing was left out but what level bit 0 and earlier filters say.
    pub(crate) closed: bool,
    /// Regions kept whole, as first and last frame.
    pub(crate) regions: Vec<[u64; 2]>,
    /// Other pages that were kept because their `struct page`s, or those beside them, make no sense.
    pub(crate) doubtful: u64,
    pub(crate) checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Check {
    /// For programs; it does not change.
    pub(crate) id: &'static str,
    /// For people.
    pub(crate) name: &'static str,
    /// `passed`, `skipped` or `failed`.
    pub(crate) outcome: &'static str,
    pub(crate) text: String,
}

impl Gate {
    /// What the kernel's gate found.
    pub(crate) fn of(gate: &kernel::Gate) -> Self {
        let check = |check: &kernel::Check| Check {
            id: check.id,
            name: check.name,
            outcome: check.outcome.name(),
            text: check.text.clone(),
        };
        Self {
            closed: gate.closed,
            regions: gate.regions.iter().map(|r| [r.start.0, r.end.0.saturating_sub(1)]).collect(),
            doubtful: gate.doubtful,
            checks: gate.checks.iter().map(check).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Seconds {
    pub(crate) open: f64,
    pub(crate) classify: f64,
    pub(crate) write: f64,
}

impl Input {
    /// What the dump says of itself.
    pub(crate) fn of(dump: &Dump, path: String) -> Self {
        Self {
            path,
            format: dump.source.format.clone(),
            machine: dump.machine.name(),
            page_size: dump.page_size().bytes(),
            release: dump.vmcoreinfo.as_ref().and_then(|v| v.release().map(str::to_owned)),
            cpus: dump.cpus(),
            memory_bytes: dump.memory.map().bytes().total(),
        }
    }
}

impl Output {
    /// How its pages are compressed, to follow its format.
    pub(crate) fn compression(&self, pages: &Pages) -> String {
        let counts = pages.methods.iter().flatten().filter(|(_, count)| **count > 0);
        let counts: Vec<String> = counts.map(|(name, count)| format!("{count} {name}")).collect();
        match self.compression {
            None => String::new(),
            Some(name) if counts.is_empty() => format!(", {name}"),
            Some(name) => format!(", {name} ({})", counts.join(", ")),
        }
    }

    /// How large it is, and how that compares with `memory` bytes. A file with holes takes less than its length.
    fn size(&self, memory: u64) -> String {
        let sparse = self.disk_bytes.filter(|disk| *disk < self.bytes / 2);
        let on_disk = sparse.map(|disk| format!(", {} on disk", units::bytes(disk))).unwrap_or_default();
        let share = units::percent(sparse.unwrap_or(self.bytes), memory);
        format!("{}{on_disk} ({share} of memory)", units::bytes(self.bytes))
    }
}

impl Pages {
    /// What was selected, and what was written of it, compressed by `choice`.
    pub(crate) fn of(selection: &Selection, written: &Written, choice: Choice) -> Self {
        let memory = selection.map();
        Self {
            total: memory.frames().total(),
            partial: memory.partial_frames(),
            kept: selection.kept(),
            data: written.data_pages,
            raw: written.raw_pages,
            methods: matches!(choice, Choice::Auto(_)).then(|| {
                let pages = |method: Method| (method.name(), written.compressed_pages[method.index()]);
                let compressed = written.compressed_pages.iter().sum();
                let raw = ("none", written.data_pages.saturating_sub(compressed));
                choice.methods().map(pages).chain([raw]).collect()
            }),
            zero: written.zero_pages,
            lost: written.lost_pages + written.missing_pages,
            shared: written.shared_pages,
            unwritten: selection.kept().saturating_sub(written.seen()),
            excluded: Reason::ALL.map(|r| (r.name(), selection.reasons().get(r))).into_iter().collect(),
        }
    }
}

impl Report {
    /// Prints the report: as JSON on standard output, or for people on standard error.
    pub(crate) fn print(&self, json: bool, quiet: bool) -> anyhow::Result<()> {
        if json {
            crate::show::report::print_json(self)?;
        } else if !quiet {
            crate::show::terminal::stderr().write_all(self.text().as_bytes())?;
        }
        Ok(())
    }

    fn text(&self) -> String {
        let Self { input, output, pages, seconds, .. } = self;
        let mut text = String::new();
        let mut line = |label: &str, value: String| text.push_str(&format!("{label:>10}  {value}\n"));
        let kernel = input.release.as_deref().map(|r| format!(", Linux {r}")).unwrap_or_default();
        line("input", format!("{}: {} of {}{kernel}", input.path, input.format, input.machine));
        line("memory", units::memory(input.memory_bytes, pages.total, input.page_size, pages.partial));
        let parts = [(pages.lost, "lost"), (pages.unwritten, "not written")];
        let others = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!(", {n} {what}"));
        let others: String = others.collect();
        line("kept", format!("{} pages: {} with data, {} zero{others}", pages.kept, pages.data, pages.zero));
        let reasons: Vec<String> =
            pages.excluded.iter().filter(|(_, n)| **n > 0).map(|(name, n)| format!("{n} {name}")).collect();
        if !reasons.is_empty() {
            let total: u64 = pages.excluded.values().sum();
            line("left out", format!("{total} pages: {}", reasons.join(", ")));
        }
        if pages.lost > 0 {
            line("lost", format!("{} pages could not be read", pages.lost));
        }
        let compression = output.compression(pages);
        let unfinished = if output.complete { "" } else { ", INCOMPLETE" };
        line(
            "output",
            format!(
                "{}: {}{compression}, dump level {}, {}{unfinished}",
                if output.paths.is_empty() {
                    "nothing, in a dry run".into()
                } else {
                    output.paths.join(", ")
                },
                output.format,
                output.dump_level,
                output.size(input.memory_bytes)
            ),
        );
        let span = |s: f64| units::time(Duration::from_secs_f64(s));
        line(
            "time",
            format!(
                "{}: open {}, classify {}, write {}",
                span(seconds.open + seconds.classify + seconds.write),
                span(seconds.open),
                span(seconds.classify),
                span(seconds.write)
            ),
        );
        text
    }
}

/// A name of the JSON output as people write it.
pub(crate) fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// Prints a value as JSON on standard output.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    write_json(&mut out, value)?;
    Ok(out.flush()?)
}

/// Writes a value as JSON, and a line end.
pub(crate) fn write_json(mut out: impl Write, value: &impl Serialize) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(Json(&mut out), value)?;
    Ok(writeln!(out)?)
}

/// Prints text on standard output.
pub(crate) fn print_text(text: &str) -> anyhow::Result<()> {
    Ok(crate::show::terminal::stdout().write_all(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holes_of_a_sparse_file_are_no_share_of_memory() {
        let output = |bytes, disk_bytes| Output {
            path: String::new(),
            paths: Vec::new(),
            format: "ELF core",
            compression: None,
            dump_level: 0,
            mini: None,
            bytes,
            disk_bytes,
            complete: true,
            error: None,
        };
        assert_eq!(
            output(256 << 30, Some(11 << 20)).size(128 << 20),
            "256 GiB, 11.0 MiB on disk (8.6 % of memory)"
        );
        assert_eq!(output(64 << 20, Some(64 << 20)).size(128 << 20), "64.0 MiB (50.0 % of memory)");
        assert_eq!(output(64 << 20, None).size(128 << 20), "64.0 MiB (50.0 % of memory)");
    }
}
