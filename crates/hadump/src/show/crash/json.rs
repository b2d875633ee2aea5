//! The report as JSON: all of it. `docs/json.md` describes the fields.

use super::{Shown, stacks};
use crate::input::mini::Mini;
use serde::Serialize;
use std::collections::HashMap;
use triage::machine::Machine;
use triage::stack::Stack;
use triage::tasks::{Cpu, Task};
use triage::{Report, cause, debuginfo, log, memory, modules, notes, signature};

/// All of a report.
#[derive(Serialize)]
pub(crate) struct Json<'a> {
    dump: Dump<'a>,
    cause: Cause<'a>,
    machine: MachineFacts<'a>,
    cpus: Vec<CpuFacts<'a>>,
    tasks: Vec<TaskFacts<'a>>,
    modules: Modules<'a>,
    memory: Option<Memory<'a>>,
    log: Log<'a>,
    notes: Vec<Note<'a>>,
    signature: Option<Signature<'a>>,
    debug_information: DebugInformation<'a>,
    missing: Vec<Missing<'a>>,
    exit_code: u8,
}

#[derive(Serialize)]
struct Dump<'a> {
    path: &'a str,
    format: &'a str,
    complete: bool,
    mini: Option<&'a Mini>,
    remarks: &'a [String],
}

#[derive(Serialize)]
struct Cause<'a> {
    kind: &'static str,
    summary: &'a str,
    panic: Option<&'a str>,
    lines: &'a [String],
    at: Option<&'a str>,
    address: Option<String>,
    cpu: Option<u32>,
    pid: Option<u32>,
    comm: Option<&'a str>,
    call_trace: &'a [String],
}

#[derive(Serialize)]
struct MachineFacts<'a> {
    arch: &'a str,
    release: &'a str,
    version: &'a str,
    host: &'a str,
    build_id: Option<&'a str>,
    command_line: Option<&'a str>,
    hardware: Option<&'a str>,
    firmware: Option<&'a str>,
    memory_bytes: u64,
    managed_bytes: Option<u64>,
    cpus_online: Option<u32>,
    cpus_present: Option<u32>,
    uptime_seconds: Option<f64>,
    crashed_at: Option<i64>,
    taints: Option<Vec<Taint>>,
    hardware_errors: Vec<HardwareErrors<'a>>,
    lent: Vec<Region>,
}

#[derive(Serialize)]
struct Taint {
    letter: char,
    meaning: &'static str,
}

#[derive(Serialize)]
struct HardwareErrors<'a> {
    source: &'a str,
    count: u64,
    last: Option<i64>,
}

/// A piece of memory; addresses are hexadecimal strings.
#[derive(Serialize)]
struct Region {
    start: String,
    bytes: u64,
}

#[derive(Serialize)]
struct CpuFacts<'a> {
    cpu: u32,
    online: Option<bool>,
    crashed: bool,
    pid: Option<u32>,
    comm: Option<&'a str>,
    registers: Vec<Register>,
    stack: Option<Vec<String>>,
    stack_ends: Option<&'a str>,
}

#[derive(Serialize)]
struct Register {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
struct TaskFacts<'a> {
    pid: u32,
    tgid: u32,
    parent: Option<u32>,
    comm: &'a str,
    state: char,
    cpu: Option<u32>,
    running: bool,
    kernel_thread: bool,
    waiting_seconds: Option<f64>,
    rss_bytes: Option<u64>,
    address: String,
    stack: Option<Vec<String>>,
    stack_ends: Option<&'a str>,
}

#[derive(Serialize)]
struct Modules<'a> {
    loaded: Option<Vec<Module<'a>>>,
    last_unloaded: Option<&'a str>,
}

#[derive(Serialize)]
struct Module<'a> {
    name: &'a str,
    base: String,
    bytes: u64,
    state: &'static str,
    taints: &'a str,
    version: Option<&'a str>,
    build_id: Option<&'a str>,
    regions: Vec<Region>,
}

#[derive(Serialize)]
struct Memory<'a> {
    page_size: u64,
    total_bytes: u64,
    meminfo: Vec<Bytes<'a>>,
    zone_counters: Vec<Counter<'a>>,
    node_counters: Vec<Counter<'a>>,
    zones: Vec<Zone<'a>>,
    slabs: Vec<Slab<'a>>,
    processes: Vec<Process<'a>>,
    huge: Vec<HugePages>,
    owners: Vec<Bytes<'a>>,
    unexplained_bytes: u64,
}

#[derive(Serialize)]
struct Bytes<'a> {
    name: &'a str,
    bytes: u64,
}

#[derive(Serialize)]
struct Counter<'a> {
    name: &'a str,
    value: i64,
}

#[derive(Serialize)]
struct Zone<'a> {
    node: u32,
    name: &'a str,
    start: u64,
    spanned: u64,
    present: u64,
    managed: u64,
    free: u64,
}

#[derive(Serialize)]
struct Slab<'a> {
    name: &'a str,
    object_bytes: u64,
    objects: u64,
    active: u64,
    slabs: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Process<'a> {
    pid: u32,
    comm: &'a str,
    rss_bytes: u64,
    file_bytes: u64,
    anon_bytes: u64,
    shmem_bytes: u64,
    swap_bytes: u64,
    page_table_bytes: u64,
}

