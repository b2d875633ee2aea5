//! s390x: the back chain.
//!
//! A function stores r6 to r15 in its caller's frame before it makes its own, so that r14 in the caller's frame is where the
//! function returns to. The kernel is compiled so that each frame points to its caller's (`-mbackchain`). There are two
//! layouts (`struct stack_frame`): since 5.2 the frames are packed, before they were not. Which one it is shows when the
//! chain is followed.
//!
//! Where an interrupt or a trap hit, the chain has a zero, and `pt_regs` lies behind the frame.

use super::calls::{add_link, link_is_live};
use super::path::{Ground, Kind, Path, only};
use super::{End, Registers, Walk};

/// Bytes of `struct stack_frame`.
const FRAME: u64 = 160;
/// `PSW_MASK_PSTATE`: user space.
const USER: u64 = 1 << 48;
/// Where members of `struct pt_regs` are.
const PT_MASK: u64 = 8;
const PT_PC: u64 = 16;
const PT_GPRS: u64 = 24;
/// Bytes of it that are looked at, up to `orig_gpr2`.
const PT_SIZE: u64 = 152;

/// Where a frame has its back chain and r14.
#[derive(Clone, Copy)]
struct Layout {
    chain: u64,
    link: u64,
}

const PACKED: Layout = Layout { chain: 152, link: 72 + 8 * 8 };
const PLAIN: Layout = Layout { chain: 0, link: 48 + 8 * 8 };

/// Walks the stack of a task. `running`: the registers are a CPU's, and not those with which a task sleeps; of a task that
/// sleeps only the stack pointer is looked at (`thread.ksp`), whose frame is that of the function that switched.
pub fn walk(ground: &Ground<'_>, start: &Registers, running: bool) -> Walk {
    let packed = walk_in(ground, start, running, PACKED);
    if packed.end == End::Whole {
        return packed;
    }
    let plain = walk_in(ground, start, running, PLAIN);
    let better = plain.end == End::Whole || plain.frames.len() > packed.frames.len();
    if better { plain } else { packed }
}

fn walk_in(ground: &Ground<'_>, start: &Registers, running: bool, layout: Layout) -> Walk {
    let mut path = match Path::begin(ground, start.sp) {
        Ok(path) => path,
        Err(why) => return only(start.pc, start.sp, running, why),
    };
    let begun = match running {
        true => path.add(start.pc, start.sp, Kind::Interrupted),
        false => asleep(&mut path, start.sp, layout),
    };
    let ended = begun.and_then(|()| {
        let link = start.link.filter(|_| running);
        chain(&mut path, start.pc, start.sp, link, layout)
    });
    path.finish(ended)
}

/// `__switch_to` stores r6 to r15 in the frame of its caller, and its own stack pointer is that frame's.
fn asleep(path: &mut Path<'_>, sp: u64, layout: Layout) -> Result<(), String> {
    let pc = path.word(sp.wrapping_add(layout.link))?;
    path.push(pc, sp, Kind::Caller)
}

fn chain(
    path: &mut Path<'_>,
    mut pc: u64,
    mut sp: u64,
    mut link: Option<u64>,
    layout: Layout,
) -> Result<(), String> {
    loop {
        let next = path.word(sp.wrapping_add(layout.chain))?;
        if let Some(link) = link.take() {
            if next != 0 && link_is_live(path, pc) {
                path.advance(next, FRAME)?;
                path.push(link, next, Kind::Caller)?;
                sp = next;
                continue;
            }
            let stored = path.word_on_stack(next.wrapping_add(layout.link));
            add_link(path, pc, sp, link, stored)?;
        }
        if next != 0 {
            if !next.is_multiple_of(8) {
                return Err(format!("the back chain {next:#x} is not aligned"));
            }
            path.advance(next, FRAME)?;
            let stored = path.word(next.wrapping_add(layout.link))?;
            path.push(stored, next, Kind::Caller)?;
            sp = next;
            continue;
        }
        let regs = sp.wrapping_add(FRAME);
        path.advance(regs, PT_SIZE)?;
        let (mask, addr) = (path.word(regs.wrapping_add(PT_MASK))?, path.word(regs.wrapping_add(PT_PC))?);
        let general = |n: u64| path.word(regs.wrapping_add(PT_GPRS + n * 8));
        let (r14, r15) = (general(14)?, general(15)?);
        // A kernel thread's first frame stands before registers that were never set.
        if mask & USER != 0 || (addr, r15) == (0, 0) {
            return Ok(());
        }
        path.advance(r15, FRAME)?;
        path.add(addr, r15, Kind::Interrupted)?;
        (pc, sp, link) = (addr, r15, Some(r14));
    }
}
