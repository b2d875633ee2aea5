//! The mount in the system's list: found there, made faster, and taken away.

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The name in the list of mounts of what the process `pid` answers for.
pub(super) fn source(pid: u32) -> String {
    format!("hadump-{pid}")
}

/// How much of a file the system asks for ahead of who reads it in sequence, in KiB: as much as one request can have. It begins with
/// 128, for which two threads wake each other eight times as often.
const AHEAD: &str = "1024";

/// Lets the system ask for more at once of the mount called `source`, where it lets root say so.
pub(super) fn read_further_ahead(source: &str) {
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let of = |line: &[u8]| Mount::parse(line).filter(|mount| mount.source == source.as_bytes());
    let Some(mount) = mounts.split(|b| *b == b'\n').find_map(of) else { return };
    let setting = Path::new("/sys/class/bdi").join(mount.device).join("read_ahead_kb");
    if let Err(error) = std::fs::write(&setting, AHEAD) {
        tracing::debug!("{}: {error}", setting.display());
    }
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

/// A line of the list of mounts (`Documentation/filesystems/proc.rst`).
struct Mount {
    /// Its major and minor number.
    device: OsString,
    point: OsString,
    source: Vec<u8>,
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|b| *b == b' ');
        let device = unescaped(fields.nth(2)?);
        let point = unescaped(fields.nth(1)?);
        // Behind a dash, which follows any number of other fields: the type and the source.
        fields.find(|field| *field == b"-")?;
        let source = unescaped(fields.nth(1)?).into_vec();
        Some(Self { device, point, source })
    }
}

/// The source of what is mounted at `directory` over all others: the last that is there.
fn uppermost(mounts: &[u8], directory: &Path) -> Option<Vec<u8>> {
    let all = mounts.split(|b| *b == b'\n').filter_map(Mount::parse);
    all.filter(|mount| Path::new(&mount.point) == directory).map(|mount| mount.source).next_back()
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
        assert_eq!(Mount::parse(MOUNTS).unwrap().device, "254:0");
    }

    #[test]
    fn a_backslash_that_begins_no_number_is_one() {
        assert_eq!(unescaped(b"a\\040b\\134\\9\\"), "a b\\\\9\\");
    }
}
