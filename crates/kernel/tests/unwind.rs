//! Stacks of real dumps, against those that drgn found with full debug information.

mod support;

use corpus::{ARM64, POWER, POWER_BE, S390X};
use kernel::knowledge::{Given, Known, complete};
use kernel::log::read_log;
use kernel::unwind::{End, Frame, Ground, Registers, Walk, arm64, ppc64, s390x};
use kernel::vmlinux::Vmlinux;
use kernel::{Kernel, KernelMemory, kallsyms::Kallsyms};
use serde_json::Value;
use std::collections::BTreeMap;
use support::{with_dump, with_vmlinux};
use vmcore::{Arch, Dump, VirtAddr};

/// Bytes of a stack on the machines of the corpus.
fn stack_size(arch: Arch) -> u64 {
    if arch == Arch::Ppc64 { 32 << 10 } else { 16 << 10 }
}

/// What a test looks at, and how it reads structs.
struct Lab<'a> {
    kernel: &'a Kernel<'a>,
    known: &'a Known<'a>,
    golden: Value,
    /// The starts of the kernel's functions, in ascending order, and the end of the last.
    functions: Vec<u64>,
    /// The parts of memory that modules have.
    modules: Vec<(u64, u64)>,
}

impl<'a> Lab<'a> {
    fn new(kernel: &'a Kernel<'a>, known: &'a Known<'a>, folder: &corpus::Dump) -> Self {
        let golden: Value = serde_json::from_str(&folder.text("expected/report-golden.json")).unwrap();
        let symbols = Kallsyms::open(kernel).unwrap();
        let first = kernel.info().symbol("_stext").unwrap();
        let text = symbols.iter().map(Result::unwrap).filter(|s| s.addr >= first && "tTwW".contains(s.kind));
        let functions = text.map(|s| s.addr.0).collect();
        let regions =
            golden["modules"].as_array().unwrap().iter().flat_map(|m| m["regions"].as_array().unwrap());
        let modules = regions.map(|r| (r[0].as_u64().unwrap(), r[1].as_u64().unwrap())).collect();
        Self { kernel, known, golden, functions, modules }
    }

    fn function(&self, pc: u64) -> Option<u64> {
        if let Some((start, _)) =
            self.modules.iter().find(|(start, size)| (*start..start + size).contains(&pc))
        {
            return Some(*start);
        }
        let behind = self.functions.partition_point(|start| *start <= pc);
        (behind > 0 && behind < self.functions.len()).then(|| self.functions[behind - 1])
    }

    fn word(&self, addr: u64) -> u64 {
        self.kernel.read_word(VirtAddr(addr)).unwrap()
    }

    fn member(&self, addr: u64, path: &str) -> u64 {
        self.word(addr + self.known.offset_of(path).unwrap().unwrap_or_else(|| panic!("no {path}")))
    }

    /// All tasks but the idle ones: pid and address.
    fn tasks(&self, init_task: u64) -> BTreeMap<u64, u64> {
        let list = self.known.offset_of("task_struct.tasks").unwrap().unwrap();
        let pid = self.known.offset_of("task_struct.pid").unwrap().unwrap();
        let mut tasks = BTreeMap::new();
        let mut at = self.word(init_task + list);
        while at != init_task + list {
            let task = at - list;
            let mut bytes = [0; 4];
            self.kernel.read(VirtAddr(task + pid), &mut bytes).unwrap();
            tasks.insert(self.kernel.machine().u32(&bytes).into(), task);
            at = self.word(at);
        }
        tasks
    }

    fn walk(&self, start: &Registers, stack: Option<u64>, running: bool) -> Walk {
        let function = |pc| self.function(pc);
        let size = stack_size(self.kernel.machine().arch);
        let ground = Ground {
            memory: self.kernel,
            stacks: stack.map(|start| start..start + size).into_iter().collect(),
            aligned: stack.is_none().then_some(size),
            function: &function,
        };
        match self.kernel.machine().arch {
            Arch::Aarch64 => arm64::walk(&ground, start, running),
            Arch::S390x => s390x::walk(&ground, start, running),
            _ => ppc64::walk(&ground, start, running),
        }
    }

