//! Memory that the crashed kernel lent to its capture kernel.
//!
//! With `crashkernel=SIZE,cma` (since 6.17) the capture kernel runs in memory that the crashed one went on using: for what can be
//! moved away, which is memory of user processes and page cache, and for free pages. The capture kernel has overwritten
//! it, so `/proc/vmcore` does not have it (seen with Debian's 7.2 on x86_64). Nothing in the file says so; the kernel's own list
//! does.

use crate::symbols::Symbols;
use crate::{Error, KernelMemory};
use vmcore::{PhysAddr, Range, RangeSet, VirtAddr};

/// The most ranges believed; the kernel has room for four.
const MOST: u32 = 64;

/// The ranges of `crashk_cma_ranges`, none where the kernel knows of no such memory (kernel: `kernel/crash_reserve.c`; each is
/// a `struct range`, two 64-bit addresses, the second of which is the last one inside).
///
/// # Errors
///
/// When the list or the symbols cannot be read, or the list makes no sense.
pub fn lent(memory: &dyn KernelMemory, symbols: &dyn Symbols) -> Result<RangeSet<PhysAddr>, Error> {
    let (Some(count_at), Some(at)) =
        (symbols.symbol("crashk_cma_cnt")?, symbols.symbol("crashk_cma_ranges")?)
    else {
        return Ok(RangeSet::default());
    };
    let implausible = |what: &str, addr, found: String, expected: String| Error::Implausible {
        what: what.into(),
        addr,
        found,
        expected,
    };
    let count = memory.read_u32(count_at)?;
    if count > MOST {
        return Err(implausible("crashk_cma_cnt", count_at, count.to_string(), format!("0 to {MOST}")));
    }
    let mut ranges = RangeSet::default();
    for index in 0..u64::from(count) {
        let at = VirtAddr(at.0.wrapping_add(16 * index));
        let mut range = [0; 16];
        memory.read(at, &mut range)?;
        let order = memory.machine().order;
        let (start, last) = (order.u64(&range[..8]), order.u64(&range[8..]));
        let end = last.checked_add(1).filter(|end| start < *end).ok_or_else(|| {
            implausible("crashk_cma_ranges", at, format!("{start:#x} to {last:#x}"), "a range".into())
        })?;
        ranges.insert(Range::new(PhysAddr(start), PhysAddr(end)));
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BE64, FakeKernel, LE64};

    struct Both;

    impl Symbols for Both {
        fn symbol(&self, name: &str) -> Result<Option<VirtAddr>, Error> {
            Ok(match name {
                "crashk_cma_cnt" => Some(VirtAddr(0x100)),
                "crashk_cma_ranges" => Some(VirtAddr(0x200)),
                _ => None,
            })
        }
    }

    struct Neither;

    impl Symbols for Neither {
        fn symbol(&self, _: &str) -> Result<Option<VirtAddr>, Error> {
            Ok(None)
        }
    }

    #[test]
    fn what_was_lent_is_read_from_the_kernels_list() {
        for machine in [LE64, BE64] {
            let mut kernel = FakeKernel::new(machine);
            kernel.put_u32(0x100, 2);
            for (at, value) in
                [(0x200, 0x4000_0000), (0x208, 0x43ff_ffff), (0x210, 0x1000_0000), (0x218, 0x1000_0fff)]
            {
                kernel.put_u64(at, value);
            }
            let range = |start, end| Range::new(PhysAddr(start), PhysAddr(end));
            let expected: RangeSet<PhysAddr> =
                [range(0x1000_0000, 0x1000_1000), range(0x4000_0000, 0x4400_0000)].into_iter().collect();
            assert_eq!(lent(&kernel, &Both).unwrap(), expected);
            assert!(lent(&kernel, &Neither).unwrap().is_empty());
            kernel.put_u64(0x218, 5);
            assert!(lent(&kernel, &Both).is_err(), "it ends before it begins");
            kernel.put_u64(0x218, u64::MAX);
            assert!(lent(&kernel, &Both).is_err(), "it ends nowhere");
            kernel.put_u32(0x100, u32::MAX);
            assert!(lent(&kernel, &Both).is_err(), "there are too many");
        }
    }
}
