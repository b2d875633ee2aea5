//! Notes of dumps that are neither registers nor VMCOREINFO.

use phyp_model::synth::dump::catalogue;
use triage::notes;
use vmcore::{ByteOrder, Note, Notes};

/// Small ones are held, large ones stay in the file; both have their names.
#[test]
fn device_dumps_are_listed_by_their_devices_whatever_their_size() {
    for (name, order) in
        [("x86_64-4k-vmemmap-6.1", ByteOrder::Little), ("ppc64-4k-hash-6.12", ByteOrder::Big)]
    {
        let mut made = catalogue::build(name).unwrap();
        let device = |device: &str, len: usize| {
            let mut desc = device.as_bytes().to_vec();
            desc.resize(44, 0);
            desc.resize(len, 0x5a);
            Note { name: b"LINUX".into(), kind: 0x700, desc }
        };
        let mut all = Notes::default();
        all.push(device("small_0", 200), order);
        all.push(device("large_1", 32 << 20), order);
        all.push(Note { name: b"FOO".into(), kind: 9, desc: vec![1, 2, 3] }, order);
        let mut bytes = all.raw().to_vec();
        bytes.extend(&made.notes);
        made.notes = bytes;
        let file = tempfile::NamedTempFile::new().unwrap();
        made.write_elf(file.path()).unwrap();
        let dump = dumpfile::open(file.path()).unwrap();
        let found = notes::find(&dump);
        let told: Vec<_> = found.iter().map(|n| (n.what.as_str(), n.bytes)).collect();
        let expected =
            [("device dump of small_0", 200), ("not known", 3), ("device dump of large_1", 32 << 20)];
        assert_eq!(told, expected, "{name}");
        let last = dump.notes.iter().count();
        assert_eq!((found[0].index, found[1].index, found[2].index), (0, 1, last), "{name}");
    }
}

#[test]
fn dumps_that_a_kernel_made_have_registers_and_vmcoreinfo_alone() {
    for name in [corpus::POWER, corpus::POWER_BE, corpus::X86_64, corpus::X86_64_DEBIAN, corpus::ARM64] {
        let Some(real) = corpus::dump(name) else { continue };
        assert_eq!(notes::find(&dumpfile::open(&real.elf).unwrap()), [], "{name}");
    }
}
