//! The input's headers among the debugging messages, line by line as makedumpfile prints them: servers that collect dumps
//! run it with `-D` and take the dump level from its output.

use dumpfile::kdump::{Description, describe};
use std::fmt::Write;
use std::path::Path;
use vmcore::Dump;

/// What is printed of an input before it is worked on: the headers of kdump-compressed files, the segments of another.
pub(super) fn text(files: &[impl AsRef<Path>], dump: &Dump) -> String {
    let described: String =
        files.iter().filter_map(|file| describe(file.as_ref()).ok()?).map(|found| of_kdump(&found)).collect();
    if described.is_empty() { of_segments(dump) } else { described }
}

/// Both headers. Sizes have the prefix of a hexadecimal number and are decimal: that is how makedumpfile prints them.
fn of_kdump(Description { header, sub }: &Description) -> String {
    let mut text = String::from("diskdump main header\n  signature        : KDUMP   \n");
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<17}: {value}");
    };
    line("header_version", header.version.to_string());
    line("status", header.status.to_string());
    line("block_size", header.block_size.to_string());
    line("sub_hdr_size", header.sub_hdr_size.to_string());
    line("bitmap_blocks", header.bitmap_blocks.to_string());
    line("max_mapnr", format!("{:#x}", header.max_mapnr));
    let names = ["total_ram_blocks", "device_blocks", "written_blocks", "current_cpu"];
    for (name, value) in names.into_iter().zip(header.unused) {
        line(name, value.to_string());
    }
    line("nr_cpus", header.nr_cpus.to_string());
    text += "kdump sub header\n";
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<17}: {value}");
    };
    line("phys_base", format!("{:#x}", sub.phys_base));
    line("dump_level", sub.dump_level.to_string());
    line("split", sub.split.to_string());
    line("start_pfn", format!("{:#x}", sub.start_pfn));
    line("end_pfn", format!("{:#x}", sub.end_pfn));
    if header.version >= 6 {
        line("start_pfn_64", format!("{:#x}", sub.start_pfn_64));
        line("end_pfn_64", format!("{:#x}", sub.end_pfn_64));
        line("max_mapnr_64", format!("{:#x}", sub.max_mapnr_64));
    }
    for (since, name, offset, size) in [
        (3, "vmcoreinfo", sub.offset_vmcoreinfo, sub.size_vmcoreinfo),
        (4, "note", sub.offset_note, sub.size_note),
        (5, "eraseinfo", sub.offset_eraseinfo, sub.size_eraseinfo),
    ] {
        if header.version >= since {
            line(&format!("offset_{name}"), format!("{offset:#x}"));
            line(&format!("size_{name}"), format!("0x{size}"));
        }
    }
    text
}

/// The segments of an ELF file.
fn of_segments(dump: &Dump) -> String {
    let mut text =
        format!("{:>25} {:>16} {:>16} {:>16}\n", "phys_start", "phys_end", "virt_start", "virt_end");
    for (n, segment) in dump.virt.iter().enumerate() {
        let (phys, virt) = (segment.phys, segment.virt.0);
        let end = virt.wrapping_add(phys.end.0.saturating_sub(phys.start.0));
        let _ = writeln!(text, "LOAD[{n:2}] {:16x} {:16x} {virt:16x} {end:16x}", phys.start.0, phys.end.0);
    }
    text += "Linux kdump\n";
    text
}

/// What is printed of a dump behind its VMCOREINFO.
pub(super) fn facts(dump: &Dump) -> String {
    let mut text = String::new();
    let base = dump.vmcoreinfo.as_ref().and_then(|info| info.number("phys_base"));
    if let Some(base) = base {
        let _ = writeln!(text, "phys_base    : {base:x} (vmcoreinfo)\n");
    }
    let _ = writeln!(text, "max_mapnr    : {:x}", dump.memory.map().max_pfn().0);
    text
}
