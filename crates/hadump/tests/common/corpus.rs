//! The real dumps: those of `HADUMP_CORPUS`, without it those of `testdata/`.

use super::unpack::unpack;
use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::Hasher;
use std::path::{Path, PathBuf};

/// A dump of the corpus, unpacked.
pub struct Dump {
    pub name: &'static str,
    /// The dump as the second kernel's `/proc/vmcore` had it.
    pub elf: PathBuf,
    /// In bytes.
    pub page_size: u64,
    /// Where the compressed originals and `expected/` lie.
    folder: PathBuf,
}

/// 64-bit little-endian POWER, 64K pages, radix.
pub const POWER: &str = "power9-fadump-radix-64k";
/// 64-bit big-endian POWER, 4K pages, hash.
pub const POWER_BE: &str = "ppc64be-fadump-hash-4k";
/// x86_64, 4K pages.
pub const X86_64: &str = "x86_64-kdump-6.1";

const PAGE_SIZES: [(&str, u64); 3] = [(POWER, 0x10000), (POWER_BE, 0x1000), (X86_64, 0x1000)];

/// The dump of this name; `None`, and a word about it, when only `testdata/` is there and has no such dump.
pub fn dump(name: &'static str) -> Option<Dump> {
    let folder = root().join(name);
    if !folder.exists() {
        super::skip(&format!("{name}: not in testdata/, and HADUMP_CORPUS names no corpus"));
        return None;
    }
    let page_size = PAGE_SIZES.iter().find(|(known, _)| *known == name).expect("a known dump").1;
    Some(Dump { name, elf: unpacked(&folder.join("vmcore.elf.zst")), page_size, folder })
}

/// `HADUMP_CORPUS`, or the repository's `testdata/`.
fn root() -> PathBuf {
    match std::env::var_os("HADUMP_CORPUS") {
        Some(corpus) => {
            let corpus = PathBuf::from(corpus);
            assert!(corpus.is_dir(), "HADUMP_CORPUS={}: no such directory", corpus.display());
            corpus
        }
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata"),
    }
}

impl Dump {
    /// The kernel with debug information; `None`, and a word about it, without a corpus.
    pub fn vmlinux(&self) -> Option<PathBuf> {
        let packed = self.folder.join("vmlinux.zst");
        if !packed.exists() {
            super::skip(&format!("{}: no vmlinux; HADUMP_CORPUS names a corpus that has one", self.name));
            return None;
        }
        Some(unpacked(&packed))
    }

    /// The machine's memory in its second boot, before anything was saved.
    pub fn memory(&self) -> PathBuf {
        unpacked(&self.folder.join("memory.raw.zst"))
    }

    /// What its firmware says of the dump.
    pub fn kernel_dump(&self) -> PathBuf {
        self.folder.join("firmware/ibm,kernel-dump")
    }

    /// A text file of the dump's folder.
    pub fn text(&self, path: &str) -> String {
        let path = self.folder.join(path);
        let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The frames that a dump of `level` keeps, bit `pfn & 7` of byte `pfn >> 3`.
    pub fn bitmap(&self, level: u32) -> Vec<u8> {
        let all = fs::read(unpacked(&self.folder.join("expected/bitmaps.bin.zst"))).expect("bitmaps");
        let size = all.len() / 32;
        all[size * level as usize..][..size].to_vec()
    }
}

/// The unpacked, sparse copy of `packed`: made once, kept below `target/tmp` under a name that changes with the content,
/// and shared by all tests, also when several processes want it at once.
fn unpacked(packed: &Path) -> PathBuf {
    let content = fs::read(packed).unwrap_or_else(|e| panic!("{}: {e}", packed.display()));
    let mut hasher = DefaultHasher::new();
    hasher.write(&content);
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("unpacked");
    fs::create_dir_all(&cache).expect("the cache of unpacked dumps");
    let stem = packed.file_stem().expect("a file name").to_string_lossy().into_owned();
    let whole = cache.join(format!("{:016x}-{stem}", hasher.finish()));
    // Nobody removes the lock's file: a second one of the same name would be another lock.
    let lock = File::create(cache.join("lock")).expect("the cache's lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("the cache's lock");
    if !whole.exists() {
        let partial = whole.with_extension("partial");
        let file = File::create(&partial).expect("room for an unpacked dump");
        unpack(&content[..], file).unwrap_or_else(|e| panic!("{}: {e}", packed.display()));
        fs::rename(&partial, &whole).expect("the unpacked dump's name");
    }
    whole
}
