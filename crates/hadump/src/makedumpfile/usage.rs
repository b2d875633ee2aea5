//! What `-h` and `-v` print.

/// The version of makedumpfile whose command line this is; scripts read the number and decide what they may ask for.
pub(super) const VERSION: &str = "1.7.9 (released on 20 Apr 2026)";

/// Every codec is built in, with or without the feature `lzo`, which only reading needs.
pub(super) fn version() -> String {
    format!(
        "makedumpfile: version {VERSION}\nlzo\tenabled\nsnappy\tenabled\nzstd\tenabled\nhadump {}\n",
        env!("CARGO_PKG_VERSION")
    )
}

pub(super) const HELP: &str = "
LZO support:
  enabled
snappy support:
  enabled
zstd support:
  enabled

This is hadump under the name of makedumpfile.

Usage:
  Make a smaller dump; -F writes it to the standard output as a stream:
    makedumpfile    [-c|-l|-p|-z|-E] [-d DL] [OPTION..] VMCORE DUMPFILE
    makedumpfile -F [-c|-l|-p|-z|-E] [-d DL] [OPTION..] VMCORE
  Make a dump file of such a stream on the standard input:
    makedumpfile -R DUMPFILE
  Make several files of one dump, and one of several:
    makedumpfile --split [OPTION..] VMCORE DUMPFILE1 DUMPFILE2 [DUMPFILE3 ..]
    makedumpfile --reassemble DUMPFILE1 DUMPFILE2 [DUMPFILE3 ..] DUMPFILE
  Write the kernel log alone, or what came after it was last cleared:
    makedumpfile [-F] --dump-dmesg [--partial-dmesg] VMCORE [LOGFILE]
  Write what -i takes:
    makedumpfile -g VMCOREINFO -x VMLINUX
  Count the pages of each kind:
    makedumpfile --mem-usage /proc/kcore

What is left out and how the rest is stored:
  -d DL             Sum of: 1 zero pages, 2 page cache, 4 page cache with
                    private data, 8 user data, 16 free pages. DL1,DL2,..: the
                    next one when the disk is full or -L is reached
  -c, -l, -p, -z    Compress pages with zlib, LZO, snappy, zstd
  -E                Write an ELF core
  -L SIZE           Write no more than SIZE bytes (K, M, G, T behind it)
  --config FILE     Erase data by the rules in FILE; needs -x
  -x VMLINUX        The kernel with its debug information
  -i VMCOREINFO     What -g VMCOREINFO -x VMLINUX wrote

How it is done:
  -f                Write what DUMPFILE stands for, also if it is there
  --num-threads N   Threads, at most one for each CPU, which is the default
  --non-mmap        Read /proc/vmcore instead of mapping it, which takes longer
  --work-dir DIR    Where bitmaps go that outgrow memory
  --dry-run         Do everything but write
  --check-params    Check the options and do nothing
  --vtop ADDRESS    Print what ADDRESS is translated to

What is printed:
  --message-level N Sum of: 1 progress, 2 common, 4 errors, 8 for debugging,
                    16 page counts; the default is 7
  -D, --show-stats  Add 8, add 16
  -v, -h            The version and codecs; this text

Taken and without effect, as hadump needs no tuning of these:
  -b, --cyclic-buffer, --non-cyclic, --splitblock-size
Taken and without effect, which is said:
  -e, --xen-syms, --xen-vmcoreinfo, --xen_phys_start
For dumps of Xen hosts alone, of which all pages are kept:
  -X
Refused by name:
  --diskset, --eppic, --extension

Exit status: 0 complete, also when more pages were kept than asked for; 1
failed or incomplete; 2 VMLINUX or VMCOREINFO is of another kernel.
";
