//! Dumps of every machine that runs Linux are converted whole: that needs the page size and nothing else.

mod common;

use common::reader::kdump::Kdump;
use common::run::{Scratch, convert, hadump};
use std::fs;

/// `e_machine`, word size, byte orders, and a page size of its kernels.
const MACHINES: [(u16, u8, &[bool], u64, &str); 17] = [
    (8, 64, &[false, true], 16384, "mips64"),
    (8, 32, &[false, true], 4096, "mips"),
    (50, 64, &[false], 65536, "ia64"),
    (43, 64, &[true], 8192, "sparc64"),
    (2, 32, &[true], 4096, "sparc"),
    (15, 64, &[true], 4096, "parisc64"),
    (15, 32, &[true], 4096, "parisc"),
    (4, 32, &[true], 4096, "m68k"),
    (0x9026, 64, &[false], 8192, "alpha"),
    (42, 32, &[false, true], 4096, "sh4"),
    (93, 32, &[false], 8192, "arc"),
    (252, 32, &[false], 4096, "csky"),
    (243, 32, &[false], 4096, "riscv32"),
    (258, 32, &[false], 16384, "loongarch32"),
    (189, 32, &[true], 4096, "microblaze"),
    (3, 32, &[false], 4096, "i686"),
    (40, 32, &[false, true], 4096, "armv7l"),
];

/// A core of three pages, the last of which is zeros, with or without a VMCOREINFO that gives the page size.
fn core(machine: u16, bits: u8, big: bool, page: u64, with_note: bool) -> Vec<u8> {
    let wide = bits == 64;
    let put = |value: u64, len: usize| {
        let bytes = value.to_be_bytes()[8 - len..].to_vec();
        if big { bytes } else { bytes.into_iter().rev().collect() }
    };
    let word = |value: u64| put(value, if wide { 8 } else { 4 });
    let (ehdr, phdr) = if wide { (64u64, 56u64) } else { (52, 32) };
    let mut note = Vec::new();
    if with_note {
        let text = format!("OSRELEASE=6.6.0-test\nPAGESIZE={page}\n");
        note =
            [put(11, 4), put(text.len() as u64, 4), put(0, 4), b"VMCOREINFO\0\0".to_vec(), text.into_bytes()]
                .concat();
        note.resize(note.len().next_multiple_of(4), 0);
    }
    let (notes_at, data_at) = (ehdr + 2 * phdr, 1 << 16);
    let mut out = vec![0x7f, b'E', b'L', b'F', 1 + u8::from(wide), 1 + u8::from(big), 1];
    out.resize(16, 0);
    out.extend(
        [put(4, 2), put(machine.into(), 2), put(1, 4), word(0), word(ehdr), word(0), put(0, 4)].concat(),
    );
    out.extend([ehdr, phdr, 2, 0, 0, 0].iter().flat_map(|half| put(*half, 2)));
    for (kind, offset, paddr, len) in [(4, notes_at, 0, note.len() as u64), (1, data_at, 0, 3 * page)] {
        let rest = [offset, 0, paddr, len, len].map(&word).concat();
        if wide {
            out.extend([put(kind, 4), put(7, 4), rest, word(0)].concat());
        } else {
            out.extend([put(kind, 4), rest, put(7, 4), word(0)].concat());
        }
    }
    out.extend(note);
    out.resize(data_at as usize, 0);
    out.extend((0..2 * page).map(|i| (i / page) as u8 + 1));
    out.resize((data_at + 3 * page) as usize, 0);
    out
}

#[test]
fn a_dump_of_any_machine_is_converted_whole_and_without_zero_pages() {
    for (machine, bits, orders, page, name) in MACHINES {
        for &big in orders {
            for with_note in [true, false] {
                let file = Scratch::new("vmcore");
                fs::write(file.path(), core(machine, bits, big, page, with_note)).unwrap();
                let what = format!("{name}, {bits} bits, big-endian {big}, note {with_note}");
                let given = page.to_string();
                let size = if with_note { &[][..] } else { &["--page-size", &given] };
                for level in ["0", "1"] {
                    let out = Scratch::new("out");
                    let run =
                        convert(file.path(), out.path(), &[&["-d", level, "-c", "none"], size].concat());
                    assert_eq!(run.code, Some(0), "{what}, level {level}: {}", run.stderr);
                    // Of a kernel that nobody asked about nothing is said.
                    assert!(!run.stderr.contains("all pages are kept"), "{what}: {}", run.stderr);
                    let info = hadump(["info".as_ref(), out.path().as_os_str()]).ok().stdout;
                    let order = if big { "big-endian" } else { "little-endian" };
                    assert!(
                        info.contains(order) && info.contains(&format!("{bits}-bit words")),
                        "{what}: {info}"
                    );
                    if bits == 64 {
                        let kdump = Kdump::open(out.path());
                        assert_eq!((kdump.block_size, kdump.order.big), (page, big), "{what}");
                        // Zero pages stay, as one page that all of them share.
                        assert_eq!(kdump.kept().count(), 3, "{what}, level {level}");
                    }
                    let back = Scratch::new("back.elf");
                    convert(out.path(), back.path(), &["-d", level, "--format", "elf"]).ok();
                    let head = fs::read(back.path()).unwrap();
                    let number = [head[18], head[19]];
                    assert_eq!(
                        if big { u16::from_be_bytes(number) } else { u16::from_le_bytes(number) },
                        machine,
                        "{what}"
                    );
                    let run = hadump(["diff".as_ref(), file.path().as_os_str(), back.path().as_os_str()]);
                    assert!(
                        level == "1" || !with_note || run.code == Some(0),
                        "{what}: {}{}",
                        run.stdout,
                        run.stderr
                    );
                }
            }
        }
    }
}

/// ELF has two numbers for ARC, and a kdump header one name.
#[test]
fn an_arc_kernel_of_either_kind_is_the_same_as_its_conversion() {
    for number in [93, 195] {
        let (file, out) = (Scratch::new("vmcore"), Scratch::new("out"));
        fs::write(file.path(), core(number, 32, false, 8192, true)).unwrap();
        convert(file.path(), out.path(), &["-d", "0"]).ok();
        hadump(["diff".as_ref(), file.path().as_os_str(), out.path().as_os_str()]).ok();
    }
}
