//! The kernel's table of symbols (`scripts/kallsyms.c`), with a dictionary in which each byte stands for itself.

use crate::bytes::ByteOrder;
use std::collections::BTreeMap;

/// The parts of the table by their names, without the `kallsyms_` of each.
pub(super) fn parts(
    order: ByteOrder,
    symbols: &BTreeMap<(u64, String), char>,
) -> [(&'static str, Vec<u8>); 6] {
    // Distances are signed, and the same whatever is below or above the base.
    let base = symbols.keys().map(|(at, _)| *at).filter(|at| *at >= 1 << 32).min().unwrap_or(0);
    let (mut names, mut offsets) = (Vec::new(), Vec::new());
    for ((at, name), kind) in symbols {
        let len = name.len() + 1;
        // From 128 references on, a length has two bytes.
        if len >= 128 {
            names.push(len as u8 & 0x7f | 0x80);
            names.push((len >> 7) as u8);
        } else {
            names.push(len as u8);
        }
        names.push(*kind as u8);
        names.extend(name.as_bytes());
        // Absolute values, as offsets per CPU, are positive, others the distance less one (ABSOLUTE_PERCPU).
        let offset = if *at < base { *at as u32 } else { (base.wrapping_sub(1).wrapping_sub(*at)) as u32 };
        offsets.extend(order.u32(offset));
    }
    let (mut table, mut index) = (Vec::new(), Vec::new());
    for token in 0..=255u8 {
        index.extend(order.u16(table.len() as u16));
        table.extend((token != 0).then_some(token));
        table.push(0);
    }
    [
        ("num_syms", order.u32(symbols.len() as u32).to_vec()),
        ("names", names),
        ("token_table", table),
        ("token_index", index),
        ("offsets", offsets),
        ("relative_base", order.u64(base).to_vec()),
    ]
}
