//! Unpacked files, each made once for all tests.

use crate::unpack;
use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::Hasher;
use std::path::{Path, PathBuf};

/// The unpacked, sparse copy of `packed`: kept below the target directory under a name that changes with the content, and
/// shared by all tests, also when several processes want it at once.
pub(crate) fn unpacked(packed: &Path) -> PathBuf {
    let content = fs::read(packed).unwrap_or_else(|e| panic!("{}: {e}", packed.display()));
    let mut hasher = DefaultHasher::new();
    hasher.write(&content);
    let cache = target_directory().join("tmp/unpacked");
    fs::create_dir_all(&cache).expect("the cache of unpacked dumps");
    let stem = packed.file_stem().expect("a file name").to_string_lossy().into_owned();
    let whole = cache.join(format!("{:016x}-{stem}", hasher.finish()));
    // The lock's file stays: if one process removed it, the next would lock another file of the same name.
    let lock = File::create(cache.join("lock")).expect("the cache's lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("the cache's lock");
    if !whole.exists() {
        let partial = whole.with_extension("partial");
        unpack::file(packed, &partial);
        fs::rename(&partial, &whole).expect("the unpacked dump's name");
    }
    whole
}

/// The directory that cargo builds in. cargo names it only to the tests of the crate that it builds, so it is looked for
/// above the test's executable, by the mark that cargo leaves in it.
fn target_directory() -> PathBuf {
    let executable = std::env::current_exe().expect("the test's executable");
    let marked = executable.ancestors().find(|directory| directory.join("CACHEDIR.TAG").exists());
    marked.or(executable.parent()).expect("an executable is in a directory").to_owned()
}
