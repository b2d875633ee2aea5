//! Names of the files of an encrypted dump.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

/// One file of an encrypted dump.
///
/// The files of the dump `vmcore` are `vmcore.00000.age`, `vmcore.00001.age` and so on, so that a shell's `vmcore.*.age`
/// names them in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The name of the dump without the suffix.
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

    /// The existing files of the dump `dump`, by number.
    ///
    /// # Errors
    ///
    /// When the directory cannot be listed.
    pub fn all(dump: &Path) -> io::Result<Vec<Self>> {
        let directory = dump.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut parts = Vec::new();
        for entry in std::fs::read_dir(directory.unwrap_or(Path::new(".")))? {
            let part = Self::of(Path::new(&entry?.file_name()));
            parts.extend(
                part.filter(|part| Some(part.dump.as_os_str()) == dump.file_name()).map(|part| part.number),
            );
        }
        parts.sort_unstable();
        Ok(parts.into_iter().map(|number| Self { dump: dump.to_owned(), number }).collect())
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
    fn the_files_of_a_dump_are_found_among_others() {
        let directory = tempfile::tempdir().unwrap();
        for name in [
            "vmcore.00010.age",
            "vmcore.00000.age",
            "vmcore.00002.age-incomplete",
            "other.00001.age",
            "vmcore",
        ] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let parts = Part::all(&directory.path().join("vmcore")).unwrap();
        assert_eq!(parts.iter().map(|part| part.number).collect::<Vec<_>>(), [0, 10]);
        assert!(parts.iter().all(|part| part.path().exists()));
    }

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
