//! What crashes of the same kind have in common.

/// A hash over the kind of crash and its topmost functions, stable across addresses, builds and compilers' suffixes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Signature {
    /// In hexadecimal.
    pub hash: String,
    /// The words it was made of, in their order.
    pub parts: Vec<String>,
}
