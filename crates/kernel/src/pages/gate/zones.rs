//! What the kernel itself counted: free blocks, free pages and pages on LRU lists, zone by zone.
//!
//! `node_data[]->node_zones[]` (`include/linux/mmzone.h`): `free_area[order].nr_free` is exact; `vm_stat[]` lacks what
//! each CPU has not added yet, which is below a threshold (`calculate_normal_threshold` of `mm/vmstat.c`).

use super::nodes::NodeData;
use crate::pages::page::ORDERS;
use crate::{Error, Kernel, KernelMemory};
use vmcore::{Pfn, Range, RangeSet, VirtAddr, VmcoreInfo};

/// Numbers that no kernel exceeds (`MAX_NUMNODES`, `MAX_NR_ZONES`).
const MOST_NODES: u64 = 1024;
const MOST_ZONES: u64 = 8;
/// Kinds of LRU lists since 2.6.28: inactive and active, of anonymous memory and of files, and unevictable.
const LRU_LISTS: u64 = 5;

/// The sums over all zones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zones {
    /// The numbers of nodes that exist, and how many there could be.
    pub(crate) nodes: Vec<usize>,
    pub(crate) most_nodes: u64,
    /// The frames that nodes span.
    pub(crate) frames: RangeSet<Pfn>,
    /// Free blocks by order, where VMCOREINFO says how they are counted.
    pub(crate) free: Option<[u64; ORDERS]>,
    /// NR_FREE_PAGES.
    pub(crate) free_pages: Option<u64>,
    /// Pages on LRU lists, and how many they are if another counter precedes theirs, where that is possible:
    /// NR_ALLOC_BATCH of 3.12 to 4.7, NR_FREE_PAGES_BLOCKS since 6.15.
    pub(crate) lru: Option<(u64, Option<u64>)>,
    /// How far a counter may be off at most because of what CPUs have not added yet, and the sum of the squares of what each
    /// of them may have held back.
    pub(crate) slack: u64,
    squares: u64,
}

/// Why the zones' counters are not available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// VMCOREINFO does not say where they are, or the dump lacks them.
    Untold(String),
    /// What VMCOREINFO says cannot be right.
    Nonsense(String),
}

/// Where the counters are.
struct Keys {
    node_zones: u64,
    nr_zones: u64,
    start: u64,
    span: u64,
    zone: u64,
    zone_span: Option<u64>,
    vm_stat: Option<(u64, u64)>,
    free_area: Option<FreeArea>,
}

struct FreeArea {
    at: u64,
    size: u64,
    orders: u64,
    nr_free: u64,
}

impl Keys {
    /// What VMCOREINFO tells, or the key it lacks.
    fn new(info: &VmcoreInfo) -> Result<Self, &'static str> {
        let free_area = || {
            let lists = info.length("free_area.free_list")?.checked_mul(info.size("list_head")?)?;
            let nr_free = info.offset("free_area.free_list")?.checked_add(lists)?;
            let orders = info.length("zone.free_area")?;
            let size = info.size("free_area")?;
            (orders <= ORDERS as u64 && nr_free.checked_add(8)? <= size).then_some(FreeArea {
                at: info.offset("zone.free_area")?,
                size,
                orders,
                nr_free,
            })
        };
        let free_pages = info.number("NR_FREE_PAGES").and_then(|n| u64::try_from(n).ok()).filter(|n| *n < 64);
        Ok(Self {
            node_zones: info.offset("pglist_data.node_zones").ok_or("OFFSET(pglist_data.node_zones)")?,
            nr_zones: info.offset("pglist_data.nr_zones").ok_or("OFFSET(pglist_data.nr_zones)")?,
            start: info.offset("pglist_data.node_start_pfn").ok_or("OFFSET(pglist_data.node_start_pfn)")?,
            span: info
                .offset("pglist_data.node_spanned_pages")
                .ok_or("OFFSET(pglist_data.node_spanned_pages)")?,
            zone: info.size("zone").ok_or("SIZE(zone)")?,
            zone_span: info.offset("zone.spanned_pages"),
            vm_stat: info.offset("zone.vm_stat").zip(free_pages),
            free_area: free_area(),
        })
    }
}

impl Zones {
    /// Reads the zones of a machine with `cpus` CPUs.
    ///
    /// # Errors
    ///
    /// The outer error only when the input is damaged.
    pub(crate) fn read(kernel: &Kernel<'_>, cpus: u64) -> Result<Result<Self, Unknown>, Error> {
        match Self::try_read(kernel, cpus) {
            Ok(zones) => Ok(Ok(zones)),
            Err(Error::Read(error)) => Err(error.into()),
            Err(Error::MissingKey { key, .. }) => {
                Ok(Err(Unknown::Untold(format!("VMCOREINFO has no {key}"))))
            }
            Err(error @ Error::NotInDump { .. }) => Ok(Err(Unknown::Untold(error.to_string()))),
            Err(error) => Ok(Err(Unknown::Nonsense(error.to_string()))),
        }
    }

