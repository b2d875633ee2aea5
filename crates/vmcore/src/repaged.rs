//! Memory in frames of another size than its container has.
//!
//! QEMU writes kdump files of arm64 guests in blocks of 64 KiB, the largest pages that the architecture has, whatever the
//! guest's kernel uses. The blocks of a container and the pages of a kernel are two numbers, and everything that reads
//! struct pages goes by the latter.

use crate::{
    CHUNK_FRAMES, Check, Chunk, Damage, MemoryMap, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory,
    ReadError,
};

/// Bytes of the container's frames that are read at once.
const PIECE: usize = 1 << 20;

/// A memory whose container has larger or smaller frames than its kernel.
pub(crate) struct Repaged {
    inner: Box<dyn PhysicalMemory>,
    map: MemoryMap,
}

impl Repaged {
    pub(crate) fn new(inner: Box<dyn PhysicalMemory>, size: PageSize) -> Self {
        let map = MemoryMap::new(size, inner.map().bytes().clone());
        Self { inner, map }
    }

    /// How much larger frames are here, as powers of two: of the container's, of the kernel's. One of them is 0.
    fn shifts(&self) -> (u32, u32) {
        let (theirs, ours) = (self.inner.map().page_size().shift(), self.map.page_size().shift());
        (theirs.saturating_sub(ours), ours.saturating_sub(theirs))
    }

    /// Takes small pages out of large frames.
    fn read_within(&self, first: Pfn, pages: &mut [u8], states: &mut [PageState]) -> Result<(), ReadError> {
        let (shift, size) = (self.shifts().0, self.map.page_size().len());
        let (frame_len, in_frame) = (size << shift, 1 << shift);
        let mut frames = vec![0; (PIECE / frame_len).max(1) * frame_len];
        let mut at = first.0;
        let mut done = 0;
        while done < states.len() {
            let skip = (at % in_frame) as usize;
            let count = (frames.len() / size - skip).min(states.len() - done);
            let needed = (skip + count).div_ceil(in_frame as usize);
            let mut found = vec![PageState::Absent; needed];
            self.inner.read_run(Pfn(at >> shift), &mut frames[..needed * frame_len], &mut found)?;
            pages[done * size..][..count * size].copy_from_slice(&frames[skip * size..][..count * size]);
            for (i, state) in states[done..done + count].iter_mut().enumerate() {
                *state = found[(skip + i) >> shift];
            }
            at += count as u64;
            done += count;
        }
        Ok(())
    }

    /// Puts large pages together from small frames.
    fn read_across(&self, first: Pfn, pages: &mut [u8], states: &mut [PageState]) -> Result<(), ReadError> {
        let (shift, size) = (self.shifts().1, self.map.page_size().len());
        let mut found = vec![PageState::Absent; states.len() << shift];
        self.inner.read_run(Pfn(first.0 << shift), pages, &mut found)?;
        let parts = found.chunks_exact(1 << shift);
        for ((state, parts), page) in states.iter_mut().zip(parts).zip(pages.chunks_exact_mut(size)) {
            *state = parts.iter().copied().reduce(PageState::of_whole).unwrap_or(PageState::Absent);
            if !state.is_known() {
                page.fill(0);
            }
        }
        Ok(())
    }
}

impl PhysicalMemory for Repaged {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn set_page_size(&mut self, size: PageSize) -> bool {
        self.map = MemoryMap::new(size, self.inner.map().bytes().clone());
        true
    }

    fn read_run(&self, first: Pfn, pages: &mut [u8], states: &mut [PageState]) -> Result<(), ReadError> {
        match self.shifts() {
            (0, 0) => self.inner.read_run(first, pages, states),
            (_, 0) => self.read_within(first, pages, states),
            _ => self.read_across(first, pages, states),
        }
    }

