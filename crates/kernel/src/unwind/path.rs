//! What every walk has to keep to: stay on stacks that are known, go outwards, and end.

use super::{End, Frame, Walk};
use crate::KernelMemory;
use std::ops::Range;
use vmcore::VirtAddr;

/// The most frames of a walk. The kernel's own traces end at 64 entries or so; the deepest real stacks have twice as many.
const MAX_FRAMES: usize = 512;
/// The most stacks that one walk leads over: a task's, and those of nested interrupts and exceptions.
const MAX_STACKS: usize = 8;

/// What a walk may look at.
pub struct Ground<'a> {
    /// The kernel's memory.
    pub memory: &'a dyn KernelMemory,
    /// The stacks that the walk may be on: the task's, and for a running task its CPU's for interrupts and exceptions.
    pub stacks: Vec<Range<u64>>,
    /// The size to which stacks are aligned, in bytes, where their places are not known: the walk then takes the aligned
    /// block around an address for a stack.
    pub aligned: Option<u64>,
    /// Where the function begins that has the code at an address; `None` where the kernel has no code there.
    pub function: &'a dyn Fn(u64) -> Option<u64>,
}

/// A walk on its way outwards.
pub(super) struct Path<'g> {
    ground: &'g Ground<'g>,
    frames: Vec<Frame>,
    /// The stacks that were entered, the current one last. One that was left is not entered again.
    entered: Vec<Range<u64>>,
    /// How far the walk is on the current stack.
    at: u64,
    /// It went anywhere yet: the first frame may begin at the stack pointer itself.
    moved: bool,
}

impl<'g> Path<'g> {
    /// A walk that begins at the stack pointer `sp`.
    pub(super) fn begin(ground: &'g Ground<'g>, sp: u64) -> Result<Self, String> {
        let stack = stack_of(ground, sp).ok_or_else(|| format!("{sp:#x} is on no stack that is known"))?;
        Ok(Self { ground, frames: Vec::new(), entered: vec![stack], at: sp, moved: false })
    }

    /// Goes on to `to`, with `len` bytes of a frame there: further out on this stack, or onto one that is new.
    pub(super) fn advance(&mut self, to: u64, len: u64) -> Result<(), String> {
        let end = to.checked_add(len).ok_or_else(|| format!("{to:#x} is at the end of all addresses"))?;
        let stack = self.stack();
        if stack.contains(&to) {
            if to < self.at || to == self.at && self.moved {
                return Err(format!("the stack at {to:#x} leads back"));
            }
            if end > stack.end {
                return Err(format!("the frame at {to:#x} reaches over its stack's end"));
            }
        } else {
            let next = stack_of(self.ground, to).filter(|next| end <= next.end);
            let next = next.ok_or_else(|| format!("{to:#x} is on no stack that is known"))?;
            if self.entered.len() >= MAX_STACKS || self.entered.contains(&next) {
                return Err(format!("{to:#x} is on a stack that was left before"));
            }
            self.entered.push(next);
        }
        (self.at, self.moved) = (to, true);
        Ok(())
    }

    /// The stack that the walk is on.
    pub(super) fn stack(&self) -> Range<u64> {
        self.entered.last().cloned().unwrap_or_default()
    }

    /// Whether `addr` is on a stack that is known.
    pub(super) fn stack_known(&self, addr: u64) -> bool {
        stack_of(self.ground, addr).is_some()
    }

    /// The word at `addr`.
    pub(super) fn word(&self, addr: u64) -> Result<u64, String> {
        self.ground
            .memory
            .read_word(VirtAddr(addr))
            .map_err(|error| format!("{addr:#x} cannot be read: {error}"))
    }

    /// The word at `addr`, if it lies on the current stack and can be read.
    pub(super) fn word_on_stack(&self, addr: u64) -> Option<u64> {
        let stack = self.stack();
        (addr >= stack.start && addr.checked_add(8)? <= stack.end).then(|| self.word(addr).ok()).flatten()
    }

    /// Where the function of the code at `pc` begins. An address to which a call returns may be the first one behind its
    /// function, when that does not expect the call to return.
    pub(super) fn function(&self, pc: u64, interrupted: bool) -> Option<u64> {
        (self.ground.function)(if interrupted { pc } else { pc.wrapping_sub(1) })
    }

    /// Adds a frame whose code must be the kernel's.
    pub(super) fn push(&mut self, pc: u64, sp: u64, kind: Kind) -> Result<(), String> {
        let interrupted = kind == Kind::Interrupted;
        if self.function(pc, interrupted).is_none() {
            return Err(format!("the return address {pc:#x} is not the kernel's code"));
        }
        self.add(pc, sp, kind)
    }

    /// Adds a frame wherever its code is: what was interrupted may have jumped through a wild pointer.
    pub(super) fn add(&mut self, pc: u64, sp: u64, kind: Kind) -> Result<(), String> {
        if self.frames.len() >= MAX_FRAMES {
            return Err(format!("there are more than {MAX_FRAMES} frames"));
        }
        self.frames.push(Frame {
            pc: VirtAddr(pc),
            sp: VirtAddr(sp),
            certain: kind != Kind::Possible,
            interrupted: kind == Kind::Interrupted,
        });
        Ok(())
    }

    pub(super) fn ground(&self) -> &'g Ground<'g> {
        self.ground
    }

    /// The walk's result; `ended` is `Ok` where it came to the stack's begin.
    pub(super) fn finish(self, ended: Result<(), String>) -> Walk {
        let end = ended.map_or_else(End::Broken, |()| End::Whole);
        Walk { frames: self.frames, end }
    }
}

/// How a frame was found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It called the one before.
    Caller,
    /// It was interrupted, or is what a CPU was at.
    Interrupted,
    /// It may have called the one before.
    Possible,
}

impl Kind {
    /// The first frame's kind.
    pub(super) fn first(running: bool) -> Self {
        if running { Self::Interrupted } else { Self::Caller }
    }
}

/// A walk that could not even begin, with the first frame alone.
pub(super) fn only(pc: u64, sp: u64, running: bool, why: String) -> Walk {
    let frame = Frame { pc: VirtAddr(pc), sp: VirtAddr(sp), certain: true, interrupted: running };
    Walk { frames: vec![frame], end: End::Broken(why) }
}

fn stack_of(ground: &Ground<'_>, addr: u64) -> Option<Range<u64>> {
    let known = ground.stacks.iter().find(|stack| stack.contains(&addr)).cloned();
    known.or_else(|| {
        let size = ground.aligned.filter(|size| size.is_power_of_two())?;
        let start = addr & !(size - 1);
        Some(start..start.checked_add(size)?).filter(|_| addr != 0)
    })
}
