//! The elements that a rule's loop goes over.

use super::{Led, Place, Resolver, refused, unreadable};
use crate::Error;
use crate::erase::{Expression, Loop, Over};
use crate::types::{Type, TypeId};
use std::collections::HashSet;
use vmcore::VirtAddr;

/// The most elements of one list that are believed.
const MAX_ELEMENTS: usize = 1 << 20;

impl Resolver<'_, '_> {
    /// The elements that a loop goes over.
    pub(super) fn elements(&mut self, over: &Loop) -> Result<Vec<Place>, Error> {
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
                let why =
                    format!("{} of {} is not a pointer to the next element", next.join("."), list.text());
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
            return Err(refuse(format!("{} is not a list_head, which 'within' needs", head.text())));
        }
        let kind = self.types.structure(structure)?;
        let kind = kind.ok_or_else(|| refuse(format!("the kernel has no struct {structure}")))?;
        let hook = self.types.member(kind, member)?;
        let hook = match hook {
            Some(hook) if self.is_list_head(hook.kind)? => hook,
            Some(_) => return Err(refuse(format!("{member} of struct {structure} is not a list_head"))),
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
