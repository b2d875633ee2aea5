//! What happened according to the log, one after another.

use super::Kind;
use super::place::{Who, address, place};
use super::signs::{Role, Sign, sign};
use super::trace::Trace;
use crate::log::{Entries, Entry};
use kernel::log::Caller;
use std::collections::HashMap;

/// The most entries that one event is made of.
const MAX_ENTRIES: usize = 600;
/// The most entries without a trace after which a report of a check is over.
const MAX_BEFORE_TRACE: usize = 80;
/// The most events kept: the last ones. A kernel that survives this many oopses is not helped by more.
const MAX_EVENTS: usize = 512;
/// The most lines that an event shows.
const MAX_LINES: usize = 8;

const PANIC: &str = "Kernel panic - not syncing: ";

/// An oops, a report or the panic.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) role: Role,
    pub(super) kind: Kind,
    /// The message that it began with.
    pub(super) words: String,
    /// The entries that say so.
    pub(super) lines: Vec<usize>,
    /// All entries of it.
    pub(super) entries: Vec<usize>,
    pub(super) at: Option<String>,
    pub(super) address: Option<u64>,
    pub(super) who: Who,
    pub(super) trace: Trace,
    /// The kernel said that it is over, and went on.
    pub(super) ended: bool,
    /// It began while the one before was not over, on the same CPU: it is a consequence.
    pub(super) nested: bool,
    numbered: bool,
    caller: Option<Caller>,
}

/// All events up to the panic.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// In the log's order.
    pub(super) before: Vec<Event>,
    /// The first panic: all later ones are its consequence.
    pub(super) panic: Option<Event>,
}

impl Events {
    /// Reads the log. A line of a program is none of the kernel's words, whatever it says.
    pub(super) fn of(entries: &Entries) -> Self {
        let mut events = Self::default();
        // What each thread or CPU is in the middle of.
        let mut open: HashMap<Option<Caller>, Event> = HashMap::new();
        for (index, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.kernel) {
            let message = entry.message();
            if let Some(panic) = &mut events.panic {
                panic.take(index, entry);
                continue;
            }
            if let Some(words) = message.strip_prefix(PANIC) {
                let mut rest: Vec<_> = open.drain().map(|(_, event)| event).collect();
                rest.sort_by_key(Event::begin);
                rest.into_iter().for_each(|event| events.close(event));
                let sign = Sign { role: Role::Report, kind: Kind::Panic };
                events.panic = Some(Event::new(index, entry, words, sign));
                continue;
            }
            let current = open.get_mut(&entry.caller);
            let mut sign = sign(message);
            // What is reported in the middle of an oops is a consequence of it.
            if current.as_ref().is_some_and(|event| event.is_oops() && !event.ended && !event.is_full()) {
                sign = sign.filter(|sign| sign.role != Role::Report);
            }
            let Some(sign) = sign else {
                if let Some(event) = current
                    && !event.take(index, entry)
                    && let Some(event) = open.remove(&entry.caller)
                {
                    events.close(event);
                }
                continue;
            };
            if let Some(event) = current
                && event.continues(index, entry, sign)
            {
                continue;
            }
            let mut event = Event::new(index, entry, message, sign);
            if let Some(before) = open.remove(&entry.caller) {
                event.nested = sign.role != Role::Report && before.role != Role::Report && !before.ended;
                events.close(before);
            }
            open.insert(entry.caller, event);
        }
        let mut rest: Vec<_> = open.into_values().collect();
        rest.sort_by_key(Event::begin);
        rest.into_iter().for_each(|event| events.close(event));
        events.before.sort_by_key(Event::begin);
        events
    }

    fn close(&mut self, event: Event) {
        if self.before.len() >= MAX_EVENTS {
            self.before.remove(0);
        }
        self.before.push(event);
    }
}

impl Event {
    fn new(index: usize, entry: &Entry, words: &str, Sign { role, kind }: Sign) -> Self {
        let mut event = Self {
            role,
            kind,
            words: words.to_owned(),
            lines: vec![index],
            entries: vec![index],
            at: None,
            address: None,
            who: Who::default(),
            trace: Trace::default(),
            ended: false,
            nested: false,
            numbered: role == Role::Die,
            caller: entry.caller,
        };
        event.look(kind, words);
        event
    }

    fn begin(&self) -> usize {
        self.entries.first().copied().unwrap_or_default()
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= MAX_ENTRIES
    }

