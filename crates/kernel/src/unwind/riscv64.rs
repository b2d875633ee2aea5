//! RISC-V: a chain of frame pointers.
//!
//! s0 points behind a record of two words: the caller's s0 and the return address. It is the stack pointer that the caller
//! had. A function that calls nothing stores s0 alone, in the place of the return address.
//!
//! The code that is entered by an exception has no record; `pt_regs` lies where the stack pointer was, and what it holds
//! proves that it is there.

use super::calls::add_link;
use super::path::{Ground, Kind, Path, only};
use super::{Registers, Walk};

/// Where members of `struct pt_regs` are.
const PT_LINK: u64 = 8;
const PT_SP: u64 = 16;
const PT_FP: u64 = 64;
const PT_STATUS: u64 = 256;
/// The least and the most bytes of `struct pt_regs` on the stack.
const PT_SIZE: (u64, u64) = (288, 320);
/// `SR_SPP`: the kernel was interrupted, not user space.
const FROM_KERNEL: u64 = 0x100;

/// Walks the stack of a task. `running`: the registers are a CPU's, and not those with which a task sleeps.
pub fn walk(ground: &Ground<'_>, start: &Registers, running: bool) -> Walk {
    let mut path = match Path::begin(ground, start.sp) {
        Ok(path) => path,
        Err(why) => return only(start.pc, start.sp, running, why),
    };
    let ended = path.add(start.pc, start.sp, Kind::first(running)).and_then(|()| {
        let link = start.link.filter(|_| running);
        records(&mut path, Place { pc: start.pc, sp: start.sp, fp: start.fp.unwrap_or(0), link })
    });
    path.finish(ended)
}

/// What is known of a frame. Where it was interrupted, `link` is what ra held.
struct Place {
    pc: u64,
    sp: u64,
    fp: u64,
    link: Option<u64>,
}

fn records(path: &mut Path<'_>, mut from: Place) -> Result<(), String> {
    loop {
        let fp = from.fp;
        if !fp.is_multiple_of(8) {
            return Err(format!("the frame pointer {fp:#x} is not aligned"));
        }
        let record = fp.wrapping_sub(16);
        path.advance(record, 16)?;
        let (mut next, mut stored) = (path.word(record)?, path.word(record.wrapping_add(8))?);
        if let Some(link) = from.link {
            let alone =
                path.function(stored, false).is_none() && path.stack().contains(&stored) && stored > fp;
            if alone {
                (next, stored) = (stored, link);
            } else {
                add_link(path, from.pc, from.sp, link, Some(stored))?;
            }
        }
        path.push(stored, fp, Kind::Caller)?;
        if let Some(interrupted) = exception(path, fp) {
            path.add(interrupted.pc, interrupted.sp, Kind::Interrupted)?;
            from = interrupted;
            continue;
        }
        // A task's outermost frame lies below the registers of user space, or the room for them.
        let last = fp.saturating_add(PT_SIZE.1) >= path.stack().end;
        // A new kernel thread has a function in s0, one of user space what that had there.
        let leads = next >> 63 == 1 && path.function(next, true).is_none() && path.stack_known(next);
        if last && !leads {
            return Ok(());
        }
        from = Place { pc: stored, sp: fp, fp: next, link: None };
    }
}

