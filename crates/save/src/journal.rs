//! What is durable and what was given back, on the disk before anything depends on it.
//!
//! A text file, a record a line, so that whoever finds it at night can read it:
//!
//! ```text
//! 0 begin version=1 dump=5f3a90c1d2e4b687 boot=2f1c... output=/var/crash/vmcore method=zstd level=default asked=31 more=0 9a0b1c2d
//! 1 checkpoint next=1073741824 data=60000 zero=5536 shared=0 raw=12 lost=0 missing=0 unwritten=70000 01234567
//! 2 release 10000000-20000000 89abcdef
//! 3 released 10000000-20000000 76543210
//! ```
//!
//! Each line ends with the CRC-32 of what stands before it. A record is appended and made durable before the next is
//! written, so a crash tears at most the last one, and a torn last record was never acted upon: it is dropped. A bad
//! record with a good one behind it cannot come of a crash. It is damage, and refused: a journal that forgets what was
//! given back would make a tool read pages that belong to somebody else by now.

use crate::Error;
use crate::target::sync_directory;
use dumpfile::Written;
use dumpfile::codec::Method;
use dumpfile::kdump::Checkpoint;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use vmcore::{DumpLevel, PhysAddr, Range, RangeSet};

/// The most bytes of a journal that are read: a save of 100 TiB writes a tenth of that.
const MAX_LEN: u64 = 256 << 20;

/// What is being saved, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Tells one dump from another, see [`crate::identity`].
    pub dump: u64,
    /// The boot in which it was begun (`/proc/sys/kernel/random/boot_id`); empty where nothing tells.
    pub boot: String,
    /// The name that the output gets when it is whole.
    pub output: PathBuf,
    /// How its pages are compressed.
    pub method: Option<Method>,
    /// How hard, when not as the method does by itself.
    pub level: Option<i32>,
    /// The dump level that was asked for; that of the output may be higher.
    pub asked: DumpLevel,
    /// Pages are kept that the level would have left out.
    pub more_kept: bool,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The first: what this is about. Where nothing came of that, another may follow.
    Begin(Begin),
    /// The save goes on in this boot.
    Boot(String),
    /// All pages written so far are durable, and so are header, notes and bitmaps of the output.
    Checkpoint(Checkpoint),
    /// These ranges are about to be given back: nobody may read them from here on.
    Release(Vec<Range<PhysAddr>>),
    /// They were given back.
    Released(Vec<Range<PhysAddr>>),
    /// The output is as whole as it gets, durable, and about to take its name.
    Finished {
        /// It lacks nothing.
        complete: bool,
    },
}

/// Where records go: a file, or a test's idea of one.
pub trait Storage: Send {
    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything appended durable.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn sync(&mut self) -> io::Result<()>;
}

impl Storage for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Takes everything and keeps nothing.
struct Nowhere;

impl Storage for Nowhere {
    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A journal to write to.
pub struct Journal {
    path: PathBuf,
    storage: Box<dyn Storage>,
    next: u64,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("path", &self.path).field("next", &self.next).finish_non_exhaustive()
    }
}

impl Journal {
    /// Begins a journal in a new file at `path`, readable by its owner alone, and locks it.
    ///
    /// # Errors
    ///
    /// When there is such a file, or the system refuses.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.append(true).create_new(true).mode(0o600).custom_flags(NOFOLLOW);
        let file = options.open(path).map_err(journal_error(path, "begin it"))?;
        lock(&file, path)?;
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            sync_directory(parent).map_err(journal_error(path, "make its name durable"))?;
        }
        Ok(Self::over(path, Box::new(file)))
    }

    /// Begins a journal in `storage`, which is empty; `path` names it in messages.
    pub fn over(path: &Path, storage: Box<dyn Storage>) -> Self {
        Self { path: path.to_owned(), storage, next: 0 }
    }

    /// A journal of what nobody can go on with.
    pub fn nowhere() -> Self {
        Self::over(Path::new("-"), Box::new(Nowhere))
    }

    /// The same journal with `wrap` around its storage.
    #[must_use]
    pub fn wrapped(self, wrap: impl FnOnce(Box<dyn Storage>) -> Box<dyn Storage>) -> Self {
        Self { storage: wrap(self.storage), ..self }
    }

    /// Opens the journal at `path` to go on with it: locks it, reads it, cuts off a torn last record. It tells nothing when
    /// its first record was never whole.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is damaged, or another process has it.
    pub fn resume(path: &Path) -> Result<(Self, Option<History>), Error> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).custom_flags(NOFOLLOW);
        let mut file = options.open(path).map_err(journal_error(path, "open it"))?;
        lock(&file, path)?;
        let mut text = Vec::new();
        (&mut file).take(MAX_LEN).read_to_end(&mut text).map_err(journal_error(path, "read it"))?;
        let (history, good) = History::parse(path, &text)?;
        file.set_len(good as u64).map_err(journal_error(path, "cut off its torn end"))?;
        file.sync_data().map_err(journal_error(path, "make it durable"))?;
        let next = history.as_ref().map_or(0, |h| h.records);
        Ok((Self { path: path.to_owned(), storage: Box::new(file), next }, history))
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a record and makes it durable.
    ///
    /// # Errors
    ///
    /// When the system refuses. The record may be there or not, then.
    pub fn append(&mut self, record: &Record) -> Result<(), Error> {
        let line = encode(self.next, record);
        let done = self.storage.append(line.as_bytes()).and_then(|()| self.storage.sync());
        done.map_err(journal_error(&self.path, "append to it"))?;
        self.next += 1;
        Ok(())
    }
}

