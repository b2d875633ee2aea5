//! Whose firmware it is.

/// Whose firmware it is; they differ in layouts that LoPAR leaves open, and in what they check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// As LoPAR writes it: register save area with its count at 1ch, strict checks.
    Papr,
    /// QEMU's pseries machine on a big-endian host: count at 10h, no HPTEs, few checks.
    Qemu,
    /// QEMU on a little-endian host: some error flags stored in host order, the error bit overwritten.
    QemuLe,
}

impl Firmware {
    /// Whether the quirks shared by both QEMU variants apply.
    pub fn is_qemu(self) -> bool {
        self != Self::Papr
    }
}
