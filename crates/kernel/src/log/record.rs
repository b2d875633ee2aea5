//! The log as a ring of records, Linux 3.5 to 5.9.
//!
//! `log_buf` points to `log_buf_len` bytes. Records lie one after another from `log_first_idx` to before
//! `log_next_idx`, each a header (kernel: `struct printk_log`, `struct log` before 3.11) with the record's whole
//! length, then its text. A header with length 0, or too little room for one, sends the reader back to the
//! buffer's start (kernel: `log_next` in `kernel/printk/printk.c`).

use super::entry::{self, Entry};
use super::text::Caller;
use super::{Each, Extent, LogError, Progress, clear, offset, size, symbol};
use crate::{Error, KernelMemory};
use vmcore::VirtAddr;

/// The kernel's `LOG_BUF_LEN_MAX`.
const MAX_LEN: u32 = 1 << 31;

/// Where the header's fields are.
struct Layout {
    size: usize,
    ts_nsec: usize,
    len: usize,
    text_len: usize,
    /// A byte for the facility, and one for flags and level. VMCOREINFO does not have them: they lie between the length of
    /// the dictionary and what comes next. Before 3.11, when the structure was called `log`, they may be something else.
    facility: Option<usize>,
    /// Only in kernels with `CONFIG_PRINTK_CALLER`.
    caller_id: Option<usize>,
}

impl Layout {
    fn of(memory: &dyn KernelMemory) -> Result<Self, Error> {
        let name = if memory.info().size("log").is_some() { "log" } else { "printk_log" };
        let size = size(memory, name, 4096)?;
        let field = |field: &str, width| offset(memory, &format!("{name}.{field}"), width, size);
        let optional = |name, width| match field(name, width) {
            Err(Error::MissingKey { .. }) => Ok(None),
            other => other.map(Some),
        };
        let caller_id = optional("caller_id", 4)?;
        let facility = optional("dict_len", 2)?.map(|at| at + 2);
        let facility = facility.filter(|at| name == "printk_log" && at + 2 == caller_id.unwrap_or(size));
        Ok(Self {
            size,
            ts_nsec: field("ts_nsec", 8)?,
            len: field("len", 2)?,
            text_len: field("text_len", 2)?,
            facility,
            caller_id,
        })
    }
}

/// What the record's header and its neighbours say.
struct Record {
    len: u32,
    text_len: u32,
    ts_nsec: u64,
    level: Option<u8>,
    facility: Option<u32>,
    caller: Option<Caller>,
}

struct Reader<'a> {
    memory: &'a dyn KernelMemory,
    layout: Layout,
    buffer: u64,
    buffer_len: u32,
    header: Vec<u8>,
}

impl Reader<'_> {
    fn record(&mut self, at: u32) -> Result<Record, Error> {
        let machine = self.memory.machine();
        self.memory.read(self.addr(at), &mut self.header)?;
        let Layout { ts_nsec, len, text_len, facility, caller_id, .. } = self.layout;
        Ok(Record {
            len: machine.u16(&self.header[len..]).into(),
            text_len: machine.u16(&self.header[text_len..]).into(),
            ts_nsec: machine.u64(&self.header[ts_nsec..]),
            level: facility.map(|at| entry::level(machine, self.header[at + 1])),
            facility: facility.map(|at| self.header[at].into()),
            caller: caller_id.map(|at| Caller(machine.u32(&self.header[at..]))),
        })
    }

    fn addr(&self, at: u32) -> VirtAddr {
        VirtAddr(self.buffer.wrapping_add(at.into()))
    }

    /// Reports whether a header fits at `at`; the kernel starts over where it does not.
    fn has_header(&self, at: u32) -> bool {
        self.buffer_len.checked_sub(at).is_some_and(|room| room as usize >= self.layout.size)
    }
}

