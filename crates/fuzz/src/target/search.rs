//! Patterns as people type them, looked for in memory that was made to fit them.

use super::{Seed, Target};
use crate::pack::{pack, unpack};
use search::pattern::Typed;
use search::{Address, Area, Error, Event, Pattern, Span, scan};
use std::ops::ControlFlow;
use vmcore::{Machine, MemoryMap, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory, Range, ReadError};

pub(super) const TARGET: Target = Target { name: "search", seeds, run };

/// The most memory of an input: pages of all states, and of two pieces.
const MOST: usize = 3 << 19;

const PATTERNS: [&str; 9] = [
    "Linux version",
    "text:hex:00",
    "hex:dead ?? 0? ef",
    "word:0xdead000000000100/0xffff",
    "u16:513",
    "pointer:init_task+0x10-0xffffffffffffffff",
    "pointer:10+4K",
    "regex:[a-z]{3,9}(?:=[0-9]+)?$",
    "regex:(?is)\\bkey.{0,40}?;|(?-u)\\xff+",
];

fn seeds() -> Vec<Seed> {
    let memory: Vec<u8> =
        b"\0Linux version 6.1 key=12; \xde\xad\xbe\x01\xef\0\x01\0\0\0\0\xad\xde".repeat(900);
    let whole = |bytes: &[u8]| Seed { bytes: bytes.to_vec(), hot: vec![0..bytes.len()] };
    PATTERNS
        .iter()
        .map(|typed| pack(&[whole(typed.as_bytes()), whole(&[0, 1, 2, 0, 3, 4]), whole(&memory)]))
        .collect()
}

/// Memory in frames of 4 KiB, which take their states in turn from the input.
struct Frames {
    map: MemoryMap,
    states: Vec<u8>,
    bytes: Vec<u8>,
}

impl PhysicalMemory for Frames {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        let frame = pfn.0 as usize;
        let state = self.states.get(frame % self.states.len().max(1)).map_or(0, |state| state % 16);
        page.fill(0);
        Ok(match state {
            1 => PageState::Zero,
            2 => PageState::Excluded,
            3 => PageState::Lost,
            4 => PageState::Absent,
            _ => {
                let part = self.bytes.get(frame * page.len()..).unwrap_or_default();
                let part = &part[..part.len().min(page.len())];
                page[..part.len()].copy_from_slice(part);
                PageState::Present
            }
        })
    }
}

fn run(bytes: Vec<u8>) -> bool {
    let Some(files) = unpack(&bytes) else { return false };
    let [typed, states, memory] = &files[..] else { return false };
    let text = String::from_utf8_lossy(typed);
    let symbol = |name: &str| (name == "init_task").then_some(0x1000);
    let parsed = (Address::parse(&text).and_then(|at| at.resolve(&symbol)), Span::parse(&text));
    std::hint::black_box(parsed.1.and_then(|span| span.resolve(&symbol)).is_ok() || parsed.0.is_ok());
    let Ok(typed) = Typed::parse(typed) else { return false };
    let memory = &memory[..memory.len().min(MOST)];
    let all = Range::new(PhysAddr(0), PhysAddr(memory.len() as u64));
    let map = MemoryMap::new(PageSize::K4, [all].into_iter().collect());
    let frames = Frames { map, states: states.clone(), bytes: memory.to_vec() };
    let mut taken = false;
    for machine in ["x86_64", "ppc64", "i686"].into_iter().filter_map(Machine::from_name) {
        let Ok(pattern) = Pattern::new(&typed, machine, &symbol) else { continue };
        taken = true;
        let mut last = None;
        let searched = scan(&Area::all(&frames), &pattern, |event| {
            if let Event::Hit(hit) = event {
                assert!(last < Some(hit.at) && hit.len > 0, "{hit:?} behind {last:?}");
                last = Some(hit.at);
            }
            Ok::<_, Error>(ControlFlow::Continue(()))
        });
        std::hint::black_box(searched.is_ok());
    }
    taken
}
