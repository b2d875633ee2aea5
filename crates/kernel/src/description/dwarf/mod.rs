//! Types from a vmlinux's DWARF, versions 4 and 5.
//!
//! Only what is asked for is kept: `.debug_info` is gone through a compilation unit at a time, at its top level, until
//! every name is found; types are then read where they are. Packed sections are unpacked on the way. At no time is
//! more of `.debug_info` in memory than some units.

mod entry;
mod scan;
mod units;

use crate::Error;
use crate::types::{MAX_DEPTH, Member, Named, Type, TypeId, Types};
use crate::vmlinux::Vmlinux;
use entry::Entry;
use gimli::{
    DebugAbbrev, DebugInfo, DebugLineStr, DebugStr, DebugStrOffsets, EndianSlice, EntriesRaw, RunTimeEndian,
    UnitHeader, UnitOffset,
};
use scan::Wanted;
use std::cell::RefCell;
use std::rc::Rc;
use units::{Unit, Units};
use vmcore::ByteOrder;

type Slice<'a> = EndianSlice<'a, RunTimeEndian>;

/// The debug information of a vmlinux.
pub struct Dwarf<'v> {
    vmlinux: &'v Vmlinux,
    endian: RunTimeEndian,
    abbrev: Vec<u8>,
    strings: Vec<u8>,
    line_strings: Vec<u8>,
    string_offsets: Vec<u8>,
    units: RefCell<Units<'v>>,
    found: RefCell<Wanted>,
}

impl<'v> Dwarf<'v> {
    /// Prepares to read; `None` when the file has no debug information.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn open(vmlinux: &'v Vmlinux) -> Result<Option<Self>, Error> {
        if vmlinux.section(".debug_info")?.is_none() {
            return Ok(None);
        }
        if let Some(other) = vmlinux.shares_with()? {
            return Err(vmlinux.unusable(format!(
                "its debug information is in part in {} (dwz), which is not read; give the vmlinux as it was built, before dwz, or its VMCOREINFO",
                other.display()
            )));
        }
        let endian = match vmlinux.machine().order {
            ByteOrder::Little => RunTimeEndian::Little,
            ByteOrder::Big => RunTimeEndian::Big,
        };
        Ok(Some(Self {
            vmlinux,
            endian,
            abbrev: vmlinux.whole(".debug_abbrev")?,
            strings: vmlinux.whole(".debug_str")?,
            line_strings: vmlinux.whole(".debug_line_str")?,
            string_offsets: vmlinux.whole(".debug_str_offsets")?,
            units: RefCell::new(Units::new(vmlinux)),
            found: RefCell::default(),
        }))
    }

    fn damaged(&self, offset: u64, why: impl ToString) -> Error {
        let what = format!("{}: .debug_info", self.vmlinux.path().display());
        Error::DebugInfo { what, offset, why: why.to_string() }
    }

    /// The header of a unit that was read, and a place in it.
    fn header<'u>(&self, unit: &'u Unit) -> Result<UnitHeader<Slice<'u>>, Error> {
        let mut headers = DebugInfo::new(&unit.bytes, self.endian).units();
        let header = headers.next().map_err(|error| self.damaged(unit.start, error))?;
        header.ok_or_else(|| self.damaged(unit.start, "an empty unit"))
    }

    /// The abbreviations of a unit, which are kept with it.
    fn abbreviations(&self, unit: &Unit) -> Result<Rc<gimli::Abbreviations>, Error> {
        if let Some(kept) = &*unit.abbreviations.borrow() {
            return Ok(Rc::clone(kept));
        }
        let header = self.header(unit)?;
        let section = DebugAbbrev::new(&self.abbrev, self.endian);
        let parsed = section.abbreviations(header.debug_abbrev_offset());
        let parsed = Rc::new(parsed.map_err(|error| self.damaged(unit.start, error))?);
        *unit.abbreviations.borrow_mut() = Some(Rc::clone(&parsed));
        Ok(parsed)
    }

    /// What the attributes of a unit's entries refer to.
    fn context<'c>(&'c self, unit: &Unit, header: &UnitHeader<Slice<'_>>) -> entry::Context<'c> {
        entry::Context {
            start: unit.start,
            strings: DebugStr::new(&self.strings, self.endian),
            line_strings: DebugLineStr::from(EndianSlice::new(&self.line_strings, self.endian)),
            string_offsets: DebugStrOffsets::from(EndianSlice::new(&self.string_offsets, self.endian)),
            string_base: unit.string_base.get(),
            format: header.format(),
        }
    }

    /// Reads the entry of type `id`, and lets `more` read on in the unit after it.
    fn at<R>(
        &self,
        id: TypeId,
        more: impl for<'u> FnOnce(
            Entry<'u>,
            &mut EntriesRaw<'_, Slice<'u>>,
            &entry::Context<'u>,
        ) -> gimli::Result<R>,
    ) -> Result<R, Error> {
        let at = entry::without_dimension(id);
        let unit = self.units.borrow_mut().holding(at)?;
        let unit = unit.ok_or_else(|| self.damaged(at, "a reference to nowhere"))?;
        let header = self.header(&unit)?;
        let abbreviations = self.abbreviations(&unit)?;
        let context = self.context(&unit, &header);
        let offset = usize::try_from(at - unit.start).unwrap_or(usize::MAX);
        let read = || {
            let mut entries = header.entries_raw(&abbreviations, Some(UnitOffset(offset)))?;
            let Some(entry) = Entry::read(&mut entries, &context)? else { return Ok(None) };
            more(entry, &mut entries, &context).map(Some)
        };
        let read: gimli::Result<Option<R>> = read();
        let read = read.map_err(|error| self.damaged(at, error))?;
        read.ok_or_else(|| self.damaged(at, "a reference to no entry"))
    }

    /// Goes through `.debug_info` for what `wanted` still misses.
    fn search(&self, mut wanted: Wanted) -> Result<(), Error> {
        if !wanted.is_empty() {
            let mut walk = self.units.borrow().walk()?;
            while !wanted.is_complete() {
                let unit = self.units.borrow_mut().next(&mut walk)?;
                let Some(unit) = unit else { break };
                if scan::unit(self, &unit, &mut wanted)? {
                    self.units.borrow_mut().keep(unit);
                }
            }
        }
        self.found.borrow_mut().merge(wanted);
        Ok(())
    }
}

