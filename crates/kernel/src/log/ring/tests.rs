//! Rings made by hand, by their own layout.

use crate::log::{Extent, LogFormat, LogSummary, read_entries, read_extent, read_log};
use crate::testing::{BE64, FakeKernel, LE64, MACHINES};
use proptest::prelude::*;
use vmcore::Machine;

const HEAD: u64 = 0x8000;
const DESCS: u64 = 0x10_0000;
const INFOS: u64 = 0x20_0000;
const TEXT: u64 = 0x30_0000;

/// The structures of a kernel with words of `w` bytes, laid out by hand.
fn info(w: u64, caller: bool) -> String {
    let mut text = format!(
        "SYMBOL(prb)=1000\nSIZE(printk_ringbuffer)={}\nOFFSET(printk_ringbuffer.desc_ring)=0\n\
         OFFSET(printk_ringbuffer.text_data_ring)={}\nSIZE(prb_desc_ring)={}\nOFFSET(prb_desc_ring.count_bits)=0\n\
         OFFSET(prb_desc_ring.descs)={w}\nOFFSET(prb_desc_ring.infos)={}\nOFFSET(prb_desc_ring.head_id)={}\n\
         OFFSET(prb_desc_ring.tail_id)={}\nSIZE(prb_desc)={}\nOFFSET(prb_desc.state_var)=0\n\
         OFFSET(prb_desc.text_blk_lpos)={w}\nSIZE(prb_data_blk_lpos)={}\nOFFSET(prb_data_blk_lpos.begin)=0\n\
         OFFSET(prb_data_blk_lpos.next)={w}\nSIZE(printk_info)=88\nOFFSET(printk_info.ts_nsec)=8\n\
         OFFSET(printk_info.text_len)=16\nSIZE(prb_data_ring)={}\nOFFSET(prb_data_ring.size_bits)=0\n\
         OFFSET(prb_data_ring.data)={w}\nSIZE(atomic_long_t)={w}\nOFFSET(atomic_long_t.counter)=0\n",
        11 * w,
        6 * w,
        6 * w,
        2 * w,
        3 * w,
        4 * w,
        3 * w,
        2 * w,
        4 * w,
    );
    if caller {
        text += "OFFSET(printk_info.caller_id)=20\n";
    }
    text
}

/// A ring of 4 descriptors and 128 bytes of text.
struct Made {
    kernel: FakeKernel,
    w: u64,
}

impl Made {
    fn new(machine: Machine, tail: u64, head: u64) -> Self {
        let w = machine.word.bytes() as u64;
        let mut kernel = FakeKernel::new(machine);
        kernel.set_info(&info(w, false));
        kernel.put(DESCS, &[0; 4 * 24]);
        kernel.put(INFOS, &[0; 4 * 88]);
        kernel.put(TEXT, &[0xee; 128]);
        kernel.put_word(0x1000, HEAD);
        kernel.put(HEAD, &[0; 88]);
        kernel.put_u32(HEAD, 2);
        kernel.put_word(HEAD + w, DESCS);
        kernel.put_word(HEAD + 2 * w, INFOS);
        kernel.put_word(HEAD + 3 * w, head);
        kernel.put_word(HEAD + 4 * w, tail);
        kernel.put_u32(HEAD + 6 * w, 7);
        kernel.put_word(HEAD + 7 * w, TEXT);
        Self { kernel, w }
    }

    fn id(&self, id: u64) -> u64 {
        id & (u64::MAX >> (66 - 8 * self.w))
    }

    /// A descriptor whose text lies from `begin` to `next`.
    fn desc(&mut self, id: u64, state: u64, begin: u64, next: u64) {
        let id = self.id(id);
        let at = DESCS + id % 4 * 3 * self.w;
        self.kernel.put_word(at, id | state << (8 * self.w - 2));
        self.kernel.put_word(at + self.w, begin);
        self.kernel.put_word(at + 2 * self.w, next);
    }

    /// A descriptor and info, and its block at offset `at` of the text ring.
    fn record(&mut self, id: u64, state: u64, (begin, next): (u64, u64), at: u64, text: &str) {
        self.desc(id, state, begin, next);
        let id = self.id(id);
        self.kernel.put_u64(INFOS + id % 4 * 88 + 8, id % 100 * 1_000_000_000);
        self.kernel.put_u16(INFOS + id % 4 * 88 + 16, text.len() as u16);
        self.kernel.put_u32(INFOS + id % 4 * 88 + 20, 0x8000_0002);
        self.kernel.put_word(TEXT + at, id);
        self.kernel.put(TEXT + at + self.w, text.as_bytes());
    }

    fn log(&self) -> (String, LogSummary) {
        let mut out = Vec::new();
        let summary = read_log(&self.kernel, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), summary)
    }
}

