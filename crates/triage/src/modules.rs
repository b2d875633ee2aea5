//! The kernel's modules.

/// A module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Where it begins (`module_core`, or the text).
    pub base: u64,
    /// Bytes that it takes, all of its parts.
    pub size: u64,
    /// `live`, `coming`, `going`, `unformed`.
    pub state: &'static str,
    /// The letters of how it taints the kernel.
    pub taints: String,
    /// Its version, where it says one.
    pub version: Option<String>,
    /// Its build ID in hexadecimal, where the kernel keeps it.
    pub build_id: Option<String>,
    /// The parts of memory that it has: address and bytes.
    pub regions: Vec<(u64, u64)>,
}

/// All modules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modules {
    /// In the kernel's order: the last one loaded first. `None` where they cannot be told.
    pub loaded: Option<Vec<Module>>,
    /// The one that was unloaded last, where the kernel says so.
    pub last_unloaded: Option<String>,
}
