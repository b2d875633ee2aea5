//! One CPU's registers, found by what they are instead of by their place in the save area.

use crate::register::RegisterKind;
use crate::regsave::CpuState;
use std::collections::HashMap;

/// All values of one kind of context: the running one, or the transactional-memory checkpoint.
pub(crate) struct Values {
    gpr: [Option<u64>; 32],
    fpr: [Option<u64>; 32],
    vr: [[Option<u64>; 2]; 32],
    vsr: [[Option<u64>; 2]; 64],
    special: HashMap<String, u64>,
}

impl Values {
    /// Sorts the registers of `cpu` that are, or are not, checkpoints; of duplicates the first counts.
    pub(crate) fn new(cpu: &CpuState, checkpoint: bool) -> Self {
        let mut values = Self {
            gpr: [None; 32],
            fpr: [None; 32],
            vr: [[None; 2]; 32],
            vsr: [[None; 2]; 64],
            special: HashMap::new(),
        };
        for register in cpu.registers.iter().filter(|r| r.id.is_checkpoint() == checkpoint) {
            let value = register.value();
            let slot = match register.id.kind() {
                RegisterKind::Gpr(n) => &mut values.gpr[usize::from(n)],
                RegisterKind::Fpr(n) => &mut values.fpr[usize::from(n)],
                RegisterKind::Vr(n, high) => &mut values.vr[usize::from(n)][usize::from(!high)],
                RegisterKind::Vsr(n, high) => &mut values.vsr[usize::from(n)][usize::from(!high)],
                RegisterKind::Special | RegisterKind::Unknown => {
                    let name = register.id.name();
                    let name = name.strip_prefix("X-").unwrap_or(&name).to_owned();
                    values.special.entry(name).or_insert(value);
                    continue;
                }
            };
            slot.get_or_insert(value);
        }
        values
    }

    /// A general register.
    pub(crate) fn gpr(&self, n: usize) -> Option<u64> {
        self.gpr[n]
    }

    /// A floating-point register, which is the high half of the vector-scalar register of the same number.
    pub(crate) fn fpr(&self, n: usize) -> Option<u64> {
        self.fpr[n].or(self.vsr[n][0])
    }

    /// The low half of a vector-scalar register, 0 to 31.
    pub(crate) fn vsr_low(&self, n: usize) -> Option<u64> {
        self.vsr[n][1]
    }

    /// A vector register, high half first, which is the vector-scalar register 32 higher.
    pub(crate) fn vr(&self, n: usize) -> Option<[u64; 2]> {
        let pair = |halves: [Option<u64>; 2]| Some([halves[0]?, halves[1]?]);
        pair(self.vr[n]).or_else(|| pair(self.vsr[n + 32]))
    }

    /// A special register; checkpoints go by the name without its prefix.
    pub(crate) fn special(&self, name: &str) -> Option<u64> {
        self.special.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::RegisterId;
    use crate::regsave::Register;

    fn cpu(registers: &[(&str, u64)]) -> CpuState {
        let registers = registers.iter().map(|&(n, raw)| Register { id: RegisterId::new(n), raw }).collect();
        CpuState { cpu: 0, registers, complete: true }
    }

    #[test]
    fn registers_that_share_their_bits_stand_in_for_each_other() {
        let cpu = cpu(&[("VSR03_HI", 1), ("VSR03_LO", 2), ("VSR35_HI", 3), ("VSR35_LO", 4), ("FPR04", 5)]);
        let values = Values::new(&cpu, false);
        assert_eq!(
            (values.fpr(3), values.vsr_low(3), values.fpr(4), values.fpr(5)),
            (Some(1), Some(2), Some(5), None)
        );
        assert_eq!((values.vr(3), values.vr(4)), (Some([3, 4]), None));
    }

    #[test]
    fn checkpoints_are_kept_apart_and_the_first_of_two_counts() {
        let cpu = cpu(&[("X-GPR01", 1), ("GPR01", 2), ("GPR01", 3), ("X-TAR", 4), ("TAR", 5)]);
        let (run, saved) = (Values::new(&cpu, false), Values::new(&cpu, true));
        assert_eq!((run.gpr(1), saved.gpr(1)), (Some(2), Some(1)));
        assert_eq!((run.special("TAR"), saved.special("TAR")), (Some(5), Some(4)));
    }
}
