//! Writing past the page cache.
//!
//! A dump is written once and read much later. Through the page cache every byte of it is copied by the processors that
//! are to compress, and takes memory that a capture kernel has little of; there it waits until so much is dirty that the
//! system stops the writer, or until the `fsync` at the end. Written past it (`O_DIRECT`), it goes to the disk while the
//! next pages are compressed, and nothing is left to sync.

use super::{write_all, write_error};
use crate::Error;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// What offsets, lengths and addresses have to be multiples of: the largest sector that disks have.
const BLOCK: usize = 4096;

/// The most bytes of one write.
const STAGE: usize = 1 << 20;

/// Fewer bytes than that are better left to the system to gather.
const LEAST: usize = 64 << 10;

/// The file systems on which this is as fast as the disk, by their `f_type` (`linux/magic.h`): ext2, ext3 and ext4, and
/// XFS. NFS would make each write durable on its own; others copy the data after all, for their checksums.
const FILE_SYSTEMS: [u64; 2] = [0xef53, 0x5846_5342];

/// Another way into a file that is being written.
#[derive(Debug)]
pub(super) struct Direct {
    file: File,
    stage: Mutex<Stage>,
}

impl Direct {
    /// Opens a regular file once more by its name, if that is of use.
    pub(super) fn of_file(file: &File, path: &Path) -> Option<Self> {
        let kind = rustix::fs::fstatfs(file).ok()?.f_type;
        let known = FILE_SYSTEMS.iter().any(|known| i128::from(kind) == i128::from(*known));
        if known { Self::of_device(file, path) } else { None }
    }

    /// Opens a block device, or a file whatever it lies on, once more by its name.
    pub(super) fn of_device(file: &File, path: &Path) -> Option<Self> {
        let flags = OFlags::DIRECT.bits() as i32;
        let direct = OpenOptions::new().write(true).custom_flags(flags).open(path).ok()?;
        let identity = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino())).ok();
        let same = identity(&direct)? == identity(file)?;
        same.then(|| Self { file: direct, stage: Mutex::default() })
    }

    /// Writes `parts` one after another from `offset` on, and zeros after them to the end of the block; reports
    /// whether it did so: it does not when they are few bytes. `file` is the first way into the file.
    pub(super) fn append(
        &self,
        file: &File,
        path: &Path,
        offset: u64,
        parts: &[IoSlice<'_>],
    ) -> Result<bool, Error> {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if stage.refused || super::len_of(parts) < LEAST {
            return Ok(false);
        }
        let ways = Ways { direct: &self.file, cached: file, path };
        if stage.next.take() != Some(offset) {
            stage.begin(&ways, offset)?;
        }
        for part in parts {
            stage.put(&ways, part)?;
        }
        stage.end(&ways)?;
        Ok(true)
    }

    /// Notes that bytes up to `end` changed in another way.
    pub(super) fn touch(&self, end: u64) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if end > stage.start {
            stage.next = None;
        }
    }
}

struct Ways<'a> {
    direct: &'a File,
    cached: &'a File,
    path: &'a Path,
}

/// Bytes on their way.
#[derive(Debug, Default)]
struct Stage {
    /// Holds [`STAGE`] bytes from the index `aligned` on, where its address is a multiple of [`BLOCK`].
    buffer: Vec<u8>,
    aligned: usize,
    /// Where in the file the first of them goes, a multiple of [`BLOCK`], and how many there are.
    start: u64,
    len: usize,
    /// Where in the file the bytes after them go, between two appends. The last of the bytes, those that do not fill a
    /// block, stay here to be written again.
    next: Option<u64>,
    /// The system takes no such writes after all.
    refused: bool,
}

impl Stage {
    /// Prepares for bytes at `offset`, with what precedes them in the same block.
    fn begin(&mut self, ways: &Ways<'_>, offset: u64) -> Result<(), Error> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; STAGE + BLOCK];
            self.aligned = self.buffer.as_ptr().align_offset(BLOCK);
        }
        self.len = (offset % BLOCK as u64) as usize;
        self.start = offset - self.len as u64;
        let before = &mut self.buffer[self.aligned..][..self.len];
        read_or_zeros(ways.cached, before, self.start)
            .map_err(|e| write_error(ways.path, format!("read the bytes before offset {offset:#x}"), e))
    }

    fn put(&mut self, ways: &Ways<'_>, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let (some, rest) = bytes.split_at(bytes.len().min(STAGE - self.len));
            self.buffer[self.aligned + self.len..][..some.len()].copy_from_slice(some);
            self.len += some.len();
            bytes = rest;
            if self.len == STAGE {
                self.write(ways)?;
                self.start += STAGE as u64;
                self.len = 0;
            }
        }
        Ok(())
    }

    fn end(&mut self, ways: &Ways<'_>) -> Result<(), Error> {
        self.write(ways)?;
        let whole = self.len - self.len % BLOCK;
        self.buffer.copy_within(self.aligned + whole..self.aligned + self.len, self.aligned);
        self.start += whole as u64;
        self.len -= whole;
        self.next = Some(self.start + self.len as u64);
        Ok(())
    }

    /// Writes what there is, with zeros up to the end of the last block.
    fn write(&mut self, ways: &Ways<'_>) -> Result<(), Error> {
        let blocks = self.len.next_multiple_of(BLOCK);
        let bytes = &mut self.buffer[self.aligned..][..blocks];
        bytes[self.len..].fill(0);
        if write_whole(ways.direct, bytes, self.start) {
            return Ok(());
        }
        // The other way works, or says what is wrong.
        self.refused = true;
        write_all(ways.cached, ways.path, self.start, &bytes[..self.len])
    }
}

