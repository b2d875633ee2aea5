//! Patterns that name their own address.

/// Bytes of pattern that [`Memory::stamp`](super::Memory::stamp) leaves at the beginning of a page.
pub const STAMP: u64 = 64;

/// A recognisable pattern: eight bytes of text, then the big-endian physical address where they are, repeated.
///
/// A tool that reads a page from the wrong place shows by its bytes where it read, and who wrote there.
pub type Tag = [u8; 8];

/// Writes the pattern that `tag` leaves at `address`.
pub(super) fn fill_pattern(tag: Tag, address: u64, bytes: &mut [u8]) {
    let mut unit = [0; 16];
    unit[..8].copy_from_slice(&tag);
    for (offset, byte) in bytes.iter_mut().enumerate() {
        let at = address + offset as u64;
        if offset == 0 || at.is_multiple_of(16) {
            unit[8..].copy_from_slice(&(at & !15).to_be_bytes());
        }
        *byte = unit[(at % 16) as usize];
    }
}

/// Writes what stamped pages hold at `address`.
pub(super) fn fill_stamps(tag: Tag, page: u64, address: u64, bytes: &mut [u8]) {
    fill_pattern(tag, address, bytes);
    for (offset, byte) in bytes.iter_mut().enumerate() {
        if (address + offset as u64) % page >= STAMP {
            *byte = 0;
        }
    }
}
