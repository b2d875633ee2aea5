//! A small kernel that crashed: what reports are tried with on every machine.

use super::Laid;
use super::linux::{Layout, Linux, Task};
use crate::bytes::ByteOrder;
use crate::synth::dump::{Arch, prstatus};

/// A kernel with two CPUs, eight tasks, a module and a slab cache.
#[derive(Clone, Debug)]
pub struct Story {
    /// What lies in memory.
    pub laid: Laid,
    /// The registers of both CPUs, in the order of `elf_gregset_t`.
    pub registers: Vec<Vec<u64>>,
    /// The stacks that there are: a task's number, and its frames as the kernel spells them, without sizes. That of the
    /// task that CPU 1 runs leads over an interrupt.
    pub stacks: Vec<(u32, Vec<&'static str>)>,
}

/// Makes the kernel, whose code begins at `base`.
pub fn story(arch: Arch, order: ByteOrder, base: u64, layout: Layout) -> Story {
    let mut linux = Linux::begin(arch, order, base, layout, 2);
    if arch == Arch::LoongArch64 {
        linux.unwind_table();
    }
    let task = |pid: u32, tgid: u32, comm, state, kthread| Task {
        ids: (pid, tgid),
        comm,
        state,
        cpu: u64::from(pid % 2),
        kthread,
        rss: (!kthread).then_some([300, 500, 70, 11]),
    };
    let init = linux.task(&task(1, 1, "init", 1, false));
    let daemon = linux.task(&task(2, 2, "kthreadd", 1, true));
    let second = linux.task(&task(3, 1, "init-thread", 1, false));
    let stuck = linux.task(&task(40, 40, "stuck", 2, false));
    let worker = linux.task(&task(41, 41, "kworker/0:1", 0x402, true));
    let writer = linux.task(&task(50, 50, "writer", 0, false));
    let at = |linux: &Linux, frames: &[&str]| -> Vec<u64> {
        frames.iter().map(|name| linux.code(name, 0x40)).collect()
    };
    let asleep = ["schedule", "schedule_timeout", "wait_for_completion", "ksys_write", "ret_from_fork"];
    let thread = ["schedule", "worker_thread", "kthread", "ret_from_fork"];
    let idles = ["schedule", "do_idle", "cpu_startup_entry", "ret_from_fork"];
    let other = linux.tasks[1];
    for (sleeper, frames) in [
        (init, &asleep[..]),
        (second, &asleep),
        (stuck, &asleep),
        (daemon, &thread),
        (worker, &thread),
        (other, &idles),
    ] {
        let calls = at(&linux, frames);
        linux.sleeps(sleeper, &calls);
    }
    let handler = ["panic", "handle_irq"];
    let before = ["sysrq_handle_crash", "ksys_write", "ret_from_fork"];
    let (calls, hit) = (at(&linux, &handler), at(&linux, &before));
    linux.run(1, writer);
    let crashed = linux.interrupted(1, writer, &calls, &hit);
    linux.save(1, &prstatus(arch, order, 1, &crashed));
    // CPU 0 idles.
    let idle = at(&linux, &["do_idle", "cpu_startup_entry", "ret_from_fork"]);
    let first = linux.tasks[0];
    let resting = linux.resting(first, &idle);
    linux.save(0, &prstatus(arch, order, 0, &resting));
    linux.module("broken", &["broken_init", "broken_work"]);
    linux.slab("dentry", (192, 21, 40), (5, 3));
    linux.counters(20_000, 4_000);
    let panic_cpu = linux.memory.variable("panic_cpu", 4);
    linux.memory.number(panic_cpu, 1, 4);
    let stack = |frames: &[&'static str]| frames.to_vec();
    let crossing = [&handler[..], &["asm_common_interrupt"], &before].concat();
    Story {
        laid: linux.finish(),
        registers: vec![resting, crashed],
        stacks: vec![
            (1, stack(&asleep)),
            (2, stack(&thread)),
            (40, stack(&asleep)),
            (41, stack(&thread)),
            (50, crossing),
        ],
    }
}
