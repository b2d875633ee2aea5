//! Types from BTF, the compact description that a kernel carries of itself (`CONFIG_DEBUG_INFO_BTF`, since 5.2).
//!
//! The layout is that of the kernel's `include/uapi/linux/btf.h`: a header, an array of types that refer to each other
//! by number, and their names. Either byte order is read, from a slice or out of the dump, where `__start_BTF` and
//! `__stop_BTF` of the kernel's symbols say where it is. Ordinary variables have no entry: only those per CPU do.

mod raw;

use crate::symbols::Symbols;
use crate::types::{MAX_DEPTH, Member, Named, Type, TypeId, Types};
use crate::{Error, KernelMemory};
use raw::{Kind, Raw};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::OnceLock;
use vmcore::{ByteOrder, VirtAddr};

/// The most bytes believed; the largest kernels have some ten million.
const MAX_BYTES: u64 = 64 << 20;

/// Bytes that are read out of a dump at once.
const PIECE: usize = 1 << 18;

/// The types of a kernel.
pub struct Btf {
    order: ByteOrder,
    /// All of it, held once: a kernel that takes a dump has little memory.
    bytes: Vec<u8>,
    types: Range<usize>,
    strings: Range<usize>,
    /// Where each type starts in `types`; the first is number 1.
    index: Vec<u32>,
    /// Hashes of the names of what can be found by name, each with the number of its type, in ascending order.
    names: OnceLock<Vec<(u32, u32)>>,
    /// The enumerations: a few thousand among some hundred thousand types.
    enumerations: OnceLock<Vec<TypeId>>,
    hasher: RandomState,
}

impl Btf {
    /// Reads the types of a kernel.
    ///
    /// # Errors
    ///
    /// [`Error::DebugInfo`] when it is not BTF or contradicts itself.
    pub fn parse(bytes: Vec<u8>, order: ByteOrder) -> Result<Self, Error> {
        let (types, strings) = raw::sections(&bytes, order)?;
        let index = raw::index(&bytes[types.clone()], order)?;
        let (names, enumerations) = (OnceLock::new(), OnceLock::new());
        Ok(Self { order, bytes, types, strings, index, names, enumerations, hasher: RandomState::new() })
    }

    /// Reads the types out of a dump; `None` when its kernel has none.
    ///
    /// # Errors
    ///
    /// When the memory they lie in is not in the dump, and as [`Btf::parse`].
    pub fn of_dump(memory: &dyn KernelMemory, symbols: &dyn Symbols) -> Result<Option<Self>, Error> {
        let Some(start) = symbols.symbol("__start_BTF")? else { return Ok(None) };
        let Some(stop) = symbols.symbol("__stop_BTF")? else { return Ok(None) };
        let len = stop.0.saturating_sub(start.0);
        if !(24..=MAX_BYTES).contains(&len) {
            return Err(Error::Implausible {
                what: "__stop_BTF - __start_BTF".into(),
                addr: start,
                found: format!("{len} bytes"),
                expected: format!("24 to {MAX_BYTES}"),
            });
        }
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < len {
            let at = bytes.len();
            let piece = (len - at as u64).min(PIECE as u64) as usize;
            bytes.resize(at + piece, 0);
            memory.read(VirtAddr(start.0.wrapping_add(at as u64)), &mut bytes[at..])?;
        }
        Self::parse(bytes, memory.machine().order).map(Some)
    }

    /// The number of types.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Reports whether there is no type at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn damaged(offset: u64, why: impl Into<String>) -> Error {
        Error::DebugInfo { what: "the kernel's BTF".into(), offset, why: why.into() }
    }

    fn types(&self) -> &[u8] {
        &self.bytes[self.types.clone()]
    }

    /// The entry of type `id`.
    fn raw(&self, id: TypeId) -> Result<Raw<'_>, Error> {
        let index = id.0.checked_sub(1).and_then(|i| usize::try_from(i).ok());
        let place = index.and_then(|i| self.index.get(i));
        let place = place.ok_or_else(|| Self::damaged(id.0, "a reference to a type that does not exist"))?;
        Raw::at(self.types(), *place as usize, self.order)
            .ok_or_else(|| Self::damaged(u64::from(*place), "a type that is cut off"))
    }

    /// The name at `offset`.
    fn text(&self, offset: u32) -> &[u8] {
        raw::string(&self.bytes[self.strings.clone()], offset)
    }

    fn name(&self, offset: u32) -> String {
        String::from_utf8_lossy(self.text(offset)).into_owned()
    }

    /// All entries, with their numbers.
    fn entries(&self) -> impl Iterator<Item = (TypeId, Raw<'_>)> {
        self.index.iter().enumerate().filter_map(|(i, &place)| {
            let id = TypeId(1 + i as u64);
            Some((id, Raw::at(self.types(), place as usize, self.order)?))
        })
    }

    fn hash(&self, name: &[u8]) -> u32 {
        self.hasher.hash_one(name) as u32
    }

    /// Types whose names may be `name`, in ascending order.
    fn candidates(&self, name: &[u8]) -> impl Iterator<Item = TypeId> + '_ {
        let names = self.names.get_or_init(|| {
            let named = self.entries().filter(|(_, raw)| {
                matches!(raw.kind, Kind::Struct | Kind::Union | Kind::Typedef | Kind::Var) && raw.name != 0
            });
            let mut names: Vec<(u32, u32)> =
                named.map(|(id, raw)| (self.hash(self.text(raw.name)), id.0 as u32)).collect();
            names.sort_unstable();
            names
        });
        let hash = self.hash(name);
        let first = names.partition_point(|(other, _)| *other < hash);
        let same = names[first..].iter().take_while(move |(other, _)| *other == hash);
        same.map(|(_, id)| TypeId((*id).into()))
    }

    /// The first enumeration that has `name`, and the value of that.
    fn with_enumerator(&self, name: &str) -> Option<(Raw<'_>, i64)> {
        let all = self.enumerations.get_or_init(|| {
            let all = self.entries().filter(|(_, raw)| matches!(raw.kind, Kind::Enum | Kind::Enum64));
            all.map(|(id, _)| id).collect()
        });
        all.iter().find_map(|&id| {
            let raw = self.raw(id).ok()?;
            let (_, value) = raw.enumerators().find(|&(text, _)| self.is_text(text, name))?;
            Some((raw, value))
        })
    }

    /// Whether the name at `offset` is `name`.
    fn is_text(&self, offset: u32, name: &str) -> bool {
        let strings = self.bytes[self.strings.clone()].get(offset as usize..).unwrap_or_default();
        strings.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }

    /// The first type from `id` on that is neither a typedef nor a qualifier.
    fn peel(&self, id: TypeId) -> Result<Option<(TypeId, Raw<'_>)>, Error> {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            if id == TypeId(0) {
                return Ok(None);
            }
            let raw = self.raw(id)?;
            if !raw.kind.is_alias() {
                return Ok(Some((id, raw)));
            }
            id = TypeId(raw.size_or_type.into());
        }
        Err(Self::damaged(id.0, "a type that refers to itself"))
    }
}

