//! Memory with some bytes of it replaced.

use std::collections::BTreeMap;
use vmcore::{
    Chunk, Damage, MemoryMap, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory, ReadError, VirtAddr,
};

/// What is in place of what the machine's memory held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The same byte this many times.
    Fill {
        /// The byte.
        byte: u8,
        /// How many.
        len: u64,
    },
}

impl Content {
    /// The number of bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Fill { len, .. } => *len,
        }
    }

    /// Reports whether nothing is replaced.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes from `start` on, `len` of them.
    fn part(&self, start: u64, len: u64) -> Self {
        match self {
            Self::Bytes(bytes) => Self::Bytes(bytes[start as usize..(start + len) as usize].to_vec()),
            Self::Fill { byte, .. } => Self::Fill { byte: *byte, len },
        }
    }
}

/// Content inside one frame.
struct Patch {
    offset: usize,
    content: Content,
}

/// Physical memory with patches over it. Only pages whose bytes are known are changed: what a dump lacks stays what it
/// was.
pub struct Overlay {
    memory: Box<dyn PhysicalMemory>,
    patches: BTreeMap<Pfn, Vec<Patch>>,
}

impl Overlay {
    /// Memory with nothing changed yet.
    pub fn new(memory: Box<dyn PhysicalMemory>) -> Self {
        Self { memory, patches: BTreeMap::new() }
    }

    /// Replaces what is at `at`; later contents go over earlier ones.
    pub fn put(&mut self, at: PhysAddr, content: &Content) {
        let page = self.memory.map().page_size();
        for (start, here, len) in pieces(page, at.0, content.len()) {
            let patch = Patch { offset: page.offset(here), content: content.part(start, len) };
            self.patches.entry(page.pfn(PhysAddr(here))).or_default().push(patch);
        }
    }

    /// Replaces what is at virtual address `at`, each page where `translate` finds it: neighbours there need not be
    /// neighbours in memory.
    ///
    /// # Errors
    ///
    /// Those of `translate`; what came before is replaced then.
    pub fn put_virtual<E>(
        &mut self,
        at: VirtAddr,
        content: &Content,
        mut translate: impl FnMut(VirtAddr) -> Result<PhysAddr, E>,
    ) -> Result<(), E> {
        let page = self.memory.map().page_size();
        for (start, here, len) in pieces(page, at.0, content.len()) {
            self.put(translate(VirtAddr(here))?, &content.part(start, len));
        }
        Ok(())
    }

    /// Puts what replaces bytes of frame `pfn` over `page`, when its content is known.
    fn apply(&self, pfn: Pfn, page: &mut [u8], state: PageState) -> PageState {
        let Some(patches) = self.patches.get(&pfn).filter(|_| state.is_known()) else { return state };
        for Patch { offset, content } in patches {
            let place = &mut page[*offset..*offset + content.len() as usize];
            match content {
                Content::Bytes(bytes) => place.copy_from_slice(bytes),
                Content::Fill { byte, .. } => place.fill(*byte),
            }
        }
        PageState::Present
    }
}

/// Cuts `len` bytes at `at` at the borders of pages: how far from the start, where, and how many.
fn pieces(page: PageSize, at: u64, len: u64) -> impl Iterator<Item = (u64, u64, u64)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let here = at.wrapping_add(done);
        let piece = (page.bytes() - page.offset(here) as u64).min(len - done);
        let start = done;
        done += piece;
        (piece > 0).then_some((start, here, piece))
    })
}

impl PhysicalMemory for Overlay {
    fn map(&self) -> &MemoryMap {
        self.memory.map()
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        let state = self.memory.read_page(pfn, page)?;
        Ok(self.apply(pfn, page, state))
    }

    fn read_run(&self, first: Pfn, pages: &mut [u8], states: &mut [PageState]) -> Result<(), ReadError> {
        self.memory.read_run(first, pages, states)?;
        let size = self.map().page_size().len();
        let end = Pfn(first.0 + states.len() as u64);
        for &pfn in self.patches.range(first..end).map(|(pfn, _)| pfn) {
            let i = (pfn.0 - first.0) as usize;
            states[i] = self.apply(pfn, &mut pages[i * size..(i + 1) * size], states[i]);
        }
        Ok(())
    }

    fn drop_excluded(&self, first: Pfn, chunk: &mut Chunk) -> Result<u64, ReadError> {
        self.memory.drop_excluded(first, chunk)
    }

    fn lost_run(&self, first: Pfn, limit: u64) -> u64 {
        self.memory.lost_run(first, limit)
    }

    fn damage(&self) -> Damage {
        self.memory.damage()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmcore::Range;

    /// Three frames of sevens; the second was left out by an earlier filter.
    struct Sevens(MemoryMap);

    impl PhysicalMemory for Sevens {
        fn map(&self) -> &MemoryMap {
            &self.0
        }

        fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
            let state = [PageState::Present, PageState::Excluded, PageState::Zero][pfn.0 as usize];
            page.fill(if state == PageState::Present { 7 } else { 0 });
            Ok(state)
        }
    }

    fn overlay() -> Overlay {
        let bytes = [Range::new(PhysAddr(0), PhysAddr(0x3000))].into_iter().collect();
        Overlay::new(Box::new(Sevens(MemoryMap::new(PageSize::K4, bytes))))
    }

    fn all(overlay: &Overlay) -> (Vec<u8>, Vec<PageState>) {
        let mut bytes = vec![1; 0x3000];
        let mut states = vec![PageState::Absent; 3];
        overlay.read_run(Pfn(0), &mut bytes, &mut states).unwrap();
        for (i, state) in states.iter().enumerate() {
            let mut page = vec![1; 0x1000];
            assert_eq!(overlay.read_page(Pfn(i as u64), &mut page).unwrap(), *state);
            assert_eq!(page, bytes[i * 0x1000..(i + 1) * 0x1000]);
        }
        (bytes, states)
    }

    #[test]
    fn contents_cross_pages_and_leave_alone_what_the_dump_lacks() {
        let mut overlay = overlay();
        overlay.put(PhysAddr(0xffe), &Content::Fill { byte: b'X', len: 0x1004 });
        let (bytes, states) = all(&overlay);
        assert_eq!(states, [PageState::Present, PageState::Excluded, PageState::Present]);
        assert_eq!(&bytes[0xffc..0x1002], [7, 7, b'X', b'X', 0, 0]);
        assert_eq!(&bytes[0x1ffe..0x2004], [0, 0, b'X', b'X', 0, 0]);
    }

    #[test]
    fn virtual_neighbours_go_where_each_page_lies_and_the_last_word_counts() {
        let mut overlay = overlay();
        let swapped = |at: VirtAddr| -> Result<_, ()> {
            Ok(PhysAddr(if at.0 < 0x1000 { at.0 + 0x2000 } else { at.0 - 0x1000 }))
        };
        overlay.put_virtual(VirtAddr(0xffe), &Content::Bytes(vec![1, 2, 3, 4]), swapped).unwrap();
        overlay.put(PhysAddr(1), &Content::Fill { byte: 9, len: 1 });
        let (bytes, _) = all(&overlay);
        assert_eq!((&bytes[0x2ffe..], &bytes[..3]), (&[1, 2][..], &[3, 9, 7][..]));
    }
}
