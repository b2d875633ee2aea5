use super::*;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file whose bytes tell where they are, with a part that cannot be read.
struct Numbers {
    len: u64,
    bad: Range<u64>,
    read: AtomicU64,
    reads: AtomicU64,
}

impl Numbers {
    fn new(len: u64, bad: Range<u64>) -> Arc<Self> {
        Arc::new(Self { len, bad, read: AtomicU64::new(0), reads: AtomicU64::new(0) })
    }
}

fn byte(at: u64) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16) ^ (at >> 24)) as u8
}

impl Content for Numbers {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Failure> {
        let range = Range::new(offset, offset + bytes.len() as u64);
        assert!(range.end <= self.len);
        self.read.fetch_add(range.len(), Ordering::Relaxed);
        self.reads.fetch_add(1, Ordering::Relaxed);
        if !range.intersect(&self.bad).is_empty() {
            return Err(Failure::Made("bad".into()));
        }
        bytes.iter_mut().zip(offset..).for_each(|(b, at)| *b = byte(at));
        Ok(())
    }
}

fn ahead(content: &Arc<Numbers>, room: u64) -> Ahead {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    Ahead::new(Arc::clone(content) as Arc<dyn Content>, Arc::new(pool), room)
}

fn is_right(file: &Ahead, offset: u64, len: u64) -> bool {
    let mut bytes = vec![0; len as usize];
    file.read_at(offset, &mut bytes).is_ok() && bytes.iter().zip(offset..).all(|(b, at)| *b == byte(at))
}

const NONE: Range<u64> = Range { start: 0, end: 0 };

#[test]
fn a_file_that_is_read_in_sequence_is_read_once_and_in_large_pieces() {
    let len = 20 * BLOCK + 12345;
    let content = Numbers::new(len, NONE);
    let file = ahead(&content, 8 << 20);
    for offset in (0..len).step_by(128 << 10) {
        assert!(is_right(&file, offset, (128 << 10).min(len - offset)));
    }
    assert_eq!(content.read.load(Ordering::Relaxed), len);
    let reads = content.reads.load(Ordering::Relaxed);
    assert!(reads < 30, "{reads} reads");
}

#[test]
fn readers_side_by_side_are_read_ahead_each() {
    let len = 40 * BLOCK;
    let content = Numbers::new(len, NONE);
    let file = ahead(&content, 16 << 20);
    let half = len / 2;
    for offset in (0..half).step_by(64 << 10) {
        for place in [offset, half + offset] {
            assert!(is_right(&file, place, 64 << 10));
        }
    }
    // What the first reads ahead at its end is what the other has had.
    let read = content.read.load(Ordering::Relaxed);
    assert!(read <= len + (16 << 20), "{read}");
    let reads = content.reads.load(Ordering::Relaxed);
    assert!(reads < 140, "{reads} reads");
}

#[test]
fn who_reads_here_and_there_has_nothing_read_ahead() {
    let content = Numbers::new(1 << 30, NONE);
    let file = ahead(&content, 16 << 20);
    let mut place = 7u64;
    for _ in 0..1000 {
        place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        assert!(is_right(&file, place % (1 << 29) / 4096 * 4096, 4096));
    }
    // A few of a thousand fall near each other.
    let read = content.read.load(Ordering::Relaxed);
    assert!(read < 1200 * 4096, "{read}");
}

#[test]
fn blocks_held_are_never_more_than_there_is_room_for() {
    let content = Numbers::new(1 << 30, NONE);
    let file = ahead(&content, 4 * BLOCK);
    for step in 0..400u64 {
        let stream = step % 12;
        assert!(is_right(&file, stream * (64 << 20) + step / 12 * (256 << 10), 256 << 10));
        let held: usize = file.streams.lock().unwrap().1.iter().map(|s| s.blocks.len()).sum();
        assert!(held <= 4, "{held}");
    }
}

#[test]
fn a_byte_that_cannot_be_had_is_an_error_of_reads_of_it_and_of_no_other() {
    let len = 10 * BLOCK;
    let bad = Range::new(5 * BLOCK + 8192, 5 * BLOCK + 12288);
    let file = ahead(&Numbers::new(len, bad), 8 << 20);
    for offset in (0..len).step_by(4096) {
        assert_eq!(is_right(&file, offset, 4096), !bad.contains(offset), "{offset:#x}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn whatever_is_asked_for_in_whatever_order_is_what_is_there(
        reads in prop::collection::vec((0u64..6 << 20, 1u64..300_000, any::<bool>()), 1..60),
        room in 0u64..6 << 20,
    ) {
        let len = 6 << 20;
        let file = ahead(&Numbers::new(len, NONE), room);
        let mut at = 0;
        for (place, count, on) in reads {
            at = if on { at } else { place };
            let count = count.min(len - at);
            prop_assert!(is_right(&file, at, count));
            at = if at + count < len { at + count } else { 0 };
        }
    }
}

/// As large parts of memory are.
struct Zeros(u64);

impl Content for Zeros {
    fn len(&self) -> u64 {
        self.0
    }

    fn read_at(&self, _: u64, bytes: &mut [u8]) -> Result<(), Failure> {
        bytes.fill(0);
        Ok(())
    }
}

#[test]
fn zeros_are_read_ahead_without_being_held() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let file = Ahead::new(Arc::new(Zeros(64 << 20)), Arc::new(pool), 8 << 20);
    let mut buffer = Vec::new();
    for offset in (0..64 << 20).step_by(128 << 10) {
        let mut lent = None;
        file.lend(offset, 128 << 10, &mut buffer, &mut |bytes| lent = Some(bytes.iter().all(|b| *b == 0)))
            .unwrap();
        assert_eq!(lent, Some(true));
    }
    let buffers = file.buffers.all().len();
    assert!(buffers <= 3, "{buffers} for two threads and a reader");
}
