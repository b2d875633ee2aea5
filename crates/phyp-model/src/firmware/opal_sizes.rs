//! Sizes that OPAL and the kernel agree on.

/// Bytes per thread in the CPU data: a header of 18h and 40 entries of 16 bytes, rounded up.
pub(crate) const THREAD_SIZE: u64 = 0x2c0;

/// Bytes of OPAL's kernel metadata: 10h and 128 regions of 18h (`opal-fadump.h`). What is reserved for it is whole pages
/// (`opal_fadump_get_metadata_size`).
pub(crate) const METADATA: u64 = 0x10 + 128 * 24;
