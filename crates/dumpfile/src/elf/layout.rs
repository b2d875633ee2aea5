//! Where a written core's parts go, before and while its pages are read.
//!
//! ```text
//! ELF header | room for the program headers | notes | pages with content, in frame order
//! ```
//!
//! How many program headers there are is known when the last page has been seen, but readers want them at the
//! file's beginning and the notes before the pages. So the table gets room for as many as there can be; what
//! is not used stays a hole of the file.

use super::header::MAX_HEADERS;
use super::lost::Lost;
use crate::Error;
use crate::pipeline::Batch;
use crate::segments::{Content, Piece, Table};
use vmcore::{Dump, PageSize, PageState, Pfn, Range, Selection, VirtSegment};

/// Zero pages in a row that end a segment, as memory without bytes in the file. Shorter runs are holes of the
/// sparse file inside a segment: a program header costs 56 bytes and every reader a step of a linear search.
const ZERO_RUN: u64 = 64;

/// How many segments runs of zeros may make; in larger dumps [`ZERO_RUN`] grows, so that the table stays small.
const MAX_ZERO_RUNS: u64 = MAX_HEADERS / 4;

/// Room for segments that cannot be foreseen: each unreadable stretch cuts one in two.
pub(super) const UNFORESEEN: u64 = 1024;

/// The kernel image is mapped once beside the direct map; a few more are no harm.
const MAX_ALIASES: usize = 8;

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

/// The segments so far, and where the next page with content goes.
///
/// Memory: 32 bytes for each segment, of which there are at most [`MAX_HEADERS`]: 16 MiB.
#[derive(Debug)]
pub(super) struct Builder {
    page_size: PageSize,
    zero_run: u64,
    limit: usize,
    stretches: Vec<Stretch>,
    next_offset: u64,
    lost: Lost,
}

impl Builder {
    pub(super) fn new(plan: &Plan, lost: Lost) -> Self {
        Self {
            page_size: plan.page_size,
            zero_run: plan.zero_run,
            limit: plan.max_stretches as usize,
            stretches: Vec::new(),
            next_offset: plan.data_at,
            lost,
        }
    }

    /// Adds `count` frames of zeros, above all frames before; `None` when the table is full.
    pub(super) fn zeros(&mut self, first: Pfn, count: u64) -> Option<()> {
        match self.touching(first) {
            Some(last) => last.frames += count,
            None => {
                self.begin(Stretch { first: first.0, data: 0, frames: count, offset: self.next_offset })?;
            }
        }
        Some(())
    }

    /// Adds `count` frames with content, above all frames before, and returns where they go in the file; `None` when
    /// the table is full.
    pub(super) fn data(&mut self, first: Pfn, count: u64) -> Option<u64> {
        let (size, zero_run) = (self.page_size.bytes(), self.zero_run);
        let joined = self.touching(first).filter(|last| last.frames - last.data < zero_run).map(|last| {
            let at = last.offset + last.frames * size;
            last.frames += count;
            last.data = last.frames;
            at
        });
        let at = match joined {
            Some(at) => at,
            None => {
                let offset = self.next_offset;
                self.begin(Stretch { first: first.0, data: count, frames: count, offset })?;
                offset
            }
        };
        self.next_offset = at + count * size;
        Some(at)
    }

    /// The segment that ends where `first` begins.
    fn touching(&mut self, first: Pfn) -> Option<&mut Stretch> {
        self.stretches.last_mut().filter(|s| s.first + s.frames == first.0)
    }

    fn begin(&mut self, stretch: Stretch) -> Option<()> {
        (self.stretches.len() < self.limit).then(|| self.stretches.push(stretch))
    }

    /// Where the next page with content would go: the end of the file.
    pub(super) fn end(&self) -> u64 {
        self.next_offset
    }

    /// Takes note of frames that are in no segment and should be, above all frames before.
    pub(super) fn lose(&mut self, frames: Range<Pfn>) {
        self.lost.add(frames);
    }

    /// The segments, and the pages they lack.
    pub(super) fn finish(self) -> (Vec<Stretch>, Lost) {
        (self.stretches, self.lost)
    }
}

/// A kind of page as far as segments care, for a number of pages in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) state: PageState,
    pub(super) count: u64,
    /// Where the bytes go, once it is known; for [`PageState::Present`] only.
    pub(super) offset: Option<u64>,
}

