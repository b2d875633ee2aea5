//! The plausibility gate: whether VMCOREINFO and the kernel's structures are about one another, before anything is left
//! out because of them.
//!
//! A filter that misunderstands a kernel loses what the dump was made for, and nobody notices until somebody needs it. So
//! what the filter thinks it found is held against what must be true of any kernel and what this one counted itself.
//! `docs/gate.md` says what is looked at and what follows.

mod judge;
mod outside;
mod zones;

use crate::frames::{self, Mapped};
use crate::memmodel::MemModel;
use crate::page::{Census, Classes, Sound};
use crate::{Error, Kernel, KernelMemory};
pub(crate) use judge::Found;
use vmcore::{Pfn, Range, RangeSet, VirtAddr};
use zones::{Unknown, Zones};

/// What became of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It found nothing wrong.
    Passed,
    /// What it needs is not in VMCOREINFO or not in the dump.
    Skipped,
    /// It found that the kernel is not understood.
    Failed,
}

impl Outcome {
    /// The name in reports and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

/// One check of the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, in a few words that do not change.
    pub name: &'static str,
    /// What became of it.
    pub outcome: Outcome,
    /// With which numbers, or why not.
    pub text: String,
}

/// What the gate looked at and what it held back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// The checks, in the order in which they were made. Empty when there was nothing to check.
    pub checks: Vec<Check>,
    /// Regions that were kept whole, because too much of what is said of them makes no sense.
    pub regions: Vec<Range<Pfn>>,
    /// Pages outside of these that were kept because what is said of them or of their neighbours makes no sense.
    pub doubtful: u64,
    /// A check failed: nothing was left out but what level bit 0 and earlier filters say.
    pub closed: bool,
}

impl Gate {
    /// A gate that closes because of what went wrong before anything could be judged.
    pub(crate) fn not_understood(error: &Error) -> Self {
        let check = Check { name: "VMCOREINFO", outcome: Outcome::Failed, text: error.to_string() };
        Self { checks: vec![check], closed: true, ..Self::default() }
    }

    /// Reports whether pages were kept that the level would have left out.
    pub fn held_back(&self) -> bool {
        self.closed || self.doubtful > 0 || !self.regions.is_empty()
    }
}

/// What the gate must know before struct pages are judged.
pub(crate) struct Guard {
    pub(crate) sound: Sound,
    zones: Result<Zones, Unknown>,
    /// Frames that are the kernel's whatever their struct pages say.
    pub(crate) known: RangeSet<Pfn>,
    cpus: u64,
    /// The kernel tells how many pages a compound has.
    sizes: bool,
}

impl Guard {
    /// Learns what can be known without judging struct pages.
    ///
    /// # Errors
    ///
    /// When VMCOREINFO's fields cannot be, or the input is damaged.
    pub(crate) fn new(kernel: &Kernel<'_>, model: &MemModel, classes: &Classes) -> Result<Self, Error> {
        let mut sound = Sound::new(kernel.info(), kernel.machine(), kernel.physical().end())?;
        let cpus = kernel.cpus() as u64;
        let zones = Zones::read(kernel, cpus)?;
        if let Ok(zones) = &zones {
            sound.expect_nodes(zones.most_nodes, zones.nodes.iter().copied());
            if !nodes_are_in_flags(kernel, model, classes, &sound)? {
                sound.ignore_nodes();
            }
        }
        let tables = Mapped::tables(kernel)?;
        let arrays = frames::arrays(kernel, model, classes.size() as u64)?;
        let image = frames::image(kernel)?;
        let known = [tables, arrays, image].iter().flat_map(RangeSet::iter).collect();
        Ok(Self { sound, zones, known, cpus, sizes: classes.tells_sizes() })
    }

    /// Counts what the crashed kernel counted where the dump has no memory.
    ///
    /// # Errors
    ///
    /// Only when the input is damaged.
    pub(crate) fn count_outside(
        &self,
        kernel: &Kernel<'_>,
        model: &MemModel,
        classes: &Classes,
    ) -> Result<Census, Error> {
        match &self.zones {
            Ok(zones) => outside::count(kernel, model, classes, &self.sound, &zones.frames),
            Err(_) => Ok(Census::default()),
        }
    }
}

/// Tells whether the topmost bits of flags are nodes: all but a few of a sample of pages have one that exists. They are
/// something else where sections have arrays of their own (SPARSEMEM without VMEMMAP).
fn nodes_are_in_flags(
    kernel: &Kernel<'_>,
    model: &MemModel,
    classes: &Classes,
    sound: &Sound,
) -> Result<bool, Error> {
    const SAMPLES: u64 = 64;
    let frames = kernel.memory_map().frames();
    let step = (frames.total() / SAMPLES).max(1);
    let (mut seen, mut right) = (0, 0);
    let mut runs = Vec::new();
    // Frames in steps of equal length through what memory there is.
    let mut skip = step / 2;
    for range in frames.iter() {
        while skip < range.len() {
            let pfn = Pfn(range.start.0 + skip);
            skip += step;
            runs.clear();
            model.runs(kernel, Range::new(pfn, Pfn(pfn.0 + 1)), &mut runs)?;
            let Some(run) = runs.first() else { continue };
            match kernel.read_word(classes.flags_of(VirtAddr(run.at.0))) {
                Ok(flags) => {
                    seen += 1;
                    right += u64::from(sound.has_node(flags));
                }
                Err(Error::Read(error)) => return Err(error.into()),
                Err(_) => {}
            }
        }
        skip -= range.len();
    }
    Ok(right * 20 >= seen * 19)
}