/// Writes all of `bytes` in whole blocks; reports whether that succeeded.
fn write_whole(file: &File, mut bytes: &[u8], mut offset: u64) -> bool {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, offset) {
            Err(Errno::INTR) => (),
            Ok(written) if written > 0 && written.is_multiple_of(BLOCK) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            _ => return false,
        }
    }
    true
}

/// Reads `bytes` from `offset` on; what is past the end of the file is zeros.
fn read_or_zeros(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.read_at(bytes, offset) {
            Ok(0) => {
                bytes.fill(0);
                return Ok(());
            }
            Ok(count) => {
                bytes = &mut bytes[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{OutputFile, Sink};
    use proptest::prelude::*;

    /// A directory beside the test program: that of temporary files may be a tmpfs.
    fn directory() -> tempfile::TempDir {
        let program = std::env::current_exe().unwrap();
        tempfile::tempdir_in(program.parent().unwrap()).unwrap()
    }

    fn noise(len: usize, seed: usize) -> Vec<u8> {
        (0..len).map(|i| ((i * 31 + seed * 7 + i / 251) % 255 + 1) as u8).collect()
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Appends after a gap, in parts.
        Append {
            gap: usize,
            len: usize,
            parts: usize,
        },
        /// Writes before the appended bytes, or over the last ones.
        Write {
            back: usize,
            len: usize,
        },
        /// Cuts the file off before its end.
        Cut {
            back: usize,
        },
        Sync,
    }

    fn step() -> impl Strategy<Value = Step> {
        let append = |gap, len| (gap, len, 1usize..4);
        prop_oneof![
            4 => append(0usize..1, 0..3 * LEAST).prop_map(|(gap, len, parts)| Step::Append { gap, len, parts }),
            1 => append(0usize..9000, LEAST..STAGE * 5 / 2).prop_map(|(gap, len, parts)| Step::Append { gap, len, parts }),
            1 => (0usize..20_000, 0usize..6000).prop_map(|(back, len)| Step::Write { back, len: len.min(back) }),
            1 => (0usize..9000).prop_map(|back| Step::Cut { back }),
            1 => Just(Step::Sync),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn a_file_holds_what_was_written_to_it_in_either_way_and_nothing_behind(
            steps in prop::collection::vec(step(), 1..12),
            start in 0usize..9000,
        ) {
            let directory = directory();
            let out = OutputFile::create(&directory.path().join("vmcore"), false).unwrap();
            let mut expected = noise(start, 1);
            out.write_at(0, &expected).unwrap();
            for (n, step) in steps.iter().enumerate() {
                match *step {
                    Step::Append { gap, len, parts } => {
                        let bytes = noise(len, n);
                        let at = expected.len() + if len > 0 { gap } else { 0 };
                        let pieces = bytes.chunks(len.div_ceil(parts).max(1));
                        out.append_at(at as u64, &pieces.map(IoSlice::new).collect::<Vec<_>>()).unwrap();
                        expected.resize(at, 0);
                        expected.extend(bytes);
                    }
                    Step::Write { back, len } => {
                        let at = expected.len().saturating_sub(back);
                        let bytes = noise(len.min(expected.len() - at), n);
                        out.write_at(at as u64, &bytes).unwrap();
                        expected[at..at + bytes.len()].copy_from_slice(&bytes);
                    }
                    Step::Cut { back } => {
                        expected.truncate(expected.len().saturating_sub(back));
                        prop_assert!(out.cut_off(expected.len() as u64));
                    }
                    Step::Sync => out.sync().unwrap(),
                }
            }
            let written = std::fs::read(out.commit().unwrap()).unwrap();
            prop_assert_eq!(written.len(), expected.len());
            prop_assert!(written == expected);
        }
    }

    #[test]
    fn what_the_system_refuses_is_written_in_the_usual_way() {
        let directory = directory();
        let path = directory.path().join("vmcore");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        // A file that cannot be written to stands for a file system that takes no such writes.
        let direct = Direct { file: File::open(&path).unwrap(), stage: Mutex::default() };
        let bytes = noise(STAGE + 5000, 3);
        assert!(direct.append(&file, &path, 10, &[IoSlice::new(&bytes)]).unwrap());
        assert!(!direct.append(&file, &path, 10, &[IoSlice::new(&bytes)]).unwrap());
        let written = std::fs::read(&path).unwrap();
        assert!(written[..10] == [0; 10] && written[10..] == bytes);
    }

    #[test]
    fn an_unfinished_file_has_every_byte_that_was_appended() {
        let directory = directory();
        let target = directory.path().join("vmcore");
        let out = OutputFile::create_resumable(&target, false).unwrap();
        let bytes = noise(3 * LEAST + 77, 5);
        out.append_at(100, &[IoSlice::new(&bytes)]).unwrap();
        let unfinished = std::fs::read(OutputFile::incomplete_name(&target).unwrap()).unwrap();
        assert!(unfinished[100..100 + bytes.len()] == bytes);
        assert!(unfinished.len() - 100 - bytes.len() < BLOCK);
    }
}
