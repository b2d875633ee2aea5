//! A small kernel: code, CPUs, tasks with stacks, modules, slab caches and counters, in the layouts of several releases.
//!
//! What a struct looks like here has the kernel's names and no release's offsets: a reader that takes offsets from the
//! types must come out right with any.

use super::{Laid, Running};
use crate::bytes::ByteOrder;
use crate::synth::dump::Arch;

/// Functions, in the order of their addresses, 256 bytes each.
pub const FUNCTIONS: [&str; 15] = [
    "startup",
    "ret_from_fork",
    "kthread",
    "worker_thread",
    "schedule",
    "schedule_timeout",
    "wait_for_completion",
    "do_idle",
    "cpu_startup_entry",
    "handle_irq",
    "asm_common_interrupt",
    "__crash_kexec",
    "panic",
    "sysrq_handle_crash",
    "ksys_write",
];
/// Bytes of a function.
pub const FUNCTION: u64 = 0x100;
/// Bytes of a stack.
pub const STACK: u64 = 16 << 10;

/// What differs between releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `task_struct.__state`, 32 bits since 5.14; a word called `state` before.
    pub state_of_32_bits: bool,
    /// `module.mem`, an array since 6.4; `core_layout` and `init_layout` before.
    pub module_memory: bool,
    /// `struct slab` since 5.17; a slab was a `struct page` before.
    pub slabs: bool,
    /// Memory of processes is counted per CPU since 6.2; in one number, and by threads, before.
    pub rss_per_cpu: bool,
    /// Threads on a list of their own since 3.14; in a ring before.
    pub thread_list: bool,
    /// `thread_info` is part of `task_struct`, and says which CPU it is.
    pub thread_info: bool,
    /// Slab pages are on `slab_list` since 5.2; on `lru` before.
    pub slab_list: bool,
}

impl Layout {
    /// A kernel of today.
    pub const NEW: Self = Self {
        state_of_32_bits: true,
        module_memory: true,
        slabs: true,
        rss_per_cpu: true,
        thread_list: true,
        thread_info: true,
        slab_list: true,
    };
    /// One of long ago.
    pub const OLD: Self = Self {
        state_of_32_bits: false,
        module_memory: false,
        slabs: false,
        rss_per_cpu: false,
        thread_list: false,
        thread_info: false,
        slab_list: false,
    };
}

/// A task to be made.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// Its number, and that of its process.
    pub ids: (u32, u32),
    /// Its name.
    pub comm: &'a str,
    /// `__state`.
    pub state: u64,
    /// The CPU that it ran on.
    pub cpu: u64,
    /// It is the kernel's own.
    pub kthread: bool,
    /// Its memory: pages of files, its own, swapped out, shared. `None` for none.
    pub rss: Option<[u64; 4]>,
}

/// A kernel under construction.
#[derive(Clone, Debug)]
pub struct Linux {
    /// Its memory.
    pub memory: Running,
    /// Its machine.
    pub arch: Arch,
    /// Its layout.
    pub layout: Layout,
    /// The `task_struct`s in the order of their making: `init_task` first, then the idle tasks of other CPUs.
    pub tasks: Vec<u64>,
    /// Where each CPU's area begins, which is what is added to a per-CPU symbol.
    pub areas: Vec<u64>,
    heads: Vec<u64>,
}

/// Where per-CPU variables are in their area.
const RUNQUEUES: u64 = 0x1000;
const CRASH_NOTES: u64 = 0x1800;
const RSS: u64 = 0x1c00;
/// Bytes of an area.
const AREA: u64 = 0x2000;

impl Linux {
    /// Begins a kernel at `base`, where its code starts, with `cpus` CPUs and their idle tasks.
    pub fn begin(arch: Arch, order: ByteOrder, base: u64, layout: Layout, cpus: u64) -> Self {
        let mut memory = Running::new(order, base);
        declare(&mut memory, arch, layout);
        let code = memory.take(FUNCTION * FUNCTIONS.len() as u64, 1);
        memory.symbol("_text", 'T', base);
        memory.symbol("_stext", 'T', base);
        for (n, name) in FUNCTIONS.iter().enumerate() {
            memory.symbol(name, 'T', code + n as u64 * FUNCTION);
        }
        let end = memory.take(0, 4096);
        memory.symbol("_etext", 'T', end);
        let mut made = Self { memory, arch, layout, tasks: Vec::new(), areas: Vec::new(), heads: Vec::new() };
        made.per_cpu(cpus);
        for cpu in 0..cpus {
            let comm = format!("swapper/{cpu}");
            let idle = Task { ids: (0, 0), comm: &comm, state: 0, cpu, kthread: true, rss: None };
            let at = made.struct_of(&idle);
            if cpu == 0 {
                made.memory.symbol("init_task", 'D', at);
            }
            let queue = made.areas[cpu as usize] + RUNQUEUES;
            made.memory.set(queue, "rq.curr", at);
            made.memory.set(queue, "rq.idle", at);
        }
        made
    }

