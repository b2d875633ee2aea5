//! drgn sees the same tasks, stacks, release and log in hadump's files as in the original.

mod common;

use common::corpus;
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
