//! Recognising what a file is.

use crate::input::Input;
use crate::{Error, elf, kdump};
use std::path::Path;
use vmcore::Dump;

/// How much of a file's beginning is looked at.
const PREFIX: usize = 64;

/// Opens a dump file of any format that hadump reads.
///
/// # Errors
///
/// When the file cannot be read, is damaged, or is of a kind that hadump does not read, which is then named.
pub fn open(path: &Path) -> Result<Dump, Error> {
    let input = Input::open(path)?;
    let mut prefix = [0; PREFIX];
    let prefix = read_prefix(&input, &mut prefix)?;
    match Kind::of(prefix) {
        Kind::Elf => elf::open(input),
        Kind::Kdump => kdump::open(input),
        Kind::Packed(format, command) => {
            let file = path.display();
            unsupported(path, format!("compressed with {format}; unpack it first: {command} {file}"))
        }
        Kind::Other(what) => unsupported(path, what.into()),
        Kind::Unknown => unsupported(path, unknown(&input, prefix)),
    }
}

fn read_prefix<'b>(input: &Input, prefix: &'b mut [u8; PREFIX]) -> Result<&'b [u8], Error> {
    let have = input.len().min(PREFIX as u64) as usize;
    input.read_at(0, &mut prefix[..have])?;
    Ok(&prefix[..have])
}

/// Reports whether a file begins like a dump, compressed or of another kind, rather than like plain memory.
pub(crate) fn is_dump(input: &Input) -> Result<bool, Error> {
    Ok(Kind::of(read_prefix(input, &mut [0; PREFIX])?) != Kind::Unknown)
}

fn unsupported<T>(path: &Path, what: String) -> Result<T, Error> {
    Err(Error::Unsupported { path: path.to_owned(), what })
}

/// What the first bytes of a file say that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Elf,
    Kdump,
    /// A compressed file: of what, and the command that unpacks it when the file's name is appended.
    Packed(&'static str, &'static str),
    /// Something that is known and not read.
    Other(&'static str),
    Unknown,
}

/// The formats by their first bytes.
const MAGICS: &[(&[u8], Kind)] = &[
    (b"\x7fELF", Kind::Elf),
    (b"KDUMP   ", Kind::Kdump),
    (b"\x28\xb5\x2f\xfd", Kind::Packed("zstd", "zstd -d --sparse")),
    (b"\x1f\x8b", Kind::Packed("gzip", "gunzip -k")),
    (b"\xfd7zXZ\0", Kind::Packed("xz", "xz -dk")),
    (b"\x04\x22\x4d\x18", Kind::Packed("lz4", "lz4 -d")),
    (b"BZh", Kind::Packed("bzip2", "bunzip2 -k")),
    (b"\x89LZO", Kind::Packed("lzop", "lzop -d")),
    (b"\x1f\x9d", Kind::Packed("compress", "uncompress -k")),
    (b"PK\x03\x04", Kind::Packed("zip", "unzip")),
    (
        b"makedumpfile\0",
        Kind::Other("a flattened dump; put it in order first: makedumpfile -R DUMPFILE < FILE"),
    ),
    (b"DISKDUMP", Kind::Other("a diskdump, made by kernels before kdump; hadump does not read those")),
    // SADUMP_SIGNATURE1 and 2 of crash's sadump.h, little endian.
    (b"sadump\0\0", Kind::Other(SADUMP)),
    // DUMP_MAGIC_NUMBER, DUMP_MAGIC_LIVE and DUMP_MAGIC_S390SA of crash's lkcd headers.
    (b"\xed\x23\x8f\x61\x73\x01\x19\xa8", Kind::Other(LKCD)),
    (b"\xcd\x23\x8f\x61\x73\x01\x19\xa8", Kind::Other(LKCD)),
    (b"\xa8\x19\x01\x73\x61\x8f\x23\xed", Kind::Other(LKCD)),
    (b"\xa8\x19\x01\x73\x61\x8f\x23\xfd", Kind::Other(S390)),
    (
        b"EMiL",
        Kind::Other(
            "a LiME memory image; it has no registers and no VMCOREINFO note; hadump does not read it",
        ),
    ),
    (
        b"AVML",
        Kind::Other("an AVML memory image; hadump does not read it (avml-convert makes a LiME or raw image)"),
    ),
    (
        b"QFI\xfb",
        Kind::Other(
            "a qcow2 disk image, not a dump; for a saved guest: virsh dump --memory-only DOMAIN FILE",
        ),
    ),
    (b"QEVM", Kind::Other("a saved QEMU machine, not a dump; restore it and run: dump-guest-memory FILE")),
    (
        b"LibvirtQemudSave",
        Kind::Other("a machine saved by libvirt; restore it and run: virsh dump --memory-only DOMAIN FILE"),
    ),
    (b"PAGEDU", Kind::Other("a crash dump of Windows, not of Linux")),
    (b"MDMP", Kind::Other("a minidump of a process, not a kernel's dump")),
    // CPTDUMP_*_MAGIC_NUMBER of crash's vmware_vmss.h, and 0xbed2bed0 of later versions.
    (b"\xd0\xbe\xd0\xbe", Kind::Other(VMWARE)),
    (b"\xd0\xbe\xd2\xbe", Kind::Other(VMWARE)),
    (b"\xd1\xba\xd1\xba", Kind::Other(VMWARE)),
    (b"\xd2\xbe\xd2\xbe", Kind::Other(VMWARE)),
    (b"\xd3\xbe\xd3\xbe", Kind::Other(VMWARE)),
];

