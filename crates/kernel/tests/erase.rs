//! Erasing by rules in a real dump, against makedumpfile.

mod support;

use corpus::X86_64;
use kernel::dwarf::Dwarf;
use kernel::erase::Rules;
use kernel::knowledge::Known;
use kernel::symbols::{Relocated, Symbols};
use kernel::types::Types;
use kernel::vmlinux::Vmlinux;
use kernel::{Kernel, KernelMemory};
use object::read::elf::{FileHeader, ProgramHeader};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use support::with_vmlinux;
use vmcore::{Dump, PhysAddr, VirtAddr};

const RULES: &str = "\
[vmlinux]
erase init_uts_ns.name.nodename   # an array
erase saved_command_line          # a string
erase init_task.comm
erase log_buf size log_buf_len    # what a pointer leads to, as long as a variable says
erase init_task.cred.user nullify
for t in init_task.tasks within task_struct:tasks
    erase t.comm
    erase t.mm.saved_auxv size 16 # null for kernel threads
endfor
for f in file_systems via next
    erase f.name
endfor
for c in console_cmdline
    erase c.name
endfor
for d in chrdevs                  # an array of pointers, most of them null
    erase d.name size 5
endfor
";

/// makedumpfile wants at least one module to be loaded, and the kernel of the dump has none. This links one into the
/// list, in memory that is not used.
fn load_a_module(path: &Path, dump: &Dump, vmlinux: &Vmlinux) {
    let kernel = Kernel::open(dump).unwrap();
    let dwarf = Dwarf::open(vmlinux).unwrap().unwrap();
    let symbols = Relocated::by_info(vmlinux, kernel.info());
    let at = |name: &str| symbols.symbol(name).unwrap().unwrap().0;
    let bss = (at("__bss_start").next_multiple_of(4096)..at("__bss_stop")).step_by(4096);
    let is_unused = |addr: &u64| {
        let mut bytes = [0; 8192];
        kernel.read(VirtAddr(*addr), &mut bytes).unwrap();
        bytes == [0; 8192]
    };
    let module = bss.into_iter().find(is_unused).unwrap();
    let (list, core, head) = (module + 8, module + 4096, at("modules"));
    let member = |name: &str| module + dwarf.offset_of(&format!("module.{name}")).unwrap().unwrap();
    assert_eq!(member("list"), list);
    let mut words = vec![(list, head), (list + 8, head), (head, list), (head + 8, list)];
    words.extend([(member("core_layout.base"), core), (member("core_layout.size"), 4096)]);
    words.extend([(member("core_kallsyms.symtab"), core), (member("core_kallsyms.num_symtab"), 1)]);
    words.push((member("core_kallsyms.strtab"), core + 64));
    words.push((member("name"), u64::from_le_bytes(*b"mymodule")));

    let bytes = std::fs::read(path).unwrap();
    let header = object::elf::FileHeader64::<object::LittleEndian>::parse(&*bytes).unwrap();
    let loads = header.program_headers(object::LittleEndian, &*bytes).unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    for (addr, word) in words {
        let PhysAddr(phys) = kernel.translate(VirtAddr(addr)).unwrap();
        let load =
            loads.iter().filter(|l| l.p_type(object::LittleEndian) == object::elf::PT_LOAD).find(|l| {
                let start = l.p_paddr(object::LittleEndian);
                (start..start + l.p_filesz(object::LittleEndian)).contains(&phys)
            });
        let load = load.unwrap();
        let offset = phys - load.p_paddr(object::LittleEndian) + load.p_offset(object::LittleEndian);
        file.write_all_at(&word.to_le_bytes(), offset).unwrap();
    }
}

#[test]
fn rules_erase_what_makedumpfile_erases_and_say_so_in_the_same_words() {
    let Some(makedumpfile) = corpus::program("makedumpfile") else { return };
    with_vmlinux(X86_64, |real, path, dump| {
        let vmlinux = Vmlinux::open(path).unwrap();
        let temp = tempfile::tempdir().unwrap();
        let input = temp.path().join("vmcore.elf");
        real.copy_elf(&input);
        load_a_module(&input, dump, &vmlinux);
        let (config, output) = (temp.path().join("conf"), temp.path().join("peer"));
        std::fs::write(&config, RULES).unwrap();
        let mut peer = Command::new(&makedumpfile);
        peer.args(["-d", "0", "-c", "-x"]).arg(path).arg("--config").args([&config, &input, &output]);
        let ran = peer.output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let theirs = dumpfile::open(&output).unwrap();

        let dump = dumpfile::open(&input).unwrap();
        let erasures = {
            let kernel = Kernel::open(&dump).unwrap();
            let known = Known::of_vmlinux(&kernel, &vmlinux).unwrap();
            Rules::parse(RULES).unwrap().resolve(&known).unwrap()
        };
        let (ours, remarks) = erasures.apply(dump).unwrap();
        assert_eq!(remarks, [""; 0]);
        assert_eq!(
            String::from_utf8_lossy(&ours.source.erase_info),
            String::from_utf8_lossy(&theirs.source.erase_info)
        );
        let page = ours.page_size();
        let (mut mine, mut other) = (vec![0; page.len()], vec![0; page.len()]);
        let original = dumpfile::open(&input).unwrap();
        let mut before = vec![0; page.len()];
        let (mut changed, mut compared) = (0, 0u64);
        for pfn in ours.memory.map().frames().iter().flat_map(|r| r.start.0..r.end.0).map(vmcore::Pfn) {
            let _ = ours.memory.read_page(pfn, &mut mine).unwrap();
            // Offline pages go at every level.
            if !theirs.memory.read_page(pfn, &mut other).unwrap().is_known() {
                continue;
            }
            assert!(mine == other, "{pfn:?} differs");
            compared += 1;
            let _ = original.memory.read_page(pfn, &mut before).unwrap();
            changed += mine.iter().zip(&before).filter(|(a, b)| a != b).count();
        }
        assert!(changed > 1000, "{changed} bytes changed");
        assert!(compared > 70_000, "{compared} pages compared");

        // A module's rules are refused when the module is there, and do nothing when it is not.
        let kernel = Kernel::open(&original).unwrap();
        let known = Known::of_vmlinux(&kernel, &vmlinux).unwrap();
        let error = Rules::parse("[mymodule]\nerase secret").unwrap().resolve(&known).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2, column 1: the module mymodule is loaded, and data of modules cannot be erased"
        );
        let found = Rules::parse("[another]\nerase secret").unwrap().resolve(&known).unwrap();
        assert_eq!(found.remarks, ["line 2: the module another is not loaded, so the rule has no effect"]);
    });
}
