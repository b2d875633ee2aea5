//! An encrypted save, which can be resumed without the private key.
//!
//! What a plain save writes into one file is written as one flattened stream into a sequence of age files
//! (`NAME.00000.age`, `NAME.00001.age` ...), a new one each time the output is made durable. A file that has its name is
//! whole and durable; the one being written is called `….age-incomplete`, and a resumed save removes it.
//!
//! The machine that saves cannot read these files. What a later run has to know is in `NAME.skeleton-incomplete`, a
//! [`Skeleton`]: headers, bitmaps and descriptors, no page and no register.

use crate::journal::{Begin, History, Journal};
use crate::target::{Output, Target, begin_journal, forget_journal, outline_of, paced, resume_journal};
use crate::{Error, trust};
use dumpfile::flattened::FlattenedSink;
use dumpfile::kdump::{Outline, Skeleton};
use dumpfile::output::{OutputFile, Sink, sync_directory};
use rustix::fs::OFlags;
use sealed::{Part, Recipients, Sealer};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Encrypted files, with a skeleton beside them until the save is finished.
#[derive(Debug)]
pub struct SealedTarget {
    name: PathBuf,
    journal: PathBuf,
    recipients: Arc<Recipients>,
    force: bool,
    rate: Option<u64>,
    /// Whether the skeleton belongs to the save that the journal is about.
    ours: AtomicBool,
}

/// The path of a save's skeleton once the save is whole; before that, `-incomplete` is appended.
pub fn skeleton_beside(name: &Path) -> PathBuf {
    let mut skeleton = name.as_os_str().to_owned();
    skeleton.push(".skeleton");
    skeleton.into()
}

impl SealedTarget {
    /// The files of the dump `name`, for `recipients`. With `force` they may replace others; `rate` is the most bytes per
    /// second that are written to them.
    pub fn new(
        name: &Path,
        journal: PathBuf,
        recipients: Recipients,
        force: bool,
        rate: Option<u64>,
    ) -> Self {
        let (recipients, ours) = (Arc::new(recipients), AtomicBool::new(false));
        Self { name: name.to_owned(), journal, recipients, force, rate, ours }
    }

    fn skeleton(&self) -> PathBuf {
        skeleton_beside(&self.name)
    }

    fn failed(&self, action: &str) -> impl FnOnce(io::Error) -> Error + use<> {
        let (path, action) = (self.name.clone(), action.to_owned());
        move |source| dumpfile::Error::Write { path, action, source }.into()
    }

    /// The parts that exist.
    fn parts(&self) -> Result<Vec<Part>, Error> {
        Part::all(&self.name).map_err(self.failed("look for its encrypted files"))
    }

    /// The first number among those of `parts` that is missing.
    fn gap(&self, parts: &[Part]) -> Option<u32> {
        (0..).zip(parts).find_map(|(number, part)| (part.number != number).then_some(number))
    }

    /// Removes the file that an interrupted run was writing: it is not known how much of it is on the disk.
    fn remove_unfinished(&self, next: u32) -> Result<(), Error> {
        match std::fs::remove_file(unfinished(&Part { dump: self.name.clone(), number: next })) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(self.failed("remove its unfinished file")(e)),
            _ => Ok(()),
        }
    }

    fn output(
        &self,
        stream: FlattenedSink<Parts>,
        skeleton: Skeleton,
        clearing: Option<Vec<Held>>,
    ) -> Box<dyn Output> {
        self.ours.store(true, Ordering::Relaxed);
        let output = SealedOutput {
            name: self.name.clone(),
            stream,
            skeleton,
            clearing: Mutex::new(clearing),
            failed: AtomicBool::new(false),
        };
        paced(output, self.rate)
    }
}

impl Target for SealedTarget {
    fn begin(&self, begin: &Begin) -> Result<Journal, Error> {
        begin_journal(&self.journal, begin)
    }

    fn resume(&self) -> Result<Option<(Journal, Option<History>)>, Error> {
        let found = resume_journal(&self.journal)?;
        if let Some((_, Some(history))) = &found
            && history.begin.output.file_name() == self.unfinished()?.file_name()
        {
            self.ours.store(true, Ordering::Relaxed);
        }
        Ok(found)
    }

