//! What all parts of a report look at: the dump, its kernel, its symbols and types, and reading by their names.
//!
//! Nothing here fails: what cannot be read is `None`, and who asked says what its part of the report lacks.

use kernel::KernelMemory;
use kernel::symbol_map::SymbolMap;
use kernel::types::{Type, TypeId, Types};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use vmcore::{ByteOrder, Dump, Machine, Utsname, VirtAddr};

/// The most CPUs believed: `CONFIG_NR_CPUS` ends there.
const MAX_CPUS: u32 = 8192;

/// Where a member is in its struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes from the struct's start.
    pub offset: u64,
    /// Its bytes, 0 where they are not known.
    pub size: u64,
    /// Its type, where types are known.
    pub kind: Option<TypeId>,
    /// Of a bit field: its first bit, counted from `offset` in the order of the machine's bits, and its bits.
    pub bits: Option<(u64, u64)>,
}

/// A dump that is being examined.
pub struct Subject<'a> {
    /// The dump.
    pub dump: &'a Dump,
    /// The memory of its kernel; `None` where no address can be translated.
    pub kernel: Option<&'a dyn KernelMemory>,
    /// The symbols of the kernel and its modules; empty where there are none.
    pub symbols: SymbolMap,
    /// The kernel's types.
    pub types: Option<&'a dyn Types>,
    /// The kernel's name, where it was read.
    pub utsname: Option<&'a Utsname>,
    places: RefCell<HashMap<String, Option<Place>>>,
    sizes: RefCell<HashMap<String, Option<u64>>>,
    /// What is added to a variable's address for each CPU.
    per_cpu: Vec<u64>,
}

impl<'a> Subject<'a> {
    /// Prepares to examine what is known.
    pub fn new(
        dump: &'a Dump,
        kernel: Option<&'a dyn KernelMemory>,
        symbols: SymbolMap,
        types: Option<&'a dyn Types>,
    ) -> Self {
        let mut subject = Self {
            dump,
            kernel,
            symbols,
            types,
            utsname: None,
            places: RefCell::default(),
            sizes: RefCell::default(),
            per_cpu: Vec::new(),
        };
        subject.per_cpu = subject.per_cpu_offsets();
        subject
    }

    /// The machine that crashed.
    pub fn machine(&self) -> Machine {
        self.dump.machine
    }

