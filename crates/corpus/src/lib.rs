//! What the tests of all crates need from elsewhere: real dumps, and other programs that judge what hadump makes.
//!
//! The dumps are those of the directory that the environment variable `HADUMP_CORPUS` names, or, when it is not set,
//! those of the repository's `testdata/`: a part of the full corpus. A test that lacks a dump or a program reports that
//! and passes ([`skip`]); where `CI` is set it fails.
//!
//! Helpers of tests panic: a corpus that cannot be read is a failed test, not a case to handle.
//!
//! ```
//! if let Some(dump) = corpus::dump(corpus::POWER) {
//!     assert_eq!(dump.page_size, 0x10000);
//!     assert!(dump.elf.exists());
//! }
//! ```

#![forbid(unsafe_code)]

mod cache;
mod missing;
pub mod unpack;

pub use missing::{program, report_skipped, skip};

use std::fs;
use std::path::{Path, PathBuf};

/// 64-bit little-endian POWER, pages of 64 KiB, radix.
pub const POWER: &str = "power9-fadump-radix-64k";
/// 64-bit big-endian POWER, pages of 4 KiB, hash. Not in `testdata/`.
pub const POWER_BE: &str = "ppc64be-fadump-hash-4k";
/// x86_64, pages of 4 KiB.
pub const X86_64: &str = "x86_64-kdump-6.1";
/// x86_64, Debian's 7.2 with modules and BTF. This and the two below are not in `testdata/`, and have no vmlinux.
pub const X86_64_DEBIAN: &str = "x86_64-debian-7.2";
/// arm64, Debian's 6.12, pages of 4 KiB, 48 of 52 bits of addresses.
pub const ARM64: &str = "arm64-kdump-6.12";
/// s390x, Debian's 6.12, as QEMU wrote it: it did not crash, and has no VMCOREINFO note.
pub const S390X: &str = "s390x-6.12";
/// Those that other machines made; the tests of `NAMES` do not go over them.
pub const DEBIAN: [&str; 3] = [X86_64_DEBIAN, ARM64, S390X];
/// Those that were made with kernels built for it.
pub const NAMES: [&str; 3] = [POWER, POWER_BE, X86_64];

const PAGE_SIZES: [(&str, u64); 6] = [
    (POWER, 0x10000),
    (POWER_BE, 0x1000),
    (X86_64, 0x1000),
    (X86_64_DEBIAN, 0x1000),
    (ARM64, 0x1000),
    (S390X, 0x1000),
];

/// A real dump.
///
/// Its unpacked files are shared by all tests and must not be written to; [`copy_elf`](Self::copy_elf) makes one that
/// may be.
#[derive(Debug)]
pub struct Dump {
    /// Its folder's name.
    pub name: &'static str,
    /// The dump as the second kernel's `/proc/vmcore` had it.
    pub elf: PathBuf,
    /// In bytes.
    pub page_size: u64,
    /// The folder with the compressed originals and `expected/`.
    folder: PathBuf,
}

/// The dump called `name`, one of [`NAMES`] and [`DEBIAN`]; `None`, reported as skipped, when it is not there.
///
/// # Panics
///
/// The corpus cannot be read or unpacked.
pub fn dump(name: &'static str) -> Option<Dump> {
    let folder = root().join(name);
    if !folder.exists() {
        skip_part(&format!("the dump {name}"));
        return None;
    }
    let page_size = PAGE_SIZES.iter().find(|(known, _)| *known == name).expect("a known dump").1;
    Some(Dump { name, elf: cache::unpacked(&folder.join("vmcore.elf.zst")), page_size, folder })
}

/// All dumps that are there; the others are reported as skipped.
pub fn dumps() -> impl Iterator<Item = Dump> {
    NAMES.into_iter().filter_map(dump)
}

/// `HADUMP_CORPUS`, or the repository's `testdata/`.
fn root() -> PathBuf {
    match named() {
        Some(corpus) => {
            assert!(corpus.is_dir(), "HADUMP_CORPUS={}: no such directory", corpus.display());
            corpus
        }
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata"),
    }
}

fn named() -> Option<PathBuf> {
    std::env::var_os("HADUMP_CORPUS").map(PathBuf::from)
}

/// Reports that a part of the corpus is missing. `testdata/` lacks some for its size, which is no failure even in CI; a
/// corpus that was named has to be whole there.
fn skip_part(what: &str) {
    match named() {
        Some(corpus) => skip(&format!("{what} is not in HADUMP_CORPUS={}", corpus.display())),
        None => {
            report_skipped(&format!("{what} is not in testdata/; HADUMP_CORPUS can name a larger corpus"));
        }
    }
}

impl Dump {
    /// The kernel with debug information; `None`, reported as skipped, when it is not there.
    ///
    /// # Panics
    ///
    /// It cannot be unpacked.
    pub fn vmlinux(&self) -> Option<PathBuf> {
        let packed = self.folder.join("vmlinux.zst");
        if !packed.exists() {
            skip_part(&format!("the vmlinux of {}", self.name));
            return None;
        }
        Some(cache::unpacked(&packed))
    }

    /// (POWER) The machine's memory in its second boot, before anything was saved: byte `n` is physical address `n`.
    ///
    /// # Panics
    ///
    /// It cannot be unpacked.
    pub fn memory(&self) -> PathBuf {
        cache::unpacked(&self.folder.join("memory.raw.zst"))
    }

    /// (POWER) The directory with the firmware's properties and what the second kernel made of them.
    pub fn firmware(&self) -> PathBuf {
        self.folder.join("firmware")
    }

    /// (POWER) What the firmware says of the dump.
    pub fn kernel_dump(&self) -> PathBuf {
        self.firmware().join("ibm,kernel-dump")
    }

    /// A text file of the dump's folder.
    ///
    /// # Panics
    ///
    /// It cannot be read.
    pub fn text(&self, path: &str) -> String {
        let path = self.folder.join(path);
        let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The text of `expected/report-golden.json`: what drgn found in the dump with full debug information. `None`, reported
    /// as skipped, when it is not there.
    ///
    /// # Panics
    ///
    /// It cannot be read.
    pub fn golden(&self) -> Option<String> {
        let path = "expected/report-golden.json";
        if !self.folder.join(path).exists() {
            skip_part(&format!("the golden report of {}", self.name));
            return None;
        }
        Some(self.text(path))
    }

    /// The frames that a dump of `level` keeps: bit `pfn & 7` of byte `pfn >> 3`.
    ///
    /// # Panics
    ///
    /// It cannot be unpacked, or there is no such level.
    pub fn bitmap(&self, level: u32) -> Vec<u8> {
        let all = fs::read(cache::unpacked(&self.folder.join("expected/bitmaps.bin.zst"))).expect("bitmaps");
        let size = all.len() / 32;
        all[size * level as usize..][..size].to_vec()
    }

    /// Makes a copy of [`elf`](Self::elf) that may be written to.
    ///
    /// # Panics
    ///
    /// There is no room for it.
    pub fn copy_elf(&self, to: &Path) {
        unpack::file(&self.folder.join("vmcore.elf.zst"), to);
    }
}
