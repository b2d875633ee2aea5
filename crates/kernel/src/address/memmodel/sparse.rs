//! SPARSEMEM, SPARSEMEM_EXTREME and SPARSEMEM_VMEMMAP (`mm/sparse.c`).
//!
//! Memory is cut into sections of equal size. `struct mem_section.section_mem_map` holds flags in its low bits, and above
//! them the address of the section's array of `struct page` minus the section's first frame number times the size of
//! one. With VMEMMAP that is the start of one virtual array, which the page tables take apart again.

use super::{PageRun, missing, page_struct};
use crate::{Error, Kernel, KernelMemory};
use vmcore::{Arch, PageSize, Pfn, Range, VirtAddr, VmcoreInfo};

/// `SECTION_MARKED_PRESENT` and `SECTION_HAS_MEM_MAP`.
const VALID: u64 = 0b11;
/// Sections looked at to distinguish the table from a pointer to it.
const SAMPLE: usize = 64;
/// The bits of a section's size: none is smaller than 1 MiB.
const SECTION_BITS: std::ops::RangeInclusive<u64> = 20..=40;

/// The table of sections.
#[derive(Debug)]
pub(crate) struct Sparse {
    table: VirtAddr,
    /// Sections in one root, for EXTREME; otherwise the table holds the sections themselves.
    per_root: Option<u64>,
    entry: u64,
    mem_map: u64,
    /// Base-two logarithm of a section's frames.
    frames_shift: u32,
    sections: u64,
    page_struct: u64,
    word: u64,
}

/// A root's number and its address, which may not be in the dump.
type Root = (u64, Option<u64>);

/// What the table of sections has under a number.
#[derive(PartialEq, Eq)]
enum Entry {
    /// A section with an array of `struct page`s: its decoded `section_mem_map`.
    MemMap(u64),
    /// No section, or one without an array.
    NotValid,
    /// Nobody knows: the dump lacks the entry, or the way to it.
    NotInDump,
}

/// The values of `SECTION_SIZE_BITS` and `MAX_PHYSMEM_BITS` that an architecture's kernels had before VMCOREINFO told them
/// (5.13 and 5.9): `arch/*/include/asm/sparsemem.h` and, for ppc64, `book3s/64/mmu.h`. Which of them hold is not guessed:
/// LENGTH(mem_section) fits one pair only.
fn before_the_note_told(arch: Arch, page: PageSize) -> (&'static [u32], &'static [u32]) {
    match arch {
        // 44 from the start, 46 since 3.7 (with 47 for a while in 4.15), 51 since 4.20; 52 is not reached.
        Arch::Ppc64 => (&[24], &[44, 46, 47, 51]),
        // 40 until 2.6.30, 44 in 2.6.31, 46 since, 52 with five levels.
        Arch::X86_64 => (&[27], &[40, 44, 46, 52]),
        // Sections became smaller in 5.12. 40 until 3.10, 52 with 64 KiB pages since 4.16.
        Arch::Aarch64 if page == PageSize::K64 => (&[30, 29], &[40, 48, 52]),
        Arch::Aarch64 => (&[30, 27], &[40, 48, 52]),
        // 42 until 3.2, then 46, which 4.x made a number of the configuration.
        Arch::S390x => (&[28], &[42, 46, 47, 48, 49, 50, 51, 52, 53]),
        Arch::Riscv64 => (&[27], &[56]),
        Arch::LoongArch64 => (&[29], &[48]),
        _ => (&[], &[]),
    }
}

impl Sparse {
    pub(crate) fn open(kernel: &Kernel<'_>) -> Result<Self, Error> {
        let info = kernel.info();
        let symbol = info.symbol("mem_section").ok_or_else(|| missing("SYMBOL(mem_section)"))?;
        let entry = info.size("mem_section").ok_or_else(|| missing("SIZE(mem_section)"))?;
        let mem_map = info
            .offset("mem_section.section_mem_map")
            .ok_or_else(|| missing("OFFSET(mem_section.section_mem_map)"))?;
        let implausible = |what: &str, found: u64, expected: &str| Error::Implausible {
            what: what.to_owned(),
            addr: symbol,
            found: found.to_string(),
            expected: expected.to_owned(),
        };
        let page = kernel.physical().page_size();
        if !(8..=page.bytes()).contains(&entry) {
            return Err(implausible("SIZE(mem_section)", entry, "8 to the page size"));
        }
        let per_root = page.bytes() / entry;
        let length = info.length("mem_section");
        let pairs = bits(info, kernel.machine().arch, page)?;
        if let Some((section_bits, _)) = pairs.iter().find(|(section, _)| !SECTION_BITS.contains(section)) {
            return Err(implausible("NUMBER(SECTION_SIZE_BITS)", *section_bits, "20 to 40"));
        }
        let possible: Vec<(u32, u64)> = tables(&pairs).collect();
        // Roots are used unless the length says that every section is in the table. An unknown length means
        // roots: kernels that leave it out (4.15) allocate them at run time.
        let extreme = |n: u64| length.is_none_or(|l| l == n.div_ceil(per_root));
        let (section_bits, sections, per_root) =
            if let Some(&(bits, n)) = possible.iter().find(|p| extreme(p.1)) {
                (bits, n, Some(per_root))
            } else if let Some(&(bits, n)) = possible.iter().find(|p| length == Some(p.1)) {
                (bits, n, None)
            } else {
                return Err(implausible(
                    "LENGTH(mem_section)",
                    length.unwrap_or_default(),
                    "the number of sections or of their roots",
                ));
            };
        let sparse = Self {
            table: symbol,
            per_root,
            entry,
            mem_map,
            frames_shift: section_bits - page.shift(),
            sections,
            page_struct: page_struct(kernel)?,
            word: kernel.machine().word.bytes() as u64,
        };
        sparse.settle(kernel)
    }

