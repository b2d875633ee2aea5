//! Pages: what the kernel's structures say that each is, whether they can be believed, and which pages a dump level leaves
//! out.

pub(crate) mod frames;
pub(crate) mod gate;
pub(crate) mod page;
pub(crate) mod select;
pub(crate) mod slab;
pub(crate) mod value;
pub(crate) mod walk;
pub(crate) mod worth;
