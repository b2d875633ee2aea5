//! Addresses, frame numbers and page sizes as types of their own.

use std::fmt;

/// Defines a 64-bit quantity that must not be mixed up with another one.
macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl From<u64> for $name {
            fn from(value: u64) -> Self {
                Self(value)
            }
        }

        impl From<$name> for u64 {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

quantity! {
    /// A physical address of the crashed machine, in bytes.
    PhysAddr
}
quantity! {
    /// A virtual address of the crashed kernel, in bytes.
    VirtAddr
}
quantity! {
    /// A page frame number: a physical address divided by the dump's page size.
    Pfn
}

/// The page size of the dumped kernel: a power of two from 4 KiB to 1 MiB.
///
/// It is never the page size of the machine that hadump runs on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize {
    shift: u8,
}

impl PageSize {
    /// 4 KiB.
    pub const K4: Self = Self { shift: 12 };
    /// 16 KiB.
    pub const K16: Self = Self { shift: 14 };
    /// 64 KiB, the usual page of POWER servers.
    pub const K64: Self = Self { shift: 16 };

    /// Accepts `bytes` when a kernel could have such pages.
    pub fn new(bytes: u64) -> Option<Self> {
        let shift = bytes.trailing_zeros();
        (bytes.is_power_of_two() && (12..=20).contains(&shift)).then_some(Self { shift: shift as u8 })
    }

    /// Bytes in a page.
    pub const fn bytes(self) -> u64 {
        1 << self.shift
    }

    /// Bytes in a page, as a length in memory.
    #[expect(clippy::len_without_is_empty, reason = "a page is never empty")]
    pub const fn len(self) -> usize {
        1 << self.shift
    }

    /// Base-two logarithm of the size.
    pub const fn shift(self) -> u32 {
        self.shift as u32
    }

    /// The frame that holds `addr`.
    pub const fn pfn(self, addr: PhysAddr) -> Pfn {
        Pfn(addr.0 >> self.shift)
    }

    /// The first address of frame `pfn`; saturates at the end of the address space.
    pub const fn addr(self, pfn: Pfn) -> PhysAddr {
        PhysAddr(pfn.0.saturating_mul(1 << self.shift))
    }

    /// The number of frames that `bytes` bytes touch when they start on a frame's border.
    pub const fn frames(self, bytes: u64) -> u64 {
        bytes.div_ceil(1 << self.shift)
    }

    /// The offset of `addr` inside its frame.
    pub const fn offset(self, addr: u64) -> usize {
        (addr & ((1 << self.shift) - 1)) as usize
    }
}

impl fmt::Debug for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageSize({self})")
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB", self.bytes() >> 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_size_is_a_power_of_two_that_a_kernel_could_use() {
        assert_eq!(PageSize::new(4096), Some(PageSize::K4));
        assert_eq!(PageSize::new(65536), Some(PageSize::K64));
        for odd in [0, 1, 512, 4095, 12288, 1 << 21, u64::MAX] {
            assert_eq!(PageSize::new(odd), None, "{odd}");
        }
    }

    #[test]
    fn frames_and_addresses_agree() {
        let page = PageSize::K64;
        assert_eq!(page.pfn(PhysAddr(0x2_ffff)), Pfn(2));
        assert_eq!(page.addr(Pfn(2)), PhysAddr(0x2_0000));
        assert_eq!(page.offset(0x2_0010), 0x10);
        assert_eq!(page.frames(1), 1);
        assert_eq!(page.addr(Pfn(u64::MAX)), PhysAddr(u64::MAX));
    }
}
