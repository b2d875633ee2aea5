//! The buffers for registers in real dumps.

mod support;

use corpus::{POWER, POWER_BE, X86_64};
use kernel::kallsyms::Kallsyms;
use kernel::{CrashNotes, Kernel, KernelMemory, crash_notes};
use support::with_dump;
use vmcore::{Dump, VirtAddr};

fn notes(dump: &Dump) -> (Kernel<'_>, Vec<CrashNotes>) {
    let kernel = Kernel::open(dump).unwrap();
    let table = Kallsyms::open(&kernel).unwrap();
    let notes = crash_notes(&kernel, |symbol| table.find(symbol)).unwrap();
    drop(table);
    (kernel, notes)
}

/// What drgn 0.3.0 answers for `per_cpu_ptr(prog["crash_notes"], cpu)`.
#[test]
fn buffers_are_where_drgn_looks_for_them() {
    with_dump(POWER, |_, dump| {
        let notes = notes(dump).1;
        let found: Vec<_> = notes.iter().map(|n| (n.cpu, n.online, n.addr, n.capacity, n.filled)).collect();
        let at = |cpu, addr| (cpu, true, VirtAddr(addr), 536, false);
        assert_eq!(found, [at(0, 0xc000_0000_2fe0_c000), at(1, 0xc000_0000_2fe2_c000)]);
    });
}

#[test]
fn a_big_endian_kernel_has_empty_buffers_too() {
    with_dump(POWER_BE, |_, dump| {
        let found: Vec<_> = notes(dump).1.iter().map(|n| (n.cpu, n.online, n.filled)).collect();
        assert_eq!(found, [(0, true, false), (1, true, false)]);
    });
}

/// kdump's kernel did fill them, so the bytes there say whether ours would be the same.
#[test]
fn a_content_equals_what_a_kernel_saved_itself() {
    with_dump(X86_64, |_, dump| {
        let (kernel, notes) = notes(dump);
        assert_eq!(notes.len(), 2);
        for (cpu, note) in notes.iter().zip(dump.notes.prstatus()) {
            assert!(cpu.filled, "{cpu:?}");
            let mut saved = vec![0; cpu.capacity];
            kernel.read(cpu.addr, &mut saved).unwrap();
            assert_eq!(cpu.content(dump.machine, &note.desc).as_ref(), Some(&saved));
        }
    });
}
