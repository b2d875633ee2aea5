//! Recognising what a file is.

use crate::flattened::Covered;
use crate::input::Input;
use crate::kdump::layout::SKELETON_SIGNATURE;
use crate::{Error, elf, flattened, kdump};
use std::fs::File;
use std::path::{Path, PathBuf};
use vmcore::{Dump, Machine, PageSize};

/// How much of a file's beginning is looked at.
const PREFIX: usize = 64;

/// What the user says of a dump, used where the files themselves do not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assume {
    /// The machine that crashed.
    pub machine: Option<Machine>,
    /// The page size of its kernel.
    pub page_size: Option<PageSize>,
}

/// Opens a dump file of any format that hadump reads, flattened or not.
///
/// # Errors
///
/// When the file cannot be read, is damaged, or is of a kind that hadump does not read, which is then named.
pub fn open(path: &Path) -> Result<Dump, Error> {
    open_set(&[path.to_owned()])
}

/// Opens a dump file, or the parts of a split set in any order. Pages of parts that are missing are lost.
///
/// # Errors
///
/// As [`open`], and when the files do not belong together.
pub fn open_set(paths: &[PathBuf]) -> Result<Dump, Error> {
    open_set_assuming(paths, &Assume::default())
}

/// As [`open_set`], with what the user says where the files do not.
///
/// # Errors
///
/// As [`open_set`].
pub fn open_set_assuming(paths: &[PathBuf], assume: &Assume) -> Result<Dump, Error> {
    let inputs = paths.iter().map(|path| Input::open(path)).collect::<Result<_, _>>()?;
    open_inputs(inputs, assume)
}

/// As [`open`] for a regular file that is open already, and may have no name; messages call it `name`.
///
/// # Errors
///
/// As [`open`].
pub fn open_file(file: File, name: &Path) -> Result<Dump, Error> {
    open_inputs(vec![Input::of_file(file, name)?], &Assume::default())
}

/// As [`open_file`] for a file that a flattened stream was written to; `covered` says which bytes of it came, so that what
/// did not come is not taken for zeros.
///
/// # Errors
///
/// As [`open`].
pub fn open_received(file: File, name: &Path, covered: &Covered) -> Result<Dump, Error> {
    let input = Input::of_file(file, name)?;
    if !covered.is_scattered() {
        return open_inputs(vec![input.received(covered)], &Assume::default());
    }
    let mut dump = open_inputs(vec![input], &Assume::default())?;
    dump.source.problems.push("the pieces of the stream lie too scattered to say whether all came".into());
    dump.source.incomplete = true;
    Ok(dump)
}

/// As [`open_set`] for files whose bytes are in memory.
///
/// # Errors
///
/// As [`open_set`].
pub fn open_bytes(files: Vec<Vec<u8>>) -> Result<Dump, Error> {
    let input = |(n, bytes)| Input::of_bytes(Path::new(&format!("file {n} in memory")), bytes);
    open_inputs(files.into_iter().enumerate().map(input).collect(), &Assume::default())
}

fn open_inputs(inputs: Vec<Input>, assume: &Assume) -> Result<Dump, Error> {
    let mut remarks = Vec::new();
    let several = inputs.len() > 1;
    let mut flattened = false;
    let mut dumps = Vec::with_capacity(inputs.len());
    let mut kinds = Vec::with_capacity(inputs.len());
    for mut input in inputs {
        let mut prefix = [0; PREFIX];
        if Kind::of(read_prefix(&input, &mut prefix)?) == Kind::Flattened {
            input = input.unflattened()?;
            flattened = true;
            let name = if several { format!("{}: ", input.path().display()) } else { String::new() };
            remarks.extend(input.remark().map(|remark| format!("{name}{remark}")));
        }
        kinds.push(readable(&input)?);
        dumps.push(input);
    }
    let other = kinds.iter().position(|kind| *kind != Kind::Kdump);
    let mut dump = match (other, dumps.len()) {
        (None, 1..) => kdump::open(dumps, assume)?,
        (Some(_), 1) => elf::open(dumps.remove(0), assume)?,
        (Some(n), _) => {
            let what = "an ELF core is not part of a set; only kdump-compressed files are split";
            return unsupported(dumps[n].path(), what.into());
        }
        (None, 0) => return unsupported(Path::new(""), "no file was named".into()),
    };
    if flattened {
        dump.source.format.push_str(", flattened");
    }
    remarks.append(&mut dump.source.remarks);
    dump.source.remarks = remarks;
    Ok(dump)
}

