//! What debuggers read besides what a report reads.
//!
//! Nothing is done with what is read here: a recorder notes it, and the tables that lead to it.

use crate::modules::Modules;
use crate::tasks::Task;
use crate::{Subject, memory, stack};

/// The most bytes of an area believed: an image of a kernel with all of its drivers built in has half of that.
const LARGEST: u64 = 256 << 20;
/// The most bytes of a structure.
const LARGEST_STRUCT: u64 = 1 << 20;
/// The most levels of the tree of pids, and the most entries of it that are followed (the kernel's `PID_MAX_LIMIT`).
const LEVELS: u32 = 8;
const MOST_PIDS: usize = 4 << 20;
/// The most entries of the table of sections: with five levels of tables x86_64 has them.
const MOST_ROOTS: u64 = 1 << 18;
/// The lowest bits of an entry of a tree that say that it is a node.
const NODE: u64 = 3;

/// The areas of a subject.
pub(super) struct Areas<'a> {
    pub(super) subject: &'a Subject<'a>,
}

impl Areas<'_> {
    /// Reads a byte of each page of an area.
    fn touch(&self, start: u64, len: u64) {
        let page = self.subject.page_size();
        let Some(end) = start.checked_add(len.min(LARGEST)).filter(|&end| end > start) else { return };
        let pages = (start & !(page - 1)..end).step_by(page as usize);
        for at in pages {
            // What is not mapped or not in the dump is nothing to keep.
            let _ = self.subject.read(at.max(start), &mut [0]);
        }
    }

    /// Reads what is between two symbols.
    fn between(&self, start: &str, end: &str) {
        if let (Some(start), Some(end)) = (self.subject.symbol(start), self.subject.symbol(end)) {
            self.touch(start, end.saturating_sub(start));
        }
    }

    /// Reads a structure.
    fn whole(&self, at: u64, name: &str) {
        if let Some(size) = self.subject.size_of(name).filter(|_| at != 0) {
            self.touch(at, size.min(LARGEST_STRUCT));
        }
    }

    /// Reads a task and its stack.
    fn task(&self, at: u64) {
        self.whole(at, "task_struct");
        self.touch(at, self.task_size());
        let stack = self.subject.pointer_in(at, "task_struct.stack");
        if let Some(stack) = stack.filter(|&stack| stack != 0) {
            self.touch(stack, stack::stack_size(self.subject));
        }
        for (pointer, name) in [
            ("task_struct.thread_pid", "pid"),
            ("task_struct.signal", "signal_struct"),
            ("task_struct.mm", "mm_struct"),
            ("task_struct.active_mm", "mm_struct"),
        ] {
            if let Some(at) = self.subject.pointer_in(at, pointer) {
                self.whole(at, name);
            }
        }
    }

    /// What the kernel allots for a task: x86_64 has the registers of its FPU behind the structure since 6.16, and crash reads a
    /// task with all of it or not at all.
    fn task_size(&self) -> u64 {
        let cache = self.subject.symbol("task_struct_cachep").and_then(|at| self.subject.pointer(at));
        let size = cache.and_then(|cache| self.subject.number_in(cache, "kmem_cache.object_size"));
        size.unwrap_or(0).min(LARGEST_STRUCT)
    }

    /// Tasks and what they have for themselves.
    pub(super) fn tasks<'t>(&self, tasks: impl Iterator<Item = &'t Task>) {
        tasks.for_each(|task| self.task(task.addr));
    }

    /// The kernel's variables. What its start needed is somebody else's memory now.
    pub(super) fn data(&self) {
        self.between("_sdata", "_edata");
        self.between("__bss_start", "__bss_stop");
        self.between("__bss_stop", "_end");
    }

    /// The kernel's constants. The tables by which stacks are unwound stand apart from the others.
    pub(super) fn read_only(&self) {
        self.between("__start_orc_unwind_ip", "__stop_orc_unwind_ip");
        self.between("__start_orc_unwind", "__stop_orc_unwind");
        self.between("orc_lookup", "orc_lookup_end");
        self.between("__start_rodata", "__end_rodata");
        self.between("_etext", "__end_rodata");
    }

    /// The kernel's code.
    pub(super) fn text(&self) {
        self.between("_stext", "_etext");
    }

    /// The stacks of CPUs for interrupts and exceptions.
    pub(super) fn stacks(&self) {
        let size = stack::stack_size(self.subject);
        for cpu in self.subject.cpus("__cpu_possible_mask").unwrap_or_default() {
            let stacks = stack::of_cpu(self.subject, cpu, size);
            stacks.into_iter().for_each(|stack| self.touch(stack.start, stack.end - stack.start));
        }
    }

    /// The variables that each CPU has of its own.
    pub(super) fn per_cpu(&self) {
        let ends = self.subject.symbol("__per_cpu_start").zip(self.subject.symbol("__per_cpu_end"));
        let Some((start, end)) = ends else { return };
        for cpu in self.subject.cpus("__cpu_possible_mask").unwrap_or_default() {
            if let Some(at) = self.subject.per_cpu(start, cpu) {
                self.touch(at, end.saturating_sub(start));
            }
        }
    }

    /// The slab caches and nodes, whole.
    pub(super) fn heads(&self) {
        let Some(head) = self.subject.symbol("slab_caches") else { return };
        let (caches, _) = self.subject.list(head, "kmem_cache.list", 1 << 14);
        caches.into_iter().for_each(|cache| self.whole(cache, "kmem_cache"));
        let table = self.subject.symbol("node_data");
        for node in 0..memory::nodes(self.subject) {
            let at = table.map(|table| table.wrapping_add(node.wrapping_mul(self.subject.word())));
            if let Some(at) = at.and_then(|at| self.subject.pointer(at)) {
                self.whole(at, "pglist_data");
            }
        }
    }

    /// The table by which crash finds `struct page`s, with all that it leads to: sections, and not the `struct page`s.
    pub(super) fn sections(&self) {
        let Some(info) = self.subject.kernel.map(|kernel| kernel.info()) else { return };
        let (Some(table), Some(count)) = (info.symbol("mem_section"), info.length("mem_section")) else {
            return;
        };
        let word = self.subject.word();
        self.touch(table.0, count.saturating_mul(word));
        for root in 0..count.min(MOST_ROOTS) {
            // A table that holds sections itself leads nowhere.
            let at = self.subject.pointer(table.0.wrapping_add(root * word)).filter(|&at| at != 0);
            at.into_iter().for_each(|at| self.touch(at, self.subject.page_size()));
        }
    }

    /// The tree by which debuggers find tasks: of pids in their first namespace.
    pub(super) fn pids(&self) {
        let namespace = self.subject.symbol("init_pid_ns");
        let root = ["pid_namespace.idr.idr_rt.xa_head", "pid_namespace.idr.idr_rt.rnode"];
        let root = root.into_iter().find_map(|path| self.subject.pointer_in(namespace?, path));
        let node = ["xa_node", "radix_tree_node"].into_iter().find_map(|name| {
            let slots = format!("{name}.slots");
            Some((name, self.subject.offset(&slots)?, self.subject.array(&slots)?.0))
        });
        let (Some(root), Some((name, slots, count))) = (root, node) else { return };
        let mut level = vec![root];
        let mut left = MOST_PIDS;
        for _ in 0..LEVELS {
            let mut below = Vec::new();
            for entry in level {
                if entry & NODE == 0 {
                    self.whole(entry, "pid");
                    continue;
                }
                let node = entry & !NODE;
                self.whole(node, name);
                for slot in 0..count.min(64) {
                    let at = node.wrapping_add(slots).wrapping_add(slot * self.subject.word());
                    let entry = self.subject.pointer(at).filter(|&entry| entry > 4096 && left > 0);
                    left -= usize::from(entry.is_some());
                    below.extend(entry);
                }
            }
            level = below;
        }
    }

    /// The modules, their variables first.
    pub(super) fn modules(&self, modules: &Modules) {
        for module in modules.loaded.iter().flatten() {
            module.regions.iter().rev().for_each(|&(at, size)| self.touch(at, size));
        }
    }
}
