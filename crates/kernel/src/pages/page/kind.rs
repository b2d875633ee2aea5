//! Page types, which share a word with `_mapcount`.

use vmcore::VmcoreInfo;

/// A value of `page._mapcount` that names a type of page.
///
/// Four encodings have been in use: single magic numbers (2.6.38: buddy is -2, 2.6.39: -128), bits cleared from all ones
/// (4.18: buddy is ~0x80, 6.11: ~(1 << 30)), and a number in the top byte with the low 24 bits left to the owner (6.12).
/// VMCOREINFO gives the word, and the word shows its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    mask: u32,
    value: u32,
}

impl Kind {
    /// A type that no page has.
    pub(crate) const NONE: Self = Self { mask: 0, value: 1 };

    /// The type NUMBER(`name`), or [`Kind::NONE`] when the kernel has none.
    pub(crate) fn of(info: &VmcoreInfo, name: &str) -> Option<Self> {
        let number = info.number(name)?;
        // Printed as a signed int by most kernels, unsigned by some.
        let value = i32::try_from(number).map(|n| n as u32).or_else(|_| u32::try_from(number)).ok()?;
        // PGTY_*: 0xf0 to 0xfe in the top byte (0xff would be a mapcount below zero).
        let in_top_byte = value & 0x00ff_ffff == 0 && (0xf0..0xff).contains(&(value >> 24));
        Some(Self { mask: if in_top_byte { 0xff00_0000 } else { u32::MAX }, value })
    }

    /// Reports whether `mapcount` says that the page is of this type.
    #[inline]
    pub(crate) fn is(self, mapcount: u32) -> bool {
        mapcount & self.mask == self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(number: &str) -> Kind {
        Kind::of(&VmcoreInfo::parse(format!("NUMBER(T)={number}\n").as_bytes()), "T").unwrap()
    }

    #[test]
    fn each_encoding_of_a_page_type_is_recognised_by_its_value() {
        assert!(kind("-2").is(0xffff_fffe));
        assert!(kind("-128").is(0xffff_ff80));
        assert!(kind("-129").is(0xffff_ff7f));
        assert!(!kind("-129").is(0xffff_ff80));
        assert!(kind("-1073741825").is(0xbfff_ffff));
        assert!(kind("-268435456").is(0xf000_0000));
        assert!(kind("4026531840").is(0xf000_0000));
        assert!(!Kind::NONE.is(0) && !Kind::NONE.is(1) && !Kind::NONE.is(u32::MAX));
    }

    #[test]
    fn a_type_in_the_top_byte_leaves_the_low_bits_to_its_owner() {
        let slab = kind("-184549376");
        assert!(slab.is(0xf500_0007));
        assert!(!slab.is(0xf600_0000) && !slab.is(u32::MAX));
    }

    #[test]
    fn an_unmapped_page_has_no_type() {
        for number in ["-2", "-128", "-129", "-257", "-1073741825", "-268435456"] {
            assert!(!kind(number).is(u32::MAX) && !kind(number).is(0), "{number}");
        }
    }
}
