//! 64-bit POWER, both byte orders and both ABIs: the back chain.
//!
//! r1 points to a frame whose first word is its caller's r1; a function stores its return address in its caller's frame,
//! 16 bytes behind the begin. Where an exception hit the kernel, the frame holds a word that marks it (`regshere`, since 6.2
//! `REGS`) and behind it `struct pt_regs`: 112 bytes from the frame's begin, and since 6.2 in kernels of the second ABI 48.

use super::calls::{add_link, link_is_live};
use super::path::{Ground, Kind, Path, only};
use super::{Registers, Walk};

/// The smallest frame of the second ABI, in bytes.
const FRAME: u64 = 32;
/// Where a frame has the return address of the function that it called.
const LINK: u64 = 16;
/// `STACK_FRAME_REGS_MARKER`: `regshere` before 6.2; since then `REGS`, as either byte order has it in memory.
const MARKERS: [u64; 3] = [0x7265_6773_6865_7265, 0x5347_4552, 0x5245_4753];
/// Where `pt_regs` can be in a frame. The marker is 16 bytes before it.
const REGS: [u64; 2] = [48, 112];
/// Where members of `struct pt_regs` are.
const PT_SP: u64 = 8;
const PT_PC: u64 = 32 * 8;
const PT_MSR: u64 = 33 * 8;
const PT_LINK: u64 = 36 * 8;
/// `MSR_PR`: user space.
const USER: u64 = 1 << 14;

/// Walks the stack of a task. `running`: the registers are a CPU's, and not those with which a task sleeps; of a task that
/// sleeps only the stack pointer is looked at (`thread.ksp`), whose frame is that of `_switch`.
pub fn walk(ground: &Ground<'_>, start: &Registers, running: bool) -> Walk {
    let mut path = match Path::begin(ground, start.sp) {
        Ok(path) => path,
        Err(why) => return only(start.pc, start.sp, running, why),
    };
    let begun = if running { path.add(start.pc, start.sp, Kind::Interrupted) } else { Ok(()) };
    let ended = begun.and_then(|()| {
        let link = start.link.filter(|_| running);
        chain(&mut path, start.pc, start.sp, link)
    });
    path.finish(ended)
}

fn chain(path: &mut Path<'_>, mut pc: u64, mut sp: u64, mut link: Option<u64>) -> Result<(), String> {
    loop {
        let next = path.word(sp)?;
        if let Some(link) = link.take() {
            if next != 0 && link_is_live(path, pc) {
                path.advance(next, FRAME)?;
                path.push(link, next, Kind::Caller)?;
                sp = next;
                continue;
            }
            add_link(path, pc, sp, link, path.word_on_stack(next.wrapping_add(LINK)))?;
        }
        match exception(path, sp, next) {
            Some(Exception::User) => return Ok(()),
            Some(Exception::Kernel { at, before, ret }) => {
                path.advance(before, FRAME)?;
                path.add(at, before, Kind::Interrupted)?;
                (pc, sp, link) = (at, before, Some(ret));
                continue;
            }
            None => {}
        }
        if next == 0 {
            return Ok(());
        }
        if !next.is_multiple_of(8) {
            return Err(format!("the back chain {next:#x} is not aligned"));
        }
        path.advance(next, FRAME)?;
        let stored = path.word(next.wrapping_add(LINK))?;
        // The outermost frame was never called.
        if stored == 0 && path.word(next)? == 0 {
            return Ok(());
        }
        path.push(stored, next, Kind::Caller)?;
        sp = next;
    }
}

/// What an exception's frame holds.
enum Exception {
    /// It came from user space: here the kernel was entered.
    User,
    /// It hit the kernel.
    Kernel { at: u64, before: u64, ret: u64 },
}

/// The registers in the frame at `sp`, if it is an exception's. A marker can be left of an earlier frame; so the stack
/// pointer before must be the one that the back chain has, which is zero at the entry from user space since 6.2.
fn exception(path: &Path<'_>, sp: u64, next: u64) -> Option<Exception> {
    REGS.iter().find_map(|place| {
        let regs = sp.wrapping_add(*place);
        let at = |offset: u64| path.word_on_stack(regs.wrapping_add(offset));
        if !MARKERS.contains(&path.word_on_stack(regs.wrapping_sub(16))?) {
            return None;
        }
        let (pc, before) = (at(PT_PC)?, at(PT_SP)?);
        if at(PT_MSR)? & USER != 0 {
            return (before == next || next == 0).then_some(Exception::User);
        }
        (before == next).then_some(Exception::Kernel { at: pc, before, ret: at(PT_LINK)? })
    })
}
