//! The addresses: an array in one of five encodings.

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
        let machine = self.memory.machine();
        let width = if self.encoding == Encoding::Word { machine.word.bytes() as u64 } else { 4 };
        let at = self.array.0.wrapping_add(width * u64::from(index));
        let raw = match self.encoding {
            Encoding::Word => self.memory.read_word(VirtAddr(at))?,
            _ => self.memory.read_u32(VirtAddr(at))?.into(),
        };
        let addr = self.encoding.decode(raw, at);
        Ok(VirtAddr(match machine.word {
            WordSize::Bits32 => addr & u64::from(u32::MAX),
            WordSize::Bits64 => addr,
        }))
    }
}
