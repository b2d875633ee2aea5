//! ELF notes as the second kernel writes them.

use crate::bytes::{ByteOrder, Bytes};
use crate::registers::Registers;

/// One note: header, name and contents, each padded to four bytes.
pub fn note(order: ByteOrder, name: &str, kind: u32, contents: &[u8]) -> Vec<u8> {
    let mut out = Bytes::new(order);
    out.u32(name.len() as u32 + 1).u32(contents.len() as u32).u32(kind);
    out.raw(name.as_bytes()).raw(&[0]).pad(4).raw(contents).pad(4);
    out.bytes
}

/// `NT_PRSTATUS` as `fadump_regs_to_elf_notes` writes it: every field but the registers zero.
///
/// `struct elf_prstatus` of ppc64: 504 bytes, `pr_reg[48]` at 70h.
pub fn prstatus(order: ByteOrder, words: &[u64]) -> Vec<u8> {
    let mut contents = Bytes::zeroed(order, 504);
    for (index, word) in words.iter().take(48).enumerate() {
        contents.u64_at(0x70 + index * 8, *word);
    }
    note(order, "CORE", 1, &contents.bytes)
}

/// The register words that fadump fills from the firmware's save area: the rest stays zero.
pub fn firmware_words(registers: &Registers) -> [u64; 48] {
    let mut words = [0; 48];
    words[..32].copy_from_slice(&registers.gpr);
    words[32] = registers.nia;
    words[33] = registers.msr;
    words[35] = registers.ctr;
    words[36] = registers.lr;
    words[37] = registers.xer;
    words[38] = u64::from(registers.cr);
    words[41] = registers.dar;
    words[42] = u64::from(registers.dsisr);
    words
}
