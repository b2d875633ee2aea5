//! ORC tables in all of their layouts, and a walk over all kinds of stacks of x86_64.

use crate::Error;
use crate::symbols::Symbols;
use crate::testing::{FakeKernel, LE64};
use crate::unwind::path::Ground;
use crate::unwind::{End, Orc, Registers, x86_64};
use vmcore::VirtAddr;

const IPS: u64 = 0x10_0000;
const ENTRIES: u64 = 0x10_4000;
/// Stacks: of non-maskable interrupts, of interrupts, of the task.
const NMI: u64 = 0xffff_8000_0010_0000;
const IRQ: u64 = 0xffff_8000_0020_0000;
const TASK: u64 = 0xffff_8000_0030_0000;
const SIZE: u64 = 0x4000;

/// The layouts by the releases that had them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Release {
    V6_1,
    V6_3,
    V6_4,
    V7_1,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Call,
    Regs,
    Partial,
    End,
    Undefined,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Base {
    None,
    PrevSp,
    Sp,
    Bp,
    SpIndirect,
}

/// `struct orc_entry`, bit by bit as each release has it.
fn entry(release: Release, sp: (Base, i16), bp: (Base, i16), kind: Kind) -> [u8; 6] {
    let number = |base| match (base, release == Release::V7_1) {
        (Base::None, _) => 0u16,
        (Base::PrevSp, false) => 1,
        (Base::PrevSp, true) => 8,
        (Base::Sp, false) => 5,
        (Base::Sp, true) => 3,
        (Base::Bp, _) => 4,
        (Base::SpIndirect, _) => 9,
    };
    let signal = u16::from(matches!(kind, Kind::Regs | Kind::Partial));
    let old = match kind {
        Kind::Regs => 1u16,
        Kind::Partial => 2,
        Kind::Call | Kind::End | Kind::Undefined => 0,
    };
    let end = u16::from(kind == Kind::End);
    let flags = match release {
        Release::V6_1 => old << 8 | end << 10,
        Release::V6_3 => old << 8 | signal << 10 | end << 11,
        Release::V6_4 | Release::V7_1 => {
            let kind = match kind {
                Kind::Undefined => 0u16,
                Kind::End => 1,
                Kind::Call => 2,
                Kind::Regs => 3,
                Kind::Partial => 4,
            };
            kind << 8 | signal << 11
        }
    };
    let bits = number(sp.0) | number(bp.0) << 4 | flags;
    let ([a, b], [c, d], [e, f]) = (sp.1.to_le_bytes(), bp.1.to_le_bytes(), bits.to_le_bytes());
    [a, b, c, d, e, f]
}

struct Names(u64);

impl Symbols for Names {
    fn symbol(&self, name: &str) -> Result<Option<VirtAddr>, Error> {
        Ok(match name {
            "__start_orc_unwind_ip" => Some(VirtAddr(IPS)),
            "__stop_orc_unwind_ip" => Some(VirtAddr(IPS + 4 * self.0)),
            "__start_orc_unwind" => Some(VirtAddr(ENTRIES)),
            _ => None,
        })
    }
}

/// A table of seven functions that matter, at 0x1000, 0x2000, …, and of many that are as most are.
fn kernel(release: Release) -> (FakeKernel, Names) {
    let none = (Base::None, 0);
    let mut entries: Vec<(u64, [u8; 6])> = vec![
        (0x1000, entry(release, (Base::Sp, 16), none, Kind::Call)),
        (0x2000, entry(release, (Base::Sp, 0), none, Kind::Regs)),
        (0x3000, entry(release, (Base::Sp, 16), none, Kind::Call)),
        (0x4000, entry(release, (Base::SpIndirect, 8), none, Kind::Call)),
        (0x5000, entry(release, (Base::Sp, 0), none, Kind::Partial)),
        (0x6000, entry(release, (Base::Bp, 16), (Base::PrevSp, -16), Kind::Call)),
        (0x7000, entry(release, none, none, Kind::End)),
    ];
    entries.extend((0..64).map(|n| {
        let bp = if n % 2 == 0 { (Base::PrevSp, -16) } else { none };
        (0x8000 + n * 16, entry(release, (Base::Sp, 24), bp, Kind::Call))
    }));
    // Functions that the tables leave out have an entry that says nothing.
    entries.push((0x9000, entry(release, none, none, Kind::Undefined)));
    let mut kernel = FakeKernel::new(LE64);
    let ips: Vec<u8> = (0u64..)
        .zip(&entries)
        .flat_map(|(n, (at, _))| (at.wrapping_sub(IPS + 4 * n) as u32).to_le_bytes())
        .collect();
    kernel.put(IPS, &ips);
    kernel.put(ENTRIES, &entries.iter().flat_map(|(_, entry)| *entry).collect::<Vec<_>>());
    for stack in [NMI, IRQ, TASK] {
        kernel.put(stack, &[0; SIZE as usize]);
    }
    (kernel, Names(entries.len() as u64))
}

