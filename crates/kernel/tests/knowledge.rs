//! Dumps that lost their VMCOREINFO: found in memory, given, made from a vmlinux. What comes of it is judged by the pages
//! that the highest dump level then keeps.

mod support;

use corpus::{POWER, X86_64};
use kernel::Kernel;
use kernel::knowledge::{Given, complete};
use support::{bitmap, with_dump, with_vmlinux};
use vmcore::{Dump, DumpLevel, Note, Notes, VmcoreInfo};

const REAL: [&str; 2] = [X86_64, POWER];

/// Takes the VMCOREINFO note out of a dump and returns its text.
fn forget(dump: &mut Dump) -> Vec<u8> {
    let order = dump.machine.order;
    let mut text = Vec::new();
    let mut rest = Notes::default();
    for note in dump.notes.iter() {
        if note.name == b"VMCOREINFO" {
            text.clone_from(&note.desc);
        } else {
            rest.push(note.clone(), order);
        }
    }
    (dump.notes, dump.vmcoreinfo) = (rest, None);
    // What the file says of virtual addresses is no help that every dump has.
    dump.virt.clear();
    text
}

/// Gives the dump another note.
fn put(dump: &mut Dump, text: Vec<u8>) {
    forget(dump);
    dump.vmcoreinfo = Some(VmcoreInfo::parse(&text));
    dump.notes.push(Note { name: b"VMCOREINFO".to_vec(), kind: 0, desc: text }, dump.machine.order);
}

/// Compares the pages kept at level 31 with what the dump's peer keeps.
fn keeps_the_true_pages(real: &corpus::Dump, dump: &Dump) {
    let expected = real.bitmap(31);
    let kernel = Kernel::open(dump).unwrap();
    let selected = kernel.select(DumpLevel::new(31).unwrap(), None).unwrap();
    assert_eq!(bitmap(&selected.selection, expected.len()), expected, "{}", real.name);
}

#[test]
fn a_dump_without_vmcoreinfo_has_it_in_its_memory() {
    for name in REAL {
        with_dump(name, |real, dump| {
            let own = forget(dump);
            let remarks = complete(dump, &Given::default()).unwrap();
            assert!(remarks[0].contains("was found in memory at 0x"), "{name}: {remarks:?}");
            assert_eq!(dump.notes.find("VMCOREINFO").unwrap().desc, own, "{name}");
            keeps_the_true_pages(real, dump);
        });
    }
}

#[test]
fn a_vmlinux_stands_in_for_vmcoreinfo() {
    for name in REAL {
        with_vmlinux(name, |real, vmlinux, dump| {
            let own = VmcoreInfo::parse(&forget(dump));
            let given = Given { vmlinux: Some(vmlinux), ..Given::default() };
            let remarks = complete(dump, &given).unwrap();
            assert!(remarks[0].starts_with("VMCOREINFO was made from "), "{name}: {remarks:?}");
            let made = dump.vmcoreinfo.as_ref().unwrap();
            assert_eq!(dump.notes.find("VMCOREINFO").unwrap().desc, made.text());
            for key in ["OSRELEASE", "BUILD-ID", "KERNELOFFSET", "SYMBOL(_stext)", "SYMBOL(init_uts_ns)"] {
                assert_eq!(made.get(key), own.get(key), "{name}: {key}");
            }
            for key in ["phys_base", "SECTION_SIZE_BITS", "MAX_PHYSMEM_BITS", "VMALLOC_START", "sme_mask"] {
                assert_eq!(made.number(key), own.number(key), "{name}: {key}");
            }
            keeps_the_true_pages(real, dump);
        });
    }
}

#[test]
fn a_file_stands_in_for_vmcoreinfo_as_text_and_as_note() {
    for name in REAL {
        with_dump(name, |real, dump| {
            let temp = tempfile::tempdir().unwrap();
            let own = forget(dump);
            let mut note = Notes::default();
            note.push(Note { name: b"VMCOREINFO".to_vec(), kind: 0, desc: own.clone() }, dump.machine.order);
            for content in [&own[..], note.raw()] {
                forget(dump);
                let path = temp.path().join("vmcoreinfo");
                std::fs::write(&path, content).unwrap();
                complete(dump, &Given { vmcoreinfo: Some(&path), ..Given::default() }).unwrap();
                assert_eq!(dump.notes.find("VMCOREINFO").unwrap().desc, own, "{name}");
            }
            keeps_the_true_pages(real, dump);
        });
    }
}

#[test]
fn a_file_with_link_addresses_is_moved_to_where_the_kernel_ran() {
    with_vmlinux(X86_64, |real, path, dump| {
        let temp = tempfile::tempdir().unwrap();
        forget(dump);
        let vmlinux = kernel::vmlinux::Vmlinux::open(path).unwrap();
        let dwarf = kernel::dwarf::Dwarf::open(&vmlinux).unwrap().unwrap();
        let text = kernel::knowledge::vmcoreinfo::of_vmlinux(&vmlinux, &dwarf).unwrap();
        let file = temp.path().join("vmcoreinfo");
        std::fs::write(&file, text).unwrap();
        complete(dump, &Given { vmcoreinfo: Some(&file), ..Given::default() }).unwrap();
        assert_eq!(dump.vmcoreinfo.as_ref().unwrap().get("KERNELOFFSET"), Some("21800000"));
        keeps_the_true_pages(real, dump);
    });
}

