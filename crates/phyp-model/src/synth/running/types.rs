//! The kernel's types as BTF (`include/uapi/linux/btf.h`), from a declaration of structs by member and offset.

use crate::bytes::ByteOrder;
use std::collections::BTreeMap;

/// A member: its place in bytes, or of a bit field in bits with its width, and its type.
#[derive(Clone, Debug)]
struct Member {
    name: String,
    bit: u64,
    bits: u32,
    kind: String,
}

#[derive(Clone, Debug)]
struct Struct {
    size: u64,
    members: Vec<Member>,
}

/// Types under construction.
#[derive(Clone, Debug)]
pub struct Types {
    order: ByteOrder,
    structs: BTreeMap<String, Struct>,
    enumerations: Vec<Vec<(String, i32)>>,
}

/// Integers by name: bytes, and the encoding (1: signed, 2: characters).
const INTEGERS: [(&str, u32, u32); 9] = [
    ("u8", 1, 0),
    ("char", 1, 2),
    ("u16", 2, 0),
    ("u32", 4, 0),
    ("s32", 4, 1),
    ("u64", 8, 0),
    ("s64", 8, 1),
    ("ptr", 8, 0),
    ("bool", 1, 4),
];

/// `name[count]` in two.
fn array(kind: &str) -> Option<(&str, u64)> {
    let (element, count) = kind.strip_suffix(']')?.split_once('[')?;
    Some((element, count.parse().ok()?))
}

impl Types {
    pub(super) fn new(order: ByteOrder) -> Self {
        Self { order, structs: BTreeMap::new(), enumerations: Vec::new() }
    }

    /// Declares a struct, one member after another: `u32 pid; char[16] comm; list_head tasks`, each where the one before
    /// ends, aligned to its own size; `@64 u64 stack` is at byte 64, `u32:16 inuse` a bit field that follows the one
    /// before. A struct declared earlier is a type by its name.
    ///
    /// # Panics
    ///
    /// When a type is not known.
    pub fn declare(&mut self, name: &str, members: &str) {
        let mut made = Struct { size: 0, members: Vec::new() };
        let mut end = 0u64;
        for member in members.split(';').map(str::trim).filter(|member| !member.is_empty()) {
            let (place, rest) = match member.strip_prefix('@').and_then(|rest| rest.split_once(' ')) {
                Some((at, rest)) => (at.parse().ok().map(|at: u64| at * 8), rest),
                None => (None, member),
            };
            let (kind, name) = rest.split_once(' ').unwrap_or_else(|| panic!("no type: {member}"));
            let (kind, bits) = match kind.split_once(':') {
                Some((kind, bits)) => (kind, bits.parse().unwrap_or_else(|_| panic!("no width: {member}"))),
                None => (kind, 0),
            };
            let size = self.size(kind);
            let align = self.align(kind) * 8;
            let bit = place.unwrap_or(if bits > 0 { end } else { end.next_multiple_of(align) });
            end = bit + if bits > 0 { u64::from(bits) } else { size * 8 };
            made.members.push(Member { name: name.to_owned(), bit, bits, kind: kind.to_owned() });
            made.size = made.size.max(end.div_ceil(8).next_multiple_of(8));
        }
        self.structs.insert(name.to_owned(), made);
    }

    /// Declares an enumeration.
    pub fn enumeration(&mut self, values: &[&str]) {
        self.enumerations.push((0..).zip(values).map(|(value, name)| ((*name).to_owned(), value)).collect());
    }

    fn align(&self, kind: &str) -> u64 {
        match array(kind) {
            Some((element, _)) => self.align(element),
            None if self.structs.contains_key(kind) => 8,
            None => self.size(kind),
        }
    }

    fn size(&self, kind: &str) -> u64 {
        if let Some((element, count)) = array(kind) {
            return self.size(element) * count;
        }
        match INTEGERS.iter().find(|(name, _, _)| *name == kind) {
            Some((_, size, _)) => (*size).into(),
            None => self.size_of(kind),
        }
    }

    /// Bytes of a struct.
    ///
    /// # Panics
    ///
    /// When it was not declared, here and below.
    pub fn size_of(&self, name: &str) -> u64 {
        self.structs.get(name).unwrap_or_else(|| panic!("no type {name}")).size
    }

