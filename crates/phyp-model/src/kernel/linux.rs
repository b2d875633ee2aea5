//! Linux kernels whose fadump is modelled, and how they differ.
//!
//! Read in the kernels' own sources: `arch/powerpc/kernel/fadump.c` and `arch/powerpc/platforms/pseries/rtas-fadump.c`
//! of 6.1, 6.12 and 7.2. What is the same in all of them is code ([`crate::fadump`], [`crate::release`]); what differs
//! stands here, a line a kernel.

/// The two generations of the crash-info header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashHeader {
    /// Before 6.10: `FADMPINF`, no sizes.
    Inf,
    /// Since 6.10: `FADMPSIG`, with version and sizes.
    Sig,
}

/// A kernel, or rather all that behave alike. What one does is in its [`Facts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Linux {
    /// Up to 6.9, seen in 6.1.
    V6_1,
    /// From 6.10 on, seen in 6.12.
    V6_12,
    /// 7.2.
    V7_2,
    /// As 7.2, without the names from before 5.6, whose removal is proposed.
    Next,
    /// As 7.2, with the patches of `docs/kernel`.
    Mended,
}

/// Where the memory reserved for the dump ends (`get_fadump_area_size`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AreaEnd {
    /// At a page: room for the ELF core's headers follows the crash-info header, and the sum is rounded up.
    WholePage,
    /// With the crash-info header, in the middle of a page: the rounding went when the headers did.
    InsidePage,
}

/// What a kernel looks at before it takes a dump (`rtas_fadump_process`, `is_fadump_header_compatible`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// The status as a whole, errors of CPU state and boot memory, whether all of boot memory was copied and any of the
    /// CPU state; of the crash-info header the magic.
    BootMemory,
    /// Of CPU state, HPTEs and boot memory alike: no error flag, and as much copied as was requested. Of the crash-info
    /// header the magic and both sizes. Not the status, and not the header's version.
    EverySection,
}

/// Where the parameter area goes with the hash MMU, under which firmware uses memory up to the end of the real-mode area (RMA).
/// Without such a place there is no area. With the radix MMU it is the upper half of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashParameters {
    /// Between 672 and 736 MiB, where the RMA has at least 768 MiB.
    Fixed,
    /// Between 768 MiB and the end of the RMA or of boot memory, whichever comes first.
    AboveTheLeastRma,
}

/// How a kernel differs from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its release, as `uname -r` begins.
    pub release: &'static str,
    /// The crash-info header that it writes and takes.
    pub header: CrashHeader,
    /// Where the reserved memory ends.
    pub area_end: AreaEnd,
    /// Whether it has a parameter area, and `bootargs_append` with it (`fadump_setup_param_area`).
    pub parameter_area: bool,
    /// Where the area goes with the hash MMU.
    pub hash_parameters: HashParameters,
    /// Whether `hotplug_ready` stands in sysfs: memory that comes or goes needs no new registration.
    pub hotplug_ready: bool,
    /// Whether the names from before 5.6 stand beside `/sys/kernel/fadump` as links (`fadump_init_files`).
    pub old_names: bool,
    /// What it looks at before it takes a dump.
    pub checks: Checks,
    /// Whether a release begins with the page that holds the reserved memory's last bytes
    /// (`fadump_release_reserved_area` rounds both ends of a range down).
    pub frees_the_areas_last_page: bool,
    /// Boot memory is rounded up to this many bytes where the dump area is lent to programs (`CMA_MIN_ALIGNMENT_BYTES`, with
    /// 64 KiB pages and the radix MMU).
    pub lending_block: u64,
    /// Pages of the kernel's own, for the ELF core's headers and the CPUs' notes, that count as managed again after a release
    /// (`fadump_alloc_buffer` and `fadump_free_buffer`).
    pub buffers: u64,
    /// Whether a release spares RTAS, the initial RAM disk, the device tree and the parameter area.
    pub spares_firmware: bool,
    /// Whether the dump area keeps clear of RTAS, the initial RAM disk and the device tree. Where it does not
    /// (`fadump_locate_reserve_mem` runs before `early_reserve_mem`), and the area is lent to programs, RTAS is lent with it.
    pub area_avoids_firmware: bool,
}

const V6_1: Facts = Facts {
    release: "6.1",
    header: CrashHeader::Inf,
    area_end: AreaEnd::WholePage,
    parameter_area: false,
    hash_parameters: HashParameters::Fixed,
    hotplug_ready: false,
    old_names: true,
    checks: Checks::BootMemory,
    frees_the_areas_last_page: true,
    lending_block: 2 << 20,
    buffers: 1,
    spares_firmware: false,
    area_avoids_firmware: false,
};
const V6_12: Facts = Facts {
    release: "6.12",
    header: CrashHeader::Sig,
    area_end: AreaEnd::InsidePage,
    parameter_area: true,
    hotplug_ready: true,
    checks: Checks::EverySection,
    buffers: 2,
    ..V6_1
};
const V7_2: Facts = Facts {
    release: "7.2",
    hash_parameters: HashParameters::AboveTheLeastRma,
    lending_block: 1,
    buffers: 0,
    ..V6_12
};
const NEXT: Facts = Facts { release: "7.3", old_names: false, ..V7_2 };
const MENDED: Facts =
    Facts { frees_the_areas_last_page: false, spares_firmware: true, area_avoids_firmware: true, ..V7_2 };

impl Linux {
    /// All of them, the oldest first.
    pub const ALL: [Self; 5] = [Self::V6_1, Self::V6_12, Self::V7_2, Self::Next, Self::Mended];

    /// How it differs from the others.
    pub const fn facts(self) -> &'static Facts {
        match self {
            Self::V6_1 => &V6_1,
            Self::V6_12 => &V6_12,
            Self::V7_2 => &V7_2,
            Self::Next => &NEXT,
            Self::Mended => &MENDED,
        }
    }
}
