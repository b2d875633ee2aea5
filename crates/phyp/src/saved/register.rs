//! The names of registers as the firmware spells them.
//!
//! LoPAR "Register Save Area", table of identifiers supported in version 0: up to eight ASCII characters, filled up
//! with zeros. Linux matches a handful of them (`fadump_set_regval`, `arch/powerpc/platforms/pseries/rtas-fadump.c`);
//! QEMU writes 77 of them and adds `DAWR1` and `DAWRX1` (`hw/ppc/spapr_fadump.c`).

use std::fmt;

/// An identifier of the register save area.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegisterId(pub [u8; 8]);

/// What is known about an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegisterKind {
    /// A general register, 0 to 31.
    Gpr(u8),
    /// A floating-point register, 0 to 31.
    Fpr(u8),
    /// A half of a vector register, 0 to 31; `true` is the high doubleword.
    Vr(u8, bool),
    /// A half of a vector-scalar register, 0 to 63; `true` is the high doubleword.
    Vsr(u8, bool),
    /// A special register that the specification or QEMU names.
    Special,
    /// Anything else.
    Unknown,
}

/// The special registers, with whether their value has only four bytes (Power ISA, SPR lengths; CR and VSCR are no SPRs).
const SPECIAL: [(&str, bool); 85] = [
    ("ACOP", false),
    ("AMR", false),
    ("BESCR", false),
    ("CFAR", false),
    ("CIABR", false),
    ("CR", true),
    ("CTR", false),
    ("CTRL", true),
    ("DABR", false),
    ("DABRX", false),
    ("DAR", false),
    ("DAWR0", false),
    ("DAWR1", false),
    ("DAWRX0", false),
    ("DAWRX1", false),
    ("DEC", false),
    ("DPDES", false),
    ("DSCR", false),
    ("DSISR", true),
    ("EBBHR", false),
    ("EBBRR", false),
    ("FPSCR", false),
    ("FSCR", false),
    ("IAMR", false),
    ("IC", false),
    ("LMRR", false),
    ("LMSER", false),
    ("LR", false),
    ("MMCR0", false),
    ("MMCR1", false),
    ("MMCR2", false),
    ("MMCR@", false),
    ("MMCRA", false),
    ("MMCRS", false),
    ("MSR", false),
    ("NIA", false),
    ("PID", false),
    ("PIMC6", true),
    ("PIR", true),
    ("PMC1", true),
    ("PMC2", true),
    ("PMC3", true),
    ("PMC4", true),
    ("PMC5", true),
    ("PMC6", true),
    ("PPR", false),
    ("PSPB", true),
    ("PSSCR", false),
    ("PURR", false),
    ("PVR", true),
    ("RPR", false),
    ("SDAR", false),
    ("SIAR", false),
    ("SIER", false),
    ("SPMC1", true),
    ("SPMC2", true),
    ("SPRG0", false),
    ("SPRG1", false),
    ("SPRG2", false),
    ("SPRG3", false),
    ("SPURR", false),
    ("SRR0", false),
    ("SRR1", false),
    ("TAR", false),
    ("TB", false),
    ("TEXASR", false),
    ("TFHAR", false),
    ("TFIAR", false),
    ("TID", false),
    ("TIR", false),
    ("TSR", false),
    ("UAMOR", false),
    ("VRSAVE", true),
    ("VSCR", true),
    ("VTB", false),
    ("WORC", false),
    ("WORT", false),
    ("XER", false),
    ("X-CR", true),
    ("X-XER", false),
    ("X-LR", false),
    ("X-CTR", false),
    ("X-FPSCR", false),
    ("X-VSCR", true),
    ("X-VRSAVE", true),
];

/// Checkpointed registers that are named by their prefix alone.
const CHECKPOINTED: [&str; 5] = ["AMR", "TSR", "DSCR", "TAR", "PPR"];

impl RegisterId {
    /// The mark before a CPU's registers.
    pub const START: Self = Self(*b"CPUSTRT\0");
    /// The mark after a CPU's registers.
    pub const END: Self = Self(*b"CPUEND\0\0");

    /// The identifier that is spelled `name`; characters past the eighth are dropped.
    pub fn new(name: &str) -> Self {
        let mut id = [0; 8];
        id.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        Self(id)
    }

