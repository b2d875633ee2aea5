//! ELF cores put together by hand, for tests: by their own definitions, so that a wrong layout in the reader or the
//! writer cannot cancel out.

use vmcore::ByteOrder;

/// A program header to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phdr {
    pub(super) kind: u32,
    pub(super) offset: u64,
    pub(super) vaddr: u64,
    pub(super) paddr: u64,
    pub(super) filesz: u64,
    pub(super) memsz: u64,
}

/// A core to be written.
#[derive(Clone, Debug)]
pub(super) struct TestElf {
    pub(super) is_64: bool,
    pub(super) order: ByteOrder,
    pub(super) machine: u16,
    pub(super) flags: u32,
    /// Where the program headers go.
    pub(super) phoff: u64,
    pub(super) phdrs: Vec<Phdr>,
}

impl TestElf {
    /// A little-endian x86_64 core with its program headers in the usual place.
    pub(super) fn x86_64() -> Self {
        Self { is_64: true, order: ByteOrder::Little, machine: 62, flags: 0, phoff: 64, phdrs: Vec::new() }
    }

    /// Adds a PT_LOAD.
    pub(super) fn load(mut self, offset: u64, paddr: u64, filesz: u64, memsz: u64) -> Self {
        let vaddr = 0xffff_8880_0000_0000u64.wrapping_add(paddr);
        self.phdrs.push(Phdr { kind: 1, offset, vaddr, paddr, filesz, memsz });
        self
    }

    /// Adds any program header.
    pub(super) fn phdr(mut self, kind: u32, offset: u64, size: u64) -> Self {
        self.phdrs.push(Phdr { kind, offset, vaddr: 0, paddr: 0, filesz: size, memsz: size });
        self
    }

    fn word(&self, value: u64) -> Vec<u8> {
        if self.is_64 {
            self.order.put_u64(value).to_vec()
        } else {
            self.order.put_u32(value as u32).to_vec()
        }
    }

    fn half(&self, value: u16) -> Vec<u8> {
        self.order.put_u16(value).to_vec()
    }

    fn int(&self, value: u32) -> Vec<u8> {
        self.order.put_u32(value).to_vec()
    }

    /// The headers, over `body`, which is the file without them.
    pub(super) fn over(&self, body: &[u8]) -> Vec<u8> {
        let (ehsize, phentsize, shentsize) = if self.is_64 { (64, 56, 64) } else { (52, 32, 40) };
        let many = self.phdrs.len() >= 0xffff;
        let shoff = self.phoff + self.phdrs.len() as u64 * phentsize;
        let big = self.order == ByteOrder::Big;
        let mut head = vec![0x7f, b'E', b'L', b'F', 1 + u8::from(self.is_64), 1 + u8::from(big), 1];
        head.resize(16, 0);
        head.extend([self.half(4), self.half(self.machine)].concat());
        head.extend([self.int(1), self.word(0), self.word(self.phoff)].concat());
        head.extend([self.word(if many { shoff } else { 0 }), self.int(self.flags)].concat());
        let phnum = if many { 0xffff } else { self.phdrs.len() as u16 };
        for half in [ehsize, phentsize as u16, phnum, if many { shentsize } else { 0 }, u16::from(many), 0] {
            head.extend(self.half(half));
        }
        let mut table = Vec::new();
        for p in &self.phdrs {
            let words = [p.offset, p.vaddr, p.paddr, p.filesz, p.memsz].map(|w| self.word(w)).concat();
            table.extend(self.int(p.kind));
            if self.is_64 {
                table.extend([self.int(7), words, self.word(0)].concat());
            } else {
                table.extend([words, self.int(7), self.int(0)].concat());
            }
        }
        if many {
            let mut section = vec![0; shentsize.into()];
            let at = if self.is_64 { 44 } else { 28 };
            section[at..at + 4].copy_from_slice(&self.int(self.phdrs.len() as u32));
            table.extend(section);
        }
        let mut file = body.to_vec();
        let need = (self.phoff as usize + table.len()).max(head.len());
        if file.len() < need {
            file.resize(need, 0);
        }
        file[..head.len()].copy_from_slice(&head);
        file[self.phoff as usize..][..table.len()].copy_from_slice(&table);
        file
    }
}
