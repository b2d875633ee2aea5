//! Reports of machines that are large, and of kernels that lie: what they read and allocate is bounded.

use fuzz::measured;
use kernel::btf::Btf;
use kernel::types::{Named, Types};
use kernel::{Error, Kernel, KernelMemory};
use phyp_model::synth::dump::{self, catalogue};
use phyp_model::synth::running::linux::{Layout, Linux};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use triage::{Budget, Options, Report, Stacks, examine, examine_within};
use vmcore::{
    ByteOrder, Dump, Machine, MemoryMap, Notes, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory, Range,
    ReadError, Source, VirtAddr, VmcoreInfo,
};

/// Memory is counted for the whole program, so one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const PAGE: u64 = 4096;
const TIB: u64 = 1 << 40;
/// Where all memory is mapped a second time, by entries of 1 GiB.
const MAPPED: u64 = 0xffff_a000_0000_0000;

/// What lies where the machine's own memory has nothing.
type Content = dyn Fn(u64, &mut [u8]) + Send + Sync;

/// A machine's memory, with the pages counted that are read.
struct Ram {
    map: MemoryMap,
    made: dump::Dump,
    /// Fills the page at a physical address.
    content: Box<Content>,
    pages: Arc<AtomicU64>,
}

impl PhysicalMemory for Ram {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        self.pages.fetch_add(1, Ordering::Relaxed);
        let at = pfn.0 * PAGE;
        page.fill(0);
        if at + PAGE <= self.made.memory.size() {
            self.made.memory.read(at, page).unwrap();
        }
        (self.content)(at, page);
        Ok(PageState::Present)
    }
}

/// An x86_64 kernel of `cpus` CPUs at the begin of its image.
fn begin(cpus: u64) -> (dump::Dump, Linux) {
    let made = catalogue::build("x86_64-4k-vmemmap-6.12").unwrap();
    let linux = Linux::begin(dump::Arch::X86_64, made.spec.order, made.image.0, Layout::NEW, cpus);
    (made, linux)
}

/// The dump of a machine with `bytes` of memory, and the pages that are read of it.
fn dump_of(made: dump::Dump, bytes: u64, content: Box<Content>) -> (Dump, Arc<AtomicU64>) {
    let pages = Arc::new(AtomicU64::new(0));
    let all = Range::new(PhysAddr(0), PhysAddr(bytes));
    let map = MemoryMap::new(PageSize::K4, std::iter::once(all).collect());
    let machine = Machine::from_name("x86_64").unwrap();
    let dump = Dump {
        machine,
        vmcoreinfo: Some(VmcoreInfo::parse(made.vmcoreinfo.as_bytes())),
        notes: Notes::parse(&made.notes, machine.order).unwrap(),
        memory: Box::new(Ram { map, made, content, pages: Arc::clone(&pages) }),
        virt: Vec::new(),
        elf_flags: 0,
        source: Source::default(),
    };
    (dump, pages)
}

/// The report of a dump, its cost and the pages that were read for it.
fn report(dump: &Dump, pages: &AtomicU64, stacks: Stacks) -> (Report, fuzz::Cost, u64) {
    pages.store(0, Ordering::Relaxed);
    let (report, cost) = measured(|| {
        let kernel = Kernel::open(dump).unwrap();
        examine(dump, Some(&kernel), None, &Options { stacks })
    });
    let read = pages.load(Ordering::Relaxed);
    println!("{} tasks, {read} pages read, {cost:?}", report.tasks.len());
    (report, cost, read)
}

/// Where a large machine's tasks are, and how far one is from the next: a page for the task, one for its memory, a stack.
const TASKS: u64 = 100_000;
const FIRST: u64 = 8 << 30;
const STRIDE: u64 = 10 << 20;
const MM: u64 = PAGE;
const STACK: u64 = 0x4000;
/// Where its areas per CPU are, how far apart, and where in them counters of processes begin.
const AREAS: u64 = 4 << 30;
const AREA: u64 = 4 << 20;
const COUNTERS: u64 = 0x4000;