pub(super) fn read(
    memory: &dyn KernelMemory,
    extent: Extent,
    each: &mut Each<'_>,
    progress: &mut Progress,
) -> Result<(), LogError> {
    let layout = Layout::of(memory)?;
    let buffer = memory.read_word(symbol(memory, "log_buf")?)?;
    let number = |name, most: u32| -> Result<u32, Error> {
        let addr = symbol(memory, name)?;
        let found = memory.read_u32(addr)?;
        if found > most {
            let (what, expected) = (String::from(name), format!("at most {most}"));
            return Err(Error::Implausible { what, addr, found: found.to_string(), expected });
        }
        Ok(found)
    };
    let buffer_len = number("log_buf_len", MAX_LEN)?;
    let first = number("log_first_idx", buffer_len)?;
    let next = number("log_next_idx", buffer_len)?;
    let header = vec![0; layout.size];
    let mut reader = Reader { memory, layout, buffer, buffer_len, header };
    if extent == Extent::SinceClear
        && let Some(cleared) = clear::index(memory)?
    {
        // Once the ring has gone around, nothing begins there, and all that is left came later.
        let begins = has_record(&mut reader, first, next, cleared);
        progress.summary.since_clear = true;
        return walk(&mut reader, if begins { cleared } else { first }, next, each, progress);
    }
    walk(&mut reader, first, next, each, progress)
}

/// Reports whether a record begins at `wanted`, or the next one will.
fn has_record(reader: &mut Reader<'_>, first: u32, next: u32, wanted: u32) -> bool {
    let (mut at, mut wrapped) = (first, false);
    loop {
        if at == wanted {
            return true;
        }
        if at == next {
            return false;
        }
        let len = match reader.has_header(at) {
            // The walk that writes says what cannot be read.
            true => reader.record(at).map_or(u32::MAX, |record| record.len),
            false => 0,
        };
        if len >= reader.layout.size as u32 && len <= reader.buffer_len - at {
            at += len;
        } else if len == 0 && !wrapped {
            (at, wrapped) = (0, true);
        } else {
            return false;
        }
    }
}