    fn forget(&self, journal: Journal) -> Result<(), Error> {
        forget_journal(journal)?;
        if self.ours.load(Ordering::Relaxed) {
            for skeleton in [self.skeleton(), self.unfinished()?] {
                match std::fs::remove_file(&skeleton) {
                    Err(e) if e.kind() != ErrorKind::NotFound => {
                        return Err(self.failed("remove its skeleton")(e));
                    }
                    _ => (),
                }
            }
        }
        Ok(())
    }

    fn replaces(&self) -> bool {
        self.force
    }

    fn create(&self, replace: bool) -> Result<Box<dyn Output>, Error> {
        let parts = self.parts()?;
        let skeleton = self.unfinished()?;
        // Files of an interrupted save have a skeleton; with a journal of ours they may be replaced.
        let begun = skeleton.symlink_metadata().is_ok();
        let taken = parts.first().map(Part::path).or(begun.then_some(skeleton));
        if let Some(path) = taken
            && !self.force
            && !(replace && begun)
        {
            let action = "replace it without force".to_owned();
            return Err(
                dumpfile::Error::Write { path, action, source: ErrorKind::AlreadyExists.into() }.into()
            );
        }
        // Locked before anything is removed: another process may be writing it.
        if begun && let Err(error) = OutputFile::reopen(&self.skeleton(), true) {
            let busy = |e: &dumpfile::Error| matches!(e, dumpfile::Error::Write { source, .. } if source.kind() == ErrorKind::WouldBlock);
            if busy(&error) {
                return Err(error.into());
            }
        }
        for part in &parts {
            std::fs::remove_file(part.path()).map_err(self.failed("remove its older files"))?;
        }
        self.remove_unfinished(parts.last().map_or(0, |last| last.number + 1))?;
        self.remove_unfinished(0)?;
        let skeleton = Skeleton::new(OutputFile::create_resumable(&self.skeleton(), true)?);
        let parts = Parts::new(&self.name, &self.recipients, 0);
        Ok(self.output(FlattenedSink::new(parts, &self.name)?, skeleton, None))
    }

    fn reopen(&self) -> Result<Box<dyn Output>, Error> {
        let skeleton = Skeleton::reopen(OutputFile::reopen(&self.skeleton(), true)?)?;
        let parts = self.parts()?;
        let next = parts.last().map_or(0, |last| last.number + 1);
        if let Some(gap) = self.gap(&parts) {
            let path = Part { dump: self.name.clone(), number: gap }.path();
            let action = "resume a save of which this file is missing; start over with --force".to_owned();
            return Err(dumpfile::Error::Write { path, action, source: ErrorKind::NotFound.into() }.into());
        }
        self.remove_unfinished(next)?;
        let parts = Parts::new(&self.name, &self.recipients, next);
        Ok(self.output(FlattenedSink::continued(parts, &self.name), skeleton, Some(Vec::new())))
    }

    fn unfinished(&self) -> Result<PathBuf, Error> {
        Ok(OutputFile::incomplete_name(&self.skeleton())?)
    }

    fn is_named(&self) -> bool {
        // The skeleton gets its final name when the last file has its own.
        self.unfinished().is_ok_and(|skeleton| skeleton.symlink_metadata().is_err())
    }

    fn outline(&self, finished: bool) -> Result<Outline, Error> {
        let parts = self.parts()?;
        // What the skeleton says of the files counts only if they are there.
        if finished && (parts.is_empty() || self.gap(&parts).is_some()) {
            let number = self.gap(&parts).unwrap_or(0);
            let path = Part { dump: self.name.clone(), number }.path();
            return Err(Error::File { path, action: "open it", source: ErrorKind::NotFound.into() });
        }
        for part in &parts {
            trust::open(&part.path(), OFlags::RDONLY)?;
        }
        outline_of(&if finished { self.skeleton() } else { self.unfinished()? })
    }
}

/// A write that the skeleton does not have yet: offset and bytes.
type Held = (u64, Vec<u8>);

struct SealedOutput {
    name: PathBuf,
    stream: FlattenedSink<Parts>,
    skeleton: Skeleton,
    /// What a resumed run writes before it writes pages: it clears old descriptors, which the skeleton must keep until the
    /// files in which they are cleared are durable.
    clearing: Mutex<Option<Vec<Held>>>,
    /// A write to the files failed and was reported.
    failed: AtomicBool,
}

impl SealedOutput {
    fn clearing(&self) -> MutexGuard<'_, Option<Vec<Held>>> {
        self.clearing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checked<T>(&self, result: Result<T, dumpfile::Error>) -> Result<T, dumpfile::Error> {
        if result.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        result
    }

