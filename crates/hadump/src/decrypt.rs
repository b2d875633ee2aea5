//! Opening an encrypted dump with its private key.
//!
//! A dump is read at random, which the age format does not allow in a sequence of files. So it is decrypted first, into a file
//! without a name that only this process can reach and that is gone when it ends: beside the input, or in `$TMPDIR` or
//! `/var/tmp` if that directory takes none.

use crate::work;
use anyhow::{Context, Result, bail};
use dumpfile::flattened::{StreamEnd, unflatten};
use dumpfile::kdump::mark_incomplete;
use dumpfile::output::{Sink, work_file};
use sealed::{Identities, Part, Unsealer, is_sealed};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use vmcore::Dump;

/// How an age file begins, and a few bytes more.
const PREFIX: u64 = 64;

/// Opens `files` if they are encrypted: one stream, or the parts of one dump, in any order. The first part alone stands for
/// all that are beside it.
///
/// # Errors
///
/// When no key is given or none fits, and when nothing usable can be decrypted.
pub(crate) fn open(files: &[PathBuf], identities: &[PathBuf]) -> Result<Option<Dump>> {
    let encrypted = files.iter().map(|file| begins_encrypted(file)).collect::<Vec<_>>();
    if !encrypted.contains(&true) {
        return Ok(None);
    }
    if let Some(plain) = encrypted.iter().position(|encrypted| !encrypted) {
        let cannot = || format!("{}: cannot be opened", files[plain].display());
        File::open(&files[plain]).with_context(cannot)?;
        bail!(
            "{}: not encrypted, but other files are; they do not belong to one dump",
            files[plain].display()
        );
    }
    if identities.is_empty() {
        bail!("{}: encrypted with age; open it with its private key: --identity KEYFILE", files[0].display());
    }
    let identities = Identities::read(identities)?;
    let (files, gap) = in_order(files)?;
    let name = Part::of(&files[0]).map_or_else(|| files[0].clone(), |part| part.dump);
    let plaintext = Plaintext::beside(&files[0])?;
    let trouble = decrypt(&files, gap, &identities, &plaintext)?;
    if let Some(trouble) = &trouble
        && let Err(unusable) = mark_incomplete(&plaintext.file, &name)
    {
        bail!("{trouble}; the decrypted part is unusable: {unusable}");
    }
    let mut dump = dumpfile::open_file(plaintext.file, &name)?;
    dump.source.format.push_str(", encrypted");
    if let Some(trouble) = trouble {
        dump.source.remarks.push(format!("{trouble}; everything after it is lost"));
    }
    Ok(Some(dump))
}

/// Whether a file is encrypted by age. A file that cannot be read is not; opening it as a dump will say why.
fn begins_encrypted(path: &Path) -> bool {
    if !path.is_file() {
        return false;
    }
    let mut prefix = Vec::new();
    File::open(path).and_then(|file| file.take(PREFIX).read_to_end(&mut prefix)).is_ok() && is_sealed(&prefix)
}

/// The files in the order of the stream, up to the first that is missing, and a message about that one.
fn in_order(files: &[PathBuf]) -> Result<(Vec<PathBuf>, Option<String>)> {
    let first = &files[0];
    let mut parts = match (Part::of(first), files.len()) {
        (None, 1) => return Ok((files.to_vec(), None)),
        (Some(part), 1) => Part::all(&part.dump)
            .with_context(|| format!("{}: cannot list its directory", first.display()))?,
        _ => {
            let part = |path: &PathBuf| {
                Part::of(path).with_context(|| {
                    format!(
                        "{}: not named like a part of an encrypted dump, such as vmcore.00003.age",
                        path.display()
                    )
                })
            };
            files.iter().map(part).collect::<Result<Vec<_>>>()?
        }
    };
    if let Some(other) = parts.iter().find(|part| part.dump.file_name() != parts[0].dump.file_name()) {
        bail!("{} and {} are parts of different dumps", parts[0].path().display(), other.path().display());
    }
    parts.sort_by_key(|part| part.number);
    parts.dedup();
    // A later part may overwrite what an earlier one wrote, so none counts without those before it.
    let whole = (0..).zip(&parts).take_while(|(number, part)| part.number == *number).count();
    let missing = Part { number: whole as u32, ..parts[0].clone() }.path();
    if whole == 0 {
        bail!("{}: missing; the other parts are unusable without it", missing.display());
    }
    let gap =
        (whole < parts.len()).then(|| format!("{}: missing, and there are later parts", missing.display()));
    Ok((parts[..whole].iter().map(Part::path).collect(), gap))
}

/// Decrypts into `plaintext`, and returns what is wrong if it is not whole; if nothing else is, that is `gap`.
fn decrypt(
    files: &[PathBuf],
    gap: Option<String>,
    identities: &Identities,
    plaintext: &Plaintext,
) -> Result<Option<String>> {
    let inputs = files.iter().map(|file| {
        let input = File::open(file);
        let input = input
            .map_err(|e| io::Error::new(e.kind(), format!("{}: cannot be opened: {e}", file.display())))?;
        Ok((file.clone(), input))
    });
    let mut stream = Unsealer::new(identities, inputs);
    let arrived = unflatten(&mut stream, plaintext)?;
    let last = files.last().map(|file| file.display().to_string()).unwrap_or_default();
    match (arrived.foreign, arrived.end) {
        // Encrypted by another program, and not flattened.
        (Some(bytes), StreamEnd::Cut(None)) if !bytes.is_empty() => {
            plaintext.copy(&bytes, &mut stream).map_err(|error| anyhow::anyhow!("{error:#}"))?;
            Ok(None)
        }
        (Some(_), StreamEnd::Cut(Some(error))) => bail!("{error}"),
        (Some(_), _) => bail!("{last}: it is empty"),
        (None, StreamEnd::Whole) => Ok(None),
        (None, StreamEnd::Cut(Some(error))) => Ok(Some(error.to_string())),
        (None, StreamEnd::Cut(None)) => Ok(gap.or_else(|| {
            let why = "the dump does not end here: a later part is missing, or the save was interrupted";
            Some(format!("{last}: {why}"))
        })),
        (None, StreamEnd::Damaged(what)) => Ok(Some(format!("{}: {what}", files[0].display()))),
    }
}

/// The decrypted bytes.
struct Plaintext {
    file: File,
    path: PathBuf,
}

impl Plaintext {
    fn beside(input: &Path) -> Result<Self> {
        let directory = work::directory_of(input);
        let elsewhere = work::temporary_directory();
        let file = work_file(&directory).or_else(|_| work_file(&elsewhere)).with_context(|| {
            format!(
                "cannot make a file for the decrypted dump, neither in {} nor in {}",
                directory.display(),
                elsewhere.display()
            )
        })?;
        Ok(Self { file, path: directory.join("(decrypted)") })
    }

    /// Copies a dump that is not flattened.
    fn copy(&self, first: &[u8], rest: &mut dyn Read) -> Result<()> {
        self.write_at(0, first)?;
        let mut at = first.len() as u64;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match rest.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    self.write_at(at, &buffer[..count])?;
                    at += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Sink for Plaintext {
    fn path(&self) -> &Path {
        &self.path
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), dumpfile::Error> {
        self.file.write_all_at(bytes, offset).map_err(|source| dumpfile::Error::Write {
            path: self.path.clone(),
            action: format!("write {} bytes at offset {offset:#x}", bytes.len()),
            source,
        })
    }

    fn sync(&self) -> Result<(), dumpfile::Error> {
        Ok(())
    }
}
