//! All symbols of the kernel and its modules, to be looked up by address and by name.
//!
//! The kernel's own table is compressed and has to be read through for each question, which is right for one and too slow
//! for thousands. This is a copy of it that takes some 15 MB for the largest kernels of distributions.

use crate::kallsyms::Kallsyms;
use crate::symbols::{Symbols, kernel_offset};
use crate::vmlinux::Vmlinux;
use crate::{Error, KernelMemory};
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::ops::Range;
use vmcore::VirtAddr;

/// The most symbols, and the most bytes of their names, that are kept. The largest kernels have a quarter of it.
const MOST: usize = 1 << 20;
const MOST_TEXT: usize = 32 << 20;
/// The most of them for one module: the kernel's largest have some ten thousand.
const MOST_OF_MODULE: usize = 1 << 16;

/// What mark the kernel's code: it is from the first of each pair to the second.
const CODE: [(&str, &str); 3] =
    [("_stext", "_etext"), ("_sinittext", "_einittext"), ("_stext_amode31", "_etext_amode31")];

/// No symbol, in the table of names.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Entry {
    addr: u64,
    /// Where the name starts among all names.
    name: u32,
    len: u16,
    global: bool,
}

/// What is known of an address of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// The symbol's name.
    pub name: &'a str,
    /// How far behind the symbol the address is.
    pub offset: u64,
    /// Bytes to the next symbol, as the kernel reckons sizes; `None` where none follows.
    pub size: Option<u64>,
    /// The module's name, `None` for the kernel itself.
    pub module: Option<&'a str>,
}

/// A part of a module's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The first address.
    pub start: VirtAddr,
    /// Bytes.
    pub size: u64,
    /// Code is there.
    pub code: bool,
}

impl Part {
    fn contains(&self, addr: u64) -> bool {
        addr.wrapping_sub(self.start.0) < self.size
    }
}

struct Module {
    name: String,
    entries: Vec<Entry>,
}

/// The symbols of a kernel and its modules.
#[derive(Default)]
pub struct SymbolMap {
    names: String,
    /// By address; where several share one, the one that the kernel prints comes first.
    entries: Vec<Entry>,
    /// An open hash table of places in `entries`.
    by_name: Vec<u32>,
    hasher: RandomState,
    code: Vec<Range<u64>>,
    /// Addresses that can be the kernel's own. What lies outside, as offsets into areas per CPU, is found by name alone.
    image: Range<u64>,
    modules: Vec<Module>,
    /// Their parts by where they start, each with the number of its module. Those of sound kernels do not overlap.
    parts: BTreeMap<u64, (Part, usize)>,
}

impl SymbolMap {
    /// Copies the kernel's own table.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is larger than any kernel's.
    pub fn of_dump(memory: &dyn KernelMemory) -> Result<Self, Error> {
        let table = Kallsyms::open(memory)?;
        let mut map = Self::default();
        for symbol in table.iter() {
            let symbol = symbol?;
            if map.entries.len() >= MOST || map.names.len() >= MOST_TEXT {
                return Err(Error::Implausible {
                    what: "the kernel's symbol table".into(),
                    addr: symbol.addr,
                    found: format!("{} symbols, {} bytes of names", map.entries.len(), map.names.len()),
                    expected: format!("at most {MOST} symbols and {MOST_TEXT} bytes"),
                });
            }
            let entry = entry(&mut map.names, &symbol.name, symbol.addr.0, symbol.kind.is_ascii_uppercase());
            map.entries.extend(entry);
        }
        // The table is in this order but for kernels whose per-CPU symbols stand apart. Where names start keeps the order of
        // those that share an address, without the memory that a stable sort takes.
        map.entries.sort_unstable_by_key(|entry| (entry.addr, entry.name));
        map.index();
        Ok(map)
    }

    /// Takes the symbols of a vmlinux, moved to where the kernel ran.
    ///
    /// Where several share an address the order is that of the kernel's own table: weak ones and those with more
    /// underscores in front come later (kernel: `scripts/kallsyms.c`).
    pub fn of_vmlinux(memory: &dyn KernelMemory, vmlinux: &Vmlinux) -> Self {
        let moved = kernel_offset(memory.info());
        let image = ["_text", "_stext"].iter().find_map(|name| vmlinux.symbol(name)).map_or(0, |s| s.addr);
        let mut map = Self::default();
        let mut order = Vec::new();
        for symbol in vmlinux.symbols().filter(|symbol| is_kept(symbol.name)).take(MOST) {
            if map.names.len() >= MOST_TEXT {
                break;
            }
            let addr = match symbol.linked.addr >= image {
                true => symbol.linked.addr.wrapping_add(moved),
                false => symbol.linked.addr,
            };
            let underscores = symbol.name.bytes().take_while(|&byte| byte == b'_').count();
            let made = entry(&mut map.names, symbol.name, addr, symbol.global);
            order.extend(made.map(|entry| ((addr, symbol.weak, underscores), entry)));
        }
        order.sort_by_key(|(key, _)| *key);
        map.entries = order.into_iter().map(|(_, entry)| entry).collect();
        map.index();
        map
    }

