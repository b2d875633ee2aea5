//! drgn sees the same tasks, stacks, release and log in hadump's files as in the original.

mod common;

use common::peer;
use common::run::{self, METHODS};

const LEVELS: [u32; 3] = [0, 1, 31];

fn sees_the_same(name: &'static str, release: &str, tasks: usize) {
    let (Some(dump), Some(python)) = (corpus::dump(name), peer::python_drgn()) else { return };
    let Some(vmlinux) = dump.vmlinux() else { return };
    let expected = peer::drgn(python, &vmlinux, &dump.elf);
    // Two equal error messages must not pass for two equal dumps.
    assert!(expected.starts_with(&format!("release {release}\n")), "{expected}");
    assert_eq!(expected.lines().filter(|line| line.starts_with("task ")).count(), tasks);
    assert!(expected.contains("Linux version"), "the log is missing");
    let mut outputs = Vec::new();
    for level in LEVELS {
        outputs.push((format!("ELF at level {level}"), run::to_elf(&dump.elf, level)));
        for (method, _) in METHODS {
            outputs
                .push((format!("{method} kdump at level {level}"), run::to_kdump(&dump.elf, level, method)));
        }
    }
    for (what, output) in &outputs {
        let seen = peer::drgn(python, &vmlinux, output.path());
        let differing = expected.lines().zip(seen.lines()).find(|(a, b)| a != b);
        assert!(seen == expected, "{what}: first difference (original, output): {differing:?}");
    }
}

#[test]
fn of_x86_64() {
    sees_the_same(corpus::X86_64, "6.1.192-lab", 40);
}

/// Stacks of the running tasks cannot be had from a firmware-assisted dump ("registers for CPU N were not saved"), and
/// must then be missing for the same reason; all others are compared.
#[test]
fn of_power_little_endian() {
    sees_the_same(corpus::POWER, "6.12.94-fadump", 49);
}

/// The stacks of the tasks that drgn lists: the task's line, and what follows it.
fn stacks(seen: &str) -> Vec<(&str, Vec<&str>)> {
    let mut tasks: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in seen.lines() {
        if line.starts_with("task ") {
            tasks.push((line, Vec::new()));
        } else if let (Some(frame), Some(task)) = (line.strip_prefix("    "), tasks.last_mut()) {
            task.1.push(frame);
        }
    }
    tasks
}

/// With `--fill-crash-notes` the tasks that were running when the machine crashed have stacks, and no other has another.
#[test]
fn of_power_little_endian_with_its_crash_notes_filled() {
    let (Some(dump), Some(python)) = (corpus::dump(corpus::POWER), peer::python_drgn()) else { return };
    let Some(vmlinux) = dump.vmlinux() else { return };
    let original = peer::drgn(python, &vmlinux, &dump.elf);
    let running: Vec<usize> = stacks(&original)
        .iter()
        .enumerate()
        .filter(|(_, (_, frames))| frames.iter().any(|f| f.contains("were not saved")))
        .map(|(index, _)| index)
        .collect();
    // The other CPU is idle, and drgn's list of tasks has no idle ones.
    assert_eq!(running.len(), 1, "{original}");
    let by_vmlinux = ["--fill-crash-notes", "--vmlinux", vmlinux.to_str().expect("a path")];
    for (format, options) in [("kdump", &by_vmlinux[..1]), ("elf", &by_vmlinux[..1]), ("kdump", &by_vmlinux)]
    {
        let output = run::Scratch::new("out");
        let all = [&["--format", format][..], options].concat();
        run::convert(&dump.elf, output.path(), &all).ok();
        let seen = peer::drgn(python, &vmlinux, output.path());
        let (found, wanted) = (stacks(&seen), stacks(&original));
        assert_eq!(found.len(), wanted.len());
        for (index, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
            if !running.contains(&index) {
                assert_eq!(found, wanted);
                continue;
            }
            assert_eq!(found.0, wanted.0);
            assert!(found.1.len() > 1 && found.1.iter().all(|f| f.starts_with("0x")), "{format}: {found:?}");
        }
        // The one that crashed did so in the kernel's crash path.
        assert!(running.iter().any(|i| found[*i].1.iter().any(|f| f.contains("sysrq"))), "{seen}");
    }
}