    /// Whether there is a struct of this name with a member of that.
    pub fn has(&self, path: &str) -> bool {
        let Some((name, member)) = path.split_once('.') else { return self.structs.contains_key(path) };
        self.structs.get(name).is_some_and(|found| found.members.iter().any(|m| m.name == member))
    }

    /// Where the member `struct.member.member` is and its bytes.
    pub fn place(&self, path: &str) -> (u64, u64) {
        let mut parts = path.split('.');
        let mut kind = parts.next().unwrap_or_default().to_owned();
        let mut offset = 0;
        for part in parts {
            let found = self.structs.get(&kind).unwrap_or_else(|| panic!("no type {kind} of {path}"));
            let found = found.members.iter().find(|member| member.name == part);
            let found = found.unwrap_or_else(|| panic!("no member {part} of {path}"));
            offset += found.bit / 8;
            kind.clone_from(&found.kind);
        }
        (offset, self.size(&kind))
    }

    /// All of it as BTF.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut btf =
            Btf { order: self.order, types: Vec::new(), strings: vec![0], numbers: BTreeMap::new() };
        for (name, size, encoding) in INTEGERS {
            btf.entry(name, (1, 0, false), size, &[(encoding << 24) | (size * 8)]);
        }
        // Structs refer to each other in any order, arrays to them.
        let first = INTEGERS.len() as u32 + 1;
        for (n, name) in self.structs.keys().enumerate() {
            btf.numbers.insert(name.clone(), first + n as u32);
        }
        let mut next = first + self.structs.len() as u32;
        let mut arrays = Vec::new();
        for member in self.structs.values().flat_map(|made| &made.members) {
            if let Some((element, count)) = array(&member.kind)
                && !btf.numbers.contains_key(&member.kind)
            {
                btf.numbers.insert(member.kind.clone(), next);
                arrays.push((element.to_owned(), count));
                next += 1;
            }
        }
        for (name, made) in &self.structs {
            let mut rest = Vec::new();
            for member in &made.members {
                let text = btf.name(&member.name);
                rest.extend([text, btf.number(&member.kind), member.bits << 24 | member.bit as u32]);
            }
            btf.entry(name, (4, made.members.len() as u32, true), made.size as u32, &rest);
        }
        for (element, count) in arrays {
            let element = btf.number(&element);
            btf.entry("", (3, 0, false), 0, &[element, 1, count as u32]);
        }
        for values in &self.enumerations {
            let mut rest = Vec::new();
            for (name, value) in values {
                rest.extend([btf.name(name), *value as u32]);
            }
            btf.entry("", (6, values.len() as u32, false), 4, &rest);
        }
        btf.finish()
    }
}

/// BTF in the making.
struct Btf {
    order: ByteOrder,
    types: Vec<u8>,
    strings: Vec<u8>,
    /// The numbers of types by what declarations call them.
    numbers: BTreeMap<String, u32>,
}

impl Btf {
    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        at
    }

    fn number(&self, kind: &str) -> u32 {
        let integer = INTEGERS.iter().position(|(name, _, _)| *name == kind);
        integer.map_or_else(|| self.numbers.get(kind).copied().unwrap_or(0), |place| place as u32 + 1)
    }

    /// A type: its kind, the number of its parts, the flag; its size or the type it refers to; what follows.
    fn entry(&mut self, name: &str, (kind, parts, flag): (u32, u32, bool), size_or_type: u32, rest: &[u32]) {
        let name = self.name(name);
        let info = u32::from(flag) << 31 | kind << 24 | parts;
        for word in [name, info, size_or_type].iter().chain(rest) {
            self.types.extend(self.order.u32(*word));
        }
    }

    fn finish(self) -> Vec<u8> {
        let mut bytes = self.order.u16(0xeb9f).to_vec();
        bytes.extend([1, 0]);
        for len in [24, 0, self.types.len(), self.types.len(), self.strings.len()] {
            bytes.extend(self.order.u32(len as u32));
        }
        [bytes, self.types, self.strings].concat()
    }
}