    /// Areas, masks, and what is in the areas.
    fn per_cpu(&mut self, cpus: u64) {
        let memory = &mut self.memory;
        let offsets = memory.variable("__per_cpu_offset", 8 * cpus);
        let count = memory.variable("nr_cpu_ids", 4);
        memory.number(count, cpus, 4);
        let mask = if cpus < 64 { (1 << cpus) - 1 } else { u64::MAX };
        for name in ["__cpu_possible_mask", "__cpu_present_mask", "__cpu_online_mask"] {
            let at = memory.variable(name, cpus.div_ceil(64) * 8);
            for word in 0..cpus.div_ceil(64) {
                memory.word(at + word * 8, mask);
            }
        }
        for cpu in 0..cpus {
            let area = memory.take(AREA, 4096);
            memory.word(offsets + cpu * 8, area);
            memory.set(area + RUNQUEUES, "rq.clock", 5_000_000_000);
            self.areas.push(area);
        }
        memory.symbol("runqueues", 'A', RUNQUEUES);
        let notes = memory.variable("crash_notes", 8);
        memory.word(notes, CRASH_NOTES);
    }

    /// The registers of `cpu`, as the kernel saves them when it crashes: the content of an `NT_PRSTATUS` note.
    pub fn save(&mut self, cpu: usize, prstatus: &[u8]) {
        let at = self.areas[cpu] + CRASH_NOTES;
        for (n, word) in [5, prstatus.len() as u64, 1].into_iter().enumerate() {
            self.memory.number(at + 4 * n as u64, word, 4);
        }
        self.memory.put(at + 12, b"CORE");
        self.memory.put(at + 20, prstatus);
    }

    /// A `task_struct` with its stack, on no list.
    fn struct_of(&mut self, task: &Task<'_>) -> u64 {
        let (layout, pid) = (self.layout, u64::from(task.ids.0));
        let memory = &mut self.memory;
        let at = memory.alloc("task_struct");
        let stack = memory.take(STACK, STACK);
        let state = if layout.state_of_32_bits { "task_struct.__state" } else { "task_struct.state" };
        memory.set(at, state, task.state);
        memory.set(at, "task_struct.pid", pid);
        memory.set(at, "task_struct.tgid", task.ids.1.into());
        memory.set_text(at, "task_struct.comm", task.comm);
        memory.set(at, "task_struct.stack", stack);
        memory.set(at, "task_struct.flags", if task.kthread { 0x0020_0000 } else { 0 });
        memory.set(at, "task_struct.se.exec_start", 4_000_000_000);
        let cpu = if layout.thread_info { "task_struct.thread_info.cpu" } else { "task_struct.wake_cpu" };
        memory.set(at, cpu, task.cpu);
        let parent = self.tasks.first().copied().unwrap_or(at);
        memory.set(at, "task_struct.real_parent", parent);
        self.tasks.push(at);
        at
    }

    /// A task on the lists, with its stack; its `task_struct`.
    pub fn task(&mut self, task: &Task<'_>) -> u64 {
        let leader = task.ids.0 == task.ids.1;
        let at = self.struct_of(task);
        let process = match leader {
            true => at,
            false => self.leader(task.ids.1),
        };
        if leader {
            self.heads.push(at);
            let signal = self.memory.alloc("signal_struct");
            self.memory.set(at, "task_struct.signal", signal);
        }
        self.threads(process);
        match task.rss {
            Some(rss) if leader => self.mm(at, rss),
            Some(_) => {
                let (offset, size) = self.memory.types.place("task_struct.mm");
                let from = process + offset - self.memory.base;
                let mm = self.memory.bytes[from as usize..(from + size) as usize].to_vec();
                self.memory.put(at + offset, &mm);
            }
            None => {}
        }
        at
    }

