//! Windows of virtual memory, read whole for the walk over `struct page`s.

use crate::address::translate::Stop;
use crate::{Error, Kernel};
use vmcore::{PageState, PhysAddr, VirtAddr};

/// A reused buffer for a stretch of virtual memory, of which parts may be missing.
#[derive(Default)]
pub(crate) struct Window {
    buffer: Vec<u8>,
    /// The parts of the buffer that were read, ascending and apart.
    known: Vec<std::ops::Range<usize>>,
    states: Vec<PageState>,
    /// The parts that the kernel's page tables do not map, ascending and apart.
    unmapped: Vec<std::ops::Range<usize>>,
}

/// Bytes of virtual memory and which parts of them are known.
pub(crate) struct Loaded<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) known: &'a [std::ops::Range<usize>],
    /// The parts that the kernel's page tables do not map.
    pub(crate) unmapped: &'a [std::ops::Range<usize>],
}

impl Window {
    /// Loads `len` bytes at `at`.
    ///
    /// # Errors
    ///
    /// Only when the input is damaged.
    pub(crate) fn load<'a>(
        &'a mut self,
        kernel: &Kernel<'_>,
        at: VirtAddr,
        len: usize,
    ) -> Result<Loaded<'a>, Error> {
        self.known.clear();
        self.unmapped.clear();
        self.buffer.resize(len, 0);
        self.copy(kernel, at)?;
        Ok(Loaded { bytes: &self.buffer, known: &self.known, unmapped: &self.unmapped })
    }

    /// Fills the buffer, mapping by mapping.
    fn copy(&mut self, kernel: &Kernel<'_>, at: VirtAddr) -> Result<(), Error> {
        let mut done = 0;
        // What was read last: its physical address, where in the buffer it is, and how long it is.
        let mut last: Option<(PhysAddr, usize, usize)> = None;
        while done < self.buffer.len() {
            let addr = VirtAddr(at.0.wrapping_add(done as u64));
            let rest = self.buffer.len() - done;
            match kernel.map_or_stop(addr) {
                Ok(mapping) => {
                    let len = rest.min(usize::try_from(mapping.len).unwrap_or(usize::MAX));
                    match last {
                        // Struct pages of a huge page's tails are one frame, mapped many times over (HVO).
                        Some((phys, from, all)) if phys == mapping.phys && len <= all => {
                            self.repeat(from, done, len);
                        }
                        _ => {
                            self.piece(kernel, mapping.phys, done, len)?;
                            last = Some((mapping.phys, done, len));
                        }
                    }
                    done += len;
                }
                Err(Stop { error: Error::Read(error), .. }) => return Err(error.into()),
                Err(Stop { error, len }) => {
                    let len = rest.min(usize::try_from(len).unwrap_or(usize::MAX));
                    if matches!(error, Error::NotMapped { .. }) {
                        append(&mut self.unmapped, done, len);
                    }
                    done += len;
                }
            }
        }
        Ok(())
    }

    /// Copies `len` bytes at `from` in the buffer to `done`, behind all that is known.
    fn repeat(&mut self, from: usize, done: usize, len: usize) {
        self.buffer.copy_within(from..from + len, done);
        let first = self.known.partition_point(|part| part.end <= from);
        for i in first..self.known.len() {
            let part = self.known[i].start.max(from)..self.known[i].end.min(from + len);
            if !part.is_empty() {
                append(&mut self.known, done + part.start - from, part.len());
            }
        }
    }

    /// Reads `len` bytes at `phys` to `done` in the buffer: whole frames at once, parts of frames at either end.
    fn piece(
        &mut self,
        kernel: &Kernel<'_>,
        phys: PhysAddr,
        mut done: usize,
        len: usize,
    ) -> Result<(), Error> {
        let (memory, page) = (kernel.physical().memory(), kernel.physical().page_size());
        let mut phys = phys.0;
        let end = done + len;
        while done < end {
            let offset = page.offset(phys);
            let whole = (end - done) / page.len();
            let count = if offset == 0 && whole > 0 {
                let count = whole * page.len();
                self.states.clear();
                self.states.resize(whole, PageState::Absent);
                memory.read_run(
                    page.pfn(PhysAddr(phys)),
                    &mut self.buffer[done..done + count],
                    &mut self.states,
                )?;
                for i in 0..whole {
                    if self.states[i].is_known() {
                        append(&mut self.known, done + i * page.len(), page.len());
                    }
                }
                count
            } else {
                let count = (page.len() - offset).min(end - done);
                let state = memory.read(PhysAddr(phys), &mut self.buffer[done..done + count])?;
                if state.is_known() {
                    append(&mut self.known, done, count);
                }
                count
            };
            done += count;
            phys = phys.saturating_add(count as u64);
        }
        Ok(())
    }
}

/// Adds a part to `parts`, which end before it.
fn append(parts: &mut Vec<std::ops::Range<usize>>, start: usize, len: usize) {
    match parts.last_mut() {
        Some(last) if last.end == start => last.end += len,
        _ => parts.push(start..start + len),
    }
}
