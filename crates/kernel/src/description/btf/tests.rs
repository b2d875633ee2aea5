use super::*;
use crate::testing::{BE64, FakeKernel, LE64};
use proptest::prelude::*;

/// Writes BTF by the words of its description, not by the reader's layouts.
struct Writer {
    order: ByteOrder,
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Writer {
    fn new(order: ByteOrder) -> Self {
        Self { order, types: Vec::new(), strings: vec![0] }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        at
    }

    fn words(&mut self, words: &[u32]) {
        words.iter().for_each(|&word| self.types.extend(self.order.put_u32(word)));
    }

    /// An entry: kind, `vlen`, flag, and what follows.
    fn entry(&mut self, name: &str, kind: u32, vlen: u32, flag: bool, size_or_type: u32, rest: &[u32]) {
        let name = self.name(name);
        self.words(&[name, u32::from(flag) << 31 | kind << 24 | vlen, size_or_type]);
        self.words(rest);
    }

    fn finish(&self) -> Vec<u8> {
        let mut bytes = self.order.put_u16(0xeb9f).to_vec();
        bytes.extend([1, 0]);
        let lens = [24, 0, self.types.len(), self.types.len(), self.strings.len()];
        lens.iter().for_each(|&word| bytes.extend(self.order.put_u32(word as u32)));
        bytes.extend(&self.types);
        bytes.extend(&self.strings);
        bytes
    }
}

/// 1 unsigned long, 2 struct page, 3 its anonymous union, 4 const, 5 typedef of const page, 6 pointer, 7 array,
/// 8 an enum, 9 an enum64, 10 a variable, 11 its section, 12 a forward declaration.
fn sample(order: ByteOrder) -> Vec<u8> {
    let mut btf = Writer::new(order);
    btf.entry("unsigned long", 1, 0, false, 8, &[64]);
    let (flags, nid, count) = (btf.name("flags"), btf.name("nid"), btf.name("_refcount"));
    let bits = |offset: u32, width: u32| width << 24 | offset;
    btf.entry(
        "page",
        4,
        4,
        true,
        64,
        &[flags, 1, bits(0, 0), 0, 3, bits(64, 0), nid, 1, bits(195, 5), count, 1, bits(416, 0)],
    );
    let (lru, head) = (btf.name("lru"), btf.name("compound_head"));
    btf.entry("", 5, 2, false, 16, &[lru, 7, 0, head, 1, 0]);
    btf.entry("", 10, 0, false, 2, &[]);
    btf.entry("page_t", 8, 0, false, 4, &[]);
    btf.entry("", 2, 0, false, 5, &[]);
    btf.entry("", 3, 0, false, 0, &[6, 1, 2]);
    let (lru, slab) = (btf.name("PG_lru"), btf.name("PG_minus"));
    btf.entry("pageflags", 6, 2, false, 4, &[lru, 5, slab, u32::MAX]);
    let big = btf.name("BIG");
    btf.entry("wide", 19, 1, false, 8, &[big, 1, 0x8000]);
    btf.entry("runqueues", 14, 0, false, 2, &[1]);
    btf.entry(".data..percpu", 15, 1, false, 0, &[10, 0, 64]);
    btf.entry("mystery", 7, 0, false, 0, &[]);
    btf.finish()
}

const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

#[test]
fn members_are_found_through_anonymous_unions_typedefs_and_qualifiers() {
    for order in ORDERS {
        let btf = Btf::parse(sample(order), order).unwrap();
        assert_eq!(btf.len(), 12);
        assert_eq!(btf.size_of("page", 8).unwrap(), Some(64));
        assert_eq!(btf.size_of("page_t", 8).unwrap(), Some(64));
        assert_eq!(btf.offset_of("page.flags").unwrap(), Some(0));
        assert_eq!(btf.offset_of("page.compound_head").unwrap(), Some(8));
        assert_eq!(btf.offset_of("page_t._refcount").unwrap(), Some(52));
        assert_eq!(btf.offset_of("page.absent").unwrap(), None);
        assert_eq!(btf.offset_of("absent.flags").unwrap(), None);
        let nid = btf.field("page.nid").unwrap().unwrap();
        assert_eq!((nid.bit_offset, nid.bits), (195, Some(5)));
        assert_eq!(btf.size_of("mystery", 8).unwrap(), None);
    }
}

#[test]
fn arrays_enumerators_and_variables_have_their_values() {
    for order in ORDERS {
        let btf = Btf::parse(sample(order), order).unwrap();
        let lru = btf.field("page.lru").unwrap().unwrap().kind;
        assert_eq!(btf.count(lru).unwrap(), Some(2));
        assert_eq!(btf.size(lru, 8).unwrap(), Some(16));
        assert_eq!(btf.enumerator("PG_lru").unwrap(), Some(5));
        let all = btf.enumeration("PG_minus").unwrap();
        assert!(
            all.contains(&("PG_lru".to_owned(), 5)) && all.contains(&("PG_minus".to_owned(), -1)),
            "{all:?}"
        );
        assert!(btf.enumeration("SMALL").unwrap().is_empty());
        assert_eq!(btf.enumerator("PG_minus").unwrap(), Some(-1));
        assert_eq!(btf.enumerator("BIG").unwrap(), Some(0x8000_0000_0001));
        assert_eq!(btf.enumerator("SMALL").unwrap(), None);
        let variable = btf.find(Named::Variable, "runqueues").unwrap().unwrap();
        assert_eq!(btf.get(variable).unwrap(), Type::Struct { name: "page".into(), size: Some(64) });
    }
}

#[test]
fn an_old_bit_field_has_its_width_in_its_type() {
    let mut btf = Writer::new(ByteOrder::Little);
    btf.entry("unsigned int", 1, 0, false, 4, &[2 << 16 | 3]);
    let field = btf.name("field");
    btf.entry("old", 4, 1, false, 4, &[field, 1, 8]);
    let btf = Btf::parse(btf.finish(), ByteOrder::Little).unwrap();
    let field = btf.field("old.field").unwrap().unwrap();
    assert_eq!((field.bit_offset, field.bits), (10, Some(3)));
}

struct At(u64, u64);

impl Symbols for At {
    fn symbol(&self, name: &str) -> Result<Option<VirtAddr>, Error> {
        Ok(match name {
            "__start_BTF" => Some(VirtAddr(self.0)),
            "__stop_BTF" => Some(VirtAddr(self.1)),
            _ => None,
        })
    }
}

#[test]
fn the_types_are_read_out_of_a_dump_of_either_byte_order() {
    for machine in [LE64, BE64] {
        let bytes = sample(machine.order);
        let mut kernel = FakeKernel::new(machine);
        kernel.put(0xc000, &bytes);
        let end = 0xc000 + bytes.len() as u64;
        let btf = Btf::of_dump(&kernel, &At(0xc000, end)).unwrap().unwrap();
        assert_eq!(btf.size_of("page", 8).unwrap(), Some(64));
        assert!(Btf::of_dump(&kernel, &At(0xc000, end + 1)).is_err());
        let error = Btf::of_dump(&kernel, &At(end, 0xc000)).err().unwrap().to_string();
        assert!(error.contains("__stop_BTF - __start_BTF"), "{error}");
        let error = Btf::of_dump(&kernel, &At(0, u64::MAX)).err().unwrap().to_string();
        assert!(error.contains("18446744073709551615 bytes"), "{error}");
    }
}

#[test]
fn types_of_64_mib_are_read_and_more_are_not() {
    let most = 64 << 20;
    let mut btf = Writer::new(ByteOrder::Little);
    btf.entry("page", 4, 0, false, 64, &[]);
    let mut bytes = btf.finish();
    let (types, strings) = (12, bytes.len() - 24 - 12);
    // As many types as there is room for, and the names behind them.
    let names = bytes.split_off(24 + types);
    let one = bytes[24..].to_vec();
    let count = (most - 24 - strings) / types;
    bytes.extend(one.repeat(count - 1));
    let len = (count * types) as u32;
    bytes[12..16].copy_from_slice(&len.to_le_bytes());
    bytes[16..20].copy_from_slice(&len.to_le_bytes());
    bytes.extend(names);
    bytes.resize(most, 0);
    let mut kernel = FakeKernel::new(LE64);
    kernel.put(0xc000, &bytes);
    let end = 0xc000 + most as u64;
    let btf = Btf::of_dump(&kernel, &At(0xc000, end)).unwrap().unwrap();
    assert_eq!(btf.len(), count);
    assert_eq!(btf.size_of("page", 8).unwrap(), Some(64));
    let error = Btf::of_dump(&kernel, &At(0xc000, end + 1)).err().unwrap().to_string();
    assert!(error.contains("67108865 bytes"), "{error}");
}

#[test]
fn a_foreign_byte_order_is_told_by_the_magic() {
    let error = Btf::parse(sample(ByteOrder::Big), ByteOrder::Little).err().unwrap().to_string();
    assert!(error.contains("magic 0x9feb"), "{error}");
}

#[test]
fn types_that_refer_to_themselves_end() {
    let mut btf = Writer::new(ByteOrder::Little);
    btf.entry("loop", 8, 0, false, 1, &[]);
    btf.entry("inner", 4, 1, false, 8, &[0, 2, 0]);
    btf.entry("", 3, 0, false, 0, &[3, 1, 1]);
    let btf = Btf::parse(btf.finish(), ByteOrder::Little).unwrap();
    assert!(btf.size_of("loop", 8).is_err());
    assert_eq!(btf.offset_of("inner.none").unwrap(), None);
    assert_eq!(btf.size(TypeId(3), 8).unwrap(), None);
    assert!(btf.get(TypeId(99)).is_err());
}

#[test]
fn structs_that_hold_each_other_twice_are_looked_into_once() {
    // Each of 60 structs has the next one twice, without a name: 2^60 ways to the last.
    let mut btf = Writer::new(ByteOrder::Little);
    let wanted = btf.name("wanted");
    for id in 1..60 {
        btf.entry(&format!("s{id}"), 4, 2, false, 16, &[0, id + 1, 0, 0, id + 1, 64]);
    }
    btf.entry("s60", 4, 1, false, 8, &[wanted, 1, 8]);
    let btf = Btf::parse(btf.finish(), ByteOrder::Little).unwrap();
    assert_eq!(btf.offset_of("s1.wanted").unwrap(), Some(1));
    assert_eq!(btf.offset_of("s1.absent").unwrap(), None);
}

#[test]
fn a_name_of_megabytes_is_none() {
    let mut btf = Writer::new(ByteOrder::Little);
    let (long, longest) = (btf.name(&"x".repeat(1 << 20)), btf.name(&"y".repeat(1000)));
    let members: Vec<u32> = [longest, 1, 0].into_iter().chain([long, 1, 0].repeat(5000)).collect();
    btf.entry("many", 4, 5001, false, 8, &members);
    let btf = Btf::parse(btf.finish(), ByteOrder::Little).unwrap();
    let members = btf.members(btf.structure("many").unwrap().unwrap()).unwrap();
    assert_eq!((members.len(), members[0].name.len()), (5001, 1000));
    assert!(members[1..].iter().all(|member| member.name.is_empty()));
}

/// Asks everything of whatever was read.
fn exercise(btf: &Btf) {
    for name in ["page", "page_t", "mystery", "runqueues", ""] {
        let _ = (btf.size_of(name, 8), btf.field(&format!("{name}.flags")), btf.enumerator(name));
        let _ = btf.find(Named::Variable, name);
    }
    for id in 0..20 {
        let _ = (btf.get(TypeId(id)), btf.members(TypeId(id)), btf.size(TypeId(id), 4));
    }
}

proptest! {
    #[test]
    fn a_changed_or_cut_description_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
        order in prop::sample::select(&ORDERS[..]),
    ) {
        let mut bytes = sample(order);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(btf) = Btf::parse(bytes.clone(), order) {
            exercise(&btf);
        }
        bytes.truncate(cut.index(bytes.len()));
        if let Ok(btf) = Btf::parse(bytes, order) {
            exercise(&btf);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(btf) = Btf::parse(bytes, ByteOrder::Little) {
            exercise(&btf);
        }
    }
}
