//! The note that says that a dump is a mini dump.
//!
//! It is text, so that it needs no byte order: a line `BUDGET=BYTES`, and a line `LEFT_OUT=PAGES WHAT` for each group of pages
//! that is not whole, in the order of their use.

use crate::show::units;
use serde::Serialize;
use vmcore::{Dump, Note};

/// The owner and the type of the note.
const OWNER: &str = "HADUMP";
const KIND: u32 = 0x112;

/// The most groups that are read from a note, and the most bytes of the name of one: a note of what two notes say is still
/// smaller than [`Mini::MOST`].
const MOST_GROUPS: usize = 16;
const LONGEST: usize = 64;

/// What the note says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Mini {
    /// The most bytes that the file was to have.
    pub(crate) budget: u64,
    /// What had no room, the most useful first.
    pub(crate) left_out: Vec<LeftOut>,
}

/// A group of pages, or a part of one, that had no room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct LeftOut {
    /// What the pages hold.
    pub(crate) what: String,
    /// How many there are.
    pub(crate) pages: u64,
}

impl Mini {
    /// What the note is, in a few words.
    pub(crate) const WHAT: &str = "says that this is a mini dump";
    /// More bytes than a note has.
    pub(crate) const MOST: u64 = 4096;

    /// Reports whether a note is one of these.
    pub(crate) fn is(name: &[u8], kind: u32) -> bool {
        name == OWNER.as_bytes() && kind == KIND
    }

    /// What a dump's note says, the last one: it has what those before it say, of dumps that it
    /// was made from.
    pub(crate) fn of(dump: &Dump) -> Option<Self> {
        let note = dump.notes.iter().rfind(|note| Self::is(&note.name, note.kind))?;
        let text = str::from_utf8(&note.desc).ok()?;
        let values =
            |key| text.lines().filter_map(move |line: &str| line.strip_prefix(key)?.strip_prefix('='));
        let left_out = values("LEFT_OUT").filter_map(|value| {
            let (pages, what) = value.split_once(' ')?;
            let pages = pages.parse().ok()?;
            (what.len() <= LONGEST).then(|| LeftOut { what: what.to_owned(), pages })
        });
        let left_out = left_out.take(MOST_GROUPS);
        Some(Self { budget: values("BUDGET").next()?.parse().ok()?, left_out: left_out.collect() })
    }

    /// What a mini dump is that was made from another one: it lacks what either has left out.
    pub(crate) fn after(self, earlier: Self) -> Self {
        let mut before = earlier.left_out;
        let mut left_out = Vec::new();
        for mut left in self.left_out {
            if let Some(at) = before.iter().position(|known| known.what == left.what) {
                left.pages = left.pages.saturating_add(before[at].pages);
                left_out.extend(before.drain(..=at).take(at));
            }
            left_out.push(left);
        }
        left_out.append(&mut before);
        Self { budget: self.budget.min(earlier.budget), left_out }
    }

    /// The note.
    pub(crate) fn note(&self) -> Note {
        let left_out = self.left_out.iter().map(|left| format!("LEFT_OUT={} {}\n", left.pages, left.what));
        let text = std::iter::once(format!("BUDGET={}\n", self.budget)).chain(left_out).collect::<String>();
        Note { name: OWNER.into(), kind: KIND, desc: text.into_bytes() }
    }

    /// All of it in words.
    pub(crate) fn words(&self) -> String {
        let short = self.short().map_or(String::new(), |short| format!("; no room for {short}"));
        format!("of at most {}{short}", units::bytes(self.budget))
    }

    /// What had no room, in words; `None` where all had.
    pub(crate) fn short(&self) -> Option<String> {
        let parts: Vec<String> =
            self.left_out.iter().map(|left| format!("{} pages of {}", left.pages, left.what)).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}
