//! VMCOREINFO made from what describes the kernel otherwise, for dumps that lost theirs.
//!
//! [`of_vmlinux`] writes what `makedumpfile -g` writes: the addresses, sizes, offsets and numbers as the kernel was
//! linked and compiled. [`missing_keys`] completes what a kernel said of itself by what its own BTF and symbols say. Both
//! go by the same table of keys, and what a source does not have is left out: no number is guessed.

mod keys;
mod page_types;

use crate::Error;
use crate::symbols::Symbols;
use crate::types::{Named, Types};
use crate::vmlinux::Vmlinux;
use page_types::page_types;
use std::fmt::Write;
use vmcore::{Dump, PageSize, VmcoreInfo};

/// The text of a VMCOREINFO from a vmlinux with debug information, with addresses as the kernel was linked.
///
/// # Errors
///
/// When the file cannot be read, or is not a kernel.
pub fn of_vmlinux(vmlinux: &Vmlinux, types: &dyn Types) -> Result<String, Error> {
    let mut text = format!("OSRELEASE={}\n", vmlinux.release()?);
    if let Some(id) = vmlinux.build_id() {
        line(&mut text, format_args!("BUILD-ID={id}"));
    }
    if let Some(size) = page_size(vmlinux) {
        line(&mut text, format_args!("PAGESIZE={}", size.bytes()));
    }
    let freed = init_memory(|name| vmlinux.symbol(name).map(|symbol| symbol.addr));
    for name in keys::SYMBOLS.iter().chain(keys::OLD_SYMBOLS) {
        if let Some(symbol) = vmlinux.symbol(name).filter(|symbol| !freed.contains(&symbol.addr)) {
            line(&mut text, format_args!("SYMBOL({name})={:x}", symbol.addr));
        }
    }
    // The kernel writes the table's name that its source uses, which on x86_64 is a macro for the other.
    let tables = ["init_top_pgt", "init_level4_pgt"];
    if let Some(table) = tables.iter().find_map(|name| vmlinux.symbol(name)) {
        line(&mut text, format_args!("SYMBOL(swapper_pg_dir)={:x}", table.addr));
    }
    types_of(&mut text, types, vmlinux.machine().word.bytes() as u64)?;
    for name in keys::VARIABLE_LENGTHS {
        let kind = types.find(Named::Variable, name)?;
        if let Some(count) = kind.map(|kind| types.count(kind)).transpose()?.flatten() {
            line(&mut text, format_args!("LENGTH({name})={count}"));
        }
    }
    for (name, value) in page_types(types, |key| vmlinux.mentions(key))? {
        line(&mut text, format_args!("NUMBER({name})={value}"));
    }
    Ok(text)
}

/// Lines for the keys that `info` lacks and `types` and `symbols` have.
///
/// # Errors
///
/// When a source is damaged.
pub fn missing_keys(
    info: &VmcoreInfo,
    types: &dyn Types,
    symbols: &dyn Symbols,
    word: u64,
) -> Result<String, Error> {
    let mut text = String::new();
    let (start, end) = (symbols.symbol("__init_begin")?, symbols.symbol("__init_end")?);
    let freed = init_memory(|name| if name == "__init_begin" { start } else { end }.map(|addr| addr.0));
    for name in keys::SYMBOLS.iter().filter(|name| !keys::CONTENTS.contains(name)) {
        let key = format!("SYMBOL({name})");
        if info.get(&key).is_none()
            && let Some(addr) = symbols.symbol(name)?.filter(|addr| !freed.contains(&addr.0))
        {
            line(&mut text, format_args!("{key}={:x}", addr.0));
        }
    }
    types_of(&mut text, types, word)?;
    for (name, value) in page_types(types, |_| Ok(false))? {
        line(&mut text, format_args!("NUMBER({name})={value}"));
    }
    let absent = |line: &&str| line.split_once('=').is_some_and(|(key, _)| info.get(key).is_none());
    Ok(text.lines().filter(absent).flat_map(|line| [line, "\n"]).collect())
}

/// Reports whether `info` lacks something that telling pages apart needs of every kernel, and that BTF may have.
pub(crate) fn is_incomplete(info: &VmcoreInfo) -> bool {
    let lacks = |alternatives: &&[&str]| alternatives.iter().all(|key| info.get(key).is_none());
    keys::NEEDED.iter().any(lacks)
}

/// Where the kernel was linked to have what it frees when it has booted: a variable there, as `vmlist` is since 3.10, is
/// gone by the time of a crash.
fn init_memory(symbol: impl Fn(&str) -> Option<u64>) -> std::ops::Range<u64> {
    match (symbol("__init_begin"), symbol("__init_end")) {
        (Some(start), Some(end)) => start..end,
        _ => 0..0,
    }
}

/// What follows from types: SIZE, OFFSET, LENGTH of members and NUMBER of enumerators.
fn types_of(text: &mut String, types: &dyn Types, word: u64) -> Result<(), Error> {
    let mut names: Vec<(Named, &str)> = Vec::new();
    let structs = keys::OFFSETS.iter().map(|path| path.split('.').next().unwrap_or(path));
    for name in keys::SIZES.iter().copied().chain(structs) {
        let what = if keys::TYPEDEFS.contains(&name) { Named::Typedef } else { Named::Struct };
        names.push((what, name));
    }
    names.extend(keys::VARIABLE_LENGTHS.iter().map(|name| (Named::Variable, *name)));
    types.expect(&names, &keys::enumerators())?;
    for name in keys::SIZES {
        let what = if keys::TYPEDEFS.contains(name) { Named::Typedef } else { Named::Struct };
        let size = types.find(what, name)?.map(|id| types.size(id, word)).transpose()?.flatten();
        if let Some(size) = size {
            line(text, format_args!("SIZE({name})={size}"));
        }
    }
    for path in keys::OFFSETS {
        let (name, member) = path.split_once('.').unwrap_or((path, ""));
        let what = if keys::TYPEDEFS.contains(&name) { Named::Typedef } else { Named::Struct };
        let field = types.find(what, name)?.map(|id| types.member(id, member)).transpose()?.flatten();
        let Some(field) = field else { continue };
        line(text, format_args!("OFFSET({path})={}", field.bit_offset / 8));
        if keys::MEMBER_LENGTHS.contains(path)
            && let Some(count) = types.count(field.kind)?
        {
            let name = keys::length_name(path);
            line(text, format_args!("LENGTH({name})={count}"));
        }
    }
    for name in keys::ENUMERATORS {
        // Page types share names with flags and are distinguished by their values.
        if let Some(value) = types.enumerator(name)?.filter(|value| (0..64).contains(value)) {
            line(text, format_args!("NUMBER({name})={value}"));
        }
    }
    if let Some(head) = types.enumerator("PG_head")?.filter(|bit| (0..63).contains(bit)) {
        line(text, format_args!("NUMBER(PG_head_mask)={}", 1u64 << head));
    }
    Ok(())
}

/// The page size: that of the machine, or of the page of zeros which every kernel has.
pub(crate) fn page_size(vmlinux: &Vmlinux) -> Option<PageSize> {
    let only = Dump::only_page_size(vmlinux.machine().arch);
    only.or_else(|| PageSize::new(vmlinux.symbol("empty_zero_page")?.size))
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    writeln!(text, "{content}").expect("writing into a string");
}
