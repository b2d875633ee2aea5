//! `struct page`: where its fields are, what they say of a page, and how arrays of it are read.

mod classes;
mod compound;
mod fields;
mod free_list;
mod kind;
mod scan;
mod sorter;
mod window;

pub(crate) use classes::Classes;
pub(crate) use free_list::FreeList;
pub(crate) use scan::{Carry, Scan};
pub(crate) use sorter::Sorter;
pub(crate) use window::Window;