#[derive(Serialize)]
struct HugePages {
    bytes: u64,
    total: u64,
    free: u64,
}

#[derive(Serialize)]
struct Log<'a> {
    total: u64,
    errors: Vec<LogLine<'a>>,
    tail: Vec<LogLine<'a>>,
    remarks: &'a [String],
}

#[derive(Serialize)]
struct LogLine<'a> {
    text: &'a str,
    level: Option<u8>,
    crash: bool,
}

#[derive(Serialize)]
struct Note<'a> {
    index: usize,
    name: &'a str,
    #[serde(rename = "type")]
    kind: u32,
    what: &'a str,
    bytes: u64,
}

#[derive(Serialize)]
struct Signature<'a> {
    hash: &'a str,
    parts: &'a [String],
}

#[derive(Serialize)]
struct DebugInformation<'a> {
    release: &'a str,
    build_id: Option<&'a str>,
    distribution: Option<&'static str>,
    packages: &'a [String],
}

#[derive(Serialize)]
struct Missing<'a> {
    part: &'a str,
    why: &'a str,
}

/// What is printed of a report.
pub(crate) fn json<'a>(shown: &'a Shown<'_>) -> Json<'a> {
    let Report {
        cause,
        machine,
        cpus,
        tasks,
        modules,
        memory,
        log,
        notes,
        signature,
        debug_information,
        missing,
    } = shown.report;
    let running: HashMap<(u32, Option<u32>), &Cpu> =
        cpus.iter().filter_map(|cpu| Some(((cpu.pid?, Some(cpu.cpu)), cpu))).collect();
    Json {
        dump: Dump {
            path: shown.path,
            format: shown.format,
            complete: shown.complete,
            mini: shown.mini.as_ref(),
            remarks: shown.remarks,
        },
        cause: cause.into(),
        machine: machine.into(),
        cpus: cpus.iter().map(CpuFacts::from).collect(),
        tasks: tasks.iter().map(|task| TaskFacts::of(task, &running)).collect(),
        modules: modules.into(),
        memory: memory.as_ref().map(Memory::from),
        log: log.into(),
        notes: notes.iter().map(Note::from).collect(),
        signature: signature.as_ref().map(Signature::from),
        debug_information: debug_information.into(),
        missing: missing.iter().map(|m| Missing { part: &m.part, why: &m.why }).collect(),
        exit_code: shown.outcome().code(),
    }
}

fn hex(value: u64) -> String {
    format!("{value:#x}")
}

/// The frames, innermost first.
fn frames(stack: &Stack) -> Vec<String> {
    stack.frames.iter().map(stacks::frame).collect()
}

impl<'a> From<&'a cause::Cause> for Cause<'a> {
    fn from(cause: &'a cause::Cause) -> Self {
        Self {
            kind: cause.kind.name(),
            summary: &cause.summary,
            panic: cause.panic.as_deref(),
            lines: &cause.lines,
            at: cause.at.as_deref(),
            address: cause.address.map(hex),
            cpu: cause.cpu,
            pid: cause.pid,
            comm: cause.comm.as_deref(),
            call_trace: &cause.call_trace,
        }
    }
}

impl<'a> From<&'a Machine> for MachineFacts<'a> {
    fn from(machine: &'a Machine) -> Self {
        let taints = |taints: &Vec<triage::machine::Taint>| {
            taints.iter().map(|taint| Taint { letter: taint.letter, meaning: taint.meaning }).collect()
        };
        let errors = machine.hardware_errors.iter();
        let lent = machine.lent.iter();
        Self {
            arch: &machine.arch,
            release: &machine.release,
            version: &machine.version,
            host: &machine.host,
            build_id: machine.build_id.as_deref(),
            command_line: machine.command_line.as_deref(),
            hardware: machine.hardware.as_deref(),
            firmware: machine.firmware.as_deref(),
            memory_bytes: machine.memory,
            managed_bytes: machine.managed,
            cpus_online: machine.cpus_online,
            cpus_present: machine.cpus_present,
            uptime_seconds: machine.uptime.map(|span| span.as_secs_f64()),
            crashed_at: machine.crashed_at,
            taints: machine.taints.as_ref().map(taints),
            hardware_errors: errors
                .map(|e| HardwareErrors { source: &e.source, count: e.count, last: e.last })
                .collect(),
            lent: lent
                .map(|lent| Region { start: hex(lent.start), bytes: lent.end.saturating_sub(lent.start) })
                .collect(),
        }
    }
}

impl<'a> From<&'a Cpu> for CpuFacts<'a> {
    fn from(cpu: &'a Cpu) -> Self {
        let registers = cpu.registers.iter();
        Self {
            cpu: cpu.cpu,
            online: cpu.online,
            crashed: cpu.crashed,
            pid: cpu.pid,
            comm: cpu.comm.as_deref(),
            registers: registers.map(|(name, value)| Register { name, value: hex(*value) }).collect(),
            stack: cpu.stack.as_ref().map(frames),
            stack_ends: cpu.stack.as_ref().and_then(stacks::broken),
        }
    }
}

