//! A dump put together from what the firmware left, each part of which may be anything.

use super::firmware::{bytes_at, header, runs, structure};
use super::{Seed, Target};
use crate::pack::{pack, unpack};
use crate::walk::walk;
use phyp::{Leavings, OpalAnswers, Options, assemble, hptes, registers};
use phyp_model::Extent;
use phyp_model::machine::Mode;
use phyp_model::root::{ReleaseText, release_region};
use phyp_model::scenario::Run;
use std::hint::black_box;
use std::sync::OnceLock;
use vmcore::{MemoryMap, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory, Range, ReadError};

pub(super) const TARGET: Target = Target { name: "assemble", seeds, run };

/// The machine's memory.
const RAM: u64 = 48 << 20;

/// Bytes of memory that the image has from each area on.
const IMAGE: u64 = 1 << 20;

/// The most bytes of an area: some of them are mostly room.
const MAX_AREA: u64 = 0x3000;

/// Memory of zeros, but for some places.
struct Memory {
    map: MemoryMap,
    places: Vec<(u64, Vec<u8>)>,
}

impl PhysicalMemory for Memory {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        page.fill(0);
        if !self.map.frames().contains(pfn) {
            return Ok(PageState::Absent);
        }
        let (start, end) = (pfn.0 * page.len() as u64, (pfn.0 + 1) * page.len() as u64);
        for (at, bytes) in &self.places {
            let (from, to) = (start.max(*at), end.min(at + bytes.len() as u64));
            if from < to {
                page[(from - start) as usize..(to - start) as usize]
                    .copy_from_slice(&bytes[(from - at) as usize..(to - at) as usize]);
            }
        }
        Ok(PageState::Present)
    }
}

/// Where the areas of each of the model's machines are: registers, page-table entries, the header.
fn places() -> &'static [[u64; 3]] {
    static PLACES: OnceLock<Vec<[u64; 3]>> = OnceLock::new();
    let of = |run: &Run| {
        let layout = &run.layout;
        [layout.cpu.start, layout.hpte.start, layout.crash_info.map_or(0x1000, |place| place.start)]
    };
    PLACES.get_or_init(|| runs().iter().map(of).collect())
}

/// The machine's number; the property, `release_region`, OPAL's two answers; then the three areas.
fn seeds() -> Vec<Seed> {
    let of = |(n, run): (usize, &Run)| {
        let area = |place: Extent| bytes_at(run, Extent::new(place.start, place.length.min(MAX_AREA)));
        let text = (run.options.mode == Mode::Phyp2008).then(|| release_region(run, ReleaseText::Absolute));
        let opal = run.opal.as_ref();
        let files = [
            Some(vec![n as u8]),
            structure(run),
            text.map(String::into_bytes),
            opal.map(|opal| opal.kernel_metadata.clone()),
            opal.map(|opal| opal.cpu_metadata.clone()),
            area(run.layout.cpu),
            area(run.layout.hpte),
            header(run),
        ];
        let file = |bytes: Option<Vec<u8>>| {
            let bytes = bytes.unwrap_or_default();
            Seed { hot: if bytes.is_empty() { Vec::new() } else { vec![0..bytes.len()] }, bytes }
        };
        pack(&files.map(file))
    };
    runs().iter().enumerate().map(of).collect()
}

fn run(bytes: Vec<u8>) -> bool {
    let Some(files) = unpack(&bytes) else { return false };
    let [machine, property, text, kernel, cpu, areas @ ..] = &files[..] else { return false };
    let places = places();
    let Some(places) = machine.first().map(|&n| places[usize::from(n) % places.len()]) else { return false };
    // The image has what matters and no more: how long an area can be follows from the image, not from the input.
    let image = places.iter().map(|at| at & !0xfff).chain([0]);
    let image = image.map(|at| Range::new(PhysAddr(at), PhysAddr(at + IMAGE))).collect();
    let some = |bytes: &Vec<u8>| Some(bytes.clone()).filter(|bytes| !bytes.is_empty());
    let leavings = Leavings {
        kernel_dump: some(property),
        release_region: some(text).map(|text| String::from_utf8_lossy(&text).into_owned()),
        memory_map: Some([Range::new(PhysAddr(0), PhysAddr(RAM))].into_iter().collect()),
        phyp_dump: !text.is_empty(),
        reserved_above: None,
        opal: some(kernel).map(|kernel| OpalAnswers {
            kernel,
            cpu: some(cpu),
            boot_memory_top: Some(PhysAddr(16 << 20)),
        }),
    };
    let memory = Memory {
        map: MemoryMap::new(PageSize::K4, image),
        places: places.into_iter().zip(areas.iter().cloned()).collect(),
    };
    let Ok((dump, findings)) = assemble(&leavings, Box::new(memory), &Options::default()) else {
        return false;
    };
    black_box(findings.iter().count());
    black_box((registers(&dump.notes, dump.machine.order).is_ok(), hptes(&dump.notes).is_ok()));
    walk(&dump);
    true
}