/// A machine of 1 TiB with 16 CPUs and 100,000 processes, one in 500 blocked.
fn large() -> (Dump, Arc<AtomicU64>) {
    let (mut made, mut linux) = begin(16);
    let (image, physical) = made.image;
    // All memory once more, by entries of 1 GiB.
    let tables = linux.memory.take(2 * PAGE, PAGE);
    for gib in 0..1024 {
        linux.memory.word(tables + gib * 8, gib << 30 | 0x1e3);
    }
    let info = VmcoreInfo::parse(made.vmcoreinfo.as_bytes());
    let top = info.symbol("init_top_pgt").unwrap().0 - image + physical;
    for half in 0..2 {
        let entry = (tables - image + physical + half * PAGE) | 0x63;
        let slot = top + (((MAPPED >> 39) & 511) + half) * 8;
        made.memory.write(slot, &entry.to_le_bytes()).unwrap();
    }
    let offsets = linux.memory.at("__per_cpu_offset");
    for cpu in 0..16 {
        linux.memory.word(offsets + cpu * 8, MAPPED + AREAS + cpu * AREA);
    }
    linux.counters(TIB / PAGE, 1 << 20);
    let places =
        ["pid", "tgid", "__state", "tasks", "thread_node", "signal", "mm", "stack", "comm", "thread.sp"];
    let places = places.map(|name| linux.memory.offset(&format!("task_struct.{name}")) as usize);
    let [head, rss] =
        ["signal_struct.thread_head", "mm_struct.rss_stat"].map(|path| linux.memory.offset(path));
    let (counter, parts) =
        (linux.memory.types.size_of("percpu_counter"), linux.memory.offset("percpu_counter.counters"));
    let sum = linux.memory.offset("percpu_counter.count");
    let schedule = linux.code("schedule", 0x40);
    let (areas, first) = (linux.areas.clone(), linux.tasks[0]);
    let mut laid = linux.finish();
    let [pid, tgid, state, tasks, node, signal, mm, stack, comm, sp] = places;
    let task_at = |n: u64| MAPPED + FIRST + n * STRIDE;
    let init = (first - image) as usize + tasks;
    laid.bytes[init..init + 8].copy_from_slice(&(task_at(0) + tasks as u64).to_le_bytes());
    made.put(&laid, &[]).unwrap();
    let bytes = laid.bytes;
    let content = move |at: u64, page: &mut [u8]| {
        let mut word = |at: usize, value: u64| page[at..at + 8].copy_from_slice(&value.to_le_bytes());
        if let Some(offset) = at.checked_sub(AREAS).filter(|offset| *offset < 16 * AREA) {
            let (cpu, within) = ((offset / AREA) as usize, (offset % AREA) as usize);
            if within < 0x2000 {
                let from = (areas[cpu] - image) as usize + within;
                page.copy_from_slice(&bytes[from..from + PAGE as usize]);
            } else {
                // Each CPU has one page that is not in the sums.
                page.as_chunks_mut::<4>().0.fill(1u32.to_le_bytes());
            }
            return;
        }
        let Some(offset) = at.checked_sub(FIRST).filter(|offset| *offset < TASKS * STRIDE) else { return };
        let (n, own) = (offset / STRIDE, task_at(offset / STRIDE));
        match offset % STRIDE {
            0 => {
                let next = if n + 1 < TASKS { task_at(n + 1) } else { first };
                word(tasks, next + tasks as u64);
                word(signal, own + 2048);
                word(2048 + head as usize, own + node as u64);
                word(node, own + 2048 + head);
                word(mm, own + MM);
                word(stack, own + STACK);
                word(sp, own + STACK + 0x3000);
                page[pid..pid + 4].copy_from_slice(&(100 + n as u32).to_le_bytes());
                page[tgid..tgid + 4].copy_from_slice(&(100 + n as u32).to_le_bytes());
                page[state] = if n % 500 == 7 { 2 } else { 1 };
                let name = format!("task-{n}");
                page[comm..comm + name.len()].copy_from_slice(name.as_bytes());
            }
            MM => {
                for index in 0..4 {
                    let at = (rss + index * counter) as usize;
                    word(at + sum as usize, n % 1000);
                    word(at + parts as usize, COUNTERS + 16 * n + 4 * index);
                }
            }
            // The last page of its stack: where it sleeps, without a caller.
            0x7000 => word(48, schedule),
            _ => {}
        }
    };
    dump_of(made, TIB, Box::new(content))
}

