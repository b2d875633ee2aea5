//! The structures of a kdump-compressed file, in any byte order and word size.
//!
//! makedumpfile and the diskdump patches before it wrote C structures as the compiler of their machine laid them out
//! (`struct disk_dump_header` and `struct kdump_sub_header` of makedumpfile's `diskdump_mod.h`, `page_desc_t` of its
//! `makedumpfile.h`). Nothing in the file says which machine that was: a [`Layout`] has to be given, and a reader to
//! infer it (see the reader's `header` module).

mod cursor;

use cursor::{Cursor, Reading, Visitor, Writing};
use vmcore::{Arch, ByteOrder, Machine, Utsname, WordSize};

/// The first eight bytes of the file.
pub const SIGNATURE: &[u8; 8] = b"KDUMP   ";
/// The first eight bytes of a file of the diskdump patches, which the format comes from.
pub const DISKDUMP_SIGNATURE: &[u8; 8] = b"DISKDUMP";
/// The signature of a [`Skeleton`](super::Skeleton): no reader of dumps is to take it for one.
pub const SKELETON_SIGNATURE: &[u8; 8] = b"KDUMPSKE";
/// The header version that is written, and the newest that is known: 64-bit frame numbers.
pub const VERSION: u32 = 6;
/// The length in bytes of a [`PageDesc`].
pub const PAGE_DESC_LEN: usize = 24;
/// A status bit: the writer could not finish (`DUMP_DH_COMPRESSED_INCOMPLETE`).
pub const STATUS_INCOMPLETE: u32 = 0x8;
/// A status bit: pages of the mem_map itself were left out (`DUMP_DH_EXCLUDED_VMEMMAP`).
pub const STATUS_EXCLUDED_VMEMMAP: u32 = 0x10;
/// The length in bytes of each string of [`Utsname`], the last one always 0 (`__NEW_UTS_LEN + 1`).
const UTS_LEN: usize = 65;
/// The length in bytes of [`Utsname`] (`struct new_utsname`).
pub(crate) const UTSNAME_LEN: usize = 6 * UTS_LEN;

/// How a C compiler laid out the structures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    /// 64-bit `long`, 64-bit numbers at multiples of 8.
    Bits64,
    /// 32-bit `long`, 64-bit numbers at multiples of 8: arm, ppc, mips.
    Bits32,
    /// 32-bit `long`, 64-bit numbers at multiples of 4: i386.
    I386,
}

/// Byte order and compiler's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The order of bytes in numbers.
    pub order: ByteOrder,
    /// Widths and alignment of fields.
    pub abi: Abi,
}

impl Layout {
    /// The layout that tools running on `machine` write.
    pub fn of(machine: Machine) -> Self {
        let abi = match (machine.word, machine.arch) {
            (WordSize::Bits64, _) => Abi::Bits64,
            (WordSize::Bits32, Arch::I386) => Abi::I386,
            (WordSize::Bits32, _) => Abi::Bits32,
        };
        Self { order: machine.order, abi }
    }

    /// The length in bytes of [`Header`]: 464, or 452 with a 32-bit `long`.
    pub fn header_len(self) -> usize {
        match self.abi {
            Abi::Bits64 => 464,
            Abi::Bits32 | Abi::I386 => 452,
        }
    }

    /// Where [`Header::status`] is.
    pub fn status_offset(self) -> usize {
        match self.abi {
            Abi::Bits64 => 424,
            Abi::Bits32 | Abi::I386 => 412,
        }
    }

    /// The length in bytes of [`SubHeader`]: 104, 96 or 80 by [`Abi`].
    pub fn sub_header_len(self) -> usize {
        match self.abi {
            Abi::Bits64 => 104,
            Abi::Bits32 => 96,
            Abi::I386 => 80,
        }
    }
}

/// The main header, block 0 of the file (`struct disk_dump_header`).
///
/// Offsets in bytes with a 64-bit `long`, and with a 32-bit one in brackets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// 8: 1 to 6. Each version added fields to [`SubHeader`].
    pub version: u32,
    /// 12: six strings of 65 bytes.
    pub utsname: Utsname,
    /// 408 (404): seconds since 1970.
    pub tv_sec: u64,
    /// 416 (408): microseconds.
    pub tv_usec: u64,
    /// 424 (412): the method's bit, and the `STATUS_` bits.
    pub status: u32,
    /// 428 (416): the dumped kernel's page size in bytes, and the unit of the file's layout.
    pub block_size: u32,
    /// 432 (420): blocks of the sub header with the notes after it.
    pub sub_hdr_size: u32,
    /// 436 (424): blocks of both bitmaps.
    pub bitmap_blocks: u32,
    /// 440 (428): the first frame number past all memory, at most `u32::MAX`.
    pub max_mapnr: u32,
    /// 444 to 456 (432 to 444): `total_ram_blocks`, `device_blocks`, `written_blocks`, `current_cpu`: always 0.
    pub unused: [u32; 4],
    /// 460 (448): CPUs whose registers the notes hold.
    pub nr_cpus: u32,
}

