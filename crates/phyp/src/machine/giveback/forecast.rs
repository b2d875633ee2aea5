//! What the next crash will allow, said while there is still time to change it.

use super::resident::Residents;
use super::{Advice, Area, Release, Unknown, advice, area, cmdline, memory};
use crate::kdms::KernelDump;
use crate::system::System;
use vmcore::{PhysAddr, Range};

/// What an ordinary boot can expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forecast {
    /// fadump was asked for and is off, because `crashkernel=` leaves it less than 320 MiB of boot memory.
    Refused {
        /// What boot memory came to in bytes: what was asked for, at most a quarter of memory.
        boot_memory: u64,
        /// What to ask for instead.
        advice: Advice,
    },
    /// fadump is on.
    Next(Box<NextCrash>),
}

/// What happens after the next crash, if the next boot has RTAS where this one has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextCrash {
    /// What a release will do.
    pub release: Release,
    /// How much of the copy of boot memory the next boot's RTAS will destroy, in bytes.
    pub lost: u64,
    /// RTAS's memory, when the kernel lends it to programs now, in this ordinary boot: the dump area covers it, and
    /// the kernel gives the dump area to CMA without asking who else lies there.
    pub lent: Option<Range<PhysAddr>>,
    /// What to ask for, so that memory can be given back.
    pub advice: Advice,
}

/// What will be possible after the next crash, in an ordinary boot or in one that has released its dump.
///
/// # Errors
///
/// When something is not known without which the answer would be a guess, or fadump is off because nobody asked for
/// it.
pub fn forecast(system: &System) -> Result<Forecast, Unknown> {
    if system.opal {
        return Err(Unknown::new("what OPAL's firmware keeps in memory is not known here"));
    }
    let fadump = system.fadump.as_ref().ok_or_else(|| Unknown::new("this kernel has no fadump"))?;
    let command_line = system.boot.command_line.as_deref().unwrap_or_default();
    if !fadump.enabled {
        let ram = memory(system)?.total();
        let boot_memory = area::boot_memory(command_line, ram);
        if !cmdline::wants_fadump(command_line) || boot_memory >= area::MIN_BOOT {
            return Err(Unknown::new("fadump is off"));
        }
        let advice = advice::advise(system, &Residents::of(system)?);
        return Ok(Forecast::Refused { boot_memory, advice });
    }
    let residents = Residents::of(system)?;
    let dump = system.leavings.kernel_dump.as_deref().and_then(|property| KernelDump::parse(property).ok());
    let area = match &dump {
        Some(dump) => Area::of_dump(system, dump)?,
        None => Area::now(system)?,
    };
    let lost = advice::covered(&area, &residents).len();
    let lends = system.boot.cma_total.is_some_and(|total| total > 0);
    let lent = Some(residents.rtas).filter(|_| lends && lost > 0);
    let release = Release::new(area, system, &residents)?;
    let better = || advice::advise(system, &residents);
    let advice = match release.is_safe() {
        true if lost == 0 => Advice::Nothing,
        // The dump area covers RTAS. More boot memory would save it whole; without, programs must not get it.
        true => match better() {
            advice @ Advice::Crashkernel { lost: 0, .. } => advice,
            _ if lent.is_some() => Advice::Nocma,
            _ => Advice::Nothing,
        },
        false => better(),
    };
    Ok(Forecast::Next(Box::new(NextCrash { release, lost, lent, advice })))
}
