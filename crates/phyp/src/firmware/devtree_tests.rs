use super::*;
use proptest::prelude::*;

fn tree(files: &[(&str, Vec<u8>)]) -> (tempfile::TempDir, DeviceTree) {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let tree = DeviceTree::new(dir.path());
    (dir, tree)
}

fn be64(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_be_bytes()).collect()
}

fn be32(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_be_bytes()).collect()
}

fn memory(files: &[(&str, Vec<u8>)]) -> (Vec<(u64, u64)>, Findings) {
    let (_dir, tree) = tree(files);
    let mut findings = Findings::default();
    let memory = tree.memory(&mut findings).unwrap().unwrap_or_default().memory;
    (memory.iter().map(|r| (r.start.0, r.end.0)).collect(), findings)
}

#[test]
fn memory_nodes_are_read_with_the_roots_cells() {
    let (ranges, findings) = memory(&[
        ("#address-cells", be32(&[2])),
        ("#size-cells", be32(&[2])),
        ("memory@0/reg", be64(&[0, 0x1000_0000])),
        ("memory@20000000/reg", be64(&[0x2000_0000, 0x1000_0000, 0x4000_0000, 0x800_0000])),
        ("memory@x/other", vec![]),
        ("cpus/reg", be64(&[0x9000_0000, 0x1000])),
    ]);
    assert_eq!(ranges, [(0, 0x1000_0000), (0x2000_0000, 0x3000_0000), (0x4000_0000, 0x4800_0000)]);
    assert!(findings.is_empty());

    let (ranges, _) = memory(&[
        ("#address-cells", be32(&[1])),
        ("#size-cells", be32(&[1])),
        ("ram/device_type", b"memory\0".to_vec()),
        ("ram/reg", be32(&[0x1000, 0x2000])),
    ]);
    assert_eq!(ranges, [(0x1000, 0x3000)]);
}

#[test]
fn both_lists_of_memory_blocks_are_read_and_only_assigned_blocks_count() {
    const NODE: &str = "ibm,dynamic-reconfiguration-memory";
    let v1 = |base: u64, flags: u32| [be64(&[base]), be32(&[0, 0, 0, flags])].concat();
    let list = [be32(&[3]), v1(0x1000_0000, 8), v1(0x2000_0000, 0), v1(0x3000_0000, 8 | 0x80)].concat();
    let (ranges, _) = memory(&[
        (&format!("{NODE}/ibm,lmb-size"), be64(&[0x1000_0000])),
        (&format!("{NODE}/ibm,dynamic-memory"), list),
        ("memory@0/reg", be64(&[0, 0x1000_0000])),
    ]);
    assert_eq!(ranges, [(0, 0x2000_0000)]);

    let v2 =
        |count: u32, base: u64, flags: u32| [be32(&[count]), be64(&[base]), be32(&[0, 0, flags])].concat();
    let list = [be32(&[2]), v2(3, 0x1000_0000, 8), v2(9, 0x8000_0000, 0)].concat();
    let (ranges, findings) = memory(&[
        (&format!("{NODE}/ibm,lmb-size"), be32(&[0x1000_0000])),
        (&format!("{NODE}/ibm,dynamic-memory-v2"), list),
    ]);
    assert_eq!(ranges, [(0x1000_0000, 0x4000_0000)]);
    assert!(findings.is_empty());
}

#[test]
fn memory_up_to_256_tib_counts_and_what_is_beyond_is_left_out_with_a_word() {
    const MOST: u64 = 256 << 40;
    let (ranges, findings) = memory(&[("memory@0/reg", be64(&[0, MOST / 2, MOST, MOST / 2]))]);
    assert_eq!(ranges, [(0, MOST / 2), (MOST, MOST + MOST / 2)]);
    assert!(findings.is_empty());
    let (ranges, findings) = memory(&[("memory@0/reg", be64(&[0, MOST / 2, MOST, MOST]))]);
    assert_eq!(ranges, [(0, MOST / 2), (MOST, MOST + MOST / 2)]);
    assert!(findings.mentions("what is beyond 0x1000000000000 is ignored"));
}

#[test]
fn what_makes_no_sense_is_said_and_left_out() {
    const NODE: &str = "ibm,dynamic-reconfiguration-memory";
    let (ranges, findings) = memory(&[
        ("memory@0/reg", [be64(&[0, 0x1000, u64::MAX, 0x1000, 0x9000, u64::MAX]), vec![1, 2]].concat()),
        (&format!("{NODE}/ibm,lmb-size"), be64(&[u64::MAX])),
        (&format!("{NODE}/ibm,dynamic-memory"), [be32(&[u32::MAX]), be64(&[0x1000, 0, 8])].concat()),
    ]);
    assert_eq!(ranges, [(0, 0x1000)]);
    assert!(
        findings.mentions("no whole number of ranges")
            && findings.mentions("counts 4294967295 entries and has 1")
    );
    assert_eq!(memory(&[]).0, []);
    let mut findings = Findings::default();
    assert_eq!(DeviceTree::new("/nonexistent").memory(&mut findings).unwrap(), None);
}

#[test]
fn the_dumps_own_properties_are_found() {
    let sizes = [be32(&[1]), be64(&[0xa00]), be32(&[2]), be64(&[0x1000])].concat();
    let (_dir, tree) = tree(&[
        ("rtas/ibm,kernel-dump", vec![1, 2, 3]),
        ("rtas/ibm,configure-kernel-dump-sizes", sizes),
        ("memory@0/reg", be64(&[0, 0x1000])),
        ("reserved-ranges", be64(&[0x100, 0x100])),
    ]);
    assert_eq!(tree.kernel_dump().unwrap(), Some(vec![1, 2, 3]));
    assert_eq!(
        tree.dump_sizes().unwrap(),
        [DumpSize { kind: 1, size: 0xa00 }, DumpSize { kind: 2, size: 0x1000 }]
    );
    assert!(tree.has("rtas/ibm,kernel-dump") && !tree.has("rtas/ibm,dump-kernel") && tree.has_node("rtas"));
    let memory = tree.memory(&mut Findings::default()).unwrap().unwrap();
    assert_eq!((memory.memory.total(), memory.reserved.total()), (0x1000, 0x100));
}

proptest! {
    #[test]
    fn random_properties_never_panic(reg in prop::collection::vec(any::<u8>(), 0..70), list in prop::collection::vec(any::<u8>(), 0..90), size in prop::collection::vec(any::<u8>(), 0..9), v2: bool, cells: u32) {
        let name = if v2 { "ibm,dynamic-reconfiguration-memory/ibm,dynamic-memory-v2" } else { "ibm,dynamic-reconfiguration-memory/ibm,dynamic-memory" };
        let _ = memory(&[("memory@0/reg", reg), (name, list), ("ibm,dynamic-reconfiguration-memory/ibm,lmb-size", size), ("#size-cells", be32(&[cells]))]);
    }
}