const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;

fn journal_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Journal { path, action, source }
}

fn lock(file: &File, path: &Path) -> Result<(), Error> {
    use rustix::fs::{FlockOperation, flock};
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::AGAIN) => Err(Error::Busy { path: path.to_owned() }),
        // File systems without locks: nothing to be had.
        _ => Ok(()),
    }
}

/// What a journal tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// What is being saved.
    pub begin: Begin,
    /// The last boot that worked on it.
    pub boot: String,
    /// The last durable state of the output; without one it is begun anew.
    pub checkpoint: Option<Checkpoint>,
    /// What was given back, or may have been: nobody may read it.
    pub gone: RangeSet<PhysAddr>,
    /// What was given back for certain, in [`History::boot`].
    pub released: RangeSet<PhysAddr>,
    /// The output was about to take its name.
    pub finished: Option<bool>,
    records: u64,
}

impl History {
    /// Reads the bytes of the journal at `path`; answers how many of them are good records, which those of a torn last
    /// one are not. It tells nothing when its first record was never whole.
    ///
    /// # Errors
    ///
    /// [`Error::JournalDamaged`] when a bad record has a good one behind it, or records are not in order.
    pub fn parse(path: &Path, text: &[u8]) -> Result<(Option<Self>, usize), Error> {
        let damaged = |offset: usize, found: &str, expected: &'static str| Error::JournalDamaged {
            path: path.to_owned(),
            offset: offset as u64,
            found: found.to_owned(),
            expected,
        };
        let mut history: Option<Self> = None;
        let (mut good, mut at, mut torn) = (0, 0, None);
        for line in text.split_inclusive(|&b| b == b'\n') {
            let start = at;
            at += line.len();
            let expected = history.as_ref().map_or(0, |h| h.records);
            let Some((number, record)) = decode(line) else {
                torn.get_or_insert(start);
                continue;
            };
            if let Some(torn) = torn {
                return Err(damaged(
                    torn,
                    "a record that its checksum does not fit",
                    "records without a gap",
                ));
            }
            if number != expected {
                let found = format!("record {number}");
                return Err(damaged(start, &found, "records numbered one by one"));
            }
            match (&mut history, record) {
                (None, Record::Begin(begin)) => history = Some(Self::new(begin)),
                (Some(history), record) => {
                    if !history.apply(record) {
                        return Err(damaged(start, "a beginning behind a checkpoint", "one beginning"));
                    }
                }
                (None, _) => return Err(damaged(start, "another record", "a beginning")),
            }
            good = at;
        }
        Ok((history, good))
    }

    fn new(begin: Begin) -> Self {
        Self {
            boot: begin.boot.clone(),
            begin,
            checkpoint: None,
            gone: RangeSet::default(),
            released: RangeSet::default(),
            finished: None,
            records: 1,
        }
    }

    /// What is given back for certain when this is the boot `boot`.
    pub fn released_in(&self, boot: &str) -> RangeSet<PhysAddr> {
        if boot.is_empty() || boot != self.boot { RangeSet::default() } else { self.released.clone() }
    }

    fn apply(&mut self, record: Record) -> bool {
        match record {
            // Nothing came of the first attempt, and it was begun anew.
            Record::Begin(begin) if self.checkpoint.is_none() && self.gone.is_empty() => {
                self.boot = begin.boot.clone();
                self.begin = begin;
            }
            Record::Begin(_) => return false,
            Record::Boot(boot) => {
                // A new boot keeps everything back again; what was overwritten since stays overwritten.
                if boot != self.boot || boot.is_empty() {
                    self.released = RangeSet::default();
                }
                self.boot = boot;
            }
            Record::Checkpoint(checkpoint) => self.checkpoint = Some(checkpoint),
            Record::Release(ranges) => ranges.into_iter().for_each(|r| self.gone.insert(r)),
            Record::Released(ranges) => ranges.into_iter().for_each(|r| self.released.insert(r)),
            Record::Finished { complete } => self.finished = Some(complete),
        }
        self.records += 1;
        true
    }
}

