//! Dumps of synthetic kernels, as files for the program.

use super::run::Scratch;
use phyp_model::synth::dump::{Dump, catalogue};

/// Builds the dump of this name (`cargo xtask synth --list`) and writes it as an ELF core.
pub fn dump(name: &str) -> (Dump, Scratch) {
    let made = catalogue::build(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let file = Scratch::new("vmcore");
    made.write_elf(file.path()).unwrap_or_else(|error| panic!("{name}: {error}"));
    (made, file)
}
