//! Which `crashkernel=` would let memory be given back.

use super::resident::Residents;
use super::{Area, Release, area, cmdline, memory, up};
use crate::system::System;
use std::fmt;
use vmcore::{PhysAddr, Range};

const MIB: u64 = 1 << 20;
/// Sizes are tried in steps that suit every kernel: up to 6.12 boot memory is rounded up to blocks of pages
/// (`CMA_MIN_ALIGNMENT_BYTES`), of 16 MiB at most.
const STEP: u64 = 16 * MIB;

/// What to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Nothing.
    Nothing,
    /// The kernel's parameters, from the next boot on.
    Crashkernel {
        /// `crashkernel=`, in bytes; the kernel takes it as it is.
        size: u64,
        /// `fadump=nocma` as well: otherwise the dump area, which covers RTAS, is lent to programs.
        nocma: bool,
        /// How much of the copy of boot memory RTAS will destroy all the same, in bytes.
        lost: u64,
    },
    /// `fadump=nocma`: memory can be given back as it is, but until then RTAS's memory is lent to programs.
    Nocma,
    /// There is no such number for this machine: `crashkernel=` is cut down to a quarter of memory, less than 320 MiB
    /// switches fadump off, and nothing in between saves RTAS.
    Impossible,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Nothing => f.write_str("nothing has to be changed"),
            Self::Crashkernel { size, nocma, lost } => {
                let nocma = if nocma { " fadump=nocma" } else { "" };
                write!(f, "crashkernel={}M{nocma}", size / MIB)?;
                match lost {
                    0 => Ok(()),
                    _ => write!(f, ", which costs {lost} bytes of the dump"),
                }
            }
            Self::Nocma => f.write_str("fadump=nocma"),
            Self::Impossible => f.write_str("no crashkernel= makes it possible on this machine"),
        }
    }
}

/// The part of RTAS that lies in the dump area.
pub(super) fn covered(area: &Area, residents: &Residents) -> Range<PhysAddr> {
    area.kept.intersect(&residents.rtas)
}

/// The best number: boot memory that reaches RTAS's end if a quarter of memory is enough for it, else the smallest one
/// whose dump area covers RTAS.
pub(super) fn advise(system: &System, residents: &Residents) -> Advice {
    let Ok(memory) = memory(system) else { return Advice::Impossible };
    let most = area::largest(memory.total());
    let works = |size: &u64| {
        let area = Area::with_boot_memory(system, *size)?;
        let release = Release::new(area.clone(), system, residents).ok()?;
        release.is_safe().then(|| covered(&area, residents).len())
    };
    let reaching = up(residents.rtas.end.0, STEP).max(area::MIN_BOOT);
    if reaching <= most && works(&reaching) == Some(0) {
        return Advice::Crashkernel { size: reaching, nocma: false, lost: 0 };
    }
    let mut sizes = (area::MIN_BOOT..reaching.min(most.saturating_add(1))).step_by(STEP as usize);
    let found = sizes.find_map(|size| Some((size, works(&size)?)));
    let command_line = system.boot.command_line.as_deref().unwrap_or_default();
    match found {
        Some((size, lost)) => {
            Advice::Crashkernel { size, nocma: lost > 0 && !cmdline::no_cma(command_line), lost }
        }
        None => Advice::Impossible,
    }
}
