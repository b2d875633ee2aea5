//! Completes a dump's VMCOREINFO from its own memory, a file or a vmlinux.
//!
//! Everything that hadump does with pages begins with VMCOREINFO. [`complete`] ensures that a dump has one (given by the
//! user, found in the crashed kernel's memory, or made from the kernel's vmlinux) and that it is that of the kernel that
//! crashed, which is verified by reading the kernel's name at the address that it gives. What it lacks is taken from the
//! kernel's BTF and symbols. A dump's own note is passed through unchanged.

mod given;
mod image;
mod in_memory;
mod own;
mod proof;
mod scan;
pub mod vmcoreinfo;

pub use scan::Search;

use crate::btf::Btf;
use crate::dwarf::Dwarf;
use crate::kallsyms::Kallsyms;
use crate::symbols::{Relocated, Symbols, WithInfo};
use crate::types::Types;
use crate::vmlinux::Vmlinux;
use crate::{Error, Kernel, KernelMemory};
use std::path::Path;
use vmcore::{Arch, Dump, Note, PageSizeBy, VmcoreInfo, WordSize};

/// What the user gives beside a dump.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// A file with the text of a VMCOREINFO, as a note or as `makedumpfile -g` writes it.
    pub vmcoreinfo: Option<&'a Path>,
    /// The kernel's vmlinux, with symbols and debug information.
    pub vmlinux: Option<&'a Path>,
    /// What tells another thread how far a search through memory is.
    pub search: Option<&'a Search>,
}

/// Opens the vmlinux at `path`, or in a directory the one of the dump's kernel.
///
/// # Errors
///
/// When it cannot be read or is none, and when the directory has none of this kernel.
pub fn vmlinux_of(dump: &mut Dump, path: &Path) -> Result<Vmlinux, Error> {
    given::open(dump, path)
}

/// The most keys that a remark names.
const SHOWN: usize = 12;

/// The name of the note.
const NAME: &str = "VMCOREINFO";

/// Gives `dump` the VMCOREINFO it lacks, and returns what was done, one sentence per entry.
///
/// What is given goes before what the dump has, and that before what its memory holds. A source that does not lead to the
/// kernel that crashed, in whatever way, is named, and the next one is asked. A dump for which none does stays as it is,
/// which is no error: it can be converted whole. The size of the kernel's pages comes from the same sources.
///
/// # Errors
///
/// When what is given belongs to another kernel, cannot be read, or leads nowhere and nothing else does either; and when
/// the dump is damaged.
pub fn complete(dump: &mut Dump, given: &Given<'_>) -> Result<Vec<String>, Error> {
    let mut remarks = Vec::new();
    if let Arch::Other(_) = dump.machine.arch {
        remarks.extend(without_kernel(dump));
        return Ok(remarks);
    }
    let vmlinux = given.vmlinux.map(|path| vmlinux_of(dump, path)).transpose()?;
    let unwatched = Search::default();
    let search = given.search.unwrap_or(&unwatched);
    if let Some(failed) = ask_all(dump, given.vmcoreinfo, vmlinux.as_ref(), search, &mut remarks)? {
        return Err(failed);
    }
    remarks.extend(without_kernel(dump));
    remarks.extend(enlarge(dump, vmlinux.as_ref())?);
    if let Some(more) = more_in_memory(dump, search, &mut remarks) {
        remarks.push(more);
        remarks.extend(enlarge(dump, vmlinux.as_ref())?);
    }
    remarks.extend(settle_page_size(dump));
    Ok(remarks)
}

/// Lets VMCOREINFO, as far as it is known and not the note, say the page size that was settled on.
fn settle_page_size(dump: &mut Dump) -> Option<String> {
    let (size, info) = (dump.page_size(), dump.vmcoreinfo.as_ref()?);
    let stated = info.get("PAGESIZE").filter(|_| info.page_size() != Some(size))?;
    let why = match dump.source.page_size_by {
        PageSizeBy::User => "which was given, is used",
        PageSizeBy::Input | PageSizeBy::Nobody => "with which it leads to its kernel, is used",
    };
    let remark = format!("VMCOREINFO says PAGESIZE={stated}; {size}, {why}");
    add_lines(dump, &format!("PAGESIZE={}\n", size.bytes()));
    Some(remark)
}

/// What is said of the page size that was taken where nothing tells it.
fn without_kernel(dump: &Dump) -> Option<String> {
    (dump.source.page_size_by == PageSizeBy::Nobody).then(|| {
        format!(
            "nothing says how large the kernel's pages are; {} was taken, and --page-size gives another size",
            dump.page_size()
        )
    })
}

