//! Reading the headers of a kdump-compressed file, and inferring what they do not say.
//!
//! Byte order: the version is a small number in one order and a huge one in the other. Word size: the machine's name
//! says it; without a name the layout in which the block size is a page size and the blocks lie inside the file. The
//! 64-bit layout is asked first, because in the 32-bit one a 64-bit file's `tv_usec` stands for the block size.
//!
//! Files of the diskdump patches (kernels 2.4 and 2.6 before kdump) have the same headers, bitmaps and descriptors but
//! for the sub header, which holds the registers of one CPU and nothing else (`struct disk_dump_sub_header` of the
//! architectures' `diskdump.h`), and often one bitmap instead of two.

use super::layout::{
    Abi, DISKDUMP_SIGNATURE, Header, Layout, PAGE_DESC_LEN, PageDesc, SIGNATURE, SKELETON_SIGNATURE,
    SubHeader,
};
use crate::Error;
use crate::input::Input;
use vmcore::{Arch, ByteOrder, Machine, Notes, PageSize, WordSize};

/// The newest version whose meaning is known is 6; a higher one is read as that, but a number beyond this is not a version.
const MAX_VERSION: u32 = 0xffff;

/// The headers of a file, and what was odd about them.
#[derive(Debug)]
pub(super) struct Headers {
    /// Made by the diskdump patches.
    pub(super) diskdump: bool,
    /// All of a file but its pages.
    pub(super) skeleton: bool,
    pub(super) layout: Layout,
    pub(super) header: Header,
    pub(super) sub: SubHeader,
    pub(super) page_size: PageSize,
    /// The machine, when the header names it.
    pub(super) machine: Option<Machine>,
    pub(super) remarks: Vec<String>,
}

/// Where the file's parts lie, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    /// The first frame number past all memory.
    pub(super) max_pfn: u64,
    /// The bitmap of frames that exist; the same as `kept` in a file with one bitmap.
    pub(super) exist: u64,
    /// The bitmap of frames that are in the file.
    pub(super) kept: u64,
    /// The descriptors.
    pub(super) descriptors: u64,
}

impl Headers {
    /// Reads both headers.
    pub(super) fn read(input: &Input) -> Result<Self, Error> {
        let mut bytes = [0; 464];
        if input.len() < bytes.len() as u64 {
            return Err(input.cut_off(bytes.len() as u64, "its headers"));
        }
        input.read_at(0, &mut bytes)?;
        let diskdump = bytes.starts_with(DISKDUMP_SIGNATURE);
        let skeleton = bytes.starts_with(SKELETON_SIGNATURE);
        if !bytes.starts_with(SIGNATURE) && !diskdump && !skeleton {
            let found = bytes[..8].escape_ascii().to_string();
            return Err(input.damaged("signature", 0, found, "\"KDUMP   \"").into());
        }
        let mut remarks = Vec::new();
        let order = byte_order(input, &bytes)?;
        let machine = named_machine(input, &bytes, order, &mut remarks)?;
        let (abi, header, page_size) = word_size(input, &bytes, order, machine, &mut remarks)?;
        let (layout, sub) = if diskdump {
            (Layout { order, abi }, SubHeader::default())
        } else {
            sub_header(input, order, abi, &header, machine, &mut remarks)?
        };
        if header.version > super::layout::VERSION {
            remarks.push(format!("header version {} is newer than 6 and was read as that", header.version));
        }
        Ok(Self { diskdump, skeleton, layout, header, sub, page_size, machine, remarks })
    }