/// What was interrupted, if `regs` are an exception's in the kernel: the stack pointer was right behind them.
fn exception(path: &Path<'_>, regs: u64) -> Option<Place> {
    let at = |offset: u64| path.word_on_stack(regs.wrapping_add(offset));
    let (pc, sp) = (at(0)?, at(PT_SP)?);
    let behind = (PT_SIZE.0..=PT_SIZE.1).contains(&sp.wrapping_sub(regs));
    let kernel = at(PT_STATUS)? & FROM_KERNEL != 0;
    (behind && kernel).then_some(Place { pc, sp, fp: at(PT_FP)?, link: at(PT_LINK) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeKernel;
    use crate::unwind::End;
    use vmcore::{Arch, ByteOrder, Machine, WordSize};

    const STACK: u64 = 0xffff_ffc8_0000_0000;
    const SIZE: u64 = 0x4000;

    fn kernel() -> FakeKernel {
        let machine = Machine { arch: Arch::Riscv64, order: ByteOrder::Little, word: WordSize::Bits64 };
        let mut kernel = FakeKernel::new(machine);
        kernel.put(STACK, &[0; SIZE as usize]);
        kernel
    }

    fn walked(kernel: &FakeKernel, start: &Registers, running: bool) -> (Vec<(u64, bool)>, End) {
        let function = |pc: u64| (0x1000..0x9000).contains(&pc).then_some(pc & !0xfff);
        let stacks = std::iter::once(STACK..STACK + SIZE).collect();
        let walk =
            walk(&Ground { memory: kernel, stacks, aligned: None, function: &function }, start, running);
        (walk.frames.iter().map(|f| (f.pc.0, f.interrupted)).collect(), walk.end)
    }

    /// A record below `fp`.
    fn record(kernel: &mut FakeKernel, fp: u64, next: u64, stored: u64) {
        kernel.put_u64(fp - 16, next);
        kernel.put_u64(fp - 8, stored);
    }

    #[test]
    fn a_sleeping_kernel_thread_is_walked_to_its_first_function() {
        let mut kernel = kernel();
        let last = STACK + SIZE - 288;
        record(&mut kernel, STACK + 0x3000, last, 0x2010);
        // The thread's function is still in s0.
        record(&mut kernel, last, 0x3000, 0x4020);
        let start =
            Registers { pc: 0x1010, sp: STACK + 0x2f00, fp: Some(STACK + 0x3000), ..Registers::default() };
        let frames = vec![(0x1010, false), (0x2010, false), (0x4020, false)];
        assert_eq!(walked(&kernel, &start, false), (frames, End::Whole));
    }

    #[test]
    fn an_exception_is_crossed_and_a_function_without_return_address_in_its_frame_is_no_end() {
        let mut kernel = kernel();
        let (handler, regs) = (STACK + 0x2000, STACK + 0x2100);
        record(&mut kernel, handler, 0, 0x2010);
        kernel.put_u64(handler - 16, regs);
        record(&mut kernel, regs, 7, 0x3030);
        // The interrupted function stored s0 alone.
        let (sp, leaf, last) = (regs + 288, STACK + 0x3000, STACK + SIZE - 288);
        for (offset, value) in [(0, 0x5050), (8, 0x6060), (16, sp), (64, leaf), (256, 0x120)] {
            kernel.put_u64(regs + offset, value);
        }
        record(&mut kernel, leaf, 0x77, last);
        record(&mut kernel, last, 0, 0x7070);
        let start = Registers { pc: 0x1010, sp: STACK + 0x1f00, fp: Some(handler), ..Registers::default() };
        let (frames, end) = walked(&kernel, &start, true);
        assert_eq!(end, End::Whole, "{frames:x?}");
        let pcs: Vec<u64> = frames.iter().map(|(pc, _)| *pc).collect();
        assert_eq!(pcs, [0x1010, 0x2010, 0x3030, 0x5050, 0x6060, 0x7070]);
        let interrupted: Vec<bool> = frames.iter().map(|(_, interrupted)| *interrupted).collect();
        assert_eq!(interrupted, [true, false, false, true, false, false]);
    }

    #[test]
    fn a_record_that_points_to_itself_ends_the_walk() {
        let mut kernel = kernel();
        let fp = STACK + 0x1000;
        record(&mut kernel, fp, fp, 0x2010);
        let start = Registers { pc: 0x1010, sp: STACK + 0x800, fp: Some(fp), ..Registers::default() };
        let (frames, end) = walked(&kernel, &start, false);
        assert_eq!(frames.len(), 2);
        assert!(matches!(end, End::Broken(why) if why.contains("leads back")));
    }
}