#[test]
fn records_are_written_from_tail_to_head_in_every_word_size_and_byte_order() {
    for machine in MACHINES {
        let mut made = Made::new(machine, 6, 9);
        made.record(6, 2, (256, 280), 0, "six");
        made.record(7, 2, (280, 304), 24, "seven\nand");
        made.record(8, 1, (304, 320), 48, "8");
        made.record(9, 2, (320, 344), 64, "nine");
        let (text, summary) = made.log();
        assert_eq!(
            text,
            "[    6.000000] six\n[    7.000000] seven\n               and\n[    8.000000] 8\n[    9.000000] nine\n"
        );
        assert_eq!((summary.format, summary.records, summary.skipped), (LogFormat::Ring, 4, 0));
        assert!(summary.remarks.is_empty());
    }
}

#[test]
fn ids_and_positions_wrap_with_the_word() {
    for machine in MACHINES {
        let word = u64::MAX >> (64 - 8 * machine.word.bytes());
        let mut made = Made::new(machine, (word >> 2) - 1, 1);
        made.record(u64::MAX - 1, 2, (word - 47, word - 23), 80, "a");
        made.record(u64::MAX, 2, (word - 23, 0), 104, "b");
        made.record(0, 2, (0, 24), 0, "c");
        made.record(1, 2, (24, 48), 24, "d");
        let texts: Vec<String> = made.log().0.lines().map(|l| l[15..].to_owned()).collect();
        assert_eq!(texts, ["a", "b", "c", "d"], "{machine:?}");
    }
}

#[test]
fn a_block_that_does_not_fit_before_the_end_lies_at_the_start() {
    for machine in MACHINES {
        let mut made = Made::new(machine, 0, 2);
        made.record(0, 2, (232, 256 + 32), 0, "wrapped text");
        made.record(1, 2, (288, 304), 32, "1");
        // Exactly up to the end, which kernels do since 6.18.
        made.record(2, 2, (360, 384), 104, "end");
        assert_eq!(made.log().0, "[    0.000000] wrapped text\n[    1.000000] 1\n[    2.000000] end\n");
    }
}

#[test]
fn a_block_that_wraps_with_the_word_too_lies_at_the_start() {
    for machine in MACHINES {
        let word = u64::MAX >> (64 - 8 * machine.word.bytes());
        let mut made = Made::new(machine, 0, 0);
        made.record(0, 2, (word - 15, 32), 0, "wrapped");
        assert_eq!(made.log().0, "[    0.000000] wrapped\n");
    }
}

#[test]
fn records_without_text_and_unused_descriptors_leave_no_trace() {
    let mut made = Made::new(LE64, 1, 3);
    made.desc(1, 2, 3, 3);
    made.desc(2, 3, 0, 0);
    made.record(3, 2, (256, 272), 0, "x");
    let (text, summary) = made.log();
    assert_eq!(text, "[    3.000000] x\n");
    assert_eq!((summary.skipped, summary.remarks.len()), (0, 0));
}

#[test]
fn a_record_without_sense_is_skipped_and_the_others_are_written() {
    type Spoil = fn(&mut Made);
    let spoil: [(&str, Spoil); 7] = [
        ("descriptor that belongs", |m| m.desc(6, 2, 280, 304)),
        ("descriptor that belongs", |m| m.desc(u64::MAX - 1, 2, 280, 304)),
        ("text that belongs", |m| m.kernel.put_u64(TEXT + 24, 77)),
        ("where no text can be", |m| m.desc(2, 2, 280, 4096)),
        ("where no text can be", |m| m.desc(2, 2, 304, 280)),
        ("where no text can be", |m| m.desc(2, 2, 284, 304)),
        ("where no text can be", |m| m.desc(2, 2, 280, 282)),
    ];
    for (why, spoil) in spoil {
        let mut made = Made::new(LE64, 1, 3);
        made.record(1, 2, (256, 280), 0, "one");
        made.record(2, 2, (280, 304), 24, "two");
        made.record(3, 2, (304, 328), 48, "three");
        spoil(&mut made);
        let (text, summary) = made.log();
        assert_eq!(text, "[    1.000000] one\n[    3.000000] three\n", "{why}");
        assert_eq!((summary.records, summary.skipped), (2, 1), "{why}");
        assert!(summary.remarks[0].contains(why), "{why}: {:?}", summary.remarks);
    }
}