    /// Works out where bitmaps and descriptors lie.
    pub(super) fn geometry(&mut self, input: &Input) -> Result<Geometry, Error> {
        let block = self.page_size.bytes();
        let bitmaps = (1 + u64::from(self.header.sub_hdr_size)) * block;
        let total = u64::from(self.header.bitmap_blocks) * block;
        let max_pfn = self.max_pfn(total * 8);
        let max_at = self.header_offset(428, 440);
        if max_pfn > u64::MAX >> self.page_size.shift() {
            return Err(input.damaged("max_mapnr", max_at, format!("{max_pfn:#x}"), "a frame number").into());
        }
        let blocks = u64::from(self.header.bitmap_blocks);
        let one_len = max_pfn.div_ceil(8).next_multiple_of(block);
        // What two bitmaps of this length, or a single one, would mean for what follows.
        let two = |len: u64| {
            let kept = bitmaps.checked_add(len)?;
            Some(Geometry { max_pfn, exist: bitmaps, kept, descriptors: kept.checked_add(len)? })
        };
        let single = Geometry { max_pfn, exist: bitmaps, kept: bitmaps, descriptors: bitmaps + total };
        let fits = |g: &Geometry| self.look_like_descriptors(input, g.descriptors);
        let exact = two(one_len);
        let declared = two(total / 2).filter(|_| blocks.is_multiple_of(2) && total / 2 >= one_len);
        let (geometry, remark) = match (declared, exact) {
            (Some(declared), _) if total / 2 == one_len => (declared, None),
            (_, Some(exact))
                if fits(&exact)
                    && !declared.is_some_and(|d| fits(&d))
                    && !(total >= one_len && fits(&single)) =>
            {
                let counted =
                    if total == one_len { ", which counts one bitmap, but the file has two" } else { "" };
                (exact, Some(format!("bitmap_blocks is {blocks}{counted}; {} was used", 2 * one_len / block)))
            }
            (Some(declared), _) => {
                let why = format!("bitmap_blocks is {blocks}, more than {max_pfn:#x} frames need");
                (declared, Some(why))
            }
            _ if total >= one_len => {
                let why = "the file has one bitmap: pages that were left out cannot be distinguished from absent memory";
                (single, Some(why.to_owned()))
            }
            _ => {
                let expected = format!("blocks for {max_pfn:#x} frames");
                let at = self.header_offset(424, 436);
                return Err(input.damaged("bitmap_blocks", at, blocks.to_string(), expected).into());
            }
        };
        self.remarks.extend(remark);
        if geometry.descriptors > input.len() {
            return Err(input.cut_off(geometry.descriptors, "its headers and bitmaps"));
        }
        Ok(geometry)
    }

    /// The first frame number past all memory, of the two places that say so.
    fn max_pfn(&mut self, bitmap_bits: u64) -> u64 {
        let (short, long) = (u64::from(self.header.max_mapnr), self.sub.max_mapnr_64);
        if self.header.version < 6 || long.min(u32::MAX.into()) == short {
            return short.max(long);
        }
        let used = if long != 0 && long <= bitmap_bits { long } else { short };
        self.remarks.push(format!("max_mapnr is {short:#x} and max_mapnr_64 {long:#x}; {used:#x} was used"));
        used
    }

    /// Reports whether descriptors may be at `at`: the first are lost pages or point to what follows, and not all are lost.
    fn look_like_descriptors(&self, input: &Input, at: u64) -> bool {
        let mut bytes = [0; 16 * PAGE_DESC_LEN];
        let have =
            input.len().saturating_sub(at).min(bytes.len() as u64) as usize / PAGE_DESC_LEN * PAGE_DESC_LEN;
        if have == 0 || input.read_at(at, &mut bytes[..have]).is_err() {
            return false;
        }
        let first = bytes[..have].as_chunks().0.iter().map(|desc| PageDesc::decode(desc, self.layout.order));
        let sound = |desc: &PageDesc| {
            desc.offset >= at + PAGE_DESC_LEN as u64
                && desc.offset < input.len()
                && (1..=self.header.block_size).contains(&desc.size)
        };
        // Behind the last descriptor comes data, so only those before the first unsound one count.
        let mut first = first.skip_while(|desc| *desc == PageDesc::default());
        first.next().is_some_and(|desc| sound(&desc))
    }

    /// The part of a split set that this file is.
    pub(super) fn part(&self) -> Option<(u64, u64)> {
        let sub = &self.sub;
        if sub.split == 0 {
            return None;
        }
        let (start, end) = if self.header.version >= 6 {
            (sub.start_pfn_64, sub.end_pfn_64)
        } else {
            (sub.start_pfn, sub.end_pfn)
        };
        Some((start, end.max(start)))
    }

    /// Where a field of the main header lies, for messages.
    fn header_offset(&self, narrow: u64, wide: u64) -> u64 {
        if self.layout.abi == Abi::Bits64 { wide } else { narrow }
    }