fn encode(number: u64, record: &Record) -> String {
    let mut line = format!("{number} ");
    let done = match record {
        Record::Begin(b) => write!(
            line,
            "begin version=1 dump={:016x} boot={} output={} method={} level={} asked={} more={}",
            b.dump,
            escape(b.boot.as_bytes()),
            escape(b.output.as_os_str().as_encoded_bytes()),
            b.method.map_or("none", Method::name),
            b.level.map_or("default".to_owned(), |level| level.to_string()),
            b.asked,
            u8::from(b.more_kept)
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
    let crc = crc32fast::hash(line.as_bytes());
    line + &format!(" {crc:08x}\n")
}

fn encode_ranges(ranges: &[Range<PhysAddr>]) -> String {
    let list: Vec<String> = ranges.iter().map(|r| format!("{:x}-{:x}", r.start.0, r.end.0)).collect();
    list.join(",")
}

/// The number and content of a line; `None` when it is cut, or not what was written.
fn decode(line: &[u8]) -> Option<(u64, Record)> {
    let line = str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (content, crc) = line.rsplit_once(' ')?;
    if crc.len() != 8 || u32::from_str_radix(crc, 16).ok()? != crc32fast::hash(content.as_bytes()) {
        return None;
    }
    let mut words = content.split(' ');
    let number = words.next()?.parse().ok()?;
    let kind = words.next()?;
    let rest: Vec<&str> = words.collect();
    let field = |name: &str| rest.iter().find_map(|w| w.strip_prefix(name)?.strip_prefix('='));
    let decimal = |name: &str| field(name)?.parse::<u64>().ok();
    let record = match kind {
        "begin" if field("version") == Some("1") => Record::Begin(Begin {
            dump: u64::from_str_radix(field("dump")?, 16).ok()?,
            boot: String::from_utf8(unescape(field("boot")?)?).ok()?,
            output: bytes_to_path(unescape(field("output")?)?),
            method: match field("method")? {
                "none" => None,
                name => Some(Method::ALL.into_iter().find(|m| m.name() == name)?),
            },
            level: match field("level")? {
                "default" => None,
                level => Some(level.parse().ok()?),
            },
            asked: DumpLevel::new(field("asked")?.parse().ok()?)?,
            more_kept: decimal("more")? == 1,
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
            },
        }),
        "release" => Record::Release(decode_ranges(rest.first()?)?),
        "released" => Record::Released(decode_ranges(rest.first()?)?),
        "finished" => Record::Finished { complete: decimal("complete")? == 1 },
        _ => return None,
    };
    Some((number, record))
}

fn decode_ranges(text: &str) -> Option<Vec<Range<PhysAddr>>> {
    let range = |text: &str| {
        let (start, end) = text.split_once('-')?;
        let address = |digits| u64::from_str_radix(digits, 16).ok().map(PhysAddr);
        Some(Range::new(address(start)?, address(end)?))
    };
    text.split(',').filter(|t| !t.is_empty()).map(range).collect()
}

/// Percent signs for what is no plain visible ASCII.
fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &b in bytes {
        if b.is_ascii_graphic() && b != b'%' {
            out.push(b.into());
        } else {
            out.push_str(&format!("%{b:02x}"));
        }
    }
    out
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&b, after)) = rest.split_first() {
        if b == b'%' {
            let digits = str::from_utf8(after.get(..2)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            out.push(b);
            rest = after;
        }
    }
    Some(out)
}

