//! What a kernel keeps in memory of itself: types (BTF), symbols (kallsyms), and structs laid out by these types.
//!
//! [`Running`] is a piece of a kernel's virtual memory under construction. What types there are, where their members lie
//! and what the variables hold is said by whoever builds it, in the kernel's own words, so that layouts of any release can
//! be written down. [`linux`] does so for a small kernel with tasks, CPUs, modules and counters. Put into the image of a
//! synthetic dump ([`Dump::put`](super::dump::Dump::put)), it is what reports are made from.

pub mod linux;
mod stacks;
pub mod story;
mod symbols;
mod types;

pub use types::Types;

use crate::bytes::ByteOrder;
use std::collections::BTreeMap;

/// Symbols that VMCOREINFO has as well.
const EXPORTED: [&str; 5] = ["lowcore_ptr", "log_buf", "log_buf_len", "log_end", "logged_chars"];

/// A piece of a kernel's memory under construction; words have 64 bits.
#[derive(Clone, Debug)]
pub struct Running {
    /// Byte order.
    pub order: ByteOrder,
    /// The virtual address where it begins.
    pub base: u64,
    /// What lies there.
    pub bytes: Vec<u8>,
    /// The kernel's types.
    pub types: Types,
    symbols: BTreeMap<(u64, String), char>,
}

impl Running {
    /// Begins at the virtual address `base`, with nothing.
    pub fn new(order: ByteOrder, base: u64) -> Self {
        Self { order, base, bytes: Vec::new(), types: Types::new(order), symbols: BTreeMap::new() }
    }

    /// Room for `size` bytes of zeros at a multiple of `align`; its address.
    pub fn take(&mut self, size: u64, align: u64) -> u64 {
        let at = (self.base + self.bytes.len() as u64).next_multiple_of(align.max(1));
        self.bytes.resize((at + size - self.base) as usize, 0);
        at
    }

    /// Room for a struct.
    pub fn alloc(&mut self, name: &str) -> u64 {
        self.take(self.types.size_of(name), 64)
    }

    /// Room for a variable of `size` bytes that the kernel's table of symbols has.
    pub fn variable(&mut self, name: &str, size: u64) -> u64 {
        let at = self.take(size, 64);
        self.symbol(name, 'D', at);
        at
    }

    /// Adds a symbol: its kind is the letter of `nm`.
    pub fn symbol(&mut self, name: &str, kind: char, at: u64) {
        self.symbols.insert((at, name.to_owned()), kind);
    }

    /// Lets a symbol be elsewhere.
    pub fn move_symbol(&mut self, name: &str, at: u64) {
        self.symbols.retain(|(_, known), _| known != name);
        self.symbol(name, 'D', at);
    }

    /// Where a symbol is.
    ///
    /// # Panics
    ///
    /// When there is none of this name, as all here do for what whoever builds has forgotten.
    pub fn at(&self, name: &str) -> u64 {
        let found = self.symbols.keys().find(|(_, known)| known == name);
        found.unwrap_or_else(|| panic!("no symbol {name}")).0
    }

    /// Writes bytes, which must lie within.
    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        let start = (at - self.base) as usize;
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Writes a word.
    pub fn word(&mut self, at: u64, value: u64) {
        self.put(at, &self.order.u64(value));
    }

    /// Writes the lowest `size` bytes of a number.
    pub fn number(&mut self, at: u64, value: u64, size: u64) {
        let bytes = self.order.u64(value);
        let bytes = match self.order {
            ByteOrder::Little => &bytes[..size as usize],
            ByteOrder::Big => &bytes[8 - size as usize..],
        };
        self.put(at, bytes);
    }

    /// Writes the member `path` (`task_struct.tasks.next`) of the struct at `at`.
    pub fn set(&mut self, at: u64, path: &str, value: u64) {
        let (offset, size) = self.types.place(path);
        self.number(at + offset, value, size);
    }

    /// Writes text into the array of characters that a member is.
    pub fn set_text(&mut self, at: u64, path: &str, text: &str) {
        let (offset, size) = self.types.place(path);
        let mut bytes = text.as_bytes().to_vec();
        bytes.truncate(size as usize - 1);
        self.put(at + offset, &bytes);
    }

    /// A text that ends with NUL, somewhere.
    pub fn text(&mut self, text: &str) -> u64 {
        let at = self.take(text.len() as u64 + 1, 1);
        self.put(at, text.as_bytes());
        at
    }

    /// Where a member is.
    pub fn offset(&self, path: &str) -> u64 {
        self.types.place(path).0
    }

    /// Links `list_head`s into a ring that begins and ends at the first.
    pub fn ring(&mut self, heads: &[u64]) {
        for (n, head) in heads.iter().enumerate() {
            let next = heads[(n + 1) % heads.len()];
            self.word(*head, next);
            self.word(next + 8, *head);
        }
    }

    /// Writes types and symbols behind the rest, and what VMCOREINFO says of them. Nothing can be added afterwards.
    pub fn finish(mut self) -> Laid {
        let btf = self.types.clone().finish();
        let start = self.take(btf.len() as u64, 8);
        self.put(start, &btf);
        self.symbol("__start_BTF", 'R', start);
        self.symbol("__stop_BTF", 'R', start + btf.len() as u64);
        let symbols = std::mem::take(&mut self.symbols);
        let mut vmcoreinfo = String::new();
        for (name, bytes) in symbols::parts(self.order, &symbols) {
            let at = self.take(bytes.len() as u64, 8);
            self.put(at, &bytes);
            vmcoreinfo.push_str(&format!("SYMBOL(kallsyms_{name})={at:x}\n"));
        }
        // Readers take whole pieces of 4 KiB.
        self.take(0, 4096);
        for ((at, name), _) in symbols.iter().filter(|((_, name), _)| EXPORTED.contains(&name.as_str())) {
            vmcoreinfo.push_str(&format!("SYMBOL({name})={at:x}\n"));
        }
        Laid { base: self.base, bytes: self.bytes, vmcoreinfo }
    }
}

/// A piece of a kernel's memory.
#[derive(Clone, Debug)]
pub struct Laid {
    /// The virtual address where it begins.
    pub base: u64,
    /// What lies there.
    pub bytes: Vec<u8>,
    /// Lines of VMCOREINFO that lead to it.
    pub vmcoreinfo: String,
}
