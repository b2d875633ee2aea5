//! The log as a ring of characters, up to Linux 3.4.
//!
//! `log_buf` points to `log_buf_len` bytes, a power of two; `log_end` counts every character ever printed, so
//! the next one goes to `log_end % log_buf_len` (kernel: `emit_log_char` in `kernel/printk.c`). Times and levels
//! (`<6>`) are part of the text.

use super::entry::{self, Entry};
use super::{Each, Extent, LogError, Progress, symbol};
use crate::{Error, KernelMemory};
use std::io;
use vmcore::{ByteOrder, VirtAddr, WordSize};

/// `log_buf_len` of a kernel is an `int`.
const MAX_LEN: u32 = 1 << 30;

/// Bytes read at a time; one unreadable page costs no more than this.
const STEP: u64 = 4096;

pub(super) fn read(
    memory: &dyn KernelMemory,
    extent: Extent,
    each: &mut Each<'_>,
    progress: &mut Progress,
) -> Result<(), LogError> {
    let buffer = memory.read_word(symbol(memory, "log_buf")?)?;
    let len_at = symbol(memory, "log_buf_len")?;
    let len = memory.read_u32(len_at)?;
    if len == 0 || len > MAX_LEN {
        return Err(LogError::Kernel(Error::Implausible {
            what: "log_buf_len".into(),
            addr: len_at,
            found: len.to_string(),
            expected: format!("1 to {MAX_LEN} bytes"),
        }));
    }
    let end = counter(memory, symbol(memory, "log_end")?)?;
    // `log_end` overflows after 4 GiB of log; `logged_chars` is capped at the buffer's length and then says
    // that the buffer is full all the same.
    let logged = memory.info().symbol("logged_chars").map(|at| counter(memory, at)).transpose()?;
    let full = end >= len || logged > Some(end);
    let kept = if full { len } else { end };
    let wanted = match (extent, logged) {
        // Clearing sets it to 0, and it stops at the buffer's length.
        (Extent::SinceClear, Some(logged)) => logged.min(kept),
        _ => kept,
    };
    progress.summary.since_clear = extent == Extent::SinceClear && logged.is_some();
    let at = (end % len + (len - wanted)) % len;
    let first = wanted.min(len - at);
    copy(memory, each, progress, VirtAddr(buffer), [(at, first), (0, wanted - first)])
}

/// Reads `log_end` or `logged_chars`.
///
/// They were `unsigned long` up to 2.6.24 and `unsigned` after, which VMCOREINFO does not say. Little-endian
/// machines have the number at the same place. On big-endian ones the upper half of a long comes first and is
/// zero; a log that is really empty does not crash.
fn counter(memory: &dyn KernelMemory, at: VirtAddr) -> Result<u32, Error> {
    let machine = memory.machine();
    match memory.read_u32(at)? {
        0 if machine.order == ByteOrder::Big && machine.word == WordSize::Bits64 => {
            Ok(memory.read_word(at)? as u32)
        }
        count => Ok(count),
    }
}

/// Shows the lines of the `(offset, length)` parts of the buffer, which follow one another.
fn copy(
    memory: &dyn KernelMemory,
    each: &mut Each<'_>,
    progress: &mut Progress,
    buffer: VirtAddr,
    parts: [(u32, u32); 2],
) -> Result<(), LogError> {
    let mut bytes = [0; STEP as usize];
    let mut line = Vec::with_capacity(bytes.len());
    let mut begins = true;
    for (offset, len) in parts {
        let mut at = buffer.0.wrapping_add(offset.into());
        let mut left = u64::from(len);
        while left > 0 {
            let step = left.min(STEP - at % STEP);
            let bytes = &mut bytes[..step as usize];
            match memory.read(VirtAddr(at), bytes) {
                Ok(()) => {
                    for &byte in &*bytes {
                        line.push(byte);
                        if byte == b'\n' || line.len() >= STEP as usize {
                            show(each, &line, begins)?;
                            begins = byte == b'\n';
                            progress.summary.records += u64::from(begins);
                            line.clear();
                        }
                    }
                }
                Err(error) => {
                    progress.skip(|| format!("{step} bytes of the log are missing: {error}"));
                    if progress.summary.skipped > super::MAX_UNREADABLE {
                        progress.remark(|| "the log's memory is missing; the rest was skipped".into());
                        return Ok(show(each, &line, begins)?);
                    }
                }
            }
            at = at.wrapping_add(step);
            left -= step;
        }
    }
    Ok(show(each, &line, begins)?)
}

/// Shows a line, or a piece of one; only one that `begins` a line has a level.
fn show(each: &mut Each<'_>, line: &[u8], begins: bool) -> io::Result<()> {
    let number = if begins { entry::prefix(line).map(|(number, _)| number) } else { None };
    let (level, facility) = (number.map(|n| (n & 7) as u8), number.map(|n| n >> 3));
    match line {
        [] => Ok(()),
        text => each(&Entry { ts_nsec: None, level, facility, caller: None, text }),
    }
}

#[cfg(test)]
mod tests {
    use crate::log::{Extent, LogFormat, LogSummary, read_entries, read_extent, read_log};
    use crate::testing::{BE64, FakeKernel, MACHINES};
    use proptest::prelude::*;
    use vmcore::Machine;

    const BUFFER: u64 = 0x10_0000;

