//! What is decided before the first page is written: which pages, in which order, and whether they will fit.

use super::Saving;
use super::report::{Expected, say};
use crate::beside::{self, Beside, Manner};
use crate::choose::mini::{self, Wanted};
use crate::choose::{Chosen, choose};
use crate::cli::{CrashReport, Format, Release};
use crate::input::mini::Mini;
use crate::show::units;
use ::save::engine::SLACK;
use ::save::state::{self, State};
use ::save::{estimate, raised};
use anyhow::Result;
use dumpfile::codec::Choice;
use kernel::vmlinux::Vmlinux;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use vmcore::{Dump, DumpLevel, Note, Reason, Selection};

/// What was decided.
pub(super) struct Prepared {
    pub(super) chosen: Chosen,
    /// What the mini dump is, if it is one.
    pub(super) mini: Option<Mini>,
    /// The dump level that was asked for, or is that of a mini dump; 0 for one that is smaller than was asked for.
    pub(super) asked: DumpLevel,
    /// The same pages, the most valuable first; empty where they are saved in address order.
    pub(super) parts: Vec<Selection>,
    pub(super) expected: Expected,
    pub(super) classified: Duration,
}

impl Prepared {
    /// The pages in the order in which they are saved.
    pub(super) fn order(&self) -> &[Selection] {
        if self.parts.is_empty() { std::slice::from_ref(&self.chosen.selection) } else { &self.parts }
    }
}

