//! What the integration tests share: dumps, peers, runs of the program.
//!
//! A test that lacks a peer or a dump says so on standard error and passes; with `CI` set it fails.

#![expect(dead_code, unreachable_pub, reason = "each test file uses its part; a test has no outside")]

pub mod check;
pub mod corpus;
pub mod live;
pub mod makedumpfile;
pub mod model;
pub mod peer;
pub mod reader;
pub mod run;
pub mod synth;
pub mod unpack;

use std::io::Write;

/// Says what is not checked and why. With `CI` set that is a failure: there every peer and the whole corpus are present.
pub fn skip(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "not checked, although CI is set: {what}");
    say_skipped(what);
}

/// Says what is not checked and why, for what even CI may lack.
pub fn say_skipped(what: &str) {
    // Not `eprintln!`, which the test runner hides while a test passes.
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}
