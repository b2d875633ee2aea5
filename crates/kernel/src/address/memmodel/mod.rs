//! Where the `struct page` of a frame lies: the memory models of Linux (`include/asm-generic/memory_model.h`).

mod flat;
mod nodes;
mod sparse;

use crate::{Error, Kernel, KernelMemory};
use flat::Flat;
use nodes::Nodes;
use sparse::Sparse;
pub(crate) use sparse::fits as fits_sections;
use vmcore::{Pfn, Range, VirtAddr};

/// Frames whose `struct page`s stand one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageRun {
    /// The frames.
    pub(crate) frames: Range<Pfn>,
    /// The `struct page` of the first of them.
    pub(crate) at: VirtAddr,
}

/// How the dumped kernel finds the `struct page` of a frame.
#[derive(Debug)]
pub(crate) enum MemModel {
    /// One array for all memory.
    Flat(Flat),
    /// DISCONTIGMEM: one array for each node.
    Nodes(Nodes),
    /// SPARSEMEM in all its variants: one array for each section, or a virtual one that sections are parts of.
    Sparse(Sparse),
}

impl MemModel {
    /// Chooses the model by what VMCOREINFO offers.
    ///
    /// # Errors
    ///
    /// When keys of the model are missing, and when its tables make no sense.
    pub(crate) fn open(kernel: &Kernel<'_>) -> Result<Self, Error> {
        let info = kernel.info();
        if let Some(nodes) = Nodes::open(kernel)? {
            return Ok(Self::Nodes(nodes));
        }
        if info.symbol("mem_section").is_some() {
            return Sparse::open(kernel).map(Self::Sparse);
        }
        if info.symbol("mem_map").is_some() {
            return Flat::open(kernel).map(Self::Flat);
        }
        Err(missing("SYMBOL(mem_section)"))
    }

    /// Appends those of `frames` of which the dump does not say whether there is an array, ascending: it lacks the table
    /// that does. They are in none of the [`MemModel::runs`].
    ///
    /// # Errors
    ///
    /// Only when the input is damaged.
    pub(crate) fn untold(
        &self,
        kernel: &Kernel<'_>,
        frames: Range<Pfn>,
        out: &mut Vec<Range<Pfn>>,
    ) -> Result<(), Error> {
        match self {
            // Their few arrays are known, or the model cannot be opened.
            Self::Flat(_) | Self::Nodes(_) => Ok(()),
            Self::Sparse(sparse) => sparse.untold(kernel, frames, out),
        }
    }

    /// Appends the arrays that hold the `struct page`s of `frames`, ascending. Frames in none of them have no
    /// `struct page` that the dump describes.
    ///
    /// # Errors
    ///
    /// Only when the input is damaged: a table that is not in the dump leaves its frames out.
    pub(crate) fn runs(
        &self,
        kernel: &Kernel<'_>,
        frames: Range<Pfn>,
        out: &mut Vec<PageRun>,
    ) -> Result<(), Error> {
        match self {
            Self::Flat(flat) => flat.runs(frames, out),
            Self::Nodes(nodes) => nodes.runs(frames, out),
            Self::Sparse(sparse) => return sparse.runs(kernel, frames, out),
        }
        Ok(())
    }
}

/// The part of an array of `struct page`s that is about `frames`.
fn part(array: PageRun, page_struct: u64, frames: Range<Pfn>) -> Option<PageRun> {
    let shared = array.frames.intersect(&frames);
    let skipped = shared.start.0.wrapping_sub(array.frames.start.0);
    let at = VirtAddr(array.at.0.wrapping_add(skipped.wrapping_mul(page_struct)));
    (!shared.is_empty()).then_some(PageRun { frames: shared, at })
}

/// Reads the size of `struct page`.
fn page_struct(kernel: &Kernel<'_>) -> Result<u64, Error> {
    kernel.info().size("page").ok_or_else(|| missing("SIZE(page)"))
}

fn missing(key: &str) -> Error {
    Error::MissingKey { key: key.to_owned(), purpose: "finding the struct page of a frame" }
}
