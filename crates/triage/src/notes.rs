//! Notes that are neither registers nor VMCOREINFO.

/// A note of the dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpNote {
    /// Its place among the dump's notes, from 0, by which it is taken out.
    pub index: usize,
    /// Its owner's name.
    pub name: String,
    /// Its type's number.
    pub kind: u32,
    /// What it is, in words: `device dump of cxgb4_0000:02:00.4`.
    pub what: String,
    /// Bytes of its content.
    pub bytes: u64,
}