/// The format of a file, if it is one that is read.
fn readable(input: &Input) -> Result<Kind, Error> {
    let path = input.path();
    let mut prefix = [0; PREFIX];
    let prefix = read_prefix(input, &mut prefix)?;
    match Kind::of(prefix) {
        kind @ (Kind::Elf | Kind::Kdump) => Ok(kind),
        Kind::Flattened => unsupported(path, "a flattened file inside a flattened file".into()),
        Kind::Packed(format, command) => {
            let file = path.display();
            unsupported(path, format!("compressed with {format}; unpack it first: {command} {file}"))
        }
        Kind::Other(what) => unsupported(path, what.into()),
        Kind::Unknown => unsupported(path, unknown(input, prefix)),
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
    Flattened,
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
    (b"\x02\x21\x4c\x18", Kind::Packed("lz4", "lz4 -d")),
    (b"LZIP", Kind::Packed("lzip", "lzip -dk")),
    (b"LRZI", Kind::Packed("lrzip", "lrzip -d")),
    (b"\x5d\0\0\x80\0", Kind::Packed("lzma", "unlzma -k")),
    (b"7z\xbc\xaf\x27\x1c", Kind::Packed("7-Zip", "7z x")),
    (b"\xff\x06\0\0sNaPpY", Kind::Packed("snappy", "snzip -dk")),
    (b"BZh", Kind::Packed("bzip2", "bunzip2 -k")),
    (b"\x89LZO", Kind::Packed("lzop", "lzop -d")),
    (b"\x1f\x9d", Kind::Packed("compress", "uncompress -k")),
    (b"PK\x03\x04", Kind::Packed("zip", "unzip")),
    (b"DISKDUMP", Kind::Kdump),
    (
        SKELETON_SIGNATURE,
        Kind::Other(
            "no dump, but what an interrupted encrypted save needs to go on; its pages are in the files beside it that \
             end in .age",
        ),
    ),
    (
        b"age-encryption.org/v1",
        Kind::Other(
            "encrypted with age; open it with its private key: --identity KEYFILE (or: age -d -i KEYFILE)",
        ),
    ),
    (
        b"-----BEGIN AGE ENCRYPTED FILE-----",
        Kind::Other("encrypted with age, as text; decrypt it first: age -d -i KEYFILE FILE > NEW"),
    ),
    (flattened::SIGNATURE, Kind::Flattened),
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
    // XC_CORE_MAGIC and XC_CORE_MAGIC_HVM of Xen's xenctrl.h, before its dumps were ELF files.
    (b"\xed\xfe\x0f\xf0", Kind::Other(XEN)),
    (b"\xee\xfe\x0f\xf0", Kind::Other(XEN)),
    (
        b"\x7fVirtualBox",
        Kind::Other(
            "a saved VirtualBox machine, not a dump; restore it and run: VBoxManage debugvm VM dumpvmcore --filename FILE",
        ),
    ),
    (b"KDMV", Kind::Other("a VMware disk image, not a dump")),
    (b"vhdxfile", Kind::Other("a Hyper-V disk image, not a dump")),
    (b"VMA\0", Kind::Other("a backup of Proxmox VE, not a dump")),
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
const XEN: &str = "a dump of an old Xen guest; hadump does not read it";
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
        assert!(message(b"makedumpfile\0\0\0\0").contains("a header of 4096 bytes"));
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