#[test]
fn a_machine_of_a_tebibyte_with_a_hundred_thousand_processes_costs_a_page_for_each_and_little_more() {
    let _alone = alone();
    let (dump, pages) = large();
    let (report, cost, read) = report(&dump, &pages, Stacks::Blocked);
    assert_eq!(report.tasks.len() as u64, TASKS + 16, "{:?}", report.missing);
    let memory = report.memory.unwrap();
    assert_eq!(memory.processes.len() as u64, TASKS);
    // 999 and what 16 CPUs had counted, for files, its own and shared.
    assert_eq!(memory.processes[0].rss(), 3 * (999 + 16) * PAGE);
    let blocked = report.tasks.iter().filter(|task| task.state == 'D');
    assert_eq!(blocked.filter(|task| task.stack.as_ref().is_some_and(|s| s.frames.len() == 1)).count(), 200);
    assert!(read * PAGE <= 2 * TASKS * PAGE + (64 << 20), "{read} pages read");
    assert!(cost.memory <= 64 << 20, "{cost:?}");
}

#[test]
fn what_a_save_may_spend_suffices_for_a_hundred_thousand_processes_and_less_is_not_exceeded_by_them() {
    let _alone = alone();
    let (dump, pages) = large();
    // The second is what `hadump save` allows.
    for most in [1 << 16, 1 << 24] {
        pages.store(0, Ordering::Relaxed);
        let nothing = || None;
        let (whole, cut) = (Budget::new(most, &nothing), Budget::new(most / 8, &nothing));
        let (report, cost) = measured(|| {
            let kernel = Kernel::open(&dump).unwrap();
            examine_within(&dump, &kernel, &Options::default(), &whole, &cut)
        });
        let read = pages.load(Ordering::Relaxed);
        println!("{} and {} reads, {read} pages, {cost:?}", whole.reads(), cut.reads());
        assert!(read <= most + most / 8, "{read} pages read");
        assert!(cost.memory <= 64 << 20, "{cost:?}");
        assert_eq!(report.cpus.len(), 16);
        let tasks = if most == 1 << 24 { TASKS + 16 } else { 0 };
        assert_eq!(report.tasks.len() as u64, tasks, "{:?}", whole.spent());
    }
}

#[test]
fn caches_that_share_a_list_of_slabs_do_not_multiply() {
    let _alone = alone();
    let (mut made, mut linux) = begin(1);
    linux.counters(20_000, 4_000);
    let memory = &mut linux.memory;
    let node = memory.alloc("kmem_cache_node");
    let text = memory.text("cache");
    // Nodes of lists overlap as they like: each word of a long array is one.
    let count = 40_000;
    let slabs = memory.take(16 * count, 16);
    let hook = memory.offset("slab.slab_list");
    let list = node + memory.offset("kmem_cache_node.partial");
    let mut ring = vec![list];
    ring.extend((0..count).map(|n| slabs + 16 * n));
    assert!(hook < 16);
    memory.ring(&ring);
    let head = memory.variable("slab_caches", 16);
    let mut ring = vec![head];
    for _ in 0..1000 {
        let cache = memory.alloc("kmem_cache");
        memory.set(cache, "kmem_cache.name", text);
        memory.set(cache, "kmem_cache.oo", 16);
        memory.word(cache + memory.offset("kmem_cache.node"), node);
        ring.push(cache + memory.offset("kmem_cache.list"));
    }
    memory.ring(&ring);
    made.put(&linux.finish(), &[]).unwrap();
    let (dump, pages) = dump_of(made, 1 << 30, Box::new(|_, _| {}));
    let (report, cost, read) = report(&dump, &pages, Stacks::All);
    assert!(report.missing.iter().any(|m| m.part == "some of the memory"), "{:?}", report.missing);
    assert!(report.tasks.iter().any(|task| task.comm == "swapper/0"));
    assert!(read < 1 << 20, "{read} pages read");
    assert!(cost.memory < 64 << 20, "{cost:?}");
}