/// Writes the records from `first` on until `next` is reached.
fn walk(
    reader: &mut Reader<'_>,
    first: u32,
    next: u32,
    each: &mut Each<'_>,
    progress: &mut Progress,
) -> Result<(), LogError> {
    let mut text = Vec::new();
    let mut at = first;
    let mut wrapped = false;
    // A way around the ring ends at `next`, so one that passes it or comes to the end twice is damaged. As every
    // record is at least a header long, the walk is over after two rings' worth of headers.
    while at != next {
        let record = if reader.has_header(at) { Some(reader.record(at)) } else { None };
        let record = match record {
            Some(Ok(record)) if record.len != 0 => record,
            Some(Err(error)) => {
                progress.skip(|| format!("the record at {at:#x} of the log, and all after it: {error}"));
                return Ok(());
            }
            _ if wrapped || first <= next => {
                progress.skip(|| format!("the log ends at {at:#x} and not at log_next_idx {next:#x}"));
                return Ok(());
            }
            _ => {
                wrapped = true;
                at = 0;
                continue;
            }
        };
        let size = reader.layout.size as u32;
        let end = if at < next { next } else { reader.buffer_len };
        if record.len < size || record.len > end - at {
            let Record { len, .. } = record;
            progress.skip(|| {
                format!(
                    "the record at {at:#x} of the log, and all after it: its length is {len}, expected {size} to {}",
                    end - at
                )
            });
            return Ok(());
        }
        if record.text_len > record.len - size {
            let Record { len, text_len, .. } = record;
            progress.skip(|| format!("the record at {at:#x} of the log: {text_len} bytes of text in {len}"));
        } else {
            text.resize(record.text_len as usize, 0);
            match reader.memory.read(reader.addr(at + size), &mut text) {
                Ok(()) => {
                    let Record { ts_nsec, level, facility, caller, .. } = record;
                    each(&Entry { ts_nsec: Some(ts_nsec), level, facility, caller, text: &text })?;
                    progress.summary.records += 1;
                }
                Err(error) => {
                    progress.skip(|| format!("the text of the record at {at:#x} of the log: {error}"));
                }
            }
        }
        at += record.len;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::log::{Extent, LogFormat, LogSummary, read_entries, read_extent, read_log};
    use crate::testing::{FakeKernel, LE64, MACHINES};
    use proptest::prelude::*;
    use vmcore::Machine;

    const BUFFER: u64 = 0x10_0000;
    const HEAD: &str = "SYMBOL(log_buf)=1000\nSYMBOL(log_buf_len)=1010\nSYMBOL(log_first_idx)=1014\n\
        SYMBOL(log_next_idx)=1018\nSIZE(printk_log)=16\nOFFSET(printk_log.ts_nsec)=0\n\
        OFFSET(printk_log.len)=8\nOFFSET(printk_log.text_len)=10\nOFFSET(printk_log.dict_len)=12\n";

    fn kernel(machine: Machine, buffer: &[u8], first: u32, next: u32) -> FakeKernel {
        let mut kernel = FakeKernel::new(machine);
        kernel.set_info(HEAD);
        kernel.put_word(0x1000, BUFFER);
        kernel.put_u32(0x1010, buffer.len() as u32);
        kernel.put_u32(0x1014, first);
        kernel.put_u32(0x1018, next);
        kernel.put(BUFFER, buffer);
        kernel
    }

    /// A record as the kernel stores it, padded to eight bytes.
    fn stored(machine: Machine, seconds: u64, text: &str) -> Vec<u8> {
        let mut record = machine.order.put_u64(seconds * 1_000_000_000).to_vec();
        record.extend(machine.order.put_u16((16 + text.len()).next_multiple_of(8) as u16));
        record.extend(machine.order.put_u16(text.len() as u16));
        record.extend([0; 4]);
        record.extend(text.as_bytes());
        record.resize(record.len().next_multiple_of(8), 0);
        record
    }

    fn log(kernel: &FakeKernel) -> (String, LogSummary) {
        let mut out = Vec::new();
        let summary = read_log(kernel, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), summary)
    }

    #[test]
    fn records_are_written_from_the_first_to_before_the_next() {
        for machine in MACHINES {
            let mut buffer = b"old junk".to_vec();
            buffer.extend(stored(machine, 1, "one"));
            buffer.extend(stored(machine, 2, "two\nlines"));
            let next = buffer.len() as u32;
            buffer.resize(200, 0xff);
            let (text, summary) = log(&kernel(machine, &buffer, 8, next));
            assert_eq!(text, "[    1.000000] one\n[    2.000000] two\n               lines\n");
            assert_eq!((summary.format, summary.records, summary.skipped), (LogFormat::Records, 2, 0));
            assert!(summary.remarks.is_empty());
        }
    }

    #[test]
    fn a_buffer_may_have_2_gib_and_no_more() {
        for (len, opens) in [(1u32 << 31, true), ((1 << 31) + 1, false)] {
            let buffer = stored(LE64, 1, "one");
            let mut kernel = kernel(LE64, &buffer, 0, buffer.len() as u32);
            kernel.remove(0x1010);
            kernel.put_u32(0x1010, len);
            let mut out = Vec::new();
            match read_log(&kernel, &mut out) {
                Ok(_) => assert!(opens && out == b"[    1.000000] one\n", "{len}"),
                Err(error) => assert!(!opens && error.to_string().contains("at most 2147483648"), "{error}"),
            }
        }
    }

    #[test]
    fn a_ring_starts_over_at_an_empty_header_and_where_no_header_fits() {
        for machine in MACHINES {
            for rest in [16, 40, 8, 0] {
                let mut buffer = stored(machine, 3, "three");
                let next = buffer.len() as u32;
                let first = next + 8;
                buffer.resize(first as usize, 0xff);
                buffer.extend(stored(machine, 2, "two"));
                buffer.resize(buffer.len() + rest, 0);
                let (text, summary) = log(&kernel(machine, &buffer, first, next));
                assert_eq!(text, "[    2.000000] two\n[    3.000000] three\n");
                assert!(summary.remarks.is_empty(), "{rest}: {summary:?}");
            }
        }
    }

    #[test]
    fn what_came_before_the_last_clearing_is_left_out_if_the_ring_still_has_its_place() {
        let all = ["one", "two", "three"];
        for (index, expected, told) in [
            (None, &all[..], false),
            (Some(0), &all, false),
            (Some(56), &all[1..], true),
            (Some(24), &[], true),
            (Some(40), &all, true),
        ] {
            let mut buffer = stored(LE64, 3, "three");
            buffer.resize(32, 0xff);
            buffer.extend(stored(LE64, 1, "one"));
            buffer.extend(stored(LE64, 2, "two"));
            let mut kernel = kernel(LE64, &buffer, 32, 24);
            if let Some(index) = index {
                kernel.set_info(&format!("{HEAD}SYMBOL(clear_idx)=101c\n"));
                kernel.put_u32(0x101c, index);
            }
            let mut out = Vec::new();
            let summary = read_extent(&kernel, Extent::SinceClear, &mut out).unwrap();
            let texts: Vec<_> = out.split(|&b| b == b'\n').filter_map(|line| line.get(15..)).collect();
            assert_eq!(texts, expected.iter().map(|text| text.as_bytes()).collect::<Vec<_>>(), "{index:?}");
            assert_eq!(summary.since_clear, told, "{index:?}");
        }
    }

    #[test]
    fn an_empty_log_has_no_records() {
        let (text, summary) = log(&kernel(LE64, &[0; 64], 24, 24));
        assert_eq!((text.as_str(), summary.records, summary.remarks.len()), ("", 0, 0));
    }

    #[test]
    fn the_structure_had_another_name_before_3_11_and_may_tell_the_caller_since_5_1() {
        let mut buffer = stored(LE64, 1, "one");
        let mut renamed = kernel(LE64, &buffer, 0, 24);
        renamed.set_info(&HEAD.replace("printk_log", "log"));
        assert_eq!(log(&renamed).0, "[    1.000000] one\n");
        buffer[12..16].copy_from_slice(&[9, 0, 0, 0]);
        let mut called = kernel(LE64, &buffer, 0, 24);
        called.set_info(&format!("{HEAD}OFFSET(printk_log.caller_id)=12\n"));
        assert_eq!(log(&called).0, "[    1.000000] [      T9] one\n");
    }

    #[test]
    fn level_and_facility_are_told_since_the_structure_has_its_new_name() {
        for machine in MACHINES {
            let mut buffer = stored(machine, 1, "one");
            buffer[14] = 1;
            buffer[15] = match machine.order {
                vmcore::ByteOrder::Little => 4 << 5 | 0b110,
                vmcore::ByteOrder::Big => 0b110 << 3 | 4,
            };
            for (name, expected) in [("printk_log", Some((4, 1))), ("log", None)] {
                let mut kernel = kernel(machine, &buffer, 0, 24);
                kernel.set_info(&HEAD.replace("printk_log", name));
                let mut found = Vec::new();
                let _ = read_entries(&kernel, Extent::Whole, &mut |entry| {
                    found.push(entry.level.zip(entry.facility));
                    Ok(())
                })
                .unwrap();
                assert_eq!(found, [expected], "{machine:?}");
            }
        }
    }

    #[test]
    fn a_text_longer_than_its_record_costs_that_record_only() {
        let mut buffer = stored(LE64, 1, "one");
        buffer[10..12].copy_from_slice(&[9, 0]);
        buffer.extend(stored(LE64, 2, "two"));
        let (text, summary) = log(&kernel(LE64, &buffer, 0, 48));
        assert_eq!(text, "[    2.000000] two\n");
        assert_eq!((summary.records, summary.skipped, summary.remarks.len()), (1, 1, 1));
    }

    #[test]
    fn a_length_that_leads_nowhere_ends_the_log_after_what_came_before() {
        for len in [1u16, 15, 25, 0xffff, 0] {
            let mut buffer = stored(LE64, 1, "one");
            buffer.extend(stored(LE64, 2, "two"));
            buffer[32..34].copy_from_slice(&len.to_le_bytes());
            let (text, summary) = log(&kernel(LE64, &buffer, 0, 48));
            assert_eq!(text, "[    1.000000] one\n", "{len}");
            assert_eq!((summary.skipped, summary.remarks.len()), (1, 1), "{len}");
        }
    }

    #[test]
    fn an_index_outside_the_buffer_is_an_error_that_names_it() {
        let error = read_log(&kernel(LE64, &[0; 64], 65, 0), &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "log_first_idx at 0x1014 is 65, expected at most 64");
    }

    #[test]
    fn a_missing_offset_is_named() {
        let mut kernel = kernel(LE64, &[0; 64], 0, 0);
        kernel.set_info(&HEAD.replace("OFFSET(printk_log.len)=8\n", ""));
        let error = read_log(&kernel, &mut Vec::new()).unwrap_err().to_string();
        assert_eq!(error, "VMCOREINFO has no OFFSET(printk_log.len), which the kernel log needs");
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_a_bounded_log(
            buffer in prop::collection::vec(prop::sample::select(&[0u8, 0, 1, 16, 24, 255][..]), 0..400),
            first in 0u32..400, next in 0u32..400, machine in prop::sample::select(&MACHINES[..]),
        ) {
            let mut out = Vec::new();
            if let Ok(summary) = read_log(&kernel(machine, &buffer, first, next), &mut out) {
                prop_assert!(summary.records <= 2 * buffer.len() as u64 / 16);
            }
        }
    }
}
