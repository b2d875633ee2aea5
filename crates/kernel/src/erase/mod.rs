//! Erasing data inside of kept pages, by makedumpfile's rules.
//!
//! A dump that leaves a site may have to leave passwords and keys behind. [`Rules`] say which, in the language of
//! makedumpfile.conf(5): variables, members, what pointers lead to, elements of arrays and lists. [`Rules::resolve`] finds
//! the bytes, [`Erasures::apply`] puts `X` in their place and leaves a record of it for the dump file.
//!
//! A rule whose names are not known is an error before anything is written: what was meant to be erased must not
//! be kept because of a slip of the pen. What the dump's memory does not lead to becomes a remark.

mod parse;
mod resolve;

use crate::knowledge::Known;
use crate::overlay::{Content, Overlay};
use crate::{Error, Kernel};
pub use parse::SyntaxError;
use vmcore::{Dump, Note, PhysAddr, VirtAddr};

/// A place in a configuration file, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in it.
    pub column: usize,
}

/// `symbol.member.member`; every pointer on the way is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expression {
    at: Position,
    /// At least one.
    parts: Vec<String>,
}

impl Expression {
    fn text(&self) -> String {
        self.parts.join(".")
    }
}

/// How much is erased.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// What the type says; a string up to its end.
    All,
    /// This many bytes.
    Bytes(u64),
    /// As many bytes as stand there.
    BytesIn(Expression),
    /// The pointer itself, with zeros.
    Pointer,
}

/// `erase …`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Erase {
    target: Expression,
    what: What,
}

/// What a loop goes over.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Over {
    /// An array; or a list of structs whose member `next` leads on.
    Elements,
    /// A list of structs whose member leads to the next.
    Chain(Vec<String>),
    /// A `struct list_head`, and the struct and member that hang on it.
    ListHead { structure: String, member: String },
}

/// `for variable in list …`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Loop {
    variable: String,
    list: Expression,
    over: Over,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    module: String,
    at: Position,
    over: Option<Loop>,
    erase: Vec<Erase>,
}

/// The commands of a configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
}

/// Bytes to be erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Where the first byte is.
    pub at: VirtAddr,
    /// How many there are.
    pub len: u64,
    /// Zeros in place of `X`: the bytes are a pointer.
    pub nullify: bool,
    /// The command's expression, for the record.
    pub expression: String,
}

/// What rules erase in one dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erasures {
    /// The bytes, in the order of the rules.
    pub erasures: Vec<Erasure>,
    /// What rules did not lead to, one sentence per entry.
    pub remarks: Vec<String>,
}

/// What the bytes are replaced by.
const ERASED: u8 = b'X';

impl Rules {
    /// Reads a configuration.
    ///
    /// # Errors
    ///
    /// When it is not in the language; the error names line and column.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        parse::parse(text).map(|rules| Self { rules })
    }

    /// Reports whether there is no command.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Finds the bytes in a dump. Types are those of a vmlinux ([`Known::of_vmlinux`]); the kernel's own BTF
    /// ([`Known::of_dump`]) has none for most variables.
    ///
    /// # Errors
    ///
    /// [`Error::Rule`] when a symbol, a type or a member is not known, or the kind of loop does not fit its list; when
    /// the dump or the vmlinux is damaged.
    pub fn resolve(&self, known: &Known<'_>) -> Result<Erasures, Error> {
        resolve::resolve(&self.rules, known)
    }
}

impl Erasures {
    /// The dump's memory without the bytes, and the record in `dump.source.erase_info`; returns what could not be
    /// erased, one sentence per entry.
    ///
    /// # Errors
    ///
    /// When the dump is damaged.
    pub fn apply(&self, mut dump: Dump) -> Result<(Dump, Vec<String>), Error> {
        let mut remarks = self.remarks.clone();
        let mut places: Vec<(PhysAddr, Content)> = Vec::new();
        // One group of lines for each command, as makedumpfile writes them.
        let mut record: Vec<(&str, String)> = Vec::new();
        let page = dump.page_size();
        let kernel = Kernel::open(&dump)?;
        for Erasure { at, len, nullify, expression } in &self.erasures {
            let byte = if *nullify { 0 } else { ERASED };
            let mut done = 0;
            while done < *len {
                let here = VirtAddr(at.0.wrapping_add(done));
                let part = (page.bytes() - page.offset(here.0) as u64).min(len - done);
                match kernel.translate(here) {
                    Ok(phys) => places.push((phys, Content::Fill { byte, len: part })),
                    Err(Error::Read(error)) => return Err(error.into()),
                    Err(error) => remarks.push(format!("{expression}: {part} bytes are not erased: {error}")),
                }
                done += part;
            }
            let line = match nullify {
                true => format!("erase {expression} nullify\n"),
                false => format!("erase {expression} size {len}\n"),
            };
            match record.iter_mut().find(|(of, _)| of == expression) {
                Some((_, lines)) => lines.push_str(&line),
                None => record.push((expression, line)),
            }
        }
        drop(kernel);
        let mut overlay = Overlay::new(dump.memory);
        places.iter().for_each(|(at, content)| overlay.put(*at, content));
        dump.memory = Box::new(overlay);
        record.iter().for_each(|(_, lines)| dump.source.erase_info.extend(lines.as_bytes()));
        Ok((dump, remarks))
    }
}

/// The ELF note about erasures: named `ERASEINFO`, of type 0, with the text of [`vmcore::Source::erase_info`]
/// (makedumpfile: `ERASEINFO_NOTE_NAME`).
pub fn note(record: &[u8]) -> Note {
    Note { name: b"ERASEINFO".to_vec(), kind: 0, desc: record.to_vec() }
}

#[cfg(test)]
mod tests;