    /// The machine for a header without its name: from the length of a CPU's registers, else from the user.
    pub(super) fn machine(
        &mut self,
        input: &Input,
        notes: &Notes,
        assumed: Option<Machine>,
    ) -> Result<Machine, Error> {
        if let Some(machine) = self.machine {
            return Ok(machine);
        }
        let order = self.layout.order;
        let narrow = self.layout.abi != Abi::Bits64;
        let arch = notes.prstatus().next().and_then(|note| match (note.desc.len(), order, narrow) {
            (336, ByteOrder::Little, false) => Some(Arch::X86_64),
            (336, ByteOrder::Big, false) => Some(Arch::S390x),
            (504, _, false) => Some(Arch::Ppc64),
            (392, _, false) => Some(Arch::Aarch64),
            (376, ByteOrder::Little, false) => Some(Arch::Riscv64),
            (480, ByteOrder::Little, false) => Some(Arch::LoongArch64),
            (144, ByteOrder::Little, true) => Some(Arch::I386),
            (148, _, true) => Some(Arch::Arm),
            _ => None,
        });
        let name = &self.header.utsname.machine;
        let Some(arch) = arch else {
            if let Some(machine) =
                assumed.filter(|m| m.order == order && (m.word == WordSize::Bits32) == narrow)
            {
                self.remarks.push(format!("the header does not name the machine; {machine} was given"));
                self.machine = Some(machine);
                return Ok(machine);
            }
            let what = if name.is_empty() {
                "its header names no machine and no NT_PRSTATUS note tells it; convert it on the machine's own \
                 architecture with a tool that assumes that"
                    .to_owned()
            } else {
                format!("a dump of machine {name:?}, which hadump does not know")
            };
            return Err(Error::Unsupported { path: input.path().to_owned(), what });
        };
        let word = if narrow { WordSize::Bits32 } else { WordSize::Bits64 };
        let machine = Machine { arch, order, word };
        self.remarks.push(format!(
            "the header names {} machine; {machine} was inferred from the CPU registers",
            if name.is_empty() { "no" } else { "an unknown" }
        ));
        self.machine = Some(machine);
        Ok(machine)
    }
}

/// The byte order in which the version is a version; for version 0, which is the same in either, that in which the block
/// size and the sub header's length make sense. One is not enough: 4096 is 1 MiB in the other order.
fn byte_order(input: &Input, bytes: &[u8]) -> Result<ByteOrder, Error> {
    let version = &bytes[8..12];
    let orders = [ByteOrder::Little, ByteOrder::Big];
    let fits = |order: &ByteOrder| {
        [Abi::Bits64, Abi::Bits32].into_iter().any(|abi| {
            let header = Header::decode(bytes, Layout { order: *order, abi });
            sensible_page_size(input, &header).is_some()
        })
    };
    let found = if version == [0; 4] {
        orders.into_iter().find(fits)
    } else {
        orders.into_iter().find(|order| order.u32(version) <= MAX_VERSION)
    };
    found.ok_or_else(|| {
        input.damaged("header_version", 8, format!("{version:02x?}"), "0 to 6 in either byte order").into()
    })
}

/// The page size of a header in the right layout: one that a kernel has, with a sub header inside the file.
fn sensible_page_size(input: &Input, header: &Header) -> Option<PageSize> {
    let page_size = PageSize::new(header.block_size.into())?;
    let blocks = 1 + u64::from(header.sub_hdr_size);
    (header.sub_hdr_size > 0 && blocks * page_size.bytes() <= input.len()).then_some(page_size)
}

/// The machine that the header names, in the byte order that the header has.
fn named_machine(
    input: &Input,
    bytes: &[u8],
    order: ByteOrder,
    remarks: &mut Vec<String>,
) -> Result<Option<Machine>, Error> {
    let layout = Layout { order, abi: Abi::Bits64 };
    let name = Header::decode(bytes, layout).utsname.machine;
    // QEMU spells PPC64 and S390X.
    let Some(machine) = Machine::from_name(&name.to_ascii_lowercase()) else { return Ok(None) };
    if machine.order == order {
        return Ok(Some(machine));
    }
    // `uname -m` of mips64 is the same in both orders, and so are others'.
    if let Arch::Other(_) = machine.arch {
        return Ok(Some(Machine { order, ..machine }));
    }
    // QEMU says PPC64 for either byte order.
    if matches!(machine.arch, Arch::Ppc64 | Arch::Aarch64 | Arch::Arm | Arch::Ppc) {
        remarks
            .push(format!("the header's byte order is not that of machine {name:?}; the header's was used"));
        return Ok(Some(Machine { order, ..machine }));
    }
    Err(input
        .damaged("header_version", 8, "in the other byte order", format!("that of machine {name:?}"))
        .into())
}