    /// The registers with which a task sleeps.
    fn asleep(&self, task: u64) -> Registers {
        match self.kernel.machine().arch {
            Arch::Aarch64 => {
                let at = |name: &str| self.member(task, &format!("task_struct.thread.cpu_context.{name}"));
                Registers { pc: at("pc"), sp: at("sp"), fp: Some(at("fp")), ..Registers::default() }
            }
            _ => Registers { sp: self.member(task, "task_struct.thread.ksp"), ..Registers::default() },
        }
    }
}

/// The instructions of a golden stack that a tool without debug information can know.
fn golden(stack: &Value) -> Vec<u64> {
    let counts = |f: &&Value| {
        f["inline"] != true
            && f["optional"] != true
            && !["USER", "END"].contains(&f["kind"].as_str().unwrap())
    };
    stack.as_array().unwrap().iter().filter(counts).map(|f| f["pc"].as_u64().unwrap()).collect()
}

fn pcs(walk: &Walk) -> Vec<u64> {
    walk.frames.iter().filter(|frame| frame.certain).map(|frame: &Frame| frame.pc.0).collect()
}

fn sleeping_tasks(lab: &Lab<'_>, init_task: u64) -> usize {
    let tasks = lab.tasks(init_task);
    let mut frames = 0;
    for task in lab.golden["tasks"].as_array().unwrap() {
        if task["on_cpu"] == true {
            continue;
        }
        let addr = tasks[&task["pid"].as_u64().unwrap()];
        let walk = lab.walk(&lab.asleep(addr), Some(lab.member(addr, "task_struct.stack")), false);
        assert_eq!(walk.end, End::Whole, "{}: {:x?}", task["comm"], walk.frames);
        assert_eq!(pcs(&walk), golden(&task["stack"]), "{}", task["comm"]);
        frames += walk.frames.len();
    }
    frames
}

/// The stacks of the CPUs by their registers, with nothing known of where stacks are.
fn cpus(lab: &Lab<'_>, dump: &Dump) -> Vec<(Walk, Vec<u64>)> {
    let notes = dump.notes.prstatus();
    let cpus = lab.golden["cpus"].as_array().unwrap();
    notes
        .zip(cpus)
        .map(|(note, cpu)| (lab.walk(&registers(dump, &note.desc), None, true), golden(&cpu["stack"])))
        .collect()
}

/// What a walk needs of the registers in an NT_PRSTATUS note.
fn registers(dump: &Dump, desc: &[u8]) -> Registers {
    let word = |index: usize| dump.machine.u64(&desc[112 + index * 8..]);
    let (pc, sp, fp, link) = match dump.machine.arch {
        Arch::Aarch64 => (32, 31, Some(29), 30),
        Arch::S390x => (1, 17, None, 16),
        _ => (32, 1, None, 36),
    };
    Registers { pc: word(pc), sp: word(sp), fp: fp.map(word), link: Some(word(link)), general: Vec::new() }
}

#[test]
fn arm64s_frame_records_lead_to_what_drgn_found() {
    with_dump(ARM64, |folder, dump| {
        let kernel = Kernel::open(dump).unwrap();
        let known = Known::of_dump(&kernel).unwrap();
        let lab = Lab::new(&kernel, &known, folder);
        let init_task = Kallsyms::open(&kernel).unwrap().find("init_task").unwrap().unwrap().0;
        assert!(sleeping_tasks(&lab, init_task) > 400);
        for (walk, expected) in cpus(&lab, dump) {
            assert_eq!((pcs(&walk), &walk.end), (expected, &End::Whole));
        }
    });
}

