//! A mount that nobody answers for, taken away.

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The name in the list of mounts of what the process `pid` answers for.
pub(super) fn source(pid: u32) -> String {
    format!("hadump-{pid}")
}

/// Takes the mount called `source` away from `directory`, if it is there. Files that are still open stay open; reading them fails
/// when nobody answers.
pub(super) fn take_away(directory: &Path, source: &str) {
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    if uppermost(&mounts, directory).as_deref() != Some(source.as_bytes()) {
        return;
    }
    match unmount(directory, UnmountFlags::DETACH) {
        Err(Errno::PERM) => by_helper(directory),
        Err(error) => tracing::warn!("{}: cannot be unmounted: {error}", directory.display()),
        Ok(()) => {}
    }
}

/// Unmounts as a user that is not root.
fn by_helper(directory: &Path) {
    for helper in ["fusermount3", "fusermount"] {
        let run = Command::new(helper).args(["-u", "-z", "--"]).arg(directory).stdin(Stdio::null()).status();
        if run.is_ok_and(|status| status.success()) {
            return;
        }
    }
    tracing::warn!("{}: cannot be unmounted; fusermount3 -u does it", directory.display());
}

/// What is mounted at `directory`, over all others, by the list of mounts (`Documentation/filesystems/proc.rst`): the source of
/// the last that is there.
fn uppermost(mounts: &[u8], directory: &Path) -> Option<Vec<u8>> {
    let at = |line: &[u8]| {
        let mut fields = line.split(|b| *b == b' ');
        let point = unescaped(fields.nth(4)?);
        // Behind a dash, which follows any number of other fields: the type and the source.
        fields.find(|field| *field == b"-")?;
        let source = fields.nth(1)?;
        (Path::new(&point) == directory)
            .then(|| PathBuf::from(unescaped(source)).as_os_str().as_bytes().to_vec())
    };
    mounts.split(|b| *b == b'\n').filter_map(at).next_back()
}

/// Spaces and the like are three octal digits behind a backslash.
fn unescaped(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, behind @ ..] = rest {
        let code = behind
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &behind[3..] } else { behind };
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
90 22 0:60 / /mnt/a\\040b ro,nosuid - fuse hadump-12 ro,user_id=0
91 22 0:61 / /mnt/c ro,nosuid shared:3 master:1 - fuse.hadump hadump-13 ro
92 91 0:62 / /mnt/c rw - tmpfs none rw
broken
";

    #[test]
    fn what_is_over_all_others_is_found_whatever_its_name_is() {
        let of = |directory: &str| uppermost(MOUNTS, Path::new(directory));
        assert_eq!(of("/mnt/a b").as_deref(), Some(&b"hadump-12"[..]));
        assert_eq!(of("/mnt/c").as_deref(), Some(&b"none"[..]));
        assert_eq!(of("/").as_deref(), Some(&b"/dev/vda"[..]));
        assert_eq!(of("/mnt"), None);
    }

    #[test]
    fn a_backslash_that_begins_no_number_is_one() {
        assert_eq!(unescaped(b"a\\040b\\134\\9\\"), "a b\\\\9\\");
    }
}