    fn leader(&self, tgid: u32) -> u64 {
        let (offset, _) = self.memory.types.place("task_struct.pid");
        let wanted = self.memory.order.u32(tgid);
        let is = |at: &&u64| {
            let from = (**at + offset - self.memory.base) as usize;
            self.memory.bytes[from..from + 4] == wanted
        };
        *self.heads.iter().find(is).unwrap_or_else(|| panic!("no process {tgid}"))
    }

    /// Links the threads of a process anew.
    fn threads(&mut self, leader: u64) {
        let memory = &mut self.memory;
        let (tgid, size) = memory.types.place("task_struct.tgid");
        let id = |memory: &Running, task: u64| {
            let from = (task + tgid - memory.base) as usize;
            memory.bytes[from..from + size as usize].to_vec()
        };
        let own = id(memory, leader);
        let threads: Vec<u64> = self.tasks.iter().copied().filter(|&task| id(memory, task) == own).collect();
        if self.layout.thread_list {
            let (signal, _) = memory.types.place("task_struct.signal");
            let from = (leader + signal - memory.base) as usize;
            let bytes: [u8; 8] = memory.bytes[from..from + 8].try_into().unwrap_or_default();
            let signal = match memory.order {
                ByteOrder::Little => u64::from_le_bytes(bytes),
                ByteOrder::Big => u64::from_be_bytes(bytes),
            };
            let hook = memory.offset("task_struct.thread_node");
            let mut ring = vec![signal + memory.offset("signal_struct.thread_head")];
            ring.extend(threads.iter().map(|task| task + hook));
            memory.ring(&ring);
            threads.iter().for_each(|task| memory.set(*task, "task_struct.signal", signal));
        } else {
            let hook = memory.offset("task_struct.thread_group");
            memory.ring(&threads.iter().map(|task| task + hook).collect::<Vec<_>>());
        }
    }

    /// Gives a process memory.
    fn mm(&mut self, task: u64, rss: [u64; 4]) {
        let memory = &mut self.memory;
        let mm = memory.alloc("mm_struct");
        memory.set(task, "task_struct.mm", mm);
        memory.set(mm, "mm_struct.pgtables_bytes", 0x3000);
        let counters = mm + memory.offset("mm_struct.rss_stat");
        for (n, pages) in (0u64..).zip(rss) {
            if !self.layout.rss_per_cpu {
                memory.word(counters + 8 * n, pages);
                continue;
            }
            // Each CPU has counted one page that is not in the sum yet.
            let counter = counters + n * memory.types.size_of("percpu_counter");
            memory.set(counter, "percpu_counter.count", pages.wrapping_sub(self.areas.len() as u64));
            memory.set(counter, "percpu_counter.counters", RSS + 4 * n);
            for area in &self.areas {
                memory.number(area + RSS + 4 * n, 1, 4);
            }
        }
    }

    /// Lets a task run on a CPU.
    pub fn run(&mut self, cpu: usize, task: u64) {
        self.memory.set(self.areas[cpu] + RUNQUEUES, "rq.curr", task);
    }

    /// The lowest address of a task's stack.
    pub fn stack(&self, task: u64) -> u64 {
        let from = (task + self.memory.offset("task_struct.stack") - self.memory.base) as usize;
        let bytes: [u8; 8] = self.memory.bytes[from..from + 8].try_into().unwrap_or_default();
        match self.memory.order {
            ByteOrder::Little => u64::from_le_bytes(bytes),
            ByteOrder::Big => u64::from_be_bytes(bytes),
        }
    }