    fn to_skeleton(&self, mut offset: u64, parts: &[IoSlice<'_>]) -> Result<(), dumpfile::Error> {
        if let Some(held) = &mut *self.clearing() {
            held.push((offset, parts.iter().flat_map(|part| part.iter().copied()).collect()));
            return Ok(());
        }
        for part in parts {
            self.skeleton.write_at(offset, part)?;
            offset += part.len() as u64;
        }
        Ok(())
    }
}

impl Sink for SealedOutput {
    fn path(&self) -> &Path {
        &self.name
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), dumpfile::Error> {
        self.write_parts_at(offset, &[IoSlice::new(bytes)])
    }

    fn write_parts_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<(), dumpfile::Error> {
        self.checked(self.to_skeleton(offset, parts))?;
        self.checked(self.stream.write_parts_at(offset, parts))
    }

    fn sync(&self) -> Result<(), dumpfile::Error> {
        let held = self.clearing().take();
        let Some(held) = held else {
            // A descriptor in the files that the skeleton lacks would not be cleared when its page is written again.
            self.checked(self.skeleton.sync())?;
            return self.checked(self.stream.sync());
        };
        self.checked(self.stream.sync())?;
        for (offset, bytes) in held {
            self.checked(self.skeleton.write_at(offset, &bytes))?;
        }
        self.checked(self.skeleton.sync())
    }

    fn blank(&self, offset: u64, len: u64) -> Result<(), dumpfile::Error> {
        self.skeleton.blank(offset, len)
    }
}

impl Output for SealedOutput {
    fn commit(self: Box<Self>) -> Result<PathBuf, Error> {
        self.sync()?;
        let Self { name, stream, skeleton, .. } = *self;
        stream.finish()?;
        skeleton.commit()?;
        Ok(Part { dump: name, number: 0 }.path())
    }

    fn keep(self: Box<Self>) -> Result<PathBuf, Error> {
        // The failure was already reported; keep what is durable.
        let reported = self.failed.load(Ordering::Relaxed);
        let synced = self.sync();
        let Self { name, skeleton, .. } = *self;
        let kept = skeleton.keep();
        if !reported {
            synced?;
            kept?;
        }
        Ok(Part { dump: name, number: 0 }.path())
    }
}

/// The name of a part that is being written.
fn unfinished(part: &Part) -> PathBuf {
    let mut name = part.path().into_os_string();
    name.push("-incomplete");
    name.into()
}

/// A stream cut into age files: each flush ends one.
struct Parts {
    next: Part,
    recipients: Arc<Recipients>,
    current: Option<Sealer<File>>,
}

impl Parts {
    fn new(name: &Path, recipients: &Arc<Recipients>, number: u32) -> Self {
        Self {
            next: Part { dump: name.to_owned(), number },
            recipients: Arc::clone(recipients),
            current: None,
        }
    }

    fn begin(&self) -> io::Result<Sealer<File>> {
        let mut options = OpenOptions::new();
        let flags = OFlags::NOFOLLOW.bits() as i32;
        options.write(true).create_new(true).mode(0o600).custom_flags(flags);
        let name = unfinished(&self.next);
        Sealer::new(&self.recipients, options.open(&name)?).map_err(|error| {
            let _ = std::fs::remove_file(&name);
            plain_error(error)
        })
    }
}

/// The underlying I/O error, if there is one.
fn plain_error(error: sealed::Error) -> io::Error {
    match error {
        sealed::Error::Write(error) => error,
        other => io::Error::other(other),
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sealer = match &mut self.current {
            Some(sealer) => sealer,
            None => {
                let sealer = self.begin()?;
                self.current.insert(sealer)
            }
        };
        sealer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(sealer) = self.current.take() else { return Ok(()) };
        let name = unfinished(&self.next);
        let ended = sealer.finish().map_err(plain_error).and_then(|file| dumpfile::output::sync_file(&file));
        if let Err(error) = ended.and_then(|()| std::fs::rename(&name, self.next.path())) {
            // It is unusable, and others may need the room.
            let _ = std::fs::remove_file(name);
            return Err(error);
        }
        self.next.number += 1;
        let directory = self.next.dump.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_directory(directory.unwrap_or(Path::new(".")))
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if self.current.is_some() {
            let _ = std::fs::remove_file(unfinished(&self.next));
        }
    }
}
