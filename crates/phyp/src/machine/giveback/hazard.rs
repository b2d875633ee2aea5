//! What makes a registration unsafe that is made after a release, in the same boot.

use super::{Area, down, up};
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use vmcore::{PageSize, PhysAddr, Range, RangeSet};

/// The bit of `/proc/kpageflags` that says that the allocator does not have the page (`KPF_RESERVED`).
const KPF_RESERVED: u64 = 1 << 32;

/// Freed memory that the next registration relies on. The machine lives on; the next dump does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hazard {
    /// The page in which the dump area ends, which holds the crash-info header (since 6.10). The next registration
    /// writes the header into a page that somebody else has; at the next crash the kernel finds no header and frees
    /// everything. Up to 6.9 the area ends at a page's border.
    HeaderPage(Range<PhysAddr>),
    /// The parameter area. A write to `bootargs_append` goes into somebody else's page, and somebody else's bytes go
    /// to the command line of the next dump's boot.
    Parameters(Range<PhysAddr>),
}

impl Hazard {
    /// The pages.
    pub fn range(&self) -> Range<PhysAddr> {
        match self {
            Self::HeaderPage(range) | Self::Parameters(range) => *range,
        }
    }
}

impl fmt::Display for Hazard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::HeaderPage(_) => "the page of the crash-info header",
            Self::Parameters(_) => "the parameter area",
        };
        write!(f, "{what} ({:?})", self.range())
    }
}

/// What of `freed` the next registration needs.
pub(super) fn hazards(area: &Area, freed: &RangeSet<PhysAddr>) -> Vec<Hazard> {
    // Of several possible page sizes the largest reaches furthest.
    let page = area.pages.iter().map(|p| p.bytes()).max().unwrap_or(1);
    let whole = |r: Range<PhysAddr>| Range::new(PhysAddr(down(r.start.0, page)), PhysAddr(up(r.end.0, page)));
    let header = freed.within(area.kept).next().map(|part| Hazard::HeaderPage(whole(part)));
    let parameters = area.parameters.filter(|&p| freed.within(p).next().is_some());
    header.into_iter().chain(parameters.map(|p| Hazard::Parameters(whole(p)))).collect()
}

/// Reports whether a kernel has kept all of `range` through a release that should have freed it by the rules: its
/// fault is mended then, and the hazard is none. `flags` is `/proc/kpageflags`, which root may read, with eight bytes
/// for each page of the running kernel.
///
/// # Errors
///
/// When the flags of a page cannot be read; nothing is known then.
pub fn still_reserved(
    flags: &mut (impl Read + Seek),
    range: Range<PhysAddr>,
    page: PageSize,
) -> io::Result<bool> {
    let frames = page.pfn(range.start).0..page.frames(range.end.0);
    for frame in frames {
        let at = frame.checked_mul(8).ok_or(io::ErrorKind::InvalidInput)?;
        flags.seek(SeekFrom::Start(at))?;
        let mut word = [0; 8];
        flags.read_exact(&mut word)?;
        if u64::from_ne_bytes(word) & KPF_RESERVED == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn range(start: u64, end: u64) -> Range<PhysAddr> {
        Range::new(PhysAddr(start), PhysAddr(end))
    }

    #[test]
    fn a_page_is_still_reserved_when_each_of_its_frames_is() {
        let words = [0, KPF_RESERVED | 4, KPF_RESERVED, 1 << 10];
        let mut flags = Cursor::new(words.iter().flat_map(|w: &u64| w.to_ne_bytes()).collect::<Vec<u8>>());
        let mut asked = |start, end| still_reserved(&mut flags, range(start, end), PageSize::K4);
        assert!(asked(0x1000, 0x3000).unwrap());
        assert!(asked(0x1800, 0x1801).unwrap());
        assert!(!asked(0x2000, 0x3001).unwrap());
        assert!(!asked(0, 0x2000).unwrap());
        assert_eq!(asked(0x4000, 0x5000).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(still_reserved(&mut flags, range(u64::MAX - 1, u64::MAX), PageSize::K4).is_err());
    }
}