    fn drop_excluded(&self, first: Pfn, chunk: &mut Chunk) -> Result<u64, ReadError> {
        let (theirs, ours) = self.shifts();
        // The container's frames that have to do with frame `i` of the chunk.
        let frames = |start: u64, end: u64| {
            let (start, end) = (first.0 + start, first.0 + end);
            if ours > 0 { start << ours..end << ours } else { start >> theirs..((end - 1) >> theirs) + 1 }
        };
        let all = frames(0, CHUNK_FRAMES);
        let mut dropped = 0;
        for index in all.start / CHUNK_FRAMES..all.end.div_ceil(CHUNK_FRAMES) {
            let base = index * CHUNK_FRAMES;
            let mut asked = Chunk::empty();
            for run in chunk.runs() {
                let part = frames(run.start, run.end);
                let (start, end) = (part.start.max(base), part.end.min(base + CHUNK_FRAMES));
                if start < end {
                    asked.set(start - base, end - base, true);
                }
            }
            let mut left = asked.clone();
            if self.inner.drop_excluded(Pfn(base), &mut left)? == 0 {
                continue;
            }
            for run in asked.runs() {
                for i in run.filter(|i| !left.contains(*i)) {
                    let frame = base + i;
                    let (start, end) = if ours > 0 {
                        (frame >> ours, (frame >> ours) + 1)
                    } else {
                        (frame << theirs, (frame + 1) << theirs)
                    };
                    let inside = |pfn: u64| pfn.clamp(first.0, first.0 + CHUNK_FRAMES) - first.0;
                    dropped += chunk.remove(inside(start), inside(end));
                }
            }
        }
        Ok(dropped)
    }

    fn lost_run(&self, first: Pfn, limit: u64) -> u64 {
        self.run(first, limit, |first, limit| self.inner.lost_run(first, limit))
    }

    fn unread_run(&self, first: Pfn, limit: u64) -> u64 {
        self.run(first, limit, |first, limit| self.inner.unread_run(first, limit))
    }

    fn damage(&self) -> Damage {
        self.inner.damage()
    }

    fn contradictions(&self) -> Result<Vec<String>, ReadError> {
        self.inner.contradictions()
    }

    fn check(&self) -> Result<Check, ReadError> {
        self.inner.check()
    }

    fn read(&self, addr: PhysAddr, bytes: &mut [u8]) -> Result<PageState, ReadError> {
        self.inner.read(addr, bytes)
    }
}

impl Repaged {
    /// Asks the container for a run of frames.
    fn run(&self, first: Pfn, limit: u64, ask: impl Fn(Pfn, u64) -> u64) -> u64 {
        let (theirs, ours) = self.shifts();
        if ours > 0 {
            return ask(Pfn(first.0 << ours), limit.saturating_mul(1 << ours)) >> ours;
        }
        let skip = first.0 & ((1 << theirs) - 1);
        let found = ask(Pfn(first.0 >> theirs), (skip.saturating_add(limit)).div_ceil(1 << theirs));
        found.saturating_mul(1 << theirs).saturating_sub(skip).min(limit)
    }
}

/// What a dump has for memory while its memory is put into other hands.
pub(crate) struct Nothing(pub(crate) MemoryMap);

impl PhysicalMemory for Nothing {
    fn map(&self) -> &MemoryMap {
        &self.0
    }

