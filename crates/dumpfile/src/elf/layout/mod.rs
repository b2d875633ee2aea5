//! Where a core's parts go, whether it is written to a file or read where it is.
//!
//! ```text
//! ELF header | program headers | notes | pages, in frame order
//! ```
//!
//! Readers want headers and notes at the file's beginning, so the number of program headers, or a bound of it, comes first.

mod addresses;

pub(super) use addresses::{Addresses, Load};

use vmcore::{Dump, MemoryMap, Range, WordSize};

/// Consecutive frames of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// The first frame.
    pub(super) first: u64,
    /// Frames that have bytes in the file, from the first on.
    pub(super) data: u64,
    /// All frames; those past `data` are zeros.
    pub(super) frames: u64,
    /// Where the first frame's bytes are, or would be.
    pub(super) offset: u64,
}

/// Bytes of a program header, of 64 bits.
pub(super) const PROGRAM_HEADER_LEN: u64 = 56;

/// What is where in a core.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) is_64: bool,
    pub(super) page_size: vmcore::PageSize,
    pub(super) addresses: Addresses,
    /// Program headers that have room.
    pub(super) max_headers: u64,
    pub(super) notes_at: u64,
    pub(super) notes_len: u64,
    /// Where the pages start.
    pub(super) data_at: u64,
}

impl Places {
    /// The virtual addresses of the memory of `dump`, which is all that is needed to know how many headers there are.
    pub(super) fn addresses(dump: &Dump) -> Addresses {
        Addresses::new(&dump.virt, dump.page_size())
    }

    /// Lays out a core of at most `frames` pages of `map` with `max_headers` program headers and `notes_len` bytes of notes.
    pub(super) fn new(
        dump: &Dump,
        map: &MemoryMap,
        addresses: Addresses,
        frames: u64,
        max_headers: u64,
        notes_len: u64,
    ) -> Self {
        let page_size = dump.page_size();
        let table = |is_64| {
            if is_64 { 64 + 64 + max_headers * PROGRAM_HEADER_LEN } else { 52 + 40 + max_headers * 32 }
        };
        let data_at = |is_64| (table(is_64) + notes_len).next_multiple_of(page_size.bytes());
        let end = data_at(false).saturating_add(frames.saturating_mul(page_size.bytes()));
        let top = page_size.addr(map.max_pfn()).0;
        // 32-bit machines with more memory than 32 bits can address have 64-bit cores too.
        let is_64 = dump.machine.word == WordSize::Bits64 || end.max(top) > u64::from(u32::MAX);
        Self {
            is_64,
            page_size,
            addresses,
            max_headers,
            notes_at: table(is_64),
            notes_len,
            data_at: data_at(is_64),
        }
    }

    /// Hands every PT_LOAD of a core of `stretches` to `each`, as [`Addresses::loads`] does.
    pub(super) fn loads(&self, stretches: &[Stretch], each: impl FnMut(Load)) {
        self.addresses.loads(self.page_size, stretches, each);
    }
}

impl Addresses {
    /// Hands every PT_LOAD of the finished core to `each`: memory in frame order, then the aliases.
    pub(super) fn loads(
        &self,
        page_size: vmcore::PageSize,
        stretches: &[Stretch],
        mut each: impl FnMut(Load),
    ) {
        let size = page_size.bytes();
        let whole = |s: &Stretch| Load {
            paddr: s.first * size,
            vaddr: 0,
            offset: s.offset,
            filesz: s.data * size,
            memsz: s.frames * size,
        };
        match stretches {
            // crash takes memory past the file's bytes for zeros, but not when there is a single segment.
            [only] if only.data < only.frames => {
                let cut = (only.first + only.data) * size;
                let (data, zeros) = whole(only).split(cut);
                self.place(data, &mut each);
                self.place(zeros, &mut each);
            }
            _ => stretches.iter().for_each(|stretch| self.place(whole(stretch), &mut each)),
        }
        for alias in &self.aliases {
            let first = stretches.partition_point(|s| (s.first + s.frames) * size <= alias.start);
            for stretch in stretches[first..].iter().take_while(|s| s.first * size < alias.end) {
                let load = whole(stretch).within(alias.start, alias.end);
                for piece in self.main.within(Range::new(load.paddr, load.paddr + load.memsz)) {
                    let part = load.within(piece.start, piece.end);
                    let vaddr = alias.file_offset(part.paddr);
                    // Where the direct map says the same, it is no alias.
                    if piece.file_offset(part.paddr) != vaddr {
                        each(Load { vaddr, ..part });
                    }
                }
            }
        }
    }
}
