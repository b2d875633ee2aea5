//! What is told of a match: where it is, whose, and what stands there.

use crate::show::bytes;
use anyhow::Result;
use kernel::{Kernel, Value};
use search::place::{Place, Places};
use search::{Classes, Hit};
use std::cell::OnceCell;
use std::fs::File;
use std::io;
use triage::{Report, Subject};
use vmcore::{Dump, Pfn, PhysAddr};

/// Bytes of a line of context, which begins at a multiple of it.
const LINE: u64 = bytes::LINE as u64;
/// The most lines.
const LINES: u64 = 4;

/// A match, and what is around it.
pub(super) struct Found {
    pub(super) hit: Hit,
    pub(super) place: Place,
    pub(super) class: Option<Value>,
    /// Where the context begins.
    pub(super) context_at: PhysAddr,
    /// Bytes from there on; `None` for those that are not known.
    pub(super) context: Vec<Option<u8>>,
}

/// Finds out what is told of matches.
pub(super) struct Finder<'a> {
    dump: &'a Dump,
    kernel: Option<&'a Kernel<'a>>,
    subject: &'a Subject<'a>,
    report: &'a Report,
    classes: Option<&'a Classes>,
    spill: &'a dyn Fn() -> io::Result<File>,
    /// Looked up with the first match: most of the time there are few.
    places: OnceCell<Places<'a>>,
    own_classes: OnceCell<Option<Classes>>,
    /// The frame that was read last; `None` inside where its bytes are not known.
    frame: Option<(Pfn, bool)>,
    page: Vec<u8>,
}

impl<'a> Finder<'a> {
    /// `classes` are the dump's, if they were needed before.
    pub(super) fn new(
        dump: &'a Dump,
        kernel: Option<&'a Kernel<'a>>,
        subject: &'a Subject<'a>,
        report: &'a Report,
        classes: Option<&'a Classes>,
        spill: &'a dyn Fn() -> io::Result<File>,
    ) -> Self {
        Self {
            dump,
            kernel,
            subject,
            report,
            classes,
            spill,
            places: OnceCell::new(),
            own_classes: OnceCell::new(),
            frame: None,
            page: vec![0; dump.page_size().len()],
        }
    }

    /// Looks at a match.
    pub(super) fn look(&mut self, hit: Hit) -> Result<Found> {
        if self.places.get().is_none() {
            let _ = self.places.set(Places::new(self.subject, self.report, self.kernel)?);
        }
        if self.classes.is_none() && self.own_classes.get().is_none() {
            let kernel = self.kernel.map(|kernel| Classes::of(self.dump, kernel, self.spill));
            let _ = self.own_classes.set(kernel.transpose()?.flatten());
        }
        let classes = self.classes.or_else(|| self.own_classes.get()?.as_ref());
        let place = self.places.get().map(|places| places.of(hit.at)).transpose()?.unwrap_or_default();
        let class =
            classes.map(|classes| classes.with(self.dump.page_size().pfn(hit.at))).transpose()?.flatten();
        let context_at = PhysAddr(hit.at.0 / LINE * LINE);
        let lines = (hit.at.0 + hit.len - context_at.0).div_ceil(LINE).min(LINES);
        let context = (context_at.0..context_at.0 + lines * LINE).map(|at| self.byte(PhysAddr(at)));
        Ok(Found { hit, place, class, context_at, context: context.collect::<Result<_>>()? })
    }

    /// The byte at `at`, if it is known.
    fn byte(&mut self, at: PhysAddr) -> Result<Option<u8>> {
        let size = self.dump.page_size();
        let pfn = size.pfn(at);
        let known = match self.frame {
            Some((frame, known)) if frame == pfn => known,
            _ => {
                let known = self.dump.memory.read_page(pfn, &mut self.page)?.is_known();
                self.frame = Some((pfn, known));
                known
            }
        };
        let there = known && self.dump.memory.map().bytes().contains(at);
        Ok(there.then(|| self.page[size.offset(at.0)]))
    }
}
