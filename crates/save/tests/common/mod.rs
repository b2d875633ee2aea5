//! A machine that releases its memory while it is saved, on a disk that forgets.

#![expect(unreachable_pub, reason = "a test has no outside")]

pub mod disk;
pub mod machine;