    /// Adds a module's symbols: names and addresses in the order of its own table. Those outside of its parts are left out.
    pub fn add_module<'s>(
        &mut self,
        name: &str,
        parts: Vec<Part>,
        symbols: impl Iterator<Item = (&'s str, u64)>,
    ) {
        let mut entries = Vec::new();
        for (symbol, addr) in symbols.take(MOST_OF_MODULE) {
            if self.names.len() >= MOST_TEXT {
                break;
            }
            if is_kept(symbol) && parts.iter().any(|part| part.contains(addr)) {
                entries.extend(entry(&mut self.names, symbol, addr, true));
            }
        }
        entries.sort_by_key(|entry| entry.addr);
        let module = self.modules.len();
        self.parts.extend(parts.into_iter().map(|part| (part.start.0, (part, module))));
        self.modules.push(Module { name: name.to_owned(), entries });
    }

    /// The number of the kernel's own symbols.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Reports whether nothing is known of the kernel's symbols.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The kernel's symbol called `name`: a global one before others, then the one at the lowest address.
    pub fn find(&self, name: &str) -> Option<VirtAddr> {
        let slot = self.slot(name)?;
        let place = *self.by_name.get(slot)?;
        self.entries.get(place as usize).map(|entry| VirtAddr(entry.addr))
    }

    /// The symbol in which `addr` lies, as the kernel prints it. `None` outside of the kernel and its modules.
    pub fn at(&self, addr: VirtAddr) -> Option<Found<'_>> {
        let addr = addr.0;
        if let Some((module, part)) = self.module_part(addr) {
            let (entry, next) = around(&module.entries, addr)?;
            if !part.contains(entry.addr) {
                return None;
            }
            let end = part.start.0.wrapping_add(part.size);
            let next = next.filter(|&next| part.contains(next)).unwrap_or(end);
            return Some(Found {
                name: self.name(&entry),
                offset: addr - entry.addr,
                size: Some(next.wrapping_sub(entry.addr)),
                module: Some(&module.name),
            });
        }
        if !self.image.contains(&addr) {
            return None;
        }
        let (entry, next) = around(&self.entries, addr)?;
        let size = next.map(|next| next - entry.addr);
        Some(Found { name: self.name(&entry), offset: addr.checked_sub(entry.addr)?, size, module: None })
    }

    /// Reports whether code of the kernel or of a module is at `addr`, also such as is run at boot alone.
    pub fn is_text(&self, addr: VirtAddr) -> bool {
        self.code.iter().any(|range| range.contains(&addr.0))
            || self.module_part(addr.0).is_some_and(|(_, part)| part.code)
    }

    /// The module in whose memory `addr` is.
    pub fn module_at(&self, addr: VirtAddr) -> Option<&str> {
        self.module_part(addr.0).map(|(module, _)| module.name.as_str())
    }

    fn module_part(&self, addr: u64) -> Option<(&Module, &Part)> {
        let (_, (part, module)) = self.parts.range(..=addr).next_back()?;
        Some((self.modules.get(*module)?, part)).filter(|_| part.contains(addr))
    }

    fn name(&self, entry: &Entry) -> &str {
        let start = entry.name as usize;
        self.names.get(start..start + usize::from(entry.len)).unwrap_or_default()
    }

    /// Where `name` is in the hash table, or would be.
    fn slot(&self, name: &str) -> Option<usize> {
        let mask = self.by_name.len().checked_sub(1)?;
        let mut slot = self.hasher.hash_one(name) as usize & mask;
        for _ in 0..=mask {
            let place = *self.by_name.get(slot)?;
            match self.entries.get(place as usize) {
                Some(entry) if place != NONE && self.name(entry) != name => slot = (slot + 1) & mask,
                _ => return Some(slot),
            }
        }
        None
    }

    /// Makes what lookups go by.
    fn index(&mut self) {
        self.by_name = vec![NONE; (2 * self.entries.len()).next_power_of_two()];
        for wanted in [true, false] {
            for (place, entry) in self.entries.iter().enumerate().filter(|(_, e)| e.global == wanted) {
                if let Some(slot) = self.slot(self.name(entry))
                    && self.by_name[slot] == NONE
                {
                    self.by_name[slot] = place as u32;
                }
            }
        }
        let range = |(start, end): (&str, &str)| Some(self.find(start)?.0..self.find(end)?.0);
        self.code = CODE.into_iter().filter_map(range).collect();
        let start = ["_text", "_stext"].into_iter().filter_map(|name| self.find(name)).min();
        self.image = start.map_or(0, |at| at.0)..self.find("_end").map_or(u64::MAX, |at| at.0);
    }
}

