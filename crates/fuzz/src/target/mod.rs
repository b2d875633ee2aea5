//! The readers.

mod elf;
mod flattened;
mod kdump;
mod split;

use std::ops::Range;

/// A sound input.
#[derive(Clone, Debug)]
pub struct Seed {
    /// The input.
    pub bytes: Vec<u8>,
    /// Where a change matters: headers, tables. Empty when everywhere is alike.
    pub hot: Vec<Range<usize>>,
}

/// A reader that anybody may hand anything.
pub struct Target {
    /// As `--target` spells it.
    pub name: &'static str,
    /// Makes the inputs that hostile ones are made from.
    pub seeds: fn() -> Vec<Seed>,
    /// Hands an input to the reader, and looks at all that it answers.
    pub run: fn(Vec<u8>),
}

/// Every target.
pub const TARGETS: &[Target] = &[elf::TARGET, kdump::TARGET, flattened::TARGET, split::TARGET];
