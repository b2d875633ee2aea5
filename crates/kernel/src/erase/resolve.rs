//! From rules to bytes.

use super::{Erase, Erasure, Erasures, Expression, Loop, Over, Position, Rule, What};
use crate::knowledge::Known;
use crate::symbols::Symbols;
use crate::types::{Field, MAX_DEPTH, Named, Type, TypeId, Types};
use crate::{Error, KernelMemory};
use std::collections::{HashMap, HashSet};
use vmcore::VirtAddr;

/// The longest string that is followed, as makedumpfile's.
const MAX_STRING: usize = 1024;

/// The most elements of one list, and bytes of all erasures, believed.
const MAX_ELEMENTS: usize = 1 << 20;
const MAX_BYTES: u64 = 1 << 30;

/// Something an expression has led to.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Where it is; a pointer's own place, not where it leads.
    at: u64,
    kind: TypeId,
}

/// What became of following an expression.
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

/// Tells the types what is going to be asked for, so that debug information is gone through once.
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
    /// A rule for a module: of no effect when the module is not loaded, else refused, for its symbols and types are not
    /// in the vmlinux.
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

    /// The bytes that a command is about; `None` when there are none.
    fn erasure(&self, erase: &Erase, variable: Variable<'_>) -> Result<Option<(u64, u64, bool)>, Error> {
        let Led::To(place) = self.follow(&erase.target, variable)? else { return Ok(None) };
        let pointee = self.pointee(place.kind)?;
        if erase.what == What::Pointer {
            // Of an array of pointers the first, as makedumpfile does it.
            let pointer = pointee.is_some() || self.is_array_of_pointers(place.kind)?;
            return match pointer {
                true => Ok(Some((place.at, self.word(), true))),
                false => {
                    let why = format!("{} is no pointer, so it cannot be nullified", erase.target.text());
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

    /// The number that stands where a size's expression leads.
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
            return Err(refused(size.at, format!("{} is no number, so it is no size", size.text())));
        };
        self.memory.read(VirtAddr(at), &mut bytes[..len])?;
        Ok(match len {
            1 => bytes[0].into(),
            2 => machine.u16(&bytes).into(),
            4 => machine.u32(&bytes).into(),
            _ => machine.u64(&bytes),
        })
    }

    /// Goes from the symbol, or the loop's variable, through the members.
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
            let why = format!("nothing tells the type of {name}");
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

    /// The elements that a loop goes over.
    fn elements(&mut self, over: &Loop) -> Result<Vec<Place>, Error> {
        let mut elements = Vec::new();
        let walked = self.walk(over, &mut elements);
        if let Err(why) = unreadable(walked)? {
            let (line, list) = (over.list.at.line, over.list.text());
            let count = elements.len();
            self.found
                .remarks
                .push(format!("line {line}: {list} could be followed for {count} elements: {why}"));
        }
        Ok(elements)
    }

    fn walk(&self, over: &Loop, elements: &mut Vec<Place>) -> Result<(), Error> {
        let list = &over.list;
        if let Over::ListHead { structure, member } = &over.over {
            return self.walk_list_head(list, structure, member, elements);
        }
        let Led::To(place) = self.follow(list, None)? else { return Ok(()) };
        if let Type::Array { element, count } = self.types.get(place.kind)? {
            let count = count.ok_or_else(|| {
                refused(list.at, format!("the length of the array {} is not known", list.text()))
            })?;
            return self.walk_array(list, place.at, element, count, elements);
        }
        if self.is_list_head(place.kind)? {
            let why = format!("{} is a list_head: add 'within STRUCT:MEMBER'", list.text());
            return Err(refused(list.at, why));
        }
        let next = match &over.over {
            Over::Chain(members) => members.clone(),
            _ => vec!["next".to_owned()],
        };
        self.walk_chain(list, place, &next, elements)
    }

    /// Every element of an array; of an array of pointers what they lead to, if anything.
    fn walk_array(
        &self,
        list: &Expression,
        at: u64,
        element: TypeId,
        count: u64,
        elements: &mut Vec<Place>,
    ) -> Result<(), Error> {
        let size = self.types.size(element, self.word())?.filter(|size| *size > 0);
        let size = size.ok_or_else(|| {
            refused(list.at, format!("the size of the elements of {} is not known", list.text()))
        })?;
        for i in 0..count.min(MAX_ELEMENTS as u64) {
            let at = at.wrapping_add(i.wrapping_mul(size));
            if self.pointee(element)?.is_none() || self.memory.read_word(VirtAddr(at))? != 0 {
                elements.push(Place { at, kind: element });
            }
        }
        Ok(())
    }

    /// Structs that lead to each other by a member, from the first on until null or the first again.
    fn walk_chain(
        &self,
        list: &Expression,
        start: Place,
        next: &[String],
        elements: &mut Vec<Place>,
    ) -> Result<(), Error> {
        let mut place = match self.pointee(start.kind)? {
            Some(kind) => Place { at: self.memory.read_word(VirtAddr(start.at))?, kind },
            None => start,
        };
        let mut seen = HashSet::new();
        while place.at != 0 && seen.insert(place.at) && elements.len() < MAX_ELEMENTS {
            let element = place;
            for name in next {
                let field = self.member(place.kind, name)?.ok_or_else(|| {
                    let why = format!("{} has no member {name} that leads to the next", list.text());
                    refused(list.at, why)
                })?;
                place = Place { at: place.at.wrapping_add(field.bit_offset / 8), kind: field.kind };
            }
            let Some(kind) = self.pointee(place.kind)? else {
                let why = format!("{} of {} is no pointer to the next element", next.join("."), list.text());
                return Err(refused(list.at, why));
            };
            elements.push(element);
            place = Place { at: self.memory.read_word(VirtAddr(place.at))?, kind };
        }
        Ok(())
    }

    /// The structs that hang on a `list_head`. The expression may name the head, or its member to go by.
    fn walk_list_head(
        &self,
        list: &Expression,
        structure: &str,
        member: &str,
        elements: &mut Vec<Place>,
    ) -> Result<(), Error> {
        let refuse = |why: String| refused(list.at, why);
        let mut head = Expression { at: list.at, parts: list.parts.clone() };
        let mut by = "next".to_owned();
        if let [.., before, last] = &list.parts[..]
            && ["next", "prev"].contains(&last.as_str())
            && !before.is_empty()
        {
            by.clone_from(last);
            head.parts.pop();
        }
        let Led::To(mut place) = self.follow(&head, None)? else { return Ok(()) };
        if let Some(kind) = self.pointee(place.kind)? {
            place = Place { at: self.memory.read_word(VirtAddr(place.at))?, kind };
        }
        if !self.is_list_head(place.kind)? {
            return Err(refuse(format!("{} is no list_head, which 'within' needs", head.text())));
        }
        let kind = self.types.structure(structure)?;
        let kind = kind.ok_or_else(|| refuse(format!("the kernel has no struct {structure}")))?;
        let hook = self.types.member(kind, member)?;
        let hook = match hook {
            Some(hook) if self.is_list_head(hook.kind)? => hook,
            Some(_) => return Err(refuse(format!("{member} of struct {structure} is no list_head"))),
            None => return Err(refuse(format!("struct {structure} has no member {member}"))),
        };
        let next = self.member(place.kind, &by)?;
        let next = next.ok_or_else(|| refuse(format!("struct list_head has no member {by}")))?.bit_offset / 8;
        let mut seen = HashSet::new();
        let mut node = place.at;
        if node == 0 {
            return Ok(());
        }
        loop {
            node = self.memory.read_word(VirtAddr(node.wrapping_add(next)))?;
            if node == 0 || node == place.at || !seen.insert(node) || elements.len() >= MAX_ELEMENTS {
                return Ok(());
            }
            elements.push(Place { at: node.wrapping_sub(hook.bit_offset / 8), kind });
        }
    }
}

/// Parts what memory does not hold, which is said, from what is wrong with a rule or the input, which ends it.
fn unreadable<T>(result: Result<T, Error>) -> Result<Result<T, Error>, Error> {
    match result {
        Err(error @ (Error::NotMapped { .. } | Error::NotInDump { .. })) => Ok(Err(error)),
        Err(error) => Err(error),
        Ok(value) => Ok(Ok(value)),
    }
}