fn bytes_to_path(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_range() -> impl Strategy<Value = Range<PhysAddr>> {
        (0u64..1 << 50, 0u64..1 << 40).prop_map(|(s, l)| Range::new(PhysAddr(s), PhysAddr(s + l)))
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let ranges = || prop::collection::vec(any_range(), 1..4);
        prop_oneof![
            ".{0,20}".prop_map(Record::Boot),
            any::<[u32; 8]>().prop_map(|n| {
                let n = n.map(u64::from);
                let written = Written {
                    bytes: n[6],
                    data_pages: n[1],
                    zero_pages: n[2],
                    shared_pages: n[7],
                    raw_pages: n[3],
                    lost_pages: n[4],
                    missing_pages: n[5],
                    unwritten_pages: n[0],
                };
                Record::Checkpoint(Checkpoint { next_offset: n[6], written })
            }),
            ranges().prop_map(Record::Release),
            ranges().prop_map(Record::Released),
            any::<bool>().prop_map(|complete| Record::Finished { complete }),
        ]
    }

    fn begin() -> Begin {
        Begin {
            dump: 0x1234,
            boot: "a boot".into(),
            output: "/var/crash/a b%/vmcore".into(),
            method: Some(Method::Zstd),
            level: Some(-3),
            asked: DumpLevel::ALL,
            more_kept: true,
        }
    }

    fn history(text: &[u8]) -> Result<(Option<History>, usize), Error> {
        History::parse(Path::new("vmcore.journal"), text)
    }

    proptest! {
        #[test]
        fn records_read_back_as_they_were_written(number: u64, record in any_record()) {
            prop_assert_eq!(decode(encode(number, &record).as_bytes()), Some((number, record)));
        }

        #[test]
        fn a_journal_cut_anywhere_tells_what_its_whole_records_tell(
            records in prop::collection::vec(any_record(), 0..6), cut in 0.0..1.0f64, garbage in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut text = encode(0, &Record::Begin(begin())).into_bytes();
            let mut ends = vec![text.len()];
            for (n, record) in records.iter().enumerate() {
                text.extend(encode(n as u64 + 1, record).into_bytes());
                ends.push(text.len());
            }
            let cut = (text.len() as f64 * cut) as usize;
            let whole = ends.iter().filter(|e| **e <= cut).count();
            text.truncate(cut);
            // What was not durable may hold anything.
            text.extend(garbage);
            let (history, good) = history(&text).unwrap();
            prop_assert_eq!(history.map_or(0, |h| h.records), whole as u64);
            prop_assert_eq!(good, whole.checked_sub(1).map_or(0, |last| ends[last]));
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = history(&bytes);
        }
    }

    #[test]
    fn a_bad_record_with_a_good_one_behind_it_is_damage() {
        let mut text = encode(0, &Record::Begin(begin()));
        let torn = text.len();
        text += &encode(1, &Record::Release(vec![Range::new(PhysAddr(0), PhysAddr(4096))]));
        let mut spoiled = text.clone().into_bytes();
        spoiled[torn + 12] ^= 1;
        assert_eq!(history(&spoiled).unwrap().0.unwrap().records, 1, "a torn last record never happened");
        spoiled.extend(encode(2, &Record::Finished { complete: true }).into_bytes());
        let error = history(&spoiled).unwrap_err();
        let expected = format!("offset {torn:#x}");
        assert!(error.to_string().contains(&expected), "{error}");
        // A record that is missing altogether is damage too.
        text += &encode(3, &Record::Finished { complete: true });
        assert!(history(text.as_bytes()).is_err());
    }

    #[test]
    fn a_new_boot_keeps_back_again_what_was_released_and_it_stays_unreadable() {
        let range = Range::new(PhysAddr(0x1000), PhysAddr(0x3000));
        let records = [
            Record::Begin(begin()),
            Record::Release(vec![range]),
            Record::Released(vec![range]),
            Record::Boot("another".into()),
        ];
        let text: String = records.iter().enumerate().map(|(n, r)| encode(n as u64, r)).collect();
        let history = history(text.as_bytes()).unwrap().0.unwrap();
        assert!(history.released.is_empty());
        assert_eq!(history.gone.total(), 0x2000);
        assert_eq!(history.boot, "another");
    }

    #[test]
    fn a_journal_on_disk_is_locked_and_goes_on_where_it_was_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vmcore.journal");
        let mut journal = Journal::create(&path).unwrap();
        journal.append(&Record::Begin(begin())).unwrap();
        assert!(matches!(Journal::resume(&path), Err(Error::Busy { .. })));
        drop(journal);
        assert!(Journal::create(&path).is_err(), "an existing journal is not written over");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend(b"1 checkpoint next=12");
        std::fs::write(&path, &bytes).unwrap();
        let (mut journal, history) = Journal::resume(&path).unwrap();
        assert_eq!(history.unwrap().checkpoint, None);
        journal.append(&Record::Finished { complete: false }).unwrap();
        drop(journal);
        let history = Journal::resume(&path).unwrap().1.unwrap();
        assert_eq!((history.finished, history.begin), (Some(false), begin()));
    }
}
