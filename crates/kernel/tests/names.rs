//! The kernel's name, wherever it lies in `init_uts_ns`.

#[path = "support/synth.rs"]
#[expect(dead_code, reason = "each test file uses its part")]
mod synth;

use kernel::Kernel;
use vmcore::VmcoreInfo;

/// One kernel of each architecture, some with several page sizes.
const NAMES: [&str; 7] = [
    "x86_64-4k-vmemmap-6.1",
    "ppc64-4k-radix-6.12",
    "ppc64le-64k-hash-4.14",
    "aarch64-16k-47-6.6",
    "s390x-4k-3level-5.10",
    "riscv64-4k-sv39-6.6",
    "loongarch64-64k-3level-6.12",
];

/// The text with the namespace `by` bytes further down, and no word of where the name is in it.
fn moved(text: &str, by: u64) -> String {
    let line = |line: &str| match line.strip_prefix("SYMBOL(init_uts_ns)=") {
        Some(addr) => {
            let addr = u64::from_str_radix(addr, 16).unwrap();
            format!("SYMBOL(init_uts_ns)={:x}\n", addr - by)
        }
        None if line.starts_with("OFFSET(uts_namespace.name)=") => String::new(),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn the_kernels_name_is_found_at_any_offset_when_vmcoreinfo_does_not_say_it_and_the_release_proves_it() {
    for name in NAMES {
        let made = synth::build(name);
        for by in [0, 4, 12, 48, 100, 240] {
            let mut dump = synth::open(&made);
            dump.vmcoreinfo = Some(VmcoreInfo::parse(moved(&made.vmcoreinfo, by).as_bytes()));
            let kernel = Kernel::open(&dump).unwrap_or_else(|error| panic!("{name}, {by} bytes: {error}"));
            assert_eq!(kernel.utsname().release, made.release, "{name}, {by} bytes");
        }
    }
}

#[test]
fn a_name_of_another_release_is_not_taken_for_the_kernels() {
    for name in NAMES {
        let made = synth::build(name);
        let mut dump = synth::open(&made);
        let text = moved(&made.vmcoreinfo, 48)
            .replace(&format!("OSRELEASE={}", made.release), "OSRELEASE=1.2.3-other");
        dump.vmcoreinfo = Some(VmcoreInfo::parse(text.as_bytes()));
        let error = Kernel::open(&dump).err().expect("no kernel").to_string();
        assert!(error.contains("sysname"), "{name}: {error}");
    }
}
