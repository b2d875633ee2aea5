//! The records of a journal and their format.

use crate::line::{self, Words, escape, path_of, unescape};
use dumpfile::Written;
use dumpfile::codec::Choice;
use dumpfile::kdump::Checkpoint;
use std::fmt::Write;
use std::path::PathBuf;
use vmcore::{DumpLevel, PhysAddr, Range};

/// What is being saved, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Identifies the dump, see [`crate::identity`].
    pub dump: u64,
    /// The boot in which it was begun (`/proc/sys/kernel/random/boot_id`); empty where that is not known.
    pub boot: String,
    /// The name that the output gets when it is whole.
    pub output: PathBuf,
    /// How its pages are compressed.
    pub method: Choice,
    /// The compression level, unless it is the method's default.
    pub level: Option<i32>,
    /// The dump level that was asked for; that of the output may be higher.
    pub asked: DumpLevel,
    /// Pages are kept that the level would have left out.
    pub more_kept: bool,
    /// The output may replace another file of its name.
    pub replace: bool,
}

/// One line of the journal, which is text so that it can be read without tools:
///
/// ```text
/// 0 begin version=1 dump=5f3a90c1d2e4b687 boot=2f1c... output=/var/crash/vmcore method=zstd level=default asked=31 more=0 replace=0 9a0b1c2d
/// 1 checkpoint next=1073741824 data=60000 zero=5536 shared=0 raw=12 lost=0 missing=0 unwritten=70000 01234567
/// 2 release 10000000-20000000 89abcdef
/// 3 released 10000000-20000000 76543210
/// ```
///
/// A line begins with its number and ends with the CRC-32 of what is before it. Addresses are hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The first record: what the journal is about. Another may follow if nothing had become durable.
    Begin(Begin),
    /// The save is resumed in this boot.
    Boot(String),
    /// All pages written so far are durable, and so are header, notes and bitmaps of the output.
    Checkpoint(Checkpoint),
    /// These ranges are about to be released, and must not be read from here on.
    Release(Vec<Range<PhysAddr>>),
    /// These ranges were released.
    Released(Vec<Range<PhysAddr>>),
    /// The output is written to its end, durable, and about to get its name.
    Finished {
        /// Whether it has every page.
        complete: bool,
    },
}

/// The line of a record, with its end.
pub(super) fn encode(number: u64, record: &Record) -> String {
    let mut line = format!("{number} ");
    let done = match record {
        Record::Begin(b) => write!(
            line,
            "begin version=1 dump={:016x} boot={} output={} method={} level={} asked={} more={} replace={}",
            b.dump,
            escape(b.boot.as_bytes()),
            escape(b.output.as_os_str().as_encoded_bytes()),
            b.method,
            b.level.map_or("default".to_owned(), |level| level.to_string()),
            b.asked,
            u8::from(b.more_kept),
            u8::from(b.replace)
        ),
        Record::Boot(boot) => write!(line, "boot {}", escape(boot.as_bytes())),
        Record::Checkpoint(Checkpoint { next_offset, written: w }) => write!(
            line,
            "checkpoint next={next_offset} data={} zero={} shared={} raw={} lost={} missing={} unwritten={}",
            w.data_pages,
            w.zero_pages,
            w.shared_pages,
            w.raw_pages,
            w.lost_pages,
            w.missing_pages,
            w.unwritten_pages
        ),
        Record::Release(ranges) => write!(line, "release {}", encode_ranges(ranges)),
        Record::Released(ranges) => write!(line, "released {}", encode_ranges(ranges)),
        Record::Finished { complete } => write!(line, "finished complete={}", u8::from(*complete)),
    };
    done.expect("a string takes everything");
    line::seal(line)
}

fn encode_ranges(ranges: &[Range<PhysAddr>]) -> String {
    let list: Vec<String> = ranges.iter().map(|r| format!("{:x}-{:x}", r.start.0, r.end.0)).collect();
    list.join(",")
}

/// The number and content of a line; `None` when it is cut off or was altered.
pub(super) fn decode(line: &[u8]) -> Option<(u64, Record)> {
    let words = Words::of(line::unseal(line)?);
    let (number, rest) = words.0.split_first()?;
    let (kind, rest) = rest.split_first()?;
    let number = number.parse().ok()?;
    let field = |name: &str| words.field(name);
    let decimal = |name: &str| words.decimal(name);
    let record = match *kind {
        "begin" if field("version") == Some("1") => Record::Begin(Begin {
            dump: u64::from_str_radix(field("dump")?, 16).ok()?,
            boot: String::from_utf8(unescape(field("boot")?)?).ok()?,
            output: path_of(field("output")?)?,
            method: field("method")?.parse().ok()?,
            level: match field("level")? {
                "default" => None,
                level => Some(level.parse().ok()?),
            },
            asked: DumpLevel::new(field("asked")?.parse().ok()?)?,
            more_kept: decimal("more")? == 1,
            // Journals of earlier releases have no such field.
            replace: decimal("replace") == Some(1),
        }),
        "boot" => Record::Boot(String::from_utf8(unescape(rest.first()?)?).ok()?),
        "checkpoint" => Record::Checkpoint(Checkpoint {
            next_offset: decimal("next")?,
            written: Written {
                bytes: decimal("next")?,
                data_pages: decimal("data")?,
                zero_pages: decimal("zero")?,
                shared_pages: decimal("shared")?,
                raw_pages: decimal("raw")?,
                lost_pages: decimal("lost")?,
                missing_pages: decimal("missing")?,
                unwritten_pages: decimal("unwritten")?,
                // Found in the descriptors when the save is resumed.
                compressed_pages: Default::default(),
            },
        }),
        "release" => Record::Release(decode_ranges(rest.first()?)?),
        "released" => Record::Released(decode_ranges(rest.first()?)?),
        "finished" => Record::Finished { complete: decimal("complete")? == 1 },
        _ => return None,
    };
    Some((number, record))
}

/// The most bytes of a first record: the longest path, each byte of it escaped, and the other fields.
pub(super) const MAX_BEGIN: u64 = 3 * 4096 + 1024;

/// Whether a crash can have left these bytes of a first record: its beginning, or zeros that were to become it.
pub(super) fn is_torn_begin(text: &[u8]) -> bool {
    const START: &[u8] = b"0 begin version=1 ";
    let written = text.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
    START.starts_with(&text[..written.min(START.len())])
}

fn decode_ranges(text: &str) -> Option<Vec<Range<PhysAddr>>> {
    let range = |text: &str| {
        let (start, end) = text.split_once('-')?;
        let address = |digits| u64::from_str_radix(digits, 16).ok().map(PhysAddr);
        Some(Range::new(address(start)?, address(end)?))
    };
    text.split(',').filter(|t| !t.is_empty()).map(range).collect()
}
