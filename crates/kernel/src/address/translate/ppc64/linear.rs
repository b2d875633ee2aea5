//! The linear map.

/// Where the linear map starts.
pub(in super::super) const LINEAR: u64 = 0xc000_0000_0000_0000;
/// The bits of a linear-map address that make up the physical one (`__pa()` of the kernel's `page.h`).
pub(super) const LINEAR_MASK: u64 = 0x0fff_ffff_ffff_ffff;
