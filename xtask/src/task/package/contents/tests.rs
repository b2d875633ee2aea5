use super::*;
use crate::cross::ALL;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn product() -> Product {
    Product {
        target: &ALL[0],
        version: "0.0.1".into(),
        release: "1",
        time: 1_700_000_000,
        maintainer: "Somebody <somebody@example.org>".into(),
        changes: "- It is new.\n".into(),
        licence: "GPL-2.0-only",
        program: Program {
            stripped: b"\x7fELF".to_vec(),
            debug: b"debug".to_vec(),
            build_id: "0123456789abcdef".into(),
        },
        third_party: b"crates".to_vec(),
    }
}

fn bytes_of(files: &[File]) -> Vec<&[u8]> {
    let bytes = files.iter().filter_map(|file| match &file.content {
        Content::Bytes(bytes, _) => Some(&bytes[..]),
        Content::Link(_) => None,
    });
    bytes.collect()
}

/// The files below a directory.
fn below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files.extend(below(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn everything_that_a_distribution_is_given_is_in_the_package() {
    let product = product();
    for flavour in [Flavour::Debian, Flavour::Rpm, Flavour::Tarball] {
        let files = product.files(flavour);
        let bytes = bytes_of(&files);
        for path in below(&crate::root().join("dist")) {
            // Man pages are finished by the program's own words; the rest is for package managers.
            if path.components().any(|part| part.as_os_str() == "man" || part.as_os_str() == "packages") {
                continue;
            }
            let content = fs::read(&path).expect("a file");
            assert!(bytes.contains(&&content[..]), "{flavour:?}: {} is in no package", path.display());
        }
        let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths.len(), files.len(), "{flavour:?}: a path is there twice");
        for page in manual::pages() {
            let path = format!("{}.gz", page.name);
            assert!(paths.iter().any(|known| known.ends_with(&path)), "{flavour:?}: no {path}");
        }
    }
}

#[test]
fn only_the_build_with_lzo_is_under_the_gpl_and_says_where_its_source_is() {
    let with = product();
    let without = Product { licence: "MIT OR Apache-2.0", release: "1+nolzo", ..product() };
    for (product, gpl) in [(with, true), (without, false)] {
        let copyright = licences::copyright(&product.version, product.has_lzo());
        assert_eq!(copyright.contains("GNU General Public License"), gpl);
        assert!(copyright.contains("hadump-0.0.1-source.tar.gz"));
        for flavour in [Flavour::Rpm, Flavour::Tarball] {
            let files = product.files(flavour);
            assert_eq!(files.iter().any(|file| file.path.ends_with("/GPL-2.0.txt")), gpl);
        }
    }
}

#[test]
fn dpkg_reads_what_is_written_for_it() {
    let product = product();
    let directory = tempfile::tempdir().expect("a directory");
    let Some(dpkg_deb) = corpus::program("dpkg-deb") else { return };
    for package in product.packages(Flavour::Debian) {
        let path = crate::task::package::deb::write(&product, &package, directory.path()).expect("a package");
        let run = |argument: &str| {
            let output = Command::new(&dpkg_deb).arg(argument).arg(&path).output().expect("dpkg-deb");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert!(run("--info").contains(&format!("Package: {}\n", package.name)));
        let listed = run("--contents");
        for file in &package.files {
            assert!(listed.contains(&format!(" {}", file.path)), "{} in\n{listed}", file.path);
        }
    }
}

#[test]
fn rpm_takes_every_package() {
    let product = product();
    let directory = tempfile::tempdir().expect("a directory");
    for package in product.packages(Flavour::Rpm) {
        let path =
            crate::task::package::redhat::write(&product, &package, directory.path()).expect("a package");
        let read = rpm::Package::open(&path).expect("a package of rpm's");
        let changes = read.metadata.get_changelog_entries().expect("a changelog");
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].name, "Somebody <somebody@example.org> - 0.0.1-1");
        assert_eq!(changes[0].description, "- It is new.");
        let paths: BTreeSet<PathBuf> = read.metadata.get_file_paths().expect("paths").into_iter().collect();
        let wanted: BTreeSet<PathBuf> =
            package.files.iter().map(|file| Path::new("/").join(&file.path)).collect();
        assert!(paths.is_superset(&wanted));
        // And directories, but only those that nobody else has.
        for more in paths.difference(&wanted) {
            assert!(more.to_string_lossy().contains("hadump"), "{}", more.display());
            assert!(wanted.iter().any(|path| path.starts_with(more)), "{}", more.display());
        }
    }
}
