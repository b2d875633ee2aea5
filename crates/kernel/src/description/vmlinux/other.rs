//! What people take for a vmlinux: boot images, packed files, directories.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How files begin that have a vmlinux inside, and the command that unpacks them.
const PACKED: [(&[u8], &str, &str); 6] = [
    (b"\x1f\x8b", "gzip", "gunzip -k"),
    (b"\xfd7zXZ\0", "xz", "xz -dk"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstd -d"),
    (b"BZh", "bzip2", "bunzip2 -k"),
    (b"\x04\x22\x4d\x18", "lz4", "lz4 -d"),
    (b"\x89LZO", "lzop", "lzop -d"),
];

/// Marks of boot images by their place: x86's setup header, arm64's and RISC-V's image header, an EFI program, U-Boot's,
/// 32-bit Arm's zImage. Each of them is a kernel without symbols and debug information.
const IMAGES: [(usize, &[u8], &str); 7] = [
    (0x202, b"HdrS", "a bzImage"),
    (0x38, b"ARM\x64", "an arm64 Image"),
    (0x38, b"RSC\x05", "a RISC-V Image"),
    (0x30, b"RISCV", "a RISC-V Image"),
    (0, b"MZ", "an EFI boot image"),
    (0, b"\x27\x05\x19\x56", "a uImage"),
    (0x24, b"\x18\x28\x6f\x01", "a zImage"),
];

/// What a file is that is no vmlinux, and what to do about it.
pub(super) fn name(path: &Path, file: &File) -> Option<String> {
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        return Some("a directory, not a vmlinux".into());
    }
    let mut bytes = [0; 0x210];
    let mut len = 0;
    while let Ok(read @ 1..) = file.read_at(&mut bytes[len..], len as u64) {
        len += read;
    }
    let bytes = &bytes[..len];
    if let Some((_, format, command)) = PACKED.iter().find(|(magic, ..)| bytes.starts_with(magic)) {
        return Some(format!("compressed with {format}; unpack it first: {command} {}", path.display()));
    }
    let image =
        IMAGES.iter().find(|(at, magic, _)| bytes.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
    image.map(|(_, _, what)| {
        format!(
            "{what}, which has neither symbols nor debug information; the vmlinux of the same build is needed, which \
             distributions ship in a package of its own (kernel-debuginfo, linux-image-RELEASE-dbg, \
             linux-image-RELEASE-dbgsym, kernel-default-debuginfo)"
        )
    })
}
