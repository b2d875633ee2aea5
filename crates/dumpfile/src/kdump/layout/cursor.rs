//! Fields one after another, placed as a C compiler places them.

use super::{Abi, Layout};

/// The width of a field.
#[derive(Clone, Copy)]
pub(super) enum Width {
    Int,
    Long,
    Wide,
}

/// Walks over fields as a C compiler places them.
pub(super) struct Cursor {
    pub(super) layout: Layout,
    pub(super) at: usize,
}

impl Cursor {
    /// The place of the next field.
    pub(super) fn place(&mut self, width: Width) -> std::ops::Range<usize> {
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
pub(super) trait Visitor {
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

pub(super) struct Reading<'a> {
    pub(super) cursor: Cursor,
    pub(super) bytes: &'a [u8],
}

impl Visitor for Reading<'_> {
    fn visit(&mut self, width: Width, value: &mut u64) {
        let order = self.cursor.layout.order;
        let bytes = &self.bytes[self.cursor.place(width)];
        *value = if bytes.len() == 4 { order.u32(bytes).into() } else { order.u64(bytes) };
    }
}

pub(super) struct Writing<'a> {
    pub(super) cursor: Cursor,
    pub(super) bytes: &'a mut [u8],
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
