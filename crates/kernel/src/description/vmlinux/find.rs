//! Where the files of a kernel lie: the debug information of an executable, and a kernel in a directory.
//!
//! Debian, Ubuntu: `/usr/lib/debug/boot/vmlinux-RELEASE` or `/usr/lib/debug/lib/modules/RELEASE/vmlinux`; Fedora, RHEL:
//! `/usr/lib/debug/lib/modules/RELEASE/vmlinux`; SUSE: `/usr/lib/debug/boot/vmlinux-RELEASE.debug`, and the stripped
//! executable in `/boot`; Arch: `/usr/lib/modules/RELEASE/build/vmlinux`. All have `.build-id/xx/yyyy.debug`.

use super::part::Part;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

const DEBUG_ROOT: &str = "usr/lib/debug";

/// The most entries of a directory that are looked at.
const MAX_ENTRIES: usize = 4096;

/// Files that may have what `part`, the file at `path`, lacks, the likeliest first. Not all of them exist.
pub(super) fn companions(path: &Path, part: &Part) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let name = path.file_name().unwrap_or_default();
    // gdb's order of places for `.gnu_debuglink`.
    let mut with_suffix = name.to_owned();
    with_suffix.push(".debug");
    for name in part.link.iter().map(OsStr::new).chain([with_suffix.as_os_str()]) {
        found.extend([folder.join(name), folder.join(".debug").join(name)]);
        found.push(Path::new("/").join(DEBUG_ROOT).join(inside_root(&absolute)).join(name));
    }
    // The executable that debug information belongs to lies beside it, or where it lies without the root of these.
    if path.extension() == Some(OsStr::new("debug")) {
        found.push(path.with_extension(""));
    }
    for root in absolute.ancestors() {
        if let Ok(rest) = absolute.strip_prefix(root)
            && root.ends_with(DEBUG_ROOT)
            && let Some(system) = root.ancestors().nth(3)
        {
            let bare = Path::new(name).with_extension("");
            let bare = if path.extension() == Some(OsStr::new("debug")) { bare.as_os_str() } else { name };
            found.push(system.join(rest).join(bare));
        }
    }
    let ids = part.build_id.as_deref().and_then(by_build_id);
    for root in absolute.ancestors().filter(|_| ids.is_some()) {
        let ids = ids.clone().unwrap_or_default();
        found.push(root.join(".build-id").join(&ids));
        found.push(root.join(DEBUG_ROOT).join(".build-id").join(&ids));
    }
    without_doubles(found, Some(path))
}

/// Files below `folder` that may be the vmlinux of the kernel of this release and build, the likeliest first. They exist.
pub(crate) fn candidates(folder: &Path, release: Option<&str>, build_id: Option<&str>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Some(ids) = build_id.and_then(by_build_id) {
        found.extend(
            [".build-id".into(), Path::new(DEBUG_ROOT).join(".build-id")].map(|p| folder.join(p).join(&ids)),
        );
    }
    if let Some(release) = release.filter(|release| !release.contains('/')) {
        let names = [
            "vmlinux".to_owned(),
            format!("vmlinux-{release}"),
            format!("vmlinux-{release}.debug"),
            "vmlinux.debug".to_owned(),
        ];
        let modules = format!("lib/modules/{release}");
        let folders = [
            "",
            release,
            "boot",
            &modules,
            &format!("usr/{modules}"),
            &format!("{modules}/build"),
            &format!("usr/{modules}/build"),
            &format!("usr/src/kernels/{release}"),
        ]
        .map(str::to_owned);
        for root in ["", DEBUG_ROOT] {
            for place in &folders {
                found.extend(names.iter().map(|name| folder.join(root).join(place).join(name)));
            }
        }
    }
    found.retain(|path| path.is_file());
    // Whatever else is called so, here or one directory below.
    let is_kernel = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("vmlinux") || name.ends_with(".debug")
    };
    let here = entries(folder);
    let below = here.iter().filter(|path| path.is_dir()).flat_map(|path| entries(path));
    let mut others: Vec<_> =
        here.iter().cloned().chain(below).filter(|path| is_kernel(path) && path.is_file()).collect();
    others.sort();
    found.extend(others);
    without_doubles(found, None)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().take(MAX_ENTRIES).map(|entry| entry.path()).collect()
}

/// `xx/yyyy.debug` of a build id.
fn by_build_id(id: &str) -> Option<PathBuf> {
    let (first, rest) = id.split_at_checked(2)?;
    let hex = id.bytes().all(|b| b.is_ascii_hexdigit()) && !rest.is_empty();
    hex.then(|| Path::new(first).join(format!("{rest}.debug")))
}

/// An absolute path, to be put below another root.
fn inside_root(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn without_doubles(paths: Vec<PathBuf>, but: Option<&Path>) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    paths.into_iter().filter(|path| Some(path.as_path()) != but && seen.insert(path.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_found_in_the_folders_in_which_distributions_ship_it_the_right_release_first() {
        let folder = tempfile::tempdir().unwrap();
        for place in [
            "vmlinux-6.1",
            "boot/vmlinux-6.1.debug",
            "usr/lib/debug/lib/modules/6.1/vmlinux",
            "usr/lib/debug/.build-id/ab/cdef.debug",
            "lib/modules/6.1/build/vmlinux",
        ] {
            let path = folder.path().join(place);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            let found = candidates(folder.path(), Some("6.1"), Some("abcdef"));
            assert_eq!(found.first(), Some(&path), "{place}");
            let other = folder.path().join("vmlinux-5.0");
            std::fs::write(&other, "").unwrap();
            assert_eq!(candidates(folder.path(), Some("6.1"), Some("abcdef")), [path.clone(), other.clone()]);
            std::fs::remove_file(path).unwrap();
            std::fs::remove_file(other).unwrap();
        }
        for hostile in ["../../etc", "", "/etc"] {
            assert!(candidates(folder.path(), Some(hostile), Some(hostile)).is_empty(), "{hostile}");
        }
    }
}
