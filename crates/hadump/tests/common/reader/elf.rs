//! An ELF64 core: program headers, notes, and memory by physical address.

use super::Order;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// One PT_LOAD. All values in bytes, as the program header has them.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub offset: u64,
    pub vaddr: u64,
    pub paddr: u64,
    pub filesz: u64,
    pub memsz: u64,
}

/// An open ELF core.
pub struct Elf {
    pub order: Order,
    pub machine: u64,
    /// In the order of the program headers.
    pub loads: Vec<Load>,
    /// The PT_NOTEs' contents, joined.
    pub notes: Vec<u8>,
    /// `p_type` of each program header.
    pub types: Vec<u64>,
    file: File,
}

impl Elf {
    pub fn open(path: &Path) -> Self {
        let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut head = [0; 64];
        file.read_exact_at(&mut head, 0).expect("an ELF header");
        assert_eq!(head[..5], *b"\x7fELF\x02", "{}: not an ELF64 file", path.display());
        let order = Order { big: head[5] == 2 };
        let (phoff, phnum) = (order.u64(&head, 32), order.u16(&head, 56));
        assert_eq!(order.u16(&head, 54), 56, "size of a program header");
        let mut elf = Self {
            order,
            machine: order.u16(&head, 18),
            loads: Vec::new(),
            notes: Vec::new(),
            types: Vec::new(),
            file,
        };
        for index in 0..phnum {
            let mut header = [0; 56];
            elf.file.read_exact_at(&mut header, phoff + index * 56).expect("a program header");
            let load = Load {
                offset: order.u64(&header, 8),
                vaddr: order.u64(&header, 16),
                paddr: order.u64(&header, 24),
                filesz: order.u64(&header, 32),
                memsz: order.u64(&header, 40),
            };
            let kind = order.u32(&header, 0);
            elf.types.push(kind);
            match kind {
                1 => elf.loads.push(load),
                4 => {
                    let at = elf.notes.len();
                    elf.notes.resize(at + load.filesz as usize, 0);
                    elf.file.read_exact_at(&mut elf.notes[at..], load.offset).expect("notes");
                }
                _ => {}
            }
        }
        elf
    }

    /// Fills `bytes` with the memory at `address`; what no PT_LOAD covers, and what lies past a `p_filesz`, reads as
    /// zeros. Returns how many bytes a PT_LOAD covers.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> u64 {
        self.read_from(&self.loads, address, bytes)
    }

    /// [`Elf::read`] from some of the segments.
    pub fn read_from(&self, loads: &[Load], address: u64, bytes: &mut [u8]) -> u64 {
        bytes.fill(0);
        let end = address + bytes.len() as u64;
        let mut covered = 0;
        for load in loads {
            let first = load.paddr.max(address);
            covered += (load.paddr + load.memsz).min(end).saturating_sub(first);
            let last = (load.paddr + load.filesz).min(end);
            if first < last {
                let part = &mut bytes[(first - address) as usize..(last - address) as usize];
                self.file.read_exact_at(part, load.offset + first - load.paddr).expect("memory");
            }
        }
        covered.min(end - address)
    }

    /// The frames that a PT_LOAD covers at least in part, as a bitmap of `bytes` bytes.
    pub fn frames(&self, page_size: u64, bytes: usize) -> Vec<u8> {
        let mut bitmap = vec![0; bytes];
        for load in self.loads.iter().filter(|load| load.memsz > 0) {
            for pfn in load.paddr / page_size..(load.paddr + load.memsz).div_ceil(page_size) {
                bitmap[(pfn >> 3) as usize] |= 1 << (pfn & 7);
            }
        }
        bitmap
    }
}

/// One note, with the place of its bytes in the notes it was found in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub name: String,
    pub kind: u64,
    pub desc: Vec<u8>,
}

/// Splits notes: three 32-bit words, name and descriptor, each padded to four bytes.
pub fn notes(bytes: &[u8], order: Order) -> Vec<Note> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + 12 <= bytes.len() {
        let namesz = order.u32(bytes, at) as usize;
        let descsz = order.u32(bytes, at + 4) as usize;
        if namesz == 0 && descsz == 0 {
            break;
        }
        let desc = at + 12 + namesz.next_multiple_of(4);
        found.push(Note {
            name: String::from_utf8_lossy(&bytes[at + 12..at + 12 + namesz]).trim_end_matches('\0').into(),
            kind: order.u32(bytes, at + 8),
            desc: bytes[desc..desc + descsz].to_vec(),
        });
        at = desc + descsz.next_multiple_of(4);
    }
    found
}
