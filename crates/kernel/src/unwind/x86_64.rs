//! x86_64: by ORC tables where the kernel has them, else by frame pointers.
//!
//! Where neither proves a caller, the stack is looked through for addresses of code, as the kernel does for the frames that
//! it prints with a `?`.

use super::calls::calls;
use super::orc::{Base, Kind as What, Orc, Rule};
use super::path::{Ground, Kind, Path, only};
use super::pt_regs::X86_64 as PLACES;
use super::{Registers, Walk};

/// The most frames that looking through the stack adds.
const MAX_POSSIBLE: usize = 64;

/// Where a walk is.
#[derive(Clone)]
struct State {
    pc: u64,
    sp: u64,
    bp: u64,
    /// `pc` was not called from: it was about to run.
    interrupted: bool,
    /// All registers in the order of `struct pt_regs`, where they are known: for what was interrupted.
    general: Vec<Option<u64>>,
}

/// Walks the stack of a task. `running`: the registers are a CPU's, and not those with which a task sleeps.
pub fn walk(ground: &Ground<'_>, orc: Option<&Orc<'_>>, start: &Registers, running: bool) -> Walk {
    let mut path = match Path::begin(ground, start.sp) {
        Ok(path) => path,
        Err(why) => return only(start.pc, start.sp, running, why),
    };
    let mut state = State {
        pc: start.pc,
        sp: start.sp,
        bp: start.fp.unwrap_or(0),
        interrupted: running,
        general: start.general.clone(),
    };
    let ended = path.add(start.pc, start.sp, Kind::first(running)).and_then(|()| {
        let ended = frames(&mut path, orc, &mut state);
        match (&ended, orc) {
            (Ok(()), _) => ended,
            // Only the first frame is there.
            (Err(_), Some(orc)) if running && state.pc == start.pc && leap(&mut path, orc, &state) => Ok(()),
            _ => {
                look_through(&mut path, state.sp);
                ended
            }
        }
    });
    path.finish(ended)
}

/// Goes from frame to frame until the stack's begin.
fn frames(path: &mut Path<'_>, orc: Option<&Orc<'_>>, state: &mut State) -> Result<(), String> {
    loop {
        let next = match orc {
            Some(orc) => by_rule(path, orc, state)?,
            None => by_frame_pointer(path, state)?,
        };
        let Some(next) = next else { return Ok(()) };
        let kind = if next.interrupted { Kind::Interrupted } else { Kind::Caller };
        match next.interrupted {
            // A jump through a wild pointer leads anywhere.
            true => path.add(next.pc, next.sp, kind)?,
            false => path.push(next.pc, next.sp, kind)?,
        }
        *state = next;
    }
}

/// The rule for a call of what is no code, as through a null pointer: the return address is where rsp points to.
const NO_CODE: Rule =
    Rule { sp: Base::Sp, sp_offset: 8, bp: Base::Undefined, bp_offset: 0, kind: What::Call, signal: false };

/// The caller by ORC; `None` at the stack's begin.
fn by_rule(path: &mut Path<'_>, orc: &Orc<'_>, state: &State) -> Result<Option<State>, String> {
    let rule = orc.rule(if state.interrupted { state.pc } else { state.pc.wrapping_sub(1) });
    let rule = match (rule, path.function(state.pc, state.interrupted)) {
        (Some(rule), _) => rule,
        (None, None) if state.interrupted => NO_CODE,
        (None, _) => return Err(format!("no unwind table has a rule for {:#x}", state.pc)),
    };
    match rule.kind {
        What::End => return Ok(None),
        What::Undefined => return Err(format!("the unwind table says nothing of {:#x}", state.pc)),
        _ => {}
    }
    let frame = frame_end(path, rule, state)?;
    let mut next = match rule.kind {
        What::Regs => {
            beyond(path, frame)?;
            whole_registers(path, frame)?
        }
        What::PartialRegs => {
            let regs = frame.wrapping_sub(8 * PLACES.ip as u64);
            beyond(path, regs)?;
            interrupted(path, regs)?.map(|(pc, sp)| State { pc, sp, ..state.clone() })
        }
        _ => {
            path.advance(frame, 0)?;
            let pc = path.word(frame.wrapping_sub(8))?;
            Some(State { pc, sp: frame, bp: state.bp, interrupted: false, general: Vec::new() })
        }
    };
    if let Some(next) = &mut next {
        next.interrupted = rule.signal;
        let saved = match rule.bp {
            Base::PrevSp => Some(frame.wrapping_add_signed(rule.bp_offset.into())),
            Base::Bp => Some(state.bp.wrapping_add_signed(rule.bp_offset.into())),
            Base::Undefined => None,
            _ => return Err(format!("the rule for {:#x} finds rbp in an unknown way", state.pc)),
        };
        if let Some(saved) = saved {
            next.bp = path.word(saved)?;
        }
        if rule.kind != What::Call {
            path.advance(next.sp, 0)?;
        }
    }
    Ok(next)
}

/// Goes on to the `struct pt_regs` at `regs`, which may begin where the walk is: so it is its end that has to lie further.
fn beyond(path: &mut Path<'_>, regs: u64) -> Result<(), String> {
    path.advance(regs.wrapping_add(8 * PLACES.cs as u64), 8 * (PLACES.count - PLACES.cs) as u64)
}

