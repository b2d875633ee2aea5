//! The addresses: an array in one of five encodings.

use super::stream::Stream;
use super::{missing, symbol};
use crate::{Error, KernelMemory};
use vmcore::{VirtAddr, WordSize};

/// How an element of the array stands for an address (kernel: `kallsyms_sym_address`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    /// A whole address, in `kallsyms_addresses` (up to 6.10, without `CONFIG_KALLSYMS_BASE_RELATIVE`).
    Word,
    /// An unsigned distance from `kallsyms_relative_base`.
    Above(u64),
    /// An absolute value when it is not negative, else the distance from `kallsyms_relative_base` less one
    /// (`CONFIG_KALLSYMS_ABSOLUTE_PERCPU`: x86_64 up to 6.14).
    Split(u64),
    /// The distance from the element itself (since `kallsyms_relative_base` was removed, in 2026).
    FromHere,
    /// A 32-bit address (as `FromHere`, on 32-bit machines whose kernels are not relocatable).
    Half,
}

impl Encoding {
    /// The address that `raw` at `at` stands for.
    fn decode(self, raw: u64, at: u64) -> u64 {
        let signed = i64::from(raw as u32 as i32) as u64;
        match self {
            Self::Word | Self::Half => raw,
            Self::Above(base) => base.wrapping_add(raw),
            Self::Split(_) if (signed as i64) >= 0 => raw,
            Self::Split(base) => base.wrapping_sub(1).wrapping_sub(signed),
            Self::FromHere => at.wrapping_add(signed),
        }
    }
}

/// The array of addresses.
pub(super) struct Addresses<'a> {
    memory: &'a dyn KernelMemory,
    array: VirtAddr,
    encoding: Encoding,
}

impl<'a> Addresses<'a> {
    /// Picks the encoding by which the most of `anchors`, symbols' numbers and addresses, come out right.
    pub(super) fn settle(memory: &'a dyn KernelMemory, anchors: &[(u32, VirtAddr)]) -> Result<Self, Error> {
        let info = memory.info();
        let (array, candidates) = if let Some(offsets) = info.symbol("kallsyms_offsets") {
            let candidates = match info.symbol("kallsyms_relative_base") {
                Some(base) => {
                    let base = memory.read_word(base)?;
                    vec![Encoding::Above(base), Encoding::Split(base)]
                }
                None if memory.machine().word == WordSize::Bits32 => vec![Encoding::FromHere, Encoding::Half],
                None => vec![Encoding::FromHere],
            };
            (offsets, candidates)
        } else if info.symbol("kallsyms_addresses").is_some() {
            (symbol(memory, "kallsyms_addresses")?, vec![Encoding::Word])
        } else {
            return Err(missing("SYMBOL(kallsyms_offsets) or SYMBOL(kallsyms_addresses)".into()));
        };
        let mut best = None;
        for encoding in candidates {
            let table = Self { memory, array, encoding };
            let mut right = 0;
            for &(index, addr) in anchors {
                right += usize::from(table.get(index)? == addr);
            }
            if right > best.as_ref().map_or(0, |&(most, _)| most) {
                best = Some((right, table));
            }
        }
        best.map(|(_, table)| table).ok_or_else(|| Error::Implausible {
            what: "the kernel's symbol table".into(),
            addr: array,
            found: format!("a table in which {} known symbols have other addresses", anchors.len()),
            expected: "the addresses that VMCOREINFO gives".into(),
        })
    }

    /// The address of symbol number `index`.
    pub(super) fn get(&self, index: u32) -> Result<VirtAddr, Error> {
        self.from(index).next()
    }

    /// All addresses, one after another.
    pub(super) fn walk(&self) -> Walk<'_> {
        self.from(0)
    }

    fn from(&self, index: u32) -> Walk<'_> {
        let offset = self.width() as u64 * u64::from(index);
        let start = VirtAddr(self.array.0.wrapping_add(offset));
        Walk { encoding: self.encoding, width: self.width(), stream: Stream::new(self.memory, start) }
    }

    /// The bytes of an element.
    fn width(&self) -> usize {
        if self.encoding == Encoding::Word { self.memory.machine().word.bytes() } else { 4 }
    }
}

/// A walk over the array.
pub(super) struct Walk<'a> {
    encoding: Encoding,
    width: usize,
    stream: Stream<'a>,
}

impl Walk<'_> {
    /// The next address; the caller counts.
    pub(super) fn next(&mut self) -> Result<VirtAddr, Error> {
        let machine = self.stream.machine();
        let at = self.stream.at().0;
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..self.width];
        self.stream.fill(bytes)?;
        let raw = if self.width == 8 { machine.u64(bytes) } else { machine.u32(bytes).into() };
        let addr = self.encoding.decode(raw, at);
        Ok(VirtAddr(match machine.word {
            WordSize::Bits32 => addr & u64::from(u32::MAX),
            WordSize::Bits64 => addr,
        }))
    }
}
