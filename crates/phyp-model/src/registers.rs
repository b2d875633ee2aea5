//! Register sets, and the order and names under which the firmware saves them.

use crate::Firmware;
use crate::rng::Rng;

/// What one processor held when it stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    /// General purpose registers 0 to 31.
    pub gpr: [u64; 32],
    /// Next instruction address.
    pub nia: u64,
    /// Machine state register.
    pub msr: u64,
    /// Count register.
    pub ctr: u64,
    /// Link register.
    pub lr: u64,
    /// Fixed-point exception register.
    pub xer: u64,
    /// Condition register, 32 bits.
    pub cr: u32,
    /// Data address register.
    pub dar: u64,
    /// Data storage interrupt status, 32 bits.
    pub dsisr: u32,
    /// Floating-point registers 0 to 31, which are the high halves of VSR 0 to 31.
    pub fpr: [u64; 32],
    /// Low halves of VSR 0 to 31.
    pub vsr_low: [u64; 32],
    /// Vector registers 0 to 31, which are VSR 32 to 63.
    pub vr: [u128; 32],
    /// Every other register that is saved, by its name; 32-bit ones hold their value in the low half.
    pub others: Vec<(&'static str, u64)>,
    /// Whether a transaction was open, so that checkpointed registers are saved.
    pub checkpointed: bool,
}

/// Registers whose saved value has 32 bits (LoPAR, "Firmware Assisted Dump Data Format").
pub const FOUR_BYTES: [&str; 6] = ["CR", "DSISR", "PIR", "PVR", "VRSAVE", "VSCR"];

/// What QEMU saves beside the GPRs, in its order (`spapr_fadump.c`), the GPRs standing between FSCR and IAMR.
const QEMU_BEFORE: [&str; 23] = [
    "ACOP", "AMR", "BESCR", "CFAR", "CIABR", "CR", "CTR", "CTRL", "DABR", "DABRX", "DAR", "DAWR0", "DAWR1",
    "DAWRX0", "DAWRX1", "DPDES", "DSCR", "DSISR", "EBBHR", "EBBRR", "FPSCR", "FSCR", "",
];
const QEMU_AFTER: [&str; 23] = [
    "IAMR", "IC", "LR", "MSR", "NIA", "PIR", "PSPB", "PVR", "RPR", "SPURR", "SRR0", "SRR1", "TAR", "TEXASR",
    "TFHAR", "TFIAR", "TIR", "UAMOR", "VRSAVE", "VSCR", "VTB", "WORT", "XER",
];

/// Everything else that LoPAR names, in its alphabetical order; some of it a real machine would not have.
const PAPR_OTHERS: [&str; 73] = [
    "ACOP", "AMR", "BESCR", "CFAR", "CIABR", "CTRL", "DABR", "DABRX", "DAWR0", "DAWRX0", "DEC", "DPDES",
    "DSCR", "EBBHR", "EBBRR", "FPSCR", "FSCR", "IAMR", "IC", "LMRR", "LMSER", "MMCR0", "MMCR1", "MMCR2",
    "MMCRA", "MMCRS", "PID", "PIR", "PMC1", "PMC2", "PMC3", "PMC4", "PMC5", "PMC6", "PSPB", "PSSCR", "PURR",
    "PVR", "RPR", "SDAR", "SIAR", "SIER", "SPMC1", "SPMC2", "SPRG0", "SPRG1", "SPRG2", "SPRG3", "SPURR",
    "SRR0", "SRR1", "TAR", "TB", "TEXASR", "TFHAR", "TFIAR", "TID", "TIR", "TSR", "UAMOR", "VRSAVE", "VSCR",
    "VTB", "WORC", "WORT", "X-AMR", "X-DSCR", "X-FPSCR", "X-TAR", "X-TSR", "X-VRSAVE", "X-VSCR", "X-XER",
];

