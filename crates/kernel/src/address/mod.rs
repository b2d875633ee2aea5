//! Address spaces: physical memory and what is put over it, virtual addresses, and where the `struct page` of a frame lies.

pub(crate) mod memmodel;
pub mod overlay;
pub(crate) mod physical;
pub(crate) mod translate;
pub(crate) mod reverse;
