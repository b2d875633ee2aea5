//! The search for names at the top level of compilation units.

use super::entry::{Entry, skip_children};
use super::units::Unit;
use super::{Dwarf, Slice};
use crate::Error;
use crate::types::{Named, TypeId};
use gimli::{EntriesRaw, UnitHeader};
use std::collections::HashMap;
use std::hash::Hash;

/// A name as bytes, and what was found for it.
type Names<T> = HashMap<Vec<u8>, Option<T>>;

/// Names that are searched for, or were.
#[derive(Default)]
pub(super) struct Wanted {
    structs: Names<TypeId>,
    typedefs: Names<TypeId>,
    variables: Names<Variable>,
    /// The value, and the enumeration.
    enumerators: Names<(i64, TypeId)>,
}

/// A variable's type. Only that of its definition has an array's length, which declarations may leave out.
#[derive(Clone, Copy)]
struct Variable {
    kind: TypeId,
    defined: bool,
}

fn merge<K: Hash + Eq, T>(into: &mut HashMap<K, T>, from: HashMap<K, T>) {
    into.extend(from);
}

impl Wanted {
    /// Those of the names that have not been searched for.
    pub(super) fn missing(&self, names: &[(Named, &str)], enumerators: &[&str]) -> Self {
        let mut missing = Self::default();
        for &(what, name) in names {
            let name = name.as_bytes();
            match what {
                Named::Struct if !self.structs.contains_key(name) => {
                    missing.structs.insert(name.to_vec(), None);
                }
                Named::Typedef if !self.typedefs.contains_key(name) => {
                    missing.typedefs.insert(name.to_vec(), None);
                }
                Named::Variable if !self.variables.contains_key(name) => {
                    missing.variables.insert(name.to_vec(), None);
                }
                _ => {}
            }
        }
        for name in enumerators.iter().filter(|name| !self.enumerators.contains_key(name.as_bytes())) {
            missing.enumerators.insert(name.as_bytes().to_vec(), None);
        }
        missing
    }

    /// Takes over what was searched for.
    pub(super) fn merge(&mut self, other: Self) {
        merge(&mut self.structs, other.structs);
        merge(&mut self.typedefs, other.typedefs);
        merge(&mut self.variables, other.variables);
        merge(&mut self.enumerators, other.enumerators);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.structs.is_empty()
            && self.typedefs.is_empty()
            && self.variables.is_empty()
            && self.enumerators.is_empty()
    }

    /// Reports whether everything was found.
    pub(super) fn is_complete(&self) -> bool {
        self.structs.values().all(Option::is_some)
            && self.typedefs.values().all(Option::is_some)
            && self.variables.values().all(|v| v.is_some_and(|v| v.defined))
            && self.enumerators.values().all(Option::is_some)
    }

    pub(super) fn named(&self, what: Named, name: &str) -> Option<TypeId> {
        let name = name.as_bytes();
        match what {
            Named::Struct => *self.structs.get(name)?,
            Named::Typedef => *self.typedefs.get(name)?,
            Named::Variable => self.variables.get(name)?.map(|v| v.kind),
        }
    }

    pub(super) fn enumerator(&self, name: &str) -> Option<(i64, TypeId)> {
        *self.enumerators.get(name.as_bytes())?
    }
}

/// Looks through the top level of a unit; returns whether something was found.
pub(super) fn unit(dwarf: &Dwarf<'_>, unit: &Unit, wanted: &mut Wanted) -> Result<bool, Error> {
    let header = dwarf.header(unit)?;
    let abbreviations = dwarf.abbreviations(unit)?;
    let mut at = 0;
    let mut look = || {
        let mut entries = header.entries_raw(&abbreviations, None)?;
        let Some(root) = Entry::read(&mut entries, &dwarf.context(unit, &header))? else { return Ok(false) };
        unit.string_base.set(root.string_base.unwrap_or_default());
        let context = dwarf.context(unit, &header);
        let mut declared: HashMap<TypeId, Vec<u8>> = HashMap::new();
        let mut found = false;
        while root.children && !entries.is_empty() {
            at = entries.next_offset().0 as u64;
            let id = TypeId(unit.start.saturating_add(at));
            let Some(entry) = Entry::read(&mut entries, &context)? else { break };
            match entry.tag {
                gimli::DW_TAG_structure_type | gimli::DW_TAG_union_type if !entry.declaration => {
                    found |= settle(&mut wanted.structs, entry.name, id);
                }
                gimli::DW_TAG_typedef => found |= settle(&mut wanted.typedefs, entry.name, id),
                gimli::DW_TAG_variable if !wanted.variables.is_empty() => {
                    found |= variable(&entry, id, &mut wanted.variables, &mut declared);
                }
                gimli::DW_TAG_enumeration_type if !wanted.enumerators.is_empty() => {
                    entry.each_child(&mut entries, &context, |child| {
                        if let Some(value) = child.value {
                            found |= settle(&mut wanted.enumerators, child.name, (value, id));
                        }
                    })?;
                    continue;
                }
                _ => {}
            }
            if entry.children {
                pass(&header, &abbreviations, &mut entries, &entry)?;
            }
        }
        Ok(found)
    };
    let looked: gimli::Result<bool> = look();
    looked.map_err(|error| dwarf.damaged(unit.start.saturating_add(at), error))
}

/// Goes to the next sibling.
fn pass<'u, 'a>(
    header: &UnitHeader<Slice<'u>>,
    abbreviations: &'a gimli::Abbreviations,
    entries: &mut EntriesRaw<'a, Slice<'u>>,
    entry: &Entry<'u>,
) -> gimli::Result<()> {
    match entry.sibling.filter(|sibling| sibling.0 > entries.next_offset().0) {
        Some(sibling) => *entries = header.entries_raw(abbreviations, Some(sibling))?,
        None => skip_children(entries)?,
    }
    Ok(())
}

/// Notes the first of each name.
fn settle<T>(names: &mut Names<T>, name: Option<Slice<'_>>, value: T) -> bool {
    let slot = name.and_then(|name| names.get_mut(name.slice()));
    let Some(slot) = slot.filter(|slot| slot.is_none()) else { return false };
    *slot = Some(value);
    true
}

/// Notes a variable. A definition after a declaration has no name but refers to it.
fn variable(
    entry: &Entry<'_>,
    id: TypeId,
    names: &mut Names<Variable>,
    declared: &mut HashMap<TypeId, Vec<u8>>,
) -> bool {
    let name = match entry.name {
        Some(name) => name.slice().to_vec(),
        None => match declared.get(&entry.specification) {
            Some(name) => name.clone(),
            None => return false,
        },
    };
    let Some(slot) = names.get_mut(&name) else { return false };
    if entry.declaration {
        declared.insert(id, name);
    }
    let defined = !entry.declaration;
    match slot {
        Some(known) if known.defined || !defined => return false,
        // A definition without a type of its own has the declaration's.
        Some(known) if entry.kind == TypeId(0) => known.defined = true,
        slot => *slot = Some(Variable { kind: entry.kind, defined }),
    }
    true
}
