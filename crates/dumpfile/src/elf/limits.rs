//! What no machine has more of: numbers above these are damage.

/// No address is above this: the widest physical addresses that Linux knows are those of riscv64 with five levels.
pub(super) const MAX_ADDRESS: u64 = 1 << 56;

/// No machine has more memory than this, and bitmaps and loops are proportional to it: the largest have 64 TiB.
pub(super) const MAX_MEMORY: u64 = 1 << 48;

/// Segments, and lost ranges, that cannot be foreseen: each unreadable stretch cuts one in two.
pub(super) const UNFORESEEN: u64 = 1024;
