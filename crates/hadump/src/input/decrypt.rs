//! Opening an encrypted dump with its private key.
//!
//! A dump is read at random, which the age format does not allow in a sequence of files. So it is decrypted first, into a file
//! without a name that only this process can reach and that is gone when it ends: beside the input, or in `$TMPDIR` or
//! `/var/tmp` if that directory takes none.

use crate::output::SinkWriter;
use crate::output::work;
use anyhow::{Context, Result, bail};
use dumpfile::flattened::{StreamEnd, unflatten};
use dumpfile::kdump::mark_incomplete;
use dumpfile::output::{Sink, directory_of, work_file};
use sealed::{Identities, Part, Unsealer, is_sealed};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use vmcore::Dump;

/// How an age file begins, and a few bytes more.
const PREFIX: u64 = 64;

/// Encrypted files in the order of what they hold, and the keys for them.
pub(crate) struct Encrypted {
    files: Vec<PathBuf>,
    /// A message about the first file that is missing, if there are later ones.
    gap: Option<String>,
    identities: Identities,
}

impl Encrypted {
    /// Looks at `files`; `None` when none is encrypted. The first part of a dump stands for all that are beside it.
    ///
    /// # Errors
    ///
    /// When no key is given, files of several dumps are mixed, or the first part is missing.
    pub(crate) fn of(files: &[PathBuf], identities: &[PathBuf]) -> Result<Option<Self>> {
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
            bail!(
                "{}: encrypted with age; open it with its private key: --identity KEYFILE",
                files[0].display()
            );
        }
        let (files, gap) = in_order(files)?;
        Ok(Some(Encrypted { files, gap, identities: Identities::read(identities)? }))
    }

    /// The bytes as they were encrypted, file by file.
    pub(crate) fn stream(&self) -> impl Read + '_ {
        let inputs = self.files.iter().map(|file| {
            let input = File::open(file);
            let input = input.map_err(|e| {
                io::Error::new(e.kind(), format!("{}: cannot be opened: {e}", file.display()))
            })?;
            Ok((file.clone(), input))
        });
        Unsealer::new(&self.identities, inputs)
    }

    /// The file that is missing before others.
    pub(crate) fn gap(&self) -> Option<&str> {
        self.gap.as_deref()
    }
}

/// Opens `files` if they are encrypted: one stream, or the parts of one dump, in any order. The first part alone stands for
/// all that are beside it.
///
/// # Errors
///
/// When no key is given or none fits, and when nothing usable can be decrypted.
pub(crate) fn open(files: &[PathBuf], identities: &[PathBuf]) -> Result<Option<Dump>> {
    let Some(encrypted) = Encrypted::of(files, identities)? else { return Ok(None) };
    let first = &encrypted.files[0];
    let name = Part::of(first).map_or_else(|| first.clone(), |part| part.dump);
    let plaintext = Plaintext::beside(first)?;
    let trouble = into(&encrypted, &plaintext)?;
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

/// Decrypts into `plaintext`, a flattened stream as the file that it stands for, and returns what is wrong if it is not whole.
///
/// # Errors
///
/// When nothing usable can be decrypted.
pub(crate) fn into(encrypted: &Encrypted, plaintext: &dyn Sink) -> Result<Option<String>> {
    let Encrypted { files, gap, .. } = encrypted;
    let mut stream = encrypted.stream();
    let arrived = unflatten(&mut stream, plaintext)?;
    let last = files.last().map(|file| file.display().to_string()).unwrap_or_default();
    match (arrived.foreign, arrived.end) {
        // Encrypted by another program, and not flattened.
        (Some(bytes), StreamEnd::Cut(None)) if !bytes.is_empty() => {
            let mut out = SinkWriter::new(plaintext);
            let copied = out.write_all(&bytes).and_then(|()| io::copy(&mut stream, &mut out));
            copied.map_err(|error| anyhow::anyhow!("{error:#}"))?;
            Ok(None)
        }
        (Some(_), StreamEnd::Cut(Some(error))) => bail!("{error}"),
        (Some(_), _) => bail!("{last}: it is empty"),
        (None, StreamEnd::Whole) => Ok(None),
        (None, StreamEnd::Cut(Some(error))) => Ok(Some(error.to_string())),
        (None, StreamEnd::Cut(None)) => Ok(gap.clone().or_else(|| {
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
        let directory = directory_of(input);
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