#[test]
fn per_cpu_offsets_that_all_lead_to_one_area_are_no_thousands_of_stacks_without_end() {
    let _alone = alone();
    const CPUS: u64 = 8192;
    let (mut made, mut linux) = begin(1);
    let words = linux.resting(linux.tasks[0], &[linux.code("do_idle", 0x40)]);
    linux.save(0, &dump::prstatus(dump::Arch::X86_64, made.spec.order, 0, &words));
    let area = linux.areas[0];
    let memory = &mut linux.memory;
    let lies = memory.take(8 * CPUS, 8);
    (0..CPUS).for_each(|cpu| memory.word(lies + 8 * cpu, area));
    let masks = memory.take(CPUS / 8, 8);
    (0..CPUS / 64).for_each(|word| memory.word(masks + 8 * word, u64::MAX));
    let count = memory.at("nr_cpu_ids");
    memory.number(count, CPUS, 4);
    for (name, at) in
        [("__per_cpu_offset", lies), ("__cpu_possible_mask", masks), ("__cpu_online_mask", masks)]
    {
        memory.move_symbol(name, at);
    }
    linux.counters(20_000, 4_000);
    made.put(&linux.finish(), &[]).unwrap();
    let (dump, pages) = dump_of(made, 1 << 30, Box::new(|_, _| {}));
    let (report, cost, read) = report(&dump, &pages, Stacks::All);
    assert_eq!(report.cpus.len(), 1, "the others are the same");
    assert!(read < 1 << 20, "{read} pages read");
    assert!(cost.memory < 16 << 20, "{cost:?}");
}

#[test]
fn tasks_that_run_in_a_circle_and_stacks_that_point_to_themselves_come_to_an_end() {
    let _alone = alone();
    let (mut made, mut linux) = begin(2);
    let kthread = |pid| phyp_model::synth::running::linux::Task {
        ids: (pid, pid),
        comm: "circle",
        state: 1,
        cpu: 0,
        kthread: true,
        rss: None,
    };
    let tasks: Vec<u64> = (10..20).map(|pid| linux.task(&kthread(pid))).collect();
    for task in &tasks {
        linux.sleeps(*task, &[linux.code("schedule", 0x40)]);
        // rbp of the frame in which the task sleeps is its own place.
        let frame = linux.stack(*task) + 0x1000 - 0x38 + 40;
        linux.memory.word(frame, frame);
        linux.memory.word(frame + 8, linux.code("kthread", 0x40));
    }
    let hook = linux.memory.offset("task_struct.tasks");
    let base = linux.memory.base;
    let mut laid = linux.finish();
    // The last one leads to the fifth instead of to the first.
    let last = (tasks[9] + hook - base) as usize;
    laid.bytes[last..last + 8].copy_from_slice(&(tasks[4] + hook).to_le_bytes());
    made.put(&laid, &[]).unwrap();
    let (dump, pages) = dump_of(made, 1 << 30, Box::new(|_, _| {}));
    let (report, cost, read) = report(&dump, &pages, Stacks::All);
    assert_eq!(report.tasks.iter().filter(|task| task.comm == "circle").count(), 10);
    assert!(report.missing.iter().any(|m| m.part == "some tasks"), "{:?}", report.missing);
    let frames = report.tasks.iter().filter_map(|task| task.stack.as_ref()).map(|stack| stack.frames.len());
    assert!(frames.max() < Some(70), "{:?}", report.tasks);
    assert!(read < 2000 && cost.memory < 16 << 20, "{read} pages read, {cost:?}");
}