/// Where the rule leads: behind the return address, or to the stored registers.
fn frame_end(path: &Path<'_>, rule: Rule, state: &State) -> Result<u64, String> {
    let offset = i64::from(rule.sp_offset);
    Ok(match rule.sp {
        Base::Sp => state.sp.wrapping_add_signed(offset),
        Base::Bp => state.bp.wrapping_add_signed(offset),
        Base::BpIndirect => path.word(state.bp.wrapping_add_signed(offset))?,
        // Calls on another stack, whose old pointer is stored at the top of the new one (since 5.12).
        Base::SpIndirect if rule.kind == What::Call => path.word(state.sp)?.wrapping_add_signed(offset),
        // Interrupts that had changed the stack by themselves (before 5.12).
        Base::SpIndirect => path.word(state.sp.wrapping_add_signed(offset))?,
        Base::Other(place) => {
            let known = state.general.get(place).copied().flatten();
            known.ok_or_else(|| {
                format!("the frame of {:#x} is known to a register that was not saved", state.pc)
            })?
        }
        Base::Undefined | Base::PrevSp => {
            return Err(format!("the rule for {:#x} begins nowhere", state.pc));
        }
    })
}

/// The instruction and stack pointer in the `struct pt_regs` at `regs`; `None` if it was user space that was left.
fn interrupted(path: &Path<'_>, regs: u64) -> Result<Option<(u64, u64)>, String> {
    let at = |place: usize| path.word(regs.wrapping_add(8 * place as u64));
    Ok(match at(PLACES.cs)? & 3 {
        0 => Some((at(PLACES.ip)?, at(PLACES.sp)?)),
        _ => None,
    })
}

/// All of the `struct pt_regs` at `regs`; `None` if it was user space that was left.
fn whole_registers(path: &Path<'_>, regs: u64) -> Result<Option<State>, String> {
    let Some((pc, sp)) = interrupted(path, regs)? else { return Ok(None) };
    let general: Vec<Option<u64>> =
        (0..PLACES.count).map(|place| path.word(regs.wrapping_add(8 * place as u64)).ok()).collect();
    let bp = general.get(PLACES.bp).copied().flatten().unwrap_or(0);
    Ok(Some(State { pc, sp, bp, interrupted: true, general }))
}

/// The caller by rbp, which points to the stored rbp below the return address; `None` at the stack's begin. Where an
/// exception hit, rbp is the address of `struct pt_regs` with the lowest bit set (kernel: `ENCODE_FRAME_POINTER`).
fn by_frame_pointer(path: &mut Path<'_>, state: &State) -> Result<Option<State>, String> {
    let bp = state.bp;
    if bp == 0 {
        return match state.interrupted {
            true => Err(format!("{:#x} has no frame pointer", state.pc)),
            false => Ok(None),
        };
    }
    if bp & 1 == 1 {
        let regs = bp & !1;
        beyond(path, regs)?;
        let next = whole_registers(path, regs)?;
        if let Some(next) = &next {
            path.advance(next.sp, 0)?;
        }
        return Ok(next);
    }
    if !bp.is_multiple_of(8) {
        return Err(format!("the frame pointer {bp:#x} is not aligned"));
    }
    path.advance(bp, 16)?;
    let (next, pc) = (path.word(bp)?, path.word(bp.wrapping_add(8))?);
    let sp = bp.wrapping_add(16);
    Ok((pc != 0).then_some(State { pc, sp, bp: next, interrupted: false, general: Vec::new() }))
}

/// Leaves a function that the tables leave out, as they do `__crash_kexec`, where the crashing CPU saves its registers: by
/// the first address of other code on the stack from which rules lead to the stack's begin. That address is proved where what
/// comes before it is a call of this very function.
fn leap(path: &mut Path<'_>, orc: &Orc<'_>, state: &State) -> bool {
    let Some(here) = path.function(state.pc, true) else { return false };
    let stack = path.stack();
    let candidates = (state.sp.next_multiple_of(8)..stack.end).step_by(8).filter_map(|at| {
        let pc = path.word_on_stack(at)?;
        path.function(pc, false).is_some_and(|function| function != here).then_some((pc, at.wrapping_add(8)))
    });
    let found = candidates.take(MAX_POSSIBLE).find_map(|(pc, sp)| {
        let mut trial = Path::begin(path.ground(), sp).ok()?;
        let mut state = State { pc, sp, bp: state.bp, interrupted: false, general: Vec::new() };
        let kind = if calls(path, pc, here) { Kind::Caller } else { Kind::Possible };
        trial.push(pc, sp, kind).ok()?;
        frames(&mut trial, Some(orc), &mut state).ok()?;
        Some(trial.finish(Ok(())).frames)
    });
    let Some(found) = found else { return false };
    found.iter().all(|frame| {
        let kind = match (frame.certain, frame.interrupted) {
            (false, _) => Kind::Possible,
            (true, true) => Kind::Interrupted,
            (true, false) => Kind::Caller,
        };
        path.add(frame.pc.0, frame.sp.0, kind).is_ok()
    })
}

/// Adds what looks like return addresses from `sp` to the stack's end.
fn look_through(path: &mut Path<'_>, sp: u64) {
    let stack = path.stack();
    let first = if stack.contains(&sp) { sp.next_multiple_of(8) } else { return };
    let mut found = 0;
    for at in (first..stack.end).step_by(8) {
        let Some(word) = path.word_on_stack(at) else { return };
        if path.push(word, at.wrapping_add(8), Kind::Possible).is_ok() {
            found += 1;
        }
        if found >= MAX_POSSIBLE {
            return;
        }
    }
}
