//! Offsets of the fields of `struct page`, and words read at them.

use crate::Error;
use vmcore::VmcoreInfo;

/// Reads numbers in the dumped kernel's byte order, which is fixed once and outside every loop.
pub(crate) trait Order: Copy + Send + Sync {
    fn u64(bytes: [u8; 8]) -> u64;
    fn u32(bytes: [u8; 4]) -> u32;
    fn u16(bytes: [u8; 2]) -> u16;
}

/// Least significant byte first.
#[derive(Clone, Copy)]
pub(crate) struct Little;

/// Most significant byte first.
#[derive(Clone, Copy)]
pub(crate) struct Big;

impl Order for Little {
    fn u64(bytes: [u8; 8]) -> u64 {
        u64::from_le_bytes(bytes)
    }
    fn u32(bytes: [u8; 4]) -> u32 {
        u32::from_le_bytes(bytes)
    }
    fn u16(bytes: [u8; 2]) -> u16 {
        u16::from_le_bytes(bytes)
    }
}

impl Order for Big {
    fn u64(bytes: [u8; 8]) -> u64 {
        u64::from_be_bytes(bytes)
    }
    fn u32(bytes: [u8; 4]) -> u32 {
        u32::from_be_bytes(bytes)
    }
    fn u16(bytes: [u8; 2]) -> u16 {
        u16::from_be_bytes(bytes)
    }
}

/// The 64-bit word at `offset`; 0 past the end, which checked offsets never reach.
pub(crate) fn word<O: Order>(page: &[u8], offset: usize) -> u64 {
    page.get(offset..).and_then(|b| b.first_chunk()).map_or(0, |b| O::u64(*b))
}

/// The 32-bit number at `offset`.
pub(crate) fn half<O: Order>(page: &[u8], offset: usize) -> u32 {
    page.get(offset..).and_then(|b| b.first_chunk()).map_or(0, |b| O::u32(*b))
}

/// A number of `width` bytes at `offset`: 1, 2, 4 or 8.
pub(crate) fn number<O: Order>(page: &[u8], offset: usize, width: Width) -> u64 {
    match width {
        Width::Byte => page.get(offset).copied().unwrap_or(0).into(),
        Width::Short => page.get(offset..).and_then(|b| b.first_chunk()).map_or(0, |b| O::u16(*b)).into(),
        Width::Int => half::<O>(page, offset).into(),
        Width::Long => word::<O>(page, offset),
    }
}

/// The width of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    Byte,
    Short,
    Int,
    Long,
}

/// What VMCOREINFO says of `struct page`.
pub(crate) struct Layout<'a> {
    info: &'a VmcoreInfo,
    /// Bytes of one `struct page`.
    pub(crate) size: usize,
}

impl<'a> Layout<'a> {
    /// # Errors
    ///
    /// When the size is missing or no `struct page` has it.
    pub(crate) fn new(info: &'a VmcoreInfo) -> Result<Self, Error> {
        let size = info.size("page").ok_or_else(|| missing("SIZE(page)", "classifying pages"))?;
        // 56 is the smallest on 64-bit machines; debug options make it larger.
        if !(40..=1024).contains(&size) || size % 8 != 0 {
            return Err(Error::Unsupported(format!(
                "SIZE(page) is {size}, expected 40 to 1024 in steps of 8"
            )));
        }
        Ok(Self { info, size: size as usize })
    }

    pub(crate) fn info(&self) -> &'a VmcoreInfo {
        self.info
    }

    /// The offset of a field of `width` bytes, when VMCOREINFO has it and it lies inside.
    pub(crate) fn field(&self, member: &str, width: usize) -> Result<Option<usize>, Error> {
        self.info.offset(member).map(|offset| self.checked(member, offset, width)).transpose()
    }

    /// Checks that `width` bytes at `offset` lie inside a `struct page`.
    pub(crate) fn checked(&self, member: &str, offset: u64, width: usize) -> Result<usize, Error> {
        let size = self.size;
        usize::try_from(offset)
            .ok()
            .filter(|o| o.checked_add(width).is_some_and(|end| end <= size))
            .ok_or_else(|| {
                Error::Unsupported(format!(
                    "OFFSET({member}) is {offset}, past the {size} bytes of struct page"
                ))
            })
    }

    /// As [`Layout::field`], when the field is needed.
    pub(crate) fn need(&self, member: &str, width: usize, purpose: &'static str) -> Result<usize, Error> {
        self.field(member, width)?.ok_or_else(|| missing(&format!("OFFSET({member})"), purpose))
    }

    /// The mask of flag NUMBER(`name`) of `page.flags`, any of its 64 bits.
    pub(crate) fn flag(&self, name: &str) -> Option<u64> {
        let number = self.info.number(name)?;
        u32::try_from(number).ok().and_then(|n| 1u64.checked_shl(n))
    }

    /// As [`Layout::flag`], when the flag is needed.
    pub(crate) fn need_flag(&self, name: &str, purpose: &'static str) -> Result<u64, Error> {
        self.flag(name).ok_or_else(|| missing(&format!("NUMBER({name})"), purpose))
    }
}

pub(crate) fn missing(key: &str, purpose: &'static str) -> Error {
    Error::MissingKey { key: key.to_owned(), purpose }
}
