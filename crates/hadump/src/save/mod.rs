//! `hadump save`: takes the dump that waits off the machine, and gives its memory back.
//!
//! What is done in which order, and what is left when it ends early, is told in `docs/save.md`.

mod end;
mod give_back;
mod log;
mod place;
mod plain;
mod prepare;
mod report;

use crate::cli::{self, Format};
use crate::input::{self, Prefer};
use crate::report::{Gate, Input, Pages, Seconds};
use crate::{Outcome, progress};
use ::save::engine::Limits;
use ::save::journal::{History, Journal};
use ::save::session::{self, Found, Work};
use ::save::target::{Target, free_space};
use ::save::{Error, Guarded, identity};
use anyhow::{Context, Result, bail};
use dumpfile::kdump::{self, Unfinished};
use dumpfile::output::{RawDevice, work_file};
use end::{Ended, Left};
use phyp::system::System;
use place::{Earlier, Place};
use report::say;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use vmcore::{Dump, Note, RangeSet};

/// Memory that each thread needs, and the program by itself, in bytes.
const PER_THREAD: u64 = 8 << 20;
const BY_ITSELF: u64 = 64 << 20;

/// Saves and reports.
pub(crate) fn run(args: &cli::Save, quiet: bool) -> Result<Outcome> {
    let threads = args.write.threads.unwrap_or_else(threads_that_fit);
    cli::on_threads(Some(threads), || Saving { args, quiet, remarks: Vec::new() }.run())
}

/// How many threads the free memory is good for: a kernel booted in 256 MB has little of it.
fn threads_that_fit() -> NonZeroUsize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let fit = |free: u64| usize::try_from(free.saturating_sub(BY_ITSELF) / PER_THREAD).unwrap_or(usize::MAX);
    let threads = give_back::meminfo(&text, "MemAvailable").map_or(usize::MAX, fit);
    NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN)
}

/// One run of the command.
struct Saving<'a> {
    args: &'a cli::Save,
    quiet: bool,
    /// What was odd and what was done about it, a sentence each.
    remarks: Vec<String>,
}

/// A file or device of an earlier run to begin anew in, with its journal.
type Anew = (Box<dyn Target>, Journal, PathBuf);