/// Asks one source after the other, and returns why what was given could not be used, if nothing else could be either.
fn ask_all(
    dump: &mut Dump,
    vmcoreinfo: Option<&Path>,
    vmlinux: Option<&Vmlinux>,
    search: &Search,
    remarks: &mut Vec<String>,
) -> Result<Option<Error>, Error> {
    let mut failed = None;
    if let Some(path) = vmcoreinfo {
        match given::vmcoreinfo(dump, path, search) {
            Ok(text) => {
                replace(dump, text);
                remarks.push(format!("VMCOREINFO is that of {}", path.display()));
                return Ok(None);
            }
            Err(error) => failed = Some(insufficient(error)?),
        }
    }
    if let Some(vmlinux) = vmlinux {
        match given::vmlinux(dump, vmlinux, search) {
            Ok(Some(text)) => {
                remarks.extend(failed.map(|error| error.to_string()));
                replace(dump, text);
                remarks.push(format!("VMCOREINFO was made from {}", vmlinux.path().display()));
                return Ok(None);
            }
            Ok(None) => tracing::debug!("{} is of the dump's kernel", vmlinux.path().display()),
            Err(error) => {
                let error = insufficient(error)?;
                remarks.extend(failed.replace(error).map(|earlier| earlier.to_string()));
            }
        }
    }
    let Some((why, own)) = is_wrong(dump)? else {
        remarks.extend(failed.map(|error| format!("{error}; that of the dump is used")));
        return Ok(None);
    };
    if let Some(info) = dump.vmcoreinfo.clone()
        && dump.source.page_size_by == PageSizeBy::Input
        && proof::prove_without_size(dump, info).is_ok()
    {
        remarks.extend(failed.map(|error| error.to_string()));
        return Ok(None);
    }
    let accept = |info: &VmcoreInfo| own.as_ref().is_none_or(|own| own::agrees(own, info, false));
    let nothing = match in_memory::find(dump, search, &accept, remarks) {
        Ok(Some(found)) => {
            remarks.extend(failed.map(|error| error.to_string()));
            let text = match own {
                Some(own) => own::completed(&own, &found.text),
                None => found.text,
            };
            replace(dump, text);
            remarks.push(format!("{why}; its VMCOREINFO was found in memory at {}", found.at));
            return Ok(None);
        }
        Ok(None) if dump.vmcoreinfo.is_some() => "none that is right was found in memory".to_owned(),
        Ok(None) => "none was found in memory; --vmcoreinfo or --vmlinux can give it".to_owned(),
        Err(error) => insufficient(error)?.to_string(),
    };
    if failed.is_none() {
        remarks.push(format!("{why}, and {nothing}"));
    }
    Ok(failed)
}

/// The error that a source does not lead to the kernel, so that the next one may; any other ends the search.
fn insufficient(error: Error) -> Result<Error, Error> {
    match error {
        Error::Read(_) | Error::File { .. } | Error::AnotherKernel { .. } | Error::PageSize { .. } => {
            Err(error)
        }
        other => Ok(other),
    }
}

/// Why the dump's own VMCOREINFO cannot be used, if so, and what of it another must agree with: all that it has whole, if it
/// is of this kernel as far as it goes.
fn is_wrong(dump: &mut Dump) -> Result<Option<(String, Option<VmcoreInfo>)>, Error> {
    let Some(own) = dump.vmcoreinfo.clone() else {
        return Ok(Some(("the dump has no VMCOREINFO note".to_owned(), None)));
    };
    let error = match proof::prove_info(dump, own.clone()) {
        Ok(()) => return Ok(None),
        Err(error @ (Error::Read(_) | Error::PageSize { .. })) => return Err(error),
        // It leads to memory that holds something else, or to none, or lacks what leads anywhere.
        Err(error) => error,
    };
    let of_this =
        matches!(error, Error::MissingKey { .. }) || proof::leads_with_some_size(dump, own.clone())?;
    let whole = of_this.then(|| VmcoreInfo::parse(own::whole(own.text())));
    Ok(Some((format!("the dump's VMCOREINFO does not lead to its kernel ({error})"), whole)))
}

