//! What is checked of a dump file that was made from another.
//!
//! Each check returns what is wrong instead of failing, so that `harness.rs` can see it find things.

use super::peer;
use super::reader::elf::{Elf, notes};
use super::reader::kdump::Kdump;
use super::reader::{Order, bit};
use super::run::{Run, Scratch};
use corpus::Dump;
use std::path::Path;
use std::process::Command;

/// A finding; `Ok` when there is none.
pub type Finding = Result<(), String>;

/// Compares two sets of frames.
pub fn same_frames(found: &[u8], expected: &[u8]) -> Finding {
    let frames = 8 * found.len().max(expected.len()) as u64;
    let differing: Vec<u64> = (0..frames).filter(|pfn| bit(found, *pfn) != bit(expected, *pfn)).collect();
    let Some(first) = differing.first() else { return Ok(()) };
    let fate = if bit(expected, *first) { "missing" } else { "there and should not be" };
    Err(format!("{} frames differ; the first is {first:#x}, {fate}", differing.len()))
}

/// The notes of `output` begin with all notes of `input`, byte for byte.
pub fn notes_are_kept(input: &[u8], output: &[u8], order: Order) -> Finding {
    let (wanted, found) = (notes(input, order), notes(output, order));
    if wanted.is_empty() {
        return Err("the input has no notes".into());
    }
    match wanted.iter().zip(&found).position(|(wanted, found)| wanted != found) {
        Some(index) => Err(format!("note {index} ({}) differs", wanted[index].name)),
        None if found.len() < wanted.len() => {
            Err(format!("{} notes of {} are there", found.len(), wanted.len()))
        }
        None => Ok(()),
    }
}

/// The headers of a kdump file say what the dump it was made from says.
pub fn kdump_header(dump: &Dump, input: &Elf, kdump: &Kdump) -> Finding {
    let machine = match (input.machine, input.order.big) {
        (21, false) => "ppc64le",
        (21, true) => "ppc64",
        (62, _) => "x86_64",
        other => return Err(format!("no name for machine {other:?}")),
    };
    let notes = notes(&input.notes, input.order);
    let info = notes.iter().find(|note| note.name == "VMCOREINFO").ok_or("no VMCOREINFO")?;
    let text = String::from_utf8_lossy(&info.desc).into_owned();
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("0");
    let prstatus = notes.iter().filter(|note| note.name == "CORE" && note.kind == 1).count() as u64;
    let checks = [
        ("byte order", kdump.order == input.order),
        ("block_size", kdump.block_size == dump.page_size),
        ("sysname", kdump.uts[0] == "Linux"),
        ("release", kdump.uts[2] == value("OSRELEASE=")),
        ("version", !kdump.uts[3].is_empty()),
        ("machine", kdump.uts[4] == machine),
        ("time", kdump.time.to_string() == value("CRASHTIME=")),
        ("nr_cpus", kdump.nr_cpus == prstatus),
        ("vmcoreinfo", kdump.vmcoreinfo == info.desc),
    ];
    match checks.iter().find(|(_, right)| !right) {
        Some((field, _)) => Err(format!("the header's {field} is wrong")),
        None => Ok(()),
    }
}

/// Every page of the kdump file `output`, as libkdumpfile reads it, is the input's; frames outside `kept` are not there.
pub fn pages_by_libkdumpfile(python: &str, dump: &Dump, output: &Path, kept: &[u8]) -> Finding {
    let bitmap = Scratch::new("kept");
    std::fs::write(bitmap.path(), kept).expect("a bitmap");
    let mut command = Command::new(python);
    command.arg(peer::script("pages.py")).arg(&dump.elf).arg(output).arg(bitmap.path());
    let run = Run::of(command.arg(dump.page_size.to_string()));
    if run.code != Some(0) {
        return Err(format!("libkdumpfile: {}", run.stderr));
    }
    let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("pages.py prints JSON");
    let frames: u32 = kept.iter().map(|byte| byte.count_ones()).sum();
    match (report["wrong"].as_u64(), report["compared"].as_u64()) {
        (Some(0), Some(compared)) if compared == u64::from(frames) => Ok(()),
        (Some(0), compared) => Err(format!("{compared:?} pages of {frames} were compared")),
        _ => Err(format!("{report}")),
    }
}

/// Every kept page of the ELF core `output` is the input's; no other frame is covered.
pub fn pages_of_elf(dump: &Dump, input: &Elf, output: &Elf, kept: &[u8]) -> Finding {
    same_frames(&output.frames(dump.page_size, kept.len()), kept)?;
    // Each segment by itself, so that one of two that overlap cannot hide the other.
    let (mut found, mut wanted) = (Vec::new(), Vec::new());
    for load in &output.loads {
        let single = [*load];
        for at in (0..load.memsz).step_by(1 << 20) {
            let len = (load.memsz - at).min(1 << 20) as usize;
            found.resize(len, 0);
            wanted.resize(len, 0);
            output.read_from(&single, load.paddr + at, &mut found);
            input.read(load.paddr + at, &mut wanted);
            if found != wanted {
                let byte = found.iter().zip(&wanted).position(|(a, b)| a != b).unwrap_or_default();
                return Err(format!("the byte at {:#x} differs", load.paddr + at + byte as u64));
            }
        }
    }
    Ok(())
}
