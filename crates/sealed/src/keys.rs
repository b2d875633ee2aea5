//! Public keys to encrypt to, and private keys to decrypt with.

use crate::Error;
use age::ssh;
use std::fs;
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};

/// The public keys that a dump is encrypted to.
pub struct Recipients(Vec<Box<dyn age::Recipient + Send + Sync>>);

impl std::fmt::Debug for Recipients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} recipients", self.0.len())
    }
}

impl Recipients {
    /// Reads recipients as the command line gives them: X25519 keys (`age1...`), SSH public keys (`ssh-ed25519 ...`,
    /// `ssh-rsa ...`), or names of files with one of these on each line, empty lines and `#` comments aside
    /// (`authorized_keys` among them).
    ///
    /// # Errors
    ///
    /// When one is not understood, which the error names, or there is none.
    pub fn parse<S: AsRef<str>>(given: &[S]) -> Result<Self, Error> {
        let mut found = Vec::new();
        for given in given.iter().map(AsRef::as_ref) {
            match recipient(given) {
                Some(recipient) => found.push(recipient),
                None => from_file(given, &mut found)?,
            }
        }
        if found.is_empty() { Err(Error::NoRecipients) } else { Ok(Self(found)) }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &dyn age::Recipient> {
        self.0.iter().map(|r| &**r as &dyn age::Recipient)
    }
}

fn recipient(text: &str) -> Option<Box<dyn age::Recipient + Send + Sync>> {
    let text = text.trim();
    if let Ok(key) = text.parse::<age::x25519::Recipient>() {
        return Some(Box::new(key));
    }
    text.parse::<ssh::Recipient>().ok().map(|key| Box::new(key) as _)
}

fn from_file(name: &str, found: &mut Vec<Box<dyn age::Recipient + Send + Sync>>) -> Result<(), Error> {
    let path = Path::new(name);
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        // More likely a mistyped key than a missing file.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::InvalidFilename) => {
            return Err(Error::NoRecipient { given: name.into() });
        }
        Err(source) => return Err(Error::Read { path: path.to_owned(), source }),
    };
    for (number, line) in text.lines().enumerate().map(|(n, line)| (n + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let given = || format!("{name}, line {number}");
        found.push(recipient(line).ok_or_else(|| Error::NoRecipient { given: given() })?);
    }
    Ok(())
}

/// The private keys that a dump is decrypted with.
pub struct Identities(Vec<Box<dyn age::Identity + Send + Sync>>);

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} identities", self.0.len())
    }
}

impl Identities {
    /// Reads identity files: those of `age-keygen`, and SSH private keys without a passphrase.
    ///
    /// # Errors
    ///
    /// When a file, which the error names, cannot be read or has no such key.
    pub fn read(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut found = Vec::new();
        for path in paths {
            let bytes = fs::read(path).map_err(|source| Error::Read { path: path.clone(), source })?;
            let unfit = |what: &str| Error::NoIdentity { path: path.clone(), what: what.into() };
            if bytes.starts_with(b"-----BEGIN") {
                match ssh::Identity::from_buffer(BufReader::new(&bytes[..]), None) {
                    Ok(key @ ssh::Identity::Unencrypted(_)) => found.push(Box::new(key) as _),
                    Ok(ssh::Identity::Encrypted(_)) => {
                        return Err(unfit(
                            "this SSH key has a passphrase; make a copy without one (ssh-keygen -p -N '' -f COPY), or decrypt \
                             with age",
                        ));
                    }
                    Ok(ssh::Identity::Unsupported(_)) => {
                        return Err(unfit("this kind of SSH key is not supported; Ed25519 and RSA are"));
                    }
                    Err(_) => return Err(unfit("not an SSH private key in OpenSSH or PEM format")),
                }
                continue;
            }
            let file = age::IdentityFile::from_buffer(BufReader::new(&bytes[..]));
            let keys = file.ok().and_then(|file| file.into_identities().ok()).unwrap_or_default();
            if keys.is_empty() {
                return Err(unfit(
                    "neither an age identity file (AGE-SECRET-KEY-1...) nor an SSH private key",
                ));
            }
            found.extend(keys);
        }
        Ok(Self(found))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.0.iter().map(|i| &**i as &dyn age::Identity)
    }
}
