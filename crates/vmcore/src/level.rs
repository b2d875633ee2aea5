//! What to leave out of a dump, and why a page was left out.

/// Which classes of pages to leave out: makedumpfile's dump level, a sum of bits from 0 to 31.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DumpLevel(u8);

impl DumpLevel {
    /// Pages of zeros.
    pub const ZERO: u8 = 1;
    /// Page cache without private data.
    pub const CACHE: u8 = 2;
    /// Page cache with private data (and, as a consequence, all page cache).
    pub const CACHE_PRIVATE: u8 = 4;
    /// Pages of user processes.
    pub const USER: u8 = 8;
    /// Free pages.
    pub const FREE: u8 = 16;
    /// Everything.
    pub const ALL: Self = Self(31);

    /// The level made of `bits`, when they are at most 31.
    pub fn new(bits: u32) -> Option<Self> {
        (bits <= 31).then_some(Self(bits as u8))
    }

    /// The sum of bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The classes that either level leaves out.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Reports whether one of the bits in `class` is set.
    pub const fn has(self, class: u8) -> bool {
        self.0 & class != 0
    }
}

impl std::fmt::Display for DumpLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Why a page that exists is not in a selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Free in the buddy allocator, or memory the kernel has not accepted from its host yet.
    Free,
    /// Page cache without private data.
    Cache,
    /// Page cache with private data.
    CachePrivate,
    /// Anonymous memory of a process, or a huge page.
    User,
    /// The hardware reported the page as broken; reading it may stop the machine.
    HwPoison,
    /// Taken offline, by a balloon driver for example.
    Offline,
    /// An earlier filter had left the page out already.
    Earlier,
    /// Not the kernel's own, and not there any more: the boot after the crash has written over it.
    Destroyed,
    /// None of what a mini dump holds.
    Mini,
}

impl Reason {
    /// All reasons, in the order reports list them.
    pub const ALL: [Self; 9] = [
        Self::Free,
        Self::Cache,
        Self::CachePrivate,
        Self::User,
        Self::HwPoison,
        Self::Offline,
        Self::Earlier,
        Self::Destroyed,
        Self::Mini,
    ];

    /// The name in reports and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Cache => "cache",
            Self::CachePrivate => "cache_private",
            Self::User => "user",
            Self::HwPoison => "hwpoison",
            Self::Offline => "offline",
            Self::Earlier => "earlier",
            Self::Destroyed => "destroyed",
            Self::Mini => "mini",
        }
    }
}

/// A number of pages for each [`Reason`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReasonCounts([u64; Reason::ALL.len()]);

impl ReasonCounts {
    /// The pages left out for `reason`.
    pub fn get(&self, reason: Reason) -> u64 {
        self.0[reason as usize]
    }

    /// Counts `pages` more for `reason`.
    pub fn add(&mut self, reason: Reason, pages: u64) {
        self.0[reason as usize] += pages;
    }

    /// Adds the counts of another part of memory.
    pub fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a += b);
    }

    /// The pages left out for any reason.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_beyond_31_do_not_exist() {
        assert_eq!(DumpLevel::new(31), Some(DumpLevel::ALL));
        assert_eq!(DumpLevel::new(32), None);
        assert!(DumpLevel::new(17).unwrap().has(DumpLevel::FREE));
        assert!(!DumpLevel::new(17).unwrap().has(DumpLevel::USER));
    }
}
