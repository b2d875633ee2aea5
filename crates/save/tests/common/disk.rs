//! A disk that forgets, in any order, what it was not told to keep; and a tool that dies at a given step.

use super::machine::Random;
use dumpfile::kdump::Outline;
use dumpfile::output::Sink;
use save::Error;
use save::journal::{Begin, History, Journal, Storage};
use save::target::{FileTarget, Output, Target};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Counts what the tool does to the world, and lets it die.
pub struct Steps {
    taken: AtomicU64,
    last: u64,
}

impl Steps {
    /// The tool dies when it takes more than `last` steps.
    pub fn until(last: u64) -> Arc<Self> {
        Arc::new(Self { taken: AtomicU64::new(0), last })
    }

    pub fn take(&self) -> io::Result<()> {
        match self.taken.fetch_add(1, Ordering::Relaxed) < self.last {
            true => Ok(()),
            false => Err(io::Error::other("the tool is dead")),
        }
    }

    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

/// What was written and not made durable.
#[derive(Default)]
struct Pending {
    output: Vec<(u64, Vec<u8>)>,
    journal: Vec<u8>,
}

/// A file on that disk.
pub struct Disk {
    file: FileTarget,
    steps: Arc<Steps>,
    pending: Arc<Mutex<Pending>>,
}

impl Disk {
    pub fn new(name: &Path, steps: &Arc<Steps>) -> Self {
        Self { file: FileTarget::new(name, false), steps: Arc::clone(steps), pending: Arc::default() }
    }

    /// The power goes: of what is not durable the disk keeps some, in some order, whole or torn.
    pub fn cut(self, random: &mut Random) {
        let mut pending = std::mem::take(&mut *self.pending.lock().unwrap());
        let path = self.file.unfinished().unwrap();
        if let Ok(file) = OpenOptions::new().write(true).open(&path) {
            while !pending.output.is_empty() {
                let (offset, bytes) =
                    pending.output.swap_remove(random.below(pending.output.len() as u64) as usize);
                let mut sectors = bytes.chunks(512).enumerate().collect::<Vec<_>>();
                match random.below(3) {
                    0 => sectors.clear(),
                    1 => sectors.retain(|_| random.below(2) == 0),
                    _ => (),
                }
                for (number, sector) in sectors {
                    file.write_all_at(sector, offset + 512 * number as u64).unwrap();
                }
            }
        }
        if let Ok(mut file) = OpenOptions::new().append(true).open(&self.file.journal) {
            let kept = random.below(pending.journal.len() as u64 + 1) as usize;
            file.write_all(&pending.journal[..kept]).unwrap();
            if random.below(4) == 0 {
                // The length was kept and the bytes were not.
                file.write_all(&vec![0; pending.journal.len() - kept]).unwrap();
            }
        }
    }

    /// The tool died and the system lives: everything is written out.
    pub fn keep(self) {
        let pending = std::mem::take(&mut *self.pending.lock().unwrap());
        if let Ok(file) = OpenOptions::new().write(true).open(self.file.unfinished().unwrap()) {
            pending.output.iter().for_each(|(offset, bytes)| file.write_all_at(bytes, *offset).unwrap());
        }
        if let Ok(mut file) = OpenOptions::new().append(true).open(&self.file.journal) {
            file.write_all(&pending.journal).unwrap();
        }
    }

    fn wrap(&self, journal: Journal) -> Journal {
        let (pending, steps) = (Arc::clone(&self.pending), Arc::clone(&self.steps));
        journal.wrapped(|inner| Box::new(Log { inner, pending, steps }))
    }

    fn output(&self, inner: Box<dyn Output>) -> Box<dyn Output> {
        Box::new(Cached { inner, pending: Arc::clone(&self.pending), steps: Arc::clone(&self.steps) })
    }

    fn step(&self) -> Result<(), Error> {
        let action = "be alive";
        self.steps.take().map_err(|source| Error::Journal { path: self.file.journal.clone(), action, source })
    }
}

impl Target for Disk {
    fn begin(&self, begin: &Begin) -> Result<Journal, Error> {
        self.step()?;
        let mut journal = self.wrap(Journal::create(&self.file.journal)?);
        journal.append(&save::journal::Record::Begin(begin.clone()))?;
        Ok(journal)
    }

    fn resume(&self) -> Result<Option<(Journal, Option<History>)>, Error> {
        Ok(self.file.resume()?.map(|(journal, history)| (self.wrap(journal), history)))
    }

    fn forget(&self, journal: Journal) -> Result<(), Error> {
        self.step()?;
        self.file.forget(journal)
    }

    fn create(&self, replace: bool) -> Result<Box<dyn Output>, Error> {
        self.step()?;
        Ok(self.output(self.file.create(replace)?))
    }

    fn reopen(&self) -> Result<Box<dyn Output>, Error> {
        Ok(self.output(self.file.reopen()?))
    }

    fn unfinished(&self) -> Result<PathBuf, Error> {
        self.file.unfinished()
    }

    fn is_named(&self) -> bool {
        self.file.is_named()
    }

    fn outline(&self, finished: bool) -> Result<Outline, Error> {
        self.file.outline(finished)
    }
}

struct Log {
    inner: Box<dyn Storage>,
    pending: Arc<Mutex<Pending>>,
    steps: Arc<Steps>,
}

impl Storage for Log {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.steps.take()?;
        self.pending.lock().unwrap().journal.extend(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.steps.take()?;
        let bytes = std::mem::take(&mut self.pending.lock().unwrap().journal);
        self.inner.append(&bytes)
    }
}

struct Cached {
    inner: Box<dyn Output>,
    pending: Arc<Mutex<Pending>>,
    steps: Arc<Steps>,
}

impl Cached {
    fn step(&self) -> Result<(), dumpfile::Error> {
        let path = self.inner.path().to_owned();
        self.steps.take().map_err(|source| dumpfile::Error::Write { path, action: "be alive".into(), source })
    }
}

impl Sink for Cached {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), dumpfile::Error> {
        self.step()?;
        self.pending.lock().unwrap().output.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> Result<(), dumpfile::Error> {
        self.step()?;
        for (offset, bytes) in std::mem::take(&mut self.pending.lock().unwrap().output) {
            self.inner.write_at(offset, &bytes)?;
        }
        Ok(())
    }
}

impl Output for Cached {
    fn commit(self: Box<Self>) -> Result<PathBuf, Error> {
        self.sync()?;
        self.step()?;
        self.inner.commit()
    }

    fn keep(self: Box<Self>) -> Result<PathBuf, Error> {
        self.sync()?;
        self.inner.keep()
    }
}