/// Completes the dump's own VMCOREINFO, which leads to its kernel, with what the one in memory has besides, if its own was
/// cut short. What the own one has whole stays, and a text that contradicts it is not believed.
fn more_in_memory(dump: &mut Dump, search: &Search, remarks: &mut Vec<String>) -> Option<String> {
    let why = cut_short(dump)?;
    let note = dump.notes.find(NAME)?.desc.clone();
    let own = VmcoreInfo::parse(own::whole(&note));
    // The dump's own is right as far as it goes: what hinders the search is no reason to refuse the dump.
    let found = in_memory::find(dump, search, &|info| own::agrees(&own, info, true), remarks)
        .unwrap_or_else(|error| {
            tracing::debug!("no other VMCOREINFO: {error}");
            None
        })?;
    let more = own::lacking(&own, &found.text);
    if more.is_empty() {
        return None;
    }
    let known = dump.vmcoreinfo.clone();
    replace(dump, [own.text(), &more].concat());
    // What types gave before is not in the note.
    if let Some(known) = known {
        let given = own::lacking(&VmcoreInfo::parse(&note), own::whole(known.text()));
        add_lines(dump, &String::from_utf8_lossy(&given));
    }
    Some(format!(
        "the dump's VMCOREINFO does not suffice ({why}); the one in memory at {} completes it",
        found.at
    ))
}

/// Why the dump's VMCOREINFO is taken for one that was cut short, if so. What the kernel was built without is no sign of it.
fn cut_short(dump: &Dump) -> Option<String> {
    let info = dump.vmcoreinfo.as_ref().filter(|_| dump.machine.word == WordSize::Bits64)?;
    if !own::ends_with_a_line(&dump.notes.find(NAME)?.desc) {
        return Some("its last line has no end".to_owned());
    }
    if let Some(key) = own::ALWAYS.into_iter().find(|key| info.get(key).is_none()) {
        return Some(format!("it has no {key}, which every kernel writes"));
    }
    match Kernel::open(dump).and_then(|kernel| kernel.mem_model().map(|_| ())) {
        Err(error @ Error::MissingKey { .. }) => Some(error.to_string()),
        _ => None,
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

/// Adds to what is known, not to the note, the keys that VMCOREINFO lacks and telling pages apart needs. Each source adds
/// what those before it lack.
fn enlarge(dump: &mut Dump, vmlinux: Option<&Vmlinux>) -> Result<Vec<String>, Error> {
    let mut remarks = Vec::new();
    let given = vmlinux.map(|vmlinux| (Some(vmlinux), "the vmlinux"));
    for (vmlinux, source) in given.into_iter().chain([(None, "its BTF and symbols")]) {
        let Some(info) = dump.vmcoreinfo.as_ref().filter(|info| vmcoreinfo::is_incomplete(info)) else {
            break;
        };
        let more = match vmlinux {
            Some(vmlinux) => description(dump, info, vmlinux),
            None => own_description(dump),
        };
        match more {
            Ok(more) => remarks.extend(add_keys(dump, &more, source)),
            Err(error) => {
                let error = insufficient(error)?;
                tracing::debug!("{source} does not describe the kernel: {error}");
            }
        }
    }
    Ok(remarks)
}

/// Adds lines of VMCOREINFO to what is known, and returns a remark that names their keys.
fn add_keys(dump: &mut Dump, more: &str, source: &str) -> Option<String> {
    let keys: Vec<&str> = more.lines().filter_map(|line| line.split_once('=').map(|(key, _)| key)).collect();
    if keys.is_empty() {
        return None;
    }
    let shown = keys.len().min(SHOWN);
    let rest = keys.len() - shown;
    let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    let remark = format!("VMCOREINFO lacks keys that {source} gave: {}{rest}", keys[..shown].join(", "));
    add_lines(dump, more);
    Some(remark)
}

/// Adds lines to what is known of VMCOREINFO, which go before those of the same key.
fn add_lines(dump: &mut Dump, more: &str) {
    let Some(info) = &dump.vmcoreinfo else { return };
    let mut text = info.text().to_vec();
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text.extend(more.as_bytes());
    dump.vmcoreinfo = Some(VmcoreInfo::parse(&text));
}

/// What a vmlinux says of the kernel beside VMCOREINFO.
fn description(dump: &Dump, info: &VmcoreInfo, vmlinux: &Vmlinux) -> Result<String, Error> {
    let Some(dwarf) = Dwarf::open(vmlinux)? else { return Ok(String::new()) };
    let symbols = Relocated::by_info(vmlinux, info);
    vmcoreinfo::missing_keys(info, &dwarf, &symbols, dump.machine.word.bytes() as u64)
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