    fn try_read(kernel: &Kernel<'_>, cpus: u64) -> Result<Self, Error> {
        const PURPOSE: &str = "comparing with what the kernel counted";
        let info = kernel.info();
        let missing = |key: &str| Error::MissingKey { key: key.to_owned(), purpose: PURPOSE };
        let keys = Keys::new(info).map_err(missing)?;
        let mut zones = Self {
            free: keys.free_area.as_ref().map(|_| [0; ORDERS]),
            free_pages: keys.vm_stat.map(|_| 0),
            lru: keys.vm_stat.map(|_| (0, Some(0))),
            ..Self::default()
        };
        let pointers = match NodeData::find(kernel)?.ok_or_else(|| missing("SYMBOL(node_data)"))? {
            NodeData::Table(table, count) => {
                zones.most_nodes = count;
                let word = kernel.machine().word.bytes() as u64;
                let pointer = |i: u64| kernel.read_word(VirtAddr(table.0.wrapping_add(i * word)));
                (0..count.min(MOST_NODES)).map(pointer).collect::<Result<Vec<u64>, Error>>()?
            }
            NodeData::Only(node) => vec![node.0],
        };
        let mut frames = Vec::new();
        for (number, pointer) in pointers.into_iter().enumerate().filter(|(_, pointer)| *pointer != 0) {
            zones.nodes.push(number);
            let field = |offset: u64| kernel.read_word(VirtAddr(pointer.wrapping_add(offset)));
            let (start, span) = (field(keys.start)?, field(keys.span)?);
            frames.push(Range::new(Pfn(start), Pfn(start.saturating_add(span))));
            let count = kernel.read_u32(VirtAddr(pointer.wrapping_add(keys.nr_zones)))?;
            if u64::from(count) > MOST_ZONES {
                return Err(Error::Implausible {
                    what: "pglist_data.nr_zones".to_owned(),
                    addr: VirtAddr(pointer.wrapping_add(keys.nr_zones)),
                    found: count.to_string(),
                    expected: format!("at most {MOST_ZONES}"),
                });
            }
            for i in 0..u64::from(count) {
                let zone = pointer.wrapping_add(keys.node_zones).wrapping_add(i.wrapping_mul(keys.zone));
                zones.add(kernel, &keys, zone, span, cpus)?;
            }
        }
        if zones.nodes.is_empty() {
            return Err(Error::Implausible {
                what: "node_data".to_owned(),
                addr: info.symbol("node_data").unwrap_or(VirtAddr(0)),
                found: "a table without a node".to_owned(),
                expected: "one at least".to_owned(),
            });
        }
        zones.frames = frames.into_iter().collect();
        Ok(zones)
    }

    /// How far the sum of five counters may be off. CPUs hold back as much as they like up to the threshold, one more,
    /// another less: four standard deviations are more than a machine will ever show, and far below the sum of all
    /// thresholds, which would hide everything on a small machine.
    pub(crate) fn spread(&self) -> u64 {
        4 * (self.squares.saturating_mul(LRU_LISTS) / 3).isqrt()
    }

    fn add(
        &mut self,
        kernel: &Kernel<'_>,
        keys: &Keys,
        zone: u64,
        node: u64,
        cpus: u64,
    ) -> Result<(), Error> {
        let field = |offset: u64| kernel.read_word(VirtAddr(zone.wrapping_add(offset)));
        let pages = keys.zone_span.map_or(Ok(node), field)?;
        if pages == 0 {
            return Ok(());
        }
        let page = kernel.physical().page_size();
        // Units of 128 MiB.
        let units = pages >> (27 - page.shift()).min(63);
        let length = |n: u64| u64::from(64 - n.leading_zeros());
        let threshold = (2 * length(cpus)).saturating_mul(1 + length(units)).min(125);
        self.slack = self.slack.saturating_add(threshold.saturating_mul(cpus));
        self.squares = self.squares.saturating_add((threshold * threshold).saturating_mul(cpus));
        if let (Some(sums), Some(area)) = (&mut self.free, &keys.free_area) {
            for (sum, order) in sums.iter_mut().zip(0..area.orders) {
                let at = area.at.wrapping_add(order.wrapping_mul(area.size)).wrapping_add(area.nr_free);
                *sum = sum.saturating_add(field(at)?);
            }
        }
        if let Some((vm_stat, free_pages)) = keys.vm_stat {
            // A counter that lags behind may be below zero.
            let counter = |i: u64| field(vm_stat.wrapping_add(i * 8)).map(|n| (n as i64).max(0) as u64);
            let free = counter(free_pages)?;
            self.free_pages = self.free_pages.map(|sum| sum.saturating_add(free));
            let lru = |from: u64| {
                (from..from + LRU_LISTS)
                    .try_fold(0u64, |sum, i| Ok::<_, Error>(sum.saturating_add(counter(i)?)))
            };
            let (first, second, between) =
                (lru(free_pages + 1)?, lru(free_pages + 2)?, counter(free_pages + 1)?);
            if let Some((sum, shifted)) = &mut self.lru {
                *sum = sum.saturating_add(first);
                // Free pages in whole blocks are counted by block, of 32 pages at least. The older counter is gone from
                // kernels that export the type of offline pages (4.20).
                let old = kernel.info().number("PAGE_OFFLINE_MAPCOUNT_VALUE").is_none();
                let could_be = old || between % 32 == 0 && between <= free;
                *shifted = shifted.filter(|_| could_be).map(|sum| sum.saturating_add(second));
            }
        }
        Ok(())
    }
}