/// The layout in which the main header makes sense.
fn word_size(
    input: &Input,
    bytes: &[u8],
    order: ByteOrder,
    machine: Option<Machine>,
    remarks: &mut Vec<String>,
) -> Result<(Abi, Header, PageSize), Error> {
    let decode = |abi| Header::decode(bytes, Layout { order, abi });
    let sensible = |abi| {
        let header = decode(abi);
        let page_size = sensible_page_size(input, &header)?;
        Some((abi, header, page_size))
    };
    let narrow = machine.is_some_and(|m| m.word == WordSize::Bits32);
    let abis = if narrow { [Abi::Bits32, Abi::Bits64] } else { [Abi::Bits64, Abi::Bits32] };
    let Some(found) = abis.into_iter().find_map(sensible) else {
        let header = decode(abis[0]);
        let at = if narrow { 416 } else { 428 };
        return Err(match PageSize::new(header.block_size.into()) {
            None => input
                .damaged(
                    "block_size",
                    at,
                    header.block_size.to_string(),
                    "a power of two from 4096 to 1048576",
                )
                .into(),
            Some(_) if header.sub_hdr_size == 0 => {
                input.damaged("sub_hdr_size", at + 4, "0", "the number of its blocks, at least 1").into()
            }
            Some(page_size) => {
                input.cut_off((1 + u64::from(header.sub_hdr_size)) * page_size.bytes(), "its headers")
            }
        });
    };
    if let Some(machine) = machine
        && (found.0 == Abi::Bits64) != (machine.word == WordSize::Bits64)
    {
        remarks.push(format!("the header is laid out for another word size than {machine} has"));
    }
    Ok(found)
}

/// Reports whether a note with a name begins at `at`, in notes that are there.
fn is_note(input: &Input, at: u64, order: ByteOrder) -> bool {
    let mut bytes = [0; 16];
    input.read_at(at, &mut bytes).is_ok()
        && (2..=64).contains(&order.u32(&bytes))
        && bytes[12..14].iter().all(u8::is_ascii_graphic)
}

/// The sub header, and the layout in which it makes sense.
fn sub_header(
    input: &Input,
    order: ByteOrder,
    abi: Abi,
    header: &Header,
    machine: Option<Machine>,
    remarks: &mut Vec<String>,
) -> Result<(Layout, SubHeader), Error> {
    let mut bytes = [0; 104];
    input.read_at(header.block_size.into(), &mut bytes)?;
    let decode = |abi| {
        let layout = Layout { order, abi };
        (layout, SubHeader::decode(&bytes, layout, header.version))
    };
    if abi == Abi::Bits64 {
        return Ok(decode(abi));
    }
    let inside = |at: u64, len: u64| at.checked_add(len).is_some_and(|end| end <= input.len());
    let sensible = |(_, sub): &(Layout, SubHeader)| {
        inside(sub.offset_vmcoreinfo, sub.size_vmcoreinfo)
            && inside(sub.offset_note, sub.size_note)
            && (sub.size_note == 0 || is_note(input, sub.offset_note, order))
    };
    let i386_first = machine.is_some_and(|m| m.arch == Arch::I386);
    let abis = if i386_first { [Abi::I386, Abi::Bits32] } else { [Abi::Bits32, Abi::I386] };
    let [first, second] = abis.map(decode);
    // In the wrong layout the notes' length may well be taken from a field that is 0.
    let has_notes = |layout: &(Layout, SubHeader)| sensible(layout) && layout.1.size_note > 0;
    let known = machine.is_some();
    if !sensible(&second) || sensible(&first) && (known || has_notes(&first) || !has_notes(&second)) {
        return Ok(first);
    }
    if machine.is_some() {
        remarks.push("the sub header is laid out as another 32-bit architecture would".into());
    }
    Ok(second)
}
