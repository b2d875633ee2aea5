//! ORC: the tables by which an x86_64 kernel finds its own callers (`CONFIG_UNWINDER_ORC`).
//!
//! Two arrays of the same length: addresses of code, each as its distance from where it is stored, in ascending order; and
//! entries of six bytes (`struct orc_entry`) that say how to find the caller of the code from there on. The kernel has a
//! pair of arrays, and so does each module.
//!
//! What the bits of an entry mean has changed without a mark in the kernel's memory, so it is settled by what the table
//! itself holds: nearly all entries are of functions whose frame is found from the stack pointer.

use crate::symbols::Symbols;
use crate::{Error, KernelMemory};
use std::cell::RefCell;
use std::collections::HashMap;
use vmcore::VirtAddr;

/// The most entries believed; kernels of distributions have about a million.
const MAX_ENTRIES: u64 = 1 << 23;
/// Bytes of an entry and of an address.
const ENTRY: u64 = 6;
const IP: u64 = 4;
/// Entries that are read at once.
const PIECE: u64 = 1024;
/// Pieces, evenly spread, by which the meaning of bits is settled.
const SAMPLES: u64 = 32;
/// The most answers that are kept. Stacks of sleeping tasks are alike, so few are needed.
const MAX_KEPT: usize = 1 << 14;

/// The register that a rule begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// None: the register did not change, or the rule has no beginning.
    Undefined,
    /// The stack pointer before the call (the frame's end).
    PrevSp,
    /// rsp.
    Sp,
    /// rbp.
    Bp,
    /// What is stored where rsp points to.
    SpIndirect,
    /// What is stored at rbp and the offset.
    BpIndirect,
    /// Another one, by its place in `struct pt_regs`, in words.
    Other(usize),
}

/// What is on the stack where the rule leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No rule.
    Undefined,
    /// There is no caller: the stack begins here.
    End,
    /// A return address lies right below.
    Call,
    /// A whole `struct pt_regs` is there.
    Regs,
    /// What the processor stores when it is interrupted is there: the end of a `struct pt_regs`.
    PartialRegs,
}

/// How to find the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) sp: Base,
    pub(super) sp_offset: i16,
    pub(super) bp: Base,
    pub(super) bp_offset: i16,
    pub(super) kind: Kind,
    /// What is found was interrupted and did not call.
    pub(super) signal: bool,
}

/// What the bits of an entry's last two bytes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    flags: Flags,
    /// The registers' numbers are those of 7.1 and later.
    renumbered: bool,
}

/// The bits above the two registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flags {
    /// Two bits of type, then `end` (before 6.3).
    End,
    /// Two bits of type, then `signal` and `end` (6.3).
    SignalEnd,
    /// Three bits of type, then `signal` (6.4 and later).
    Types,
}

/// One pair of arrays.
#[derive(Clone, Copy, Debug)]
struct Table {
    ips: u64,
    entries: u64,
    count: u64,
}

/// The tables of a kernel and its modules.
pub struct Orc<'a> {
    memory: &'a dyn KernelMemory,
    layout: Layout,
    tables: Vec<Table>,
    kept: RefCell<HashMap<u64, Option<Rule>>>,
}

impl<'a> Orc<'a> {
    /// Finds the kernel's table; `None` when it has none.
    ///
    /// # Errors
    ///
    /// When the table is not in the dump, or its symbols or entries make no sense.
    pub fn open(memory: &'a dyn KernelMemory, symbols: &dyn Symbols) -> Result<Option<Self>, Error> {
        let names = ["__start_orc_unwind_ip", "__stop_orc_unwind_ip", "__start_orc_unwind"];
        let mut found = [0; 3];
        for (addr, name) in found.iter_mut().zip(names) {
            let Some(symbol) = symbols.symbol(name)? else { return Ok(None) };
            *addr = symbol.0;
        }
        let [start, stop, entries] = found;
        let count = stop.wrapping_sub(start) / IP;
        if count == 0 || count > MAX_ENTRIES {
            return Err(Error::Implausible {
                what: "the number of ORC entries".into(),
                addr: VirtAddr(start),
                found: count.to_string(),
                expected: format!("1 to {MAX_ENTRIES}"),
            });
        }
        let table = Table { ips: start, entries, count };
        let layout = settle(memory, table)?;
        Ok(Some(Self { memory, layout, tables: vec![table], kept: RefCell::default() }))
    }

