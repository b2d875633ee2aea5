//! A sealed dump: age files, one after another, opened with a published key.

use super::{Seed, Target};
use crate::pack::{pack, unpack};
use sealed::{Identities, Unsealer, is_sealed};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub(super) const TARGET: Target = Target { name: "sealed", seeds, run };

/// The key and what it opens. Sealing draws random numbers, so these are files.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/sealed")
}

fn identities() -> &'static Identities {
    static IDENTITIES: OnceLock<Identities> = OnceLock::new();
    IDENTITIES.get_or_init(|| Identities::read(&[directory().join("key.txt")]).expect("the key can be read"))
}

fn file(name: &str) -> Seed {
    let bytes = std::fs::read(directory().join(name)).expect("the seed can be read");
    assert!(is_sealed(&bytes));
    // Behind the header, which ends with its MAC, and the nonce, comes what was sealed.
    let header = bytes.windows(4).position(|w| w == b"--- ").map_or(bytes.len(), |at| at + 4 + 43 + 1);
    Seed { hot: vec![0..header, header..bytes.len(), header..bytes.len()], bytes }
}

fn seeds() -> Vec<Seed> {
    let [one, two, empty] = ["one.age", "two.age", "empty.age"].map(file);
    vec![
        pack(std::slice::from_ref(&one)),
        pack(&[one.clone(), two.clone()]),
        pack(&[two.clone(), empty, one]),
        pack(&[two.clone(), two]),
    ]
}

fn run(bytes: Vec<u8>) -> bool {
    let Some(files) = unpack(&bytes) else { return false };
    let inputs = files.iter().enumerate().map(|(n, file)| Ok((PathBuf::from(format!("part{n}")), &file[..])));
    let mut unsealer = Unsealer::new(identities(), inputs);
    let (mut plain, mut piece) = (0, [0; 1000]);
    loop {
        match unsealer.read(&mut piece) {
            Ok(0) => break,
            Ok(len) => plain += len,
            Err(_) => break,
        }
    }
    assert!(plain <= bytes.len(), "{plain} bytes of {}", bytes.len());
    plain > 0
}