const LKCD: &str = "a dump of LKCD, made by kernels before kdump; hadump does not read those";
const S390: &str = "a dump of the stand-alone tools of IBM Z; convert it first: zgetdump -f elf FILE > NEW";
const VMWARE: &str = "the saved state of a VMware guest; make a core of it first: vmss2core -N6 VMSS VMEM";
const SADUMP: &str =
    "a dump of the firmware of Fujitsu machines (sadump); convert it first: makedumpfile -d 0 FILE NEW";

impl Kind {
    fn of(prefix: &[u8]) -> Self {
        if let Some((_, kind)) = MAGICS.iter().find(|(magic, _)| prefix.starts_with(magic)) {
            return *kind;
        }
        Self::Unknown
    }
}

fn unknown(input: &Input, prefix: &[u8]) -> String {
    if input.len() == 0 {
        return "an empty file".into();
    }
    let shown: Vec<String> = prefix.iter().take(16).map(|b| format!("{b:02x}")).collect();
    format!("not a kernel dump: it begins with {}", shown.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: &[u8]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let error = open(file.path()).map(|_| ()).unwrap_err().to_string();
        let (path, rest) = error.split_once(": ").unwrap();
        assert_eq!(path, file.path().to_str().unwrap());
        rest.to_owned()
    }

    #[test]
    fn what_is_not_read_is_named_with_a_way_out() {
        assert!(message(b"\x28\xb5\x2f\xfd....").contains("zstd -d --sparse /"));
        assert!(message(b"\x1f\x8b\x08").contains("gunzip -k /"));
        assert!(message(b"makedumpfile\0\0\0\0").contains("makedumpfile -R"));
        assert!(message(b"sadump\0\0").contains("sadump"));
        assert!(message(b"PAGEDU64").contains("Windows"));
        assert!(message(b"\xd0\xbe\xd2\xbe").contains("vmss2core"));
        assert_eq!(message(b""), "an empty file");
        assert_eq!(message(b"\x00\x01hello"), "not a kernel dump: it begins with 00 01 68 65 6c 6c 6f");
    }

    #[test]
    fn no_magic_hides_another() {
        for (i, (magic, kind)) in MAGICS.iter().enumerate() {
            let first = MAGICS.iter().position(|(m, _)| magic.starts_with(m)).unwrap();
            assert_eq!(first, i, "{magic:x?}");
            assert_eq!(Kind::of(magic), *kind);
        }
    }
}
