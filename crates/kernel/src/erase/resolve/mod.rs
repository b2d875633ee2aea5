//! From rules to bytes.

mod walk;

use super::{Erase, Erasure, Erasures, Expression, Loop, Over, Position, Rule, What};
use crate::knowledge::Known;
use crate::symbols::Symbols;
use crate::types::{Field, MAX_DEPTH, Named, Type, TypeId, Types};
use crate::{Error, KernelMemory};
use std::collections::HashMap;
use vmcore::VirtAddr;

/// The longest string that is followed, as makedumpfile's.
const MAX_STRING: usize = 1024;

/// The most bytes of all erasures that are believed.
const MAX_BYTES: u64 = 1 << 30;

/// Something an expression has led to.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Where it is; a pointer's own place, not where it leads.
    at: u64,
    kind: TypeId,
}

/// Where following an expression led.
enum Led {
    To(Place),
    /// A pointer on the way is null: there is nothing to erase.
    Nowhere,
}

/// The variable of a loop and the element that it stands for.
type Variable<'a> = Option<(&'a str, Place)>;

struct Resolver<'a, 'k> {
    known: &'a Known<'k>,
    types: &'a dyn Types,
    memory: &'a dyn KernelMemory,
    found: Erasures,
    /// A second rule for the same place only makes it longer.
    places: HashMap<u64, usize>,
    bytes: u64,
}

pub(super) fn resolve(rules: &[Rule], known: &Known<'_>) -> Result<Erasures, Error> {
    let Some(first) = rules.first() else { return Ok(Erasures::default()) };
    let types = known.types().ok_or_else(|| {
        refused(first.at, "nothing describes the kernel's types: give its vmlinux with debug information")
    })?;
    expect(rules, types)?;
    let memory = known.memory();
    let mut resolver =
        Resolver { known, types, memory, found: Erasures::default(), places: HashMap::new(), bytes: 0 };
    for rule in rules {
        if rule.module != "vmlinux" {
            resolver.module(rule)?;
            continue;
        }
        match &rule.over {
            None => rule.erase.iter().try_for_each(|erase| resolver.command(erase, None))?,
            Some(over) => {
                for place in resolver.elements(over)? {
                    let variable = Some((over.variable.as_str(), place));
                    rule.erase.iter().try_for_each(|erase| resolver.command(erase, variable))?;
                }
            }
        }
    }
    Ok(resolver.found)
}

/// Announces to the types all names that will be looked up, so that debug information is walked only once.
fn expect(rules: &[Rule], types: &dyn Types) -> Result<(), Error> {
    let mut names = Vec::new();
    for rule in rules.iter().filter(|rule| rule.module == "vmlinux") {
        let variable = rule.over.as_ref().map(|over| over.variable.as_str());
        let lists = rule.over.iter().map(|over| &over.list);
        let sizes = rule.erase.iter().filter_map(|erase| match &erase.what {
            What::BytesIn(size) => Some(size),
            _ => None,
        });
        let expressions = lists.chain(rule.erase.iter().map(|erase| &erase.target)).chain(sizes);
        let symbols = expressions.map(|e| e.parts[0].as_str()).filter(|name| Some(*name) != variable);
        names.extend(symbols.map(|name| (Named::Variable, name)));
        if let Some(Over::ListHead { structure, .. }) = rule.over.as_ref().map(|over| &over.over) {
            names.push((Named::Struct, structure));
        }
    }
    types.expect(&names, &[])
}

fn refused(at: Position, why: impl Into<String>) -> Error {
    Error::Rule { line: at.line, column: at.column, why: why.into() }
}

impl Resolver<'_, '_> {
    /// A rule for a module: it has no effect when the module is not loaded, and is refused otherwise, because the
    /// module's symbols and types are not in the vmlinux.
    fn module(&mut self, rule: &Rule) -> Result<(), Error> {
        let list = Expression { at: rule.at, parts: vec!["modules".into()] };
        let over = Over::ListHead { structure: "module".into(), member: "list".into() };
        let loaded = self.elements(&Loop { variable: String::new(), list, over })?;
        for place in loaded {
            let Some(name) = self.member(place.kind, "name")? else { continue };
            if self.string(place.at.wrapping_add(name.bit_offset / 8))? == rule.module.as_bytes() {
                let why =
                    format!("the module {} is loaded, and data of modules cannot be erased", rule.module);
                return Err(refused(rule.at, why));
            }
        }
        let remark = format!(
            "line {}: the module {} is not loaded, so the rule has no effect",
            rule.at.line, rule.module
        );
        self.found.remarks.push(remark);
        Ok(())
    }

