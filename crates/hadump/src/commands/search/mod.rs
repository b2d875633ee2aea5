//! `hadump search`: where something is in a dump's memory.

mod found;
mod view;

use crate::cli::{self, Class};
use crate::input::{self, Prefer};
use crate::outcome::{Misused, Outcome, misused};
use crate::output::work;
use crate::show::progress;
use anyhow::{Result, bail};
use dumpfile::Progress;
use found::Finder;
use kernel::{Kernel, Value};
use search::pattern::Typed;
use search::{Area, Classes, Event, Pattern};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use triage::{Report, Subject};
use view::View;
use vmcore::{Chunk, Dump, Pfn};

/// Searches and prints.
pub(crate) fn run(args: &cli::Search, quiet: bool) -> Result<Outcome> {
    let (input, pattern) = args.typed().map_err(Misused)?;
    let typed = Typed::parse(pattern.as_os_str().as_bytes()).map_err(misused)?;
    let mut dump = input::open_to_show(&input, Prefer::Vmcore)?;
    let vmlinux =
        input.vmlinux.as_deref().map(|path| kernel::knowledge::vmlinux_of(&mut dump, path)).transpose()?;
    let kernel = Kernel::open(&dump);
    if let Err(error) = &kernel {
        tracing::info!("{}: addresses are physical only: {error}", input.name());
    }
    let kernel = kernel.ok();
    let job = Job { args, name: input.name(), typed, quiet };
    triage::survey(&dump, kernel.as_ref(), vmlinux.as_ref(), |subject, report| {
        job.run(&dump, kernel.as_ref(), subject, report)
    })
}

/// What is to be done.
struct Job<'a> {
    args: &'a cli::Search,
    name: String,
    typed: Typed,
    quiet: bool,
}

impl Job<'_> {
    fn run(
        &self,
        dump: &Dump,
        kernel: Option<&Kernel<'_>>,
        subject: &Subject<'_>,
        report: &Report,
    ) -> Result<Outcome> {
        let pattern =
            Pattern::new(&self.typed, dump.machine, &|name| subject.symbol(name)).map_err(misused)?;
        let spill = work::files(None, None);
        let wanted = values(&self.args.class);
        let classes = match (wanted.is_empty(), kernel) {
            (true, _) => None,
            (false, Some(kernel)) => Classes::of(dump, kernel, &spill)?,
            (false, None) => None,
        };
        if !wanted.is_empty() && classes.is_none() {
            bail!("{}: the kernel does not tell what its pages are used for, which --class needs", self.name);
        }
        let only = classes
            .as_ref()
            .map(|classes| |first: Pfn, chunk: &mut Chunk| classes.keep(&wanted, first, chunk));
        let mut area = Area::all(&*dump.memory);
        area.within = self.args.physical.unwrap_or(area.within);
        area.only = only.as_ref().map(|only| only as _);
        let mut finder = Finder::new(dump, kernel, subject, report, classes.as_ref(), &spill);
        let mut view = View::begin(self.args.json, &self.name)?;
        let searched = progress::watch(area.frames(), dump.page_size().bytes(), self.quiet, |progress| {
            search::scan(&area, &pattern, |event| self.take(event, &mut finder, &mut view, progress))
        })?;
        let outcome = match searched.lost > 0 || dump.source.incomplete {
            true => Outcome::Incomplete,
            false => Outcome::Complete,
        };
        view.end(&searched, outcome)?;
        Ok(outcome)
    }

    /// Shows a match; breaks where there are enough.
    fn take(
        &self,
        event: Event,
        finder: &mut Finder<'_>,
        view: &mut View,
        progress: &Progress,
    ) -> Result<ControlFlow<()>> {
        match event {
            Event::Frames(_) if progress.is_cancelled() => bail!("interrupted"),
            Event::Frames(frames) => progress.add(frames),
            Event::Hit(hit) => {
                view.show(&finder.look(hit)?)?;
                if self.args.limit.is_some_and(|limit| view.shown() >= limit.get()) {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The values of pages that are meant.
fn values(classes: &[Class]) -> Vec<Value> {
    let of = |class: &Class| match class {
        Class::Kernel => &[Value::Essential, Value::Kernel][..],
        Class::User => &[Value::User],
        Class::Cache => &[Value::Cache, Value::CachePrivate],
        Class::Free => &[Value::Free],
    };
    classes.iter().flat_map(of).copied().collect()
}
