//! One save from its first byte, or from where an earlier one was interrupted, to its name.

use crate::engine::{self, End, Limits};
use crate::journal::{Begin, History, Journal, Record};
use crate::release::Releaser;
use crate::target::Target;
use crate::{Error, identity};
use dumpfile::kdump::{Options, Outline, Unfinished, Writer, identity_note};
use dumpfile::{Facts, Progress, Written};
use std::path::PathBuf;
use vmcore::{Dump, DumpLevel, Selection};

/// What an earlier run left at a target.
pub enum Earlier {
    /// Nothing that could be resumed; the journal, if one was begun.
    Nothing(Option<Journal>),
    /// An output that can be resumed.
    Begun(Journal, Box<History>),
    /// An output that is finished; memory may be left to be released.
    Done(Journal, Box<History>),
    /// A journal that says so, of an output that does not prove it.
    Unproven(Journal, Box<History>),
}

/// Looks for what an earlier run left at `target`.
///
/// # Errors
///
/// When the journal cannot be read or is damaged, or another process has it.
pub fn find(target: &dyn Target) -> Result<Earlier, Error> {
    Ok(match target.resume()? {
        None => Earlier::Nothing(None),
        Some((journal, None)) => Earlier::Nothing(Some(journal)),
        Some((journal, Some(history))) => match is_done(target, &history) {
            Some(true) => Earlier::Done(journal, Box::new(history)),
            Some(false) => Earlier::Unproven(journal, Box::new(history)),
            None => Earlier::Begun(journal, Box::new(history)),
        },
    })
}

/// Whether the output at `target` proves that it is finished, where its journal says so: it is the dump that the journal is
/// about, and whole if it should be. Memory is released on the word of a journal only where it is true.
pub fn is_done(target: &dyn Target, history: &History) -> Option<bool> {
    let complete = history.finished?;
    if complete && !target.is_named() {
        return None;
    }
    let proves =
        |outline: Outline| outline.identity == Some(history.begin.dump) && (outline.complete || !complete);
    Some(target.outline(complete).is_ok_and(proves))
}

/// Which pages are to be saved.
pub enum Pages<'a> {
    /// All of `whole`, in the order of `parts`.
    All {
        /// All pages of the dump.
        whole: &'a Selection,
        /// The same, the most valuable first.
        parts: &'a [Selection],
        /// What the file says about its kernel.
        facts: &'a Facts,
        /// The dump level that was asked for.
        asked: DumpLevel,
        /// Pages are kept that the level would have left out.
        more_kept: bool,
    },
    /// Those that an unfinished output lacks.
    Rest(&'a Unfinished),
}

/// What is to be saved, and how.
pub struct SaveJob<'a> {
    /// The dump. What was released of it must be [guarded](crate::Guarded).
    pub dump: &'a Dump,
    /// Its pages.
    pub pages: Pages<'a>,
    /// How they are stored.
    pub options: Options,
    /// Segment size and room.
    pub limits: Limits<'a>,
    /// Releases memory, if that was asked for.
    pub release: Option<&'a mut Releaser>,
    /// Whether it is released only at the end.
    pub release_late: bool,
    /// This boot (`/proc/sys/kernel/random/boot_id`); empty where that is not known.
    pub boot: &'a str,
}

/// What was saved.
#[derive(Debug)]
pub struct Saved {
    /// How it ended.
    pub end: End,
    /// What the output contains.
    pub written: Written,
    /// Whether the output has every page.
    pub complete: bool,
    /// The output as it is called now.
    pub path: PathBuf,
    /// Needed to resume the save; if nothing is left to do, [`Target::forget`] removes it.
    pub journal: Journal,
}

/// Saves to `target`, continuing `journal` if an earlier run began one.
///
/// Memory that is released range by range is released when it is safe: during the save what is durable, and the rest when
/// the output has its name. However saving ends, what was written is made durable, and with the journal the save can be
/// resumed.
///
/// # Errors
///
/// When nothing could be begun: an output that fails later is in [`Saved::end`].
pub fn save(
    target: &dyn Target,
    journal: Option<Journal>,
    job: SaveJob<'_>,
    progress: &Progress,
) -> Result<Saved, Error> {
    let SaveJob { dump, pages, options, limits, mut release, release_late, boot } = job;
    let (asked, more_kept) = match &pages {
        Pages::All { asked, more_kept, .. } => (*asked, *more_kept),
        Pages::Rest(unfinished) => (unfinished.whole().level(), false),
    };
    let begin = || Begin {
        dump: identity(dump),
        boot: boot.to_owned(),
        output: target.unfinished().unwrap_or_default(),
        method: options.method,
        level: options.level,
        asked,
        more_kept,
        replace: target.replaces(),
    };
    let fresh = journal.is_none();
    let mut journal = match journal {
        None => target.begin(&begin())?,
        Some(mut journal) => {
            // A save that starts over may have other options; one that is resumed may be in another boot.
            journal.append(&match &pages {
                Pages::All { .. } => Record::Begin(begin()),
                Pages::Rest(_) => Record::Boot(boot.to_owned()),
            })?;
            journal
        }
    };
    let out = match &pages {
        Pages::All { .. } => target.create(!fresh),
        Pages::Rest(_) => target.reopen(),
    };
    let out = match out {
        Ok(out) => out,
        Err(error) => {
            if fresh {
                // Without an output its journal would only be in the way of the next save.
                let _ = target.forget(journal);
            }
            return Err(error);
        }
    };
    let remaining;
    let (mut writer, parts) = match &pages {
        Pages::All { whole, parts, facts, .. } => {
            let mut facts = (*facts).clone();
            facts.notes.push(identity_note(identity(dump)));
            (Writer::begin(dump, whole, &facts, &options, &*out)?, *parts)
        }
        Pages::Rest(unfinished) => {
            remaining = std::slice::from_ref(unfinished.remaining());
            (Writer::resume(dump, unfinished, &options, &*out)?, remaining)
        }
    };
    let progressive = if release_late { None } else { release.as_deref_mut() };
    let mut end =
        engine::run(&mut writer, parts, dump.page_size(), &limits, Some(&mut journal), progressive, progress);
    let written = match writer.written() {
        written if !matches!(end, End::Whole) => written,
        before => writer.finish().unwrap_or_else(|error| {
            end = End::of(error.into());
            before
        }),
    };
    let whole = matches!(end, End::Whole);
    let complete = whole && written.is_whole() && !dump.source.incomplete;
    if whole
        && let Err(error) =
            out.sync().map_err(Error::from).and_then(|()| journal.append(&Record::Finished { complete }))
    {
        end = End::of(error);
    }
    let path = if complete && matches!(end, End::Whole) { out.commit() } else { out.keep() };
    let path = path.unwrap_or_else(|error| {
        end = End::of(error);
        target.unfinished().unwrap_or_default()
    });
    let complete = complete && matches!(end, End::Whole);
    if matches!(end, End::Whole)
        && let Some(release) = release
        && let Err(error) = release.rest(&mut journal)
    {
        end = End::of(error);
    }
    Ok(Saved { end, written, complete, path, journal })
}
