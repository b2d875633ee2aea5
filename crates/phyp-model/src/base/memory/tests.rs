use super::*;

#[test]
fn a_snapshot_does_not_see_later_writes() {
    let mut memory = Memory::new(4 << 40);
    memory.write(3 << 40, b"before").unwrap();
    let snapshot = memory.clone();
    memory.write(3 << 40, b"after!").unwrap();
    assert_eq!(snapshot.bytes(3 << 40, 6).unwrap(), b"before");
    assert_eq!(memory.bytes(3 << 40, 6).unwrap(), b"after!");
}

#[test]
fn a_pattern_names_the_address_it_stands_at() {
    let mut memory = Memory::new(1 << 20);
    memory.fill(Extent::new(0x1_0003, 0x2_0000), *b"PATTERN!").unwrap();
    let bytes = memory.bytes(0x2_0000, 16).unwrap();
    assert_eq!(&bytes[..8], b"PATTERN!");
    assert_eq!(bytes[8..], 0x2_0000u64.to_be_bytes());
    assert_eq!(memory.bytes(0x1_0002, 2).unwrap(), [0, b'T']);
    assert_eq!(memory.bytes(0x3_0002, 2).unwrap(), [b'T', 0]);
}

#[test]
fn a_stamped_page_is_zero_behind_its_stamp() {
    let mut memory = Memory::new(1 << 20);
    memory.stamp(Extent::new(0x1_1000, 0x3_0000), *b"PATTERN!", 0x1000).unwrap();
    for page in [0x1_1000, 0x2_0000, 0x3_f000] {
        let bytes = memory.bytes(page, 0x1000).unwrap();
        assert_eq!(bytes[..8], *b"PATTERN!");
        assert_eq!(bytes[56..64], (page + 48).to_be_bytes());
        assert!(is_zero(&bytes[64..]));
    }
}

#[test]
fn a_copy_onto_itself_further_up_repeats_its_first_step() {
    let mut memory = Memory::new(0x100);
    memory.write(0, &(0..64).collect::<Vec<u8>>()).unwrap();
    memory.copy(0, 16, 48, 16).unwrap();
    let first: Vec<u8> = (0..16).collect();
    assert_eq!(memory.bytes(0, 64).unwrap(), first.repeat(4));
}

#[test]
fn a_written_image_keeps_its_holes_and_its_bytes() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory.raw");
    let mut memory = Memory::new(1 << 30);
    memory.write(0x1234_5678, b"something").unwrap();
    memory.write_raw(&path).unwrap();
    assert!(path.metadata().unwrap().blocks() * 512 < 1 << 20);
    let mut back = Memory::over(&path).unwrap();
    assert!(back.equals(&memory, Extent::new(0, 1 << 30)).unwrap());
    back.write(0x1234_5678, b"another").unwrap();
    assert!(!back.equals(&memory, Extent::new(0, 1 << 30)).unwrap());
    back.clear(Extent::new(0x1234_0000, CHUNK)).unwrap();
    assert_eq!(back.bytes(0x1234_5678, 4).unwrap(), [0; 4]);
}

#[test]
fn an_access_past_the_end_is_refused() {
    let mut memory = Memory::new(0x1000);
    assert!(memory.write(0xfff, &[1, 2]).is_err());
    assert!(memory.read(u64::MAX, &mut [0; 2]).is_err());
    assert!(memory.bytes(0, u64::MAX).is_err());
}