    /// One `erase`.
    fn command(&mut self, erase: &Erase, variable: Variable<'_>) -> Result<(), Error> {
        let at = erase.target.at;
        let read = self.erasure(erase, variable);
        match unreadable(read)? {
            Ok(Some((from, len, nullify))) if len > 0 => {
                self.bytes = self.bytes.saturating_add(len);
                if self.bytes > MAX_BYTES {
                    let why = format!("{len} bytes of {} are too many", erase.target.text());
                    return Err(refused(at, format!("{why}: no more than {MAX_BYTES} are erased in all")));
                }
                if let Some(&known) = self.places.get(&from) {
                    let earlier = &mut self.found.erasures[known];
                    earlier.len = earlier.len.max(len);
                    return Ok(());
                }
                self.places.insert(from, self.found.erasures.len());
                self.found.erasures.push(Erasure {
                    at: VirtAddr(from),
                    len,
                    nullify,
                    expression: erase.target.text(),
                });
            }
            Ok(_) => {}
            Err(why) => {
                let text = erase.target.text();
                self.found.remarks.push(format!("line {}: {text} is not erased: {why}", at.line));
            }
        }
        Ok(())
    }

    /// The bytes that a command erases; `None` when there are none.
    fn erasure(&self, erase: &Erase, variable: Variable<'_>) -> Result<Option<(u64, u64, bool)>, Error> {
        let Led::To(place) = self.follow(&erase.target, variable)? else { return Ok(None) };
        let pointee = self.pointee(place.kind)?;
        if erase.what == What::Pointer {
            // Of an array of pointers the first, as makedumpfile does it.
            let pointer = pointee.is_some() || self.is_array_of_pointers(place.kind)?;
            return match pointer {
                true => Ok(Some((place.at, self.word(), true))),
                false => {
                    let why = format!("{} is not a pointer, so it cannot be nullified", erase.target.text());
                    Err(refused(erase.target.at, why))
                }
            };
        }
        let (from, kind) = match pointee {
            None => (place.at, place.kind),
            Some(kind) => (self.memory.read_word(VirtAddr(place.at))?, kind),
        };
        if from == 0 {
            return Ok(None);
        }
        let len = match &erase.what {
            What::Bytes(len) => *len,
            What::BytesIn(size) => self.number(size, variable)?,
            _ if pointee.is_some() && self.is_char(kind)? => self.string(from)?.len() as u64,
            _ if pointee.is_some() && self.types.get(kind)? == Type::Void => {
                let why = format!("the size of what {} points to is not known", erase.target.text());
                return Err(refused(erase.target.at, format!("{why}: add 'size' or 'nullify'")));
            }
            _ => self.types.size(kind, self.word())?.ok_or_else(|| {
                let why = format!("the size of {} is not known", erase.target.text());
                refused(erase.target.at, format!("{why}: add 'size N'"))
            })?,
        };
        Ok(Some((from, len, false)))
    }

    /// The number at the place where a size's expression leads.
    fn number(&self, size: &Expression, variable: Variable<'_>) -> Result<u64, Error> {
        let Led::To(place) = self.follow(size, variable)? else { return Ok(0) };
        let (at, kind) = match self.pointee(place.kind)? {
            None => (place.at, place.kind),
            Some(kind) => (self.memory.read_word(VirtAddr(place.at))?, kind),
        };
        if at == 0 {
            return Ok(0);
        }
        let len = match self.types.get(kind)? {
            Type::Base { size, .. } | Type::Enum { size } => size,
            _ => 0,
        };
        let machine = self.memory.machine();
        let mut bytes = [0; 8];
        let len = usize::try_from(len).ok().filter(|len| [1, 2, 4, 8].contains(len));
        let Some(len) = len else {
            return Err(refused(size.at, format!("{} is not a number, so it cannot be a size", size.text())));
        };
        self.memory.read(VirtAddr(at), &mut bytes[..len])?;
        Ok(match len {
            1 => bytes[0].into(),
            2 => machine.u16(&bytes).into(),
            4 => machine.u32(&bytes).into(),
            _ => machine.u64(&bytes),
        })
    }

