//! The kernel's modules.

use crate::machine::taint_letters;
use crate::{Report, Subject};
use kernel::symbol_map::Part;
use vmcore::{VirtAddr, WordSize};

/// The most modules, and the most symbols of one, believed.
const MOST: usize = 1 << 13;
const MOST_SYMBOLS: u64 = 1 << 16;
/// The longest name of a symbol (the kernel's `KSYM_NAME_LEN`).
const LONGEST: usize = 512;

/// `MOD_TEXT` and `MOD_INIT_TEXT` of the kernel's `enum mod_mem_type`.
const CODE: [u64; 2] = [0, 4];

/// A module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Where it begins (`module_core`, or the text).
    pub base: u64,
    /// Bytes that it takes, all of its parts.
    pub size: u64,
    /// `live`, `coming`, `going`, `unformed`.
    pub state: &'static str,
    /// The letters of how it taints the kernel.
    pub taints: String,
    /// Its version, where it says one.
    pub version: Option<String>,
    /// Its build ID in hexadecimal, where the kernel keeps it.
    pub build_id: Option<String>,
    /// The parts of memory that it has: address and bytes.
    pub regions: Vec<(u64, u64)>,
}

/// All modules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modules {
    /// In the kernel's order: the last one loaded first. `None` where they cannot be told.
    pub loaded: Option<Vec<Module>>,
    /// The one that was unloaded last, where the kernel says so.
    pub last_unloaded: Option<String>,
}

/// Finds the modules and adds their symbols to the subject's.
pub(crate) fn find(subject: &mut Subject<'_>, report: &mut Report) {
    // A kernel without modules has no list of them.
    let Some(head) = subject.symbol("modules") else {
        report.modules.loaded = (!subject.symbols.is_empty()).then(Vec::new);
        return;
    };
    if subject.offset("module.list").is_none() {
        return;
    }
    let (found, whole) = subject.list(head, "module.list", MOST);
    if !whole {
        report.lacks("modules", format!("their list cannot be followed beyond the first {}", found.len()));
    }
    let mut loaded = Vec::new();
    for at in found {
        let parts = parts(subject, at);
        let name = subject.text_in(at, "module.name").unwrap_or_default();
        let symbols = symbols(subject, at);
        let of_symbols = symbols.iter().map(|(name, addr)| (name.as_str(), *addr));
        loaded.push(module(subject, at, &name, &parts));
        subject.symbols.add_module(&name, parts, of_symbols);
    }
    report.modules.loaded = Some(loaded);
    let unloaded = subject.symbol("last_unloaded_module");
    // It was an array of characters, and is a struct that begins with one since 5.16.
    report.modules.last_unloaded =
        unloaded.and_then(|at| subject.text(at, 64)).filter(|name| !name.is_empty());
}

fn module(subject: &Subject<'_>, at: u64, name: &str, parts: &[Part]) -> Module {
    let state = match subject.number_in(at, "module.state") {
        Some(0) => "live",
        Some(1) => "coming",
        Some(2) => "going",
        Some(3) => "unformed",
        _ => "unknown",
    };
    let taints = subject.pointer_in(at, "module.taints").unwrap_or(0);
    let version = subject.offset("module.version").and_then(|offset| {
        let version = subject.text_at(at.wrapping_add(offset), 128)?;
        (!version.is_empty()).then_some(version)
    });
    let build_id = subject.place("module.build_id").and_then(|place| {
        let mut id = vec![0; usize::try_from(place.size).ok().filter(|&size| size <= 64)?];
        subject.read(at.wrapping_add(place.offset), &mut id)?;
        let some = id.iter().any(|&byte| byte != 0);
        some.then(|| id.iter().map(|byte| format!("{byte:02x}")).collect())
    });
    Module {
        name: name.to_owned(),
        base: parts.first().map_or(0, |part| part.start.0),
        size: parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.size)),
        state,
        taints: taint_letters(taints),
        version,
        build_id,
        regions: parts.iter().map(|part| (part.start.0, part.size)).collect(),
    }
}

/// The parts of a module's memory, its code first: an array since 6.4, one each for what stays and what only its start
/// needs before.
fn parts(subject: &Subject<'_>, at: u64) -> Vec<Part> {
    let mut parts = Vec::new();
    if let (Some(place), Some((count, size))) = (subject.place("module.mem"), subject.array("module.mem")) {
        for index in 0..count.min(16) {
            let memory = at.wrapping_add(place.offset).wrapping_add(index.wrapping_mul(size));
            let base = subject.pointer_in(memory, "module_memory.base");
            let size = subject.number_in(memory, "module_memory.size");
            parts.extend(base.zip(size).map(|(base, size)| part(base, size, CODE.contains(&index))));
        }
    } else {
        for layout in ["core_layout", "init_layout"] {
            let path = |member: &str| format!("module.{layout}.{member}");
            let base = subject.pointer_in(at, &path("base"));
            let size = subject.number_in(at, &path("size"));
            // What is not code lies behind it in the same piece.
            parts.extend(base.zip(size).map(|(base, size)| part(base, size, true)));
        }
    }
    parts.retain(|part| part.size > 0 && part.start.0 != 0);
    parts
}

fn part(base: u64, size: u64, code: bool) -> Part {
    Part { start: VirtAddr(base), size, code }
}

/// A module's symbols in the order of its table: names and addresses.
fn symbols(subject: &Subject<'_>, at: u64) -> Vec<(String, u64)> {
    let read = || {
        let table = subject.pointer_in(at, "module.kallsyms").filter(|&at| at != 0)?;
        let symbols = subject.pointer_in(table, "mod_kallsyms.symtab")?;
        let count = subject.number_in(table, "mod_kallsyms.num_symtab")?;
        let names = subject.pointer_in(table, "mod_kallsyms.strtab")?;
        Some((symbols, count, names))
    };
    let Some((symbols, count, names)) = read() else { return Vec::new() };
    let machine = subject.machine();
    // `Elf64_Sym` and `Elf32_Sym`: where the section and the value are, and the bytes of one.
    let (section, value, size) = match machine.word {
        WordSize::Bits64 => (6, 8, 24),
        WordSize::Bits32 => (14, 4, 16),
    };
    let mut found = Vec::new();
    for index in 0..count.min(MOST_SYMBOLS) {
        let mut symbol = [0; 24];
        let symbol = &mut symbol[..size];
        if subject.read(symbols.wrapping_add(index * size as u64), symbol).is_none() {
            break;
        }
        // Without a section it is another module's.
        if machine.u16(&symbol[section..]) == 0 {
            continue;
        }
        let name = names.wrapping_add(machine.u32(symbol).into());
        if let Some(name) = subject.text(name, LONGEST).filter(|name| !name.is_empty()) {
            found.push((name, machine.word(&symbol[value..])));
        }
    }
    found
}
