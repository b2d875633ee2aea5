//! The symbol tables of real dumps.

mod support;

use corpus::{NAMES, POWER, X86_64};
use kernel::kallsyms::Kallsyms;
use kernel::{Kernel, KernelMemory};
use object::{Object, ObjectSymbol, SymbolKind};
use std::collections::HashSet;
use support::{with_dump, with_vmlinux};

#[test]
fn every_symbol_of_the_dump_is_where_vmlinux_has_it() {
    for name in [X86_64, POWER] {
        with_vmlinux(name, |_, vmlinux, dump| {
            let kernel = Kernel::open(dump).unwrap();
            let offset = kernel.info().get("KERNELOFFSET").unwrap();
            let offset = u64::from_str_radix(offset, 16).unwrap();
            let table = Kallsyms::open(&kernel).unwrap();
            let bytes = std::fs::read(vmlinux).unwrap();
            let file = object::File::parse(&*bytes).unwrap();
            let first = file.symbols().find(|s| s.name() == Ok("_stext")).unwrap().address();
            // The image moved as a whole; offsets into per-CPU areas, far below it, did not.
            let moved = |addr: u64| if addr >= first { addr.wrapping_add(offset) } else { addr };
            let linked: HashSet<(String, u64)> =
                file.symbols().map(|s| (s.name().unwrap().to_owned(), moved(s.address()))).collect();
            let mut dumped = HashSet::new();
            let mut last = 0;
            for symbol in table.iter() {
                let symbol = symbol.unwrap();
                assert!(symbol.addr.0 >= last, "{symbol:?} is out of order");
                last = symbol.addr.0;
                let key = (symbol.name, symbol.addr.0);
                assert!(linked.contains(&key), "{name}: vmlinux has no {key:x?}");
                dumped.insert(key);
            }
            let functions = file.symbols().filter(|s| s.kind() == SymbolKind::Text && s.size() > 0);
            let mut count = 0;
            for function in functions {
                let key = (function.name().unwrap().to_owned(), moved(function.address()));
                assert!(dumped.contains(&key), "{name}: the dump has no {key:x?}");
                count += 1;
            }
            assert!(count > 20_000, "{name}: {count} functions");
        });
    }
}

#[test]
fn every_dumps_table_agrees_with_what_vmcoreinfo_says_of_symbols() {
    for name in NAMES {
        with_dump(name, |_, dump| {
            let kernel = Kernel::open(dump).unwrap();
            let table = Kallsyms::open(&kernel).unwrap();
            // Not `vmemmap` and `mem_section`, of which VMCOREINFO gives the contents, nor `node_online_map`, a macro.
            let common = ["_stext", "init_uts_ns", "prb", "printk_rb_static", "clear_seq", "node_data"];
            let power =
                ["swapper_pg_dir", "vmemmap_list", "mmu_vmemmap_psize", "mmu_psize_defs", "cur_cpu_spec"];
            let own = if name.starts_with("x86") { &["init_top_pgt", "vmap_area_list"][..] } else { &power };
            for symbol in common.iter().chain(own) {
                let said = kernel.info().symbol(symbol);
                assert!(said.is_some(), "{name}: {symbol}");
                assert_eq!(table.find(symbol).unwrap(), said, "{name}: {symbol}");
            }
            assert_eq!(table.find("no_such_symbol").unwrap(), None);
        });
    }
}
