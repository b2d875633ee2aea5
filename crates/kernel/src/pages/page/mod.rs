//! `struct page`: where its fields are, what they say of a page, and how arrays of it are read.

mod census;
mod classes;
mod compound;
mod fields;
mod free_list;
mod kind;
mod region;
mod scan;
mod sorter;
mod sound;
mod tally;
mod window;

pub(crate) use census::{Census, ORDERS};
pub(crate) use classes::{Classes, is_poison};
pub(crate) use free_list::FreeList;
pub(crate) use region::{CELL, REGION, Regions};
pub(crate) use scan::{Carry, Scan};
pub(crate) use sorter::Sorter;
pub(crate) use sound::Sound;
pub(crate) use tally::Tally;
pub(crate) use window::Window;
