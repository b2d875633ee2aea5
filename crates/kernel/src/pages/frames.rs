//! Frames of which it is known what the kernel uses them for, without asking their `struct page`.

use crate::address::memmodel::{MemModel, PageRun};
use crate::address::translate::{Stop, TableVisitor};
use crate::{Error, Kernel};
use vmcore::{PageSize, Pfn, PhysAddr, Range, RangeSet, VirtAddr};

/// Pieces that are remembered, 16 bytes each.
const MOST_PIECES: usize = 1 << 18;

/// Frames in the making.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    pieces: Vec<Range<Pfn>>,
}

impl Frames {
    /// Adds the frames that `at` touches; what follows too many others in pieces is left out.
    pub(crate) fn add(&mut self, page: PageSize, at: Range<PhysAddr>) {
        if at.is_empty() {
            return;
        }
        let frames = Range::new(page.pfn(at.start), Pfn(page.pfn(PhysAddr(at.end.0 - 1)).0 + 1));
        match self.pieces.last_mut() {
            Some(last) if last.end == frames.start => last.end = frames.end,
            _ => {
                if self.pieces.len() < MOST_PIECES {
                    self.pieces.push(frames);
                }
            }
        }
    }

    /// The frames, sorted.
    pub(crate) fn done(self) -> RangeSet<Pfn> {
        self.pieces.into_iter().collect()
    }
}

/// The kernel's page tables and what they map beside the linear map: vmalloc, which holds modules and stacks.
#[derive(Debug, Default)]
pub(crate) struct Mapped {
    /// The tables.
    pub(crate) tables: RangeSet<Pfn>,
    /// What they map.
    pub(crate) memory: RangeSet<Pfn>,
}

impl Mapped {
    /// The tables alone.
    ///
    /// # Errors
    ///
    /// Only when the input is damaged.
    pub(crate) fn tables(kernel: &Kernel<'_>) -> Result<RangeSet<Pfn>, Error> {
        let mut tables = OnlyTables { page: kernel.physical().page_size(), tables: Frames::default() };
        kernel.visit_tables(&mut tables)?;
        Ok(tables.tables.done())
    }

    /// Walks the tables.
    ///
    /// # Errors
    ///
    /// Only when the input is damaged.
    pub(crate) fn walk(kernel: &Kernel<'_>) -> Result<Self, Error> {
        let page = kernel.physical().page_size();
        let linear = kernel.direct_distance();
        let mut walk = TableWalk { page, tables: Frames::default(), memory: Vec::new(), linear };
        kernel.visit_tables(&mut walk)?;
        let mut memory = Frames::default();
        let all = kernel.memory_map().bytes();
        for (_, at) in walk.memory {
            all.within(at).for_each(|at| memory.add(page, at));
        }
        Ok(Self { tables: walk.tables.done(), memory: memory.done() })
    }
}

struct OnlyTables {
    page: PageSize,
    tables: Frames,
}

impl TableVisitor for OnlyTables {
    fn table(&mut self, at: Range<PhysAddr>) {
        self.tables.add(self.page, at);
    }

    fn memory(&mut self, _: VirtAddr, _: Range<PhysAddr>) {}
}

struct TableWalk {
    page: PageSize,
    tables: Frames,
    /// What is mapped, with its distance from the virtual address.
    memory: Vec<(u64, Range<PhysAddr>)>,
    /// The distance of the linear map, which is left out. Not all architectures have it in their tables.
    linear: Option<u64>,
}

impl TableVisitor for TableWalk {
    fn table(&mut self, at: Range<PhysAddr>) {
        self.tables.add(self.page, at);
    }

    fn memory(&mut self, virt: VirtAddr, at: Range<PhysAddr>) {
        let offset = virt.0.wrapping_sub(at.start.0);
        if Some(offset) == self.linear {
            return;
        }
        match self.memory.last_mut() {
            Some((last, before)) if *last == offset && before.end == at.start => before.end = at.end,
            _ => {
                if self.memory.len() < MOST_PIECES {
                    self.memory.push((offset, at));
                }
            }
        }
    }
}

/// The frames that hold the `struct page`s of all memory.
///
/// # Errors
///
/// Only when the input is damaged.
pub(crate) fn arrays(kernel: &Kernel<'_>, model: &MemModel, size: u64) -> Result<RangeSet<Pfn>, Error> {
    let mut frames = Frames::default();
    let mut runs = Vec::new();
    for range in kernel.memory_map().frames().iter() {
        runs.clear();
        model.runs(kernel, range, &mut runs)?;
        for run in &runs {
            array(kernel, *run, size, &mut frames)?;
        }
    }
    Ok(frames.done())
}

/// The frames of one array.
fn array(kernel: &Kernel<'_>, run: PageRun, size: u64, frames: &mut Frames) -> Result<(), Error> {
    let page = kernel.physical().page_size();
    let len = run.frames.len().saturating_mul(size);
    let mut done = 0;
    while done < len {
        let at = VirtAddr(run.at.0.wrapping_add(done));
        match kernel.map_or_stop(at) {
            Ok(mapping) => {
                let part = mapping.len.min(len - done);
                let end = mapping.phys.0.saturating_add(part);
                frames.add(page, Range::new(mapping.phys, PhysAddr(end)));
                done += part;
            }
            Err(Stop { error: Error::Read(error), .. }) => return Err(error.into()),
            Err(Stop { len, .. }) => done = done.saturating_add(len),
        }
    }
    Ok(())
}

/// The first mebibyte of the kernel's text, which no kernel frees, and what VMCOREINFO's symbols lie in.
///
/// # Errors
///
/// Only when the input is damaged.
pub(crate) fn image(kernel: &Kernel<'_>) -> Result<RangeSet<Pfn>, Error> {
    use crate::KernelMemory;
    const TEXT: u64 = 1 << 20;
    let page = kernel.physical().page_size();
    let text = kernel.info().symbol("_stext");
    let step = page.bytes();
    let addresses = text
        .into_iter()
        .flat_map(|text| (0..TEXT).step_by(step as usize).map(move |i| text.0.wrapping_add(i)));
    let mut frames = Frames::default();
    for addr in addresses.chain(kernel.info().symbols().map(|(_, addr)| addr.0)) {
        match kernel.map(VirtAddr(addr)) {
            Ok(mapping) => {
                let end = PhysAddr(mapping.phys.0.saturating_add(1));
                frames.add(page, Range::new(mapping.phys, end));
            }
            Err(Error::Read(error)) => return Err(error.into()),
            Err(_) => {}
        }
    }
    Ok(frames.done())
}
