//! The buffers for registers in real dumps.

mod support;

use kernel::kallsyms::Kallsyms;
use kernel::{CrashNotes, KernelMemory, crash_notes};
use support::{ElfKernel, corpus};
use vmcore::VirtAddr;

fn notes(name: &str) -> Option<(ElfKernel, Vec<CrashNotes>)> {
    let kernel = ElfKernel::open(&corpus(name)?);
    let table = Kallsyms::open(&kernel).unwrap();
    let notes = crash_notes(&kernel, |symbol| table.find(symbol)).unwrap();
    drop(table);
    Some((kernel, notes))
}

/// What drgn 0.3.0 answers for `per_cpu_ptr(prog["crash_notes"], cpu)`.
#[test]
fn buffers_are_where_drgn_looks_for_them() {
    let Some((_, notes)) = notes("power9-fadump-radix-64k") else { return };
    let found: Vec<_> = notes.iter().map(|n| (n.cpu, n.online, n.addr, n.capacity, n.filled)).collect();
    let at = |cpu, addr| (cpu, true, VirtAddr(addr), 536, false);
    assert_eq!(found, [at(0, 0xc000_0000_2fe0_c000), at(1, 0xc000_0000_2fe2_c000)]);
}

#[test]
fn a_big_endian_kernel_has_empty_buffers_too() {
    let Some((_, notes)) = notes("ppc64be-fadump-hash-4k") else { return };
    assert_eq!(
        notes.iter().map(|n| (n.cpu, n.online, n.filled)).collect::<Vec<_>>(),
        [(0, true, false), (1, true, false)]
    );
}

/// kdump's kernel did fill them, so the bytes there say whether ours would be the same.
#[test]
fn a_content_equals_what_a_kernel_saved_itself() {
    let Some((kernel, notes)) = notes("x86_64-kdump-6.1") else { return };
    assert_eq!(notes.len(), 2);
    for cpu in &notes {
        assert!(cpu.filled, "{cpu:?}");
        let mut saved = vec![0; cpu.capacity];
        kernel.read(cpu.addr, &mut saved).unwrap();
        assert_eq!(cpu.content(kernel.machine(), &saved[20..20 + 336]).as_ref(), Some(&saved));
    }
}