/// Puts what a batch consists of into `spans`, in order; no span reaches from one run of the batch into the next.
pub(super) fn spans_of(batch: &Batch, spans: &mut Vec<Span>) {
    spans.clear();
    for run in batch.runs() {
        for same in run.states.chunk_by(|a, b| a == b) {
            spans.push(Span { state: same[0], count: same.len() as u64, offset: None });
        }
    }
}

/// What is known of a core before its first page is read.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) is_64: bool,
    pub(super) page_size: PageSize,
    pub(super) addresses: Addresses,
    zero_run: u64,
    max_stretches: u64,
    /// Program headers that have room.
    pub(super) max_headers: u64,
    pub(super) notes_at: u64,
    pub(super) notes_len: u64,
    /// Where the pages start.
    pub(super) data_at: u64,
}

impl Plan {
    /// Lays out a core of the pages of `selection` with `notes_len` bytes of notes.
    ///
    /// # Errors
    ///
    /// When the pages to keep are in more separate runs than a core should have segments.
    pub(super) fn new(
        dump: &Dump,
        selection: &Selection,
        notes_len: u64,
        path: &std::path::Path,
    ) -> Result<Self, Error> {
        let page_size = dump.page_size();
        let addresses = Addresses::new(&dump.virt, page_size);
        let windows: Vec<Range<Pfn>> = addresses
            .aliases
            .iter()
            .map(|a| Range::new(Pfn(a.start >> page_size.shift()), Pfn(a.end >> page_size.shift())))
            .collect();
        let mut all = Runs::default();
        let mut aliased = vec![Runs::default(); windows.len()];
        for position in 0..selection.chunk_count() {
            let (first, chunk) = selection.chunk(position)?;
            for run in chunk.runs() {
                let run = Range::new(Pfn(first.0 + run.start), Pfn(first.0 + run.end));
                all.add(run);
                for (window, runs) in windows.iter().zip(&mut aliased) {
                    runs.add(run.intersect(window));
                }
            }
        }
        let zero_run = ZERO_RUN.max(all.frames.div_ceil(MAX_ZERO_RUNS));
        let max_stretches = all.stretches(zero_run) + UNFORESEEN;
        // A single segment may be cut in two, and so may each segment where the virtual address jumps.
        let direct = max_stretches + 1 + addresses.jumps();
        let max_headers = aliased
            .iter()
            .fold(1 + direct, |sum, runs| sum + runs.stretches(zero_run) + UNFORESEEN + addresses.jumps());
        if max_headers > MAX_HEADERS {
            return Err(Error::Unsupported {
                path: path.to_owned(),
                what: format!(
                    "the pages to keep are in {} separate runs, more than the {MAX_HEADERS} segments that a core \
                     can reasonably have; write a kdump-compressed file instead",
                    all.count
                ),
            });
        }
        let table = |is_64| if is_64 { 64 + 64 + max_headers * 56 } else { 52 + 40 + max_headers * 32 };
        let data_at = |is_64| (table(is_64) + notes_len).next_multiple_of(page_size.bytes());
        let end = data_at(false).saturating_add(all.frames.saturating_mul(page_size.bytes()));
        let top = page_size.addr(selection.map().max_pfn()).0;
        // 32-bit machines with more memory than 32 bits can address have 64-bit cores too.
        let is_64 = dump.machine.word == vmcore::WordSize::Bits64 || end.max(top) > u64::from(u32::MAX);
        Ok(Self {
            is_64,
            page_size,
            addresses,
            zero_run,
            max_stretches,
            max_headers,
            notes_at: table(is_64),
            notes_len,
            data_at: data_at(is_64),
        })
    }

