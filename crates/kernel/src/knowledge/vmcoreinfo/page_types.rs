//! The values of `page._mapcount` that name a page's type, from the enumerations and macros behind them.

use crate::Error;
use crate::types::Types;

/// A type of page in the encodings of `include/linux/page-flags.h`.
pub(super) struct PageType {
    /// NUMBER of VMCOREINFO.
    key: &'static str,
    /// Since 6.12 an enumerator whose value is in the top byte.
    pub(super) number: &'static str,
    /// In 6.11 an enumerator whose bit is clear in an otherwise set word; before, a macro of the same name.
    pub(super) bit: &'static str,
    /// The macro's value: it is in no debug information. `None` for types that there was no macro for.
    macro_bit: Option<u32>,
}

/// Macros: `PG_buddy` and `PG_offline` since 4.18 and 4.20, `PG_hugetlb` in 6.9 and 6.10, `PG_slab` in 6.10.
pub(super) const TYPES: [PageType; 5] = [
    PageType {
        key: "PAGE_BUDDY_MAPCOUNT_VALUE",
        number: "PGTY_buddy",
        bit: "PG_buddy",
        macro_bit: Some(0x80),
    },
    PageType {
        key: "PAGE_OFFLINE_MAPCOUNT_VALUE",
        number: "PGTY_offline",
        bit: "PG_offline",
        macro_bit: Some(0x100),
    },
    PageType {
        key: "PAGE_HUGETLB_MAPCOUNT_VALUE",
        number: "PGTY_hugetlb",
        bit: "PG_hugetlb",
        macro_bit: Some(0x800),
    },
    PageType {
        key: "PAGE_SLAB_MAPCOUNT_VALUE",
        number: "PGTY_slab",
        bit: "PG_slab",
        macro_bit: Some(0x1000),
    },
    PageType {
        key: "PAGE_UNACCEPTED_MAPCOUNT_VALUE",
        number: "PGTY_unaccepted",
        bit: "PG_unaccepted",
        macro_bit: None,
    },
];

/// Before 4.18 a page had no type but the buddy allocator's mark (2.6.39: `PAGE_BUDDY_MAPCOUNT_VALUE`).
const OLD_BUDDY: i64 = -128;

/// Keys and values of the types that the kernel has. `mentions` returns whether the kernel's strings
/// have a key, which it then prints: only then is a macro's value taken.
pub(super) fn page_types(
    types: &dyn Types,
    mentions: impl Fn(&str) -> Result<bool, Error>,
) -> Result<Vec<(&'static str, i64)>, Error> {
    let mut values = Vec::new();
    for PageType { key, number, bit, macro_bit } in &TYPES {
        if let Some(number) = types.enumerator(number)?.and_then(|n| u32::try_from(n).ok()) {
            values.push((*key, i64::from((number << 24) as i32)));
            continue;
        }
        // Flags, which are numbers of bits, have the same names.
        let bit = types.enumerator(bit)?.filter(|bit| *bit >= 0x80).and_then(|bit| u32::try_from(bit).ok());
        if let Some(bit) = bit {
            values.push((*key, i64::from(!bit as i32)));
            continue;
        }
        let Some(macro_bit) = macro_bit else { continue };
        if !mentions(key)? {
            continue;
        }
        let typed = types.offset_of("page.page_type")?.is_some();
        values.push((*key, if typed { i64::from(!macro_bit as i32) } else { OLD_BUDDY }));
    }
    Ok(values)
}
