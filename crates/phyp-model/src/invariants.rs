//! What must hold of anything that a tool makes of a run.

use crate::error::Result;
use crate::extent::{Extent, intersect, subtract, total};
use crate::memory::is_zero;
use crate::release::ReleaseRegion;
use crate::scenario::Truth;

/// What a tool says of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The buffer holds it.
    Bytes,
    /// It is all zeros.
    Zero,
    /// It should be there but cannot be had.
    Lost,
    /// No memory is there, or nothing that belongs to the dump.
    Absent,
}

/// How a tool's view contradicts the truth.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A page's bytes are not those of the crash.
    #[error("page at {address:#x}: byte {offset:#x} is {found:#04x}, at the crash it was {expected:#04x}")]
    Bytes {
        /// Physical address of the page.
        address: u64,
        /// Offset of the first wrong byte.
        offset: usize,
        /// The byte the tool gave.
        found: u8,
        /// The byte that was there.
        expected: u8,
    },
    /// A page has the wrong state.
    #[error("page at {address:#x} is said to be {found:?}, it is {expected}")]
    State {
        /// Physical address of the page.
        address: u64,
        /// What the tool said.
        found: Seen,
        /// What it is.
        expected: &'static str,
    },
    /// The registers are not one set per online CPU in ascending order.
    #[error("registers of CPUs {found:?}, expected {expected:?}")]
    Cpus {
        /// The CPUs the tool has registers for, in its order.
        found: Vec<u32>,
        /// The CPUs that ran.
        expected: Vec<u32>,
    },
    /// Memory was released that had not been made durable.
    #[error("frame {frame:#x} was released before it was durable")]
    NotDurable {
        /// The page frame number.
        frame: u64,
    },
    /// What was released is not what was asked for.
    #[error("frame {frame:#x} was {what}")]
    Released {
        /// The page frame number.
        frame: u64,
        /// "asked for but not released" or the other way round.
        what: &'static str,
    },
}

/// What a check of all pages has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pages given, zero ones included.
    pub present: u64,
    /// Pages said to be lost.
    pub lost: u64,
    /// Pages said to be absent.
    pub absent: u64,
}

/// Checks every page from address 0 to the end of RAM.
///
/// A page without RAM, or wholly reserved for the dump, must be absent. A page of which any byte is lost must be
/// lost. Any other must have the bytes of the crash, those of the reserved area in it reading as zero.
///
/// # Errors
///
/// The image cannot be read.
pub fn check_pages(
    truth: &Truth,
    page_size: u64,
    mut view: impl FnMut(u64, &mut [u8]) -> Seen,
) -> Result<Result<Counts, Violation>> {
    let end = truth.ram.iter().map(|extent| extent.end()).max().unwrap_or(0);
    let wanted = subtract(&truth.ram, &truth.reserved);
    let (mut page, mut expected) = (vec![0; page_size as usize], vec![0; page_size as usize]);
    let mut counts = Counts::default();
    for address in (0..end).step_by(page_size as usize) {
        let frame = Extent::new(address, page_size);
        page.fill(0xee);
        let seen = view(address, &mut page);
        let here = intersect(&wanted, &[frame]);
        let state = |expected| Ok(Err(Violation::State { address, found: seen, expected }));
        if here.is_empty() {
            if seen != Seen::Absent {
                return state("absent");
            }
            counts.absent += 1;
            continue;
        }
        if total(&intersect(&truth.lost, &here)) > 0 {
            if seen != Seen::Lost {
                return state("lost");
            }
            counts.lost += 1;
            continue;
        }
        expected.fill(0);
        for piece in &here {
            let at = (piece.start - address) as usize;
            truth.image.read(piece.start, &mut expected[at..at + piece.length as usize])?;
        }
        match seen {
            Seen::Lost | Seen::Absent => return state("present"),
            Seen::Zero if !is_zero(&expected) => return state("present and not zero"),
            Seen::Zero => {}
            Seen::Bytes => {
                if let Some(offset) =
                    page.iter().zip(&expected).position(|(found, expected)| found != expected)
                {
                    let (found, expected) = (page[offset], expected[offset]);
                    return Ok(Err(Violation::Bytes { address, offset, found, expected }));
                }
            }
        }
        counts.present += 1;
    }
    Ok(Ok(counts))
}

/// Checks that a tool has registers for exactly the CPUs that ran, in ascending order.
///
/// # Errors
///
/// The violation.
pub fn check_cpus(truth: &Truth, found: &[u32]) -> Result<(), Violation> {
    let mut expected: Vec<u32> = truth.cpus.iter().map(|cpu| cpu.id).collect();
    expected.sort_unstable();
    if found == expected { Ok(()) } else { Err(Violation::Cpus { found: found.to_vec(), expected }) }
}

/// One step of a tool that saves and releases by turns.
#[derive(Clone, Debug)]
pub enum Step {
    /// These bytes, and all that is needed to find them, are on stable storage.
    Durable(Extent),
    /// A write to `release_region` was made, and freed these frames.
    Freed(Vec<u64>),
}

/// Checks that no frame that the dump needs was released before all its bytes were durable.
///
/// `needed` are the addresses at which the dump's bytes lie now: scratch area and memory in place.
///
/// # Errors
///
/// The first frame released too early.
pub fn check_durable_first(steps: &[Step], needed: &[Extent], page_size: u64) -> Result<(), Violation> {
    let mut durable = Vec::new();
    for step in steps {
        match step {
            Step::Durable(extent) => durable.push(*extent),
            Step::Freed(frames) => {
                let mut durable = durable.clone();
                durable.sort_unstable();
                for frame in frames {
                    let bytes = intersect(needed, &[Extent::new(frame * page_size, page_size)]);
                    if !subtract(&bytes, &durable).is_empty() {
                        return Err(Violation::NotDurable { frame: *frame });
                    }
                }
            }
        }
    }
    Ok(())
}

/// Checks that what was released is, page by page, what was requested.
///
/// # Errors
///
/// The first frame on which they differ.
pub fn check_released(asked: &[Extent], release: &ReleaseRegion, page_size: u64) -> Result<(), Violation> {
    let inside = |frame: u64| {
        let page = Extent::new(frame * page_size, page_size);
        total(&intersect(asked, &[page])) == page_size
    };
    let freed: Vec<u64> = release.freed().collect();
    if let Some(frame) = freed.iter().copied().find(|frame| !inside(*frame)) {
        return Err(Violation::Released { frame, what: "released but not asked for" });
    }
    for extent in asked {
        let frames = extent.start.div_ceil(page_size)..extent.end() / page_size;
        for frame in frames {
            if freed.binary_search(&frame).is_err() {
                return Err(Violation::Released { frame, what: "asked for but not released" });
            }
        }
    }
    Ok(())
}
