//! LoongArch: ORC tables.
//!
//! A kernel since 6.9 has tables that say for each instruction where the caller's stack pointer, its frame pointer and the
//! return address are (`struct orc_entry` of `arch/loongarch`). They are other than those of x86_64. Older kernels have
//! neither tables nor frame pointers: there only the first frame is known, and what a register says of its caller.
//!
//! Exception handlers may run in copies for each node, whose addresses are no symbol's; a walk ends there.

use super::calls::add_link;
use super::path::{Ground, Kind, Path, only};
use super::{Registers, Walk};
use crate::KernelMemory;
use vmcore::VirtAddr;

/// The tables of the kernel (`__start_orc_unwind_ip`, `__start_orc_unwind`) or of a module (`module.arch`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// 32-bit distances from each one's own place to an instruction, in ascending order of these.
    pub ips: VirtAddr,
    /// What holds from that instruction on, 8 bytes each.
    pub entries: VirtAddr,
    /// How many there are.
    pub count: u32,
}

/// Where members of `struct pt_regs` are.
const PT_LINK: u64 = 8;
const PT_SP: u64 = 3 * 8;
const PT_FP: u64 = 22 * 8;
const PT_ERA: u64 = 264;
const PT_PRMD: u64 = 288;
/// `PLV_MASK` and `PLV_USER`.
const USER: u64 = 3;

/// What an entry's register numbers mean.
const UNCHANGED: u16 = 0;
const FROM_CALLERS_SP: u16 = 1;
const FROM_SP: u16 = 2;
const FROM_FP: u16 = 3;

/// How the caller of an instruction is found (`struct orc_entry`).
#[derive(Clone, Copy)]
struct Entry {
    sp_offset: i16,
    fp_offset: i16,
    ra_offset: i16,
    sp_reg: u16,
    fp_reg: u16,
    ra_reg: u16,
    kind: u16,
}

/// What is known of a frame. Where it was interrupted, `link` is what ra held.
struct Place {
    pc: u64,
    sp: u64,
    fp: u64,
    link: Option<u64>,
    interrupted: bool,
}

/// Walks the stack of a task by `tables`. `running`: the registers are a CPU's, and not those with which a task sleeps.
pub fn walk(ground: &Ground<'_>, tables: &[Table], start: &Registers, running: bool) -> Walk {
    let mut path = match Path::begin(ground, start.sp) {
        Ok(path) => path,
        Err(why) => return only(start.pc, start.sp, running, why),
    };
    let ended = path.add(start.pc, start.sp, Kind::first(running)).and_then(|()| {
        let (fp, link) = (start.fp.unwrap_or(0), start.link.filter(|_| running));
        let from = Place { pc: start.pc, sp: start.sp, fp, link, interrupted: running };
        if tables.is_empty() {
            if let Some(link) = from.link {
                add_link(&mut path, from.pc, from.sp, link, None)?;
            }
            return Err("the kernel has no unwind tables".to_owned());
        }
        frames(&mut path, tables, from)
    });
    path.finish(ended)
}

fn frames(path: &mut Path<'_>, tables: &[Table], mut from: Place) -> Result<(), String> {
    loop {
        // A return address may be the first one behind its function.
        let pc = if from.interrupted { from.pc } else { from.pc.wrapping_sub(4) };
        let memory = path.ground().memory;
        let entry = tables.iter().find_map(|table| table.find(memory, pc).filter(|entry| entry.kind != 0));
        let entry = entry.ok_or_else(|| format!("no unwind table has {pc:#x}"))?;
        let before = match entry.sp_reg {
            FROM_SP => from.sp.wrapping_add_signed(entry.sp_offset.into()),
            FROM_FP => from.fp,
            other => return Err(format!("the unwind table has stack pointer rule {other} for {pc:#x}")),
        };
        match entry.kind {
            1 => return Ok(()),
            2 => {
                // What a call leaves of the stack ends where its caller's begins.
                if before != from.sp {
                    path.advance(before, 0)?;
                } else if !from.interrupted {
                    return Err(format!("the frame at {before:#x} has no end"));
                }
                let at = |offset: i16| path.word(before.wrapping_add_signed(offset.into()));
                let stored = match (entry.ra_reg, from.link) {
                    (FROM_CALLERS_SP, _) => at(entry.ra_offset)?,
                    (UNCHANGED, Some(link)) => link,
                    _ => return Err(format!("nothing has the return address of {pc:#x}")),
                };
                let fp = if entry.fp_reg == FROM_CALLERS_SP { at(entry.fp_offset)? } else { from.fp };
                path.push(stored, before, Kind::Caller)?;
                from = Place { pc: stored, sp: before, fp, link: None, interrupted: false };
            }
            3 => {
                let at = |offset: u64| path.word(before.wrapping_add(offset));
                let (pc, sp, link) = (at(PT_ERA)?, at(PT_SP)?, at(PT_LINK)?);
                // User space, or the room for its registers at a kernel thread's begin.
                if at(PT_PRMD)? & USER == USER || (sp, link) == (0, 0) {
                    return Ok(());
                }
                let fp = at(PT_FP)?;
                path.advance(sp, 0)?;
                path.add(pc, sp, Kind::Interrupted)?;
                from = Place { pc, sp, fp, link: Some(link), interrupted: true };
            }
            other => return Err(format!("the unwind table has kind {other} for {pc:#x}")),
        }
    }
}