    /// A module with its code, `functions` of 64 bytes each, as the newest of all.
    pub fn module(&mut self, name: &str, functions: &[&str]) -> u64 {
        let memory = &mut self.memory;
        let at = memory.alloc("module");
        let code = memory.take(4096, 4096);
        memory.set_text(at, "module.name", name);
        let part = if self.layout.module_memory { "module.mem" } else { "module.core_layout" };
        let first = at + memory.offset(part);
        let kind = if self.layout.module_memory { "module_memory" } else { "module_layout" };
        memory.set(first, &format!("{kind}.base"), code);
        memory.set(first, &format!("{kind}.size"), 4096);
        let table = memory.alloc("mod_kallsyms");
        let symbols = memory.take(24 * (functions.len() as u64 + 1), 8);
        let mut texts = vec![0];
        for (n, function) in (1u64..).zip(functions) {
            let symbol = symbols + 24 * n;
            memory.number(symbol, texts.len() as u64, 4);
            memory.number(symbol + 6, 1, 2);
            memory.word(symbol + 8, code + (n - 1) * 64);
            texts.extend(function.as_bytes());
            texts.push(0);
        }
        let strings = memory.take(texts.len() as u64, 1);
        memory.put(strings, &texts);
        memory.set(at, "module.kallsyms", table);
        memory.set(table, "mod_kallsyms.symtab", symbols);
        memory.set(table, "mod_kallsyms.num_symtab", functions.len() as u64 + 1);
        memory.set(table, "mod_kallsyms.strtab", strings);
        let head = memory.variable("modules", 16);
        let hook = memory.offset("module.list");
        memory.ring(&[head, at + hook]);
        code
    }

    /// A slab cache with one node: its slabs hold `per_slab` objects, and of those with room one has `free` left. CPU 0
    /// works on another, of which `taken` objects are free.
    pub fn slab(&mut self, name: &str, (size, per_slab, slabs): (u64, u64, u64), (free, taken): (u64, u64)) {
        let memory = &mut self.memory;
        let head = memory.variable("slab_caches", 16);
        let cache = memory.alloc("kmem_cache");
        let node = memory.alloc("kmem_cache_node");
        memory.ring(&[head, cache + memory.offset("kmem_cache.list")]);
        let text = memory.text(name);
        memory.set(cache, "kmem_cache.name", text);
        memory.set(cache, "kmem_cache.object_size", size);
        memory.set(cache, "kmem_cache.oo", per_slab);
        memory.word(cache + memory.offset("kmem_cache.node"), node);
        memory.set(node, "kmem_cache_node.nr_slabs", slabs);
        memory.set(node, "kmem_cache_node.total_objects", slabs * per_slab);
        let kind = if self.layout.slabs { "slab" } else { "page" };
        let hook = if self.layout.slab_list { "slab_list" } else { "lru" };
        let mut slab = |used: u64| {
            let at = memory.alloc(kind);
            // `inuse`, `objects` and `frozen` share a word of 32 bits.
            let word = match memory.order {
                ByteOrder::Little => used | per_slab << 16,
                ByteOrder::Big => used << 16 | per_slab << 1,
            };
            memory.number(at + memory.offset(&format!("{kind}.inuse")), word, 4);
            at
        };
        let partial = slab(per_slab - free);
        let own = slab(per_slab - taken);
        let hook = memory.offset(&format!("{kind}.{hook}"));
        let list = node + memory.offset("kmem_cache_node.partial");
        memory.ring(&[list, partial + hook]);
        memory.set(cache, "kmem_cache.cpu_slab", RSS + 0x100);
        let member = if self.layout.slabs { "kmem_cache_cpu.slab" } else { "kmem_cache_cpu.page" };
        memory.set(self.areas[0] + RSS + 0x100, member, own);
    }

    /// The kernel's counters: pages of memory, and of these the free ones.
    pub fn counters(&mut self, pages: u64, free: u64) {
        let memory = &mut self.memory;
        memory.types.enumeration(&["NR_FREE_PAGES", "NR_MLOCK", "NR_VM_ZONE_STAT_ITEMS"]);
        memory.types.enumeration(&["NR_INACTIVE_ANON", "NR_FILE_PAGES", "NR_VM_NODE_STAT_ITEMS"]);
        let at = memory.variable("_totalram_pages", 8);
        memory.word(at, pages);
        let at = memory.variable("vm_zone_stat", 16);
        memory.word(at, free);
        let at = memory.variable("vm_node_stat", 16);
        memory.word(at + 8, pages / 4);
    }

