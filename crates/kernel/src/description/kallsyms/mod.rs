//! The dump's own symbol table.
//!
//! A kernel carries the names and addresses of its symbols in a compressed table of its own, and says in VMCOREINFO
//! where that is (since 6.0). So a variable can be found without a vmlinux. Only the kernel's own
//! symbols are in it, not those of modules; variables only with `CONFIG_KALLSYMS_ALL`, which distributions set.
//!
//! The table may have some hundred thousand entries. It is not copied out of the dump but read for each question; only
//! the dictionary of the compression is kept.

mod address;
mod names;
mod stream;

use crate::{Error, KernelMemory};
use address::Addresses;
use names::{Cursor, Expanded, Tokens};
use vmcore::VirtAddr;

/// The most symbols believed; the largest kernels have a tenth of it.
const MAX_SYMBOLS: u32 = 1 << 22;

/// Symbols that VMCOREINFO gives as well, if they exist: what the table says of them must agree.
const ANCHORS: [&str; 5] = ["_stext", "init_uts_ns", "swapper_pg_dir", "init_top_pgt", "prb"];

/// A symbol of the kernel's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// The name, as in the kernel's source.
    pub name: String,
    /// Its kind as `nm` prints it: `T` for a global function, `d` for a static variable.
    pub kind: char,
    /// Its address. A per-CPU variable of x86_64 before 6.15 has its offset in the per-CPU area here.
    pub addr: VirtAddr,
}

/// The kernel's symbol table, read from the dump as it is asked (kernel: `kernel/kallsyms.c`,
/// `scripts/kallsyms.c`).
pub struct Kallsyms<'a> {
    memory: &'a dyn KernelMemory,
    names: VirtAddr,
    count: u32,
    tokens: Tokens,
    addresses: Addresses<'a>,
}

impl<'a> Kallsyms<'a> {
    /// Finds the table and reads through it once.
    ///
    /// How addresses are stored changed several times and is not recorded; it is settled by the symbols whose
    /// addresses VMCOREINFO holds too.
    ///
    /// # Errors
    ///
    /// [`Error::MissingKey`] when VMCOREINFO does not locate the table; when it is not in the dump; when it makes no
    /// sense or disagrees with VMCOREINFO on where symbols are.
    pub fn open(memory: &'a dyn KernelMemory) -> Result<Self, Error> {
        let count_at = symbol(memory, "kallsyms_num_syms")?;
        let count = memory.read_u32(count_at)?;
        if count == 0 || count > MAX_SYMBOLS {
            return Err(Error::Implausible {
                what: "kallsyms_num_syms".into(),
                addr: count_at,
                found: count.to_string(),
                expected: format!("1 to {MAX_SYMBOLS}"),
            });
        }
        let names = symbol(memory, "kallsyms_names")?;
        let tokens = Tokens::read(memory)?;
        let mut anchors = Vec::new();
        let mut cursor = Cursor::new(memory, names);
        let mut symbol = Expanded::new();
        for index in 0..count {
            cursor.next(&tokens, &mut symbol)?;
            if let Some(anchor) = ANCHORS.iter().find(|a| a.as_bytes() == symbol.name())
                && let Some(addr) = memory.info().symbol(anchor)
            {
                anchors.push((index, addr));
            }
        }
        let addresses = Addresses::settle(memory, &anchors)?;
        Ok(Self { memory, names, count, tokens, addresses })
    }

    /// The number of symbols.
    #[expect(clippy::len_without_is_empty, reason = "a table without symbols does not open")]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// The address of the first symbol called `name`; the whole table is read for it.
    ///
    /// # Errors
    ///
    /// When the table's memory cannot be read, here and below.
    pub fn find(&self, name: &str) -> Result<Option<VirtAddr>, Error> {
        let mut cursor = Cursor::new(self.memory, self.names);
        let mut found = Expanded::new();
        for index in 0..self.count {
            cursor.next(&self.tokens, &mut found)?;
            if found.name() == name.as_bytes() {
                return self.addresses.get(index).map(Some);
            }
        }
        Ok(None)
    }

    /// All symbols, by ascending address. After an error nothing more comes.
    pub fn iter(&self) -> impl Iterator<Item = Result<Symbol, Error>> + '_ {
        let mut cursor = Cursor::new(self.memory, self.names);
        let mut addresses = self.addresses.walk();
        let mut expanded = Expanded::new();
        let mut left = self.count;
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let next = cursor.next(&self.tokens, &mut expanded);
            let symbol = next.and_then(|()| Ok(made(&expanded, addresses.next()?)));
            if symbol.is_err() {
                left = 0;
            }
            Some(symbol)
        })
    }
}

fn made(expanded: &Expanded, addr: VirtAddr) -> Symbol {
    // Names of sound kernels are ASCII, which is verified several bytes at a time.
    let name = str::from_utf8(expanded.name())
        .map_or_else(|_| String::from_utf8_lossy(expanded.name()).into_owned(), str::to_owned);
    Symbol { name, kind: expanded.kind().into(), addr }
}

/// `SYMBOL(name)` of VMCOREINFO, which the table cannot be found without.
fn symbol(memory: &dyn KernelMemory, name: &str) -> Result<VirtAddr, Error> {
    memory.info().symbol(name).ok_or_else(|| missing(format!("SYMBOL({name})")))
}

fn missing(key: String) -> Error {
    Error::MissingKey { key, purpose: "the kernel's symbol table" }
}

#[cfg(test)]
mod tests;
