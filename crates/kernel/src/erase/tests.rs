use super::*;
use crate::KernelMemory;
use crate::symbols::Symbols;
use crate::testing::{BE64, FakeKernel, LE64};
use crate::types::{Member, Named, Type, TypeId, Types};
use proptest::prelude::*;
use std::collections::HashMap;

#[test]
fn commands_loops_sections_and_comments_are_read() {
    let rules = Rules::parse(
        "# secrets\nerase array_var\nerase mystruct1.addr2 size 1K # all\n\terase s.addr\n size s.len\n\
         [vmlinux]\nfor m in head.next within s1:list\n erase m.key size m.key_size\n erase m.private\nendfor\n\
         for m in first via link.next erase m.addr nullify endfor\n",
    )
    .unwrap();
    let texts: Vec<_> = rules.rules.iter().map(|r| (r.at.line, r.erase.len())).collect();
    assert_eq!(texts, [(2, 1), (3, 1), (4, 1), (7, 2), (11, 1)]);
    assert_eq!(rules.rules[1].erase[0].what, What::Bytes(1024));
    assert!(matches!(&rules.rules[2].erase[0].what, What::BytesIn(e) if e.text() == "s.len"));
    let over = &rules.rules[3].over.as_ref().unwrap().over;
    assert_eq!(*over, Over::ListHead { structure: "s1".into(), member: "list".into() });
    let over = &rules.rules[4].over.as_ref().unwrap().over;
    assert_eq!(*over, Over::Chain(vec!["link".into(), "next".into()]));
    assert_eq!(rules.rules[4].erase[0].what, What::Pointer);
    assert!(Rules::parse(" \n# nothing\n").unwrap().is_empty());
}

#[test]
fn an_error_names_line_and_column() {
    for (text, expected) in [
        ("erase", "line 1, column 6: the end, expected a symbol after 'erase'"),
        ("erase a\n  wipe b", "line 2, column 3: 'wipe', expected 'erase', 'for' or a [module]"),
        ("erase size 3", "line 1, column 7: 'size', expected a symbol after 'erase'"),
        ("erase a size", "line 1, column 13: the end, expected a size after 'size'"),
        ("erase a size 3Q", "line 1, column 14: '3Q', expected a number of bytes as 25, 1K or 2M"),
        ("erase a size 0", "line 1, column 14: '0', expected a number of bytes as 25, 1K or 2M"),
        ("erase a..b", "line 1, column 7: 'a..b', expected SYMBOL or SYMBOL.MEMBER"),
        ("for x on list", "line 1, column 7: expected 'in' after 'for x'"),
        ("for x in list\nerase y.z\nendfor", "line 2, column 7: 'y.z' is not about the loop's variable 'x'"),
        ("for x in list erase x", "line 1, column 22: the end before the loop's 'endfor'"),
        ("for x in list\n[mod]\n", "line 2, column 1: section [mod] before the loop's 'endfor'"),
        ("for x in l within :a endfor", "line 1, column 19: ':a', expected STRUCT:MEMBER after 'within'"),
        ("[module", "line 1, column 1: a section without its ']'"),
        ("erase\n\t[notasection]", "line 2, column 2: '[notasection]', expected SYMBOL or SYMBOL.MEMBER"),
    ] {
        assert_eq!(Rules::parse(text).unwrap_err().to_string(), expected, "{text}");
    }
}

/// Types by hand, as a list of what each number is.
struct Catalogue {
    types: Vec<(Type, Vec<Member>)>,
    names: HashMap<(Named, &'static str), TypeId>,
}

impl Types for Catalogue {
    fn find(&self, what: Named, name: &str) -> Result<Option<TypeId>, Error> {
        Ok(self.names.iter().find(|((w, n), _)| *w == what && *n == name).map(|(_, id)| *id))
    }

    fn get(&self, id: TypeId) -> Result<Type, Error> {
        Ok(self.types[id.0 as usize].0.clone())
    }

    fn members(&self, id: TypeId) -> Result<Vec<Member>, Error> {
        Ok(self.types[id.0 as usize].1.clone())
    }

    fn enumerator(&self, _: &str) -> Result<Option<i64>, Error> {
        Ok(None)
    }

