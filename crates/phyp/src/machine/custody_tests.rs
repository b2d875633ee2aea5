use super::*;
use crate::system::FadumpFiles;
use vmcore::RangeSet;

/// What `rtas_fadump_region_show` prints while a dump is active, and afterwards.
const ACTIVE: &str = "CPU :[0x00000014000000-0x000000140009ff] 0xa00 bytes, Dumped: 0x9d4\n\
    HPTE:[0x00000014000a00-0x000000140009ff] 0x0 bytes, Dumped: 0x0\n\
    DUMP: Src: 0x00000000000000, Dest: 0x00000014010000, Size: 0x14000000, Dumped: 0x14000000 bytes\n\n\
    Memory above 0x00000014000000 is reserved for saving crash dump\n";
const FORGOTTEN: &str = "CPU :[0x00000014000000-0x000000140009ff] 0xa00 bytes, Dumped: 0x0\n\
    HPTE:[0x00000014000a00-0x000000140009ff] 0x0 bytes, Dumped: 0x0\n\
    DUMP: Src: 0x00000000000000, Dest: 0x00000014010000, Size: 0x14000000, Dumped: 0x0 bytes\n";

const BOOT: u64 = 0x1400_0000;

fn property(status: u16, copied: u64, errors: u16) -> Vec<u8> {
    let mut out = [0, 0, 0, 1, 0, 1].to_vec();
    out.extend(status.to_be_bytes());
    out.extend([0, 0, 0, 0x28]);
    out.resize(0x28, 0);
    out.extend([0, 0, 0, 1, 0, 0x11]);
    out.extend(errors.to_be_bytes());
    out.extend([0, BOOT, copied, 0x1401_0000].iter().flat_map(|w: &u64| w.to_be_bytes()));
    out
}

/// A machine of 1 GiB in its second boot, a dump waiting, as far as files tell. What a real kernel's `/proc/vmcore` would
/// settle is taken away.
fn waiting() -> System {
    let mut system = System { memory_total: Some(295 << 20), ..System::default() };
    system.leavings.kernel_dump = Some(property(0xc000, BOOT, 0));
    system.leavings.memory_map = Some([Range::new(PhysAddr(0), PhysAddr(1 << 30))].into_iter().collect());
    system.fadump = Some(FadumpFiles {
        enabled: true,
        release_mem: true,
        region: Some(ACTIVE.into()),
        ..FadumpFiles::default()
    });
    system
}

fn owner(change: impl FnOnce(&mut System), known: Known) -> Owner {
    let mut system = waiting();
    change(&mut system);
    custody(&system, known).owner
}

fn fadump(system: &mut System) -> &mut FadumpFiles {
    system.fadump.as_mut().unwrap()
}

#[test]
fn a_dump_waits_while_the_kernel_shows_or_keeps_it() {
    assert_eq!(owner(|s| s.vmcore = Some("/proc/vmcore".into()), Known::default()), Owner::Dump);
    assert_eq!(owner(|_| (), Known::default()), Owner::Dump);
    let asked = Known { probe: Some(Probe::Active), ..Known::default() };
    let mute = |s: &mut System| {
        s.memory_total = None;
        fadump(s).region = None;
    };
    assert_eq!(owner(mute, asked), Owner::Dump);
    assert_eq!(owner(mute, Known::default()), Owner::Unknown);
    assert_eq!(custody(&System::default(), Known::default()).owner, Owner::NoDump);
}

#[test]
fn each_sign_alone_says_that_memory_was_given_back() {
    let none = Known::default();
    assert_eq!(owner(|s| s.memory_total = Some(689 << 20), none), Owner::System);
    assert_eq!(owner(|s| fadump(s).region = Some(FORGOTTEN.into()), none), Owner::System);
    assert_eq!(owner(|s| fadump(s).registered = true, none), Owner::System);
    assert_eq!(owner(|s| fadump(s).enabled = false, none), Owner::System);
    let all: RangeSet<PhysAddr> = [Range::new(PhysAddr(0), PhysAddr(u64::MAX))].into_iter().collect();
    assert_eq!(owner(|s| s.released = all, none), Owner::System);
    assert_eq!(owner(|_| (), Known { vmcore_seen: true, probe: None }), Owner::System);
    assert_eq!(owner(|_| (), Known { vmcore_seen: false, probe: Some(Probe::Inactive) }), Owner::System);
}

#[test]
fn a_release_that_the_firmware_did_not_hear_of_is_one() {
    // The kernel frees memory whether the invalidation succeeds or not, and then goes on saying that the dump is active.
    let asked = Known { probe: Some(Probe::Active), ..Known::default() };
    assert_eq!(owner(|s| s.memory_total = Some(689 << 20), asked), Owner::System);
}

#[test]
fn what_the_kernel_refused_is_told_from_what_somebody_released() {
    let none = Known::default();
    let given = |s: &mut System| s.memory_total = Some(689 << 20);
    let logged = |s: &mut System| {
        given(s);
        s.kernel_log = vec!["fadump: Fadump header is corrupted.".into()];
    };
    assert_eq!(owner(logged, none), Owner::Refused);
    let short = |s: &mut System| {
        given(s);
        s.leavings.kernel_dump = Some(property(0xc000, BOOT - 1, 0));
    };
    assert_eq!(owner(short, none), Owner::Refused);
    let flagged = |s: &mut System| {
        given(s);
        s.leavings.kernel_dump = Some(property(0xc000, BOOT, 0x8000));
    };
    assert_eq!(owner(flagged, none), Owner::Refused);
    let failed = |s: &mut System| {
        given(s);
        s.leavings.kernel_dump = Some(property(0x2000, BOOT, 0));
    };
    assert_eq!(owner(failed, none), Owner::Refused);
    // It took the dump first.
    assert_eq!(owner(logged, Known { vmcore_seen: true, probe: None }), Owner::System);
    // A line of the log alone, with memory still set aside, is none of this boot's business.
    let log = |s: &mut System| s.kernel_log = vec!["fadump: Fadump header is corrupted.".into()];
    assert_eq!(owner(log, none), Owner::Dump);
}

#[test]
fn a_copied_root_is_never_written_to() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join(RELEASE_MEM[0]);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "as it was").unwrap();
    assert_eq!(probe(root.path()), None);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "as it was");
}