    /// Adds a module's table (`struct mod_arch_specific`: `orc_unwind_ip`, `orc_unwind`, `num_orcs`). One that is empty or
    /// larger than any is left out.
    pub fn add(&mut self, ips: VirtAddr, entries: VirtAddr, count: u64) {
        if (1..=MAX_ENTRIES).contains(&count) {
            self.tables.push(Table { ips: ips.0, entries: entries.0, count });
        }
    }

    /// The rule for the code at `pc`; `None` where no table has one.
    pub(super) fn rule(&self, pc: u64) -> Option<Rule> {
        if let Some(known) = self.kept.borrow().get(&pc) {
            return *known;
        }
        let found = self.tables.iter().find_map(|table| self.rule_of(table, pc));
        let mut kept = self.kept.borrow_mut();
        if kept.len() < MAX_KEPT {
            kept.insert(pc, found);
        }
        found
    }

    fn rule_of(&self, table: &Table, pc: u64) -> Option<Rule> {
        self.at(table, self.position(table, pc)?)
    }

    /// The last entry whose code does not begin behind `pc`.
    fn position(&self, table: &Table, pc: u64) -> Option<u64> {
        let first = self.code_at(table, 0)?;
        let last = self.code_at(table, table.count - 1)?;
        if pc < first || pc > last.saturating_add(1 << 20) {
            return None;
        }
        let (mut low, mut high) = (0, table.count);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.code_at(table, middle)? <= pc {
                true => low = middle,
                false => high = middle,
            }
        }
        Some(low)
    }

    /// The rule of entry `index`.
    fn at(&self, table: &Table, index: u64) -> Option<Rule> {
        let mut bytes = [0; ENTRY as usize];
        self.memory.read(VirtAddr(table.entries.wrapping_add(index * ENTRY)), &mut bytes).ok()?;
        rule(bytes, self.layout)
    }

    /// Where the code of entry `index` begins.
    fn code_at(&self, table: &Table, index: u64) -> Option<u64> {
        let at = table.ips.wrapping_add(index * IP);
        let distance = self.memory.read_u32(VirtAddr(at)).ok()? as i32;
        Some(at.wrapping_add_signed(distance.into()))
    }
}

/// The two offsets, and the bits behind them.
fn parts(bytes: [u8; ENTRY as usize]) -> (i16, i16, u16) {
    let [a, b, c, d, e, f] = bytes;
    (i16::from_le_bytes([a, b]), i16::from_le_bytes([c, d]), u16::from_le_bytes([e, f]))
}

fn rule(bytes: [u8; ENTRY as usize], layout: Layout) -> Option<Rule> {
    let (sp_offset, bp_offset, bits) = parts(bytes);
    let sp = base(bits & 15, layout.renumbered)?;
    let bp = base(bits >> 4 & 15, layout.renumbered)?;
    let old = |end: u16| match (bits >> 8 & 3, sp) {
        _ if bits >> end & 1 == 1 => Some(Kind::End),
        (_, Base::Undefined) => Some(Kind::Undefined),
        (0, _) => Some(Kind::Call),
        (1, _) => Some(Kind::Regs),
        (2, _) => Some(Kind::PartialRegs),
        _ => None,
    };
    let kind = match layout.flags {
        Flags::End => old(10)?,
        Flags::SignalEnd => old(11)?,
        Flags::Types => match bits >> 8 & 7 {
            0 => Kind::Undefined,
            1 => Kind::End,
            2 => Kind::Call,
            3 => Kind::Regs,
            4 => Kind::PartialRegs,
            _ => return None,
        },
    };
    let signal = match layout.flags {
        Flags::End => matches!(kind, Kind::Regs | Kind::PartialRegs),
        Flags::SignalEnd => bits >> 10 & 1 == 1,
        Flags::Types => bits >> 11 & 1 == 1,
    };
    Some(Rule { sp, sp_offset, bp, bp_offset, kind, signal })
}

