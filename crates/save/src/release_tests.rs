use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

const PAGE: u64 = 0x1000;

/// A kernel's `release_region` as it shipped (inclusive: it frees one page past the range), or as it should have been.
/// Written independently of phyp-model's so that the two share no mistake.
struct Kernel {
    inclusive: bool,
    counts: bool,
    reserve: std::ops::Range<u64>,
    freed: Arc<Mutex<BTreeSet<u64>>>,
}

impl ReleaseFile for Kernel {
    fn release(&mut self, start: PhysAddr, len: u64) -> io::Result<()> {
        let mut freed = self.freed.lock().unwrap();
        assert!(start.0 >= self.reserve.start && start.0 + len <= self.reserve.end, "{start} {len:#x}");
        assert_eq!(start.0 % PAGE, 0);
        if !self.inclusive && len == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let end = if self.inclusive { start.0 + len + PAGE } else { start.0 + len };
        freed.extend((start.0..end).step_by(PAGE as usize));
        Ok(())
    }

    fn memory_total(&mut self) -> Option<u64> {
        self.counts.then(|| 0x1000_0000 + self.freed.lock().unwrap().len() as u64 * PAGE)
    }
}

fn set(ranges: &[(u64, u64)]) -> RangeSet<PhysAddr> {
    ranges.iter().map(|&(s, e)| Range::new(PhysAddr(s), PhysAddr(e))).collect()
}

fn journal() -> Journal {
    Journal::nowhere()
}

proptest! {
    /// Whatever the kernel does with its last page, and whether or not it can be seen: no page above the mark is freed
    /// before the mark passes it; a kernel that can be told apart has everything back at the end, and the kernel that
    /// shipped has in any case.
    #[test]
    fn nothing_above_the_mark_is_freed_and_in_the_end_everything_is(
        inclusive: bool, counts: bool, hole in 0x30u64..0x60, marks in prop::collection::vec(0u64..0x100_000, 0..8),
    ) {
        let memory = set(&[(0, hole * PAGE), ((hole + 3) * PAGE, 0x100 * PAGE)]);
        let keep = set(&[(0x81 * PAGE + 5, 0x82 * PAGE)]);
        let listed = set(&[(0x20 * PAGE, 0xc0 * PAGE)]);
        let ground = Ground::new(&memory, &listed, PhysAddr(0xc0 * PAGE + 0x20), &keep, PAGE);
        let all = ground.all();
        prop_assert!(!all.contains(PhysAddr(0x81 * PAGE)) && all.contains(PhysAddr(0x82 * PAGE)));
        let freed = Arc::default();
        let kernel = Kernel { inclusive, counts, reserve: 0x20 * PAGE..0x100 * PAGE, freed: Arc::clone(&freed) };
        let mut releaser = Releaser::new(ground, Box::new(kernel), RangeSet::default());
        let mut marks = marks;
        marks.sort_unstable();
        for mark in marks {
            releaser.up_to(PhysAddr(mark), &mut journal()).unwrap();
            let highest = freed.lock().unwrap().last().map_or(0, |last: &u64| last + PAGE);
            prop_assert!(highest <= mark.min(0xc0 * PAGE), "{:#x} was freed below the mark {:#x}", highest, mark);
        }
        releaser.rest(&mut journal()).unwrap();
        prop_assert_eq!(releaser.refused(), None);
        let freed: Vec<u64> = freed.lock().unwrap().iter().copied().collect();
        let wanted: Vec<u64> = all.iter().flat_map(|r| (r.start.0..r.end.0).step_by(PAGE as usize)).collect();
        if inclusive || counts {
            prop_assert_eq!(freed, wanted);
        } else {
            prop_assert!(freed.iter().all(|page| wanted.contains(page)));
        }
    }
}

#[test]
fn a_kernel_that_refuses_is_asked_no_more_and_the_reason_is_kept() {
    struct Refuses(Arc<Mutex<u32>>);
    impl ReleaseFile for Refuses {
        fn release(&mut self, _: PhysAddr, _: u64) -> io::Result<()> {
            *self.0.lock().unwrap() += 1;
            Err(io::ErrorKind::PermissionDenied.into())
        }
        fn memory_total(&mut self) -> Option<u64> {
            None
        }
    }
    let asked = Arc::default();
    let ground = Ground { page: PAGE, in_place: set(&[(0x10000, 0x20000)]), areas: RangeSet::default() };
    let mut releaser = Releaser::new(ground, Box::new(Refuses(Arc::clone(&asked))), RangeSet::default());
    releaser.up_to(PhysAddr(0x18000), &mut journal()).unwrap();
    releaser.rest(&mut journal()).unwrap();
    assert_eq!(*asked.lock().unwrap(), 1);
    assert!(releaser.refused().unwrap().contains("0x10000..0x18000"));
    assert!(releaser.released().is_empty());
}

#[test]
fn memory_in_place_that_the_kernel_does_not_list_is_left_alone() {
    // The early scan missed the dump: only the save areas were kept back.
    let memory = set(&[(0, 0x100_0000)]);
    let none = RangeSet::default();
    let ground = Ground::new(&memory, &none, PhysAddr(0xc0_0000), &none, PAGE);
    assert!(ground.in_place.is_empty());
    assert_eq!(ground.areas, set(&[(0xc0_0000, 0x100_0000)]));
}
