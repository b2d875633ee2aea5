//! The structures of a kdump-compressed file, in any byte order and word size.
//!
//! makedumpfile and the diskdump patches before it wrote C structures as the compiler of their machine laid them out
//! (`struct disk_dump_header` and `struct kdump_sub_header` of makedumpfile's `diskdump_mod.h`, `page_desc_t` of its
//! `makedumpfile.h`). Nothing in the file says which machine that was: a [`Layout`] has to be given, and a reader to
//! infer it (see the reader's `header` module).

use vmcore::Arch;
use vmcore::{ByteOrder, Machine, Utsname, WordSize};

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

    /// Where [`Header::status`] stands.
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

/// The width of a field.
#[derive(Clone, Copy)]
enum Width {
    Int,
    Long,
    Wide,
}

/// Walks over fields as a C compiler places them.
struct Cursor {
    layout: Layout,
    at: usize,
}

impl Cursor {
    /// The place of the next field.
    fn place(&mut self, width: Width) -> std::ops::Range<usize> {
        let (len, align) = match (width, self.layout.abi) {
            (Width::Int, _) | (Width::Long, Abi::Bits32 | Abi::I386) => (4, 4),
            (Width::Wide, Abi::I386) => (8, 4),
            (Width::Long | Width::Wide, _) => (8, 8),
        };
        let start = self.at.next_multiple_of(align);
        self.at = start + len;
        start..self.at
    }
}

/// Visits every number of a structure, so that encoder and decoder cannot disagree.
trait Visitor {
    fn visit(&mut self, width: Width, value: &mut u64);

    fn int(&mut self, value: &mut u32) {
        let mut wide = u64::from(*value);
        self.visit(Width::Int, &mut wide);
        *value = wide as u32;
    }

    fn long(&mut self, value: &mut u64) {
        self.visit(Width::Long, value);
    }

    fn wide(&mut self, value: &mut u64) {
        self.visit(Width::Wide, value);
    }
}

struct Reading<'a> {
    cursor: Cursor,
    bytes: &'a [u8],
}

impl Visitor for Reading<'_> {
    fn visit(&mut self, width: Width, value: &mut u64) {
        let order = self.cursor.layout.order;
        let bytes = &self.bytes[self.cursor.place(width)];
        *value = if bytes.len() == 4 { order.u32(bytes).into() } else { order.u64(bytes) };
    }
}

struct Writing<'a> {
    cursor: Cursor,
    bytes: &'a mut [u8],
}

