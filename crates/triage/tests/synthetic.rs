//! Reports of synthetic kernels: machines and releases of which there is no real dump.

#[path = "../../kernel/tests/support/synth.rs"]
#[expect(dead_code, reason = "each test file uses its part")]
mod synth;

use kernel::Kernel;
use phyp_model::synth::running::linux::Layout;
use phyp_model::synth::running::story::{Story, story};
use std::collections::BTreeMap;
use triage::stack::{End, Proof};
use triage::{Options, Report, Stacks, examine};

/// A dump of each machine; what is asked of it is the same.
const MACHINES: [&str; 8] = [
    "x86_64-4k-vmemmap-6.1",
    "aarch64-4k-48-6.12",
    "riscv64-4k-sv39-6.12",
    "loongarch64-16k-3level-6.12",
    "ppc64le-64k-radix-6.12",
    "ppc64-4k-hash-6.12",
    "s390x-4k-identity0-6.12",
    "s390x-4k-3level-6.1",
];

fn report(name: &str, layout: Layout) -> (Story, Report) {
    let mut made = synth::build(name);
    let story = story(made.spec.mmu.arch(), made.spec.order, made.image.0, layout);
    made.put(&story.laid, &story.registers).unwrap();
    let dump = synth::open(&made);
    let kernel = Kernel::open(&dump).unwrap();
    let report = examine(&dump, Some(&kernel), None, &Options { stacks: Stacks::All });
    (story, report)
}

#[test]
fn stacks_of_sleeping_tasks_and_of_one_that_was_interrupted_are_found_on_every_machine() {
    for name in MACHINES {
        let (story, report) = report(name, Layout::NEW);
        let expected: BTreeMap<u32, Vec<&str>> = story.stacks.into_iter().collect();
        let mut found = BTreeMap::new();
        for task in report.tasks.iter().filter(|task| expected.contains_key(&task.pid)) {
            let stack = task.stack.as_ref().unwrap_or_else(|| panic!("{name}: no stack of {}", task.pid));
            assert_eq!(stack.end, End::Whole, "{name}: {}: {:?}", task.pid, report.missing);
            assert!(stack.frames.iter().all(|frame| frame.proof == Proof::Unwound), "{name}: {}", task.pid);
            let frames = stack.frames.iter().map(|frame| frame.function.as_deref().unwrap_or("?"));
            found.insert(task.pid, frames.collect::<Vec<_>>());
        }
        assert_eq!(found, expected, "{name}: {:?}", report.missing);
        let crashed: Vec<_> = report.cpus.iter().filter(|cpu| cpu.crashed).map(|cpu| cpu.cpu).collect();
        assert_eq!(crashed, [1], "{name}");
        assert!(report.cpus.iter().all(|cpu| !cpu.registers.is_empty()), "{name}: {:?}", report.missing);
    }
}

#[test]
fn layouts_of_old_releases_and_of_new_ones_have_the_same_facts() {
    for (layout, machine) in [
        (Layout::NEW, "x86_64-4k-vmemmap-6.12"),
        (Layout::OLD, "x86_64-4k-vmemmap-4.14"),
        (Layout { slabs: false, ..Layout::NEW }, "x86_64-4k-vmemmap-5.10"),
        (Layout { thread_list: true, ..Layout::OLD }, "ppc64-4k-hash-4.14"),
        (Layout { rss_per_cpu: false, module_memory: false, ..Layout::NEW }, "s390x-4k-3level-6.1"),
    ] {
        let (_, report) = report(machine, layout);
        let tasks: Vec<_> = report.tasks.iter().map(|t| (t.pid, t.tgid, t.state, t.cpu, t.parent)).collect();
        let expected = [
            (0, 0, 'R', Some(0), Some(0)),
            (0, 0, 'R', Some(1), Some(0)),
            (1, 1, 'S', Some(1), Some(0)),
            (2, 2, 'S', Some(0), Some(0)),
            (3, 1, 'S', Some(1), Some(0)),
            (40, 40, 'D', Some(0), Some(0)),
            (41, 41, 'I', Some(1), Some(0)),
            (50, 50, 'R', Some(1), Some(0)),
        ];
        assert_eq!(tasks, expected, "{machine}: {:?}", report.missing);
        let modules = report.modules.loaded.unwrap();
        assert_eq!(
            (modules.len(), modules[0].name.as_str(), modules[0].size),
            (1, "broken", 4096),
            "{machine}"
        );
        let memory = report.memory.unwrap_or_else(|| panic!("{machine}: {:?}", report.missing));
        let process = memory.processes.iter().find(|process| process.pid == 1).unwrap();
        let pages =
            [process.file, process.anon, process.swap, process.shmem].map(|bytes| bytes / memory.page_size);
        assert_eq!(pages, [300, 500, 70, 11], "{machine}");
        // Of 40 slabs of 21 objects one has five left, and one that a CPU works on three.
        let slab = &memory.slabs[0];
        assert_eq!((slab.name.as_str(), slab.objects, slab.active), ("dentry", 840, 832), "{machine}");
    }
}
