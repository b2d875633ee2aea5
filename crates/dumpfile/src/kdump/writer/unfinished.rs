//! A file whose writer was interrupted.

use super::plan::{ALL_FRAMES, Plan};
use super::{Checkpoint, Options};
use crate::codec::Method;
use crate::input::Input;
use crate::kdump::header::Headers;
use crate::kdump::layout::{PAGE_DESC_LEN, PageDesc, SIGNATURE};
use crate::kdump::sums::{self, SumsWriter};
use crate::output::Sink;
use crate::{Error, Written};
use std::fs::File;
use std::path::Path;
use vmcore::{CHUNK_FRAMES, Chunk, Dump, Machine, Pfn, Range, ReasonCounts, Selection, VmcoreInfo};

/// A kdump-compressed file that a [`Writer`](super::Writer) began and did not end, and what it lacks.
///
/// After a power cut the disk may hold any of the writes since the last time the file was made durable, in any order,
/// each whole, torn or not at all. So a page counts as done only when its descriptor makes sense and its bytes lie
/// below the [`Checkpoint`]: these were durable when the checkpoint was taken, and no later write touched them. A zero
/// page has no bytes of its own, and its descriptor is one of two words that are written whole or not at all.
/// Everything else is redone, whatever its descriptor says, and what it says is cleared first: offsets are assigned
/// again from the checkpoint on, so an old descriptor would come to point at another page's bytes, below the next
/// checkpoint.
#[derive(Debug)]
pub struct Unfinished {
    input: Input,
    plan: Plan,
    machine: Machine,
    /// The flags of the methods that its pages may have.
    methods: u32,
    vmcoreinfo: Option<VmcoreInfo>,
    /// Where the bitmaps begin.
    bitmaps: u64,
    next_offset: u64,
    /// Only a [`Skeleton`](crate::kdump::Skeleton) of the file is here.
    skeleton: bool,
    whole: Selection,
    remaining: Selection,
    done: Written,
}

impl Unfinished {
    /// Reads from the file itself which pages it should have, and which of them it has.
    ///
    /// `spill` makes an empty work file, asked for twice; without one the page sets stay in memory.
    ///
    /// # Errors
    ///
    /// When the file is not a kdump-compressed file that hadump began, or ends before the bytes of pages do begin; when
    /// it cannot be read.
    pub fn open(
        path: &Path,
        checkpoint: &Checkpoint,
        mut spill: impl FnMut() -> std::io::Result<Option<File>>,
    ) -> Result<Self, Error> {
        let mut spill =
            || spill().map_err(|e| crate::output::write_error(path, "make a work file beside it", e));
        let dump = crate::kdump::open_unfinished(Input::open(path)?)?;
        let input = Input::open(path)?;
        let mut headers = Headers::read(&input)?;
        let geometry = headers.geometry(&input)?;
        let at = headers.page_size.bytes() + 8;
        let level = dump
            .source
            .dump_level
            .ok_or_else(|| input.damaged("dump_level", at, headers.sub.dump_level.to_string(), "0 to 31"))?;
        let whole = Selection::everything(&*dump.memory, level, spill()?)?;

        let mut header = vec![0; headers.layout.header_len()];
        input.read_at(0, &mut header)?;
        let status = headers.layout.status_offset();
        let bits = headers.header.status & !super::STATUS_INCOMPLETE;
        header[status..status + 4].copy_from_slice(&headers.layout.order.put_u32(bits));
        header[..SIGNATURE.len()].copy_from_slice(SIGNATURE);
        let frames = headers.part().map_or(ALL_FRAMES, |(start, end)| Range::new(Pfn(start), Pfn(end)));
        let zero_page = geometry.descriptors + whole.kept() * PAGE_DESC_LEN as u64;
        let mut plan = Plan {
            layout: headers.layout,
            page_size: headers.page_size,
            header,
            descriptors: geometry.descriptors,
            zero_page,
            frames,
            first_rank: 0,
            pages: 0,
            sums: None,
        };
        plan.place_part(&crate::pipeline::Ranks::new(&whole)?)?;
        if let Some(data) = sums::announced_data(&input, &headers)? {
            plan.sums = plan.place_sums(geometry.exist).filter(|places| places.data() == data);
            if plan.sums.is_none() {
                let found = format!("{data:#x}, where the bytes of pages begin");
                return Err(input
                    .damaged("the note of the checksums", 0, found, "where hadump puts them")
                    .into());
            }
        }
        // Checksums of no page are a hole, at which a file may end.
        let least = if plan.sums.is_some() { zero_page + headers.page_size.bytes() } else { plan.data() };
        if checkpoint.next_offset < plan.data() || input.len() < least {
            let found = format!("{:#x} in a file of {:#x} bytes", checkpoint.next_offset, input.len());
            let expected = format!("{:#x} or more in both, where the bytes of pages begin", plan.data());
            return Err(input.damaged("the checkpoint's next_offset", 0, found, expected).into());
        }
        // Pages that were given their places and not written, because the writer was asked to stop, are not in the file.
        let next_offset = checkpoint.next_offset.min(input.len()).max(plan.data());
        let mut unfinished = Self {
            remaining: Selection::new(whole.map().clone(), level, spill()?),
            machine: dump.machine,
            methods: Method::ALL.into_iter().fold(0, |flags, method| flags | bits & method.flag()),
            vmcoreinfo: dump.vmcoreinfo,
            bitmaps: geometry.exist,
            input,
            plan,
            next_offset,
            skeleton: headers.skeleton,
            whole,
            done: Written::default(),
        };
        unfinished.find_remaining()?;
        Ok(unfinished)
    }