#[test]
fn a_million_types_that_contain_each_other_cost_a_few_times_their_length() {
    let _alone = alone();
    const TYPES: u32 = 1_000_000;
    // Unnamed structs of which each contains the next two: the ways from the first to the last are beyond all counting.
    let mut types = Vec::new();
    for n in 1..=TYPES {
        let name = if n == 1 { 1u32 } else { 0 };
        let next = |step: u32| (n + step).min(TYPES);
        let words = [name, 4 << 24 | 2, 8, 0, next(1), 0, 0, next(2), 0];
        types.extend(words.map(u32::to_le_bytes).concat());
    }
    let strings = b"\0page\0";
    let mut bytes = vec![0x9f, 0xeb, 1, 0];
    for len in [24, 0, types.len(), types.len(), strings.len()] {
        bytes.extend((len as u32).to_le_bytes());
    }
    bytes.extend(types);
    bytes.extend(strings);
    let len = bytes.len();
    let (found, cost) = measured(|| {
        let btf = Btf::parse(bytes, ByteOrder::Little).unwrap();
        let found = (0..20).filter(|n| btf.field(&format!("page.member{n}")).unwrap().is_some()).count();
        assert!(btf.find(Named::Struct, "page").unwrap().is_some());
        assert_eq!(btf.enumerator("NR_FREE_PAGES").unwrap(), None);
        found
    });
    assert_eq!(found, 0);
    assert!(cost.memory < 2 * len, "{cost:?} for {len} bytes");
}

/// Memory whose kernel has a table of symbols without an end.
struct Endless(VmcoreInfo);

impl KernelMemory for Endless {
    fn machine(&self) -> Machine {
        Machine::from_name("x86_64").unwrap()
    }

    fn info(&self) -> &VmcoreInfo {
        &self.0
    }

    fn read(&self, addr: VirtAddr, bytes: &mut [u8]) -> Result<(), Error> {
        match addr.0 >> 32 {
            // Four million symbols, the first of them known; each of 127 characters.
            1 => bytes.fill(0),
            2 => bytes.iter_mut().zip(addr.0..).for_each(|(byte, at)| {
                *byte = if at % 128 == 0 { 127 } else { b't' };
            }),
            3 => bytes.iter_mut().zip(addr.0..).for_each(|(byte, at)| {
                *byte = if at % 2 == 0 { (at / 2) as u8 } else { 0 };
            }),
            4 => bytes.iter_mut().zip(addr.0..).for_each(|(byte, at)| {
                let offset = (at & 0xffff) / 2 * 2;
                *byte = if at % 2 == 0 { offset as u8 } else { (offset >> 8) as u8 };
            }),
            _ => bytes.fill(0),
        }
        if addr.0 == 1 << 32 && bytes.len() == 4 {
            bytes.copy_from_slice(&(1u32 << 22).to_le_bytes());
        }
        Ok(())
    }
}

#[test]
fn a_table_of_symbols_without_end_costs_no_more_than_the_largest_that_is_believed() {
    let _alone = alone();
    let name = "t".repeat(126);
    let info = format!(
        "SYMBOL(kallsyms_num_syms)=100000000\nSYMBOL(kallsyms_names)=200000000\nSYMBOL(kallsyms_token_table)=300000000\n\
         SYMBOL(kallsyms_token_index)=400000000\nSYMBOL(kallsyms_addresses)=500000000\nSYMBOL({name})=0\n"
    );
    let memory = Endless(VmcoreInfo::parse(info.as_bytes()));
    let (map, cost) = measured(|| kernel::symbol_map::SymbolMap::of_dump(&memory));
    assert!(map.is_err());
    assert!(cost.memory < 96 << 20, "{cost:?}");
}
