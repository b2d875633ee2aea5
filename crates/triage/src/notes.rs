//! Notes that are neither registers nor VMCOREINFO.

use vmcore::{Dump, Note, Notes};

/// A note of the dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpNote {
    /// Its place among the dump's notes, from 0, by which it is taken out.
    pub index: usize,
    /// Its owner's name.
    pub name: String,
    /// Its type's number.
    pub kind: u32,
    /// What it is, in words: `device dump of cxgb4_0000:02:00.4`.
    pub what: String,
    /// Bytes of its content.
    pub bytes: u64,
}

/// The type of a device dump, under the name `LINUX` (kernel: `NT_VMCOREDD`).
const NT_VMCOREDD: u32 = 0x700;
/// The bytes at the start of its content that hold the device's name (kernel: `struct vmcoredd_header`, `dump_name`).
const DEVICE_NAME: usize = 44;

/// Lists the notes of a dump, in the order in which they are numbered: first those that are held.
pub fn find(dump: &Dump) -> Vec<DumpNote> {
    let held = dump.notes.iter().map(|Note { name, kind, desc }| {
        let begin = desc[..desc.len().min(DEVICE_NAME)].to_vec();
        (name.as_slice(), *kind, desc.len() as u64, begin)
    });
    let far = dump.notes.named_far().map(|(name, kind, far)| {
        let mut begin = vec![0; far.len.min(DEVICE_NAME as u64) as usize];
        // A name that cannot be read is no name; who takes the note out is told why.
        if far.read_at(0, &mut begin).is_err() {
            begin.clear();
        }
        (name, kind, far.len, begin)
    });
    let all = held.chain(far).enumerate();
    let others =
        all.filter(|(_, (name, kind, ..))| !is_registers(name, *kind) && **name != b"VMCOREINFO"[..]);
    others
        .map(|(index, (name, kind, bytes, begin))| DumpNote {
            index,
            name: String::from_utf8_lossy(name).into_owned(),
            kind,
            what: what(name, kind, &begin),
            bytes,
        })
        .collect()
}

/// Whether a note holds registers of a CPU: those of the general kind (`CORE`), of the architectures (`LINUX`, kernel:
/// `include/uapi/linux/elf.h`), and the ones that QEMU and Xen add for themselves.
fn is_registers(name: &[u8], kind: u32) -> bool {
    match name {
        b"CORE" => kind == Notes::PRSTATUS || kind == 2,
        b"LINUX" => matches!(kind, 0x100..NT_VMCOREDD | 0x800..0xc00 | 0x46e6_2b7f),
        b"QEMU" => kind == 0,
        _ => false,
    }
}

fn what(name: &[u8], kind: u32, begin: &[u8]) -> String {
    match (name, kind) {
        (b"LINUX", NT_VMCOREDD) => {
            let end = begin.iter().position(|&byte| byte == 0).unwrap_or(begin.len());
            match &begin[..end] {
                [] => "device dump without a name".into(),
                device => format!("device dump of {}", String::from_utf8_lossy(device)),
            }
        }
        (b"CORE", 3) => "a process's name and state (NT_PRPSINFO)".into(),
        (b"CORE", 4) => "a task's structure (NT_TASKSTRUCT)".into(),
        (b"HADUMP", _) => "hadump's own".into(),
        (b"ERASEINFO", _) => "what was erased inside of pages".into(),
        (b"Xen", _) => "of the hypervisor Xen".into(),
        (b"GNU", 3) => "a build ID".into(),
        _ => "not known".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_told_from_other_notes() {
        for (name, kind, registers) in [
            ("CORE", 1, true),
            ("CORE", 3, false),
            ("LINUX", 0x100, true),
            ("LINUX", 0x202, true),
            ("LINUX", 0x405, true),
            ("LINUX", 0x700, false),
            ("LINUX", 0x901, true),
            ("LINUX", 0xa00, true),
            ("QEMU", 0, true),
            ("HADUMP", 0x101, false),
        ] {
            assert_eq!(is_registers(name.as_bytes(), kind), registers, "{name} {kind:#x}");
        }
    }

    #[test]
    fn a_device_dump_has_the_devices_name() {
        for (begin, expected) in [
            (&b"cxgb4_0000:02:00.4\0\0\0"[..], "device dump of cxgb4_0000:02:00.4"),
            (b"", "device dump without a name"),
            (b"\0abc", "device dump without a name"),
            (&[b'x'; 44], "device dump of xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
        ] {
            assert_eq!(what(b"LINUX", NT_VMCOREDD, begin), expected);
        }
    }
}
