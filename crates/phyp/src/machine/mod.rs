//! The machine after its second boot: what it shows, whose its memory is, and what a release would do.

pub mod custody;
pub mod giveback;
pub mod meminfo;
pub mod status;
pub mod system;
