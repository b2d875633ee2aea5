//! Completes a dump's VMCOREINFO from its own memory, a file or a vmlinux.
//!
//! Everything that hadump does with pages begins with VMCOREINFO. [`complete`] ensures that a dump has one (given by the
//! user, found in the crashed kernel's memory, or made from the kernel's vmlinux) and that it is that of the kernel that
//! crashed, which is verified by reading the kernel's name at the address that it gives. What it lacks is taken from the
//! kernel's BTF and symbols. A dump's own note is passed through unchanged.

mod given;
mod image;
mod in_memory;
mod scan;

use crate::btf::Btf;
use crate::dwarf::Dwarf;
use crate::kallsyms::Kallsyms;
use crate::symbols::{Relocated, Symbols, WithInfo};
use crate::types::Types;
use crate::vmlinux::Vmlinux;
use crate::{Error, Kernel, KernelMemory, vmcoreinfo};
use std::path::Path;
use vmcore::{Dump, Note, VmcoreInfo, WordSize};

/// What the user gives beside a dump.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// A file with the text of a VMCOREINFO, as a note or as `makedumpfile -g` writes it.
    pub vmcoreinfo: Option<&'a Path>,
    /// The kernel's vmlinux, with symbols and debug information.
    pub vmlinux: Option<&'a Path>,
}

/// The most keys that a remark names.
const SHOWN: usize = 12;

/// The name of the note.
const NAME: &str = "VMCOREINFO";

/// Gives `dump` the VMCOREINFO it lacks, and returns what was done, one sentence per entry.
///
/// What is given goes before what is found. A dump without VMCOREINFO in which none is found either stays without,
/// which is no error: it can be converted whole.
///
/// # Errors
///
/// When what is given belongs to another kernel or cannot be read, when memory holds two kernels and nothing shows
/// which one crashed, and when the dump is damaged.
pub fn complete(dump: &mut Dump, given: &Given<'_>) -> Result<Vec<String>, Error> {
    let mut remarks = Vec::new();
    let vmlinux = given.vmlinux.map(Vmlinux::open).transpose()?;
    if let Some(path) = given.vmcoreinfo {
        let text = given::vmcoreinfo(dump, path)?;
        replace(dump, text);
        remarks.push(format!("VMCOREINFO is that of {}", path.display()));
    } else if let Some(vmlinux) = &vmlinux {
        match given::vmlinux(dump, vmlinux)? {
            Some(text) => {
                replace(dump, text);
                remarks.push(format!("VMCOREINFO was made from {}", vmlinux.path().display()));
            }
            None => tracing::debug!("{} is of the dump's kernel", vmlinux.path().display()),
        }
    } else if let Some(why) = is_wrong(dump)? {
        if let Some(found) = in_memory::find(dump)? {
            let at = found.at;
            replace(dump, found.text);
            remarks.push(format!("{why}; its VMCOREINFO was found in memory at {at}"));
        } else if dump.vmcoreinfo.is_some() {
            remarks.push(format!("{why}, and none that is right was found in memory"));
        } else {
            remarks
                .push(format!("{why}, and none was found in memory; --vmcoreinfo or --vmlinux can give it"));
        }
    }
    remarks.extend(enlarge(dump, vmlinux.as_ref())?);
    Ok(remarks)
}

/// Why the dump's own VMCOREINFO cannot be used, if so.
fn is_wrong(dump: &Dump) -> Result<Option<String>, Error> {
    if dump.vmcoreinfo.is_none() {
        return Ok(Some("the dump has no VMCOREINFO note".to_owned()));
    }
    match in_memory::prove(dump) {
        Err(Error::Read(error)) => Err(error.into()),
        // It leads to memory that holds something else, or to none. Addresses of 32-bit kernels are not translated.
        Err(error @ (Error::Implausible { .. } | Error::NotMapped { .. } | Error::NotInDump { .. }))
            if dump.machine.word == WordSize::Bits64 =>
        {
            Ok(Some(format!("the dump's VMCOREINFO does not lead to its kernel ({error})")))
        }
        _ => Ok(None),
    }
}

/// Makes `text` the dump's VMCOREINFO, in place of one that was not right.
fn replace(dump: &mut Dump, text: Vec<u8>) {
    let order = dump.machine.order;
    if dump.notes.find(NAME).is_some() {
        dump.notes = dump.notes.without(NAME, order);
    }
    dump.vmcoreinfo = Some(VmcoreInfo::parse(&text));
    dump.notes.push(Note { name: NAME.into(), kind: 0, desc: text }, order);
}