impl Types for Dwarf<'_> {
    fn find(&self, what: Named, name: &str) -> Result<Option<TypeId>, Error> {
        self.expect(&[(what, name)], &[])?;
        Ok(self.found.borrow().named(what, name))
    }

    fn enumerator(&self, name: &str) -> Result<Option<i64>, Error> {
        self.expect(&[], &[name])?;
        Ok(self.found.borrow().enumerator(name).map(|(value, _)| value))
    }

    fn enumeration(&self, name: &str) -> Result<Vec<(String, i64)>, Error> {
        self.expect(&[], &[name])?;
        let Some((_, id)) = self.found.borrow().enumerator(name) else { return Ok(Vec::new()) };
        self.at(id, |entry, entries, context| {
            let mut values = Vec::new();
            entry.each_child(entries, context, |child| {
                if let (Some(name), Some(value)) = (child.name, child.value) {
                    values.push((name.to_string_lossy().into_owned(), value));
                }
            })?;
            Ok(values)
        })
    }

    fn expect(&self, names: &[(Named, &str)], enumerators: &[&str]) -> Result<(), Error> {
        let wanted = self.found.borrow().missing(names, enumerators);
        self.search(wanted)
    }

    fn get(&self, id: TypeId) -> Result<Type, Error> {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            if id == TypeId(0) {
                return Ok(Type::Void);
            }
            let (known, next) = self.at(id, |entry, entries, context| {
                let dimensions = match entry.tag {
                    gimli::DW_TAG_array_type => entry.dimensions(entries, context)?,
                    _ => Vec::new(),
                };
                Ok(entry.kind(id, &dimensions))
            })?;
            match known {
                Some(known) => return Ok(known),
                None => id = next,
            }
        }
        Err(self.damaged(id.0, "a type that refers to itself"))
    }

    fn members(&self, id: TypeId) -> Result<Vec<Member>, Error> {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            if id == TypeId(0) {
                return Ok(Vec::new());
            }
            let order = self.vmlinux.machine().order;
            let (members, next) = self.at(id, |entry, entries, context| {
                let members = match entry.tag {
                    gimli::DW_TAG_structure_type | gimli::DW_TAG_union_type => {
                        entry.members(entries, context, order)?
                    }
                    _ => Vec::new(),
                };
                Ok((members, if entry.is_alias() { entry.kind } else { TypeId(0) }))
            })?;
            if next == TypeId(0) {
                return Ok(members);
            }
            id = next;
        }
        Err(self.damaged(id.0, "a type that refers to itself"))
    }
}

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
