//! Page sets of real dumps, compared with what their peers keep at every dump level.

mod support;

use corpus::{POWER, POWER_BE, X86_64};
use kernel::Kernel;
use serde_json::Value;
use support::{bitmap, with_dump};
use vmcore::{Dump, DumpLevel, Reason, Selection};

/// Runs `test` with a dump and what its peers say of its levels.
fn with_levels(name: &'static str, test: impl FnOnce(&corpus::Dump, &Dump, &Value)) {
    with_dump(name, |real, dump| {
        test(real, dump, &serde_json::from_str(&real.text("expected/levels.json")).unwrap());
    });
}

/// Compares all 32 levels; returns the selections' reasons for each.
fn compare(name: &'static str, check_reasons: impl Fn(u32, &Selection, &Value)) {
    with_levels(name, |real, dump, json| {
        let kernel = Kernel::open(dump).unwrap();
        let bytes = json["bytes_per_bitmap"].as_u64().unwrap() as usize;
        for level in 0..32 {
            let expected = real.bitmap(level);
            assert_eq!(expected.len(), bytes);
            let selected = kernel.select(DumpLevel::new(level).unwrap(), None).unwrap();
            assert_eq!(selected.remarks, [""; 0], "{name} level {level}");
            let ours = bitmap(&selected.selection, bytes);
            let wrong = (0..bytes as u64 * 8)
                .find(|&pfn| (ours[(pfn / 8) as usize] ^ expected[(pfn / 8) as usize]) >> (pfn % 8) & 1 != 0);
            assert_eq!(wrong, None, "{name} level {level}: the first frame that differs");
            let json = &json["levels"][level.to_string()];
            assert_eq!(selected.selection.kept(), json["kept"].as_u64().unwrap());
            let all = selected.selection.map().frames().total();
            assert_eq!(selected.selection.reasons().total() + selected.selection.kept(), all);
            check_reasons(level, &selected.selection, json);
        }
    });
}

/// The reasons that levels.json counts too.
fn same_reasons(level: u32, selection: &Selection, json: &Value) {
    let others = [Reason::Earlier, Reason::Destroyed, Reason::Mini];
    for reason in Reason::ALL.into_iter().filter(|reason| !others.contains(reason)) {
        let ours = selection.reasons().get(reason);
        assert_eq!(ours, json[reason.name()].as_u64().unwrap(), "level {level}: {}", reason.name());
    }
}

#[test]
fn a_ppc64le_radix_dump_keeps_what_its_peer_keeps_at_every_level() {
    compare(POWER, same_reasons);
}

#[test]
fn a_big_endian_hash_dump_keeps_what_its_peer_keeps_at_every_level() {
    compare(POWER_BE, |_, _, _| {});
}

#[test]
fn an_x86_64_dump_keeps_what_its_peer_keeps_at_every_level() {
    compare(X86_64, same_reasons);
}

#[test]
fn the_name_of_a_real_kernel_is_read() {
    with_levels(POWER, |_, dump, json| {
        let kernel = Kernel::open(dump).unwrap();
        let uts = kernel.utsname().clone();
        let ours = [uts.sysname, uts.nodename, uts.release, uts.version, uts.machine, uts.domainname];
        let theirs: Vec<&str> = json["uts"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
        assert_eq!(ours, *theirs);
        assert_eq!(kernel.phys_base(), 0);
    });
    with_levels(X86_64, |_, dump, _| {
        let kernel = Kernel::open(dump).unwrap();
        assert_eq!(kernel.utsname().release, "6.1.192-lab");
        assert_eq!(kernel.phys_base(), (-492_830_720_i64) as u64);
    });
}