/// Adds to what is known, not to the note, the keys that VMCOREINFO lacks and telling pages apart needs.
fn enlarge(dump: &mut Dump, vmlinux: Option<&Vmlinux>) -> Result<Option<String>, Error> {
    let Some(info) = dump.vmcoreinfo.as_ref().filter(|info| vmcoreinfo::is_incomplete(info)) else {
        return Ok(None);
    };
    let (more, source) = match vmlinux {
        Some(vmlinux) => {
            let Some(dwarf) = Dwarf::open(vmlinux)? else { return Ok(None) };
            let symbols = Relocated::by_info(vmlinux, info);
            let word = dump.machine.word.bytes() as u64;
            (vmcoreinfo::missing_keys(info, &dwarf, &symbols, word)?, "the vmlinux")
        }
        None => match own_description(dump) {
            Ok(more) => (more, "its BTF and symbols"),
            Err(Error::Read(error)) => return Err(error.into()),
            Err(error) => {
                tracing::debug!("the kernel does not describe itself: {error}");
                return Ok(None);
            }
        },
    };
    let keys: Vec<&str> = more.lines().filter_map(|line| line.split_once('=').map(|(key, _)| key)).collect();
    if keys.is_empty() {
        return Ok(None);
    }
    let shown = keys.len().min(SHOWN);
    let rest = keys.len() - shown;
    let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    let remark = format!("VMCOREINFO lacks keys that {source} gave: {}{rest}", keys[..shown].join(", "));
    let mut text = info.text().to_vec();
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text.extend(more.as_bytes());
    dump.vmcoreinfo = Some(VmcoreInfo::parse(&text));
    Ok(Some(remark))
}

/// What the kernel in the dump says of itself beside VMCOREINFO.
fn own_description(dump: &Dump) -> Result<String, Error> {
    let kernel = Kernel::open(dump)?;
    let known = Known::of_dump(&kernel)?;
    let Some(types) = known.types() else { return Ok(String::new()) };
    let word = dump.machine.word.bytes() as u64;
    vmcoreinfo::missing_keys(kernel.info(), types, &known, word)
}

/// Symbols and types of a dump's kernel, from the best source there is: a vmlinux that was given, or the kernel's own
/// symbol table and BTF.
pub struct Known<'a> {
    memory: &'a dyn KernelMemory,
    symbols: Option<Box<dyn Symbols + 'a>>,
    types: Option<Box<dyn Types + 'a>>,
}

impl<'a> Known<'a> {
    /// What the dump itself has. Either may be missing: symbols before 6.0, types without `CONFIG_DEBUG_INFO_BTF`.
    ///
    /// # Errors
    ///
    /// Only when the input is damaged: tables that are not in the dump, or make no sense, are missing.
    pub fn of_dump(memory: &'a dyn KernelMemory) -> Result<Self, Error> {
        let symbols = optional(Kallsyms::open(memory))?;
        let types = match &symbols {
            Some(symbols) => optional(Btf::of_dump(memory, symbols))?.flatten(),
            None => None,
        };
        Ok(Self {
            memory,
            symbols: symbols.map(|s| Box::new(s) as Box<dyn Symbols>),
            types: types.map(|t| Box::new(t) as Box<dyn Types>),
        })
    }

    /// What a vmlinux has, at the addresses that the kernel ran at.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is damaged.
    pub fn of_vmlinux(memory: &'a dyn KernelMemory, vmlinux: &'a Vmlinux) -> Result<Self, Error> {
        let symbols = Relocated::by_info(vmlinux, memory.info());
        let types = Dwarf::open(vmlinux)?;
        Ok(Self {
            memory,
            symbols: Some(Box::new(symbols)),
            types: types.map(|t| Box::new(t) as Box<dyn Types>),
        })
    }

    /// Symbols and types made by hand.
    #[cfg(test)]
    pub(crate) fn made_of(
        memory: &'a dyn KernelMemory,
        symbols: Box<dyn Symbols + 'a>,
        types: Box<dyn Types + 'a>,
    ) -> Self {
        Self { memory, symbols: Some(symbols), types: Some(types) }
    }

    /// The types, if there are any.
    pub fn types(&self) -> Option<&dyn Types> {
        self.types.as_deref()
    }

    /// The memory that addresses lead to.
    pub fn memory(&self) -> &'a dyn KernelMemory {
        self.memory
    }

    fn word(&self) -> u64 {
        self.memory.machine().word.bytes() as u64
    }

    /// The bytes of a struct, union or typedef: SIZE(`name`) of VMCOREINFO, else what types say.
    ///
    /// # Errors
    ///
    /// When the source is damaged, here and below. What is not known is `None`.
    pub fn size_of(&self, name: &str) -> Result<Option<u64>, Error> {
        match (self.memory.info().size(name), &self.types) {
            (None, Some(types)) => types.size_of(name, self.word()),
            (size, _) => Ok(size),
        }
    }

    /// The offset in bytes of `struct.member`, also through structs inside: OFFSET(`path`), else what types say.
    pub fn offset_of(&self, path: &str) -> Result<Option<u64>, Error> {
        match (self.memory.info().offset(path), &self.types) {
            (None, Some(types)) => types.offset_of(path),
            (offset, _) => Ok(offset),
        }
    }

    /// The value of an enumerator: NUMBER(`name`), else what types say.
    pub fn enumerator(&self, name: &str) -> Result<Option<i64>, Error> {
        match (self.memory.info().number(name), &self.types) {
            (None, Some(types)) => types.enumerator(name),
            (value, _) => Ok(value),
        }
    }
}

impl Symbols for Known<'_> {
    fn symbol(&self, name: &str) -> Result<Option<vmcore::VirtAddr>, Error> {
        WithInfo { memory: self.memory, other: self.symbols.as_deref() }.symbol(name)
    }
}

/// `None` for what is not there or makes no sense.
fn optional<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Read(error)) => Err(error.into()),
        Err(error) => {
            tracing::debug!("{error}");
            Ok(None)
        }
    }
}