impl<'a> TaskFacts<'a> {
    /// A task; what runs has the stack of its CPU, found by number and CPU in `running`.
    fn of(task: &'a Task, running: &HashMap<(u32, Option<u32>), &'a Cpu>) -> Self {
        let on_cpu = || running.get(&(task.pid, task.cpu))?.stack.as_ref();
        let stack = task.stack.as_ref().or_else(|| task.running.then(on_cpu).flatten());
        Self {
            pid: task.pid,
            tgid: task.tgid,
            parent: task.parent,
            comm: &task.comm,
            state: task.state,
            cpu: task.cpu,
            running: task.running,
            kernel_thread: task.kernel_thread,
            waiting_seconds: task.waiting.map(|ns| ns as f64 / 1e9),
            rss_bytes: task.rss,
            address: hex(task.addr),
            stack: stack.map(frames),
            stack_ends: stack.and_then(stacks::broken),
        }
    }
}

impl<'a> From<&'a modules::Modules> for Modules<'a> {
    fn from(modules: &'a modules::Modules) -> Self {
        let loaded = modules.loaded.as_ref();
        Self {
            loaded: loaded.map(|all| all.iter().map(Module::from).collect()),
            last_unloaded: modules.last_unloaded.as_deref(),
        }
    }
}

impl<'a> From<&'a modules::Module> for Module<'a> {
    fn from(module: &'a modules::Module) -> Self {
        let regions = module.regions.iter();
        Self {
            name: &module.name,
            base: hex(module.base),
            bytes: module.size,
            state: module.state,
            taints: &module.taints,
            version: module.version.as_deref(),
            build_id: module.build_id.as_deref(),
            regions: regions.map(|(start, bytes)| Region { start: hex(*start), bytes: *bytes }).collect(),
        }
    }
}

impl<'a> From<&'a memory::Memory> for Memory<'a> {
    fn from(memory: &'a memory::Memory) -> Self {
        let counters = |all: &'a [memory::Counter]| {
            all.iter().map(|counter| Counter { name: &counter.name, value: counter.value }).collect()
        };
        let zone = |zone: &'a memory::Zone| {
            let memory::Zone { node, start, spanned, present, managed, free, .. } = *zone;
            Zone { name: &zone.name, node, start, spanned, present, managed, free }
        };
        let slab = |slab: &'a memory::SlabCache| {
            let memory::SlabCache { object_size, objects, active, slabs, bytes, .. } = *slab;
            Slab { name: &slab.name, object_bytes: object_size, objects, active, slabs, bytes }
        };
        let process = |process: &'a memory::Process| Process {
            pid: process.pid,
            comm: &process.comm,
            rss_bytes: process.rss(),
            file_bytes: process.file,
            anon_bytes: process.anon,
            shmem_bytes: process.shmem,
            swap_bytes: process.swap,
            page_table_bytes: process.page_tables,
        };
        let huge =
            |huge: &memory::HugePages| HugePages { bytes: huge.size, total: huge.total, free: huge.free };
        Self {
            page_size: memory.page_size,
            total_bytes: memory.total,
            meminfo: memory.meminfo.iter().map(|(name, bytes)| Bytes { name, bytes: *bytes }).collect(),
            zone_counters: counters(&memory.zone_counters),
            node_counters: counters(&memory.node_counters),
            zones: memory.zones.iter().map(zone).collect(),
            slabs: memory.slabs.iter().map(slab).collect(),
            processes: memory.processes.iter().map(process).collect(),
            huge: memory.huge.iter().map(huge).collect(),
            owners: memory
                .owners
                .iter()
                .map(|owner| Bytes { name: owner.name, bytes: owner.bytes })
                .collect(),
            unexplained_bytes: memory.unexplained,
        }
    }
}

impl<'a> From<&'a log::Log> for Log<'a> {
    fn from(log: &'a log::Log) -> Self {
        let lines = |lines: &'a [log::Line]| {
            lines.iter().map(|l| LogLine { text: &l.text, level: l.level, crash: l.crash }).collect()
        };
        Self { total: log.total, errors: lines(&log.errors), tail: lines(&log.tail), remarks: &log.remarks }
    }
}

impl<'a> From<&'a notes::DumpNote> for Note<'a> {
    fn from(note: &'a notes::DumpNote) -> Self {
        Self { index: note.index, name: &note.name, kind: note.kind, what: &note.what, bytes: note.bytes }
    }
}

impl<'a> From<&'a signature::Signature> for Signature<'a> {
    fn from(signature: &'a signature::Signature) -> Self {
        Self { hash: &signature.hash, parts: &signature.parts }
    }
}

impl<'a> From<&'a debuginfo::DebugInformation> for DebugInformation<'a> {
    fn from(known: &'a debuginfo::DebugInformation) -> Self {
        Self {
            release: &known.release,
            build_id: known.build_id.as_deref(),
            distribution: known.distribution,
            packages: &known.packages,
        }
    }
}