/// Where writers are when other CPUs are stopped, on every machine: before and after the descriptor is theirs, with a text
/// half written, and without room for one.
#[test]
fn a_record_that_was_never_written_leaves_the_log_complete() {
    type Stop = fn(&mut Made);
    let stopped: [(&str, Stop); 5] = [
        ("reserved", |m| m.desc(2, 0, 280, 304)),
        ("reserved and without a place for its text", |m| m.desc(2, 0, 0, 0)),
        ("no room for a text", |m| m.desc(2, 2, 1, 1)),
        ("the head is moved and the descriptor still its last user's", |m| m.desc(u64::MAX - 1, 3, 280, 304)),
        ("the head is moved and the descriptor was never used", |m| {
            m.kernel.put(DESCS + 6 * m.w, &[0; 24][..3 * m.w as usize]);
        }),
    ];
    for machine in MACHINES {
        for (why, stop) in stopped {
            let mut made = Made::new(machine, 1, 3);
            made.record(1, 2, (256, 280), 0, "one");
            made.record(3, 2, (304, 328), 48, "three");
            stop(&mut made);
            let (text, summary) = made.log();
            assert_eq!(text, "[    1.000000] one\n[    3.000000] three\n", "{why}");
            assert_eq!((summary.records, summary.skipped, summary.unwritten), (2, 0, 1), "{why}");
            assert!(summary.remarks.is_empty(), "{why}: {:?}", summary.remarks);
            assert!(summary.unwritten_remark().unwrap().starts_with("1 record of"), "{why}");
        }
    }
}

#[test]
fn what_came_before_the_last_clearing_is_left_out_if_asked_for_and_if_the_dump_says_when_it_was() {
    let seq = "OFFSET(printk_info.seq)=0\n";
    let latched = "SYMBOL(clear_seq)=2000\nSIZE(latched_seq)=24\nOFFSET(latched_seq.val)=8\n";
    type Clear = fn(&mut FakeKernel);
    let never = |kernel: &mut FakeKernel| kernel.put(0x2000, &[0; 24]);
    let cases: [(&str, Clear, &str); 5] = [
        ("", |_| (), "one two three"),
        ("SYMBOL(clear_seq)=2000\n", |k| k.put_u64(0x2000, 102), "two three"),
        (latched, never, "one two three"),
        (
            latched,
            |k| {
                k.put_u32(0x2000, 6);
                k.put_u64(0x2008, 103);
                k.put_u64(0x2010, 1);
            },
            "three",
        ),
        (
            latched,
            |k| {
                k.put_u32(0x2000, 7);
                k.put_u64(0x2008, 1);
                k.put_u64(0x2010, 102);
            },
            "two three",
        ),
    ];
    for machine in MACHINES {
        for (keys, clear, expected) in cases {
            let mut made = Made::new(machine, 1, 3);
            made.record(1, 2, (256, 280), 0, "one");
            made.record(2, 2, (280, 304), 24, "two");
            made.record(3, 2, (304, 328), 48, "three");
            (1..4).for_each(|id| made.kernel.put_u64(INFOS + id * 88, 100 + id));
            made.kernel.set_info(&(info(made.w, false) + seq + keys));
            clear(&mut made.kernel);
            let mut out = Vec::new();
            let summary = read_extent(&made.kernel, Extent::SinceClear, &mut out).unwrap();
            let texts: Vec<_> = out.split(|&b| b == b'\n').filter_map(|line| line.get(15..)).collect();
            assert_eq!(String::from_utf8(texts.join(&b' ')).unwrap(), expected, "{keys}");
            assert_eq!(summary.since_clear, !keys.is_empty(), "{keys}");
            assert_eq!(made.log().1.records, 3, "the whole log");
        }
    }
}

#[test]
fn a_text_is_cut_at_the_end_of_its_block() {
    let mut made = Made::new(LE64, 0, 0);
    made.record(0, 2, (0, 16), 0, "12345678901234");
    assert_eq!(made.log().0, "[    0.000000] 12345678\n");
}

#[test]
fn the_caller_is_told_where_the_kernel_keeps_it() {
    let mut made = Made::new(BE64, 0, 0);
    made.kernel.set_info(&info(8, true));
    made.record(0, 2, (0, 16), 0, "x");
    assert_eq!(made.log().0, "[    0.000000] [      C2] x\n");
}

#[test]
fn missing_memory_costs_only_the_records_in_it() {
    let mut made = Made::new(LE64, 1, 3);
    made.record(1, 2, (256, 280), 0, "one");
    made.record(2, 2, (280, 304), 24, "two");
    made.record(3, 2, (304, 328), 48, "three");
    made.kernel.remove(TEXT);
    made.kernel.put_u64(TEXT, 1);
    made.kernel.remove(TEXT + 24);
    let (text, summary) = made.log();
    assert_eq!(text, "[    1.000000] one\n[    3.000000] three\n");
    assert_eq!((summary.records, summary.skipped), (2, 1));
}

#[test]
fn a_tail_too_far_from_the_head_is_not_believed() {
    let mut made = Made::new(LE64, 0, 101);
    made.record(100, 2, (256, 280), 0, "one");
    made.record(101, 2, (280, 304), 24, "two");
    let (text, summary) = made.log();
    assert_eq!(text, "[    0.000000] one\n[    1.000000] two\n");
    assert!(summary.remarks[0].contains("took the newest 4"), "{:?}", summary.remarks);
}

