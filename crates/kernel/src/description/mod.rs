//! How a kernel describes itself: its types, in DWARF or BTF, and its symbols, in kallsyms or a vmlinux.

pub mod btf;
pub mod dwarf;
pub mod kallsyms;
pub mod symbol_map;
pub mod symbols;
pub mod types;
pub mod vmlinux;