    /// The kernel's log, as a ring of characters (up to 3.4): its lines begin with `<6>`.
    pub fn log(&mut self, text: &str) {
        let memory = &mut self.memory;
        let length = (text.len() as u64 + 1).next_power_of_two();
        let buffer = memory.take(length, 8);
        memory.put(buffer, text.as_bytes());
        for (name, value, size) in [
            ("log_buf", buffer, 8),
            ("log_buf_len", length, 4),
            ("log_end", text.len() as u64, 4),
            ("logged_chars", text.len() as u64, 4),
        ] {
            let at = memory.variable(name, 8);
            memory.number(at, value, size);
        }
    }

    /// Links the tasks, and ends.
    pub fn finish(mut self) -> Laid {
        let hook = self.memory.offset("task_struct.tasks");
        let mut ring = vec![self.memory.at("init_task") + hook];
        ring.extend(self.heads.iter().map(|head| head + hook));
        self.memory.ring(&ring);
        let end = self.memory.take(0, 4096);
        self.memory.symbol("_end", 'B', end);
        self.memory.finish()
    }
}

/// Declares the kernel's types.
fn declare(memory: &mut Running, arch: Arch, layout: Layout) {
    let types = &mut memory.types;
    types.declare("list_head", "ptr next; ptr prev");
    types.declare("thread_info", "u64 flags; u32 cpu");
    types.declare("sched_entity", "u64 vruntime; u64 exec_start");
    types.declare("cpu_context", "u64[10] x; u64 fp; u64 sp; u64 pc");
    types.declare(
        "thread_struct",
        match arch {
            Arch::X86_64 => "u64 fsbase; ptr sp",
            Arch::Arm64 => "cpu_context cpu_context",
            Arch::Ppc64 | Arch::S390x => "u64 ksp_vsid; ptr ksp",
            Arch::Riscv64 => "ptr ra; ptr sp; u64[12] s",
            Arch::LoongArch64 => "u64 reg01; u64 reg03; u64 reg22",
        },
    );
    types.declare("percpu_counter", "u64 lock; s64 count; list_head list; ptr counters");
    types.declare("mm_rss_stat", "s64[4] count");
    let rss = if layout.rss_per_cpu { "percpu_counter[4]" } else { "mm_rss_stat" };
    types.declare("mm_struct", &format!("u64 pgd; u64 pgtables_bytes; {rss} rss_stat"));
    let heads = if layout.thread_list { "u64 count; list_head thread_head" } else { "u64 count" };
    types.declare("signal_struct", heads);
    let threads = if layout.thread_list { "list_head thread_node" } else { "list_head thread_group" };
    let state = if layout.state_of_32_bits { "u32 __state" } else { "s64 state" };
    let info = if layout.thread_info { "thread_info thread_info" } else { "u32 wake_cpu" };
    types.declare(
        "task_struct",
        &format!(
            "{info}; {state}; ptr stack; u32 flags; s32 exit_state; u32 pid; u32 tgid; ptr real_parent; list_head tasks; \
             {threads}; ptr signal; ptr mm; char[16] comm; sched_entity se; thread_struct thread"
        ),
    );
    types.declare("rq", "u64 lock; u64 clock; ptr curr; ptr idle");
    types.declare("module_memory", "ptr base; u32 size; u32 pad; u64[2] mtn");
    types.declare("module_layout", "ptr base; u32 size; u32 text_size; u32 ro_size");
    types.declare("mod_kallsyms", "ptr symtab; u32 num_symtab; ptr strtab");
    let parts = if layout.module_memory {
        "module_memory[7] mem"
    } else {
        "module_layout core_layout; module_layout init_layout"
    };
    types.declare(
        "module",
        &format!("u32 state; list_head list; char[56] name; ptr version; {parts}; u64 taints; ptr kallsyms"),
    );
    types.declare(
        "kmem_cache_node",
        "u64 lock; u64 nr_partial; list_head partial; u64 nr_slabs; u64 total_objects",
    );
    types.declare(
        "kmem_cache",
        "ptr cpu_slab; u64 flags; u32 size; u32 object_size; u32 oo; ptr name; list_head list; ptr[4] node",
    );
    let slab = if layout.slabs { "slab" } else { "page" };
    let list = if layout.slab_list { "slab_list" } else { "lru" };
    types.declare(
        slab,
        &format!("u64 flags; list_head {list}; ptr freelist; u32:16 inuse; u32:15 objects; u32:1 frozen"),
    );
    types.declare("kmem_cache_cpu", &format!("ptr freelist; u64 tid; ptr {slab}; ptr partial"));
}