/// A non-maskable interrupt hit the handler of an interrupt, which hit a task: four kinds of rules, three stacks.
#[test]
fn every_layout_leads_over_nmi_irq_and_task_stacks_to_the_begin() {
    for release in [Release::V6_1, Release::V6_3, Release::V6_4, Release::V7_1] {
        let (mut kernel, names) = kernel(release);
        // The handler of the NMI was called by the code that is entered, above which are all registers.
        kernel.put_u64(NMI + 0x3008, 0x2010);
        let regs = NMI + 0x3010;
        for (word, value) in [(4, TASK + 0x2200), (16, 0x3020), (17, 0x10), (19, IRQ + 0x3000)] {
            kernel.put_u64(regs + 8 * word, value);
        }
        // What it hit was called on the stack for interrupts, whose top has the old stack pointer.
        kernel.put_u64(IRQ + 0x3008, 0x4030);
        kernel.put_u64(IRQ + 0x3010, TASK + 0x2000);
        // There the processor had stored where the task was.
        kernel.put_u64(TASK + 0x2000, 0x5040);
        for (offset, value) in [(0, 0x6050), (8, 0x10), (24, TASK + 0x2100)] {
            kernel.put_u64(TASK + 0x2008 + offset, value);
        }
        kernel.put_u64(TASK + 0x2208, 0x7060);
        let orc = Orc::open(&kernel, &names).unwrap().unwrap();
        let function = |pc: u64| (0x1000..0x9000).contains(&pc).then_some(pc & !0xfff);
        let stacks = [TASK, NMI, IRQ].map(|stack| stack..stack + SIZE).to_vec();
        let ground = Ground { memory: &kernel, stacks, aligned: None, function: &function };
        let start = Registers { pc: 0x1010, sp: NMI + 0x3000, ..Registers::default() };
        let walk = x86_64::walk(&ground, Some(&orc), &start, true);
        let frames: Vec<_> = walk.frames.iter().map(|f| (f.pc.0, f.interrupted, f.certain)).collect();
        let expected = [
            (0x1010, true),
            (0x2010, false),
            (0x3020, true),
            (0x4030, false),
            (0x5040, false),
            (0x6050, true),
            (0x7060, false),
        ];
        assert_eq!(frames, expected.map(|(pc, hit)| (pc, hit, true)), "{release:?}: {:?}", walk.end);
        assert_eq!(walk.end, End::Whole, "{release:?}");
    }
}

/// Where the crashing CPU saves its registers is no rule: an address behind a call of that function is proved, another is not.
#[test]
fn a_function_without_rules_is_left_by_the_call_of_it() {
    for (called, certain) in [(0x9000u64, true), (0x9100, false)] {
        let (mut kernel, names) = kernel(Release::V6_4);
        // `call` before 0x6050, in a function with a frame pointer.
        let mut code = vec![0x90; 0x60];
        code[0x4b] = 0xe8;
        code[0x4c..0x50].copy_from_slice(&(called as u32).wrapping_sub(0x6050).to_le_bytes());
        kernel.put(0x6000, &code);
        kernel.put(0x1000, &[0x90; 0x100]);
        // An address in the function itself is passed by.
        kernel.put_u64(TASK + 0x2008, 0x9044);
        kernel.put_u64(TASK + 0x2010, 0x6050);
        kernel.put_u64(TASK + 0x2108, 0x7060);
        let orc = Orc::open(&kernel, &names).unwrap().unwrap();
        let function = |pc: u64| (0x1000..0xa000).contains(&pc).then_some(pc & !0xff);
        let stacks = std::iter::once(TASK..TASK + SIZE).collect();
        let ground = Ground { memory: &kernel, stacks, aligned: None, function: &function };
        let start =
            Registers { pc: 0x9010, sp: TASK + 0x2000, fp: Some(TASK + 0x2100), ..Registers::default() };
        let walk = x86_64::walk(&ground, Some(&orc), &start, true);
        let frames: Vec<_> = walk.frames.iter().map(|f| (f.pc.0, f.certain)).collect();
        assert_eq!(frames, [(0x9010, true), (0x6050, certain), (0x7060, true)], "{:?}", walk.end);
    }
}
