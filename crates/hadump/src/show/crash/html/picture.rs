//! Pictures of memory: by address and class, and by owner. Positions are shares of the width, so that text keeps its size on any
//! screen.

use super::escape::Text;
use super::treemap::{self, Rect};
use crate::show::units;
use kernel::Value;
use std::fmt::Write as _;

/// Classes of pages: those of [`Value`], and what an earlier filter left out.
pub(crate) const CLASSES: usize = Value::ALL.len() + 1;

/// The number of the last class.
pub(crate) const LEFT_OUT: usize = Value::ALL.len();

/// A stretch of physical memory, such as a zone, and what its pages are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stretch {
    /// What it is called: `node 0, DMA32`.
    pub(crate) name: String,
    /// Its first address, and the one after its last.
    pub(crate) addresses: (u64, u64),
    /// Bytes of memory in it; the rest are holes.
    pub(crate) bytes: u64,
    /// Pages by class in equal parts of it, ascending.
    pub(crate) parts: Vec<[u64; CLASSES]>,
}

/// What a class is called, and the colour it has in the style sheet.
const NAMES: [(&str, &str); CLASSES] = [
    ("kernel: image, tables, slab, vmalloc", "essential"),
    ("kernel: other", "kernel"),
    ("page cache with private data", "private"),
    ("page cache", "cache"),
    ("processes", "user"),
    ("free", "free"),
    ("not in this dump: filtered", "filtered"),
];

/// Beyond this ratio of sizes, widths are as the logarithms of sizes: a DMA zone would be invisible beside terabytes.
const LINEAR: u64 = 24;

/// The picture by address.
pub(super) fn by_address(stretches: &[Stretch]) -> String {
    let sizes = || stretches.iter().map(|stretch| stretch.bytes).filter(|bytes| *bytes > 0);
    let (Some(largest), Some(smallest)) = (sizes().max(), sizes().min()) else { return String::new() };
    let logarithmic = largest / smallest > LINEAR;
    let width = |bytes: u64| match logarithmic {
        // From 15 % for the smallest to all of the width.
        true => 15.0 + 85.0 * (bytes as f64 / smallest as f64).ln() / (largest as f64 / smallest as f64).ln(),
        false => 100.0 * bytes as f64 / largest as f64,
    };
    let mut out = String::new();
    let mut totals = [0_u64; CLASSES];
    for stretch in stretches.iter().filter(|stretch| stretch.bytes > 0) {
        let (start, end) = stretch.addresses;
        let _ = writeln!(
            out,
            "<figure class=\"stretch\"><figcaption>{}: {} from <code>{start:#x}</code> to <code>{end:#x}</code></figcaption>\n\
             <svg role=\"img\" aria-label=\"{}\" width=\"{:.2}%\" height=\"44\">",
            Text(&stretch.name),
            units::bytes(stretch.bytes),
            Text(&stretch.name),
            width(stretch.bytes).clamp(1.0, 100.0),
        );
        let step = 100.0 / stretch.parts.len().max(1) as f64;
        let fullest = stretch.parts.iter().map(|part| part.iter().sum::<u64>()).max().unwrap_or(0).max(1);
        for (n, part) in stretch.parts.iter().enumerate() {
            let mut y = 100.0;
            for ((pages, total), (name, class)) in part.iter().zip(&mut totals).zip(NAMES) {
                *total += pages;
                let height = 100.0 * *pages as f64 / fullest as f64;
                if *pages == 0 {
                    continue;
                }
                y -= height;
                let _ = writeln!(
                    out,
                    "<rect class=\"{class}\" x=\"{:.3}%\" y=\"{y:.2}%\" width=\"{:.3}%\" height=\"{height:.2}%\">\
                     <title>{name}: {pages} pages</title></rect>",
                    n as f64 * step,
                    step * 1.02,
                );
            }
        }
        out.push_str("</svg></figure>\n");
    }
    let all: u64 = totals.iter().sum();
    out.push_str("<ul class=\"legend\">");
    for (total, (name, class)) in totals.iter().zip(NAMES).filter(|(total, _)| **total > 0) {
        let share = units::percent(*total, all);
        let _ = write!(out, "<li><span class=\"swatch {class}\"></span>{name}: {share}</li>");
    }
    let holes = |stretch: &Stretch| stretch.addresses.1.saturating_sub(stretch.addresses.0) > stretch.bytes;
    if stretches.iter().any(holes) {
        out.push_str("<li><span class=\"swatch\"></span>no memory that this dump covers</li>");
    }
    out.push_str("</ul>\n");
    if logarithmic {
        out.push_str("<p class=\"hint\">Widths are on a logarithmic scale.</p>\n");
    }
    out
}