    /// The name as text, unprintable bytes as `.`; misprints of LoPAR's table come out as what they mean.
    pub fn name(self) -> String {
        let len = self.0.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1);
        let text: String =
            self.0[..len].iter().map(|&b| if b.is_ascii_graphic() { b.into() } else { '.' }).collect();
        match text.as_str() {
            "MMCR@" => "MMCRA".into(),
            "PIMC6" => "PMC6".into(),
            _ => text,
        }
    }

    /// Reports whether the register is a transactional-memory checkpoint.
    pub fn is_checkpoint(self) -> bool {
        self.0.starts_with(b"X-")
    }

    /// What kind of register this is; checkpoints are of the kind of what they are a checkpoint of.
    pub fn kind(self) -> RegisterKind {
        let Some(text) = self.text() else { return RegisterKind::Unknown };
        let plain = text.strip_prefix("X-").unwrap_or(text);
        if let Some(kind) = array(plain, self.is_checkpoint()) {
            return kind;
        }
        let listed = SPECIAL.iter().any(|(name, _)| *name == text);
        let checkpoint = self.is_checkpoint() && CHECKPOINTED.contains(&plain);
        if listed || checkpoint { RegisterKind::Special } else { RegisterKind::Unknown }
    }

    /// The length of the register's value in bytes: 4 or 8.
    pub fn width(self) -> u8 {
        let short = |name: &str| SPECIAL.iter().any(|(n, short)| *n == name && *short);
        if self.text().is_some_and(short) { 4 } else { 8 }
    }

    /// The text before the padding, when the padding is all zero.
    fn text(&self) -> Option<&str> {
        let len = self.0.iter().position(|&b| b == 0).unwrap_or(8);
        let text = str::from_utf8(&self.0[..len]).ok()?;
        self.0[len..].iter().all(|&b| b == 0).then_some(text)
    }
}

/// Registers with two digits: `GPR07`, `VR07_HI`, `VSR07_LO` (in checkpoints `VS07HI`).
fn array(name: &str, checkpoint: bool) -> Option<RegisterKind> {
    let digits_at = name.find(|c: char| c.is_ascii_digit())?;
    let (class, rest) = name.split_at(digits_at);
    let number: u8 = rest.get(..2).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
    let half = match &rest[2..] {
        "" => None,
        "_HI" | "HI" => Some(true),
        "_LO" | "LO" => Some(false),
        _ => return None,
    };
    match (class, half) {
        ("GPR", None) if number < 32 => Some(RegisterKind::Gpr(number)),
        ("FPR", None) if number < 32 => Some(RegisterKind::Fpr(number)),
        ("VR", Some(high)) if number < 32 => Some(RegisterKind::Vr(number, high)),
        ("VSR", Some(high)) if number < 64 => Some(RegisterKind::Vsr(number, high)),
        ("VS", Some(high)) if checkpoint && number < 64 => Some(RegisterKind::Vsr(number, high)),
        _ => None,
    }
}

impl fmt::Display for RegisterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

impl fmt::Debug for RegisterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegisterId({})", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_name_is_known() {
        use RegisterKind::*;
        for (name, kind) in [
            ("GPR00", Gpr(0)),
            ("GPR31", Gpr(31)),
            ("GPR32", Unknown),
            ("GPR1", Unknown),
            ("FPR07", Fpr(7)),
            ("VR31_HI", Vr(31, true)),
            ("VSR63_LO", Vsr(63, false)),
            ("X-GPR05", Gpr(5)),
            ("X-VS40LO", Vsr(40, false)),
            ("VS40LO", Unknown),
            ("NIA", Special),
            ("DAWRX1", Special),
            ("X-DSCR", Special),
            ("X-NIA", Unknown),
            ("NIP", Unknown),
            ("", Unknown),
        ] {
            assert_eq!(RegisterId::new(name).kind(), kind, "{name}");
        }
        assert_eq!(RegisterId(*b"GPR1\x000\0\0").kind(), Unknown);
        assert_eq!(RegisterId([0xff; 8]).kind(), Unknown);
    }

    #[test]
    fn identifiers_are_those_of_the_specification() {
        assert_eq!(u64::from_be_bytes(RegisterId::new("GPR31").0), 0x4750_5233_3100_0000);
        assert_eq!(u64::from_be_bytes(RegisterId::new("NIA").0), 0x4e49_4100_0000_0000);
        assert_eq!(u64::from_be_bytes(RegisterId::new("DSISR").0), 0x4453_4953_5200_0000);
        assert_eq!(u64::from_be_bytes(RegisterId::START.0), 0x4350_5553_5452_5400);
        assert_eq!(u64::from_be_bytes(RegisterId::END.0), 0x4350_5545_4e44_0000);
    }

    #[test]
    fn misprints_of_the_specification_are_named_as_meant() {
        assert_eq!(RegisterId::new("MMCR@").name(), "MMCRA");
        assert_eq!(RegisterId::new("PIMC6").name(), "PMC6");
        assert_eq!(RegisterId([b'A', 7, 0, 0, 0, 0, 0, 0]).name(), "A.");
        assert_eq!((RegisterId::new("CR").width(), RegisterId::new("CTR").width()), (4, 8));
    }
}
