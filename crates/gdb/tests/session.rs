//! Whole sessions over streams in memory.

use gdb::{End, Error, Host, LONGEST, Target, serve};
use kernel::KernelMemory;
use proptest::prelude::*;
use triage::tasks::Task;
use triage::threads::{Thread, Threads};
use vmcore::{
    Machine, MemoryMap, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory, Range, ReadError, VirtAddr,
    VmcoreInfo,
};

/// Where the kernel's memory begins, and how much of it is mapped: two pages.
const START: u64 = 0xffff_8000_0000_0000;
const MAPPED: u64 = 0x2000;

struct Memory {
    machine: Machine,
    info: VmcoreInfo,
}

impl KernelMemory for Memory {
    fn machine(&self) -> Machine {
        self.machine
    }

    fn info(&self) -> &VmcoreInfo {
        &self.info
    }

    fn read(&self, addr: VirtAddr, bytes: &mut [u8]) -> Result<(), kernel::Error> {
        let end = addr.0.checked_add(bytes.len() as u64);
        if addr.0 < START || end.is_none_or(|end| end > START + MAPPED) {
            return Err(kernel::Error::NotMapped { addr, why: "nothing is there".into() });
        }
        for (at, byte) in (addr.0..).zip(bytes) {
            *byte = at as u8;
        }
        Ok(())
    }
}

/// Page 0 has data, 1 is excluded, 2 is lost.
struct Pages(MemoryMap);

impl PhysicalMemory for Pages {
    fn map(&self) -> &MemoryMap {
        &self.0
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        page.fill(if pfn.0 == 0 { b'a' } else { 0 });
        let states = [PageState::Present, PageState::Excluded, PageState::Lost];
        Ok(states.get(pfn.0 as usize).copied().unwrap_or(PageState::Absent))
    }
}

struct Program;

impl Host for Program {
    fn report(&self) -> String {
        "somebody asked for it\n\x1b[2J".repeat(2000)
    }

    fn safe(&self, text: &str) -> String {
        text.replace('\x1b', "\\x1b")
    }
}

/// Three threads of x86_64: one on a CPU, one asleep, one of which nothing is known.
fn threads() -> Threads {
    let task = |pid, comm: &str| Task { pid, comm: comm.into(), state: 'S', ..Task::default() };
    let mut asleep = vec![None; 20];
    asleep[16] = Some(0xffff_ffff_8100_1234);
    Threads {
        threads: vec![
            Thread {
                task: Some(task(0x11, "sh <1>")),
                cpu: Some(0),
                crashed: true,
                registers: (0..27).map(|n| Some(0x1000 + n)).collect(),
            },
            Thread { task: Some(task(0x22, "daemon")), registers: asleep, ..Thread::default() },
            Thread { cpu: Some(7), ..Thread::default() },
        ],
        text: Some(0xffff_ffff_a000_0000),
        missing: Vec::new(),
    }
}

fn framed(content: &str) -> Vec<u8> {
    let sum = content.bytes().fold(0u8, |sum, byte| sum.wrapping_add(byte));
    format!("${content}#{sum:02x}").into_bytes()
}

/// What a session answers to what is sent, packet by packet.
fn with(name: &str, info: &str, found: Threads, sent: &[u8]) -> (Result<End, Error>, Vec<String>) {
    let machine = Machine::from_name(name).unwrap();
    let memory = Memory { machine, info: VmcoreInfo::parse(info.as_bytes()) };
    let ram = Range::new(PhysAddr(0), PhysAddr(0x3000));
    let pages = Pages(MemoryMap::new(PageSize::K4, [ram].into_iter().collect()));
    let target = Target::new(&memory, &pages, found);
    let mut out = Vec::new();
    let end = serve(&target, &Program, sent, &mut out);
    let out = String::from_utf8(out).unwrap();
    let answers: Vec<String> =
        out.split('$').skip(1).map(|answer| answer.split('#').next().unwrap().to_owned()).collect();
    assert!(answers.iter().all(|answer| answer.len() <= LONGEST));
    (end, answers)
}

