//! 64-bit Arm: a chain of frame records.
//!
//! x29 points to a record of two words: the caller's x29 and the return address. The chain leads over all of a task's
//! stacks. Where an exception hit the kernel, `pt_regs` on the stack holds a record, too (`pt_regs.stackframe`):
//!
//! - before 6.13 a plain one with the interrupted x29 and pc, which is known by these being in the same `pt_regs`;
//! - since then one of two zeros, followed by a word that says what it is: the last one, or one of an exception
//!   (`struct frame_record_meta`).
//!
//! Either kind ends with zeros at the entry from user space and at a kernel thread's begin.

use super::calls::add_link;
use super::path::{Ground, Kind, Path, only};
use super::{Registers, Walk};

/// `FRAME_META_TYPE_PT_REGS`.
const META_PT_REGS: u64 = 2;
/// Where members of `struct pt_regs` are.
const PT_FP: u64 = 29 * 8;
const PT_LINK: u64 = 30 * 8;
const PT_SP: u64 = 31 * 8;
const PT_PC: u64 = 32 * 8;
const PT_PSTATE: u64 = 33 * 8;
/// `pt_regs.stackframe` before 6.13.
const PT_RECORD: u64 = 304;
/// The same since then, and where `pt_regs` has the permission overlays as well.
const PT_META: [u64; 2] = [296, 312];

/// Walks the stack of a task. `running`: the registers are a CPU's, and not those with which a task sleeps.
pub fn walk(ground: &Ground<'_>, start: &Registers, running: bool) -> Walk {
    let bits = va_bits(ground);
    let pc = strip(start.pc, bits);
    let mut path = match Path::begin(ground, start.sp) {
        Ok(path) => path,
        Err(why) => return only(pc, start.sp, running, why),
    };
    let ended = path.add(pc, start.sp, Kind::first(running)).and_then(|()| {
        let link = start.link.filter(|_| running);
        records(&mut path, Interrupted { pc, sp: start.sp, fp: start.fp.unwrap_or(0), link }, bits)
    });
    path.finish(ended)
}

/// What is known of the innermost frame of a chain.
#[derive(Clone, Copy)]
struct Interrupted {
    pc: u64,
    sp: u64,
    fp: u64,
    link: Option<u64>,
}

fn records(path: &mut Path<'_>, mut from: Interrupted, bits: u32) -> Result<(), String> {
    loop {
        let fp = from.fp;
        if let Some(link) = from.link.map(|link| strip(link, bits)) {
            let stored = path.word_on_stack(fp.wrapping_add(8)).map(|stored| strip(stored, bits));
            add_link(path, from.pc, from.sp, link, stored)?;
        }
        if !fp.is_multiple_of(8) {
            return Err(format!("the frame pointer {fp:#x} is not aligned"));
        }
        path.advance(fp, 16)?;
        let (next, stored) = (path.word(fp)?, path.word(fp.wrapping_add(8))?);
        if let Some(exception) = exception(path, fp, next, stored) {
            path.add(exception.pc, exception.sp, Kind::Interrupted)?;
            from = exception;
            continue;
        }
        if (next, stored) == (0, 0) {
            return Ok(());
        }
        // The caller's record is where its stack pointer was, when the chain goes on.
        let outwards = if path.stack().contains(&next) { next > fp } else { path.stack_known(next) };
        let sp = if outwards { next } else { fp.wrapping_add(16) };
        path.push(strip(stored, bits), sp, Kind::Caller)?;
        if next == 0 {
            return Ok(());
        }
        from = Interrupted { pc: 0, sp, fp: next, link: None };
    }
}

/// What was interrupted, if the record at `fp` is that of an exception.
fn exception(path: &Path<'_>, fp: u64, next: u64, stored: u64) -> Option<Interrupted> {
    let meta = (next, stored) == (0, 0);
    if meta && path.word_on_stack(fp.wrapping_add(16)) != Some(META_PT_REGS) {
        return None;
    }
    let places = if meta { &PT_META[..] } else { &[PT_RECORD] };
    places.iter().find_map(|place| {
        let regs = fp.wrapping_sub(*place);
        let at = |offset: u64| path.word_on_stack(regs.wrapping_add(offset));
        let (pc, sp, fp) = (at(PT_PC)?, at(PT_SP)?, at(PT_FP)?);
        // EL1 and EL2, with either stack pointer.
        let kernel = matches!(at(PT_PSTATE)? & 0x1f, 4 | 5 | 8 | 9);
        let same = meta || (pc, fp) == (stored, next);
        (kernel && same && path.stack_known(sp)).then_some(Interrupted { pc, sp, fp, link: at(PT_LINK) })
    })
}

/// How many bits the kernel's addresses have. The others of a signed address hold its signature.
fn va_bits(ground: &Ground<'_>) -> u32 {
    let info = ground.memory.info();
    let size = info.number("TCR_EL1_T1SZ").or_else(|| info.number("tcr_el1_t1sz"));
    let bits = size.map(|size| 64 - size).or_else(|| info.number("VA_BITS"));
    bits.and_then(|bits| u32::try_from(bits).ok()).filter(|bits| (36..=52).contains(bits)).unwrap_or(52)
}

/// Takes the signature of pointer authentication off an address of the kernel.
fn strip(addr: u64, bits: u32) -> u64 {
    if addr >> 55 & 1 == 1 { addr | u64::MAX << bits } else { addr }
}