    fn kernel(machine: Machine, buffer: &[u8], end: u32, logged: u32) -> FakeKernel {
        let mut kernel = FakeKernel::new(machine);
        kernel.set_info("SYMBOL(log_buf)=1000\nSYMBOL(log_buf_len)=1010\nSYMBOL(log_end)=1018\nSYMBOL(logged_chars)=1020\n");
        kernel.put_word(0x1000, BUFFER);
        kernel.put_u32(0x1010, buffer.len() as u32);
        kernel.put_u64(0x1018, 0);
        kernel.put_u32(0x1018, end);
        kernel.put_u64(0x1020, 0);
        kernel.put_u32(0x1020, logged);
        kernel.put(BUFFER, buffer);
        kernel
    }

    fn log(kernel: &FakeKernel) -> (String, LogSummary) {
        let mut out = Vec::new();
        let summary = read_log(kernel, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), summary)
    }

    #[test]
    fn a_buffer_that_never_was_full_is_written_from_its_start() {
        for machine in MACHINES {
            let (text, summary) = log(&kernel(machine, b"<6>one\n<6>two\n????", 14, 14));
            assert_eq!(text, "<6>one\n<6>two\n");
            assert_eq!((summary.format, summary.records), (LogFormat::Flat, 2));
        }
    }

    #[test]
    fn a_buffer_may_have_1_gib_and_no_more() {
        for (len, opens) in [(1 << 30, true), ((1 << 30) + 1, false)] {
            let mut kernel = kernel(BE64, b"one\n", 4, 4);
            kernel.remove(0x1010);
            kernel.put_u32(0x1010, len);
            let mut out = Vec::new();
            match read_log(&kernel, &mut out) {
                Ok(_) => assert!(opens && out == b"one\n", "{len}"),
                Err(error) => assert!(!opens && error.to_string().contains("1 to 1073741824"), "{error}"),
            }
        }
    }

    #[test]
    fn a_line_is_an_entry_wherever_the_buffer_and_its_pages_end() {
        let mut buffer = b"x\n<4>one\n".to_vec();
        buffer.resize(4090, b'.');
        buffer.extend(b"\n<30>after a page\n<3>begi");
        let end = buffer.len() as u32 + 4;
        let mut ring = b"n.\n?".to_vec();
        ring.extend(&buffer[4..]);
        let mut found = Vec::new();
        let _ = read_entries(&kernel(BE64, &ring, end - 1, end), Extent::Whole, &mut |entry| {
            found.push((entry.level, entry.facility, entry.message()));
            Ok(())
        })
        .unwrap();
        let told: Vec<_> = found.iter().map(|(l, f, m)| (*l, *f, &m[..m.len().min(12)])).collect();
        assert_eq!(
            told,
            [
                (None, None, "?>one"),
                (None, None, "............"),
                (Some(6), Some(3), "after a page"),
                (Some(3), Some(0), "begin."),
            ]
        );
    }

    #[test]
    fn a_full_buffer_is_written_from_where_the_next_character_would_go() {
        for machine in MACHINES {
            assert_eq!(log(&kernel(machine, b"cd\nab\x1b", 4 * 6 + 3, 6)).0, "ab\\x1bcd\n");
        }
    }

    #[test]
    fn a_counter_that_overflowed_is_seen_through_by_the_number_of_characters_kept() {
        assert_eq!(log(&kernel(BE64, b"cd\nab", 3, 5)).0, "abcd\n");
        assert_eq!(log(&kernel(BE64, b"cd\nab", 3, 3)).0, "cd\n");
    }

    #[test]
    fn what_came_after_the_last_clearing_is_as_long_as_the_characters_logged_since() {
        for (buffer, end, logged, expected) in [
            ("abcdefgh", 6, 0, ""),
            ("abcdefgh", 6, 2, "ef"),
            ("efghabcd", 20, 6, "cdefgh"),
            ("ab", 9, 2, "ba"),
        ] {
            let mut out = Vec::new();
            let summary =
                read_extent(&kernel(BE64, buffer.as_bytes(), end, logged), Extent::SinceClear, &mut out)
                    .unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
            assert!(summary.since_clear);
        }
    }

    #[test]
    fn kernels_whose_counters_were_longs_are_read_in_either_byte_order() {
        for machine in MACHINES {
            let mut kernel = kernel(machine, b"abcd", 0, 0);
            kernel.remove(0x1018);
            kernel.put_u32(0x101c, 0);
            kernel.put_word(0x1018, 2);
            assert_eq!(log(&kernel).0, "ab", "{machine:?}");
        }
    }

    #[test]
    fn a_missing_page_leaves_a_gap_and_a_remark() {
        let mut kernel = kernel(BE64, &[b'a'; 3 * 4096], 3 * 4096, 3 * 4096);
        kernel.remove(BUFFER);
        kernel.put(BUFFER, &[b'a'; 4096]);
        kernel.put(BUFFER + 8192, b"b".repeat(4096).as_slice());
        let (text, summary) = log(&kernel);
        assert_eq!(text, "a".repeat(4096) + &"b".repeat(4096));
        assert_eq!((summary.skipped, summary.remarks.len()), (1, 1));
    }

    proptest! {
        #[test]
        fn any_numbers_end_in_a_bounded_log_or_an_error(
            numbers in any::<[u32; 3]>(), buffer in any::<u64>(), machine in prop::sample::select(&MACHINES[..]),
        ) {
            let mut kernel = kernel(machine, b"text\n", numbers[0], numbers[1]);
            kernel.put_u32(0x1010, numbers[2]);
            kernel.put_word(0x1000, if numbers[0] & 1 == 0 { BUFFER } else { buffer });
            let mut out = Vec::new();
            let _ = read_log(&kernel, &mut out);
            prop_assert!(out.len() <= 5);
        }
    }
}