impl Visitor for Writing<'_> {
    fn visit(&mut self, width: Width, value: &mut u64) {
        let order = self.cursor.layout.order;
        let bytes = &mut self.bytes[self.cursor.place(width)];
        if bytes.len() == 4 {
            bytes.copy_from_slice(&order.put_u32(*value as u32));
        } else {
            bytes.copy_from_slice(&order.put_u64(*value));
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
    /// 432 (420): blocks of the sub header with the notes behind it.
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

/// Where the numbers behind the strings start, before alignment.
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

    /// Where `status` lies, in bytes.
    pub(super) fn status_position(layout: Layout) -> usize {
        if layout.abi == Abi::Bits64 { 424 } else { 412 }
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

    /// Decodes a sub header from the start of `bytes`. Fields that are newer than `version` are 0, whatever stands in
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Numbers the fields of a structure by where they are placed.
    struct Places(Cursor, Vec<usize>);

    impl Visitor for Places {
        fn visit(&mut self, width: Width, _: &mut u64) {
            self.1.push(self.0.place(width).start);
        }
    }

    fn places(abi: Abi, at: usize, visit: impl Fn(&mut Places)) -> (Vec<usize>, usize) {
        let layout = Layout { order: ByteOrder::Little, abi };
        let mut places = Places(Cursor { layout, at }, Vec::new());
        visit(&mut places);
        (places.1, places.0.at)
    }

    #[test]
    fn header_fields_lie_where_offsetof_says() {
        let header = |abi| places(abi, HEADER_NUMBERS, |p| Header::default().visit(p));
        let wide = vec![408, 416, 424, 428, 432, 436, 440, 444, 448, 452, 456, 460];
        assert_eq!(header(Abi::Bits64), (wide, 464));
        let narrow = vec![404, 408, 412, 416, 420, 424, 428, 432, 436, 440, 444, 448];
        assert_eq!(header(Abi::Bits32), (narrow.clone(), 452));
        assert_eq!(header(Abi::I386), (narrow, 452));
        for abi in [Abi::Bits64, Abi::Bits32, Abi::I386] {
            assert_eq!(Header::status_position(Layout { order: ByteOrder::Big, abi }), header(abi).0[2]);
        }
    }

    #[test]
    fn sub_header_fields_lie_where_offsetof_says() {
        let sub = |abi| places(abi, 0, |p| SubHeader::default().visit(p));
        assert_eq!(sub(Abi::Bits64), (vec![0, 8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96], 104));
        assert_eq!(sub(Abi::I386), (vec![0, 4, 8, 12, 16, 20, 28, 32, 40, 44, 52, 56, 64, 72], 80));
        // The last number ends the structure, whose own alignment of 8 makes no difference.
        assert_eq!(sub(Abi::Bits32), (vec![0, 4, 8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88], 96));
    }

    fn any_layout() -> impl Strategy<Value = Layout> {
        (any::<bool>(), 0..3usize).prop_map(|(big, abi)| Layout {
            order: if big { ByteOrder::Big } else { ByteOrder::Little },
            abi: [Abi::Bits64, Abi::Bits32, Abi::I386][abi],
        })
    }

    proptest! {
        #[test]
        fn headers_survive_a_round_trip(layout in any_layout(), n: [u32; 7], names: [u32; 6]) {
            let name = |i: usize| format!("name-{}", names[i]);
            let header = Header {
                version: n[0],
                utsname: Utsname {
                    sysname: name(0), nodename: name(1), release: name(2),
                    version: name(3), machine: name(4), domainname: name(5),
                },
                tv_sec: n[1].into(), tv_usec: n[2].into(), status: n[3], block_size: n[4],
                sub_hdr_size: n[5], bitmap_blocks: n[6], max_mapnr: n[0], unused: [n[1], n[2], n[3], n[4]], nr_cpus: n[5],
            };
            prop_assert_eq!(Header::decode(&header.encode(layout), layout), header);
        }

        #[test]
        fn sub_headers_survive_a_round_trip_as_far_as_their_version_goes(
            layout in any_layout(), n: [u32; 14], wide: [u64; 6], version in 1u32..8,
        ) {
            let sub = SubHeader {
                phys_base: n[0].into(), dump_level: n[1], split: n[2], start_pfn: n[3].into(), end_pfn: n[4].into(),
                offset_vmcoreinfo: wide[0], size_vmcoreinfo: n[5].into(), offset_note: wide[1], size_note: n[6].into(),
                offset_eraseinfo: wide[2], size_eraseinfo: n[7].into(),
                start_pfn_64: wide[3], end_pfn_64: wide[4], max_mapnr_64: wide[5],
            };
            let bytes = sub.encode(layout);
            prop_assert_eq!(SubHeader::decode(&bytes, layout, 6), sub);
            let old = SubHeader::decode(&bytes, layout, version);
            prop_assert_eq!(old.start_pfn_64, if version < 6 { 0 } else { wide[3] });
            prop_assert_eq!(old.size_eraseinfo, if version < 5 { 0 } else { n[7].into() });
            prop_assert_eq!(old.offset_note, if version < 4 { 0 } else { wide[1] });
            prop_assert_eq!(old.offset_vmcoreinfo, if version < 3 { 0 } else { wide[0] });
            prop_assert_eq!(old.end_pfn, if version < 2 { 0 } else { n[4].into() });
        }
    }

    #[test]
    fn a_descriptor_is_what_makedumpfile_writes() {
        let desc = PageDesc { offset: 0x0102_0304_0506_0708, size: 0x1122, flags: 0x20 };
        let bytes = desc.encode(ByteOrder::Big);
        assert_eq!(bytes, *b"\x01\x02\x03\x04\x05\x06\x07\x08\0\0\x11\x22\0\0\0\x20\0\0\0\0\0\0\0\0");
        assert_eq!(PageDesc::decode(&bytes, ByteOrder::Big), desc);
    }

    #[test]
    fn a_long_name_is_cut_before_its_last_byte() {
        let layout = Layout { order: ByteOrder::Little, abi: Abi::Bits64 };
        let mut header = Header::default();
        header.utsname.release = "x".repeat(100);
        let bytes = header.encode(layout);
        assert_eq!(Header::decode(&bytes, layout).utsname.release, "x".repeat(64));
        assert_eq!(bytes[12 + 3 * 65], 0);
    }
}
