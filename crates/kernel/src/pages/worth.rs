//! What pages are worth to the reader of a dump.

/// What pages are worth, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// What no reader can do without: the kernel's image, per-CPU data and all else reserved at boot, page tables,
    /// `struct page`s, slab, and what vmalloc maps, modules and stacks among it.
    Essential,
    /// What else the kernel uses, and what could not be distinguished from it.
    Kernel,
    /// Page cache with private data.
    CachePrivate,
    /// Page cache without.
    Cache,
    /// Memory of processes.
    User,
    /// Free memory.
    Free,
}

impl Value {
    /// All values, the most valuable first.
    pub const ALL: [Self; 6] =
        [Self::Essential, Self::Kernel, Self::CachePrivate, Self::Cache, Self::User, Self::Free];

    /// The name in reports and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Essential => "essential",
            Self::Kernel => "kernel",
            Self::CachePrivate => "cache_private",
            Self::Cache => "cache",
            Self::User => "user",
            Self::Free => "free",
        }
    }
}
