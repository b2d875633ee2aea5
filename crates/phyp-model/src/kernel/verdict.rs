//! Whether a kernel takes the dump that it finds, or gives all of it away.
//!
//! `fadump_process` with `is_fadump_header_compatible`, `rtas_fadump_process` and `rtas_fadump_build_cpu_notes`, on what is
//! in the property and in memory: the kernel knows of nothing else. Only memory that was spoilt on purpose makes a
//! difference to what the words of the faults say.

use crate::bytes::{be_u32, be_u64};
use crate::copy;
use crate::crashinfo::{MAGIC_INF, MAGIC_SIG};
use crate::faults::{Fault, SysfsFault};
use crate::linux::CrashHeader;
use crate::linux::{Checks, Facts};
use crate::machine::Mode;
use crate::regsave::{MAGIC, identifier};
use crate::scenario::Run;
use crate::structure::{KIND_CPU, KIND_HPTE, KIND_REAL_MODE, STATUS_ERROR, Section, Structure};

/// A header that is not one: other magic, other byte order, other sizes, or another's bytes.
pub const HEADER: &str = "the crash-info header is not of this kernel";
/// A section that was not copied whole, or has error flags.
pub const NOT_WHOLE: &str = "a section is not whole";
/// The structure's status.
pub const ERROR: &str = "the firmware reports an error";
/// The register save area is none.
pub const NO_MAGIC: &str = "the register save area has no magic";
/// The register save area is not a list of CPUs.
pub const BROKEN: &str = "the register save area is broken";

/// Why the kernel would not take the run's dump; `None` if it would, or if there is none.
pub(crate) fn refusal(run: &Run) -> Option<&'static str> {
    let facts = run.options.mode.facts().filter(|_| run.dump_waits())?;
    if run.has(&Fault::Sysfs(SysfsFault::Rejected)) {
        return Some("the kernel was told to");
    }
    if run.options.mode == Mode::Opal {
        let sound = run.layout.crash_info.is_some_and(|place| header_is_sound(run, facts, place.start));
        return (!sound).then_some(HEADER);
    }
    let property = run.hypervisor.property()?;
    let Some(structure) = Structure::parse(property) else { return Some("the property is too short") };
    // Behind the copies of boot memory, the first of which begins at address 0.
    let boot = || structure.sections.iter().filter(|section| section.kind == KIND_REAL_MODE);
    let first = boot().find(|section| section.source == 0).map_or(0, |section| section.destination);
    let header = boot().fold(first, |at, section| at.wrapping_add(section.requested));
    if !header_is_sound(run, facts, header) {
        return Some(HEADER);
    }
    match facts.checks {
        Checks::BootMemory => {
            // The test is for equality, not for the bit: 0xe000 passes.
            if copy::status_of(property) == Some(STATUS_ERROR) {
                return Some(ERROR);
            }
            let bad = |section: &Section| match section.kind {
                KIND_REAL_MODE => section.error != 0 || section.copied != section.requested,
                KIND_CPU => section.error != 0 || section.copied == 0,
                _ => false,
            };
            if structure.sections.iter().any(bad) {
                return Some(NOT_WHOLE);
            }
        }
        Checks::EverySection => {
            let bad = |section: &&Section| section.error != 0 || section.copied != section.requested;
            let looked_at =
                |section: &&Section| matches!(section.kind, KIND_CPU | KIND_HPTE | KIND_REAL_MODE);
            if structure.sections.iter().filter(looked_at).any(|section| bad(&section)) {
                return Some(NOT_WHOLE);
            }
        }
    }
    let cpu = structure.sections.iter().find(|section| section.kind == KIND_CPU)?;
    registers(run, cpu)
}

/// What the kernel writes to its log when it refuses the dump, as far as a tool may look for it; the words are the kernel's.
pub(crate) fn said(run: &Run) -> Option<&'static str> {
    let (why, facts) = run.rejected.zip(run.options.mode.facts())?;
    let not_valid = "rtas fadump: Dump taken by platform is not valid";
    let flags = |section: &Section| section.error != 0;
    let flagged = run.structure.as_ref().is_some_and(|structure| structure.sections.iter().any(flags));
    Some(match (why, facts.checks) {
        (NO_MAGIC, _) => "rtas fadump: Unable to read register save area.",
        (BROKEN, _) => "rtas fadump: Unable to read CPU state data",
        (NOT_WHOLE, Checks::BootMemory) if flagged => not_valid,
        (NOT_WHOLE, Checks::BootMemory) => "rtas fadump: Dump taken by platform is incomplete",
        (NOT_WHOLE, Checks::EverySection) if flagged => {
            "rtas fadump: Dump taken by platform is not valid (2)"
        }
        (NOT_WHOLE, Checks::EverySection) => "rtas fadump: Dump taken by platform is incomplete (2)",
        (ERROR, _) => not_valid,
        (_, Checks::BootMemory) => "rtas fadump: Crash info header is not valid.",
        (_, Checks::EverySection) => "fadump: Fadump header is corrupted.",
    })
}

fn header_is_sound(run: &Run, facts: &Facts, place: u64) -> bool {
    let Ok(bytes) = run.memory.bytes(place, 0x28) else { return false };
    let order = run.options.order;
    match facts.header {
        CrashHeader::Inf => bytes[..8] == order.u64(MAGIC_INF),
        // The version is not looked at.
        CrashHeader::Sig => {
            bytes[..8] == order.u64(MAGIC_SIG)
                && bytes[0x20..0x24] == order.u32(run.options.pt_regs_size)
                && bytes[0x24..0x28] == order.u32(run.options.cpu_mask_size)
        }
    }
}

/// `rtas_fadump_build_cpu_notes` reads the magic, goes where the header says, and expects each CPU to begin as one.
fn registers(run: &Run, cpu: &Section) -> Option<&'static str> {
    let bytes = run.memory.bytes(cpu.destination, cpu.copied).unwrap_or_default();
    if be_u64(&bytes, 0) != Some(MAGIC) {
        return Some(NO_MAGIC);
    }
    let broken = Some(BROKEN);
    let Some(offset) = be_u32(&bytes, 12).map(|offset| offset as usize) else { return broken };
    let Some(count) = be_u32(&bytes, offset) else { return broken };
    let name = |at: usize| bytes.get(at..at + 8);
    let mut at = offset + 4;
    for _ in 0..count {
        if name(at) != Some(&identifier("CPUSTRT")) {
            return broken;
        }
        while name(at) != Some(&identifier("CPUEND")) {
            if name(at).is_none() {
                return broken;
            }
            at += 16;
        }
        at += 16;
    }
    None
}
