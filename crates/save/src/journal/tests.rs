use super::record::{decode, encode};
use super::*;
use dumpfile::Written;
use dumpfile::codec::{Choice, Method, Methods};
use dumpfile::kdump::Checkpoint;
use proptest::prelude::*;
use vmcore::{DumpLevel, PhysAddr, Range};

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
                compressed_pages: Default::default(),
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
        method: Choice::One(Some(Method::Zstd)),
        level: Some(-3),
        asked: DumpLevel::ALL,
        more_kept: true,
        replace: true,
    }
}

#[test]
fn methods_that_were_chosen_from_are_recorded() {
    let begin = Begin { method: Choice::Auto(Methods::default()), ..begin() };
    let line = encode(0, &Record::Begin(begin.clone()));
    assert!(line.contains(" method=auto:none,"), "{line}");
    assert_eq!(decode(line.as_bytes()), Some((0, Record::Begin(begin))));
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
fn what_is_no_journal_is_refused_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    let first = encode(0, &Record::Begin(begin()));
    let newer = first.replace("version=1", "version=2");
    for text in ["precious\nnotes\n", "0 begin the day with a walk", &newer, &"\0".repeat(1 << 20)] {
        std::fs::write(&path, text).unwrap();
        assert!(matches!(Journal::resume(&path), Err(Error::NotAJournal { .. })), "{text}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    // What a crash leaves of the first record is a journal in which nothing happened.
    for torn in ["", &first[..9], &first[..first.len() - 1], "\0\0\0\0", &format!("{}\0\0", &first[..30])] {
        std::fs::write(&path, torn).unwrap();
        assert!(Journal::resume(&path).unwrap().1.is_none(), "{torn}");
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }
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