/// The register of a number (kernel: `ORC_REG_…` of `arch/x86/include/asm/orc_types.h`).
fn base(number: u16, renumbered: bool) -> Option<Base> {
    let places = super::pt_regs::X86_64;
    let [ax, dx, di, r10, r13] = [places.ax, places.dx, places.di, places.r10, places.r13].map(Base::Other);
    let known = match renumbered {
        false => [
            Base::Undefined,
            Base::PrevSp,
            dx,
            di,
            Base::Bp,
            Base::Sp,
            r10,
            r13,
            Base::BpIndirect,
            Base::SpIndirect,
            ax,
        ],
        true => [
            Base::Undefined,
            ax,
            dx,
            Base::Sp,
            Base::Bp,
            di,
            r10,
            r13,
            Base::PrevSp,
            Base::SpIndirect,
            Base::BpIndirect,
        ],
    };
    known.get(usize::from(number)).copied()
}

/// Settles what the bits mean.
fn settle(memory: &dyn KernelMemory, table: Table) -> Result<Layout, Error> {
    // How often each number is the stack's register, the frame pointer's, and the type of a rule.
    let (mut sp, mut bp, mut types) = ([0u32; 16], [0u32; 16], [0u32; 8]);
    let mut all = 0u32;
    let step = (table.count / SAMPLES).max(PIECE);
    for first in (0..table.count).step_by(step as usize) {
        each(memory, table, first, PIECE.min(table.count - first), |bits| {
            all += 1;
            sp[usize::from(bits & 15)] += 1;
            bp[usize::from(bits >> 4 & 15)] += 1;
            if bits & 15 != 0 {
                types[usize::from(bits >> 8 & 7)] += 1;
            }
        })?;
    }
    let most = all / 2;
    let renumbered = match (sp[5] > sp[3], bp[1] > bp[8]) {
        (true, true) => Some(false),
        (false, false) => Some(true),
        _ => None,
    };
    let calls_are = types.iter().position(|&count| count > most);
    let flags = match calls_are {
        Some(2) => Some(Flags::Types),
        // `end` is where `signal` has been since 6.3. Only ends have that bit and no register.
        Some(0) => {
            let (mut old, mut new) = (0u32, 0u32);
            for first in (0..table.count).step_by(PIECE as usize) {
                each(memory, table, first, PIECE.min(table.count - first), |bits| {
                    old += u32::from(bits & 0x0c0f == 0x0400);
                    new += u32::from(bits & 0x0800 != 0);
                })?;
            }
            match (old, new) {
                (_, 0) => Some(Flags::End),
                (0, _) => Some(Flags::SignalEnd),
                _ => None,
            }
        }
        _ => None,
    };
    renumbered.zip(flags).map(|(renumbered, flags)| Layout { flags, renumbered }).ok_or_else(|| {
        Error::Implausible {
            what: "the ORC entries".into(),
            addr: VirtAddr(table.entries),
            found: format!(
                "{all} entries of which {} have rsp by the old and {} by the new number",
                sp[5], sp[3]
            ),
            expected: "entries most of which are of calls and go by rsp".into(),
        }
    })
}

/// Shows the bits of `count` entries from `first` on.
fn each(
    memory: &dyn KernelMemory,
    table: Table,
    first: u64,
    count: u64,
    mut see: impl FnMut(u16),
) -> Result<(), Error> {
    let mut bytes = vec![0; (count * ENTRY) as usize];
    memory.read(VirtAddr(table.entries.wrapping_add(first * ENTRY)), &mut bytes)?;
    let (entries, _) = bytes.as_chunks::<{ ENTRY as usize }>();
    entries.iter().for_each(|&entry| see(parts(entry).2));
    Ok(())
}