impl Saving<'_> {
    fn run(self) -> Result<Outcome> {
        let place = Place::of(self.args)?;
        let earlier = match (&place, self.args.resume) {
            // Another save in the same directory is none of a new one's business.
            (Place::Directory(_), false) => None,
            _ => place::earlier(&place, self.args)?,
        };
        match earlier {
            Some(earlier) if self.args.resume => self.go_on(&place, earlier),
            Some(earlier) => {
                self.clear_away(earlier)?;
                self.begin(&place, None)
            }
            None => {
                if self.args.resume {
                    self.say("resume", "nothing was interrupted here: a new save begins");
                }
                self.begin(&place, None)
            }
        }
    }

    fn say(&self, label: &str, text: &str) {
        say(self.quiet, label, text);
    }

    fn remark(&mut self, remark: String) {
        tracing::warn!("{remark}");
        self.remarks.push(remark);
    }

    /// Makes room for a new save where an earlier one was interrupted, if that was asked for.
    fn clear_away(&self, earlier: Earlier) -> Result<()> {
        let name = earlier.name.display();
        let (journal, history) = match earlier.found {
            Found::Nothing(None) => return Ok(()),
            Found::Nothing(Some(journal)) => (journal, None),
            Found::Begun(journal, history) | Found::Done(journal, history) => (journal, Some(history)),
        };
        if history.is_some_and(|history| !history.gone.is_empty()) {
            bail!(
                "{name}: an interrupted save of it has given memory back, so nobody can save all of the dump anew; \
                 go on with it: --resume"
            );
        }
        if !self.args.force {
            bail!("{name}: a save of it was interrupted; --resume goes on with it, --force begins anew");
        }
        Ok(earlier.target.forget(journal)?)
    }

    /// The dump that waits, with notes of hadump's own about what was done to it.
    fn open(&self) -> Result<(Dump, Vec<Note>, Duration)> {
        let started = Instant::now();
        let input = self.args.input();
        let mut dump = input::open(&input, Prefer::Vmcore)?;
        let mut notes = Vec::new();
        if self.args.write.fill_crash_notes {
            (dump, notes) = crate::crash_notes::fill(dump, &input)?;
        }
        Ok((dump, notes, started.elapsed()))
    }

    /// The format that can be gone on with.
    fn format(&self) -> &'static str {
        if self.args.write.is_sealed() { "kdump-compressed v6, encrypted" } else { "kdump-compressed v6" }
    }

    /// How pages are stored by a new save.
    fn options(&self) -> kdump::Options {
        kdump::Options {
            method: self.args.write.compression().method(),
            level: self.args.write.compression_level,
            dedup: self.args.write.dedup,
            ..kdump::Options::default()
        }
    }

    /// Makes work files where the dump goes, or where the user said.
    fn spill(&self, directory: &Path) -> impl Fn() -> io::Result<File> + use<> {
        let directory = self.args.work_dir.clone().unwrap_or_else(|| directory.to_owned());
        move || work_file(&directory)
    }

    /// How much more the place takes, by the length that the output has; `None` where nothing tells.
    fn room(&self, place: &Place, directory: &Path) -> Result<impl Fn(u64) -> Option<u64> + Sync + use<>> {
        let reserve = self.args.reserve_space;
        let sealed = self.args.write.is_sealed();
        let directory = directory.to_owned();
        let capacity = match place {
            Place::Device(device) => Some(RawDevice::open(device)?.capacity()),
            Place::Stream => Some(u64::MAX),
            Place::Directory(_) | Place::File(_) => None,
        };
        Ok(move |len: u64| match capacity {
            Some(u64::MAX) => None,
            Some(capacity) => Some(capacity.saturating_sub(len).saturating_sub(reserve)),
            // Encrypted, each page has a descriptor in the skeleton as well, and each 64 KiB a seal.
            None if sealed => free_space(&directory, reserve).ok().map(|room| room - room / 64),
            None => free_space(&directory, reserve).ok(),
        })
    }

    /// A save from its beginning, in the place of an earlier one that had not come to anything if there is one.
    fn begin(mut self, place: &Place, anew: Option<Anew>) -> Result<Outcome> {
        if anew.is_none() {
            place.check(self.args)?;
        }
        let (dump, notes, opened) = self.open()?;
        self.found(&dump);
        let (name, made) = match (place, &anew) {
            (_, Some((_, _, name))) => (name.clone(), None),
            (Place::Directory(parent), None) => {
                let host =
                    kernel::Kernel::open(&dump).ok().and_then(|k| k.utsname().ok()).map(|u| u.nodename);
                let directory = place::make_directory(parent, host.as_deref().unwrap_or_default())?;
                (directory.join(place::NAME), Some(directory))
            }
            (Place::File(name) | Place::Device(name), None) => (name.clone(), None),
            (Place::Stream, None) => ("-".into(), None),
        };
        let ended = self.begin_at(place, &name, anew, dump, notes, opened);
        if ended.is_err()
            && let Some(directory) = made
        {
            // Only if nothing is in it.
            let _ = std::fs::remove_dir(directory);
        }
        self.end(ended?)
    }

    fn begin_at(
        &mut self,
        place: &Place,
        name: &Path,
        anew: Option<Anew>,
        dump: Dump,
        notes: Vec<Note>,
        opened: Duration,
    ) -> Result<Ended> {
        let log = match place {
            Place::Directory(_) | Place::File(_) => self.save_log(&dump, name, anew.is_some()),
            Place::Device(_) | Place::Stream => None,
        };
        let directory = place::directory_of(place, name);
        let room = self.room(place, &directory)?;
        let prepared = self.prepare(&dump, notes, room(0), &self.spill(&directory))?;
        let way = self.way(&dump)?;
        let way = match (place, way) {
            (Place::Device(_), give_back::Way::Ranges { .. }) if self.args.journal.is_none() => {
                self.remark("without a journal nothing is given back: name one with --journal".into());
                give_back::Way::None
            }
            (_, way) => way,
        };
        let plain = matches!(place, Place::Stream)
            || self.args.write.format == Format::Elf
            || self.args.cut().is_some();
        if plain {
            return self.save_plainly(place, name, dump, prepared, log, opened, way);
        }
        let (target, journal) = match anew {
            Some((target, journal, _)) => (target, Some(journal)),
            None => (place::target(place, name, self.args)?, None),
        };
        let started = Instant::now();
        let mut releaser = way.releaser(&self.args.root, &RangeSet::default());
        let (chosen, options) = (&prepared.chosen, self.options());
        let saved =
            progress::watch(chosen.selection.kept(), dump.page_size().bytes(), self.quiet, |progress| {
                let parts = prepared.order();
                let work = Work {
                    dump: &dump,
                    pages: session::Pages::All {
                        whole: &chosen.selection,
                        parts,
                        facts: &chosen.facts,
                        asked: self.args.write.level.level(),
                        more_kept: chosen.more_kept(),
                    },
                    options,
                    limits: Limits { segment: self.args.segment, room: &room },
                    release: releaser.as_mut(),
                    release_late: way.is_late(),
                    boot: &boot_id(&self.args.root),
                };
                session::save(&*target, journal, work, progress)
            });
        let saved = saved.map_err(|error| self.explain(error))?;
        Ok(Ended {
            input: Input::of(&dump, self.args.root.display().to_string()),
            pages: Pages::of(&chosen.selection, &saved.written),
            level: chosen.selection.level(),
            asked: self.args.write.level.level(),
            more_kept: chosen.more_kept(),
            gate: Some(Gate::of(&chosen.gate)),
            format: self.format(),
            method: options.method,
            expected: Some(prepared.expected),
            log,
            seconds: Seconds {
                open: opened.as_secs_f64(),
                classify: prepared.classified.as_secs_f64(),
                write: started.elapsed().as_secs_f64(),
            },
            given: way.given(releaser.as_ref()),
            way,
            resumed: false,
            remarks: place::remarks(&dump),
            end: saved.end,
            written: saved.written,
            complete: saved.complete,
            paths: place::files(saved.path),
            left: Some(Left { target, journal: saved.journal }),
        })
    }

    /// Goes on with what an earlier run left.
    fn go_on(mut self, place: &Place, earlier: Earlier) -> Result<Outcome> {
        let Earlier { target, found, name } = earlier;
        let (journal, history) = match found {
            Found::Nothing(None) => return self.begin(place, None),
            Found::Nothing(Some(journal)) => return self.begin(place, Some((target, journal, name))),
            Found::Done(journal, history) => return self.give_back_rest(&*target, journal, &history, &name),
            Found::Begun(journal, history) => (journal, history),
        };
        let (mut dump, _, opened) = self.open()?;
        let expected = identity(&dump);
        if expected != history.begin.dump {
            let path = journal.path().to_owned();
            bail!(Error::OtherDump { path, found: history.begin.dump, expected });
        }
        if history.checkpoint.is_none() {
            // Nothing is durable, so nothing was given back either.
            self.say("resume", "nothing was durable yet: the save begins anew");
            drop(dump);
            return self.begin(place, Some((target, journal, name)));
        }
        self.found(&dump);
        dump.memory = Box::new(Guarded::new(dump.memory, &history.gone));
        let ended = self.go_on_with(place, &name, target, journal, &history, dump, opened)?;
        self.end(ended)
    }

    #[expect(clippy::too_many_arguments, reason = "all that an interrupted save consists of")]
    fn go_on_with(
        &mut self,
        place: &Place,
        name: &Path,
        target: Box<dyn Target>,
        journal: Journal,
        history: &History,
        dump: Dump,
        opened: Duration,
    ) -> Result<Ended> {
        let directory = place::directory_of(place, name);
        let spill = self.spill(&directory);
        let checkpoint = history.checkpoint.context("there is no checkpoint")?;
        let unfinished = Unfinished::open(&target.unfinished()?, &checkpoint, || spill().map(Some))?;
        let (left, all) = (unfinished.remaining().kept(), unfinished.whole().kept());
        self.say("resume", &format!("{}: {} of {all} pages are durable", name.display(), all - left));
        let way = self.way(&dump)?;
        let boot = boot_id(&self.args.root);
        let mut releaser = way.releaser(&self.args.root, &history.released_in(&boot));
        let room = self.room(place, &directory)?;
        let options = kdump::Options {
            method: history.begin.method,
            level: history.begin.level,
            ..kdump::Options::default()
        };
        let started = Instant::now();
        let saved = progress::watch(left, dump.page_size().bytes(), self.quiet, |progress| {
            let work = Work {
                dump: &dump,
                pages: session::Pages::Rest(&unfinished),
                options,
                limits: Limits { segment: self.args.segment, room: &room },
                release: releaser.as_mut(),
                release_late: way.is_late(),
                boot: &boot,
            };
            session::save(&*target, Some(journal), work, progress)
        });
        let saved = saved.map_err(|error| self.explain(error))?;
        Ok(Ended {
            input: Input::of(&dump, self.args.root.display().to_string()),
            pages: Pages::of(unfinished.whole(), &saved.written),
            level: unfinished.whole().level(),
            asked: history.begin.asked,
            more_kept: history.begin.more_kept,
            gate: None,
            format: self.format(),
            method: options.method,
            expected: None,
            log: Some(log::beside(name, self.args.write.is_sealed())).filter(|log| log.exists()),
            seconds: Seconds {
                open: opened.as_secs_f64(),
                classify: 0.0,
                write: started.elapsed().as_secs_f64(),
            },
            given: way.given(releaser.as_ref()),
            way,
            resumed: true,
            remarks: place::remarks(&dump),
            end: saved.end,
            written: saved.written,
            complete: saved.complete,
            paths: place::files(saved.path),
            left: Some(Left { target, journal: saved.journal }),
        })
    }

    /// Decides how memory is given back.
    fn way(&mut self, dump: &Dump) -> Result<give_back::Way> {
        let system = System::look(&self.args.root)?;
        let (way, remark) = give_back::way(self.args, &system, dump.page_size().bytes());
        if let Some(remark) = remark {
            self.remark(remark);
        }
        Ok(way)
    }

    /// Says what to do about an error that is no surprise.
    fn explain(&self, error: Error) -> anyhow::Error {
        match error {
            Error::Output(dumpfile::Error::Write { path, source, .. })
                if source.kind() == io::ErrorKind::AlreadyExists =>
            {
                anyhow::anyhow!("{}: there is such a file already; --force replaces it", path.display())
            }
            error => error.into(),
        }
    }
}

/// Tells one boot from another; empty where nothing does.
fn boot_id(root: &Path) -> String {
    let text = std::fs::read_to_string(root.join("proc/sys/kernel/random/boot_id"));
    text.map_or_else(|_| String::new(), |text| text.trim().to_owned())
}
