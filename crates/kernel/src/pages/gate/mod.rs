//! The plausibility gate: whether VMCOREINFO and the kernel's structures belong together, checked before anything is left
//! out because of them.
//!
//! A filter that misunderstands a kernel loses what the dump was made for, and nobody notices until the page is needed. So
//! what the filter thinks it found is compared with what must be true of any kernel and with what this one counted itself.
//! `docs/gate.md` says what is checked and what follows.

mod judge;
mod nodes;
mod outside;
mod zones;

use crate::address::memmodel::MemModel;
use crate::pages::frames::{self, Mapped};
use crate::pages::page::{Census, Classes, Sound, is_poison};
use crate::{Error, Kernel, KernelMemory};
pub(crate) use judge::Found;
use vmcore::{Pfn, Range, RangeSet, VirtAddr};
use zones::{Unknown, Zones};

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It found nothing wrong.
    Passed,
    /// What it needs is not in VMCOREINFO or not in the dump.
    Skipped,
    /// The kernel is not understood.
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
    /// What was looked at, for programs: this does not change.
    pub id: &'static str,
    /// What was looked at, in a few words for people.
    pub name: &'static str,
    /// What became of it.
    pub outcome: Outcome,
    /// With which numbers, or why not.
    pub text: String,
}

/// What the gate checked and what it held back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// The checks, in the order in which they were made. Empty when there was nothing to check.
    pub checks: Vec<Check>,
    /// Regions that were kept whole, because too many of their `struct page`s make no sense.
    pub regions: Vec<Range<Pfn>>,
    /// Other pages that were kept because their `struct page`s, or those beside them, make no sense.
    pub doubtful: u64,
    /// A check failed: nothing was left out but what level bit 0 and earlier filters say.
    pub closed: bool,
}

impl Gate {
    /// A gate that is closed because of an error before anything could be judged.
    pub(crate) fn not_understood(error: &Error) -> Self {
        let (id, name, text) = ("vmcoreinfo", "VMCOREINFO", error.to_string());
        let check = Check { id, name, outcome: Outcome::Failed, text };
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
    /// Frames that belong to the kernel whatever their struct pages say.
    pub(crate) known: RangeSet<Pfn>,
    /// How many of a sample of them have no `struct page`, and how many there are, where the dump's memory map is only assumed.
    known_uncovered: Option<(u64, u64)>,
    cpus: u64,
    /// The kernel exports how many pages a compound has.
    sizes: bool,
}

impl Guard {
    /// Collects what can be known without judging struct pages.
    ///
    /// # Errors
    ///
    /// When fields of VMCOREINFO are impossible, or the input is damaged.
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
        let known_uncovered =
            kernel.map_is_assumed().then(|| uncovered(kernel, model, &known)).transpose()?;
        Ok(Self { sound, zones, known, known_uncovered, cpus, sizes: classes.tells_sizes() })
    }

    /// Counts what the crashed kernel counted in memory that the dump lacks.
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

/// The frames of a sample of `known` without a `struct page`, and all of the sample.
fn uncovered(kernel: &Kernel<'_>, model: &MemModel, known: &RangeSet<Pfn>) -> Result<(u64, u64), Error> {
    const SAMPLES: u64 = 4096;
    let step = (known.total() / SAMPLES).max(1);
    let (mut without, mut all) = (0, 0);
    let mut runs = Vec::new();
    let mut skip = 0;
    for range in known.iter() {
        while skip < range.len() {
            let pfn = Pfn(range.start.0 + skip);
            skip += step;
            runs.clear();
            model.runs(kernel, Range::new(pfn, Pfn(pfn.0 + 1)), &mut runs)?;
            all += 1;
            without += u64::from(runs.is_empty());
        }
        skip -= range.len();
    }
    Ok((without, all))
}

/// Reports whether the topmost bits of flags are node numbers: all but a few of a sample of pages have one that exists.
/// They are something else where sections have arrays of their own (SPARSEMEM without VMEMMAP).
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
    // Frames at equal steps through the memory that exists.
    let mut skip = step / 2;
    for range in frames.iter() {
        while skip < range.len() {
            let pfn = Pfn(range.start.0 + skip);
            skip += step;
            runs.clear();
            model.runs(kernel, Range::new(pfn, Pfn(pfn.0 + 1)), &mut runs)?;
            let Some(run) = runs.first() else { continue };
            match kernel.read_word(classes.flags_of(VirtAddr(run.at.0))) {
                Ok(flags) if is_poison(flags) => {}
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
