//! The dump as a file: what `/proc/vmcore` gives, sparse.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::bytes::{ByteOrder, Bytes};
use crate::error::{ModelError, Result};
use crate::extent::Extent;
use crate::notes;
use crate::rng::Rng;
use crate::synth::dump::Dump;
use crate::synth::dump::arch::Arch;

const EHDR: u64 = 64;
const PHDR: u64 = 56;

/// One PT_LOAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The physical range it stands for.
    pub physical: Extent,
    /// The virtual address it says; 0 where a dumper did not know.
    pub address: u64,
}

/// The content of the `NT_PRSTATUS` of one processor: `struct elf_prstatus`, registers at 112, as far as they are given.
pub fn prstatus(arch: Arch, order: ByteOrder, cpu: u32, words: &[u64]) -> Vec<u8> {
    let (registers, rest) = arch.registers();
    let mut out = Bytes::zeroed(order, 112 + registers + rest);
    // pr_pid.
    out.u32_at(32, 100 + cpu);
    for (at, word) in (112..112 + registers).step_by(8).zip(words) {
        out.u64_at(at, *word);
    }
    out.bytes
}

/// The notes of a dump.
pub(crate) fn notes(arch: Arch, order: ByteOrder, cpus: u32, text: &str, rng: &mut Rng) -> Vec<u8> {
    let (registers, _) = arch.registers();
    let mut any = || (0..registers / 8).map(|_| rng.draw() >> 8).collect();
    notes_of(arch, order, &(0..cpus).map(|_| any()).collect::<Vec<_>>(), text)
}

/// The notes of a dump whose CPUs have these registers.
pub(crate) fn notes_of(arch: Arch, order: ByteOrder, registers: &[Vec<u64>], text: &str) -> Vec<u8> {
    let note =
        |(cpu, words): (u32, &Vec<u64>)| notes::note(order, "CORE", 1, &prstatus(arch, order, cpu, words));
    let mut out: Vec<u8> = (0..).zip(registers).flat_map(note).collect();
    out.extend(notes::note(order, "VMCOREINFO", 0, text.as_bytes()));
    out
}

impl Dump {
    /// Writes the dump as a new ELF file, with holes where memory is zero.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write_elf(&self, path: &Path) -> Result<()> {
        let order = self.spec.order;
        let page = self.spec.page_size;
        let entries = self.loads.len() as u64 + 1;
        let headers = (EHDR + entries * PHDR).next_multiple_of(page);
        let mut out = Bytes::new(order);
        let data = if order == ByteOrder::Big { 2 } else { 1 };
        out.raw(&[0x7f, b'E', b'L', b'F', 2, data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let flags = if self.spec.mmu.arch() == Arch::Ppc64 { 2 } else { 0 };
        out.u16(4).u16(self.spec.mmu.arch().e_machine()).u32(1).u64(0).u64(EHDR).u64(0).u32(flags);
        out.u16(EHDR as u16).u16(PHDR as u16).u16(entries as u16).u16(0).u16(0).u16(0);
        out.u32(4).u32(0).u64(headers).u64(0).u64(0);
        out.u64(self.notes.len() as u64).u64(self.notes.len() as u64).u64(0);
        let mut at = headers + (self.notes.len() as u64).next_multiple_of(page);
        let mut placed = Vec::new();
        for load in &self.loads {
            let length = load.physical.length;
            out.u32(1)
                .u32(7)
                .u64(at)
                .u64(load.address)
                .u64(load.physical.start)
                .u64(length)
                .u64(length)
                .u64(0);
            placed.push((load.physical, at));
            at += length.next_multiple_of(page);
        }
        let file = File::create(path).map_err(ModelError::io(path, "create"))?;
        let put = |bytes: &[u8], offset: u64| {
            file.write_all_at(bytes, offset).map_err(ModelError::io(path, "write"))
        };
        put(&out.bytes, 0)?;
        put(&self.notes, headers)?;
        for (physical, offset) in placed {
            self.memory.write_extent(&file, path, offset, physical)?;
        }
        file.set_len(at).map_err(ModelError::io(path, "set the size"))
    }
}
