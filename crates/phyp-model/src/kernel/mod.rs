//! Both kernels: what the first sets aside and writes down, and what the second makes of it and gives back.

pub mod crashinfo;
pub mod fadump;
pub mod layout;
pub mod linux;
pub mod notes;
pub mod release;
pub mod sizing;
pub mod verdict;
pub mod vmcore;
pub(crate) mod vmcoreinfo;
