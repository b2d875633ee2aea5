//! What a test does without a dump or a program that it needs.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

/// The path of an installed program; `None`, reported as skipped, when it is not installed.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps vmcore-dmesg in /usr/sbin, which is not on every user's PATH.
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        skip(&format!("{name} is not installed"));
    }
    found
}

/// Reports why something is not tested.
///
/// # Panics
///
/// `CI` is set: everything that tests need has to be present there.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "not tested, although CI is set: {why}");
    report_skipped(why);
}

/// Reports why something is not tested, where even CI may lack what it takes.
///
/// The report goes to standard error, and to the file that `HADUMP_SKIPPED` names, of which `cargo xtask test` makes a
/// list.
pub fn report_skipped(why: &str) {
    // Not `eprintln!`, which the test runner hides while a test passes.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
    if let Some(list) = std::env::var_os("HADUMP_SKIPPED") {
        let mut list =
            OpenOptions::new().append(true).create(true).open(list).expect("the list of skipped tests");
        // One write, so that lines of tests that run at the same time do not mix.
        list.write_all(format!("{}\n", why.replace('\n', " ")).as_bytes())
            .expect("the list of skipped tests");
    }
}
