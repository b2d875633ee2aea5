//! The structures that firmware and kernel leave: a module each.

pub mod crashinfo;
pub mod devtree;
pub mod kdms;
pub mod opal;
pub mod region;
