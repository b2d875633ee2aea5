//! The compressions of the kdump format.

use std::fmt;
use std::ops::RangeInclusive;

/// A compression that a page of a kdump file can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Deflate in a zlib wrapper, which every reader knows.
    Zlib,
    /// LZO1X.
    Lzo,
    /// A raw snappy block, without the framing format.
    Snappy,
    /// Zstandard frames.
    Zstd,
}

impl Method {
    /// All methods, in the order of their flags.
    pub const ALL: [Self; 4] = [Self::Zlib, Self::Lzo, Self::Snappy, Self::Zstd];

    /// The bit that says so in a page descriptor's `flags` and in the header's `status`
    /// (`DUMP_DH_COMPRESSED_*` of makedumpfile's `diskdump_mod.h`).
    pub fn flag(self) -> u32 {
        match self {
            Self::Zlib => 0x1,
            Self::Lzo => 0x2,
            Self::Snappy => 0x4,
            Self::Zstd => 0x20,
        }
    }

    /// The method whose bit `flag` is, when it is exactly one method's.
    pub fn from_flag(flag: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.flag() == flag)
    }

    /// Its place in [`Method::ALL`].
    pub fn index(self) -> usize {
        match self {
            Self::Zlib => 0,
            Self::Lzo => 1,
            Self::Snappy => 2,
            Self::Zstd => 3,
        }
    }

    /// The name as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Lzo => "lzo",
            Self::Snappy => "snappy",
            Self::Zstd => "zstd",
        }
    }

    /// The method of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// The level that a user who names none gets; `None` for a method without levels.
    pub fn default_level(self) -> Option<i32> {
        match self {
            Self::Zlib | Self::Zstd => Some(1),
            Self::Lzo | Self::Snappy => None,
        }
    }

    /// The levels that an encoder takes, from the fastest to the smallest; `None` for a method without
    /// levels.
    pub fn levels(self) -> Option<RangeInclusive<i32>> {
        match self {
            Self::Zlib => Some(1..=9),
            // Levels 20 to 22 differ from 19 by windows far larger than a page.
            Self::Zstd => Some(-5..=19),
            Self::Lzo | Self::Snappy => None,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_names_lead_back_to_their_method() {
        for method in Method::ALL {
            assert_eq!(Method::from_flag(method.flag()), Some(method));
            assert_eq!(Method::from_name(method.name()), Some(method));
            assert_eq!(Method::ALL[method.index()], method);
        }
        for flag in [0, 0x3, 0x8, 0x10, 0x40, 0x21] {
            assert_eq!(Method::from_flag(flag), None, "{flag:#x}");
        }
        assert_eq!(Method::from_name("gzip"), None);
    }

    #[test]
    fn a_default_level_is_one_of_the_levels() {
        for method in Method::ALL {
            match (method.default_level(), method.levels()) {
                (Some(level), Some(levels)) => assert!(levels.contains(&level), "{method}"),
                (None, None) => {}
                odd => panic!("{method}: {odd:?}"),
            }
        }
    }
}
