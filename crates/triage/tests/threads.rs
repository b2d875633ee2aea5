//! CPUs and tasks of real dumps as a debugger sees them.

use kernel::Kernel;
use kernel::knowledge::{Given, complete};
use kernel::vmlinux::Vmlinux;
use std::collections::HashMap;
use triage::threads::threads;
use triage::{Options, Stacks, examine};

/// A dump, whether it needs a vmlinux, and where a note of its machine has the instruction and the stack pointer.
const DUMPS: [(&str, bool, usize, usize); 5] = [
    (corpus::X86_64_DEBIAN, false, 16, 19),
    (corpus::X86_64, true, 16, 19),
    (corpus::ARM64, false, 32, 31),
    (corpus::S390X, false, 1, 17),
    (corpus::POWER, true, 32, 1),
];

#[test]
fn every_thread_begins_where_the_walk_of_its_stack_does() {
    for (name, with_vmlinux, pc, sp) in DUMPS {
        let Some(real) = corpus::dump(name) else { continue };
        let vmlinux = with_vmlinux.then(|| real.vmlinux());
        if vmlinux.as_ref().is_some_and(Option::is_none) {
            continue;
        }
        let vmlinux = vmlinux.flatten().map(|path| Vmlinux::open(&path).unwrap());
        let mut dump = dumpfile::open(&real.elf).unwrap();
        complete(&mut dump, &Given::default()).unwrap();
        let kernel = Kernel::open(&dump).unwrap();
        let found = threads(&dump, &kernel, vmlinux.as_ref());
        let options = Options { stacks: Stacks::All };
        let report = examine(&dump, Some(&kernel), vmlinux.as_ref(), &options);
        assert_eq!(found.threads.len(), report.tasks.len(), "{name}: every task, and no CPU without one");
        let tasks: HashMap<u64, _> = report.tasks.iter().map(|task| (task.addr, task)).collect();
        let mut asleep = 0;
        for thread in &found.threads {
            let shown = thread.task.as_ref().expect("a task");
            let task = tasks[&shown.addr];
            assert_eq!((shown.pid, &shown.comm, thread.cpu.is_some()), (task.pid, &task.comm, task.running));
            let Some(stack) = &task.stack else { continue };
            let first = &stack.frames[0];
            let at = |place: usize| thread.registers.get(place).copied().flatten();
            assert_eq!((at(pc), at(sp)), (Some(first.pc), Some(first.sp)), "{name}: {}", task.comm);
            asleep += usize::from(!task.running);
        }
        assert!(asleep > 30, "{name}: {asleep}");
        // Those that ran come first, the CPU that crashed before the others.
        let running = found.threads.iter().position(|thread| thread.cpu.is_none());
        assert_eq!(running, Some(report.cpus.iter().filter(|cpu| cpu.pid.is_some()).count()), "{name}");
        let crashed = report.cpus.iter().find(|cpu| cpu.crashed).map(|cpu| cpu.cpu);
        assert_eq!(found.threads[0].crashed, crashed.is_some(), "{name}");
        assert!(crashed.is_none() || found.threads[0].cpu == crashed, "{name}");
        let text = found.text.expect("the kernel's begin");
        assert!(found.threads.iter().all(|thread| {
            thread.registers.get(pc).copied().flatten().is_none_or(|pc| pc > text && pc - text < 1 << 30)
        }));
    }
}
