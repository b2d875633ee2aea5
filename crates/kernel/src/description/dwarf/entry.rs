//! One entry of `.debug_info`, as far as types are concerned.

use super::Slice;
use crate::types::{MAX_NAME, Member, Type, TypeId};
use gimli::{
    AttributeValue, DebugLineStr, DebugStr, DebugStrOffsets, DebugStrOffsetsBase, EntriesRaw, Format, Reader,
    Result, UnitOffset,
};
use vmcore::ByteOrder;

/// An array of several dimensions is one entry. The arrays that are its elements are named by its offset, with the number
/// of dimensions taken off in the bits from here on.
const DIMENSION_SHIFT: u32 = 56;

/// The offset in `.debug_info` that `id` stands for.
pub(super) fn without_dimension(id: TypeId) -> u64 {
    id.0 & ((1 << DIMENSION_SHIFT) - 1)
}

/// What attributes of a unit refer to.
pub(super) struct Context<'c> {
    /// Where the unit starts in its section.
    pub(super) start: u64,
    pub(super) strings: DebugStr<Slice<'c>>,
    pub(super) line_strings: DebugLineStr<Slice<'c>>,
    pub(super) string_offsets: DebugStrOffsets<Slice<'c>>,
    pub(super) string_base: usize,
    pub(super) format: Format,
}

/// The attributes that matter here.
#[derive(Debug)]
pub(super) struct Entry<'u> {
    pub(super) tag: gimli::DwTag,
    pub(super) children: bool,
    pub(super) name: Option<Slice<'u>>,
    /// `DW_AT_type`, 0 for none.
    pub(super) kind: TypeId,
    /// `DW_AT_specification`, 0 for none.
    pub(super) specification: TypeId,
    pub(super) sibling: Option<UnitOffset>,
    pub(super) declaration: bool,
    pub(super) string_base: Option<usize>,
    pub(super) value: Option<i64>,
    size: Option<u64>,
    location: Option<u64>,
    bits: Option<u64>,
    /// From the start of the struct.
    data_bit_offset: Option<u64>,
    /// DWARF 3: from the most significant bit of the storage unit.
    bit_offset: Option<u64>,
    count: Option<u64>,
}

impl<'u> Entry<'u> {
    /// Reads the next entry; `None` at the end of a list of children.
    pub(super) fn read<'c: 'u>(
        entries: &mut EntriesRaw<'_, Slice<'u>>,
        context: &Context<'c>,
    ) -> Result<Option<Self>> {
        let Some(abbreviation) = entries.read_abbreviation()? else { return Ok(None) };
        let mut entry = Self {
            tag: abbreviation.tag(),
            children: abbreviation.has_children(),
            name: None,
            kind: TypeId(0),
            specification: TypeId(0),
            sibling: None,
            declaration: false,
            string_base: None,
            value: None,
            size: None,
            location: None,
            bits: None,
            data_bit_offset: None,
            bit_offset: None,
            count: None,
        };
        for &spec in abbreviation.attributes() {
            let attribute = entries.read_attribute(spec)?;
            let value = attribute.value();
            match attribute.name() {
                gimli::DW_AT_name => entry.name = context.text(value),
                gimli::DW_AT_type => entry.kind = context.reference(&value),
                gimli::DW_AT_specification => entry.specification = context.reference(&value),
                gimli::DW_AT_sibling => {
                    if let AttributeValue::UnitRef(offset) = value {
                        entry.sibling = Some(offset);
                    }
                }
                gimli::DW_AT_declaration => entry.declaration = true,
                gimli::DW_AT_str_offsets_base => {
                    if let AttributeValue::DebugStrOffsetsBase(base) = value {
                        entry.string_base = Some(base.0);
                    }
                }
                gimli::DW_AT_const_value => {
                    entry.value = number(&value);
                }
                gimli::DW_AT_byte_size => entry.size = value.udata_value(),
                gimli::DW_AT_data_member_location => entry.location = location(&value),
                gimli::DW_AT_bit_size => entry.bits = value.udata_value(),
                gimli::DW_AT_data_bit_offset => entry.data_bit_offset = value.udata_value(),
                gimli::DW_AT_bit_offset => entry.bit_offset = value.udata_value(),
                gimli::DW_AT_count => entry.count = value.udata_value(),
                gimli::DW_AT_upper_bound => {
                    // An array of no elements has the bound -1.
                    let count = number(&value).and_then(|bound| bound.checked_add(1));
                    entry.count = count.and_then(|count| u64::try_from(count).ok());
                }
                _ => {}
            }
        }
        Ok(Some(entry))
    }

    /// Reports whether the entry only gives another name or a qualifier to a type.
    pub(super) fn is_alias(&self) -> bool {
        matches!(
            self.tag,
            gimli::DW_TAG_typedef
                | gimli::DW_TAG_const_type
                | gimli::DW_TAG_volatile_type
                | gimli::DW_TAG_restrict_type
                | gimli::DW_TAG_atomic_type
        )
    }