impl Saving<'_> {
    /// Prints what the dump is.
    pub(super) fn found(&self, dump: &Dump) {
        let release = dump.vmcoreinfo.as_ref().and_then(|v| v.release()).unwrap_or("an unknown kernel");
        let root = self.args.root.display();
        self.say(
            "found",
            &format!("{root}: {} of {}, Linux {release}", dump.source.format, dump.machine.name()),
        );
        let map = dump.memory.map();
        let frames = map.frames().total();
        let text = units::memory(map.bytes().total(), frames, dump.page_size().bytes(), map.partial_frames());
        self.say("memory", &text);
    }

    /// Saves what goes beside the dump: the kernel's log, and why the machine crashed. The dump is saved also when this fails.
    /// With `again` they replace those of an earlier attempt.
    pub(super) fn save_beside(&mut self, dump: &Dump, name: &Path, again: bool) -> Beside {
        let mut saved = Beside::default();
        let recipients = match self.args.write.recipients() {
            Ok(recipients) => recipients,
            Err(error) => {
                self.remark(format!("the kernel log was not saved: {error:#}"));
                return saved;
            }
        };
        let replace = self.args.force || self.args.resume || again;
        let manner = Manner { name, recipients: recipients.as_ref(), replace };
        match beside::log::save(dump, &manner, &mut self.remarks) {
            Ok(path) => {
                self.say("log", &path.display().to_string());
                saved.log = Some(path);
            }
            Err(error) => self.remark(format!("the kernel log was not saved: {error:#}")),
        }
        if self.args.report == CrashReport::Beside {
            saved.report = self.save_report(dump, &manner);
        }
        saved
    }

    fn save_report(&mut self, dump: &Dump, manner: &Manner<'_>) -> Vec<PathBuf> {
        // Where nothing can be noted it is done all the same.
        let state = state::creatable(&self.args.root).ok().flatten();
        let attempt = match state.as_ref().map(State::begin_report) {
            Some(Ok(None)) => {
                self.remark(
                    "why the machine crashed is not reported: a run of this boot began to and came to no end"
                        .to_owned(),
                );
                if let Err(error) = beside::report::clear(manner) {
                    self.remark(format!("{error:#}"));
                }
                return Vec::new();
            }
            Some(Ok(begun)) => begun,
            Some(Err(_)) | None => None,
        };
        let made = beside::report::save(dump, &self.args.root.display().to_string(), manner);
        drop(attempt);
        let (files, failed) = match made {
            Ok(made) => {
                self.say("cause", &made.cause);
                if let Some(path) = made.files.first() {
                    self.say("report", &path.display().to_string());
                }
                if let Some(why) = made.cut {
                    self.remark(format!(
                        "the report has only the log, the cause, the machine and the CPUs: {why}"
                    ));
                }
                (made.files, made.failed)
            }
            Err(error) => (Vec::new(), Some(error)),
        };
        if let Some(error) = failed {
            self.remark(format!("why the machine crashed was not reported: {error:#}"));
        }
        files
    }

    /// Chooses pages, at a level that fits into `room` bytes if there is one.
    pub(super) fn prepare(
        &mut self,
        dump: &Dump,
        notes: Vec<Note>,
        vmlinux: Option<&Vmlinux>,
        room: Option<u64>,
        spill: &dyn Fn() -> io::Result<File>,
    ) -> Result<Prepared> {
        let started = Instant::now();
        let mut level = self.args.write.level.level();
        let (mut chosen, mini) = match self.choose_mini(dump, &notes, vmlinux, room, spill) {
            Some((chosen, mini)) => (chosen, Some(mini)),
            None => (self.choose(dump, level, &notes, spill)?, None),
        };
        if self.args.write.level.mini().is_some() && mini.is_none() {
            chosen.undecided = chosen.selection.kept();
        }
        // What had no room on the target, though it was asked for, is nowhere else but in memory.
        let short =
            |mini: &Mini| !mini.left_out.is_empty() && Some(mini.budget) < self.args.write.level.mini();
        let asked = match &mini {
            Some(mini) if short(mini) => DumpLevel::default(),
            Some(_) => chosen.selection.level(),
            None => level,
        };
        let expect = |this: &Self, chosen: &Chosen| -> Result<Expected> {
            Ok(Expected::of(&estimate(dump, &chosen.selection, &this.options())?, room))
        };
        let mut expected = expect(self, &chosen)?;
        if let Choice::Auto(methods) = self.method
            && let Some(room) = room.filter(|room| expected.at_most_bytes > *room)
        {
            let strongest = methods.strongest();
            self.remark(format!(
                "uncompressed up to {} are needed, but the target takes {}: all pages are stored with {}, and not as time \
                 allows",
                units::bytes(expected.at_most_bytes),
                units::bytes(room),
                Choice::One(strongest)
            ));
            self.method = Choice::One(strongest);
            expected = expect(self, &chosen)?;
        }
        // An ELF file holds all bytes as they are, and is as large as its pages. A mini dump is made to fit.
        while let Some(room) = room.filter(|room| mini.is_none() && expected.at_most_bytes > *room) {
            let (here, next) = (units::bytes(expected.at_most_bytes), raised(level));
            let there = units::bytes(room);
            let Some(next) = next else {
                self.remark(match self.args.write.format {
                    Format::Kdump => format!(
                        "at dump level {level} up to {here} are needed, but the target takes {there}: the least \
                         valuable pages will be missing"
                    ),
                    Format::Elf => format!("up to {here} are needed, but the target takes {there}"),
                });
                break;
            };
            let gated = self.args.write.level.gated();
            let input = self.args.input();
            let less = match choose(&input, dump, next, gated, notes.clone(), spill) {
                Ok(less) if less.gate.closed => {
                    self.remark(format!(
                        "up to {here} are needed, but the target takes {there}; a higher level would leave out \
                         nothing, as the kernel's structures are in doubt"
                    ));
                    break;
                }
                Ok(less) => less,
                Err(error) => {
                    self.remark(format!("up to {here} are needed, but the target takes {there}: {error:#}"));
                    break;
                }
            };
            self.remark(format!(
                "at dump level {level} up to {here} are needed, but the target takes {there}: the level is raised to {next}"
            ));
            (level, chosen) = (next, less);
            expected = expect(self, &chosen)?;
        }
        for remark in std::mem::take(&mut chosen.remarks) {
            self.remark(remark);
        }
        self.counts(&chosen);
        say(self.quiet, "estimate", &expected.text());
        let tight = room.is_some_and(|room| expected.at_most_bytes > room);
        // A progressive release needs address order, as a range is released when all of it is saved; but not where space
        // is known to run out.
        let by_address = self.args.release == Release::Progressive && !tight;
        let parts = if by_address || mini.is_some() {
            Vec::new()
        } else {
            self.by_value(dump, &chosen.selection, spill)
        };
        Ok(Prepared { chosen, mini, asked, parts, expected, classified: started.elapsed() })
    }

    /// Chooses the pages of a mini dump, if one is asked for and can be made: a large dump is better than none.
    fn choose_mini(
        &mut self,
        dump: &Dump,
        notes: &[Note],
        vmlinux: Option<&Vmlinux>,
        room: Option<u64>,
        spill: &dyn Fn() -> io::Result<File>,
    ) -> Option<(Chosen, Mini)> {
        let asked = self.args.write.level.mini()?;
        // The journal grows beside the dump, and the file system has tables of its own.
        let budget = room.map_or(asked, |room| room.saturating_sub(2 * SLACK).min(asked));
        if budget < asked {
            let (asked, there) = (units::bytes(asked), units::bytes(budget));
            self.remark(format!("the target takes {there}, so the mini dump has no more, and not {asked}"));
        }
        let wanted = Wanted {
            budget,
            format: self.args.write.format,
            options: self.options(),
            // The pieces of an encrypted file take a little, and so does each checkpoint.
            framed: true,
            segment: Some(self.args.segment),
            vmlinux,
        };
        match mini::choose(&self.args.input(), dump, &wanted, notes.to_vec(), spill) {
            Ok(made) => Some(made),
            Err(error) => {
                let level = self.args.write.level.level();
                self.remark(format!("{error:#}: no mini dump is saved, but one at dump level {level}"));
                None
            }
        }
    }

    /// Chooses pages; all of them where the kernel cannot be understood, since a large dump is better than none.
    fn choose(
        &mut self,
        dump: &Dump,
        level: DumpLevel,
        notes: &[Note],
        spill: &dyn Fn() -> io::Result<File>,
    ) -> Result<Chosen> {
        let input = self.args.input();
        let zeros = DumpLevel::new((level.bits() & DumpLevel::ZERO).into()).unwrap_or_default();
        let gated = self.args.write.level.gated();
        match choose(&input, dump, level, gated, notes.to_vec(), spill) {
            Err(error) if zeros != level => {
                self.remark(format!("{error:#}: all pages are kept"));
                let mut chosen = choose(&input, dump, zeros, gated, notes.to_vec(), spill)?;
                chosen.undecided = chosen.selection.kept();
                Ok(chosen)
            }
            chosen => chosen,
        }
    }

    /// The pages in parts, the most valuable ones first, in case space or time runs out. If the kernel cannot say which these
    /// are, there are no parts, and pages are saved in address order.
    fn by_value(
        &mut self,
        dump: &Dump,
        selection: &Selection,
        spill: &dyn Fn() -> io::Result<File>,
    ) -> Vec<Selection> {
        let parts = kernel::Kernel::open(dump).and_then(|kernel| kernel.by_value(selection, spill));
        match parts {
            Ok(parts) => parts.into_iter().map(|(_, part)| part).collect(),
            Err(error) => {
                self.remark(format!("pages are saved in address order: {error}"));
                Vec::new()
            }
        }
    }

    /// Prints how many pages of which class there are.
    fn counts(&self, chosen: &Chosen) {
        let Chosen { selection, .. } = chosen;
        self.say("keep", &format!("{} pages at dump level {}", selection.kept(), selection.level()));
        let counts = Reason::ALL.map(|reason| (reason.name(), selection.reasons().get(reason)));
        let left: Vec<String> =
            counts.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{n} {name}")).collect();
        if !left.is_empty() {
            self.say("leave out", &left.join(", "));
        }
    }
}