    /// All pages that the file should have; of a part of a split set, those of the whole set.
    pub fn whole(&self) -> &Selection {
        &self.whole
    }

    /// The pages that are still to be written.
    pub fn remaining(&self) -> &Selection {
        &self.remaining
    }

    /// What is in the file.
    pub fn done(&self) -> &Written {
        &self.done
    }

    pub(super) fn plan(&self) -> Plan {
        self.plan.clone()
    }

    pub(super) fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// Refuses a dump or options that the file was not begun with.
    pub(super) fn check(&self, dump: &Dump, options: &Options) -> Result<(), Error> {
        let same_info = dump.vmcoreinfo == self.vmcoreinfo;
        let what = if dump.machine != self.machine || dump.page_size() != self.plan.page_size || !same_info {
            "begun from another dump: its machine, page size or VMCOREINFO differ".to_owned()
        } else if options.method.flags() != self.methods {
            let names = |flags: u32| {
                let methods = Method::ALL.into_iter().filter(|method| flags & method.flag() != 0);
                let names: Vec<&str> = methods.map(Method::name).collect();
                if names.is_empty() { "no compression".to_owned() } else { names.join(" and ") }
            };
            let (found, asked) = (names(self.methods), names(options.method.flags()));
            format!("begun with {found}; resume with that, not with {asked}")
        } else {
            return Ok(());
        };
        Err(Error::Unsupported { path: self.input.path().to_owned(), what })
    }

    /// Tells the pages that are done from the others, chunk by chunk.
    fn find_remaining(&mut self) -> Result<(), Error> {
        let mut table = Table::new(&self.input, &self.plan);
        let mut index = 0;
        for position in 0..self.whole.chunk_count() {
            let (first, chunk) = self.whole.chunk(position)?;
            let chunk = within(first, chunk, self.plan.frames);
            let mut left = chunk.clone();
            for i in chunk.runs().flatten() {
                if self.plan.is_done(table.get(index)?, self.next_offset, &mut self.done, self.methods) {
                    left.set(i, i + 1, false);
                }
                index += 1;
            }
            self.remaining.push(first.0 / CHUNK_FRAMES, left, &ReasonCounts::default())?;
        }
        self.done.bytes = self.next_offset;
        self.done.unwritten_pages = self.remaining.kept();
        Ok(())
    }

    /// Clears the descriptors of the pages that remain, where there are any.
    pub(super) fn clear_rest(&self, out: &dyn Sink) -> Result<(), Error> {
        self.restate(out, |desc, done| (desc != [0; PAGE_DESC_LEN] && !done).then_some([0; PAGE_DESC_LEN]))
    }

    /// Rewrites zero-page descriptors that only the skeleton may have. A skeleton is durable before its file, so
    /// descriptors of pages of zeros, which no checkpoint covers, may have been lost with the file's last bytes.
    pub(super) fn repeat_zeros(&self, out: &dyn Sink) -> Result<(), Error> {
        if !self.skeleton || self.done.zero_pages == 0 {
            return Ok(());
        }
        let order = self.plan.layout.order;
        let is_zero =
            |desc: &[u8; PAGE_DESC_LEN]| PageDesc::decode(desc, order).offset == self.plan.zero_page;
        self.restate(out, |desc, done| (done && is_zero(&desc)).then_some(desc))
    }

    /// Adds the bitmaps and the descriptors of the pages that are done to `sums`.
    pub(super) fn add_to(&self, sums: &SumsWriter) -> Result<(), Error> {
        let mut bytes = vec![0; MAX_RESTATED];
        let mut at = self.bitmaps;
        while at < self.plan.descriptors {
            let len = (self.plan.descriptors - at).min(bytes.len() as u64) as usize;
            if self.input.next_data(at) < at + len as u64 {
                self.input.read_at(at, &mut bytes[..len])?;
                sums.add_meta(at, &bytes[..len]);
            }
            at += len as u64;
        }
        self.visit(
            |desc, done| done.then_some(desc),
            |offset, bytes| {
                sums.add_meta(offset, bytes);
                Ok(())
            },
        )
    }

