//! Names of the files of a sealed dump.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// One file of a sealed dump.
///
/// The files of the dump `vmcore` are `vmcore.00000.age`, `vmcore.00001.age` and so on, so that a shell's `vmcore.*.age`
/// names them in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The dump's name, as the set would have it if it were one file.
    pub dump: PathBuf,
    /// Counted from 0.
    pub number: u32,
}

const SUFFIX: &str = ".age";
const DIGITS: usize = 5;

impl Part {
    /// The file's name.
    pub fn path(&self) -> PathBuf {
        let mut name = self.dump.clone().into_os_string();
        name.push(OsString::from(format!(".{:0DIGITS$}{SUFFIX}", self.number)));
        name.into()
    }

    /// Recognises a file's name.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name().and_then(OsStr::to_str)?;
        let (dump, number) = name.strip_suffix(SUFFIX)?.rsplit_once('.')?;
        let canonical = number.len() >= DIGITS && number.bytes().all(|b| b.is_ascii_digit());
        let number = number.parse().ok().filter(|_| canonical && !dump.is_empty())?;
        Some(Self { dump: path.with_file_name(dump), number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_dump_and_the_number() {
        for number in [0, 7, 99_999, 100_000] {
            let part = Part { dump: "/a/vmcore.1".into(), number };
            assert_eq!(Part::of(&part.path()), Some(part));
        }
        assert_eq!(Part { dump: "vmcore".into(), number: 3 }.path(), Path::new("vmcore.00003.age"));
        for name in ["vmcore.age", "vmcore.3.age", "vmcore.00003", ".00003.age", "vmcore.+0003.age"] {
            assert_eq!(Part::of(Path::new(name)), None, "{name}");
        }
    }
}
