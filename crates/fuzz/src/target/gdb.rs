//! A client of gdb's protocol, and the kernel's memory that it asks for.

use super::{Seed, Target};
use crate::pack::{pack, unpack};
use crate::virt::{self, Virtual, region};
use ::gdb::{End, Host, LONGEST, serve};
use std::io::{self, Write};
use triage::tasks::Task;
use triage::threads::{Thread, Threads};
use vmcore::{MemoryMap, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory, Range, ReadError};

pub(super) const TARGET: Target = Target { name: "gdb", seeds, run };

/// The most bytes that are sent for one byte that came: a few bytes ask for a packet, and a command for all of the log
/// or 64 KiB of memory in words.
const GROWTH: usize = 64 << 10;

/// What a session of gdb's sends, `ADDR` being in the kernel's memory.
const PACKETS: [&str; 28] = [
    "qSupported:multiprocess+;swbreak+;xmlRegisters=i386",
    "vMustReplyEmpty",
    "QStartNoAckMode",
    "Hg0",
    "qXfer:features:read:target.xml:0,ffb",
    "qXfer:threads:read::0,ffb",
    "qTStatus",
    "?",
    "qC",
    "qAttached",
    "qOffsets",
    "qfThreadInfo",
    "qsThreadInfo",
    "qThreadExtraInfo,1",
    "Hg7",
    "g",
    "p10",
    "mADDR,40",
    "mADDR,3fff",
    "qRcmd,646d657367",
    "qRcmd,7265706f7274",
    "qRcmd,70687973203078302030783130303030",
    "MADDR,1:00",
    "P1=00",
    "c",
    "T1",
    "vCont?",
    "D",
];

/// Packets in a row, each with its sum.
fn packets(skipped: &str) -> Vec<u8> {
    let mut bytes = b"+".to_vec();
    for packet in PACKETS.iter().filter(|packet| **packet != skipped) {
        let packet = packet.replace("ADDR", &format!("{:x}", region(1)));
        let sum = packet.bytes().fold(0u8, |sum, byte| sum.wrapping_add(byte));
        bytes.extend(format!("${packet}#{sum:02x}+").bytes());
    }
    bytes
}

fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for machine in 0..virt::MACHINES.len() {
        // With checksums that count, which stop most changes, and without.
        for skipped in ["QStartNoAckMode", ""] {
            let packets = packets(skipped);
            let hot = vec![0..packets.len(); 4];
            let info = format!(
                "KERNELOFFSET=1000\nSYMBOL(log_buf)={:x}\nSYMBOL(log_buf_len)={:x}\nSYMBOL(log_end)={:x}\n",
                region(0),
                region(0) + 8,
                region(0) + 16
            );
            let memory = virt::seed(machine, &info, &[&[1; 64], b"<6>one\n<6>two\n"]);
            seeds.push(pack(&[Seed { bytes: packets, hot }, memory]));
        }
    }
    seeds
}

/// Two frames of memory, the second of them lost.
struct Frames(MemoryMap);

impl PhysicalMemory for Frames {
    fn map(&self) -> &MemoryMap {
        &self.0
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        page.fill(0x41);
        Ok(match pfn.0 {
            0 => PageState::Present,
            1 => PageState::Lost,
            _ => PageState::Absent,
        })
    }
}

struct Program;

impl Host for Program {
    fn report(&self) -> String {
        "the report\n".repeat(3_000)
    }

    fn safe(&self, text: &str) -> String {
        text.replace(|c: char| c.is_control() && c != '\n', "?")
    }
}

/// Counts what is sent, and looks for what no client may be sent.
#[derive(Default)]
struct Sent {
    bytes: usize,
    /// Of the packet that is being sent.
    packet: usize,
}

impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len();
        for &byte in bytes {
            self.packet = if byte == b'$' { 0 } else { self.packet + 1 };
            assert!(self.packet <= LONGEST + 32, "a packet is too long");
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn run(bytes: Vec<u8>) -> bool {
    let Some(files) = unpack(&bytes) else { return false };
    let [packets, memory, ..] = &files[..] else { return false };
    let Some(memory) = Virtual::read(memory) else { return false };
    let ram = Range::new(PhysAddr(0), PhysAddr(0x2000));
    let frames = Frames(MemoryMap::new(PageSize::K4, [ram].into_iter().collect()));
    // Names and registers are the dump's, too.
    let named = |pid, comm: &[u8]| Task {
        pid,
        comm: String::from_utf8_lossy(comm).into_owned(),
        state: 'S',
        ..Task::default()
    };
    let registers = packets.iter().map(|&byte| Some(u64::from(byte))).take(50).collect();
    let threads = vec![
        Thread { task: Some(named(1, packets)), cpu: Some(0), crashed: true, registers },
        Thread { task: Some(named(7, b"\x1b]<&>")), ..Thread::default() },
        Thread { cpu: Some(u32::MAX), ..Thread::default() },
    ];
    let found = Threads { threads, text: Some(region(0)), missing: Vec::new() };
    let target = ::gdb::Target::new(&memory, &frames, found);
    let mut sent = Sent::default();
    let end = serve(&target, &Program, packets.as_slice(), &mut sent);
    assert!(sent.bytes <= GROWTH * (packets.len() + 8), "{} bytes for {}", sent.bytes, packets.len());
    matches!(end, Ok(End::Done | End::Gone))
}
