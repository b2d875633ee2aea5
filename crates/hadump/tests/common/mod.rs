//! What the integration tests share: checks, peers, runs of the program. Real dumps are in the crate `corpus`.
//!
//! A test that lacks a peer or a dump reports that and passes; with `CI` set it fails.

#![expect(dead_code, unreachable_pub, reason = "each test file uses its part; a test has no outside")]

pub mod check;
pub mod live;
pub mod makedumpfile;
pub mod model;
pub mod mounted;
pub mod notes;
pub mod peer;
pub mod reader;
pub mod run;
pub mod saving;
pub mod small;
pub mod synth;

pub use corpus::{report_skipped, skip};
