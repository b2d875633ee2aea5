//! The save areas, registers and page-table entries, and what is made of them.

pub(crate) mod cpus;
pub mod hpte;
pub mod notes;
pub mod register;
pub(crate) mod registers;
pub mod regsave;
mod values;
