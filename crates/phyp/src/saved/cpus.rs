//! Which CPUs the dump has, and whose word counts for each.

use crate::Findings;
use crate::crashinfo::CrashInfo;
use crate::notes::CpuRegisters;
use crate::regsave::CpuState;
use std::collections::BTreeMap;

/// The most CPUs that Linux on POWER can have.
const MAX_CPU: u32 = 8192;

/// Puts together what the firmware saved and what the kernel wrote down itself, one entry for each CPU in ascending
/// order.
///
/// As Linux does (`rtas_fadump_build_cpu_notes`), the crashing CPU's registers are those in the crash-info header, and a
/// CPU that is not in the header's mask is left out. Unlike Linux, a CPU that was online and whose registers are
/// missing gets an empty entry: readers pair the Nth `NT_PRSTATUS` with the Nth online CPU, so a gap would move all
/// that follow.
pub(crate) fn combine(
    saved: &[&CpuState],
    crash: Option<&CrashInfo>,
    opal: bool,
    findings: &mut Findings,
) -> Vec<CpuRegisters> {
    let mut cpus: BTreeMap<u32, CpuRegisters> = BTreeMap::new();
    for state in saved {
        let registers = CpuRegisters { cpu: state.cpu, kernel: None, firmware: Some((*state).clone()) };
        cpus.insert(state.cpu, registers);
    }
    // The mask counts in Linux's numbers, OPAL's threads are known by their hardware's.
    if let Some(crash) = crash.filter(|c| c.has_mask && !opal) {
        apply_mask(&mut cpus, crash, findings);
    }
    let Some(crash) = crash else { return cpus.into_values().collect() };
    if let Some(cpu) = crash.crashing_cpu.filter(|c| *c < MAX_CPU || opal) {
        let entry = cpus.entry(cpu).or_insert_with(|| {
            findings.warning(format!("the firmware saved no registers of CPU {cpu}, which crashed"));
            CpuRegisters { cpu, kernel: None, firmware: None }
        });
        if crash.regs.is_empty() {
            findings
                .warning(format!("CPU {cpu} crashed; its registers are those that the firmware saved later"));
        } else {
            entry.kernel = Some(crash.regs.clone());
        }
    } else if let Some(cpu) = crash.crashing_cpu {
        findings.damage(format!(
            "the crash-info header names CPU {cpu:#x} as the one that crashed, which no Linux kernel can have"
        ));
    }
    cpus.into_values().collect()
}

fn apply_mask(cpus: &mut BTreeMap<u32, CpuRegisters>, crash: &CrashInfo, findings: &mut Findings) {
    let outside: Vec<u32> =
        cpus.keys().copied().filter(|cpu| crash.cpus.binary_search(cpu).is_err()).collect();
    for cpu in outside.into_iter().filter(|cpu| Some(*cpu) != crash.crashing_cpu) {
        findings.warning(format!(
            "the firmware saved CPU {cpu}, which was not online by the kernel's mask; it is left out"
        ));
        cpus.remove(&cpu);
    }
    // Without a crash the mask is that of possible CPUs, which need not have been online.
    if crash.crashing_cpu.is_none() {
        return;
    }
    for &cpu in crash.cpus.iter().filter(|c| **c < MAX_CPU && Some(**c) != crash.crashing_cpu) {
        cpus.entry(cpu).or_insert_with(|| {
            findings.damage(format!("the registers of CPU {cpu} were not saved; its note is empty"));
            CpuRegisters { cpu, kernel: None, firmware: None }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmcore::PhysAddr;

    fn state(cpu: u32) -> CpuState {
        CpuState { cpu, ..CpuState::default() }
    }

    fn crash(cpu: u32, mask: u64) -> CrashInfo {
        let mut bytes = b"FADMPSIG\0\0\0\x01".to_vec();
        bytes.extend(cpu.to_be_bytes());
        bytes.extend([0; 16]);
        bytes.extend([0, 0, 1, 0x80, 0, 0, 0, 8]);
        bytes.resize(0x28 + 0x180, 7);
        bytes.extend(mask.to_be_bytes());
        CrashInfo::parse(&bytes, PhysAddr(0), &[]).unwrap()
    }

    fn run(saved: &[u32], crash: Option<CrashInfo>, opal: bool) -> (Vec<(u32, bool, bool)>, Findings) {
        let states: Vec<CpuState> = saved.iter().map(|&c| state(c)).collect();
        let mut findings = Findings::default();
        let cpus = combine(&states.iter().collect::<Vec<_>>(), crash.as_ref(), opal, &mut findings);
        (cpus.iter().map(|c| (c.cpu, c.kernel.is_some(), c.firmware.is_some())).collect(), findings)
    }

    #[test]
    fn the_crashing_cpus_registers_are_the_kernels_and_the_others_the_firmwares() {
        let (cpus, findings) = run(&[0, 1, 2], Some(crash(1, 7)), false);
        assert_eq!(cpus, [(0, false, true), (1, true, true), (2, false, true)]);
        assert!(findings.is_empty());
    }

    #[test]
    fn every_online_cpu_has_an_entry_and_no_other_has() {
        let (cpus, findings) = run(&[0, 3], Some(crash(1, 0b111)), false);
        assert_eq!(cpus, [(0, false, true), (1, true, false), (2, false, false)]);
        assert!(
            findings.mentions("CPU 3, which was not online") && findings.mentions("CPU 2 were not saved")
        );
        assert!(findings.mentions("no registers of CPU 1, which crashed"));
    }

    #[test]
    fn without_a_crash_the_mask_is_only_an_upper_bound() {
        let (cpus, findings) = run(&[0, 2], Some(crash(u32::MAX, 0xff)), false);
        assert_eq!(cpus, [(0, false, true), (2, false, true)]);
        assert!(findings.is_empty());
        assert_eq!(run(&[5, 6], None, false).0, [(5, false, true), (6, false, true)]);
    }

    #[test]
    fn opals_threads_are_not_counted_by_the_kernels_mask() {
        let (cpus, _) = run(&[0x28, 0x2c], Some(crash(0x2c, 3)), true);
        assert_eq!(cpus, [(0x28, false, true), (0x2c, true, true)]);
    }

    #[test]
    fn a_crashing_cpu_that_no_linux_has_is_refused() {
        let (cpus, findings) = run(&[0], Some(crash(0x10000, 1)), false);
        assert_eq!(cpus, [(0, false, true)]);
        assert!(findings.has_damage());
    }
}
