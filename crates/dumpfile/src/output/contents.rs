//! What a device holds already, told by the marks that file systems, partition tables and the like leave on it.
//!
//! Only what is common on servers is known; a mark that is not listed is not seen. The places are those of the kernel's and
//! the formats' own definitions.

use crate::flattened;
use crate::kdump::layout::{DISKDUMP_SIGNATURE, SIGNATURE, SKELETON_SIGNATURE};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What leaves a mark, where, and the mark.
const MARKS: &[(&str, u64, &[u8])] = &[
    ("a dump", 0, SIGNATURE),
    ("a dump", 0, DISKDUMP_SIGNATURE),
    ("a dump", 0, SKELETON_SIGNATURE),
    ("a dump", 0, flattened::SIGNATURE),
    ("a dump or another ELF file", 0, b"\x7fELF"),
    ("an encrypted file", 0, b"age-encryption.org/"),
    // ext2, ext3 and ext4: `s_magic` of the superblock at 1024.
    ("an ext4 file system", 1024 + 0x38, b"\x53\xef"),
    ("an XFS file system", 0, b"XFSB"),
    ("a btrfs file system", 0x10000 + 0x40, b"_BHRfS_M"),
    ("an F2FS file system", 1024, b"\x10\x20\xf5\xf2"),
    ("an EROFS file system", 1024, b"\xe2\xe1\xf5\xe0"),
    ("a squashfs file system", 0, b"hsqs"),
    ("an NTFS file system", 3, b"NTFS    "),
    ("an exFAT file system", 3, b"EXFAT   "),
    ("a FAT file system", 0x36, b"FAT1"),
    ("a FAT file system", 0x52, b"FAT32   "),
    ("an ISO 9660 file system", 0x8001, b"CD001"),
    ("a GFS2 file system", 0x10000, b"\x01\x16\x19\x70"),
    ("a bcache or bcachefs device", 4096 + 24, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca"),
    ("a bcache or bcachefs device", 4096 + 24, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9"),
    ("a Ceph object store", 0, b"bluestore block device"),
    // An LVM label is in one of the first four sectors.
    ("an LVM physical volume", 0, b"LABELONE"),
    ("an LVM physical volume", 512, b"LABELONE"),
    ("an LVM physical volume", 1024, b"LABELONE"),
    ("an LVM physical volume", 1536, b"LABELONE"),
    ("a LUKS volume", 0, b"LUKS\xba\xbe"),
    ("a member of a RAID", 0, b"\xfc\x4e\x2b\xa9"),
    ("a member of a RAID", 4096, b"\xfc\x4e\x2b\xa9"),
    // A swap area's mark is at the end of its first page.
    ("a swap area", 4096 - 10, b"SWAPSPACE2"),
    ("a swap area", 8192 - 10, b"SWAPSPACE2"),
    ("a swap area", 16384 - 10, b"SWAPSPACE2"),
    ("a swap area", 65536 - 10, b"SWAPSPACE2"),
    ("a hibernation image", 4096 - 10, b"S1SUSPEND"),
    ("a hibernation image", 65536 - 10, b"S1SUSPEND"),
    ("a GPT partition table", 512, b"EFI PART"),
    ("a GPT partition table", 4096, b"EFI PART"),
];

/// Where the type of each of the four partitions of a DOS table is, and the mark behind the table.
const PARTITION_TYPES: [u64; 4] = [446 + 4, 462 + 4, 478 + 4, 494 + 4];
const TABLE_END: (u64, &[u8]) = (510, b"\x55\xaa");

/// What is on the device `file` of `len` bytes, as far as a mark shows it.
pub(super) fn contents(file: &File, len: u64) -> io::Result<Option<&'static str>> {
    let has = |at: u64, mark: &[u8]| -> io::Result<bool> {
        let mut bytes = vec![0; mark.len()];
        let inside = at.checked_add(mark.len() as u64).is_some_and(|end| end <= len);
        if inside {
            file.read_exact_at(&mut bytes, at)?;
        }
        Ok(inside && bytes == mark)
    };
    for (what, at, mark) in MARKS {
        if has(*at, mark)? {
            return Ok(Some(what));
        }
    }
    if has(TABLE_END.0, TABLE_END.1)? {
        for at in PARTITION_TYPES {
            if !has(at, &[0])? {
                return Ok(Some("a DOS partition table"));
            }
        }
    }
    // At the end: the second copy of a GPT, and RAID's superblocks of the versions 0.90 and 1.0.
    let aligned = |unit: u64, back: u64| (len & !(unit - 1)).checked_sub(back);
    for (what, at, mark) in [
        ("a GPT partition table", len.checked_sub(512), &b"EFI PART"[..]),
        ("a GPT partition table", len.checked_sub(4096), b"EFI PART"),
        ("a member of a RAID", aligned(65536, 65536), b"\xfc\x4e\x2b\xa9"),
        ("a member of a RAID", aligned(4096, 8192), b"\xfc\x4e\x2b\xa9"),
    ] {
        if let Some(at) = at
            && has(at, mark)?
        {
            return Ok(Some(what));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn blank(len: u64) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(len).unwrap();
        file
    }

    #[test]
    fn a_device_of_zeros_or_of_anything_without_a_mark_is_empty() {
        for len in [0, 1, 512, 4096, 1 << 20] {
            assert_eq!(contents(blank(len).as_file(), len).unwrap(), None);
        }
        let file = blank(1 << 20);
        file.as_file().write_all_at(&vec![0xa5; 1 << 20], 0).unwrap();
        assert_eq!(contents(file.as_file(), 1 << 20).unwrap(), None);
        // The end of a sector alone is no table.
        file.as_file().write_all_at(&vec![0; 1 << 20], 0).unwrap();
        file.as_file().write_all_at(TABLE_END.1, TABLE_END.0).unwrap();
        assert_eq!(contents(file.as_file(), 1 << 20).unwrap(), None);
        file.as_file().write_all_at(&[0x83], PARTITION_TYPES[2]).unwrap();
        assert_eq!(contents(file.as_file(), 1 << 20).unwrap(), Some("a DOS partition table"));
    }

    #[test]
    fn each_mark_is_seen_and_none_outside_the_device() {
        for (what, at, mark) in MARKS {
            let file = blank(1 << 20);
            file.as_file().write_all_at(mark, *at).unwrap();
            assert_eq!(contents(file.as_file(), 1 << 20).unwrap(), Some(*what), "{at:#x}");
            let len = at + mark.len() as u64 - 1;
            assert_eq!(contents(file.as_file(), len).unwrap(), None, "{what} in {len} bytes");
        }
    }

    #[test]
    fn what_the_programs_that_make_them_leave_is_seen() {
        let programs: [(&str, &[&str], &str); 6] = [
            ("mkfs.ext4", &["-q", "-F"], "ext4"),
            ("mkfs.ext2", &["-q", "-F"], "ext4"),
            ("mkfs.xfs", &["-q", "-f"], "XFS"),
            ("mkfs.btrfs", &["-q", "-f"], "btrfs"),
            ("mkswap", &[], "swap"),
            ("mkfs.vfat", &[], "FAT"),
        ];
        for (program, options, expected) in programs {
            let len = 512 << 20;
            let file = blank(len);
            let made = Command::new(program)
                .args(options)
                .arg(file.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            if !made.is_ok_and(|status| status.success()) {
                eprintln!("skipped: what {program} makes");
                continue;
            }
            let found = contents(file.as_file(), len).unwrap();
            assert!(found.is_some_and(|found| found.contains(expected)), "{program}: {found:?}");
        }
    }
}