impl Symbols for SymbolMap {
    fn symbol(&self, name: &str) -> Result<Option<VirtAddr>, Error> {
        Ok(self.find(name))
    }
}

/// Adds a name; `None` for one that is too long.
fn entry(names: &mut String, name: &str, addr: u64, global: bool) -> Option<Entry> {
    let (start, len) = (u32::try_from(names.len()).ok()?, u16::try_from(name.len()).ok()?);
    names.push_str(name);
    Some(Entry { addr, name: start, len, global })
}

/// The first of those that start last before or at `addr`, and where the next ones start.
fn around(entries: &[Entry], addr: u64) -> Option<(Entry, Option<u64>)> {
    let behind = entries.partition_point(|entry| entry.addr <= addr);
    let last = entries.get(behind.checked_sub(1)?)?;
    let first = entries.partition_point(|entry| entry.addr < last.addr);
    Some((*entries.get(first)?, entries.get(behind).map(|next| next.addr)))
}

/// Whether the kernel has the symbol in its table: it leaves out what assemblers and compilers mark places with.
fn is_kept(name: &str) -> bool {
    !name.is_empty() && !["$", ".L", "L0", "__crc_"].iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(symbols: &[(&str, u64, bool)]) -> SymbolMap {
        let mut map = SymbolMap::default();
        for &(name, addr, global) in symbols {
            let made = entry(&mut map.names, name, addr, global);
            map.entries.extend(made);
        }
        map.index();
        map
    }

    fn small() -> SymbolMap {
        map(&[
            ("per_cpu", 0x10, false),
            ("_stext", 0x1000, true),
            ("twice", 0x1000, false),
            ("fault", 0x1100, false),
            ("twice", 0x1200, true),
            ("_etext", 0x1300, true),
            ("_end", 0x2000, true),
        ])
    }

    #[test]
    fn an_address_is_named_by_the_first_symbol_before_it_with_the_way_to_the_next() {
        let map = small();
        let found = map.at(VirtAddr(0x1104)).unwrap();
        assert_eq!((found.name, found.offset, found.size, found.module), ("fault", 4, Some(0x100), None));
        assert_eq!(map.at(VirtAddr(0x10ff)).unwrap().name, "_stext");
        assert_eq!(map.at(VirtAddr(0x14)), None, "an offset into an area per CPU");
        assert_eq!(map.at(VirtAddr(0x2000)), None);
        assert!(map.is_text(VirtAddr(0x12ff)) && !map.is_text(VirtAddr(0x1300)));
    }

    #[test]
    fn of_several_symbols_with_a_name_the_global_one_is_found() {
        assert_eq!(small().find("twice"), Some(VirtAddr(0x1200)));
        assert_eq!(small().find("per_cpu"), Some(VirtAddr(0x10)));
        assert_eq!(small().find("none"), None);
        assert_eq!(SymbolMap::default().find("none"), None);
    }

    #[test]
    fn a_modules_symbols_end_with_the_part_that_they_are_in() {
        let mut map = small();
        let part = |start, size, code| Part { start: VirtAddr(start), size, code };
        let symbols = [("init_one", 0x9040), ("", 0x9050), ("$x", 0x9060), ("data", 0xa000), ("far", 0x5)];
        map.add_module(
            "mod",
            vec![part(0x9000, 0x100, true), part(0xa000, 0x10, false)],
            symbols.into_iter(),
        );
        let found = map.at(VirtAddr(0x9070)).unwrap();
        assert_eq!(
            (found.name, found.offset, found.size, found.module),
            ("init_one", 0x30, Some(0xc0), Some("mod"))
        );
        assert_eq!(map.at(VirtAddr(0x9000)), None, "before its first symbol");
        assert!(map.is_text(VirtAddr(0x9000)) && !map.is_text(VirtAddr(0xa000)));
        assert_eq!(map.module_at(VirtAddr(0xa00f)), Some("mod"));
    }
}
