//! What is sealed opens with the right key, whole, and not otherwise.

use age::secrecy::ExposeSecret;
use proptest::prelude::*;
use sealed::{Identities, Recipients, Sealer, Unsealer, is_sealed};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

struct Keys {
    directory: tempfile::TempDir,
    identities: Identities,
    recipients: Recipients,
    public: String,
}

/// A new pair of keys.
fn keys() -> Keys {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.txt");
    let identity = age::x25519::Identity::generate();
    fs::write(&path, format!("# comment\n{}\n", identity.to_string().expose_secret())).unwrap();
    let public = identity.to_public().to_string();
    let recipients = Recipients::parse(&[&public]).unwrap();
    Keys { identities: Identities::read(&[path]).unwrap(), recipients, public, directory }
}

fn seal(recipients: &Recipients, plain: &[u8]) -> Vec<u8> {
    let mut sealer = Sealer::new(recipients, Vec::new()).unwrap();
    sealer.write_all(plain).unwrap();
    sealer.finish().unwrap()
}

fn open(identities: &Identities, files: &[Vec<u8>]) -> io::Result<Vec<u8>> {
    let inputs = files.iter().enumerate().map(|(n, file)| Ok((PathBuf::from(format!("part{n}")), &file[..])));
    let mut plain = Vec::new();
    Unsealer::new(identities, inputs).read_to_end(&mut plain)?;
    Ok(plain)
}

#[test]
fn a_recipient_may_stand_in_a_file_among_comments() {
    let Keys { directory, identities, public, .. } = keys();
    let path = directory.path().join("recipients");
    fs::write(&path, format!("# the lab\n\n{public}\n")).unwrap();
    let recipients = Recipients::parse(&[path.to_str().unwrap()]).unwrap();
    assert_eq!(open(&identities, &[seal(&recipients, b"dump")]).unwrap(), b"dump");
    fs::write(&path, "age1nonsense\n").unwrap();
    let error = Recipients::parse(&[path.to_str().unwrap()]).unwrap_err().to_string();
    assert!(error.contains("recipients, line 1"), "{error}");
    assert!(
        Recipients::parse(&["age1nonsense"]).unwrap_err().to_string().starts_with("age1nonsense: neither")
    );
    assert!(Recipients::parse::<&str>(&[]).is_err());
}

#[test]
fn another_key_decrypts_nothing_and_the_error_says_so() {
    let Keys { identities, .. } = keys();
    let other = age::x25519::Identity::generate();
    let recipients = Recipients::parse(&[other.to_public().to_string()]).unwrap();
    let error = open(&identities, &[seal(&recipients, b"dump")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(error.to_string(), "part0: encrypted for other keys: no given identity can decrypt it");
}

#[test]
fn a_file_without_a_key_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    for text in ["", "hello", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"] {
        fs::write(&path, text).unwrap();
        let error = Identities::read(std::slice::from_ref(&path)).unwrap_err().to_string();
        assert!(error.starts_with(&path.display().to_string()), "{error}");
    }
    assert!(Identities::read(&[Path::new("/nonexistent").to_owned()]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn parts_open_as_one_stream(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200_000), 1..4)) {
        let Keys { identities, recipients, .. } = keys();
        let files: Vec<_> = parts.iter().map(|part| seal(&recipients, part)).collect();
        prop_assert!(files.iter().all(|file| is_sealed(file)));
        prop_assert_eq!(open(&identities, &files).unwrap(), parts.concat());
    }

    #[test]
    fn what_was_cut_or_altered_is_an_error_that_names_the_part(
        plain in prop::collection::vec(any::<u8>(), 1..150_000), at in any::<prop::sample::Index>(), flip in 0u8..8, cut: bool,
    ) {
        let Keys { identities, recipients, .. } = keys();
        let mut file = seal(&recipients, &plain);
        let at = at.index(file.len());
        if cut {
            file.truncate(at);
        } else {
            file[at] ^= 1 << flip;
        }
        let error = open(&identities, &[file]).unwrap_err();
        prop_assert!(error.to_string().starts_with("part0: "), "{}", error);
    }
}
