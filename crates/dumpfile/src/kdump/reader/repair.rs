//! What a header lacks and other parts of the dump have.

use super::index::Bitmaps;
use crate::kdump::header::Headers;
use vmcore::{Machine, Utsname, VmcoreInfo};

/// The strings of the header, with those that readers insist on taken from elsewhere where they are empty.
///
/// libkdumpfile ignores all of them when one of these four is empty, and then knows no architecture. QEMU fills in the
/// machine alone, in capitals.
pub(super) fn utsname(headers: &mut Headers, machine: Machine, info: Option<&VmcoreInfo>) -> Utsname {
    let mut uts = headers.header.utsname.clone();
    let release = info.and_then(VmcoreInfo::release);
    let mut filled = Vec::new();
    let mut lacks = Vec::new();
    let known = [
        ("sysname", &mut uts.sysname, Some("Linux")),
        ("release", &mut uts.release, release),
        ("version", &mut uts.version, None),
        ("machine", &mut uts.machine, Some(machine.name())),
    ];
    for (name, field, value) in known {
        match value {
            _ if !field.is_empty() => {}
            Some(value) => {
                value.clone_into(field);
                filled.push(name);
            }
            None => lacks.push(name),
        }
    }
    // QEMU's spelling is put right without a word.
    if Machine::from_name(&uts.machine).is_none_or(|m| m.arch != machine.arch) {
        machine.name().clone_into(&mut uts.machine);
    }
    if !filled.is_empty() || !lacks.is_empty() {
        let put = match (filled.is_empty(), lacks.is_empty()) {
            (false, true) => format!("{} put right", filled.join(", ")),
            (true, false) => format!("{} missing", lacks.join(", ")),
            _ => format!("{} put right, {} still missing", filled.join(", "), lacks.join(", ")),
        };
        headers
            .remarks
            .push(format!("utsname is not filled in ({put}): libkdumpfile and drgn refuse such a file"));
    }
    uts
}

/// The frames at the end that are not in the file but exist must be many for [`unreached`] to speak of them.
const MANY: u64 = 1 << 15;

/// The first frame past the last page of the file, when many frames exist above it.
///
/// makedumpfile fills the second bitmap as it goes when it lacks memory; if it could not finish, pages that it did not
/// come to look as if they had been left out on purpose.
pub(super) fn unreached(bitmaps: &Bitmaps) -> Option<u64> {
    let from = bitmaps.index.end();
    let above: u64 = bitmaps.frames.iter().map(|r| r.end.0.saturating_sub(r.start.0.max(from))).sum();
    (above >= MANY).then_some(from)
}
