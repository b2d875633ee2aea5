//! The journal of a save.
//!
//! An input has records without their checksums: nothing else would come after them. It is also read as it is.

use super::{Seed, Target};
use dumpfile::Written;
use dumpfile::codec::{Choice, Method};
use dumpfile::kdump::Checkpoint;
use save::journal::{Begin, History, Journal, Record, Storage};
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use vmcore::{DumpLevel, PhysAddr, Range};

pub(super) const TARGET: Target = Target { name: "journal", seeds, run };

/// Keeps what is appended.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Storage for Kept {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn seed(records: &[Record]) -> Seed {
    let kept = Kept::default();
    let mut journal = Journal::over(Path::new("journal"), Box::new(kept.clone()));
    records.iter().for_each(|record| journal.append(record).expect("memory takes everything"));
    let text = kept.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let text = String::from_utf8(text).expect("a journal is text");
    let content =
        |line: &str| line.rsplit_once(' ').map_or(String::new(), |(content, _)| format!("{content}\n"));
    let bytes = text.lines().map(content).collect::<String>().into_bytes();
    Seed { hot: vec![0..bytes.len()], bytes }
}

fn seeds() -> Vec<Seed> {
    let begin = Begin {
        dump: 0x5f3a_90c1_d2e4_b687,
        boot: "2f1c9a52-0000".into(),
        output: "/var/crash/a name%".into(),
        method: Choice::One(Some(Method::Zstd)),
        level: Some(-3),
        asked: DumpLevel::new(31).expect("a level"),
        more_kept: true,
        replace: false,
    };
    let plain = Begin { method: Choice::One(None), level: None, boot: String::new(), ..begin.clone() };
    let checkpoint = |next_offset: u64| {
        Record::Checkpoint(Checkpoint {
            next_offset,
            written: Written { data_pages: next_offset / 4096, zero_pages: 17, ..Written::default() },
        })
    };
    let ranges = || {
        vec![
            Range::new(PhysAddr(0x1000_0000), PhysAddr(0x2000_0000)),
            Range::new(PhysAddr(0x3000_0000), PhysAddr(0x3001_0000)),
        ]
    };
    vec![
        seed(&[
            Record::Begin(begin.clone()),
            checkpoint(1 << 30),
            Record::Release(ranges()),
            Record::Released(ranges()),
            checkpoint(3 << 30),
            Record::Boot("77".into()),
            Record::Finished { complete: true },
        ]),
        seed(&[
            Record::Begin(plain.clone()),
            Record::Begin(begin),
            checkpoint(0),
            Record::Boot(String::new()),
        ]),
        seed(&[Record::Begin(plain), Record::Release(ranges()), Record::Finished { complete: false }]),
    ]
}

fn run(bytes: Vec<u8>) -> bool {
    let path = Path::new("journal");
    let _ = std::hint::black_box(History::parse(path, &bytes));
    let mut summed = Vec::new();
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        summed.extend(line);
        if summed.pop_if(|byte| *byte == b'\n').is_some() {
            let mut sum = String::new();
            writeln!(sum, " {:08x}", crc32fast::hash(&line[..line.len() - 1]))
                .expect("a string takes everything");
            summed.extend(sum.into_bytes());
        }
    }
    let Ok((Some(history), good)) = History::parse(path, &summed) else { return false };
    assert!(good <= summed.len());
    std::hint::black_box((history.released_in("77"), history.gone.total()));
    // What is cut off after the good records is read alike.
    let again = History::parse(path, &summed[..good]).expect("its records are good");
    assert_eq!(again, (Some(history), good));
    true
}