/// Height of the treemap.
const HEIGHT: f64 = 340.0;
/// The width that its rectangles are made square for.
const WIDTH: f64 = 760.0;
/// Width of a label's letter in the fonts that have wide ones.
const LETTER: f64 = 7.5;
/// The share of that width that a narrow phone has.
const PHONE: f64 = 0.4;

/// The picture by owner, of names and bytes.
pub(super) fn by_owner(owners: &[(&str, u64)]) -> String {
    let mut owners: Vec<_> = owners.iter().filter(|(_, bytes)| *bytes > 0).collect();
    owners.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    if owners.is_empty() {
        return String::new();
    }
    let sizes: Vec<u64> = owners.iter().map(|(_, bytes)| *bytes).collect();
    let all = sizes.iter().fold(0_u64, |sum, size| sum.saturating_add(*size));
    let mut out = format!(
        "<svg class=\"owners\" role=\"img\" aria-label=\"Memory by owner\" width=\"100%\" height=\"{HEIGHT}\">\n"
    );
    let rects = treemap::squarified(&sizes, Rect { x: 0.0, y: 0.0, width: WIDTH, height: HEIGHT });
    for (n, ((name, bytes), rect)) in owners.iter().zip(rects).enumerate() {
        let letters = name.chars().count();
        let (name, size) = (Text(name), units::bytes(*bytes));
        let _ = write!(
            out,
            "<svg x=\"{:.3}%\" y=\"{:.2}\" width=\"{:.3}%\" height=\"{:.2}\">\
             <title>{name}: {size}, {}</title>\
             <rect class=\"owner o{}\" width=\"100%\" height=\"100%\"/>",
            100.0 * rect.x / WIDTH,
            rect.y,
            100.0 * rect.width / WIDTH,
            rect.height,
            units::percent(*bytes, all),
            n % 8,
        );
        // A label that does not fit is no label; the table below has all.
        let room = LETTER * letters.max(size.len()) as f64 + 12.0;
        if rect.width > room && rect.height > 22.0 {
            let class = if rect.width * PHONE > room { "name" } else { "name wide" };
            let _ = write!(out, "<text class=\"{class}\" x=\"6\" y=\"17\">{name}</text>");
            if rect.height > 40.0 {
                let _ = write!(out, "<text class=\"size {class}\" x=\"6\" y=\"34\">{size}</text>");
            }
        }
        out.push_str("</svg>\n");
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_a_phone_would_cut_are_for_wide_windows() {
        let picture =
            by_owner(&[("free", 1 << 30), ("shared memory and tmpfs", 1 << 29), ("page tables", 1 << 20)]);
        assert!(picture.contains("<text class=\"name\" x=\"6\" y=\"17\">free</text>"), "{picture}");
        assert!(
            picture.contains("<text class=\"name wide\" x=\"6\" y=\"17\">shared memory and tmpfs</text>"),
            "{picture}"
        );
        assert!(!picture.contains("\">page tables</text>"), "{picture}");
    }

    #[test]
    fn the_legend_names_holes_where_there_are_some() {
        let stretch = |bytes| Stretch {
            name: "node 0, DMA".into(),
            addresses: (0, 8192),
            bytes,
            parts: vec![[1; CLASSES]],
        };
        assert!(by_address(&[stretch(4096)]).contains("no memory that this dump covers"));
        assert!(!by_address(&[stretch(8192)]).contains("no memory that this dump covers"));
    }
}
