//! Recognising what a file is.

use crate::flattened::Covered;
use crate::input::{Access, Input};
use crate::kdump::layout::SKELETON_SIGNATURE;
use crate::{Error, captured, elf, flattened, kdump};
use std::fs::File;
use std::path::{Path, PathBuf};
use vmcore::{Dump, Machine, PageSize};

/// How much of a file's beginning is looked at: what tells a tar archive is at 257.
const PREFIX: usize = 264;

/// What the user says of a dump where the files themselves do not, and of how to read them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assume {
    /// The machine that crashed.
    pub machine: Option<Machine>,
    /// The page size of its kernel.
    pub page_size: Option<PageSize>,
    /// How the files are to be read.
    pub access: Access,
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
    let inputs = paths.iter().map(|path| Input::open_as(path, assume.access)).collect::<Result<_, _>>()?;
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
    open_bytes_assuming(files, &Assume::default())
}

/// As [`open_bytes`], with what the user says where the files do not.
///
/// # Errors
///
/// As [`open_set`].
pub fn open_bytes_assuming(files: Vec<Vec<u8>>, assume: &Assume) -> Result<Dump, Error> {
    let input = |(n, bytes)| Input::of_bytes(Path::new(&format!("file {n} in memory")), bytes);
    open_inputs(files.into_iter().enumerate().map(input).collect(), assume)
}

fn open_inputs(inputs: Vec<Input>, assume: &Assume) -> Result<Dump, Error> {
    let mut remarks = Vec::new();
    let several = inputs.len() > 1;
    let first = inputs.first().map(|input| input.path().to_owned());
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
        (Some(_), 1) if kinds[0] == Kind::Captured => captured::open(dumps.remove(0), assume)?,
        (Some(_), 1) => elf::open(dumps.remove(0), assume)?,
        (Some(n), _) => {
            let what = match kinds[n] {
                Kind::Captured => {
                    "an image of memory is not part of a set; only kdump-compressed files are split"
                }
                _ => "an ELF core is not part of a set; only kdump-compressed files are split",
            };
            return unsupported(dumps[n].path(), what.into());
        }
        (None, 0) => return unsupported(Path::new(""), "no file was named".into()),
    };
    if flattened {
        dump.source.format.push_str(", flattened");
    }
    if dump.source.incomplete
        && let Some(command) = first.as_deref().and_then(pieces)
    {
        remarks.push(format!(
            "if this is the first of the pieces that split(1) made, put them together first: {command}"
        ));
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
        kind @ (Kind::Elf | Kind::Kdump | Kind::Captured) => Ok(kind),
        Kind::Flattened => unsupported(path, "a flattened file inside a flattened file".into()),
        Kind::Packed(format, command) => {
            let file = path.display();
            let what =
                if format == "tar" { "a tar archive".into() } else { format!("compressed with {format}") };
            unsupported(path, format!("{what}; unpack it first: {command} {file}"))
        }
        Kind::Other(what) => unsupported(path, what.into()),
        Kind::Unknown => unsupported(path, unknown(input, prefix)),
    }
}

/// The command that puts the pieces together of which `path` may be one: split(1) gives them names that end in `aa`, `ab`
/// or in numbers.
fn pieces(path: &Path) -> Option<String> {
    let name = path.to_str()?;
    let (stem, suffix) = name.split_at_checked(name.len().checked_sub(2)?)?;
    let counts = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    let letters = suffix.starts_with('a') && suffix.ends_with(|c: char| c.is_ascii_lowercase());
    let stem = match suffix {
        _ if letters => stem,
        _ if counts(suffix) => stem.trim_end_matches(|c: char| c.is_ascii_digit()),
        _ => return None,
    };
    let neighbours = if letters {
        ["aa", "ab"].map(|s| format!("{stem}{s}"))
    } else {
        let zeros = "0".repeat(name.len() - stem.len() - 1);
        ["0", "1"].map(|s| format!("{stem}{zeros}{s}"))
    };
    let all_there = neighbours.iter().all(|piece| Path::new(piece).is_file());
    all_there.then(|| format!("cat {stem}{} > FILE", if letters { "??" } else { "*" }))
}

fn read_prefix<'b>(input: &Input, prefix: &'b mut [u8; PREFIX]) -> Result<&'b [u8], Error> {
    let have = input.len().min(PREFIX as u64) as usize;
    input.read_at(0, &mut prefix[..have])?;
    Ok(&prefix[..have])
}

/// Reports whether a file is no dump of a kind that is known, and may be plain memory.
///
/// # Errors
///
/// When it cannot be opened or read.
pub fn is_plain(path: &Path) -> Result<bool, Error> {
    Ok(!is_dump(&Input::open(path)?)?)
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
    /// What a forensic tool made of a running machine's memory.
    Captured,
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
    (captured::MAGICS[0], Kind::Captured),
    (captured::MAGICS[1], Kind::Captured),
    (captured::MAGICS[2], Kind::Captured),
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
        if prefix.get(257..).is_some_and(|rest| rest.starts_with(b"ustar")) {
            return Self::Packed("tar", "tar xf");
        }
        Self::Unknown
    }
}

fn unknown(input: &Input, prefix: &[u8]) -> String {
    if input.len() == 0 {
        return "an empty file".into();
    }
    let shown: Vec<String> = prefix.iter().take(16).map(|b| format!("{b:02x}")).collect();
    let begins = format!("not a kernel dump: it begins with {}", shown.join(" "));
    match pieces(input.path()) {
        Some(command) => format!(
            "{begins}; if it is one of the pieces that split(1) made, put them together first: {command}"
        ),
        None => format!(
            "{begins}; plain memory, of which byte n is address n, needs: --machine NAME (as uname -m prints it)"
        ),
    }
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
        assert!(message(b"makedumpfile\0\0\0\0").contains("cut off: 16 of the 4096 bytes"));
        assert!(message(b"sadump\0\0").contains("sadump"));
        assert!(message(b"PAGEDU64").contains("Windows"));
        assert!(message(b"\xd0\xbe\xd2\xbe").contains("vmss2core"));
        assert_eq!(message(b""), "an empty file");
        let unknown = message(b"\x00\x01hello");
        assert!(
            unknown.starts_with("not a kernel dump: it begins with 00 01 68 65 6c 6c 6f; plain memory"),
            "{unknown}"
        );
        assert!(message(b"EMiL\x01\0\0\0").contains("cut off: 8 of the 32 bytes"));
        let mut tar = vec![b'x'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(message(&tar).contains("a tar archive; unpack it first: tar xf /"));
    }

    #[test]
    fn pieces_of_split_are_named_with_the_command_that_joins_them_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        for (names, glob) in [
            (["d.kd.aa", "d.kd.ab", "d.kd.ac"], "d.kd.??"),
            (["xaa", "xab", "xac"], "x??"),
            (["p00", "p01", "p02"], "p*"),
            (["q.000", "q.001", "q.002"], "q.*"),
        ] {
            let paths = names.map(|name| folder.path().join(name));
            assert_eq!(pieces(&paths[0]), None);
            paths.iter().for_each(|path| std::fs::write(path, b"piece of a dump").unwrap());
            for path in &paths {
                let command = format!("cat {} > FILE", folder.path().join(glob).display());
                assert_eq!(pieces(path), Some(command.clone()));
                let error = open(path).err().unwrap().to_string();
                assert!(
                    error.contains(&format!("split(1) made, put them together first: {command}")),
                    "{error}"
                );
            }
        }
        for other in ["vmcore", "a", "", "vmcore.kd", "vmcore1"] {
            assert_eq!(pieces(&folder.path().join(other)), None, "{other}");
        }
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