    fn read_page(&self, _: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        page.fill(0);
        Ok(PageState::Absent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Range, RangeSet};
    use proptest::prelude::*;
    use std::ops::Range as StdRange;

    /// A container whose frames hold their own number, with some in other states.
    struct Container(MemoryMap, Vec<PageState>);

    impl PhysicalMemory for Container {
        fn map(&self) -> &MemoryMap {
            &self.0
        }

        fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
            let state = self.1.get(pfn.0 as usize).copied().unwrap_or(PageState::Absent);
            let addr = self.0.page_size().addr(pfn).0;
            for (i, part) in page.chunks_exact_mut(4096).enumerate() {
                let number = (addr >> 12) + i as u64 + 1;
                part.fill(if state == PageState::Present { number as u8 } else { 0 });
            }
            Ok(state)
        }

        fn drop_excluded(&self, first: Pfn, chunk: &mut Chunk) -> Result<u64, ReadError> {
            assert_eq!(first.0 % CHUNK_FRAMES, 0);
            let excluded =
                |(i, state): (usize, &PageState)| (*state == PageState::Excluded).then_some(i as u64);
            let all: Vec<u64> = self.1.iter().enumerate().filter_map(excluded).collect();
            let mine = all.iter().filter(|i| **i >= first.0 && **i < first.0 + CHUNK_FRAMES);
            Ok(mine.map(|i| chunk.remove(i - first.0, i - first.0 + 1)).sum())
        }

        fn lost_run(&self, first: Pfn, limit: u64) -> u64 {
            let rest = self.1.get(first.0 as usize..).unwrap_or_default();
            (rest.iter().take_while(|s| **s == PageState::Lost).count() as u64).min(limit)
        }
    }

    fn any_states() -> impl Strategy<Value = Vec<PageState>> {
        use PageState::*;
        prop::collection::vec(prop::sample::select(vec![Present, Present, Zero, Excluded, Lost]), 1..40)
    }

    fn container(size: PageSize, states: Vec<PageState>) -> Box<dyn PhysicalMemory> {
        let end = size.addr(Pfn(states.len() as u64));
        let bytes: RangeSet<PhysAddr> = [Range::new(PhysAddr(0), end)].into_iter().collect();
        Box::new(Container(MemoryMap::new(size, bytes), states))
    }

    /// What frames of `size` must be, by the smallest parts of them.
    fn expected(states: &[PageState], theirs: PageSize, ours: PageSize, pfn: u64) -> (PageState, Vec<u8>) {
        let parts: StdRange<u64> = pfn * (ours.bytes() >> 12)..(pfn + 1) * (ours.bytes() >> 12);
        let of = |part: u64| {
            states.get((part >> (theirs.shift() - 12)) as usize).copied().unwrap_or(PageState::Absent)
        };
        let has = |state| parts.clone().any(|part| of(part) == state);
        use PageState::*;
        let state = [Lost, Excluded, Present, Zero].into_iter().find(|s| has(*s)).unwrap_or(Absent);
        let byte = |part: u64| if state == Present && of(part) == Present { (part + 1) as u8 } else { 0 };
        (state, parts.clone().flat_map(|part| vec![byte(part); 4096]).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

        #[test]
        fn every_page_is_what_the_containers_frames_are(
            states in any_states(), shifts in (12u32..=16, 12u32..=16), first in 0u64..20, count in 1usize..20,
        ) {
            let [theirs, ours] = [shifts.0, shifts.1].map(|shift| PageSize::new(1 << shift).unwrap());
            let memory = Repaged::new(container(theirs, states.clone()), ours);
            let mut pages = vec![0xaa; count * ours.len()];
            let mut found = vec![PageState::Absent; count];
            memory.read_run(Pfn(first), &mut pages, &mut found).unwrap();
            let mut chunk = Chunk::of_map(memory.map(), 0);
            let before = chunk.count();
            let dropped = memory.drop_excluded(Pfn(0), &mut chunk).unwrap();
            prop_assert_eq!(before - chunk.count(), dropped);
            for (i, (page, state)) in pages.chunks_exact(ours.len()).zip(&found).enumerate() {
                let pfn = first + i as u64;
                let (wanted, content) = expected(&states, theirs, ours, pfn);
                prop_assert_eq!(*state, wanted);
                prop_assert!(page == content, "page {}", pfn);
                let known_excluded = wanted == PageState::Excluded;
                prop_assert!(!known_excluded || !chunk.contains(pfn));
                prop_assert!(matches!(wanted, PageState::Excluded | PageState::Lost | PageState::Absent) || chunk.contains(pfn));
            }
            let run = memory.lost_run(Pfn(first), count as u64);
            prop_assert!(found[..run as usize].iter().all(|s| *s == PageState::Lost));
        }
    }
}