fn answers(packets: &[&str]) -> Vec<String> {
    let sent: Vec<u8> = packets.iter().flat_map(|packet| framed(packet)).collect();
    let (end, answers) = with("x86_64", "KERNELOFFSET=1f000000\n", threads(), &sent);
    assert_eq!(end.unwrap(), End::Gone);
    answers
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> String {
    let digits: Vec<u8> = digits.bytes().collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    String::from_utf8_lossy(&digits.chunks(2).map(byte).collect::<Vec<_>>()).into_owned()
}

#[test]
fn threads_are_listed_with_names_and_registers_are_those_of_the_chosen_one() {
    let all = answers(&[
        "?",
        "qfThreadInfo",
        "qsThreadInfo",
        "qThreadExtraInfo,22",
        "p10",
        "Hg22",
        "qC",
        "p10",
        "p0",
        "T22",
        "T23",
        "Hg23",
        "Hg989687",
        "qThreadExtraInfo,989687",
    ]);
    assert_eq!(all[..3], ["T05thread:11;", "m11,22,989687", "l"]);
    assert_eq!(unhex(&all[3]), "daemon: pid 34, S");
    assert_eq!(all[4], "1010000000000000", "rip of the first thread");
    assert_eq!(all[5..7], ["OK", "QC22"]);
    assert_eq!(all[7..9], ["3412008180ffffff".replace("80ffffff", "ffffffff"), "x".repeat(16)]);
    assert_eq!(all[9..13], ["OK", "E01", "E01", "OK"]);
    assert_eq!(unhex(&all[13]), "on CPU 7");
}

#[test]
fn the_list_in_xml_can_be_read_in_parts() {
    let whole = answers(&["qXfer:threads:read::0,3000"]).remove(0);
    assert!(
        whole.starts_with('l') && whole.contains("name=\"sh &lt;1&gt;\">pid 17, S, on CPU 0, which crashed<")
    );
    let mut parts = String::new();
    loop {
        let part = answers(&[&format!("qXfer:threads:read::{:x},7", parts.len())]).remove(0);
        parts += &part[1..];
        if part.starts_with('l') {
            break;
        }
    }
    assert_eq!(parts, whole[1..]);
    let beyond = ["qXfer:threads:read::ffffffffffffffff,10", "qXfer:features:read:other.xml:0,10"];
    assert_eq!(answers(&beyond), ["l", "E00"]);
    assert_eq!(answers(&["qXfer:threads:read::0", "qXfer:auxv:read::0,10"]), ["E01", ""]);
}

#[test]
fn memory_is_read_as_far_as_it_is_there() {
    let read = |addr: u64, len: u64| answers(&[&format!("m{addr:x},{len:x}")]).remove(0);
    assert_eq!(read(START + 1, 4), "01020304");
    assert_eq!(read(START + MAPPED - 2, 0x100), "feff");
    assert_eq!(read(START + 0xfff, 0x2000).len(), 2 * 0x1001);
    assert_eq!(read(START, u64::MAX).len(), LONGEST);
    assert_eq!([read(START + MAPPED, 1), read(u64::MAX, 8), read(0, 8)], ["E14"; 3]);
    assert_eq!(answers(&["m", "m,", "m1", "mx,1", "m1,-1"]), ["E01"; 5]);
}

#[test]
fn nothing_is_written_and_nothing_goes_on() {
    for packet in ["Mffff800000000000,1:00", "Xffff800000000000,0:", "G00", "P10=00", "Z0,1000,1"] {
        let answer = answers(&[packet]).remove(0);
        assert!(answer.starts_with("E."), "{packet}: {answer}");
    }
    for packet in ["c", "s", "C05"] {
        let all = answers(&["Hg22", packet]);
        assert!(unhex(&all[1][1..]).contains("nothing goes on"), "{all:?}");
        assert_eq!(all[2], "T11thread:22;");
    }
    assert_eq!(answers(&["vCont?", "vMustReplyEmpty", "vRun;", "qTStatus", "!"]), [""; 5]);
}

#[test]
fn gdb_is_told_how_far_the_kernel_was_moved() {
    let offsets = |info: &str, text| {
        let found = Threads { text, ..threads() };
        with("x86_64", info, found, &framed("qOffsets")).1.remove(0)
    };
    let text = Some(0xffff_ffff_a000_0000);
    assert_eq!(offsets("KERNELOFFSET=1f000000\n", text), "TextSeg=ffffffffa0000000");
    assert_eq!(offsets("", text), "TextSeg=ffffffffa0000000");
    assert_eq!(offsets("KERNELOFFSET=0\n", text), "Text=0;Data=0;Bss=0");
    assert_eq!(offsets("KERNELOFFSET=1f000000\n", None), "Text=1f000000;Data=1f000000;Bss=1f000000");
    assert_eq!(offsets("", None), "");
}

#[test]
fn monitor_shows_what_the_program_knows_with_nothing_that_a_terminal_obeys() {
    let monitor = |command: &str| {
        let all = answers(&[&format!("qRcmd,{}", hex(command))]);
        let (last, printed) = all.split_last().unwrap();
        assert_eq!(last, "OK");
        printed.iter().map(|part| unhex(part.strip_prefix('O').unwrap())).collect::<String>()
    };
    let report = monitor("report");
    assert!(report.len() > 2 * LONGEST && report.ends_with("\\x1b[2J") && !report.contains('\x1b'));
    assert!(monitor("help").contains("phys ADDRESS"));
    assert!(monitor("dmesg").starts_with("the log cannot be read: "));
    assert!(monitor("reset \x1bhalt").contains("no such command: reset"));
    let memory = monitor("phys 0xff8 24");
    let lines: Vec<&str> = memory.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("0xff8: 61 61 61 61 61 61 61 61 ") && lines[0].ends_with("  aaaaaaaa"));
    assert_eq!(lines[1], "0x1000: an earlier filter left the page out");
    assert_eq!(monitor("phys 0x2000"), "0x2000: the page is lost\n");
    assert_eq!(monitor("phys 0x100000"), "0x100000: there is no memory\n");
    for wrong in ["phys x", "phys 0 0", "phys 0 0x10001", "phys 0xffffffffffffffff 2", "phys", "phys 1 2 3"] {
        assert_eq!(monitor(wrong).lines().count(), 1, "{wrong}");
    }
    assert_eq!(answers(&["qRcmd,6", "qRcmd,ff"]), ["E01", "E01"]);
}

