//! Compound pages: how large one is, and whether it is a huge page of hugetlbfs.
//!
//! A head has NUMBER(PG_head_mask) in its flags. What else is known of the compound is in the `struct page` after
//! it, at a place that changed often. Which place it is follows from the keys that VMCOREINFO offers:
//!
//! | kernel | order | hugetlb |
//! |---|---|---|
//! | to 3.19 | `lru.prev` | `lru.next` is SYMBOL(free_huge_page) |
//! | 4.0 to 4.3 | `compound_order` | `compound_dtor` is SYMBOL(free_huge_page) |
//! | 4.4 to 6.2 | `compound_order` | `compound_dtor` is NUMBER(HUGETLB_PAGE_DTOR) |
//! | 6.3 to 6.5 | `folio._folio_order` | `folio._folio_dtor`, the same |
//! | 6.6 to 6.8 | low byte of `flags` | flag NUMBER(PG_hugetlb) |
//! | from 6.9 | low byte of `flags` | the head's type is NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE) |

use super::fields::{Layout, Order, Width, number, word};
use super::kind::Kind;
use crate::Error;
use vmcore::PageSize;

/// The largest compound page that Linux makes: 16 GiB (`MAX_FOLIO_ORDER`, and the gigantic pages of POWER and Arm).
pub(super) const LARGEST: u32 = 34;

/// Where the order is, in the `struct page` after the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OrderAt {
    /// Nowhere that is known: each page counts alone.
    Unknown,
    Field(usize, Width),
    /// The low byte of the flags at this offset.
    Flags(usize),
}

/// What marks a huge page of hugetlbfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// The kernel has none.
    Never,
    /// A field of the next `struct page` has this value.
    Destructor(usize, Width, u64),
    /// The next `struct page` has this flag.
    NextFlag(usize, u64),
    /// The head is of this type.
    Head(Kind),
}

/// How compound pages are recognised.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compound {
    /// The flag of a head; 0 when the kernel does not name it.
    pub(super) head: u64,
    order: OrderAt,
    mark: Mark,
    /// Where a tail's bit 0 is in the next `struct page`.
    tail: Option<usize>,
    max_order: u32,
}

/// What a head says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) order: u32,
    pub(super) hugetlb: bool,
}

impl Compound {
    pub(super) fn new(layout: &Layout<'_>, page: PageSize, tail: Option<usize>) -> Result<Self, Error> {
        let info = layout.info();
        let flags = layout.need("page.flags", 8, "classifying pages")?;
        let (order, mark) = if let Some(kind) = Kind::of(info, "PAGE_HUGETLB_MAPCOUNT_VALUE") {
            (OrderAt::Flags(flags), Mark::Head(kind))
        } else if let Some(flag) = layout.flag("PG_hugetlb") {
            (OrderAt::Flags(flags), Mark::NextFlag(flags, flag))
        } else if info.offset("page.compound_order").is_some() {
            fields(layout, "page.compound_order", "page.compound_dtor", 0)?
        } else if info.offset("folio._folio_order").is_some() {
            fields(layout, "folio._folio_order", "folio._folio_dtor", layout.size as u64)?
        } else if let Some(free) = info.symbol("free_huge_page") {
            let at = |member: &str| {
                let sum = info.offset("page.lru").zip(info.offset(member)).map(|(a, b)| a.saturating_add(b));
                sum.map(|offset| layout.checked(member, offset, 8)).transpose()
            };
            match (at("list_head.prev")?, at("list_head.next")?) {
                (Some(prev), Some(next)) => {
                    (OrderAt::Field(prev, Width::Long), Mark::Destructor(next, Width::Long, free.0))
                }
                _ => (OrderAt::Unknown, Mark::Never),
            }
        } else if tail.is_some() {
            // Kernels that name compound_head (4.4) and none of the fields above are 6.6 or later, built without
            // hugetlbfs.
            (OrderAt::Flags(flags), Mark::Never)
        } else {
            (OrderAt::Unknown, Mark::Never)
        };
        let head = info.number("PG_head_mask").map_or(0, |n| n as u64);
        Ok(Self { head, order, mark, tail, max_order: LARGEST - page.shift() })
    }

    /// Reports whether huge pages of hugetlbfs can be recognised.
    pub(super) fn tells_hugetlb(&self) -> bool {
        self.head != 0 && self.mark != Mark::Never
    }

    /// Reports whether the number of pages of a compound is known.
    pub(super) fn tells_sizes(&self) -> bool {
        self.head != 0 && self.order != OrderAt::Unknown
    }

    /// What the head at frame `pfn` says. A size that cannot be (not aligned, larger than any, not followed by a tail)
    /// counts as a single page: too little is left out then, never too much.
    pub(super) fn read<O: Order>(&self, next: &[u8], pfn: u64, mapcount: u32) -> Head {
        if self.tail.is_some_and(|offset| word::<O>(next, offset) & 1 == 0) {
            return Head::default();
        }
        let order = match self.order {
            OrderAt::Unknown => 0,
            OrderAt::Field(offset, width) => number::<O>(next, offset, width),
            OrderAt::Flags(offset) => word::<O>(next, offset) & 0xff,
        };
        if order > self.max_order.into() || pfn & ((1 << order) - 1) != 0 {
            return Head::default();
        }
        let hugetlb = match self.mark {
            Mark::Never => false,
            Mark::Destructor(offset, width, value) => number::<O>(next, offset, width) == value,
            Mark::NextFlag(offset, flag) => word::<O>(next, offset) & flag != 0,
            Mark::Head(kind) => kind.is(mapcount),
        };
        Head { order: order as u32, hugetlb }
    }
}

/// Order and destructor as two fields side by side. Their distance is their width, which was a long until 4.3, a short or
/// an int until 4.15, a byte since.
fn fields(layout: &Layout<'_>, order: &str, destructor: &str, base: u64) -> Result<(OrderAt, Mark), Error> {
    const PURPOSE: &str = "telling the size of compound pages";
    let info = layout.info();
    let offset = |member: &str| {
        info.offset(member).ok_or_else(|| super::fields::missing(&format!("OFFSET({member})"), PURPOSE))
    };
    let (order_at, destructor_at) = (offset(order)?, offset(destructor)?);
    let (width, bytes) = match order_at.abs_diff(destructor_at) {
        1 => (Width::Byte, 1),
        2 => (Width::Short, 2),
        4 => (Width::Int, 4),
        8 => (Width::Long, 8),
        other => {
            return Err(Error::Unsupported(format!(
                "OFFSET({order}) and OFFSET({destructor}) are {other} bytes apart, expected 1, 2, 4 or 8"
            )));
        }
    };
    let inside = |member: &str, offset: u64| {
        let offset = offset.checked_sub(base).ok_or_else(|| {
            Error::Unsupported(format!("OFFSET({member}) is {offset}, expected at least SIZE(page), {base}"))
        })?;
        layout.checked(member, offset, bytes)
    };
    let (order, destructor) = (inside(order, order_at)?, inside(destructor, destructor_at)?);
    let id = info.number("HUGETLB_PAGE_DTOR").map(|n| n as u64);
    let mark = match id.or_else(|| info.symbol("free_huge_page").map(|s| s.0)) {
        Some(value) => Mark::Destructor(destructor, width, value),
        None => Mark::Never,
    };
    Ok((OrderAt::Field(order, width), mark))
}
