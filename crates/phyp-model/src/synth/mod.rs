//! Synthetic kernel images: memory of any size that a filter finds its way through, with the answer beside it.
//!
//! The image is a ppc64 kernel 6.12 after a crash, as far as a filter looks: page tables (radix) or `vmemmap_list`
//! (hash), `mem_section`, a `struct page` for every frame, the free lists and counters of its zone, the names of
//! `init_uts_ns`, a printk ring buffer with known lines, and a VMCOREINFO note that says where all of it is. Layouts
//! are those of Linux 6.12 as its VMCOREINFO gives them; the image holds no code.
//!
//! Address translation ([`radix`], [`hash`]), page classes ([`pages`]) and the note ([`facts`]) are apart, so that
//! another architecture replaces the first and last and keeps the second.
//!
//! [`build`] puts the image into the memory of a [`Machine`](crate::Machine), to be crashed, copied and saved: one
//! kernel, with a log, and with terabytes of memory where frames share their `struct page`s. For a dump of any other
//! kernel, to be read and filtered, there is [`dump`]: every architecture and generation, smaller and without a log. The
//! hand-made images of `crates/kernel/tests/synthetic` are a third way, for tests that choose every word of a small one.

pub mod dump;
pub mod facts;
pub mod hash;
pub mod pages;
pub mod pool;
pub mod radix;
pub mod running;
mod sections;
mod statics;
mod vmemmap;

use std::collections::BTreeMap;

use crate::bytes::ByteOrder;
use crate::error::{ModelError, Result};
use crate::extent::{Extent, covers, intersect, merged, subtract, total};
use crate::machine::Options;
use crate::memory::Memory;
use crate::rng::Rng;
use crate::scenario::Truth;

pub use facts::{LogLine, Release};
pub use pages::{Class, Mix};

use pool::Pool;
use statics::StaticData;
use vmemmap::Vmemmap;

/// Where the linear map of ppc64 begins.
pub const LINEAR: u64 = 0xc000_0000_0000_0000;

/// Bytes at the bottom of memory that hold the kernel image and its static data.
pub const IMAGE_SIZE: u64 = 0x60_0000;

/// How the dumped kernel translates addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mmu {
    /// Radix page tables. With 4 KiB pages the top table, 64 KiB, is larger than a page.
    Radix {
        /// Whether vmemmap is mapped by 2 MiB leaves, as Linux does where it can, or page by page.
        huge_vmemmap: bool,
    },
    /// Hashed page table, of which a dump holds nothing: vmemmap is found through `vmemmap_list`.
    Hash {
        /// The size of a vmemmap page as a power of two: 12, 16 or 24.
        vmemmap_shift: u32,
    },
}

/// How many pages get contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// One in this many, chosen at random; 1 fills them all.
    OneIn(u64),
    /// None but those of the kernel's own structures.
    Nothing,
}

/// What to build.
#[derive(Clone, Debug)]
pub struct SynthOptions {
    /// Memory that exists.
    pub ram: Vec<Extent>,
    /// Memory that must hold nothing of the kernel's structures: the area reserved for the dump.
    pub avoid: Vec<Extent>,
    /// Page size in bytes: 4096 or 65536.
    pub page_size: u64,
    /// The kernel's byte order.
    pub order: ByteOrder,
    /// How it translates addresses.
    pub mmu: Mmu,
    /// How common each class of page is.
    pub mix: Mix,
    /// How many pages get contents.
    pub fill: Fill,
    /// Whether equal pieces of vmemmap share their memory, as hugetlb's vmemmap does on real kernels.
    ///
    /// Makes machines of terabytes cheap, with a mix of free blocks and single pages ([`Mix::idle`]): pieces that
    /// name a compound head cannot be shared. The free lists are then empty, as they could not be linked
    /// through shared pages.
    pub share_vmemmap: bool,
    /// The seed of every choice.
    pub seed: u64,
}

impl SynthOptions {
    /// An image for a machine whose dump area is `avoid`.
    pub fn for_machine(machine: &Options, avoid: Extent) -> Self {
        Self {
            ram: machine.ram.clone(),
            avoid: vec![avoid],
            page_size: machine.page_size,
            order: machine.order,
            mmu: Mmu::Radix { huge_vmemmap: false },
            mix: Mix::default(),
            fill: Fill::OneIn(4),
            share_vmemmap: false,
            seed: machine.seed,
        }
    }
}

/// What was built: the answers a filter must come to.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Page size in bytes.
    pub page_size: u64,
    /// The VMCOREINFO note, header included, in low memory.
    pub vmcoreinfo: Extent,
    /// The text of the note.
    pub text: String,
    /// What `uname` said.
    pub release: Release,
    /// The kernel log, oldest line first.
    pub log: Vec<LogLine>,
    /// Runs of frames of one class: first frame, number of frames, class; in ascending order, holes left out.
    pub frames: Vec<(u64, u64, Class)>,
    /// Virtual addresses and where they lead; `None` for those that are mapped nowhere.
    pub translations: Vec<(u64, Option<u64>)>,
    /// Frames in the buddy allocator, as the zone counts them.
    pub free_pages: u64,
}

impl Kernel {
    /// The class of a frame; `None` where no whole page of RAM is.
    pub fn class_of(&self, frame: u64) -> Option<Class> {
        let at = self.frames.partition_point(|(first, _, _)| *first <= frame).checked_sub(1)?;
        let (first, count, class) = self.frames[at];
        (frame - first < count).then_some(class)
    }