    /// Finds out whether the symbol is the table or, as in VMCOREINFO of 4.15, a variable that points to it.
    fn settle(self, kernel: &Kernel<'_>) -> Result<Self, Error> {
        let symbol = self.table;
        let direct = self.valid_sections(kernel)?;
        let Ok(pointer) = kernel.read_word(symbol) else {
            return self.accept(symbol, direct);
        };
        let through = Self { table: VirtAddr(pointer), ..self };
        let indirect = through.valid_sections(kernel)?;
        if indirect.0 > direct.0 {
            through.accept(symbol, indirect)
        } else {
            Self { table: symbol, ..through }.accept(symbol, direct)
        }
    }

    fn accept(self, symbol: VirtAddr, (valid, why): (usize, Option<Error>)) -> Result<Self, Error> {
        if valid > 0 {
            return Ok(self);
        }
        Err(Error::Implausible {
            what: "mem_section".to_owned(),
            addr: symbol,
            found: why.map_or_else(
                || "a table without a valid section where memory is".to_owned(),
                |error| format!("a table whose sections cannot be reached ({error})"),
            ),
            expected: "sections that are present and have a mem_map".to_owned(),
        })
    }

    /// Of a sample of the sections with memory, how many have a mem_map that is mapped, and why another is not.
    fn valid_sections(&self, kernel: &Kernel<'_>) -> Result<(usize, Option<Error>), Error> {
        let mut valid = 0;
        let mut why = None;
        let mut root = None;
        let ranges = kernel.memory_map().frames();
        for frame in ranges.iter().flat_map(|r| [r.start, Pfn(r.end.0 - 1)]).take(SAMPLE) {
            if let Some(base) = self.mem_map_of(kernel, frame.0 >> self.frames_shift, &mut root)? {
                let at = base.wrapping_add(frame.0.wrapping_mul(self.page_struct));
                match kernel.map(VirtAddr(at)) {
                    Ok(_) => valid += 1,
                    Err(Error::Read(error)) => return Err(error.into()),
                    Err(error) => why = Some(error),
                }
            }
        }
        Ok((valid, why))
    }

    pub(crate) fn runs(
        &self,
        kernel: &Kernel<'_>,
        frames: Range<Pfn>,
        out: &mut Vec<PageRun>,
    ) -> Result<(), Error> {
        if frames.is_empty() {
            return Ok(());
        }
        let mut root = None;
        let last = (frames.end.0 - 1) >> self.frames_shift;
        for section in (frames.start.0 >> self.frames_shift)..=last.min(self.sections - 1) {
            let Some(base) = self.mem_map_of(kernel, section, &mut root)? else { continue };
            let first = section << self.frames_shift;
            let shared = Range::new(Pfn(first), Pfn(first + (1 << self.frames_shift))).intersect(&frames);
            let at = VirtAddr(base.wrapping_add(shared.start.0.wrapping_mul(self.page_struct)));
            out.push(PageRun { frames: shared, at });
        }
        Ok(())
    }

    /// Appends the sections among `frames` of which the dump lacks the table, so that it does not say whether they have
    /// `struct page`s.
    pub(crate) fn untold(
        &self,
        kernel: &Kernel<'_>,
        frames: Range<Pfn>,
        out: &mut Vec<Range<Pfn>>,
    ) -> Result<(), Error> {
        if frames.is_empty() {
            return Ok(());
        }
        let mut root = None;
        let last = (frames.end.0 - 1) >> self.frames_shift;
        for section in (frames.start.0 >> self.frames_shift)..=last.min(self.sections - 1) {
            if self.entry_of(kernel, section, &mut root)? == Entry::NotInDump {
                let first = section << self.frames_shift;
                let section = Range::new(Pfn(first), Pfn(first + (1 << self.frames_shift)));
                out.push(section.intersect(&frames));
            }
        }
        Ok(())
    }