/// Where the numbers after the strings start, before alignment.
const HEADER_NUMBERS: usize = 12 + UTSNAME_LEN;

impl Header {
    fn visit(&mut self, v: &mut impl Visitor) {
        v.long(&mut self.tv_sec);
        v.long(&mut self.tv_usec);
        v.int(&mut self.status);
        v.int(&mut self.block_size);
        v.int(&mut self.sub_hdr_size);
        v.int(&mut self.bitmap_blocks);
        v.int(&mut self.max_mapnr);
        self.unused.iter_mut().for_each(|n| v.int(n));
        v.int(&mut self.nr_cpus);
    }

    /// Decodes a header from the start of `bytes`, whatever its signature.
    ///
    /// # Panics
    ///
    /// When `bytes` is shorter than [`Layout::header_len`].
    pub fn decode(bytes: &[u8], layout: Layout) -> Self {
        let mut header = Self { version: layout.order.u32(&bytes[8..]), ..Self::default() };
        header.utsname = decode_utsname(&bytes[12..]);
        header.visit(&mut Reading { cursor: Cursor { layout, at: HEADER_NUMBERS }, bytes });
        header
    }

    /// Encodes the header with its signature; strings are cut at 64 bytes.
    pub fn encode(&self, layout: Layout) -> Vec<u8> {
        let mut bytes = vec![0; layout.header_len()];
        bytes[..8].copy_from_slice(SIGNATURE);
        bytes[8..12].copy_from_slice(&layout.order.put_u32(self.version));
        bytes[12..HEADER_NUMBERS].copy_from_slice(&encode_utsname(&self.utsname));
        self.clone().visit(&mut Writing { cursor: Cursor { layout, at: HEADER_NUMBERS }, bytes: &mut bytes });
        bytes
    }
}

/// The sub header, at the start of block 1 (`struct kdump_sub_header`).
///
/// Offsets in bytes from the start of the block: 64-bit, 32-bit, i386.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubHeader {
    /// 0, 0, 0 (version 1): where the kernel's link address 0 lies in physical memory, a signed number.
    pub phys_base: u64,
    /// 8, 4, 4 (version 1): the sum of what was left out.
    pub dump_level: u32,
    /// 12, 8, 8 (version 2): 1 when the file is a part of a split set.
    pub split: u32,
    /// 16, 12, 12 (version 2): a part's first frame, cut to a `long`.
    pub start_pfn: u64,
    /// 24, 16, 16 (version 2): the first frame past the part, cut to a `long`.
    pub end_pfn: u64,
    /// 32, 24, 20 (version 3): where in the file the text of VMCOREINFO starts.
    pub offset_vmcoreinfo: u64,
    /// 40, 32, 28 (version 3): its length in bytes.
    pub size_vmcoreinfo: u64,
    /// 48, 40, 32 (version 4): where in the file the ELF notes start.
    pub offset_note: u64,
    /// 56, 48, 40 (version 4): their length in bytes.
    pub size_note: u64,
    /// 64, 56, 44 (version 5): where in the file the text about erased data starts.
    pub offset_eraseinfo: u64,
    /// 72, 64, 52 (version 5): its length in bytes.
    pub size_eraseinfo: u64,
    /// 80, 72, 56 (version 6): as `start_pfn`, whole.
    pub start_pfn_64: u64,
    /// 88, 80, 64 (version 6): as `end_pfn`, whole.
    pub end_pfn_64: u64,
    /// 96, 88, 72 (version 6): as the header's `max_mapnr`, whole.
    pub max_mapnr_64: u64,
}

