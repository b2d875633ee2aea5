//! Types and VMCOREINFO from the vmlinux of real kernels, against what the kernels themselves wrote.

mod support;

use corpus::{POWER, X86_64};
use kernel::dwarf::Dwarf;
use kernel::knowledge::vmcoreinfo::of_vmlinux;
use kernel::types::{Named, Type, Types};
use kernel::vmlinux::Vmlinux;
use support::with_vmlinux;
use vmcore::VmcoreInfo;

const REAL: [&str; 2] = [X86_64, POWER];

/// The key and value of each line.
fn pairs(info: &VmcoreInfo) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(info.text()).into_owned();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[test]
fn what_a_vmlinux_says_is_what_its_kernel_wrote() {
    for name in REAL {
        with_vmlinux(name, |_, path, dump| {
            let vmlinux = Vmlinux::open(path).unwrap();
            let dwarf = Dwarf::open(&vmlinux).unwrap().unwrap();
            let made = VmcoreInfo::parse(of_vmlinux(&vmlinux, &dwarf).unwrap().as_bytes());
            let own = dump.vmcoreinfo.as_ref().unwrap();
            let offset = u64::from_str_radix(own.get("KERNELOFFSET").unwrap(), 16).unwrap();
            let mut compared = 0;
            for (key, value) in pairs(own) {
                let Some(made) = made.get(&key) else { continue };
                // Contents in place of addresses, and what only the running kernel counts.
                if ["SYMBOL(mem_section)", "SYMBOL(node_online_map)"].contains(&key.as_str()) {
                    continue;
                }
                let expected = match key.starts_with("SYMBOL(") {
                    true => format!("{:x}", u64::from_str_radix(&value, 16).unwrap().wrapping_sub(offset)),
                    false => value,
                };
                assert_eq!(made, expected, "{name}: {key}");
                compared += 1;
            }
            assert!(compared > 85, "{name}: {compared} keys are common");
            // What the kernel wrote and the vmlinux does not contain is known.
            let only: Vec<String> =
                pairs(own).into_iter().map(|(key, _)| key).filter(|key| made.get(key).is_none()).collect();
            let running = [
                "NUMBER(SECTION_SIZE_BITS)",
                "NUMBER(MAX_PHYSMEM_BITS)",
                "NUMBER(phys_base)",
                "NUMBER(pgtable_l5_enabled)",
                "NUMBER(KERNEL_IMAGE_SIZE)",
                "NUMBER(sme_mask)",
                "NUMBER(VMALLOC_START)",
                "NUMBER(RADIX_MMU)",
                "SYMBOL(vmemmap)",
                "SYMBOL(node_online_map)",
                "LENGTH(mem_section)",
                "KERNELOFFSET",
                "CRASHTIME",
            ];
            let unknown: Vec<&String> = only.iter().filter(|key| !running.contains(&key.as_str())).collect();
            assert!(unknown.is_empty(), "{name}: {unknown:?}");
        });
    }
}

#[test]
fn types_are_followed_through_pointers_arrays_and_bit_fields() {
    with_vmlinux(X86_64, |_, path, _| {
        let vmlinux = Vmlinux::open(path).unwrap();
        let dwarf = Dwarf::open(&vmlinux).unwrap().unwrap();
        let init_task = dwarf.find(Named::Variable, "init_task").unwrap().unwrap();
        let Type::Struct { name, size } = dwarf.get(init_task).unwrap() else { panic!("no struct") };
        assert_eq!((name.as_str(), size), ("task_struct", dwarf.size_of("task_struct", 8).unwrap()));
        let comm = dwarf.member(init_task, "comm").unwrap().unwrap();
        assert_eq!(dwarf.size(comm.kind, 8).unwrap(), Some(16));
        let mm = dwarf.member(init_task, "mm").unwrap().unwrap();
        let Type::Pointer(mm) = dwarf.get(mm.kind).unwrap() else { panic!("no pointer") };
        let Type::Struct { name, .. } = dwarf.get(mm).unwrap() else { panic!("no struct") };
        assert_eq!(name, "mm_struct");
        // `unsigned sched_reset_on_fork:1` and its neighbours.
        let bit = dwarf.field("task_struct.sched_contributes_to_load").unwrap().unwrap();
        assert_eq!(bit.bits, Some(1));
        assert_eq!(dwarf.offset_of("task_struct.no_such_member").unwrap(), None);
        assert_eq!(dwarf.size_of("no_such_struct", 8).unwrap(), None);
        assert_eq!(dwarf.enumerator("PG_lru").unwrap(), Some(4));
    });
}

#[test]
fn what_is_made_of_a_vmlinux_is_what_makedumpfile_makes_of_it() {
    let Some(makedumpfile) = corpus::program("makedumpfile") else { return };
    with_vmlinux(X86_64, |_, path, _| {
        let temp = tempfile::tempdir().unwrap();
        let output = temp.path().join("vmcoreinfo");
        let mut peer = std::process::Command::new(makedumpfile);
        let ran = peer.arg("-g").arg(&output).arg("-x").arg(path).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let theirs = VmcoreInfo::parse(&std::fs::read(&output).unwrap());
        let vmlinux = Vmlinux::open(path).unwrap();
        let dwarf = Dwarf::open(&vmlinux).unwrap().unwrap();
        let ours = VmcoreInfo::parse(of_vmlinux(&vmlinux, &dwarf).unwrap().as_bytes());
        for (key, value) in pairs(&theirs) {
            match key.as_str() {
                // An array declared without its length has none; the file of a type is of no use.
                // `vmlist` is freed when the kernel has booted.
                "LENGTH(node_data)" | "SRCFILE(pud_t)" | "SYMBOL(vmlist)" => {}
                _ => assert_eq!(ours.get(&key), Some(value.as_str()), "{key}"),
            }
        }
    });
}
