//! The kernel's types: sizes, members, arrays and enumerators, wherever they are known from.
//!
//! Two sources describe types: DWARF in a vmlinux ([`Dwarf`](crate::dwarf::Dwarf)) and BTF in the dump itself
//! ([`Btf`](crate::btf::Btf)). Both are graphs of types that name each other by number, and [`Types`] is what they
//! have in common. What a path such as `page.compound_head` means is worked out here, once for both.

use crate::Error;
use std::collections::HashSet;

/// The number by which a source knows a type: an offset in `.debug_info`, a BTF type id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u64);

/// What a name may stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Named {
    /// `struct name` or `union name`, complete.
    Struct,
    /// `typedef … name`.
    Typedef,
    /// A global or file-local variable.
    Variable,
}

/// One type, with `typedef`, `const` and the like taken off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// No type, as in `void *`.
    Void,
    /// An integer, character, boolean or floating-point number.
    Base {
        /// The name, `char` or `unsigned int`.
        name: String,
        /// Bytes.
        size: u64,
    },
    /// A pointer; [`Type::Void`] for `void *`.
    Pointer(TypeId),
    /// An array; of unknown length for `[]` and for what is only declared.
    Array {
        /// The elements' type: an array again when there are several dimensions.
        element: TypeId,
        /// How many.
        count: Option<u64>,
    },
    /// A struct or union.
    Struct {
        /// The tag, empty when there is none.
        name: String,
        /// Bytes; unknown when the source has only a declaration.
        size: Option<u64>,
    },
    /// An enumeration.
    Enum {
        /// Bytes.
        size: u64,
    },
    /// A function, which has no size.
    Function,
}

/// A member of a struct or union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name, empty for an anonymous struct or union whose members belong to the one around it.
    pub name: String,
    /// The type.
    pub kind: TypeId,
    /// Where it starts, in bits from the start.
    pub bit_offset: u64,
    /// Its width when it is a bit field.
    pub bits: Option<u64>,
}

/// Where a chain of members leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The type of the last member.
    pub kind: TypeId,
    /// Where it starts, in bits from the start of the first struct.
    pub bit_offset: u64,
    /// Its width when it is a bit field.
    pub bits: Option<u64>,
}

/// The deepest nesting of types and of anonymous members believed; kernels stay below ten.
pub(crate) const MAX_DEPTH: usize = 64;

/// The longest name of a type or member that is read, in bytes (the kernel's `KSYM_NAME_LEN` is 512). Members may share a
/// name, so that a few damaged bytes could ask for one of megabytes thousands of times.
pub(crate) const MAX_NAME: usize = 1024;

/// A source of types.
pub trait Types {
    /// What `name` stands for, when the source has it.
    ///
    /// # Errors
    ///
    /// When the source is damaged or cannot be read, here and below.
    fn find(&self, what: Named, name: &str) -> Result<Option<TypeId>, Error>;

    /// The type of that number, which came from this source.
    fn get(&self, id: TypeId) -> Result<Type, Error>;

    /// The members of a struct or union, in the order of its declaration; none for other types.
    fn members(&self, id: TypeId) -> Result<Vec<Member>, Error>;

    /// The value of an enumerator, of whichever enumeration.
    fn enumerator(&self, name: &str) -> Result<Option<i64>, Error>;

    /// The whole enumeration that has the enumerator `name`: names and values in its order; none if there is none.
    fn enumeration(&self, name: &str) -> Result<Vec<(String, i64)>, Error>;

    /// Tells a source that is slow at finding what will be asked for.
    fn expect(&self, _names: &[(Named, &str)], _enumerators: &[&str]) -> Result<(), Error> {
        Ok(())
    }

    /// The bytes of a type on a machine whose words have `word` bytes; `None` for what has no size.
    fn size(&self, id: TypeId, word: u64) -> Result<Option<u64>, Error> {
        let mut id = id;
        let mut factor = 1u64;
        for _ in 0..MAX_DEPTH {
            let one = match self.get(id)? {
                Type::Void | Type::Function => None,
                Type::Base { size, .. } | Type::Enum { size } => Some(size),
                Type::Pointer(_) => Some(word),
                Type::Struct { size, .. } => size,
                Type::Array { element, count } => {
                    let Some(product) = count.and_then(|n| n.checked_mul(factor)) else { return Ok(None) };
                    (id, factor) = (element, product);
                    continue;
                }
            };
            return Ok(one.and_then(|one| one.checked_mul(factor)));
        }
        Ok(None)
    }

    /// The member `name` of a struct, also inside anonymous structs and unions.
    fn member(&self, id: TypeId, name: &str) -> Result<Option<Field>, Error> {
        member_within(self, id, name, &mut HashSet::new(), 0)
    }

    /// The struct, or the typedef of one, called `name`.
    fn structure(&self, name: &str) -> Result<Option<TypeId>, Error> {
        Ok(match self.find(Named::Struct, name)? {
            None => self.find(Named::Typedef, name)?,
            found => found,
        })
    }

    /// SIZE(`name`) as VMCOREINFO has it: the bytes of a struct, union or typedef.
    fn size_of(&self, name: &str, word: u64) -> Result<Option<u64>, Error> {
        match self.structure(name)? {
            Some(id) => self.size(id, word),
            None => Ok(None),
        }
    }

    /// Follows `struct.member.member…`: the member may be that of a member that is itself a struct.
    fn field(&self, path: &str) -> Result<Option<Field>, Error> {
        let mut parts = path.split('.');
        let Some(start) = self.structure(parts.next().unwrap_or_default())? else { return Ok(None) };
        let mut at = Field { kind: start, bit_offset: 0, bits: None };
        for part in parts {
            let Some(next) = self.member(at.kind, part)? else { return Ok(None) };
            let Some(bit_offset) = at.bit_offset.checked_add(next.bit_offset) else { return Ok(None) };
            at = Field { bit_offset, ..next };
        }
        Ok(Some(at))
    }

    /// OFFSET(`path`): the offset in bytes of `struct.member`.
    fn offset_of(&self, path: &str) -> Result<Option<u64>, Error> {
        Ok(self.field(path)?.map(|field| field.bit_offset / 8))
    }

    /// The number of elements of the outermost dimension, when the type is an array of known length.
    fn count(&self, id: TypeId) -> Result<Option<u64>, Error> {
        Ok(match self.get(id)? {
            Type::Array { count, .. } => count,
            _ => None,
        })
    }
}

/// Looks into each type once: damaged types refer to each other, and the ways through them double at every step.
fn member_within<T: Types + ?Sized>(
    types: &T,
    id: TypeId,
    name: &str,
    seen: &mut HashSet<TypeId>,
    depth: usize,
) -> Result<Option<Field>, Error> {
    if depth > MAX_DEPTH || !seen.insert(id) {
        return Ok(None);
    }
    let members = types.members(id)?;
    if let Some(found) = members.iter().find(|m| m.name == name) {
        return Ok(Some(Field { kind: found.kind, bit_offset: found.bit_offset, bits: found.bits }));
    }
    for outer in members.iter().filter(|m| m.name.is_empty() && m.bits.is_none()) {
        if let Some(inner) = member_within(types, outer.kind, name, seen, depth + 1)? {
            let bit_offset = outer.bit_offset.saturating_add(inner.bit_offset);
            return Ok(Some(Field { bit_offset, ..inner }));
        }
    }
    Ok(None)
}
