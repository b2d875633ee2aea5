//! The kernel log in its three forms.

use super::{Seed, Target};
use crate::virt::{self, MACHINES, Virtual, region};
use kernel::log::read_log;
use vmcore::{Machine, WordSize};

pub(super) const TARGET: Target = Target { name: "log", seeds, run };

/// The most that the text may be larger than the input: a byte reads `\xHH`, and every line begins with time and caller.
const GROWTH: usize = 64;

/// Writes numbers as a machine does.
struct Writer(Machine);

impl Writer {
    fn word(&self, number: u64) -> Vec<u8> {
        match self.0.word {
            WordSize::Bits32 => self.0.order.put_u32(number as u32).to_vec(),
            WordSize::Bits64 => self.0.order.put_u64(number).to_vec(),
        }
    }

    fn words(&self, numbers: &[u64]) -> Vec<u8> {
        numbers.iter().flat_map(|&number| self.word(number)).collect()
    }
}

/// A ring of characters that went around once.
fn flat(index: usize, to: &Writer) -> Seed {
    let (order, buffer) = (to.0.order, b"two\n<4>three\n<6>\x1bone ");
    let mut head = to.word(region(1));
    head.resize(16, 0);
    for number in [buffer.len() as u32, 0, buffer.len() as u32 * 4 + 4, 0, buffer.len() as u32, 0] {
        head.extend(order.put_u32(number));
    }
    let mut info = format!("SYMBOL(log_buf)={:x}\n", region(0));
    for (name, at) in [("log_buf_len", 16), ("log_end", 24), ("logged_chars", 32)] {
        info += &format!("SYMBOL({name})={:x}\n", region(0) + at);
    }
    virt::seed(index, &info, &[&head, buffer])
}

/// Records of which the ring's end holds the first.
fn records(index: usize, to: &Writer) -> Seed {
    let order = to.0.order;
    let record = |seconds: u64, text: &str| {
        let mut record = order.put_u64(seconds * 1_000_000_007).to_vec();
        let len = (20 + text.len()).next_multiple_of(8);
        record.extend([len as u16, text.len() as u16, 0].map(|n| order.put_u16(n)).concat());
        record.extend([0, 0]);
        record.extend(order.put_u32(0x8000_0001));
        record.extend(text.as_bytes());
        record.resize(len, 0);
        record
    };
    let mut buffer = [record(2, "second\nand more"), record(3, "third")].concat();
    let next = buffer.len() as u32;
    buffer.resize(96, 0xee);
    buffer.extend(record(1, "first"));
    // A header of zeros: the ring continues at its start.
    buffer.resize(buffer.len() + 24, 0);
    let mut head = to.word(region(1));
    head.resize(16, 0);
    for number in [buffer.len() as u32, 96, next] {
        head.extend(order.put_u32(number));
    }
    let mut info = format!("SYMBOL(log_buf)={:x}\nSIZE(printk_log)=20\n", region(0));
    for (name, at) in [("log_buf_len", 16), ("log_first_idx", 20), ("log_next_idx", 24)] {
        info += &format!("SYMBOL({name})={:x}\n", region(0) + at);
    }
    for (name, at) in [("ts_nsec", 0), ("len", 8), ("text_len", 10), ("caller_id", 16)] {
        info += &format!("OFFSET(printk_log.{name})={at}\n");
    }
    virt::seed(index, &info, &[&head, &buffer])
}

/// Descriptors, infos and texts in rings of their own.
fn ring(index: usize, to: &Writer) -> Seed {
    let (order, w) = (to.0.order, to.0.word.bytes() as u64);
    let mut info = format!("SYMBOL(prb)={:x}\nSIZE(printk_info)=88\n", region(0));
    for (name, words) in [
        ("SIZE(printk_ringbuffer)", 11),
        ("OFFSET(printk_ringbuffer.desc_ring)", 0),
        ("OFFSET(printk_ringbuffer.text_data_ring)", 6),
        ("SIZE(prb_desc_ring)", 6),
        ("OFFSET(prb_desc_ring.count_bits)", 0),
        ("OFFSET(prb_desc_ring.descs)", 1),
        ("OFFSET(prb_desc_ring.infos)", 2),
        ("OFFSET(prb_desc_ring.head_id)", 3),
        ("OFFSET(prb_desc_ring.tail_id)", 4),
        ("SIZE(prb_desc)", 3),
        ("OFFSET(prb_desc.state_var)", 0),
        ("OFFSET(prb_desc.text_blk_lpos)", 1),
        ("SIZE(prb_data_blk_lpos)", 2),
        ("OFFSET(prb_data_blk_lpos.begin)", 0),
        ("OFFSET(prb_data_blk_lpos.next)", 1),
        ("SIZE(prb_data_ring)", 4),
        ("OFFSET(prb_data_ring.size_bits)", 0),
        ("OFFSET(prb_data_ring.data)", 1),
        ("SIZE(atomic_long_t)", 1),
        ("OFFSET(atomic_long_t.counter)", 0),
    ] {
        info += &format!("{name}={}\n", words * w);
    }
    for (name, at) in [("ts_nsec", 8), ("text_len", 16), ("caller_id", 20)] {
        info += &format!("OFFSET(printk_info.{name})={at}\n");
    }
    let number = |n: u32| {
        let mut bytes = order.put_u32(n).to_vec();
        bytes.resize(w as usize, 0);
        bytes
    };
    // Four descriptors, of which the identities 1 to 3 are in use; 128 bytes of text.
    let mut head = to.word(region(0) + 16);
    head.resize(16, 0);
    head.extend([number(2), to.words(&[region(1), region(2), 3, 1, 0])].concat());
    head.extend([number(7), to.words(&[region(3), 0, 0, 0])].concat());
    let (mut descs, mut infos, mut texts) = (vec![0; 3 * w as usize], vec![0; 88], Vec::new());
    for (id, text) in [(1, "first"), (2, "second\nand more"), (3, "third \u{7}")] {
        let begin = texts.len() as u64;
        texts.extend(to.word(id));
        texts.extend(text.as_bytes());
        texts.resize(texts.len().next_multiple_of(w as usize), 0);
        // Finalized.
        descs.extend(to.words(&[id | 2 << (8 * w - 2), begin, texts.len() as u64]));
        let mut info = order.put_u64(id).to_vec();
        info.extend(order.put_u64(id * 1_000_000_000));
        info.extend(order.put_u16(text.len() as u16));
        info.resize(20, 0);
        info.extend(order.put_u32(0x8000_0002));
        info.resize(88, 0);
        infos.extend(info);
    }
    texts.resize(128, 0);
    virt::seed(index, &info, &[&head, &descs, &infos, &texts])
}

fn seeds() -> Vec<Seed> {
    let of_machine = |(index, name): (usize, &&str)| {
        let writer = Writer(Machine::from_name(name).expect("a machine that hadump knows"));
        [flat, records, ring].map(|kind| kind(index, &writer))
    };
    MACHINES.iter().enumerate().flat_map(of_machine).collect()
}

fn run(bytes: Vec<u8>) -> bool {
    let Some(memory) = Virtual::read(&bytes) else { return false };
    let mut out = Vec::new();
    let Ok(summary) = read_log(&memory, &mut out) else { return false };
    assert!(out.len() <= (bytes.len() + 0x10000) * GROWTH, "{} bytes of log", out.len());
    summary.records > 0
}
