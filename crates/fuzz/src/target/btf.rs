//! BTF, of a kernel and of a module on top of it.

use super::{Seed, Target};
use kernel::btf::Btf;
use kernel::symbols::Symbols;
use kernel::types::{Named, TypeId, Types};
use std::hint::black_box;
use vmcore::{ByteOrder, VirtAddr, VmcoreInfo};

pub(super) const TARGET: Target = Target { name: "btf", seeds, run };

/// Writes BTF by the words of the kernel's `include/uapi/linux/btf.h`.
struct Writer {
    order: ByteOrder,
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Writer {
    fn name(&mut self, name: &str) -> u32 {
        let at = self.strings.len() as u32;
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        if name.is_empty() { 0 } else { at }
    }

    /// A type: its kind, the number of parts, the flag, its size or the type it refers to, and words after it.
    fn entry(&mut self, name: &str, (kind, parts, flag): (u32, u32, u32), size_or_type: u32, rest: &[u32]) {
        let name = self.name(name);
        for word in [name, flag << 31 | kind << 24 | parts, size_or_type].iter().chain(rest) {
            self.types.extend(self.order.put_u32(*word));
        }
    }

    fn finish(self) -> Vec<u8> {
        let mut bytes = self.order.put_u16(0xeb9f).to_vec();
        bytes.extend([1, 0]);
        for len in [24, 0, self.types.len(), self.types.len(), self.strings.len()] {
            bytes.extend(self.order.put_u32(len as u32));
        }
        [bytes, self.types, self.strings].concat()
    }
}

/// 1 `unsigned long`, 2 `struct page`, 3 a union in it, 4 const, 5 a typedef, 6 a pointer, 7 an array, 8 and 9
/// enumerations, 10 a variable, 11 its section, 12 a declaration, 13 a prototype, 14 a function, 15 a struct of old.
fn sample(order: ByteOrder) -> Vec<u8> {
    let mut btf = Writer { order, types: Vec::new(), strings: vec![0] };
    btf.entry("unsigned long", (1, 0, 0), 8, &[64]);
    let [flags, nid, count, lru, head] =
        ["flags", "nid", "_refcount", "lru", "compound_head"].map(|name| btf.name(name));
    let members = [flags, 1, 0, 0, 3, 64, nid, 1, 5 << 24 | 195, count, 1, 416];
    btf.entry("page", (4, 4, 1), 64, &members);
    btf.entry("", (5, 2, 0), 16, &[lru, 7, 0, head, 1, 0]);
    btf.entry("", (10, 0, 0), 2, &[]);
    btf.entry("page_t", (8, 0, 0), 4, &[]);
    btf.entry("", (2, 0, 0), 5, &[]);
    btf.entry("", (3, 0, 0), 0, &[6, 1, 2]);
    let [free, minus, big] = ["NR_FREE_PAGES", "PG_minus", "PG_big"].map(|name| btf.name(name));
    btf.entry("pageflags", (6, 2, 0), 4, &[free, 5, minus, u32::MAX]);
    btf.entry("wide", (19, 1, 0), 8, &[big, 1, 0x8000]);
    btf.entry("runqueues", (14, 0, 0), 2, &[1]);
    btf.entry(".data..percpu", (15, 1, 0), 0, &[10, 0, 64]);
    btf.entry("mystery", (7, 0, 0), 0, &[]);
    btf.entry("", (13, 1, 0), 1, &[0, 6]);
    btf.entry("schedule", (12, 0, 0), 13, &[]);
    btf.entry("free_area", (4, 1, 0), 8, &[flags, 1, 8]);
    btf.finish()
}

fn seeds() -> Vec<Seed> {
    let seed = |order| {
        let bytes = sample(order);
        Seed { hot: vec![0..24, 24..bytes.len() - 120, 24..bytes.len() - 120, 24..bytes.len()], bytes }
    };
    [ByteOrder::Little, ByteOrder::Big].map(seed).into()
}

/// A kernel without symbols.
struct Nameless;

impl Symbols for Nameless {
    fn symbol(&self, _: &str) -> Result<Option<VirtAddr>, kernel::Error> {
        Ok(None)
    }
}

/// Asks for all that hadump wants to know of types, and for the first types by number.
pub(super) fn ask(types: &dyn Types, names: &[&str]) {
    let _ = kernel::knowledge::vmcoreinfo::missing_keys(&VmcoreInfo::default(), types, &Nameless, 8);
    for name in names {
        for what in [Named::Struct, Named::Typedef, Named::Variable] {
            if let Ok(Some(id)) = types.find(what, name) {
                let _ = black_box((types.get(id), types.size(id, 8), types.members(id), types.count(id)));
            }
        }
        let _ = black_box((
            types.size_of(name, 8),
            types.field(&format!("{name}.flags")),
            types.enumerator(name),
        ));
    }
    for id in (0..40).chain([u64::from(u32::MAX), u64::MAX]) {
        let _ = black_box((types.get(TypeId(id)), types.members(TypeId(id)), types.size(TypeId(id), 4)));
    }
}

fn run(bytes: Vec<u8>) -> bool {
    const NAMES: [&str; 6] = ["page", "page_t", "mystery", "runqueues", "free_area", ""];
    // The magic number begins with its high byte, or its low one.
    let order = if bytes.first() == Some(&0xeb) { ByteOrder::Big } else { ByteOrder::Little };
    Btf::parse(bytes, order).is_ok_and(|btf| {
        ask(&btf, &NAMES);
        true
    })
}
