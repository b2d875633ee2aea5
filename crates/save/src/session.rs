//! One save from its first byte to its name, or from where an earlier one was interrupted.

use crate::engine::{self, End, Limits};
use crate::journal::{Begin, History, Journal, Record};
use crate::release::Releaser;
use crate::target::Target;
use crate::{Error, identity};
use dumpfile::kdump::{Options, Unfinished, Writer};
use dumpfile::{Facts, Progress, Written};
use std::path::PathBuf;
use vmcore::{Dump, DumpLevel, Selection};

/// What an earlier run left at a target.
pub enum Found {
    /// Nothing that could be gone on with; the journal, if one was begun.
    Nothing(Option<Journal>),
    /// An output that can be gone on with.
    Begun(Journal, Box<History>),
    /// An output that is done; at most memory is left to be given back.
    Done(Journal, Box<History>),
}

/// Looks for what an earlier run left at `target`.
///
/// # Errors
///
/// When the journal cannot be read or is damaged, or another process has it.
pub fn find(target: &dyn Target) -> Result<Found, Error> {
    Ok(match target.resume()? {
        None => Found::Nothing(None),
        Some((journal, None)) => Found::Nothing(Some(journal)),
        Some((journal, Some(history))) => match history.finished {
            Some(true) if target.is_named() => Found::Done(journal, Box::new(history)),
            Some(false) => Found::Done(journal, Box::new(history)),
            _ => Found::Begun(journal, Box::new(history)),
        },
    })
}

/// Which pages are to be saved.
pub enum Pages<'a> {
    /// All of `whole`, in the order of `parts`.
    All {
        /// All pages of the dump.
        whole: &'a Selection,
        /// The same, the most valuable first.
        parts: &'a [Selection],
        /// What the file says of its kernel.
        facts: &'a Facts,
        /// The dump level that was asked for.
        asked: DumpLevel,
        /// Pages are kept that the level would have left out.
        more_kept: bool,
    },
    /// Those that an unfinished output lacks.
    Rest(&'a Unfinished),
}

/// What is to be done.
pub struct Work<'a> {
    /// The dump. What was given back of it must be [guarded](crate::Guarded).
    pub dump: &'a Dump,
    /// Its pages.
    pub pages: Pages<'a>,
    /// How they are stored.
    pub options: Options,
    /// How much at once, and how much at all.
    pub limits: Limits<'a>,
    /// What gives memory back.
    pub release: Option<&'a mut Releaser>,
    /// Whether it does so at the end only.
    pub release_late: bool,
    /// The boot that this is (`/proc/sys/kernel/random/boot_id`); empty where nothing tells.
    pub boot: &'a str,
}

/// What became of it.
#[derive(Debug)]
pub struct Saved {
    /// How it ended.
    pub end: End,
    /// What the output holds.
    pub written: Written,
    /// The output lacks nothing.
    pub complete: bool,
    /// The output as it is called now.
    pub path: PathBuf,
    /// Still needed, when something is left to be done; else [`Target::forget`] removes it.
    pub journal: Journal,
}

/// Saves to `target`, on with `journal` if an earlier run began one.
///
/// Memory that is given back range by range is given back as far as that is safe: on the way what is durable, and all of
/// it when the output has its name. However saving ends, the output is made durable as far as it got, and with the
/// journal it can be gone on with.
///
/// # Errors
///
/// When nothing could be begun: an output that fails later is in [`Saved::end`].
pub fn save(
    target: &dyn Target,
    journal: Option<Journal>,
    work: Work<'_>,
    progress: &Progress,
) -> Result<Saved, Error> {
    let Work { dump, pages, options, limits, mut release, release_late, boot } = work;
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
    };
    let fresh = journal.is_none();
    let mut journal = match journal {
        None => target.begin(&begin())?,
        Some(mut journal) => {
            // Begun anew, it may be with other options; or it goes on, perhaps in another boot.
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
                // Nothing is at its place; a journal about it would only stand in the way.
                let _ = target.forget(journal);
            }
            return Err(error);
        }
    };
    let remaining;
    let (mut writer, parts) = match &pages {
        Pages::All { whole, parts, facts, .. } => {
            (Writer::begin(dump, whole, facts, &options, &*out)?, *parts)
        }
        Pages::Rest(unfinished) => {
            remaining = std::slice::from_ref(unfinished.remaining());
            (Writer::resume(dump, unfinished, &options, &*out)?, remaining)
        }
    };
    let on_the_way = if release_late { None } else { release.as_deref_mut() };
    let mut end =
        engine::run(&mut writer, parts, dump.page_size(), &limits, Some(&mut journal), on_the_way, progress);
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
