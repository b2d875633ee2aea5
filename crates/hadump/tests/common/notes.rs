//! Notes as a test wants them in its input.

use super::reader::Order;

/// A note's name, type and content.
pub type Triple = (String, u64, Vec<u8>);

/// Encodes notes whose names and contents are aligned to `align` bytes, with `gap` bytes of zeros behind each.
pub fn encode(notes: &[Triple], order: Order, align: usize, gap: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, kind, desc) in notes {
        let start = bytes.len();
        for word in [name.len() as u32 + 1, desc.len() as u32, *kind as u32] {
            bytes.extend(if order.big { word.to_be_bytes() } else { word.to_le_bytes() });
        }
        bytes.extend(name.as_bytes());
        bytes.push(0);
        bytes.resize(start + (bytes.len() - start).next_multiple_of(align), 0);
        bytes.extend(desc);
        bytes.resize(start + (bytes.len() - start).next_multiple_of(align) + gap, 0);
    }
    bytes
}

/// The notes in `bytes`, sorted.
pub fn sorted(bytes: &[u8], order: Order) -> Vec<Triple> {
    let notes = super::reader::elf::notes(bytes, order);
    let mut all: Vec<_> = notes.into_iter().map(|note| (note.name, note.kind, note.desc)).collect();
    all.sort();
    all
}