#[test]
fn a_size_that_no_kernel_has_is_an_error_that_names_it() {
    let mut made = Made::new(LE64, 0, 0);
    made.kernel.put_u32(HEAD + 48, 32);
    let error = read_log(&made.kernel, &mut Vec::new()).unwrap_err().to_string();
    assert_eq!(error, "prb_data_ring.size_bits at 0x8000 is 32, expected 1 to 31");
}

#[test]
fn every_key_is_needed_and_named_when_it_is_missing() {
    let whole = info(8, false);
    for line in whole.lines().skip(1) {
        let mut made = Made::new(LE64, 0, 0);
        made.kernel.set_info(&whole.replace(line, ""));
        let key = line.split('=').next().unwrap();
        let error = read_log(&made.kernel, &mut Vec::new()).unwrap_err().to_string();
        assert_eq!(error, format!("VMCOREINFO has no {key}, which the kernel log needs"));
    }
}

#[test]
fn an_offset_outside_its_structure_is_an_error() {
    let mut made = Made::new(LE64, 0, 0);
    made.kernel.set_info(&info(8, false).replace("printk_info.ts_nsec)=8", "printk_info.ts_nsec)=81"));
    let error = read_log(&made.kernel, &mut Vec::new()).unwrap_err().to_string();
    assert_eq!(error, "VMCOREINFO's OFFSET(printk_info.ts_nsec) is 81, which 8 bytes within 88 do not allow");
}

proptest! {
    #[test]
    fn any_rings_end_in_a_bounded_log_or_an_error(
        machine in prop::sample::select(&MACHINES[..]),
        tail: u64, records in 0u64..6,
        descs in prop::collection::vec((0u64..4, any::<[u8; 2]>(), prop::sample::select(&[0u64, 1, 3, 8, 24, 120, 128, u64::MAX - 7][..])), 4),
        head in prop::collection::vec(any::<u8>(), 88), wild: bool,
    ) {
        let mut made = Made::new(machine, tail, tail.wrapping_add(records));
        for (i, (state, [begin, len], odd)) in descs.into_iter().enumerate() {
            let begin = u64::from(begin & 0xf8);
            let next = if len & 1 == 0 { begin + u64::from(len & 0x38) } else { odd };
            made.record(tail.wrapping_add(i as u64), state, (begin, next), begin % 128, "text");
        }
        if wild {
            made.kernel.put(HEAD, &head);
        }
        let mut out = Vec::new();
        if let Ok(summary) = read_log(&made.kernel, &mut out) {
            prop_assert!(summary.records <= 4);
            prop_assert!(out.len() <= 4 * 20 + 4 * 128);
        }
    }

    #[test]
    fn any_memory_at_all_ends(bytes in prop::collection::vec(any::<u8>(), 1024), seed: u64) {
        let mut kernel = FakeKernel::new(LE64);
        kernel.set_info(&info(8, true).replace("=1000\n", "=8000\n"));
        kernel.put(HEAD, &bytes);
        // The rings lie over each other and over the head.
        kernel.put_u64(HEAD, HEAD + seed % 64);
        for (at, value) in [(0, seed % 12), (8, HEAD), (16, HEAD), (48, seed % 9), (56, HEAD)] {
            kernel.put_u64(HEAD + seed % 64 + at, value);
        }
        let mut out = Vec::new();
        let _ = read_log(&kernel, &mut out);
        prop_assert!(out.len() < 1 << 20);
    }
}

/// A program may write what it likes to `/dev/kmsg`; the facility tells its lines from the kernel's.
#[test]
fn level_and_facility_are_told_where_they_are_all_that_lies_between_two_known_fields() {
    for machine in MACHINES {
        for (caller, expected) in [(true, Some((3, 1))), (false, None)] {
            let mut made = Made::new(machine, 6, 6);
            made.kernel.set_info(&info(made.w, caller));
            made.record(6, 2, (256, 280), 0, "six");
            let flags_and_level = match machine.order {
                vmcore::ByteOrder::Little => 3 << 5 | 0b10,
                vmcore::ByteOrder::Big => 0b10 << 3 | 3,
            };
            made.kernel.put(INFOS + 6 % 4 * 88 + 18, &[1, flags_and_level]);
            let mut found = Vec::new();
            let _ = read_entries(&made.kernel, Extent::Whole, &mut |entry| {
                found.push((entry.level.zip(entry.facility), entry.message()));
                Ok(())
            })
            .unwrap();
            assert_eq!(found, [(expected, "six".to_owned())], "{machine:?}");
        }
    }
}
