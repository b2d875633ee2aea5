//! The compilation units of `.debug_info`, read one at a time.

use crate::Error;
use crate::vmlinux::{SectionStream, Vmlinux};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// Bytes of units that are kept because types in them are read.
const BUDGET: usize = 16 << 20;

/// The largest unit believed: a kernel linked as one unit (clang's full LTO) has some tens of megabytes in it.
const MAX_UNIT: u64 = 256 << 20;

/// One unit's bytes, header included.
pub(super) struct Unit {
    /// Where it starts in the section.
    pub(super) start: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) abbreviations: RefCell<Option<Rc<gimli::Abbreviations>>>,
    /// `DW_AT_str_offsets_base`; the scan sets it.
    pub(super) string_base: Cell<usize>,
}

/// Where units lie, as far as has been seen, and the units that are in use.
pub(super) struct Units<'v> {
    vmlinux: &'v Vmlinux,
    /// Start and length, ascending, without gaps.
    places: Vec<(u64, u64)>,
    kept: VecDeque<Rc<Unit>>,
}

/// A walk over all units.
pub(super) struct Walk<'v> {
    stream: SectionStream<'v>,
}

impl<'v> Units<'v> {
    pub(super) fn new(vmlinux: &'v Vmlinux) -> Self {
        Self { vmlinux, places: Vec::new(), kept: VecDeque::new() }
    }

    /// Starts at the first unit.
    pub(super) fn walk(&self) -> Result<Walk<'v>, Error> {
        let stream = self.vmlinux.section(".debug_info")?;
        let stream = stream.ok_or_else(|| self.vmlinux.unusable("it has no .debug_info"))?;
        Ok(Walk { stream })
    }

    /// The next unit of a walk.
    pub(super) fn next(&mut self, walk: &mut Walk<'v>) -> Result<Option<Rc<Unit>>, Error> {
        let start = walk.stream.position();
        let Some(mut bytes) = self.length(walk)? else { return Ok(None) };
        let total = self.places.iter().rev().find(|p| p.0 == start).map_or(0, |p| p.1);
        let missing = total - bytes.len() as u64;
        let read = walk.stream.append(missing, &mut bytes)?;
        if read < missing {
            return Err(
                self.damaged(start, format!("a unit of {total} bytes, {} of them there", bytes.len()))
            );
        }
        Ok(Some(Rc::new(Unit { start, bytes, abbreviations: RefCell::default(), string_base: Cell::new(0) })))
    }

    /// Reads the length of the next unit and remembers its place; returns the bytes read.
    fn length(&mut self, walk: &mut Walk<'v>) -> Result<Option<Vec<u8>>, Error> {
        let stream = &mut walk.stream;
        let start = stream.position();
        let left = stream.left();
        let mut bytes = Vec::new();
        if stream.append(4, &mut bytes)? < 4 {
            return Ok(None);
        }
        let order = self.vmlinux.machine().order;
        let mut length = u64::from(order.u32(&bytes));
        if length == u64::from(u32::MAX) {
            if stream.append(8, &mut bytes)? < 8 {
                return Ok(None);
            }
            length = order.u64(&bytes[4..]);
        }
        let total = length.saturating_add(bytes.len() as u64);
        if total > left || total > MAX_UNIT {
            return Err(self.damaged(start, format!("a unit of {total} bytes where {left} are left")));
        }
        if self.places.last().is_none_or(|&(last, _)| last < start) {
            self.places.push((start, total));
        }
        Ok(Some(bytes))
    }

    /// The unit that `offset` of the section lies in.
    pub(super) fn holding(&mut self, offset: u64) -> Result<Option<Rc<Unit>>, Error> {
        let inside = |start: u64, len: u64| offset >= start && offset - start < len;
        if let Some(at) = self.kept.iter().position(|u| inside(u.start, u.bytes.len() as u64)) {
            let unit = self.kept.remove(at);
            self.kept.extend(unit.clone());
            return Ok(unit);
        }
        if self.places.last().is_none_or(|&(start, len)| offset >= start.saturating_add(len)) {
            self.look_ahead(offset)?;
        }
        let after = self.places.partition_point(|&(start, _)| start <= offset);
        let place = after.checked_sub(1).and_then(|i| self.places.get(i));
        let Some(&(start, _)) = place.filter(|&&(start, len)| inside(start, len)) else {
            return Ok(None);
        };
        let mut walk = self.walk()?;
        walk.stream.skip(start)?;
        let unit = self.next(&mut walk)?;
        unit.iter().for_each(|unit| self.keep(Rc::clone(unit)));
        Ok(unit)
    }

    /// Notes the places of units up to the one that holds `offset`.
    fn look_ahead(&mut self, offset: u64) -> Result<(), Error> {
        let mut walk = self.walk()?;
        if let Some(&(start, len)) = self.places.last() {
            walk.stream.skip(start + len)?;
        }
        while walk.stream.position() <= offset
            && let Some(header) = self.length(&mut walk)?
        {
            let total = self.places.last().map_or(0, |p| p.1);
            walk.stream.skip(total - header.len() as u64)?;
        }
        Ok(())
    }

    /// Keeps a unit at hand, and lets go of those not used for longest.
    pub(super) fn keep(&mut self, unit: Rc<Unit>) {
        if self.kept.iter().any(|kept| kept.start == unit.start) {
            return;
        }
        self.kept.push_back(unit);
        while self.kept.len() > 1 && self.kept.iter().map(|u| u.bytes.len()).sum::<usize>() > BUDGET {
            self.kept.pop_front();
        }
    }

    fn damaged(&self, offset: u64, why: String) -> Error {
        let what = format!("{}: .debug_info", self.vmlinux.path().display());
        Error::DebugInfo { what, offset, why }
    }
}