    /// Follows an expression from the symbol, or the loop's variable, through its members.
    fn follow(&self, expression: &Expression, variable: Variable<'_>) -> Result<Led, Error> {
        let Some((first, members)) = expression.parts.split_first() else { return Ok(Led::Nowhere) };
        let mut place = match variable.filter(|(name, _)| name == first) {
            Some((_, place)) => place,
            None => self.variable(expression.at, first)?,
        };
        for name in members {
            if let Some(kind) = self.pointee(place.kind)? {
                place = Place { at: self.memory.read_word(VirtAddr(place.at))?, kind };
                if place.at == 0 {
                    return Ok(Led::Nowhere);
                }
            }
            let field = self.member(place.kind, name)?.ok_or_else(|| {
                refused(expression.at, format!("{} leads to no member {name}", expression.text()))
            })?;
            if field.bits.is_some() {
                let why = format!("{name} of {} is a bit field, which shares its bytes", expression.text());
                return Err(refused(expression.at, why));
            }
            place = Place { at: place.at.wrapping_add(field.bit_offset / 8), kind: field.kind };
        }
        Ok(Led::To(place))
    }

    /// A variable of the kernel.
    fn variable(&self, at: Position, name: &str) -> Result<Place, Error> {
        let addr = self.known.symbol(name)?;
        let addr = addr.ok_or_else(|| refused(at, format!("the kernel has no symbol {name}")))?;
        let kind = self.types.find(Named::Variable, name)?.ok_or_else(|| {
            let why = format!("the type of {name} is not known");
            refused(at, format!("{why} (BTF has those of per-CPU variables only): give the kernel's vmlinux"))
        })?;
        Ok(Place { at: addr.0, kind })
    }

    /// A member, also of a struct that is only declared where the path comes from.
    fn member(&self, kind: TypeId, name: &str) -> Result<Option<Field>, Error> {
        self.types.member(self.complete(kind)?, name)
    }

    /// The definition of a struct that is only declared where a path comes through.
    fn complete(&self, kind: TypeId) -> Result<TypeId, Error> {
        Ok(match self.types.get(kind)? {
            Type::Struct { name, size: None } if !name.is_empty() => {
                self.types.find(Named::Struct, &name)?.unwrap_or(kind)
            }
            _ => kind,
        })
    }

    /// What a pointer leads to; `None` for everything else.
    fn pointee(&self, kind: TypeId) -> Result<Option<TypeId>, Error> {
        match self.types.get(kind)? {
            Type::Pointer(to) => self.complete(to).map(Some),
            _ => Ok(None),
        }
    }

    fn is_char(&self, kind: TypeId) -> Result<bool, Error> {
        Ok(matches!(self.types.get(kind)?, Type::Base { name, .. } if name == "char"))
    }

    fn is_array_of_pointers(&self, kind: TypeId) -> Result<bool, Error> {
        let mut kind = kind;
        for _ in 0..MAX_DEPTH {
            match self.types.get(kind)? {
                Type::Array { element, .. } => kind = element,
                other => return Ok(matches!(other, Type::Pointer(_))),
            }
        }
        Ok(false)
    }

    fn is_list_head(&self, kind: TypeId) -> Result<bool, Error> {
        Ok(matches!(self.types.get(kind)?, Type::Struct { name, .. } if name == "list_head"))
    }

    /// The string at `at`, without its NUL, as far as memory goes.
    fn string(&self, at: u64) -> Result<Vec<u8>, Error> {
        let mut text = Vec::new();
        while text.len() < MAX_STRING {
            let mut byte = [0];
            self.memory.read(VirtAddr(at.wrapping_add(text.len() as u64)), &mut byte)?;
            if byte[0] == 0 {
                break;
            }
            text.push(byte[0]);
        }
        Ok(text)
    }

    fn word(&self) -> u64 {
        self.memory.machine().word.bytes() as u64
    }
}

/// Separates memory that is not there, which becomes a remark, from errors in a rule or the input.
fn unreadable<T>(result: Result<T, Error>) -> Result<Result<T, Error>, Error> {
    match result {
        Err(error @ (Error::NotMapped { .. } | Error::NotInDump { .. })) => Ok(Err(error)),
        Err(error) => Err(error),
        Ok(value) => Ok(Ok(value)),
    }
}
