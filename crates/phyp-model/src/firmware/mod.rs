//! The hypervisor, or OPAL: the structure it is asked by, the copy it makes, the areas it saves.

pub mod copy;
pub mod hpte;
pub mod hypervisor;
pub mod opal;
pub(crate) mod opal_sizes;
pub mod regsave;
pub mod structure;
pub(crate) mod vendor;