impl Types for Btf {
    fn find(&self, what: Named, name: &str) -> Result<Option<TypeId>, Error> {
        let wanted = |kind: Kind| match what {
            Named::Struct => matches!(kind, Kind::Struct | Kind::Union),
            Named::Typedef => kind == Kind::Typedef,
            Named::Variable => kind == Kind::Var,
        };
        let same = self.candidates(name.as_bytes()).filter_map(|id| Some((id, self.raw(id).ok()?)));
        let mut matching = same.filter(|(_, raw)| wanted(raw.kind));
        match matching.find(|(_, raw)| self.text(raw.name) == name.as_bytes()) {
            // A variable's entry names its type.
            Some((_, raw)) if what == Named::Variable => Ok(Some(TypeId(raw.size_or_type.into()))),
            Some((id, _)) => Ok(Some(id)),
            None => Ok(None),
        }
    }

    fn get(&self, id: TypeId) -> Result<Type, Error> {
        let Some((_, raw)) = self.peel(id)? else { return Ok(Type::Void) };
        let size = u64::from(raw.size_or_type);
        Ok(match raw.kind {
            Kind::Int | Kind::Float => Type::Base { name: self.name(raw.name), size },
            Kind::Pointer => Type::Pointer(TypeId(size)),
            Kind::Array => {
                let (element, count) =
                    raw.array().ok_or_else(|| Self::damaged(id.0, "an array that is cut off"))?;
                // C's `[]` and `[0]` look the same here.
                Type::Array { element: TypeId(element.into()), count: Some(count.into()) }
            }
            Kind::Struct | Kind::Union => Type::Struct { name: self.name(raw.name), size: Some(size) },
            Kind::Forward => Type::Struct { name: self.name(raw.name), size: None },
            Kind::Enum | Kind::Enum64 => Type::Enum { size },
            Kind::Function | Kind::Prototype => Type::Function,
            _ => Type::Void,
        })
    }

    fn members(&self, id: TypeId) -> Result<Vec<Member>, Error> {
        let Some((_, raw)) = self.peel(id)? else { return Ok(Vec::new()) };
        let members = raw.members().map(|m| -> Result<Member, Error> {
            let kind = TypeId(m.kind.into());
            let (bit_offset, bits) = match m.bits {
                Some(bits) => (m.bit_offset, (bits > 0).then_some(bits.into())),
                None => self.old_bit_field(kind, m.bit_offset)?,
            };
            Ok(Member { name: self.name(m.name), kind, bit_offset: bit_offset.into(), bits })
        });
        members.collect()
    }

    fn enumerator(&self, name: &str) -> Result<Option<i64>, Error> {
        Ok(self.with_enumerator(name).map(|(_, value)| value))
    }

    fn enumeration(&self, name: &str) -> Result<Vec<(String, i64)>, Error> {
        let found = self.with_enumerator(name);
        let values = found.into_iter().flat_map(|(raw, _)| raw.enumerators());
        Ok(values.map(|(text, value)| (self.name(text), value)).collect())
    }
}

impl Btf {
    /// Where a member is whose struct does not have the width of bit fields: its integer type may.
    fn old_bit_field(&self, kind: TypeId, bit_offset: u32) -> Result<(u32, Option<u64>), Error> {
        let Some((_, raw)) = self.peel(kind)? else { return Ok((bit_offset, None)) };
        let Some((offset, bits)) = raw.integer_bits().filter(|_| raw.kind == Kind::Int) else {
            return Ok((bit_offset, None));
        };
        let whole = u64::from(bits) == 8 * u64::from(raw.size_or_type);
        Ok((bit_offset.saturating_add(offset), (!whole).then_some(bits.into())))
    }
}

#[cfg(test)]
mod tests;