    /// Writes the descriptors that `new` answers, by what they are and whether their page is done; neighbours at once.
    fn restate(
        &self,
        out: &dyn Sink,
        new: impl Fn([u8; PAGE_DESC_LEN], bool) -> Option<[u8; PAGE_DESC_LEN]>,
    ) -> Result<(), Error> {
        self.visit(new, |offset, bytes| out.write_at(offset, bytes))
    }

    /// Passes the descriptors that `new` answers to `take`, with the offset of the first of each call.
    fn visit(
        &self,
        new: impl Fn([u8; PAGE_DESC_LEN], bool) -> Option<[u8; PAGE_DESC_LEN]>,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut table = Table::new(&self.input, &self.plan);
        let mut bytes = Vec::new();
        let mut put = |end: u64, bytes: &mut Vec<u8>| {
            let start = self.plan.descriptors + end * PAGE_DESC_LEN as u64 - bytes.len() as u64;
            let written = if bytes.is_empty() { Ok(()) } else { take(start, bytes) };
            bytes.clear();
            written
        };
        let mut index = 0;
        let mut ignored = Written::default();
        for position in 0..self.whole.chunk_count() {
            let (first, chunk) = self.whole.chunk(position)?;
            for _ in within(first, chunk, self.plan.frames).runs().flatten() {
                let desc = table.get(index)?;
                match new(desc, self.plan.is_done(desc, self.next_offset, &mut ignored, self.methods)) {
                    Some(new) => bytes.extend(new),
                    None => put(index, &mut bytes)?,
                }
                index += 1;
                if bytes.len() >= MAX_RESTATED {
                    put(index, &mut bytes)?;
                }
            }
        }
        put(index, &mut bytes)
    }
}

/// The most bytes of descriptors that are written at once.
const MAX_RESTATED: usize = 4096 * PAGE_DESC_LEN;

/// The frames of `chunk`, which begins at `first`, that lie in `frames`.
fn within(first: Pfn, mut chunk: Chunk, frames: Range<Pfn>) -> Chunk {
    let inside = Range::new(first, Pfn(first.0 + CHUNK_FRAMES)).intersect(&frames);
    if inside.is_empty() {
        return Chunk::empty();
    }
    chunk.set(0, inside.start.0 - first.0, false);
    chunk.set(inside.end.0 - first.0, CHUNK_FRAMES, false);
    chunk
}

impl Plan {
    /// Reports whether the page of this descriptor is in the file for good, and counts it then.
    fn is_done(&self, desc: [u8; PAGE_DESC_LEN], next_offset: u64, done: &mut Written, methods: u32) -> bool {
        let order = self.layout.order;
        let PageDesc { offset, size, flags } = PageDesc::decode(&desc, order);
        let page = self.page_size.bytes();
        let whole = u64::from(size) == page && flags == 0;
        if offset == self.zero_page && whole {
            done.zero_pages += 1;
            return true;
        }
        let method = Method::from_flag(flags).filter(|method| methods & method.flag() != 0);
        let sane = whole || (1..=page).contains(&size.into()) && method.is_some();
        let durable = offset >= self.data() && offset.saturating_add(size.into()) <= next_offset;
        if sane && durable {
            done.data_pages += 1;
            done.raw_pages += u64::from(whole && methods != 0);
            if let Some(method) = method {
                done.compressed_pages[method.index()] += 1;
            }
        }
        sane && durable
    }
}

/// The descriptors of a file, read in ascending order.
struct Table<'a> {
    input: &'a Input,
    at: u64,
    /// The number of the first descriptor at hand, and those at hand.
    first: u64,
    bytes: Vec<u8>,
}

/// How many descriptors are read at once.
const TABLE_READ: u64 = 4096;

impl<'a> Table<'a> {
    fn new(input: &'a Input, plan: &Plan) -> Self {
        Self { input, at: plan.descriptors, first: 0, bytes: Vec::new() }
    }

    /// The descriptor of this number; zeros where the file has a hole or ends.
    fn get(&mut self, index: u64) -> Result<[u8; PAGE_DESC_LEN], Error> {
        let have = (self.bytes.len() / PAGE_DESC_LEN) as u64;
        if !(self.first..self.first + have).contains(&index) {
            self.first = index;
            self.bytes.clear();
            self.bytes.resize(TABLE_READ as usize * PAGE_DESC_LEN, 0);
            let at = self.at + index * PAGE_DESC_LEN as u64;
            let len = self.input.len().saturating_sub(at).min(self.bytes.len() as u64);
            if self.input.next_data(at) < at + len {
                self.input.read_at(at, &mut self.bytes[..len as usize])?;
            }
        }
        let descs = self.bytes.as_chunks().0;
        Ok(descs[(index - self.first) as usize])
    }
}