#[test]
fn a_session_ends_when_the_client_says_so() {
    for (packet, answered) in [("D", 1), ("k", 0), ("vKill;1", 1)] {
        let sent = [framed(packet), framed("?")].concat();
        let (end, answers) = with("s390x", "", threads(), &sent);
        assert_eq!((end.unwrap(), answers.len()), (End::Done, answered), "{packet}");
    }
}

#[test]
fn checksums_do_not_count_any_more_when_both_sides_trust_the_connection() {
    let sent = [framed("QStartNoAckMode"), b"$?#00".to_vec()].concat();
    let (_, answers) = with("x86_64", "", threads(), &sent);
    assert_eq!(answers, ["OK", "T05thread:11;"]);
}

#[test]
fn an_answer_that_took_long_is_not_sent_twice() {
    let sent = [framed("QStartNoAckMode"), framed("?"), b"-".to_vec(), framed("qC")].concat();
    let (_, answers) = with("x86_64", "", threads(), &sent);
    let once: Vec<String> = self::answers(&["QStartNoAckMode", "?", "qC"]);
    assert_eq!(answers, once);
}

#[test]
fn a_machine_whose_registers_gdb_is_not_told_has_memory_all_the_same() {
    let sent = [framed("qSupported"), framed("g"), framed(&format!("m{START:x},2"))].concat();
    let (_, answers) = with("armv7l", "", threads(), &sent);
    assert!(!answers[0].contains("features"));
    assert_eq!(answers[1..], ["E01", "0001"]);
}

#[test]
fn a_list_of_many_threads_comes_in_packets_that_fit() {
    let task = |pid| Some(Task { pid, ..Task::default() });
    let all = (1..=10_000).map(|pid| Thread { task: task(pid), ..Thread::default() }).collect();
    let sent = [framed("qfThreadInfo"), framed("qsThreadInfo").repeat(4)].concat();
    let (_, answers) = with("x86_64", "", Threads { threads: all, ..Threads::default() }, &sent);
    let (ends, lists): (Vec<&String>, Vec<&String>) = answers.iter().partition(|answer| *answer == "l");
    let listed: usize = lists.iter().map(|list| list.split(',').count()).sum();
    assert!(listed == 10_000 && lists.len() > 1 && !ends.is_empty(), "{listed} in {}", lists.len());
}

proptest! {
    #[test]
    fn whatever_a_client_sends_the_session_ends(
        name in prop::sample::select(vec!["x86_64", "ppc64", "s390x", "aarch64", "riscv64", "i686"]),
        packets in prop::collection::vec("[?gpmMXGPHTcsDkvqQ][ -\"%-|~]{0,40}", 0..20),
    ) {
        let sent: Vec<u8> = packets.iter().flat_map(|packet| framed(packet)).collect();
        let (end, _) = with(name, "KERNELOFFSET=0\n", threads(), &sent);
        prop_assert!(end.is_ok());
    }
}
