//! Which slab a frame is part of.

use crate::address::memmodel::MemModel;
use crate::pages::page::Classes;
use crate::{Error, Kernel, KernelMemory};
use vmcore::{DumpLevel, Pfn, Range, VirtAddr, WordSize};

/// A slab: frames side by side that hold objects of one cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slab {
    /// Its `struct slab`, which was a `struct page` before 5.17.
    pub at: VirtAddr,
    /// Its first frame.
    pub first: Pfn,
}

/// Answers which slab a frame is part of, by its `struct page`.
pub struct Slabs<'k, 'd> {
    kernel: &'k Kernel<'d>,
    model: MemModel,
    classes: Classes,
}

impl<'k, 'd> Slabs<'k, 'd> {
    /// Prepares to answer.
    ///
    /// # Errors
    ///
    /// When VMCOREINFO does not say how slab is marked or where `struct page`s are.
    pub fn of(kernel: &'k Kernel<'d>) -> Result<Self, Error> {
        if kernel.machine().word != WordSize::Bits64 {
            return Err(Error::Unsupported("pages of 32-bit kernels are not classified".to_owned()));
        }
        let page = kernel.physical().page_size();
        let classes = Classes::new(kernel.info(), page, DumpLevel::default(), &mut Vec::new())?;
        Ok(Self { kernel, model: kernel.mem_model()?, classes })
    }

    /// The slab that has the frame `pfn`; `None` where it is in none, or the dump does not tell.
    ///
    /// # Errors
    ///
    /// Only when the input is damaged.
    pub fn with(&self, pfn: Pfn) -> Result<Option<Slab>, Error> {
        match self.find(pfn) {
            Err(Error::Read(error)) => Err(error.into()),
            found => Ok(found.ok().flatten()),
        }
    }

    fn find(&self, pfn: Pfn) -> Result<Option<Slab>, Error> {
        let mut runs = Vec::new();
        self.model.runs(self.kernel, Range::new(pfn, Pfn(pfn.0.saturating_add(1))), &mut runs)?;
        let Some(at) = runs.first().map(|run| run.at) else { return Ok(None) };
        let (order, size) = (self.kernel.machine().order, self.classes.size());
        let mut page = vec![0; size];
        self.kernel.read(at, &mut page)?;
        let head = self.classes.head_of(order, &page, at);
        // A head is before its tails.
        let Some(tails) = at.0.checked_sub(head.0).map(|bytes| bytes / size as u64) else { return Ok(None) };
        self.kernel.read(head, &mut page)?;
        let first = pfn.0.checked_sub(tails).filter(|_| self.classes.is_one_of_slab(order, &page));
        Ok(first.map(|first| Slab { at: head, first: Pfn(first) }))
    }
}