    /// Bytes of an `unsigned long` or pointer.
    pub fn word(&self) -> u64 {
        self.dump.machine.word.bytes() as u64
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> u64 {
        self.dump.page_size().bytes()
    }

    /// The address of a variable or function. VMCOREINFO is asked first, which is there without a table.
    pub fn symbol(&self, name: &str) -> Option<u64> {
        // VMCOREINFO has the contents of these, not their addresses.
        let content = ["mem_section", "vmemmap", "node_online_map"].contains(&name);
        let said = self.kernel.and_then(|kernel| kernel.info().symbol(name)).filter(|_| !content);
        said.or_else(|| self.symbols.find(name)).map(|addr| addr.0)
    }

    /// Where the member `struct.member.member` is, also in structs inside and in ones without a name.
    pub fn place(&self, path: &str) -> Option<Place> {
        if let Some(known) = self.places.borrow().get(path) {
            return *known;
        }
        let found = self.types.and_then(|types| {
            let field = types.field(path).ok()??;
            let size = types.size(field.kind, self.word()).ok()?.unwrap_or(0);
            let bits = field.bits.map(|bits| (field.bit_offset % 8, bits));
            Some(Place { offset: field.bit_offset / 8, size, kind: Some(field.kind), bits })
        });
        let found = found.or_else(|| {
            let offset = self.kernel?.info().offset(path)?;
            Some(Place { offset, size: 0, kind: None, bits: None })
        });
        self.places.borrow_mut().insert(path.to_owned(), found);
        found
    }

    /// The offset in bytes of `struct.member`.
    pub fn offset(&self, path: &str) -> Option<u64> {
        self.place(path).map(|place| place.offset)
    }

    /// Bytes of a struct, union or typedef.
    pub fn size_of(&self, name: &str) -> Option<u64> {
        if let Some(known) = self.sizes.borrow().get(name) {
            return *known;
        }
        let found = self.types.and_then(|types| types.size_of(name, self.word()).ok()?);
        let found = found.or_else(|| self.kernel?.info().size(name));
        self.sizes.borrow_mut().insert(name.to_owned(), found);
        found
    }

    /// The value of an enumerator.
    pub fn enumerator(&self, name: &str) -> Option<i64> {
        let found = self.types.and_then(|types| types.enumerator(name).ok()?);
        found.or_else(|| self.kernel?.info().number(name))
    }

    /// The elements of the array that a member is, and the bytes of one.
    pub fn array(&self, path: &str) -> Option<(u64, u64)> {
        let types = self.types?;
        let Type::Array { element, count } = types.get(self.place(path)?.kind?).ok()? else { return None };
        Some((count?, types.size(element, self.word()).ok()??))
    }

    /// Fills `bytes` from `addr` on.
    pub fn read(&self, addr: u64, bytes: &mut [u8]) -> Option<()> {
        self.kernel?.read(VirtAddr(addr), bytes).ok()
    }

    /// The unsigned number of `size` bytes (1, 2, 4 or 8) at `addr`.
    pub fn unsigned(&self, addr: u64, size: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        let bytes = bytes.get_mut(..usize::try_from(size).ok()?)?;
        self.read(addr, bytes)?;
        let machine = self.machine();
        Some(match bytes.len() {
            1 => bytes[0].into(),
            2 => machine.u16(bytes).into(),
            4 => machine.u32(bytes).into(),
            8 => machine.u64(bytes),
            _ => return None,
        })
    }

    /// The signed number of `size` bytes at `addr`.
    pub fn signed(&self, addr: u64, size: u64) -> Option<i64> {
        let spare = 64u64.checked_sub(size.checked_mul(8)?).filter(|&spare| spare < 64)?;
        Some((self.unsigned(addr, size)? << spare) as i64 >> spare)
    }

    /// The pointer or `unsigned long` at `addr`.
    pub fn pointer(&self, addr: u64) -> Option<u64> {
        self.unsigned(addr, self.word())
    }

    /// The unsigned number that the member of a struct at `addr` is.
    pub fn number_in(&self, addr: u64, path: &str) -> Option<u64> {
        let place = self.place(path)?;
        self.unsigned(addr.wrapping_add(place.offset), place.size)
    }

    /// The value of a bit field of a struct at `addr`.
    pub fn bits_in(&self, addr: u64, path: &str) -> Option<u64> {
        let place = self.place(path)?;
        let (first, bits) = place.bits?;
        let bytes = first.checked_add(bits)?.div_ceil(8);
        if bits == 0 || bytes > 8 {
            return None;
        }
        let mut value = [0; 8];
        let value = &mut value[..bytes as usize];
        self.read(addr.wrapping_add(place.offset), value)?;
        // Bits are counted from the lowest of the first byte, or from its highest.
        let (value, shift) = match self.machine().order {
            ByteOrder::Little => (value.iter().rev().fold(0, |all, &byte| all << 8 | u64::from(byte)), first),
            ByteOrder::Big => {
                let all = value.iter().fold(0, |all, &byte| all << 8 | u64::from(byte));
                (all, 8 * bytes - first - bits)
            }
        };
        Some(value >> shift & (u64::MAX >> (64 - bits)))
    }

    /// The signed number that the member of a struct at `addr` is.
    pub fn signed_in(&self, addr: u64, path: &str) -> Option<i64> {
        let place = self.place(path)?;
        self.signed(addr.wrapping_add(place.offset), place.size)
    }

    /// The pointer or `unsigned long` that the member of a struct at `addr` is.
    pub fn pointer_in(&self, addr: u64, path: &str) -> Option<u64> {
        self.pointer(addr.wrapping_add(self.offset(path)?))
    }

    /// The text in an array of characters that the member of a struct at `addr` is.
    pub fn text_in(&self, addr: u64, path: &str) -> Option<String> {
        let place = self.place(path)?;
        let mut bytes = vec![0; usize::try_from(place.size.min(4096)).ok()?];
        self.read(addr.wrapping_add(place.offset), &mut bytes)?;
        Some(until_nul(&bytes))
    }

    /// The text at `addr` up to its NUL, at most `most` bytes of it.
    pub fn text(&self, addr: u64, most: usize) -> Option<String> {
        let mut bytes = Vec::new();
        while bytes.len() < most && !bytes.contains(&0) {
            let at = addr.wrapping_add(bytes.len() as u64);
            // No page border is crossed: the next page need not be in the dump.
            let piece = (64 - at % 64).min((most - bytes.len()) as u64) as usize;
            let start = bytes.len();
            bytes.resize(start + piece, 0);
            self.read(at, &mut bytes[start..])?;
        }
        Some(until_nul(&bytes))
    }

    /// The text that the pointer at `addr` leads to.
    pub fn text_at(&self, addr: u64, most: usize) -> Option<String> {
        self.text(self.pointer(addr).filter(|&at| at != 0)?, most)
    }

    /// The structs on a list: where each starts whose member `path` (`task_struct.tasks`) hangs on the `list_head` at
    /// `head`. It ends at the head, at what cannot be read, at a cycle, and after `most`; whether it ended at the head is
    /// the second value.
    pub fn list(&self, head: u64, path: &str, most: usize) -> (Vec<u64>, bool) {
        let Some(hook) = self.offset(path) else { return (Vec::new(), false) };
        let (nodes, whole) = self.list_nodes(head, most);
        (nodes.into_iter().map(|node| node.wrapping_sub(hook)).collect(), whole)
    }

    /// The nodes of a list, as [`Subject::list`].
    pub fn list_nodes(&self, head: u64, most: usize) -> (Vec<u64>, bool) {
        let mut nodes = Vec::new();
        let mut seen = HashSet::new();
        let mut node = head;
        loop {
            // `next` is the first member of struct list_head.
            let Some(next) = self.pointer(node) else { return (nodes, false) };
            if next == head {
                return (nodes, true);
            }
            if next == 0 || nodes.len() >= most || !seen.insert(next) {
                return (nodes, false);
            }
            nodes.push(next);
            node = next;
        }
    }

    /// The number of CPUs that the kernel can have.
    pub fn cpu_ids(&self) -> u32 {
        let count = self.symbol("nr_cpu_ids").and_then(|at| self.unsigned(at, 4));
        let count = count.and_then(|count| u32::try_from(count).ok());
        count.filter(|count| (1..=MAX_CPUS).contains(count)).unwrap_or(1)
    }

    /// `__per_cpu_offset`. A kernel for one CPU has none, and its variables are where they are.
    fn per_cpu_offsets(&self) -> Vec<u64> {
        let Some(table) = self.symbol("__per_cpu_offset") else { return vec![0] };
        let at = |cpu: u32| table.wrapping_add(self.word().wrapping_mul(cpu.into()));
        (0..self.cpu_ids()).map_while(|cpu| self.pointer(at(cpu))).collect()
    }

    /// The address on `cpu` of what the kernel has for each CPU at `addr` (a variable's symbol, or what `alloc_percpu`
    /// gave).
    pub fn per_cpu(&self, addr: u64, cpu: u32) -> Option<u64> {
        Some(addr.wrapping_add(*self.per_cpu.get(cpu as usize)?))
    }

    /// The address of a variable per CPU on `cpu`.
    pub fn per_cpu_symbol(&self, name: &str, cpu: u32) -> Option<u64> {
        self.per_cpu(self.symbol(name)?, cpu)
    }

    /// The CPUs in a mask, `__cpu_online_mask`, `__cpu_present_mask` or `__cpu_possible_mask`; `None` where it cannot be
    /// read. A kernel for one CPU has no masks.
    pub fn cpus(&self, mask: &str) -> Option<Vec<u32>> {
        let bits = 8 * self.word();
        if self.symbol("__per_cpu_offset").is_none() && !self.symbols.is_empty() {
            return Some(vec![0]);
        }
        let at = self.symbol(mask)?;
        let mut cpus = Vec::new();
        for first in (0..self.cpu_ids()).step_by(bits as usize) {
            let word = self.pointer(at.wrapping_add(u64::from(first) / 8))?;
            cpus.extend((0..bits as u32).filter(|bit| word >> bit & 1 == 1).map(|bit| first + bit));
        }
        cpus.retain(|&cpu| cpu < self.cpu_ids());
        Some(cpus)
    }
}

fn until_nul(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