    fn enumeration(&self, _: &str) -> Result<Vec<(String, i64)>, Error> {
        Ok(Vec::new())
    }
}

const CHAR: TypeId = TypeId(1);
const LONG: TypeId = TypeId(2);
const TEXT: TypeId = TypeId(3);
const VOID: TypeId = TypeId(4);
const HEAD: TypeId = TypeId(5);
const HEAD_AT: TypeId = TypeId(6);
const ITEM: TypeId = TypeId(7);
const ITEM_AT: TypeId = TypeId(8);
const BUFFER: TypeId = TypeId(9);
const ITEMS: TypeId = TypeId(10);
const ITEM_ATS: TypeId = TypeId(11);

/// `struct item { struct item *next; struct list_head list; char buffer[50]; char *name; void *key; long key_size;
/// unsigned bit:1; }`.
fn catalogue() -> Catalogue {
    let field = |name: &str, kind, byte: u64| Member {
        name: name.into(),
        kind,
        bit_offset: byte * 8,
        bits: (name == "bit").then_some(1),
    };
    let item = vec![
        field("next", ITEM_AT, 0),
        field("list", HEAD, 8),
        field("buffer", BUFFER, 24),
        field("name", TEXT, 80),
        field("key", VOID, 88),
        field("key_size", LONG, 96),
        field("bit", LONG, 104),
    ];
    let base = |name: &str, size| (Type::Base { name: name.into(), size }, Vec::new());
    let array = |element, count| (Type::Array { element, count: Some(count) }, Vec::new());
    let pointer = |to| (Type::Pointer(to), Vec::new());
    let structure =
        |name: &str, size, members| (Type::Struct { name: name.into(), size: Some(size) }, members);
    Catalogue {
        types: vec![
            (Type::Void, Vec::new()),
            base("char", 1),
            base("long", 8),
            pointer(CHAR),
            pointer(TypeId(0)),
            structure("list_head", 16, vec![field("next", HEAD_AT, 0), field("prev", HEAD_AT, 8)]),
            pointer(HEAD),
            structure("item", 112, item),
            pointer(ITEM),
            array(CHAR, 50),
            array(ITEM, 2),
            array(ITEM_AT, 3),
        ],
        names: [
            ((Named::Struct, "item"), ITEM),
            ((Named::Struct, "list_head"), HEAD),
            ((Named::Variable, "one"), ITEM),
            ((Named::Variable, "at_one"), ITEM_AT),
            ((Named::Variable, "items"), ITEMS),
            ((Named::Variable, "item_ats"), ITEM_ATS),
            ((Named::Variable, "head"), HEAD),
            ((Named::Variable, "nowhere"), ITEM_AT),
            ((Named::Variable, "lost"), ITEM_AT),
        ]
        .into(),
    }
}

struct Fixed;

impl Symbols for Fixed {
    fn symbol(&self, name: &str) -> Result<Option<VirtAddr>, Error> {
        let symbols = [
            ("one", 0x1000),
            ("items", 0x1000),
            ("at_one", 0x3000),
            ("nowhere", 0x3008),
            ("item_ats", 0x3010),
            ("lost", 0x3028),
            ("head", 0x3040),
            ("untyped", 0x3050),
        ];
        Ok(symbols.iter().find(|(n, _)| *n == name).map(|(_, addr)| VirtAddr(*addr)))
    }
}

/// Two items at 0x1000 and 0x1070, each leading to the other in every way.
fn kernel(machine: vmcore::Machine) -> FakeKernel {
    let mut kernel = FakeKernel::new(machine);
    kernel.put(0x1000, &[0; 0x200]);
    kernel.put(0x3000, &[0; 0x60]);
    for (at, other) in [(0x1000, 0x1070), (0x1070, 0x1000)] {
        kernel.put_u64(at, other);
        kernel.put_u64(at + 80, 0x5000);
        kernel.put_u64(at + 88, 0x6000);
        kernel.put_u64(at + 96, 32);
    }
    kernel.put(0x5000, b"secret\0rest");
    kernel.put_u64(0x3000, 0x1000);
    kernel.put_u64(0x3010, 0x1000);
    kernel.put_u64(0x3020, 0x1070);
    kernel.put_u64(0x3028, 0xdead_0000);
    // head -> first's list -> second's list -> head
    kernel.put_u64(0x3040, 0x1008);
    kernel.put_u64(0x1008, 0x1078);
    kernel.put_u64(0x1078, 0x3040);
    kernel
}

fn resolved(text: &str, machine: vmcore::Machine) -> Result<Erasures, Error> {
    let kernel = kernel(machine);
    let memory: &dyn KernelMemory = &kernel;
    let known = Known::made_of(memory, Box::new(Fixed), Box::new(catalogue()));
    Rules::parse(text).unwrap().resolve(&known)
}

/// Places and lengths.
fn erased(text: &str) -> Vec<(u64, u64)> {
    let all = [LE64, BE64].map(|machine| {
        let found = resolved(text, machine).unwrap();
        assert_eq!(found.remarks, [""; 0], "{text}");
        found.erasures.iter().map(|e| (e.at.0, e.len)).collect::<Vec<_>>()
    });
    assert_eq!(all[0], all[1]);
    all[0].clone()
}

#[test]
fn an_erasure_is_as_long_as_its_type_string_or_size() {
    assert_eq!(erased("erase one"), [(0x1000, 112)]);
    assert_eq!(erased("erase at_one"), [(0x1000, 112)]);
    assert_eq!(erased("erase at_one.buffer"), [(0x1018, 50)]);
    assert_eq!(erased("erase one.buffer size 25"), [(0x1018, 25)]);
    assert_eq!(erased("erase one.next.buffer"), [(0x1088, 50)]);
    assert_eq!(erased("erase one.name"), [(0x5000, 6)]);
    assert_eq!(erased("erase one.key size one.key_size"), [(0x6000, 32)]);
    assert_eq!(erased("erase one.key_size"), [(0x1060, 8)]);
    assert_eq!(erased("erase items"), [(0x1000, 224)]);
    let nullified = resolved("erase one.key nullify", LE64).unwrap().erasures;
    assert_eq!(
        nullified,
        [Erasure { at: VirtAddr(0x1058), len: 8, nullify: true, expression: "one.key".into() }]
    );
}

#[test]
fn loops_go_over_arrays_chains_and_lists() {
    assert_eq!(erased("for x in items erase x.buffer endfor"), [(0x1018, 50), (0x1088, 50)]);
    assert_eq!(erased("for x in item_ats erase x.buffer endfor"), [(0x1018, 50), (0x1088, 50)]);
    assert_eq!(erased("for x in item_ats erase x endfor"), [(0x1000, 112), (0x1070, 112)]);
    assert_eq!(erased("for x in one via next erase x.buffer endfor"), [(0x1018, 50), (0x1088, 50)]);
    assert_eq!(erased("for x in at_one erase x.buffer size 1 endfor"), [(0x1018, 1), (0x1088, 1)]);
    for list in ["head", "head.next", "head.prev"] {
        let found = erased(&format!("for x in {list} within item:list erase x.buffer endfor"));
        let expected = if list == "head.prev" { &[][..] } else { &[(0x1018, 50), (0x1088, 50)] };
        assert_eq!(found, expected, "{list}");
    }
    assert_eq!(
        erased(
            "for x in head within item erase x.key size x.key_size erase x.buffer size one.key_size endfor"
        ),
        [(0x6000, 32), (0x1018, 32), (0x1088, 32)]
    );
}

#[test]
fn what_leads_nowhere_is_nothing_and_what_memory_lacks_is_said() {
    assert_eq!(erased("erase nowhere erase nowhere.buffer for x in nowhere erase x endfor"), []);
    let found = resolved("erase lost.buffer\nerase lost.name\nfor x in lost erase x endfor", LE64).unwrap();
    // The buffer has an address and so is erased where it can be; the name's pointer cannot be read.
    assert_eq!(found.erasures.len(), 2, "{found:?}");
    assert!(found.remarks[0].starts_with("line 2: lost.name is not erased: virtual address 0xdead0050"));
    assert!(found.remarks[1].starts_with("line 3: lost could be followed for 1 elements"), "{found:?}");
}

#[test]
fn a_place_named_twice_is_erased_once_and_as_far_as_either_says() {
    assert_eq!(erased("erase one.buffer size 5 erase at_one.buffer size 9"), [(0x1018, 9)]);
}

#[test]
fn a_rule_with_unknown_names_or_the_wrong_kind_is_refused_by_name() {
    for (text, expected) in [
        ("erase none", "line 1, column 7: the kernel has no symbol none"),
        ("erase one\nerase untyped size 4", "line 2, column 7: the type of untyped is not known"),
        ("erase one.none", "line 1, column 7: one.none leads to no member none"),
        ("erase one.bit", "line 1, column 7: bit of one.bit is a bit field"),
        ("erase one.key", "line 1, column 7: the size of what one.key points to is not known: add 'size'"),
        ("erase one.buffer nullify", "line 1, column 7: one.buffer is not a pointer"),
        ("erase one.key size one.buffer", "line 1, column 20: one.buffer is not a number"),
        ("for x in head erase x endfor", "line 1, column 10: head is a list_head: add 'within"),
        ("for x in one within item:list erase x endfor", "line 1, column 10: one is not a list_head"),
        ("for x in head within none:list erase x endfor", "line 1, column 10: the kernel has no struct none"),
        ("for x in head within item:none erase x endfor", "struct item has no member none"),
        ("for x in head within item:key erase x endfor", "key of struct item is not a list_head"),
        ("for x in one via key_size erase x endfor", "key_size of one is not a pointer to the next"),
    ] {
        let error = resolved(text, LE64).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn any_text_is_rules_or_an_error(text in "[ -~\n\t]{0,120}") {
        let _ = Rules::parse(&text);
    }

    #[test]
    fn words_of_the_language_in_any_order_never_panic(
        words in prop::collection::vec(prop::sample::select(vec![
            "erase", "for", "in", "within", "via", "endfor", "size", "nullify", "one", "one.name", "at_one", "head",
            "items", "item_ats", "item:list", "x", "x.key", "10", "lost", "\n", "next", "head.next",
        ]), 0..14),
    ) {
        if Rules::parse(&words.join(" ")).is_ok() {
            let _ = resolved(&words.join(" "), LE64);
        }
    }

    #[test]
    fn any_memory_ends(bytes in prop::collection::vec(any::<u8>(), 0x60), at in prop::sample::select(vec![0x1000u64, 0x3000])) {
        let mut kernel = kernel(LE64);
        kernel.put(at, &bytes);
        let known = Known::made_of(&kernel, Box::new(Fixed), Box::new(catalogue()));
        let rules = Rules::parse(
            "erase one.name for x in one erase x.key size x.key_size endfor for x in head within item erase x endfor",
        );
        let _ = rules.unwrap().resolve(&known);
    }
}
