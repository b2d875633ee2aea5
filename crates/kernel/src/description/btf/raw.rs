//! BTF as it is laid out: header, entries, strings (kernel: `include/uapi/linux/btf.h`).

use super::Btf;
use crate::Error;
use crate::types::MAX_NAME;
use std::ops::Range;
use vmcore::ByteOrder;

/// `BTF_MAGIC`.
const MAGIC: u16 = 0xeb9f;
/// `struct btf_header` without what later versions may append.
const HEADER: usize = 24;
/// `struct btf_type`.
const ENTRY: usize = 12;

/// `BTF_KIND_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Pointer,
    Array,
    Struct,
    Union,
    Enum,
    Forward,
    Typedef,
    /// `const`, `volatile`, `restrict` and type tags.
    Qualifier,
    Function,
    Prototype,
    Var,
    Section,
    Float,
    Tag,
    Enum64,
}

impl Kind {
    /// By number, with the bytes after the entry: a fixed number and a number for each of `vlen`.
    fn of(number: u32) -> Option<(Self, usize, usize)> {
        Some(match number {
            1 => (Self::Int, 4, 0),
            2 => (Self::Pointer, 0, 0),
            3 => (Self::Array, 12, 0),
            4 => (Self::Struct, 0, 12),
            5 => (Self::Union, 0, 12),
            6 => (Self::Enum, 0, 8),
            7 => (Self::Forward, 0, 0),
            8 => (Self::Typedef, 0, 0),
            9 | 10 | 11 | 18 => (Self::Qualifier, 0, 0),
            12 => (Self::Function, 0, 0),
            13 => (Self::Prototype, 0, 8),
            14 => (Self::Var, 4, 0),
            15 => (Self::Section, 0, 12),
            16 => (Self::Float, 0, 0),
            17 => (Self::Tag, 4, 0),
            19 => (Self::Enum64, 0, 12),
            _ => return None,
        })
    }

    pub(super) fn is_alias(self) -> bool {
        matches!(self, Self::Typedef | Self::Qualifier)
    }
}

/// One entry with what follows it.
#[derive(Clone, Copy)]
pub(super) struct Raw<'b> {
    pub(super) kind: Kind,
    /// Where the name is among the strings.
    pub(super) name: u32,
    pub(super) size_or_type: u32,
    flag: bool,
    order: ByteOrder,
    /// The bytes after the entry.
    rest: &'b [u8],
}

/// A member of a struct as BTF has it.
pub(super) struct RawMember {
    pub(super) name: u32,
    pub(super) kind: u32,
    pub(super) bit_offset: u32,
    /// The width of a bit field, 0 for none, when the struct has it.
    pub(super) bits: Option<u8>,
}

impl<'b> Raw<'b> {
    /// The entry at `place`; `None` when it is cut off or of a kind not known.
    pub(super) fn at(types: &'b [u8], place: usize, order: ByteOrder) -> Option<Self> {
        let bytes = types.get(place..)?;
        let head = bytes.get(..ENTRY)?;
        let info = order.u32(&head[4..]);
        let (kind, by_itself, each) = Kind::of(info >> 24 & 0x1f)?;
        let len = by_itself + each * (info & 0xffff) as usize;
        Some(Self {
            kind,
            name: order.u32(head),
            size_or_type: order.u32(&head[8..]),
            flag: info >> 31 != 0,
            order,
            rest: bytes.get(ENTRY..ENTRY + len)?,
        })
    }

    fn word(&self, bytes: &[u8], n: usize) -> u32 {
        self.order.u32(&bytes[4 * n..])
    }

    /// Element type and length.
    pub(super) fn array(&self) -> Option<(u32, u32)> {
        (self.rest.len() == 12).then(|| (self.word(self.rest, 0), self.word(self.rest, 2)))
    }

    /// First bit and number of bits of an integer inside its bytes.
    pub(super) fn integer_bits(&self) -> Option<(u32, u32)> {
        let word = self.order.u32(self.rest.get(..4)?);
        Some((word >> 16 & 0xff, word & 0xff))
    }

    pub(super) fn members(self) -> impl Iterator<Item = RawMember> + 'b {
        let is = matches!(self.kind, Kind::Struct | Kind::Union);
        let each = if is { self.rest } else { &[] };
        each.chunks_exact(12).map(move |bytes| {
            let offset = self.word(bytes, 2);
            RawMember {
                name: self.word(bytes, 0),
                kind: self.word(bytes, 1),
                bit_offset: if self.flag { offset & 0x00ff_ffff } else { offset },
                bits: self.flag.then_some((offset >> 24) as u8),
            }
        })
    }

    /// Names and values of an enumeration.
    pub(super) fn enumerators(self) -> impl Iterator<Item = (u32, i64)> + 'b {
        let len = match self.kind {
            Kind::Enum => 8,
            Kind::Enum64 => 12,
            _ => usize::MAX,
        };
        self.rest.chunks_exact(len).map(move |bytes| {
            let low = self.word(bytes, 1);
            let value = match (self.kind, self.flag) {
                (Kind::Enum64, _) => (u64::from(self.word(bytes, 2)) << 32 | u64::from(low)) as i64,
                // Signed by the flag since 6.0; before, all are, and the kernel's are small.
                _ => i64::from(low as i32),
            };
            (self.word(bytes, 0), value)
        })
    }
}

/// The string at `offset` of `strings`, each of which a NUL ends; empty where there is none, or none that ends within
/// [`MAX_NAME`] bytes.
pub(super) fn string(strings: &[u8], offset: u32) -> &[u8] {
    let at = strings.get(offset as usize..).unwrap_or_default();
    let at = &at[..at.len().min(MAX_NAME)];
    &at[..memchr::memchr(0, at).unwrap_or(0)]
}

/// Splits types from strings (`struct btf_header`: magic, version, flags, hdr_len, then offset and length of both,
/// counted from the header's end).
pub(super) fn sections(bytes: &[u8], order: ByteOrder) -> Result<(Range<usize>, Range<usize>), Error> {
    let short = || Btf::damaged(0, format!("{} bytes, fewer than its header has", bytes.len()));
    let head = bytes.get(..HEADER).ok_or_else(short)?;
    let magic = order.u16(head);
    if magic != MAGIC || head[2] != 1 {
        let found = format!("magic {magic:#x} and version {}, expected {MAGIC:#x} and 1", head[2]);
        return Err(Btf::damaged(0, found));
    }
    let word = |at: usize| order.u32(&head[at..]) as usize;
    let start = word(4);
    let body = bytes.get(start..).ok_or_else(short)?;
    let part = |at: usize| {
        let (offset, len) = (word(at), word(at + 4));
        let end = offset.checked_add(len);
        let inside = end.filter(|&end| end <= body.len());
        inside.map(|end| start + offset..start + end).ok_or_else(|| {
            let why = format!("{len} bytes at {offset} of {} are claimed", body.len());
            Btf::damaged(at as u64, why)
        })
    };
    Ok((part(8)?, part(16)?))
}

/// Where each entry starts.
pub(super) fn index(types: &[u8], order: ByteOrder) -> Result<Vec<u32>, Error> {
    let mut index = Vec::new();
    let mut at = 0;
    while at < types.len() {
        let raw = Raw::at(types, at, order)
            .ok_or_else(|| Btf::damaged(at as u64, "a type of a kind not known, or cut off"))?;
        index.push(u32::try_from(at).unwrap_or(u32::MAX));
        at += ENTRY + raw.rest.len();
    }
    Ok(index)
}