    /// The type that this entry, of number `id`, describes, or where to continue.
    pub(super) fn kind(&self, id: TypeId, dimensions: &[Option<u64>]) -> (Option<Type>, TypeId) {
        if self.is_alias() {
            return (None, self.kind);
        }
        let name = || self.name.map(owned).unwrap_or_default();
        let known = match self.tag {
            gimli::DW_TAG_base_type => Type::Base { name: name(), size: self.size.unwrap_or(0) },
            gimli::DW_TAG_pointer_type => Type::Pointer(self.kind),
            gimli::DW_TAG_structure_type | gimli::DW_TAG_union_type => {
                Type::Struct { name: name(), size: self.size.filter(|_| !self.declaration) }
            }
            gimli::DW_TAG_enumeration_type => Type::Enum { size: self.size.unwrap_or(4) },
            gimli::DW_TAG_array_type => {
                let taken = (id.0 >> DIMENSION_SHIFT) as usize;
                let element = if taken + 1 < dimensions.len() {
                    TypeId(id.0.wrapping_add(1 << DIMENSION_SHIFT))
                } else {
                    self.kind
                };
                Type::Array { element, count: dimensions.get(taken).copied().flatten() }
            }
            gimli::DW_TAG_subroutine_type => Type::Function,
            _ => Type::Void,
        };
        (Some(known), TypeId(0))
    }

    /// The length of each dimension of an array; `entries` is after the entry itself.
    pub(super) fn dimensions(
        &self,
        entries: &mut EntriesRaw<'_, Slice<'u>>,
        context: &Context<'u>,
    ) -> Result<Vec<Option<u64>>> {
        let mut dimensions = Vec::new();
        self.each_child(entries, context, |child| {
            if child.tag == gimli::DW_TAG_subrange_type {
                dimensions.push(child.count);
            }
        })?;
        Ok(dimensions)
    }

    /// The members of a struct or union.
    pub(super) fn members(
        &self,
        entries: &mut EntriesRaw<'_, Slice<'u>>,
        context: &Context<'u>,
        order: ByteOrder,
    ) -> Result<Vec<Member>> {
        let mut members = Vec::new();
        self.each_child(entries, context, |child| {
            if child.tag == gimli::DW_TAG_member {
                let name = child.name.map(owned);
                members.push(Member {
                    name: name.unwrap_or_default(),
                    kind: child.kind,
                    bit_offset: child.first_bit(order),
                    bits: child.bits,
                });
            }
        })?;
        Ok(members)
    }

    /// Where a member starts, in bits.
    fn first_bit(&self, order: ByteOrder) -> u64 {
        let byte = self.location.unwrap_or(0).saturating_mul(8);
        match (self.data_bit_offset, self.bit_offset, self.bits) {
            (Some(bit), _, _) => bit,
            (None, Some(from_top), Some(bits)) => match order {
                ByteOrder::Big => byte.saturating_add(from_top),
                ByteOrder::Little => {
                    let storage = self.size.unwrap_or(4).saturating_mul(8);
                    byte.saturating_add(storage.saturating_sub(from_top).saturating_sub(bits))
                }
            },
            _ => byte,
        }
    }

    /// Calls `see` for every child, not for theirs.
    pub(super) fn each_child(
        &self,
        entries: &mut EntriesRaw<'_, Slice<'u>>,
        context: &Context<'u>,
        mut see: impl FnMut(&Entry<'u>),
    ) -> Result<()> {
        if !self.children {
            return Ok(());
        }
        while let Some(child) = Entry::read(entries, context)? {
            see(&child);
            if child.children {
                skip_children(entries)?;
            }
        }
        Ok(())
    }
}

/// Goes past the children of an entry that was just read and has some.
pub(super) fn skip_children(entries: &mut EntriesRaw<'_, Slice<'_>>) -> Result<()> {
    let mut depth = 1u32;
    while depth > 0 {
        match entries.read_abbreviation()? {
            None => depth -= 1,
            Some(abbreviation) => {
                entries.skip_attributes(abbreviation.attributes())?;
                depth += u32::from(abbreviation.has_children());
            }
        }
    }
    Ok(())
}

/// A constant. Those of a fixed width are unsigned: compilers write negative numbers as signed ones of any width.
fn number(value: &AttributeValue<Slice<'_>>) -> Option<i64> {
    match value {
        AttributeValue::Sdata(value) => Some(*value),
        value => value.udata_value().map(|value| value as i64),
    }
}

/// `DW_AT_data_member_location`: a number, or the operation `DW_OP_plus_uconst`.
fn location(value: &AttributeValue<Slice<'_>>) -> Option<u64> {
    if let AttributeValue::Exprloc(expression) = value {
        let mut bytes = expression.0;
        let operation = bytes.read_u8().ok()?;
        return (gimli::DwOp(operation) == gimli::DW_OP_plus_uconst).then(|| bytes.read_uleb128().ok())?;
    }
    value.udata_value()
}

/// A name to keep, at most [`MAX_NAME`] bytes of it.
fn owned(name: Slice<'_>) -> String {
    let name = name.slice();
    String::from_utf8_lossy(&name[..name.len().min(MAX_NAME)]).into_owned()
}

impl<'c> Context<'c> {
    fn text<'u>(&self, value: AttributeValue<Slice<'u>>) -> Option<Slice<'u>>
    where
        'c: 'u,
    {
        match value {
            AttributeValue::String(text) => Some(text),
            AttributeValue::DebugStrRef(offset) => self.strings.get_str(offset).ok(),
            AttributeValue::DebugLineStrRef(offset) => self.line_strings.get_str(offset).ok(),
            AttributeValue::DebugStrOffsetsIndex(index) => {
                let base = DebugStrOffsetsBase(self.string_base);
                let offset = self.string_offsets.get_str_offset(self.format, base, index).ok()?;
                self.strings.get_str(offset).ok()
            }
            _ => None,
        }
    }

    fn reference(&self, value: &AttributeValue<Slice<'_>>) -> TypeId {
        match value {
            AttributeValue::UnitRef(offset) => TypeId(self.start.saturating_add(offset.0 as u64)),
            AttributeValue::DebugInfoRef(offset) => TypeId(offset.0 as u64),
            _ => TypeId(0),
        }
    }
}
