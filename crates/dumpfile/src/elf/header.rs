//! The ELF header and the program header table.

use crate::Error;
use crate::input::Input;
use goblin::elf::{Elf, header as eh};
use object::elf::{ProgramHeader32, ProgramHeader64};
use object::{Endianness, pod};
use vmcore::{ByteOrder, Machine, WordSize};

/// The most program headers that are accepted. Each costs up to 100 bytes while a file is being opened.
pub(super) const MAX_HEADERS: u64 = 1 << 19;

/// `e_phnum` when the number is in section header 0 (`PN_XNUM`).
pub(super) const PN_XNUM: u16 = 0xffff;

/// Program headers are read this many at a time.
const BATCH: u64 = 4096;

/// What the ELF header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// Whether the file has 64-bit headers; that says nothing of the machine's words.
    pub(super) is_64: bool,
    pub(super) machine: Machine,
    pub(super) flags: u32,
    phoff: u64,
    phnum: u64,
}

/// One program header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// PT_LOAD, PT_NOTE or something else.
    pub(super) kind: u32,
    pub(super) offset: u64,
    /// This and `paddr` are [`Segment::NO_ADDRESS`] where there is none, in either class.
    pub(super) vaddr: u64,
    pub(super) paddr: u64,
    pub(super) filesz: u64,
    pub(super) memsz: u64,
    pub(super) align: u64,
}

impl Segment {
    pub(super) const LOAD: u32 = 1;
    pub(super) const NOTE: u32 = 4;
    pub(super) const NO_ADDRESS: u64 = u64::MAX;

    fn decode<P: object::read::elf::ProgramHeader>(p: &P, endian: P::Endian) -> Self {
        Self {
            kind: p.p_type(endian).0,
            offset: p.p_offset(endian).into(),
            vaddr: p.p_vaddr(endian).into(),
            paddr: p.p_paddr(endian).into(),
            filesz: p.p_filesz(endian).into(),
            memsz: p.p_memsz(endian).into(),
            align: p.p_align(endian).into(),
        }
    }
}

impl Header {
    /// Reads and checks the ELF header, and the number of program headers where it is kept apart.
    ///
    /// # Errors
    ///
    /// When it is cut off, contradicts itself or the file's length, or is not of a core of a machine known here.
    pub(super) fn read(input: &Input) -> Result<Self, Error> {
        let mut bytes = [0; eh::header64::SIZEOF_EHDR];
        let have = input.len().min(bytes.len() as u64) as usize;
        input.read_at(0, &mut bytes[..have])?;
        let is_64 = match bytes[eh::EI_CLASS] {
            eh::ELFCLASS32 => false,
            eh::ELFCLASS64 => true,
            other => {
                return Err(bad(input, "e_ident[EI_CLASS]", 4, u64::from(other), "1 (32-bit) or 2 (64-bit)"));
            }
        };
        if !matches!(bytes[eh::EI_DATA], eh::ELFDATA2LSB | eh::ELFDATA2MSB) {
            let found = bytes[eh::EI_DATA].into();
            return Err(bad(input, "e_ident[EI_DATA]", 5, found, "1 (little endian) or 2 (big endian)"));
        }
        let size = if is_64 { eh::header64::SIZEOF_EHDR } else { eh::header32::SIZEOF_EHDR };
        if have < size {
            return Err(bad(
                input,
                "end of file",
                input.len(),
                input.len(),
                &format!("at least {size}, an ELF header"),
            ));
        }
        let elf = Elf::parse_header(&bytes[..size])
            .map_err(|e| input.damaged("ELF header", 0, e.to_string(), "a valid header"))?;
        let order =
            if elf.endianness().is_ok_and(|e| e.is_little()) { ByteOrder::Little } else { ByteOrder::Big };
        let unsupported = |what| Error::Unsupported { path: input.path().to_owned(), what };
        if elf.e_type != eh::ET_CORE {
            return Err(unsupported(format!("an ELF {}, not a core dump", type_name(elf.e_type))));
        }
        let class = if is_64 { WordSize::Bits64 } else { WordSize::Bits32 };
        let machine = Machine::from_elf(elf.e_machine, class, order).ok_or_else(|| {
            unsupported(format!(
                "a core dump of a machine that runs no Linux, as far as hadump knows: e_machine {}",
                elf.e_machine
            ))
        })?;
        let entry = entry_size(is_64);
        if u64::from(elf.e_phentsize) != entry && elf.e_phnum != 0 {
            let at = if is_64 { 54 } else { 42 };
            return Err(bad(input, "e_phentsize", at, elf.e_phentsize.into(), &entry.to_string()));
        }
        let phnum = if elf.e_phnum == PN_XNUM {
            extended_count(input, &elf, is_64, order)?
        } else {
            elf.e_phnum.into()
        };
        let room = input.len().saturating_sub(elf.e_phoff) / entry;
        if phnum > room {
            return Err(input.cut_off(elf.e_phoff.saturating_add(phnum * entry), "its headers"));
        }
        if phnum > MAX_HEADERS {
            let at = if is_64 { 56 } else { 44 };
            return Err(bad(
                input,
                "the number of program headers",
                at,
                phnum,
                &format!("at most {MAX_HEADERS}"),
            ));
        }
        Ok(Self { is_64, machine, flags: elf.e_flags, phoff: elf.e_phoff, phnum })
    }

