//! The options of makedumpfile.

use super::super::getopt::Spec;

/// An option of makedumpfile's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opt {
    Lzo,
    Snappy,
    Zlib,
    Zstd,
    Debug,
    DumpLevel,
    Elf,
    Flatten,
    Force,
    Generate,
    Help,
    ReadVmcoreinfo,
    SizeLimit,
    Rearrange,
    Version,
    Vmlinux,
    Split,
    Reassemble,
    MessageLevel,
    Vtop,
    DumpDmesg,
    PartialDmesg,
    Config,
    MemUsage,
    WorkDir,
    NumThreads,
    CheckParams,
    DryRun,
    ShowStats,
    /// Accepted and without effect.
    Tuning,
    /// Accepted and without effect, which is said: the name, and why.
    NeedsNot(&'static str, &'static str),
    Xen,
    NonMmap,
    /// Refused: the name, and why.
    Refused(&'static str, &'static str),
}

const XEN: &str = "not needed, as all pages of a Xen host's dump are kept";

const fn short(name: u8, takes_value: bool, option: Opt) -> Spec<Opt> {
    Spec { short: Some(name), long: None, takes_value, option }
}

const fn long(name: &'static str, takes_value: bool, option: Opt) -> Spec<Opt> {
    Spec { short: None, long: Some(name), takes_value, option }
}

/// All options, in makedumpfile's order, in which glibc lists ambiguous names.
pub(super) const SPECS: [Spec<Opt>; 44] = [
    short(b'b', true, Opt::Tuning),
    short(b'c', false, Opt::Zlib),
    short(b'D', false, Opt::Debug),
    short(b'd', true, Opt::DumpLevel),
    short(
        b'e',
        false,
        Opt::NeedsNot("-e", "pages of struct page are kept all the same; the dump is larger and complete"),
    ),
    short(b'E', false, Opt::Elf),
    short(b'F', false, Opt::Flatten),
    short(b'f', false, Opt::Force),
    short(b'g', true, Opt::Generate),
    short(b'h', false, Opt::Help),
    short(b'i', true, Opt::ReadVmcoreinfo),
    short(b'l', false, Opt::Lzo),
    short(b'L', true, Opt::SizeLimit),
    short(b'p', false, Opt::Snappy),
    short(b'R', false, Opt::Rearrange),
    short(b'v', false, Opt::Version),
    short(b'X', false, Opt::Xen),
    short(b'x', true, Opt::Vmlinux),
    short(b'z', false, Opt::Zstd),
    long("split", false, Opt::Split),
    long("reassemble", false, Opt::Reassemble),
    long("xen-syms", true, Opt::NeedsNot("--xen-syms", XEN)),
    long("xen-vmcoreinfo", true, Opt::NeedsNot("--xen-vmcoreinfo", XEN)),
    long("xen_phys_start", true, Opt::NeedsNot("--xen_phys_start", XEN)),
    long("message-level", true, Opt::MessageLevel),
    long("vtop", true, Opt::Vtop),
    long("dump-dmesg", false, Opt::DumpDmesg),
    long("partial-dmesg", false, Opt::PartialDmesg),
    long("config", true, Opt::Config),
    long("help", false, Opt::Help),
    long("diskset", true, Opt::Refused("--diskset", "sadump disk sets are not supported")),
    long("cyclic-buffer", true, Opt::Tuning),
    long(
        "eppic",
        true,
        Opt::Refused("--eppic", "eppic macros are not run; --config erases data by rules of its own"),
    ),
    long("non-mmap", false, Opt::NonMmap),
    long("mem-usage", false, Opt::MemUsage),
    long("splitblock-size", true, Opt::Tuning),
    long("work-dir", true, Opt::WorkDir),
    long("num-threads", true, Opt::NumThreads),
    long("check-params", false, Opt::CheckParams),
    long("dry-run", false, Opt::DryRun),
    long("show-stats", false, Opt::ShowStats),
    long("extension", true, Opt::Refused("--extension", "extensions are C objects for makedumpfile alone")),
    // Gone since 1.5.9, but still found in configurations older than that.
    long("non-cyclic", false, Opt::Tuning),
    long("version", false, Opt::Version),
];
