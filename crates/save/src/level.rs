//! Leaving out more, a class at a time, until the dump fits.

use vmcore::DumpLevel;

/// The classes in the order in which they are left out, which is the order in which a dump that is cut short loses them.
const STEPS: [u8; 4] = [DumpLevel::FREE, DumpLevel::USER, DumpLevel::CACHE, DumpLevel::CACHE_PRIVATE];

/// The level that leaves out one more class than `level`; `None` when it leaves out all of them.
///
/// Pages of zeros, which take no room in either format, are left out from the first step on, so that the last one is 31.
pub fn raised(level: DumpLevel) -> Option<DumpLevel> {
    let step = STEPS.into_iter().find(|class| !level.has(*class))?;
    DumpLevel::new((level.bits() | step | DumpLevel::ZERO).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_rises_to_31_a_class_at_a_time() {
        let steps = |from| {
            let next = |l: &DumpLevel| raised(*l);
            std::iter::successors(DumpLevel::new(from), next).map(DumpLevel::bits).collect::<Vec<_>>()
        };
        assert_eq!(steps(0), [0, 17, 25, 27, 31]);
        assert_eq!(steps(1), [1, 17, 25, 27, 31]);
        assert_eq!(steps(8), [8, 25, 27, 31]);
        assert_eq!(steps(30), [30]);
        assert_eq!(steps(31), [31]);
    }
}
