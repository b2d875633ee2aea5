//! Kernels made by hand: small memories with the tables and struct pages of one kind of Linux each.
//!
//! The images are written by definitions of their own, not by the crate's, so that a wrong layout in one does not hide
//! the same mistake in the other. Whole dumps, every kind of them, come from `phyp_model::synth::dump` instead; here a
//! test chooses every word that the code under test reads.

mod arches;
mod classes;
mod compound;
mod free_lists;
mod hostile;
mod image;
mod models;
mod pages;
mod tables;
mod translation;
mod translation_arches;
mod trees;
mod values;