    /// The decoded `section_mem_map` of a section; `None` when it is not valid or its entry is not in the dump.
    /// `known` keeps the root looked up last.
    fn mem_map_of(
        &self,
        kernel: &Kernel<'_>,
        section: u64,
        known: &mut Option<Root>,
    ) -> Result<Option<u64>, Error> {
        Ok(match self.entry_of(kernel, section, known)? {
            Entry::MemMap(base) => Some(base),
            Entry::NotValid | Entry::NotInDump => None,
        })
    }

    /// What the table has under a section's number. `known` keeps the root looked up last.
    fn entry_of(&self, kernel: &Kernel<'_>, section: u64, known: &mut Option<Root>) -> Result<Entry, Error> {
        let word = |at: u64| match kernel.read_word(VirtAddr(at)) {
            Ok(word) => Ok(Some(word)),
            Err(Error::Read(error)) => Err(Error::Read(error)),
            Err(_) => Ok(None),
        };
        if section >= self.sections {
            return Ok(Entry::NotValid);
        }
        let (base, index) = match self.per_root {
            None => (Some(self.table.0), section),
            Some(per_root) => {
                let number = section / per_root;
                let root = match known {
                    Some((n, root)) if *n == number => *root,
                    _ => word(self.table.0.wrapping_add(number.wrapping_mul(self.word)))?,
                };
                *known = Some((number, root));
                (root, section % per_root)
            }
        };
        let Some(base) = base else { return Ok(Entry::NotInDump) };
        if base == 0 {
            return Ok(Entry::NotValid);
        }
        let map = word(base.wrapping_add(index.wrapping_mul(self.entry)).wrapping_add(self.mem_map))?;
        Ok(match map {
            None => Entry::NotInDump,
            Some(map) if map & VALID == VALID => Entry::MemMap(map & !self.flags()),
            Some(_) => Entry::NotValid,
        })
    }

    /// The low bits that are flags. Their number grew from 2 to 6; the kernel promises that they fit below the first
    /// frame number of a section (`BUILD_BUG_ON(SECTION_MAP_LAST_BIT > PFN_SECTION_SHIFT)`), and arrays start at pages.
    fn flags(&self) -> u64 {
        (1 << self.frames_shift.min(12)) - 1
    }
}

/// Whether the kernel's table of sections can have the length that VMCOREINFO gives if the kernel's pages have the size
/// `page`: a root is a page, so their number tells. `true` also where nothing is said of the table.
pub(crate) fn fits(info: &VmcoreInfo, arch: Arch, page: PageSize) -> bool {
    let (Some(entry), Some(length)) = (info.size("mem_section"), info.length("mem_section")) else {
        return true;
    };
    let Ok(pairs) = bits(info, arch, page) else { return true };
    if !(8..=page.bytes()).contains(&entry)
        || !pairs.iter().all(|(section, _)| SECTION_BITS.contains(section))
    {
        return true;
    }
    let per_root = page.bytes() / entry;
    tables(&pairs).any(|(_, sections)| length == sections || length == sections.div_ceil(per_root))
}

/// The bits of a section's size and the number of sections of each pair that can be.
fn tables(pairs: &[(u64, u64)]) -> impl Iterator<Item = (u32, u64)> {
    let possible = pairs.iter().filter(|(section, physmem)| (*section..=60).contains(physmem));
    possible.map(|&(section, physmem)| (section as u32, 1 << (physmem - section)))
}

/// The bits of a section's size and of physical addresses: those that VMCOREINFO gives, or all pairs that are possible.
fn bits(info: &VmcoreInfo, arch: Arch, page: PageSize) -> Result<Vec<(u64, u64)>, Error> {
    let (sections, physmem) = before_the_note_told(arch, page);
    // Only the length of the table distinguishes the pairs.
    let length = info.length("mem_section").is_some();
    let told = |key: &str, before: &[u32]| match info.number(key) {
        Some(bits) => Ok(vec![bits as u64]),
        None if before.len() == 1 || length && !before.is_empty() => {
            Ok(before.iter().map(|&bits| bits.into()).collect())
        }
        None => Err(missing(&format!("NUMBER({key})"))),
    };
    let sections = told("SECTION_SIZE_BITS", sections)?;
    let physmem = told("MAX_PHYSMEM_BITS", physmem)?;
    Ok(sections.iter().flat_map(|&s| physmem.iter().map(move |&p| (s, p))).collect())
}