#[test]
fn a_vmcoreinfo_of_another_kernel_is_replaced_by_the_one_in_memory() {
    with_dump(X86_64, |real, dump| {
        let own = forget(dump);
        let text = String::from_utf8(own.clone()).unwrap();
        let foreign = text.replace("6.1.192-lab", "5.10.0").replace("ffffffffa3", "ffffffff83");
        put(dump, foreign.into_bytes());
        let remarks = complete(dump, &Given::default()).unwrap();
        assert!(remarks[0].contains("does not lead to its kernel"), "{remarks:?}");
        assert_eq!(dump.notes.iter().filter(|n| n.name == b"VMCOREINFO").count(), 1);
        assert_eq!(dump.notes.find("VMCOREINFO").unwrap().desc, own);
        keeps_the_true_pages(real, dump);
    });
}

#[test]
fn what_belongs_to_another_kernel_is_refused_with_both_names() {
    with_dump(X86_64, |_, dump| {
        let temp = tempfile::tempdir().unwrap();
        let own = forget(dump);
        let text = String::from_utf8(own.clone()).unwrap();
        let file = temp.path().join("vmcoreinfo");
        let given = Given { vmcoreinfo: Some(&file), ..Given::default() };
        let refusal = |dump: &mut Dump, text: &str| {
            std::fs::write(&file, text).unwrap();
            complete(dump, &given).unwrap_err().to_string()
        };
        let other = text.replace("OSRELEASE=6.1.192-lab", "OSRELEASE=6.1.0-18-amd64");
        // Without a note the dump's memory says what it is.
        let error = refusal(dump, &other);
        assert!(
            error.contains("it is of kernel 6.1.0-18-amd64, and the dump's memory of 6.1.192-lab"),
            "{error}"
        );
        put(dump, own.clone());
        let error = refusal(dump, &other);
        assert!(error.contains("release 6.1.0-18-amd64, the dump to the one with 6.1.192-lab"), "{error}");
        let build = text.replace("BUILD-ID=be73", "BUILD-ID=0000");
        let error = refusal(dump, &build);
        assert!(error.contains("the kernel with build id 0000a5"), "{error}");
        // What is none at all says nothing against the dump's own.
        std::fs::write(&file, "no such thing").unwrap();
        let remarks = complete(dump, &given).unwrap();
        assert!(remarks[0].contains("this is not a VMCOREINFO"), "{remarks:?}");
        assert!(remarks[0].ends_with("that of the dump is used"), "{remarks:?}");
        // Neither changes the dump.
        assert_eq!(dump.notes.find("VMCOREINFO").unwrap().desc, own);
        let error = complete(dump, &Given { vmlinux: Some(&file), ..Given::default() }).unwrap_err();
        assert!(error.to_string().contains("this is not a vmlinux"), "{error}");
    });
}

#[test]
fn a_vmlinux_for_another_machine_is_refused() {
    with_vmlinux(POWER, |_, power, _| {
        with_dump(X86_64, |_, dump| {
            let given = Given { vmlinux: Some(power), ..Given::default() };
            let error = complete(dump, &given).unwrap_err().to_string();
            assert!(error.contains("it is a kernel for ppc64le, the dump is of x86_64"), "{error}");
        });
    });
}

#[test]
fn a_healthy_dump_stays_as_it_is() {
    for name in REAL {
        with_dump(name, |real, dump| {
            let (notes, info) = (dump.notes.clone(), dump.vmcoreinfo.clone());
            for vmlinux in [None, real.vmlinux().as_deref()] {
                let remarks = complete(dump, &Given { vmlinux, ..Given::default() }).unwrap();
                assert_eq!(remarks, [""; 0], "{name}");
                assert_eq!((&dump.notes, &dump.vmcoreinfo), (&notes, &info), "{name}");
            }
        });
    }
}

#[test]
fn keys_that_were_left_out_come_from_the_vmlinux_and_the_note_stays() {
    with_vmlinux(X86_64, |real, vmlinux, dump| {
        let own = String::from_utf8(forget(dump)).unwrap();
        let lacks =
            ["OFFSET(page._mapcount)", "NUMBER(PG_lru)", "NUMBER(PG_swapbacked)", "LENGTH(zone.free_area)"];
        let rest: String = own
            .lines()
            .filter(|line| !lacks.iter().any(|key| line.starts_with(key)))
            .flat_map(|l| [l, "\n"])
            .collect();
        put(dump, rest.clone().into_bytes());
        let remarks = complete(dump, &Given { vmlinux: Some(vmlinux), ..Given::default() }).unwrap();
        assert_eq!(remarks.len(), 1, "{remarks:?}");
        assert!(lacks.iter().all(|key| remarks[0].contains(key)), "{remarks:?}");
        assert_eq!(dump.notes.find("VMCOREINFO").unwrap().desc, rest.into_bytes());
        keeps_the_true_pages(real, dump);
    });
}