impl Table {
    /// The last entry whose instruction is not behind `pc`.
    fn find(&self, memory: &dyn KernelMemory, pc: u64) -> Option<Entry> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.ip(memory, middle)? <= pc { low = middle + 1 } else { high = middle }
        }
        let at = self.entries.0.wrapping_add(8 * u64::from(low.checked_sub(1)?));
        let word = memory.read_word(VirtAddr(at)).ok()?;
        let part = |shift: u32| (word >> shift) as u16;
        Some(Entry {
            sp_offset: part(0) as i16,
            fp_offset: part(16) as i16,
            ra_offset: part(32) as i16,
            sp_reg: part(48) & 15,
            fp_reg: part(52) & 15,
            ra_reg: part(56) & 15,
            kind: part(60) & 7,
        })
    }

    fn ip(&self, memory: &dyn KernelMemory, index: u32) -> Option<u64> {
        let at = self.ips.0.wrapping_add(4 * u64::from(index));
        let distance = memory.read_u32(VirtAddr(at)).ok()? as i32;
        Some(at.wrapping_add_signed(distance.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeKernel;
    use crate::unwind::End;
    use vmcore::{Arch, ByteOrder, Machine, WordSize};

    const STACK: u64 = 0x9000_0000_0010_0000;
    const IPS: u64 = 0x10_0000;
    const ENTRIES: u64 = 0x10_1000;

    /// Functions at 0x1000, 0x2000, … with what their entries say.
    fn kernel(entries: &[[u64; 7]]) -> (FakeKernel, Vec<Table>) {
        let machine = Machine { arch: Arch::LoongArch64, order: ByteOrder::Little, word: WordSize::Bits64 };
        let mut kernel = FakeKernel::new(machine);
        kernel.put(STACK, &[0; 0x4000]);
        for (index, entry) in entries.iter().enumerate() {
            let at = IPS + 4 * index as u64;
            kernel.put_u32(at, (0x1000 * (index as u64 + 1)).wrapping_sub(at) as u32);
            let shifts = [0, 16, 32, 48, 52, 56, 60];
            let word =
                entry.iter().zip(shifts).fold(0, |word, (part, shift)| word | (part & 0xffff) << shift);
            kernel.put_u64(ENTRIES + 8 * index as u64, word);
        }
        let count = entries.len() as u32;
        (kernel, vec![Table { ips: VirtAddr(IPS), entries: VirtAddr(ENTRIES), count }])
    }

    fn walked(kernel: &FakeKernel, tables: &[Table], start: &Registers) -> (Vec<(u64, bool)>, End) {
        let function = |pc: u64| (0x1000..0x9000).contains(&pc).then_some(pc & !0xfff);
        let stacks = std::iter::once(STACK..STACK + 0x4000).collect();
        let ground = Ground { memory: kernel, stacks, aligned: None, function: &function };
        let walk = walk(&ground, tables, start, true);
        (walk.frames.iter().map(|f| (f.pc.0, f.interrupted)).collect(), walk.end)
    }

    const BELOW: u64 = 0xfff0;

    #[test]
    fn tables_lead_through_calls_and_an_exception_to_the_begin() {
        let (mut kernel, tables) = kernel(&[
            // Calls nothing: its return address is in ra, and it has no frame.
            [0, 0, 0, 2, 0, 0, 2],
            // 64 bytes, with fp at -16 and ra at -8 of the caller's stack pointer.
            [64, BELOW, 0xfff8, 2, 1, 1, 2],
            // An exception's registers.
            [0, 0, 0, 2, 0, 0, 3],
            // By the frame pointer.
            [16, BELOW, 0xfff8, 3, 1, 1, 2],
            // The begin.
            [0, 0, 0, 2, 0, 0, 1],
        ]);
        let sp = STACK + 0x1000;
        kernel.put_u64(sp + 64 - 8, 0x3020);
        kernel.put_u64(sp + 64 - 16, 0);
        let (regs, fp) = (sp + 64, STACK + 0x3000);
        for (offset, value) in [(8, 0x2222), (24, STACK + 0x2000), (176, fp), (264, 0x4040), (288, 0)] {
            kernel.put_u64(regs + offset, value);
        }
        kernel.put_u64(fp - 8, 0x5050);
        let start = Registers { pc: 0x1010, sp, fp: Some(0), link: Some(0x2020), general: Vec::new() };
        let frames = vec![(0x1010, true), (0x2020, false), (0x3020, false), (0x4040, true), (0x5050, false)];
        assert_eq!(walked(&kernel, &tables, &start), (frames, End::Whole));
        let (frames, end) = walked(&kernel, &[], &start);
        assert_eq!((frames.len(), end), (1, End::Broken("the kernel has no unwind tables".into())));
    }

    #[test]
    fn a_frame_of_no_bytes_does_not_go_on_for_ever() {
        let (mut kernel, tables) = kernel(&[[0, BELOW, 0xfff8, 2, 1, 1, 2]]);
        let sp = STACK + 0x1000;
        kernel.put_u64(sp - 8, 0x1010);
        let start = Registers { pc: 0x1010, sp, ..Registers::default() };
        let (frames, end) = walked(&kernel, &tables, &start);
        assert_eq!(frames.len(), 2);
        assert!(matches!(end, End::Broken(why) if why.contains("has no end")));
    }
}
