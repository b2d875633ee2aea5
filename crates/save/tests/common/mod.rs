//! A machine that gives its memory back while it is saved, on a disk that forgets.

#![expect(dead_code, reason = "each test file uses its part")]

pub mod disk;
pub mod machine;
