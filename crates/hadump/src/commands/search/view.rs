//! Matches as text and as JSON, one after the other: there may be millions.

use super::found::Found;
use crate::outcome::Outcome;
use crate::show::{bytes, terminal};
use anyhow::Result;
use search::Searched;
use search::place::Owner;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write;

/// A match in JSON. `docs/json.md` describes the fields.
#[derive(Serialize)]
struct Match<'a> {
    physical: String,
    bytes: u64,
    #[serde(rename = "virtual")]
    virt: Vec<String>,
    owner: Option<Whose<'a>>,
    class: Option<&'static str>,
    context: Context,
}

#[derive(Default, Serialize)]
struct Whose<'a> {
    kind: &'static str,
    name: &'a str,
    offset: Option<u64>,
    module: Option<&'a str>,
    pid: Option<u32>,
    object: Option<String>,
}

#[derive(Serialize)]
struct Context {
    physical: String,
    /// Two digits for each byte, `??` for one that is not known.
    hex: String,
    text: String,
}

#[derive(Serialize)]
struct End {
    count: u64,
    stopped: bool,
    pages: Pages,
    exit_code: u8,
}

#[derive(Serialize)]
struct Pages {
    searched: u64,
    excluded: u64,
    lost: u64,
}

/// Prints as it goes.
pub(super) struct View {
    json: bool,
    shown: u64,
}

impl View {
    pub(super) fn begin(json: bool, path: &str) -> Result<Self> {
        if json {
            let path = serde_json::to_string(path)?;
            write!(terminal::Json(std::io::stdout().lock()), "{{\"path\":{path},\"matches\":[")?;
        }
        Ok(Self { json, shown: 0 })
    }

    /// How many matches were shown.
    pub(super) fn shown(&self) -> u64 {
        self.shown
    }

    pub(super) fn show(&mut self, found: &Found) -> Result<()> {
        self.shown += 1;
        if self.json {
            let comma = if self.shown > 1 { "," } else { "" };
            let text = serde_json::to_string(&json(found))?;
            return Ok(write!(terminal::Json(std::io::stdout().lock()), "{comma}\n{text}")?);
        }
        Ok(terminal::stdout().write_all(text(found).as_bytes())?)
    }

    pub(super) fn end(&self, searched: &Searched, outcome: Outcome) -> Result<()> {
        let Searched { pages, excluded, lost, stopped } = *searched;
        if self.json {
            let pages = Pages { searched: pages, excluded, lost };
            let end = End { count: self.shown, stopped, pages, exit_code: outcome.code() };
            let end = serde_json::to_string(&end)?;
            return Ok(writeln!(std::io::stdout().lock(), "\n],{}", &end[1..])?);
        }
        let matches = match self.shown {
            1 => "1 match".to_owned(),
            count => format!("{count} matches"),
        };
        let end = if stopped { ", where the search was stopped by --limit" } else { "" };
        let mut out = terminal::stdout();
        writeln!(out, "{matches} in {pages} pages{end}; {excluded} pages are excluded, {lost} lost")?;
        Ok(())
    }
}

fn json(found: &Found) -> Match<'_> {
    let hex = |at: u64| format!("{at:#x}");
    let owner = found.place.owner.as_ref().map(|owner| match owner {
        Owner::Symbol { name, offset, module } => Whose {
            kind: "symbol",
            name,
            offset: Some(*offset),
            module: module.as_deref(),
            ..Whose::default()
        },
        Owner::Module { name } => Whose { kind: "module", name, ..Whose::default() },
        Owner::Stack { pid, comm } => {
            Whose { kind: "stack", name: comm, pid: Some(*pid), ..Whose::default() }
        }
        Owner::Slab { cache, object } => Whose {
            kind: "slab",
            name: cache,
            offset: object.map(|(_, offset)| offset),
            object: object.map(|(at, _)| hex(at.0)),
            ..Whose::default()
        },
    });
    Match {
        physical: hex(found.hit.at.0),
        bytes: found.hit.len,
        virt: found.place.virt.iter().map(|virt| hex(virt.0)).collect(),
        owner,
        class: found.class.map(kernel::Value::name),
        context: Context {
            physical: hex(found.context_at.0),
            hex: found.context.iter().map(|byte| bytes::digits(*byte)).collect(),
            text: found.context.iter().map(|byte| bytes::printable(*byte)).collect(),
        },
    }
}

/// A line of what it is, and what stands there below.
fn text(found: &Found) -> String {
    let mut parts = vec![format!("{:#014x}", found.hit.at.0)];
    parts.extend(found.place.virt.first().map(|virt| format!("{:#x}", virt.0)));
    parts.extend(found.place.owner.as_ref().map(whose));
    parts.extend(found.class.map(|class| format!("({})", crate::show::report::words(class.name()))));
    let mut text = format!("{}\n", terminal::Line(&parts.join("  ")));
    let lines = found.context.chunks(bytes::LINE);
    for (at, line) in (found.context_at.0..).step_by(bytes::LINE).zip(lines) {
        let _ = writeln!(text, "    {}", bytes::line(at, line));
    }
    text
}

fn whose(owner: &Owner) -> String {
    let of = |module: &Option<String>| module.as_ref().map_or(String::new(), |module| format!(" [{module}]"));
    match owner {
        Owner::Symbol { name, offset, module } => format!("{name}+{offset:#x}{}", of(module)),
        Owner::Module { name } => format!("module {name}"),
        Owner::Stack { pid, comm } => format!("stack of {pid} {comm}"),
        Owner::Slab { cache, object: Some((at, offset)) } => format!("slab {cache}, {:#x}+{offset:#x}", at.0),
        Owner::Slab { cache, object: None } => format!("slab {cache}"),
    }
}
