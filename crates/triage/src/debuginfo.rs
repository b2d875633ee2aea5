//! Where debug information for the kernel is to be had.

/// What names the debug information.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebugInformation {
    /// The release.
    pub release: String,
    /// The build ID in hexadecimal, by which debuginfod knows it.
    pub build_id: Option<String>,
    /// The distribution, where the release or the version tells it.
    pub distribution: Option<&'static str>,
    /// The packages that have it.
    pub packages: Vec<String>,
}