    /// Whether a filter at `level` (0 to 31) keeps a frame; zero pages count as kept, as the kdump format has it.
    pub fn kept(&self, level: u8, frame: u64) -> bool {
        self.class_of(frame).is_some_and(|class| class.kept(level))
    }

    /// The frames kept at `level` as a bitmap of `frames` bits: bit `n & 7` of byte `n >> 3` is frame `n`.
    pub fn bitmap(&self, level: u8, frames: u64) -> Vec<u8> {
        let mut bits = vec![0u8; frames.div_ceil(8) as usize];
        for (first, count, _) in self.frames.iter().filter(|(_, _, class)| class.kept(level)) {
            for frame in *first..(first + count).min(frames) {
                bits[(frame >> 3) as usize] |= 1 << (frame & 7);
            }
        }
        bits
    }

    /// As [`Kernel::bitmap`], for a dump of `truth`: frames that are wholly absent from it are left out. A frame
    /// of which a part is reserved is in it, and so is one that was lost.
    pub fn bitmap_of_dump(&self, level: u8, truth: &Truth) -> Vec<u8> {
        let end = truth.ram.iter().map(|extent| extent.end()).max().unwrap_or(0);
        let mut bits = self.bitmap(level, end.div_ceil(self.page_size));
        for absent in &truth.reserved {
            for frame in absent.start.div_ceil(self.page_size)..absent.end() / self.page_size {
                if let Some(byte) = bits.get_mut((frame >> 3) as usize) {
                    *byte &= !(1 << (frame & 7));
                }
            }
        }
        bits
    }

    /// Frames of each class.
    pub fn counts(&self) -> BTreeMap<Class, u64> {
        let mut counts = BTreeMap::new();
        for (_, count, class) in &self.frames {
            *counts.entry(*class).or_default() += count;
        }
        counts
    }
}

/// Builds a kernel image in `memory`, which must be zero.
///
/// # Errors
///
/// RAM is too small for the kernel's structures, or memory cannot be written.
pub fn build(options: &SynthOptions, memory: &mut Memory) -> Result<Kernel> {
    let image = Extent::new(0, IMAGE_SIZE);
    let usable = options.ram.first().is_some_and(|first| first.start == 0);
    if !usable || !covers(&options.ram, image) || total(&intersect(&options.avoid, &[image])) > 0 {
        let expected = "6 MiB from address 0 that are RAM and not reserved";
        return Err(ModelError::Options { what: "ram", found: options.ram.len() as u64, expected });
    }
    if ![0x1000, 0x1_0000].contains(&options.page_size) {
        let expected = "4096 or 65536";
        return Err(ModelError::Options { what: "page_size", found: options.page_size, expected });
    }
    let mut pool =
        Pool::new(&room(options, image), options.page_size, needs(options), vmemmap::unit(options));
    let mut vmemmap = Vmemmap::plan(options, &mut pool)?;
    let sections = sections::write(options, memory, &mut pool, vmemmap.base())?;
    let static_data = StaticData::new(sections);

    let rng = Rng::new(options.seed);
    let kernel_frames = pool.frames(image);
    let frames = pages::lay_out(options, &kernel_frames, &mut rng.fork(11));
    let zone = pages::write(options, &frames, &mut vmemmap, memory, &static_data)?;
    let mut translations = vmemmap.finish(options, memory, &mut pool, &static_data)?;
    if matches!(options.mmu, Mmu::Radix { .. }) {
        translations.extend(radix::map_linear_and_vmalloc(options, memory, &mut pool)?);
    }
    pages::fill(options, &frames, memory, &mut rng.fork(12))?;
    facts::fill_image(memory, &mut rng.fork(13))?;
    let release = facts::write_uts(options, memory)?;
    let log = facts::write_log(options, memory)?;
    facts::write_zone(options, memory, &zone)?;
    let (vmcoreinfo, text) = facts::write_vmcoreinfo(options, memory, &static_data, &release)?;
    Ok(Kernel {
        page_size: options.page_size,
        vmcoreinfo,
        text,
        release,
        log,
        frames: frames.runs(),
        translations,
        free_pages: zone.free_pages,
    })
}

/// Whole frames of `ram`, as (first frame, number of frames).
pub(crate) fn whole_frames(ram: &[Extent], page_size: u64) -> Vec<(u64, u64)> {
    let frames = ram.iter().map(|extent| {
        let first = extent.start.div_ceil(page_size);
        (first, (extent.end() / page_size).saturating_sub(first))
    });
    frames.filter(|(_, count)| *count > 0).collect()
}

/// RAM where the kernel may put its own structures.
pub(crate) fn room(options: &SynthOptions, image: Extent) -> Vec<Extent> {
    subtract(&options.ram, &merged([options.avoid.clone(), vec![image]].concat()))
}

/// Bytes that the kernel's structures can need.
fn needs(options: &SynthOptions) -> u64 {
    let ram = total(&options.ram);
    let unit = vmemmap::unit(options);
    let pieces = vmemmap::pieces(options).len() as u64;
    let shared = if options.share_vmemmap { pieces.min(512) } else { pieces };
    // Page tables: one page for every 512 entries, for vmemmap and the linear map, and one of each level.
    let tables = match options.mmu {
        Mmu::Radix { .. } => {
            (pieces * 8).max(0x1_0000) + (ram >> 30) * 0x1000 + options.ram.len() as u64 * 0x2000
        }
        Mmu::Hash { .. } => pieces * 24,
    };
    shared * unit + tables + sections::bytes(options) + 16 * 0x1_0000
}