impl SubHeader {
    fn visit(&mut self, v: &mut impl Visitor) {
        v.long(&mut self.phys_base);
        v.int(&mut self.dump_level);
        v.int(&mut self.split);
        v.long(&mut self.start_pfn);
        v.long(&mut self.end_pfn);
        v.wide(&mut self.offset_vmcoreinfo);
        v.long(&mut self.size_vmcoreinfo);
        v.wide(&mut self.offset_note);
        v.long(&mut self.size_note);
        v.wide(&mut self.offset_eraseinfo);
        v.long(&mut self.size_eraseinfo);
        v.wide(&mut self.start_pfn_64);
        v.wide(&mut self.end_pfn_64);
        v.wide(&mut self.max_mapnr_64);
    }

    /// Decodes a sub header from the start of `bytes`. Fields that are newer than `version` are 0, whatever is in
    /// their place.
    ///
    /// # Panics
    ///
    /// When `bytes` is shorter than [`Layout::sub_header_len`].
    pub fn decode(bytes: &[u8], layout: Layout, version: u32) -> Self {
        let mut sub = Self::default();
        sub.visit(&mut Reading { cursor: Cursor { layout, at: 0 }, bytes });
        if version < 1 {
            sub.dump_level = 0;
        }
        if version < 2 {
            (sub.split, sub.start_pfn, sub.end_pfn) = (0, 0, 0);
        }
        if version < 3 {
            (sub.offset_vmcoreinfo, sub.size_vmcoreinfo) = (0, 0);
        }
        if version < 4 {
            (sub.offset_note, sub.size_note) = (0, 0);
        }
        if version < 5 {
            (sub.offset_eraseinfo, sub.size_eraseinfo) = (0, 0);
        }
        if version < 6 {
            (sub.start_pfn_64, sub.end_pfn_64, sub.max_mapnr_64) = (0, 0, 0);
        }
        sub
    }

    /// Encodes the sub header.
    pub fn encode(mut self, layout: Layout) -> Vec<u8> {
        let mut bytes = vec![0; layout.sub_header_len()];
        self.visit(&mut Writing { cursor: Cursor { layout, at: 0 }, bytes: &mut bytes });
        bytes
    }
}

/// Where and how one page is stored (`page_desc_t`), 24 bytes with any layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageDesc {
    /// 0: where in the file the page's bytes start; 0 when the page was lost.
    pub offset: u64,
    /// 8: their number.
    pub size: u32,
    /// 12: the method's bit, or 0 for a page stored as it is.
    pub flags: u32,
    // 16: page_flags, 64 bits that are always 0.
}

impl PageDesc {
    /// Decodes a descriptor.
    pub fn decode(bytes: &[u8; PAGE_DESC_LEN], order: ByteOrder) -> Self {
        Self { offset: order.u64(bytes), size: order.u32(&bytes[8..]), flags: order.u32(&bytes[12..]) }
    }

    /// Encodes the descriptor.
    pub fn encode(self, order: ByteOrder) -> [u8; PAGE_DESC_LEN] {
        let mut bytes = [0; PAGE_DESC_LEN];
        bytes[..8].copy_from_slice(&order.put_u64(self.offset));
        bytes[8..12].copy_from_slice(&order.put_u32(self.size));
        bytes[12..16].copy_from_slice(&order.put_u32(self.flags));
        bytes
    }
}

/// Takes the six strings of `uname` from `bytes`, as far as they are there.
pub(crate) fn decode_utsname(bytes: &[u8]) -> Utsname {
    let mut uts = Utsname::default();
    let strings = [
        &mut uts.sysname,
        &mut uts.nodename,
        &mut uts.release,
        &mut uts.version,
        &mut uts.machine,
        &mut uts.domainname,
    ];
    for (string, field) in strings.into_iter().zip(bytes.chunks_exact(UTS_LEN)) {
        let text = field.split(|&b| b == 0).next().unwrap_or_default();
        *string = String::from_utf8_lossy(text).into_owned();
    }
    uts
}

/// The six strings of `uname`, each cut at 64 bytes.
pub(crate) fn encode_utsname(uts: &Utsname) -> [u8; UTSNAME_LEN] {
    let mut bytes = [0; UTSNAME_LEN];
    let strings = [&uts.sysname, &uts.nodename, &uts.release, &uts.version, &uts.machine, &uts.domainname];
    for (string, field) in strings.into_iter().zip(bytes.chunks_exact_mut(UTS_LEN)) {
        let len = string.len().min(UTS_LEN - 1);
        field[..len].copy_from_slice(&string.as_bytes()[..len]);
    }
    bytes
}

#[cfg(test)]
mod tests;