impl Registers {
    /// Random values that look like a kernel's: `r1` in the linear map, `nia` in the kernel text.
    pub fn random(rng: &mut Rng, id: u32, ram_end: u64) -> Self {
        const LINEAR: u64 = 0xc000_0000_0000_0000;
        let mut gpr = [0; 32];
        for value in &mut gpr {
            *value = match rng.below(3) {
                0 => rng.below(0x1_0000),
                1 => LINEAR | (rng.below(ram_end.max(16)) & !7),
                _ => rng.draw(),
            };
        }
        gpr[1] = LINEAR | (rng.below(ram_end.max(0x2_0000)) & !15).max(0x1_0000);
        gpr[13] = LINEAR | 0x00c0_0000 | (u64::from(id) << 10);
        let text = |rng: &mut Rng| LINEAR | 0x1_0000 | (rng.below(0x0080_0000) & !3);
        let mut others: Vec<(&'static str, u64)> = Vec::new();
        for name in PAPR_OTHERS.into_iter().chain(["DAWR1", "DAWRX1"]) {
            let value = match name {
                "PIR" | "TIR" => u64::from(id),
                "PVR" => 0x004e_1202,
                "SRR0" | "CFAR" => text(rng),
                _ if FOUR_BYTES.contains(&name.trim_start_matches("X-")) => rng.draw() & 0xffff_ffff,
                _ => rng.draw(),
            };
            others.push((name, value));
        }
        Self {
            nia: text(rng),
            msr: 0x8000_0000_0280_b033,
            ctr: text(rng),
            lr: text(rng),
            xer: rng.below(1 << 32),
            cr: rng.draw() as u32,
            dar: rng.draw() & !7,
            dsisr: 0x4200_0000,
            fpr: std::array::from_fn(|_| rng.draw()),
            vsr_low: std::array::from_fn(|_| rng.draw()),
            vr: std::array::from_fn(|_| (u128::from(rng.draw()) << 64) | u128::from(rng.draw())),
            gpr,
            others,
            checkpointed: id % 2 == 1,
        }
    }

    /// The value of the register that the firmware calls `name`, other than numbered ones.
    pub fn named(&self, name: &str) -> u64 {
        match name {
            "CR" => u64::from(self.cr),
            "CTR" => self.ctr,
            "DAR" => self.dar,
            "DSISR" => u64::from(self.dsisr),
            "LR" => self.lr,
            "MSR" => self.msr,
            "NIA" => self.nia,
            "XER" => self.xer,
            _ => self.others.iter().find(|(other, _)| *other == name).map_or(0, |(_, value)| *value),
        }
    }

    /// Every register as the firmware lists it: name and value, without the CPU markers.
    pub fn entries(&self, firmware: Firmware) -> Vec<(String, u64)> {
        let mut out: Vec<(String, u64)> = Vec::new();
        let gprs = |out: &mut Vec<(String, u64)>| {
            out.extend(self.gpr.iter().enumerate().map(|(n, value)| (format!("GPR{n:02}"), *value)));
        };
        if firmware.is_qemu() {
            out.extend(
                QEMU_BEFORE.iter().filter(|n| !n.is_empty()).map(|n| ((*n).to_owned(), self.named(n))),
            );
            gprs(&mut out);
            out.extend(QEMU_AFTER.iter().map(|name| ((*name).to_owned(), self.named(name))));
            return out;
        }
        gprs(&mut out);
        for name in ["NIA", "MSR", "LR", "CTR", "CR", "XER", "DAR", "DSISR"] {
            out.push((name.to_owned(), self.named(name)));
        }
        let (checkpointed, plain): (Vec<&str>, Vec<&str>) =
            PAPR_OTHERS.iter().partition(|name| name.starts_with("X-"));
        out.extend(plain.iter().map(|name| ((*name).to_owned(), self.named(name))));
        out.extend(self.fpr.iter().enumerate().map(|(n, value)| (format!("FPR{n:02}"), *value)));
        for (n, value) in self.vr.iter().enumerate() {
            out.push((format!("VR{n:02}_HI"), (value >> 64) as u64));
            out.push((format!("VR{n:02}_LO"), *value as u64));
        }
        for n in 0..32 {
            out.push((format!("VSR{n:02}_HI"), self.fpr[n]));
            out.push((format!("VSR{n:02}_LO"), self.vsr_low[n]));
        }
        if self.checkpointed {
            out.push(("X-CR".to_owned(), u64::from(!self.cr)));
            out.push(("X-LR".to_owned(), !self.lr));
            out.push(("X-CTR".to_owned(), !self.ctr));
            out.extend(checkpointed.iter().map(|name| ((*name).to_owned(), self.named(name))));
            // A name has eight bytes: "X-GPR00" and "X-VS00HI" fill them.
            out.extend(self.gpr.iter().enumerate().map(|(n, value)| (format!("X-GPR{n:02}"), !*value)));
            for n in 0..32 {
                out.push((format!("X-VS{n:02}HI"), !self.fpr[n]));
                out.push((format!("X-VS{n:02}LO"), !self.vsr_low[n]));
            }
        }
        out
    }

    /// The words of `pt_regs`, of which kernels keep 44, 48 or 50 (`asm/ptrace.h`); the rest are zero.
    pub fn pt_regs(&self) -> [u64; 44] {
        let mut words = [0; 44];
        words[..32].copy_from_slice(&self.gpr);
        words[32] = self.nia;
        words[33] = self.msr;
        words[34] = self.gpr[3];
        words[35] = self.ctr;
        words[36] = self.lr;
        words[37] = self.xer;
        words[38] = u64::from(self.cr);
        words[39] = 1;
        words[40] = 0x700;
        words[41] = self.dar;
        words[42] = u64::from(self.dsisr);
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_saves_seventy_seven_registers() {
        let registers = Registers::random(&mut Rng::new(1), 0, 1 << 30);
        // With the two markers 79 entries, as `sizeof` of the save area in QEMU counts them.
        assert_eq!(registers.entries(Firmware::Qemu).len(), 77);
    }

    #[test]
    fn every_name_fits_eight_bytes_and_stands_once() {
        let registers = Registers { checkpointed: true, ..Registers::random(&mut Rng::new(1), 1, 1 << 30) };
        for firmware in [Firmware::Papr, Firmware::Qemu] {
            let names: Vec<String> = registers.entries(firmware).into_iter().map(|(name, _)| name).collect();
            assert!(names.iter().all(|name| name.len() <= 8), "{names:?}");
            let mut once = names.clone();
            once.sort();
            once.dedup();
            assert_eq!(once.len(), names.len());
        }
    }
}