    /// Reports whether the file has sections of Xen, as `xl dump-core` writes them in place of program headers.
    pub(super) fn has_xen_sections(&self, input: &Input) -> bool {
        let mut bytes = [0; eh::header64::SIZEOF_EHDR];
        if !self.is_64 || input.read_at(0, &mut bytes).is_err() {
            return false;
        }
        let order = self.machine.order;
        let (shoff, index) = (order.u64(&bytes[40..]), u64::from(order.u16(&bytes[62..])));
        let mut section = [0; 64];
        let at = shoff.checked_add(index * 64);
        if at.is_none_or(|at| input.read_at(at, &mut section).is_err()) {
            return false;
        }
        let (offset, size) = (order.u64(&section[24..]), order.u64(&section[32..]));
        let mut names = vec![0; size.min(4096) as usize];
        input.read_at(offset, &mut names).is_ok() && names.split(|&b| b == 0).any(|name| name == b".note.Xen")
    }

    /// Hands every program header to `each`, with the offset it is at.
    ///
    /// # Errors
    ///
    /// When the table cannot be read.
    pub(super) fn segments(
        &self,
        input: &Input,
        mut each: impl FnMut(u64, Segment) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let entry = entry_size(self.is_64);
        let endian = match self.machine.order {
            ByteOrder::Little => Endianness::Little,
            ByteOrder::Big => Endianness::Big,
        };
        let mut bytes = vec![0; (self.phnum.min(BATCH) * entry) as usize];
        let mut done = 0;
        while done < self.phnum {
            let count = (self.phnum - done).min(BATCH);
            let bytes = &mut bytes[..(count * entry) as usize];
            let at = self.phoff + done * entry;
            input.read_at(at, bytes)?;
            for (i, raw) in bytes.chunks_exact(entry as usize).enumerate() {
                let segment = if self.is_64 {
                    let (p, _) =
                        pod::from_bytes::<ProgramHeader64<Endianness>>(raw).expect("as long as an entry");
                    Segment::decode(p, endian)
                } else {
                    let (p, _) =
                        pod::from_bytes::<ProgramHeader32<Endianness>>(raw).expect("as long as an entry");
                    let mut segment = Segment::decode(p, endian);
                    for address in [&mut segment.paddr, &mut segment.vaddr] {
                        if *address == u64::from(u32::MAX) {
                            *address = Segment::NO_ADDRESS;
                        }
                    }
                    segment
                };
                each(at + i as u64 * entry, segment)?;
            }
            done += count;
        }
        Ok(())
    }
}

// Entries are decoded wherever they lie in a buffer.
const _: () = assert!(align_of::<ProgramHeader64<Endianness>>() == 1);
const _: () = assert!(align_of::<ProgramHeader32<Endianness>>() == 1);

/// Bytes of a program header.
pub(super) fn entry_size(is_64: bool) -> u64 {
    if is_64 {
        size_of::<ProgramHeader64<Endianness>>() as u64
    } else {
        size_of::<ProgramHeader32<Endianness>>() as u64
    }
}

/// The number of program headers from `sh_info` of section header 0, where it goes when `e_phnum` is PN_XNUM.
fn extended_count(input: &Input, elf: &eh::Header, is_64: bool, order: ByteOrder) -> Result<u64, Error> {
    let (size, info) = if is_64 { (64, 44) } else { (40, 28) };
    if elf.e_shoff == 0 || elf.e_shoff.checked_add(size).is_none_or(|end| end > input.len()) {
        let at = if is_64 { 40 } else { 32 };
        return Err(bad(
            input,
            "e_shoff",
            at,
            elf.e_shoff,
            "the place of a section header, as e_phnum is PN_XNUM",
        ));
    }
    let mut bytes = [0; 4];
    input.read_at(elf.e_shoff + info, &mut bytes)?;
    Ok(order.u32(&bytes).into())
}

fn bad(input: &Input, field: &str, offset: u64, found: u64, expected: &str) -> Error {
    input.damaged(field, offset, format!("{found:#x}"), expected).into()
}

fn type_name(e_type: u16) -> String {
    match e_type {
        eh::ET_REL => "object file".into(),
        eh::ET_EXEC => "program (a vmlinux?)".into(),
        eh::ET_DYN => "shared object or program".into(),
        other => format!("file of type {other}"),
    }
}