    pub(super) fn is_oops(&self) -> bool {
        self.role != Role::Report
    }

    /// Takes what the line that begins it, or goes on beginning it, says.
    fn look(&mut self, kind: Kind, message: &str) {
        let has_address = matches!(kind, Kind::NullPointer | Kind::BadAccess | Kind::GeneralProtection);
        if has_address && self.address.is_none() {
            self.address = address(message);
        }
        if matches!(
            kind,
            Kind::SoftLockup | Kind::HardLockup | Kind::HungTask | Kind::MachineCheck | Kind::NullPointer
        ) || message.starts_with("CPU ")
        {
            let who = Who::of_watchdog(message);
            self.who.cpu = self.who.cpu.or(who.cpu);
            self.who.pid = self.who.pid.or(who.pid);
            self.who.comm = self.who.comm.take().or(who.comm);
        }
    }

    /// Whether a line with a sign still belongs to the beginning of this event; takes it if so.
    fn continues(&mut self, index: usize, entry: &Entry, sign: Sign) -> bool {
        let soon = index.saturating_sub(self.begin()) <= 40 && self.trace.is_ahead();
        let goes_on = match (self.role, sign.role) {
            // Errors of hardware come in many lines; a check may say what is wrong in front of its WARNING.
            (Role::Report, Role::Report) => match self.kind {
                Kind::MachineCheck => sign.kind == Kind::MachineCheck,
                Kind::Corruption => sign.kind == Kind::Panic && self.entries.len() <= 3,
                _ => false,
            },
            // A check of the kernel says what is wrong, then it stops with BUG().
            (Role::Report, _) => self.kind == Kind::Corruption && sign.kind == Kind::Bug,
            (_, Role::Report) => false,
            // KASAN says more on an address that is none after the number.
            (_, Role::Oops) => !self.numbered || entry.message().starts_with("KASAN: "),
            (_, Role::Die) => !self.numbered,
        };
        if !soon || !goes_on {
            return false;
        }
        if self.role == Role::Report && sign.role != Role::Report {
            self.role = sign.role;
        }
        if entry.message().starts_with("KASAN: ") {
            // The address before is that of KASAN's own note of the memory that was meant.
            self.kind = sign.kind;
            self.address = None;
        } else if self.kind == Kind::BadAccess && sign.kind != Kind::Trap {
            self.kind = sign.kind;
        }
        self.numbered |= sign.role == Role::Die;
        self.look(sign.kind, entry.message());
        self.note(index);
        self.entries.push(index);
        true
    }

    fn note(&mut self, index: usize) {
        if self.lines.len() < MAX_LINES {
            self.lines.push(index);
        }
    }

    /// Takes the next line of its thread or CPU. Says whether the event may go on.
    fn take(&mut self, index: usize, entry: &Entry) -> bool {
        if self.caller != entry.caller {
            return true;
        }
        if self.ended || self.is_full() {
            return false;
        }
        let message = entry.message();
        if message.starts_with("---[ end ") {
            self.ended = true;
            self.entries.push(index);
            return true;
        }
        let in_trace = self.trace.take(message);
        if !self.is_oops() {
            // After its trace a report is over; before it, it may be interrupted.
            if self.trace.is_over() || self.trace.is_ahead() && self.entries.len() > MAX_BEFORE_TRACE {
                self.ended = true;
                return self.kind == Kind::Panic;
            }
        }
        self.entries.push(index);
        if in_trace {
            return true;
        }
        if let Some(rest) = message.strip_prefix("Failing address: ") {
            self.address = address(&format!("address: {rest}"));
            self.note(index);
        } else if let Some(who) = Who::of_header(message) {
            if self.who.comm.is_none() {
                self.note(index);
            }
            self.who.cpu = self.who.cpu.or(who.cpu);
            self.who.pid = self.who.pid.or(who.pid);
            self.who.comm = self.who.comm.take().or(who.comm);
        } else if self.at.is_none()
            && self.trace.is_ahead()
            && let Some(place) = place(message)
        {
            self.at = Some(place);
            self.note(index);
        }
        true
    }

    /// The kind, by all that the event has said.
    pub(super) fn kind(&self) -> Kind {
        // A page of addresses from 0 on is left unmapped so that null pointers with offsets are found.
        match self.kind {
            Kind::BadAccess if self.address.is_some_and(|address| address < 4096) => Kind::NullPointer,
            kind => kind,
        }
    }
}
