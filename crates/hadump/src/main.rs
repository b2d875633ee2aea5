//! hadump.
fn main() {}
