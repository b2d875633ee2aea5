//! What holds for every machine: whatever lies on a stack, a walk ends, and goes outwards on stacks that it may be on.

mod orc;

use super::path::Ground;
use super::{Registers, Walk, arm64, loongarch64, ppc64, riscv64, s390x};
use crate::testing::FakeKernel;
use proptest::prelude::*;
use vmcore::{Arch, ByteOrder, Machine, VirtAddr, WordSize};

const STACK: u64 = 0xffff_8000_0000_0000;
const SIZE: u64 = 0x800;
const CODE: std::ops::Range<u64> = 0x1000..0x1400;

const MACHINES: [(Arch, ByteOrder); 6] = [
    (Arch::Aarch64, ByteOrder::Little),
    (Arch::S390x, ByteOrder::Big),
    (Arch::Ppc64, ByteOrder::Little),
    (Arch::Ppc64, ByteOrder::Big),
    (Arch::Riscv64, ByteOrder::Little),
    (Arch::LoongArch64, ByteOrder::Little),
];

/// A word that a walk may follow: a place on the stack, in the code, a marker, or anything.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..SIZE / 8).prop_map(|word| STACK + word * 8),
        4 => CODE,
        1 => Just(0u64),
        1 => prop::sample::select(vec![2u64, 5, 0x100, 0x5347_4552, 0x7265_6773_6865_7265]),
        1 => any::<u64>(),
    ]
}

fn walk(arch: Arch, ground: &Ground<'_>, start: &Registers, running: bool) -> Walk {
    let table = loongarch64::Table { ips: VirtAddr(STACK), entries: VirtAddr(STACK + 0x100), count: 32 };
    match arch {
        Arch::Aarch64 => arm64::walk(ground, start, running),
        Arch::S390x => s390x::walk(ground, start, running),
        Arch::Ppc64 => ppc64::walk(ground, start, running),
        Arch::Riscv64 => riscv64::walk(ground, start, running),
        _ => loongarch64::walk(ground, &[table], start, running),
    }
}

proptest! {
    #[test]
    fn any_stack_is_walked_outwards_to_an_end(
        words in prop::collection::vec(word(), (SIZE / 8) as usize),
        code: [u32; 32],
        start in (word(), word(), word(), word()),
        running: bool,
        aligned: bool,
    ) {
        for (arch, order) in MACHINES {
            let mut kernel = FakeKernel::new(Machine { arch, order, word: WordSize::Bits64 });
            let bytes: Vec<u8> = words.iter().flat_map(|word| order.put_u64(*word)).collect();
            kernel.put(STACK, &bytes);
            let text: Vec<u8> = code.iter().cycle().take(256).flat_map(|word| order.put_u32(*word)).collect();
            kernel.put(CODE.start, &text);
            let function = |pc: u64| CODE.contains(&pc).then_some(pc & !0xff);
            let ground = Ground {
                memory: &kernel,
                stacks: std::iter::once(STACK..STACK + SIZE).collect(),
                aligned: aligned.then_some(0x4000),
                function: &function,
            };
            let (pc, sp, fp, link) = start;
            let start = Registers { pc, sp, fp: Some(fp), link: Some(link), general: Vec::new() };
            let found = walk(arch, &ground, &start, running);
            prop_assert!(found.frames.len() <= 512);
            // Two frames share a stack pointer where the inner one has none of its own.
            prop_assert!(found.frames.windows(2).all(|pair| {
                aligned || pair[1].sp >= pair[0].sp || !(STACK..STACK + SIZE).contains(&pair[1].sp.0)
            }), "{arch:?} {:x?}", found);
        }
    }
}