    /// Hands every PT_LOAD of the finished core to `each`: memory in frame order, then the aliases.
    pub(super) fn loads(&self, stretches: &[Stretch], mut each: impl FnMut(Load)) {
        let size = self.page_size.bytes();
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
                self.addresses.place(data, &mut each);
                self.addresses.place(zeros, &mut each);
            }
            _ => stretches.iter().for_each(|stretch| self.addresses.place(whole(stretch), &mut each)),
        }
        for alias in &self.addresses.aliases {
            let first = stretches.partition_point(|s| (s.first + s.frames) * size <= alias.start);
            for stretch in stretches[first..].iter().take_while(|s| s.first * size < alias.end) {
                let load = whole(stretch).within(alias.start, alias.end);
                for piece in self.addresses.main.within(Range::new(load.paddr, load.paddr + load.memsz)) {
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

/// Runs of kept frames, counted.
#[derive(Clone, Copy, Debug, Default)]
struct Runs {
    count: u64,
    frames: u64,
}

impl Runs {
    fn add(&mut self, run: Range<Pfn>) {
        if !run.is_empty() {
            self.count += 1;
            self.frames += run.len();
        }
    }

    /// The most segments that the runs can make: after the first of a run, each takes `zero_run` frames of zeros
    /// and one with content.
    fn stretches(&self, zero_run: u64) -> u64 {
        self.count + self.frames / (zero_run + 1)
    }
}

/// One PT_LOAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) paddr: u64,
    pub(super) vaddr: u64,
    pub(super) offset: u64,
    pub(super) filesz: u64,
    pub(super) memsz: u64,
}

impl Load {
    /// The part at physical addresses `start..end`, which overlap the segment.
    fn within(self, start: u64, end: u64) -> Self {
        let skip = start.saturating_sub(self.paddr);
        let memsz = end.min(self.paddr + self.memsz) - self.paddr - skip;
        Self {
            paddr: self.paddr + skip,
            vaddr: self.vaddr,
            // A part without bytes begins nowhere; it is given the end of those before it.
            offset: self.offset + skip.min(self.filesz),
            filesz: self.filesz.saturating_sub(skip).min(memsz),
            memsz,
        }
    }

    /// The parts before and from physical address `at` on.
    fn split(self, at: u64) -> (Self, Self) {
        (self.within(self.paddr, at), self.within(at, self.paddr + self.memsz))
    }
}

/// The virtual addresses of physical memory.
#[derive(Debug)]
pub(super) struct Addresses {
    /// Pieces whose "file offset" is a virtual address.
    main: Table,
    /// Memory that has another virtual address beside that in `main`.
    aliases: Vec<Piece>,
}

impl Addresses {
    /// Tells the direct map from its aliases: it is the distance of virtual and physical addresses that most memory
    /// has. A kernel image that is mapped apart (x86_64: `0xffffffff80000000` and up) has another one.
    fn new(virt: &[VirtSegment], page_size: PageSize) -> Self {
        let delta = |v: &VirtSegment| v.virt.0.wrapping_sub(v.phys.start.0);
        let mut by_delta: Vec<(u64, u64)> = virt.iter().map(|v| (delta(v), v.phys.len())).collect();
        by_delta.sort_unstable();
        let direct = by_delta
            .chunk_by(|a, b| a.0 == b.0)
            .max_by_key(|same| same.iter().fold(0u64, |sum, (_, len)| sum.saturating_add(*len)))
            .map(|same| same[0].0);
        let piece = |v: &VirtSegment, rank| {
            // Frames are whole in the output, also those that were cut in two.
            let lead = page_size.offset(v.phys.start.0) as u64;
            Piece {
                start: v.phys.start.0 - lead,
                end: v.phys.end.0.checked_next_multiple_of(page_size.bytes()).unwrap_or(v.phys.end.0),
                offset: v.virt.0.wrapping_sub(lead),
                content: Content::Data,
                rank,
            }
        };
        let (near, far): (Vec<&VirtSegment>, Vec<&VirtSegment>) =
            virt.iter().partition(|v| Some(delta(v)) == direct);
        let main = near.iter().chain(&far).zip(0..).map(|(v, rank)| piece(v, rank)).collect();
        let main = Table::resolve(main).bridged();
        let mut aliases: Vec<Piece> = far.iter().map(|v| piece(v, 0)).collect();
        aliases.retain(|a| {
            main.within(Range::new(a.start, a.end)).any(|m| {
                let at = m.start.max(a.start);
                m.file_offset(at) != a.file_offset(at)
            })
        });
        aliases.truncate(MAX_ALIASES);
        Self { main, aliases }
    }

    /// How many times the distance between virtual and physical addresses may change.
    fn jumps(&self) -> u64 {
        2 * self.main.len() as u64
    }

    /// Emits `load` with its virtual address, in parts where virtual addresses are not contiguous as memory is.
    fn place(&self, load: Load, each: &mut impl FnMut(Load)) {
        let end = load.paddr + load.memsz;
        let mut at = load.paddr;
        for piece in self.main.within(Range::new(load.paddr, end)) {
            if at < piece.start {
                each(load.within(at, piece.start));
                at = piece.start;
            }
            let stop = piece.end.min(end);
            each(Load { vaddr: piece.file_offset(at), ..load.within(at, stop) });
            at = stop;
        }
        if at < end {
            each(load.within(at, end));
        }
    }
}