#[test]
fn s390xs_back_chains_lead_to_what_drgn_found() {
    with_dump(S390X, |folder, dump| {
        complete(dump, &Given::default()).unwrap();
        let kernel = Kernel::open(dump).unwrap();
        let known = Known::of_dump(&kernel).unwrap();
        let lab = Lab::new(&kernel, &known, folder);
        let init_task = Kallsyms::open(&kernel).unwrap().find("init_task").unwrap().unwrap().0;
        assert!(sleeping_tasks(&lab, init_task) > 350);
        for (walk, expected) in cpus(&lab, dump) {
            assert_eq!((pcs(&walk), &walk.end), (expected, &End::Whole));
        }
    });
}

#[test]
fn powers_back_chains_lead_to_what_drgn_found() {
    with_vmlinux(POWER, |folder, path, dump| {
        let kernel = Kernel::open(dump).unwrap();
        let vmlinux = Vmlinux::open(path).unwrap();
        let known = Known::of_vmlinux(&kernel, &vmlinux).unwrap();
        let lab = Lab::new(&kernel, &known, folder);
        let init_task = vmlinux.symbol("init_task").unwrap().addr;
        assert!(sleeping_tasks(&lab, init_task) > 250);
        for (walk, expected) in cpus(&lab, dump) {
            assert_eq!((pcs(&walk), &walk.end), (expected, &End::Whole));
        }
    });
}

/// The stack pointers and instructions of the last `Call Trace` in the log of a POWER kernel.
fn call_trace(kernel: &Kernel<'_>) -> Vec<(u64, u64)> {
    let mut log = Vec::new();
    let _ = read_log(kernel, &mut log).unwrap();
    let log = String::from_utf8_lossy(&log).into_owned();
    let (_, trace) = log.rsplit_once("Call Trace:").unwrap();
    let lines = trace.lines().skip(1).take_while(|line| !line.contains("--- interrupt"));
    lines
        .map(|line| {
            let words = line.split(['[', ']']).filter(|word| word.starts_with("c00"));
            let words: Vec<u64> = words.map(|word| u64::from_str_radix(word, 16).unwrap()).collect();
            (words[0], words[1])
        })
        .collect()
}

/// In either byte order, with nothing but the dump.
#[test]
fn the_crashed_tasks_stack_is_the_kernels_own_call_trace() {
    for name in [POWER, POWER_BE] {
        with_dump(name, |_, dump| {
            let kernel = Kernel::open(dump).unwrap();
            let symbols = Kallsyms::open(&kernel).unwrap();
            let first = kernel.info().symbol("_stext").unwrap();
            let text = symbols.iter().map(Result::unwrap).filter(|s| s.addr >= first);
            let starts: Vec<u64> = text.filter(|s| "tTwW".contains(s.kind)).map(|s| s.addr.0).collect();
            let function = |pc: u64| {
                let behind = starts.partition_point(|start| *start <= pc);
                (behind > 0 && behind < starts.len()).then(|| starts[behind - 1])
            };
            let ground = Ground {
                memory: &kernel,
                stacks: Vec::new(),
                aligned: Some(stack_size(Arch::Ppc64)),
                function: &function,
            };
            let trace = call_trace(&kernel);
            // The innermost two are the functions that printed it.
            let expected = &trace[2..];
            assert_eq!(expected.len(), 8, "{trace:x?}");
            let walks: Vec<Walk> = dump
                .notes
                .prstatus()
                .map(|note| ppc64::walk(&ground, &registers(dump, &note.desc), true))
                .collect();
            let found = walks.iter().any(|walk| {
                let frames: Vec<(u64, u64)> = walk.frames.iter().map(|f| (f.sp.0, f.pc.0)).collect();
                walk.end == End::Whole && walk.frames.iter().all(|f| f.certain) && frames.ends_with(expected)
            });
            assert!(found, "{name}: {walks:x?}");
        });
    }
}
