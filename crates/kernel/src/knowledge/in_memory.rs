//! VMCOREINFO where the crashed kernel keeps it in its own memory.
//!
//! The kernel writes the text when it starts, and a note around it (`vmcoreinfo_note`), which it brings up to date when
//! it crashes. Both are at places that only the kernel's symbols give, so all memory is searched for the first line.

use super::own;
use super::proof::{PageSizeOf, prove_info};
use super::scan::{Search, find_all};
use crate::Error;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use vmcore::{Dump, PhysAddr, PhysicalMemory, VirtAddr, VmcoreInfo};

/// The first key of every VMCOREINFO.
pub(super) const FIRST_KEY: &[u8] = b"OSRELEASE=";

/// The most bytes of a text: one page of the kernel, of which VMCOREINFO fills a few thousand bytes.
const MAX_TEXT: usize = 1 << 16;

/// The most texts that are tried, and the most bytes that they have together. A kernel has two, of a few thousand bytes;
/// programs may have any number.
const MAX_TEXTS: usize = 1 << 12;
const MAX_BYTES: usize = 16 << 20;

/// What is before the text in a note: sizes and type, 32 bits each, and the name `VMCOREINFO` padded to 12 bytes.
const NOTE_HEADER: usize = 24;
const NAME: &[u8] = b"VMCOREINFO\0";

/// A text that was found.
pub(super) struct Found {
    pub(super) at: PhysAddr,
    pub(super) text: Vec<u8>,
    in_note: bool,
}

/// The VMCOREINFO of the crashed kernel that `accept` takes; `None` when memory holds none that leads to the kernel it
/// names. A remark says what was not looked at.
///
/// # Errors
///
/// When the dump cannot be read, and when memory holds texts that contradict each other.
pub(super) fn find(
    dump: &mut Dump,
    search: &Search,
    accept: &dyn Fn(&VmcoreInfo) -> bool,
    remarks: &mut Vec<String>,
) -> Result<Option<Found>, Error> {
    let places = find_all(&*dump.memory, &[FIRST_KEY], search)?.remove(0);
    let (found, left_out) = candidates(&*dump.memory, dump.machine, &places, accept)?;
    if left_out > 0 {
        remarks.push(format!(
            "memory holds more texts like a VMCOREINFO than are looked at ({} of at most {} MiB): {left_out} were not",
            found.len(),
            MAX_BYTES >> 20
        ));
    }
    let before = PageSizeOf::before(dump);
    let mut proven = Vec::new();
    for candidate in found {
        match prove_info(dump, VmcoreInfo::parse(&candidate.text)) {
            Ok(()) => proven.push(candidate),
            Err(error @ (Error::Read(_) | Error::PageSize { .. })) => return Err(error),
            Err(error) => tracing::debug!("the text at {} is not that of this kernel: {error}", candidate.at),
        }
        before.restore(dump);
    }
    let best = best(proven)?;
    if let Some(found) = &best {
        prove_info(dump, VmcoreInfo::parse(&found.text))?;
    }
    Ok(best)
}

/// The different texts at `places` that `accept` takes, and how many more there are than are looked at.
fn candidates(
    memory: &dyn PhysicalMemory,
    machine: vmcore::Machine,
    places: &[PhysAddr],
    accept: &dyn Fn(&VmcoreInfo) -> bool,
) -> Result<(Vec<Found>, usize), Error> {
    let mut found: Vec<Found> = Vec::new();
    let (mut bytes, mut left_out) = (0, 0);
    // Texts are told apart by a keyed hash, so that each is kept once.
    let (hasher, mut seen) = (RandomState::new(), HashSet::new());
    for (i, &at) in places.iter().enumerate() {
        // A text has its first key once, so that all texts together are no longer than memory.
        let most = places.get(i + 1).map_or(u64::MAX, |next| next.0 - at.0);
        let Some(candidate) = read(memory, machine, at, most)? else { continue };
        if !accept(&VmcoreInfo::parse(&candidate.text)) || !seen.insert(hasher.hash_one(&candidate.text)) {
            continue;
        }
        if found.len() == MAX_TEXTS || bytes + candidate.text.len() > MAX_BYTES {
            left_out += 1;
            continue;
        }
        bytes += candidate.text.len();
        found.push(candidate);
    }
    Ok((found, left_out))
}

/// Reads what may be VMCOREINFO at `at`, of at most `most` bytes.
fn read(
    memory: &dyn PhysicalMemory,
    machine: vmcore::Machine,
    at: PhysAddr,
    most: u64,
) -> Result<Option<Found>, Error> {
    let mut header = [0; NOTE_HEADER];
    let mut len = MAX_TEXT.min(usize::try_from(most).unwrap_or(usize::MAX));
    let mut in_note = false;
    if let Some(start) = at.0.checked_sub(NOTE_HEADER as u64)
        && memory.read(PhysAddr(start), &mut header)?.is_known()
        && machine.u32(&header) == NAME.len() as u32
        && header[12..].starts_with(NAME)
    {
        in_note = true;
        len = len.min(machine.u32(&header[4..]) as usize);
    }
    // Memory may end, or not be there, before the longest text would.
    let page = memory.map().page_size();
    let mut text = Vec::new();
    while text.len() < len {
        let here = PhysAddr(at.0.saturating_add(text.len() as u64));
        let part = (page.len() - page.offset(here.0)).min(len - text.len());
        let filled = text.len();
        text.resize(filled + part, 0);
        if !memory.read(here, &mut text[filled..])?.is_known() {
            text.truncate(filled);
            break;
        }
        if let Some(end) = text.iter().position(|&b| !(b == b'\n' || (b' '..=b'~').contains(&b))) {
            text.truncate(end);
            break;
        }
    }
    // What is cut inside a line is not trusted to its last byte.
    text.truncate(text.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1));
    let info = VmcoreInfo::parse(&text);
    // The kernel's code holds the first line as a format, `OSRELEASE=%s`.
    let plausible = info.release().is_some_and(|r| !r.is_empty() && !r.contains('%'))
        && (info.page_size().is_some() || info.get("PAGESIZE").is_none())
        && (info.symbol("init_uts_ns").is_some() || info.symbol("system_utsname").is_some());
    Ok(plausible.then_some(Found { at, text, in_note }))
}

/// Which kernel a text is of: its name and where it lay.
fn identity(info: &VmcoreInfo) -> (Option<String>, Option<VirtAddr>) {
    (info.release().map(str::to_owned), info.symbol("_stext").or(info.symbol("init_uts_ns")))
}

/// Of one kernel there is one truth, and nothing shows which of two texts it is.
fn refuse_contradictions(proven: &[Found]) -> Result<(), Error> {
    let mut said = HashMap::new();
    for found in proven {
        let info = VmcoreInfo::parse(&found.text);
        let said = said.entry(identity(&info)).or_insert_with(|| (found.at, HashMap::new()));
        for (key, value) in own::lasting(&info) {
            if said.1.entry(key.to_owned()).or_insert_with(|| value.to_owned()) != value {
                return Err(Error::Unsupported(format!(
                    "memory holds texts of one kernel that contradict each other in {key}, one at {} and another at \
                     {}; --vmcoreinfo or --vmlinux can say which is right",
                    said.0, found.at
                )));
            }
        }
    }
    Ok(())
}

/// The text of the kernel that crashed. A kernel that crashed by its own will wrote the time; the one that was loaded to
/// take the dump did not, and its note is no younger than its text.
fn best(proven: Vec<Found>) -> Result<Option<Found>, Error> {
    let info = |found: &Found| VmcoreInfo::parse(&found.text);
    refuse_contradictions(&proven)?;
    let crashed = proven.iter().any(|f| info(f).crash_time().is_some());
    let mut left: Vec<Found> =
        proven.into_iter().filter(|f| !crashed || info(f).crash_time().is_some()).collect();
    if let Some(first) = left.first()
        && let Some(other) = left.iter().find(|f| identity(&info(f)) != identity(&info(first)))
    {
        let name = |f: &Found| info(f).release().unwrap_or_default().to_owned();
        return Err(Error::Unsupported(format!(
            "memory holds the VMCOREINFO of two kernels, {} at {} and {} at {}; say which one crashed with \
             --vmcoreinfo or --vmlinux",
            name(first),
            first.at,
            name(other),
            other.at
        )));
    }
    left.sort_by_key(|f| (f.in_note, f.text.len()));
    Ok(left.pop())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BE64, LE64};
    use proptest::prelude::*;
    use vmcore::{MemoryMap, PageSize, PageState, Pfn, Range, ReadError};

    /// Two frames of memory, and a third that was left out.
    struct Memory(MemoryMap, Vec<u8>);

    impl Memory {
        fn new() -> Self {
            let bytes = [Range::new(PhysAddr(0), PhysAddr(0x3000))].into_iter().collect();
            Self(MemoryMap::new(PageSize::K4, bytes), vec![0; 0x2000])
        }

        fn with(at: usize, bytes: &[u8]) -> Self {
            let mut memory = Self::new();
            memory.1[at..at + bytes.len()].copy_from_slice(bytes);
            memory
        }
    }

    impl PhysicalMemory for Memory {
        fn map(&self) -> &MemoryMap {
            &self.0
        }

        fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
            let at = pfn.0 as usize * page.len();
            match self.1.get(at..at + page.len()) {
                Some(bytes) => page.copy_from_slice(bytes),
                None => page.fill(0),
            }
            Ok(if at < self.1.len() { PageState::Present } else { PageState::Excluded })
        }
    }

    const TEXT: &[u8] = b"OSRELEASE=6.1\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=ffffffff81000000\n";

    fn found(memory: &Memory, machine: vmcore::Machine, at: u64) -> Option<Vec<u8>> {
        read(memory, machine, PhysAddr(at), u64::MAX).unwrap().map(|found| found.text)
    }

    #[test]
    fn a_text_is_read_across_pages_and_to_where_memory_ends() {
        for at in [0, 0x1000, 0x1000 - 20] {
            let memory = Memory::with(at, TEXT);
            assert_eq!(found(&memory, LE64, at as u64).unwrap(), TEXT);
            assert_eq!(
                find_all(&memory, &[FIRST_KEY], &Search::default()).unwrap(),
                [vec![PhysAddr(at as u64)]]
            );
        }
        // The last line is cut by memory that is not there, and is not believed.
        let mut long = TEXT.to_vec();
        long.extend(b"NUMBER(x)=12345");
        let at = 0x2000 - long.len();
        assert_eq!(found(&Memory::with(at, &long), LE64, at as u64).unwrap(), TEXT);
    }

    #[test]
    fn a_text_ends_after_64_kib_with_its_last_whole_line() {
        for (len, is_whole) in [(1 << 16, true), ((1 << 16) + 1, false)] {
            let mut text = TEXT.to_vec();
            text.extend(b"A=1\n".repeat((len - text.len()) / 4 - 50));
            // The last line goes to the end of the text.
            let line = len - text.len();
            text.extend([b"B=".to_vec(), vec![b'1'; line - 3], b"\n".to_vec()].concat());
            let mut memory = Memory::with(0, &[]);
            memory.0 = MemoryMap::new(
                PageSize::K4,
                [Range::new(PhysAddr(0), PhysAddr(0x2_0000))].into_iter().collect(),
            );
            memory.1 = text.clone();
            memory.1.resize(0x2_0000, 0);
            let found = found(&memory, LE64, 0).unwrap().len();
            assert_eq!(found, if is_whole { len } else { len - line });
        }
    }

    #[test]
    fn a_note_ends_where_its_header_says_in_its_own_byte_order() {
        for machine in [LE64, BE64] {
            let mut note = vmcore::Notes::default();
            let mut desc = TEXT.to_vec();
            note.push(
                vmcore::Note { name: b"VMCOREINFO".to_vec(), kind: 0, desc: desc.clone() },
                machine.order,
            );
            let mut bytes = note.raw().to_vec();
            bytes.truncate(NOTE_HEADER + TEXT.len());
            bytes.extend(b"JUNK=1\n");
            let memory = Memory::with(0x100, &bytes);
            assert_eq!(found(&memory, machine, 0x100 + NOTE_HEADER as u64).unwrap(), TEXT);
            desc.extend(b"JUNK=1\n");
            let plain = Memory::with(0x100, &desc);
            assert_eq!(found(&plain, machine, 0x100).unwrap(), desc);
        }
    }

    #[test]
    fn the_kernels_own_format_string_is_not_taken_for_the_text() {
        let memory = Memory::with(0x40, b"OSRELEASE=%s\n\0BUILD-ID=%20phN\n");
        assert_eq!(found(&memory, LE64, 0x40), None);
    }

    #[test]
    fn texts_together_are_no_longer_than_memory_and_of_many_only_some_are_kept() {
        let mut memory = Memory::new();
        let frames = Range::new(PhysAddr(0), PhysAddr(64 << 20));
        memory.0 = MemoryMap::new(PageSize::K4, [frames].into_iter().collect());
        let text = |i: u64| format!("OSRELEASE=6.1\nSYMBOL(init_uts_ns)={i:016x}\n");
        memory.1 = (1..=10_000).flat_map(|i| text(i).into_bytes()).collect();
        let end = memory.1.len().next_multiple_of(4096);
        memory.1.resize(end, b'A');
        let candidates = |memory: &Memory| {
            let places = find_all(memory, &[FIRST_KEY], &Search::default()).unwrap().remove(0);
            candidates(memory, LE64, &places, &|_| true).unwrap()
        };
        let (found, left_out) = candidates(&memory);
        assert_eq!((found.len(), left_out), (MAX_TEXTS, 10_000 - MAX_TEXTS));
        assert!(found.iter().zip(1..).all(|(found, i)| found.text == text(i).as_bytes()));
        // Long ones are fewer.
        let long = |i: u64| format!("{}A={}\n", text(i), "1".repeat(60_000));
        memory.1 = (1..=1000).flat_map(|i| long(i).into_bytes()).collect();
        let end = memory.1.len().next_multiple_of(4096);
        memory.1.resize(end, b'A');
        let (found, left_out) = candidates(&memory);
        assert!(left_out > 0 && found.len() + left_out == 1000, "{left_out}");
        assert!(found.iter().map(|found| found.text.len()).sum::<usize>() <= MAX_BYTES);
    }

    #[test]
    fn texts_of_one_kernel_that_contradict_each_other_are_not_chosen_from() {
        let texts = |more: &[&str]| {
            let texts = more.iter().enumerate().map(|(i, more)| Found {
                at: PhysAddr(i as u64),
                text: [TEXT, more.as_bytes()].concat(),
                in_note: false,
            });
            best(texts.collect())
        };
        let best = texts(&["", "SIZE(page)=64\n", "SIZE(page)=64\nCRASHTIME=1\n", "CRASHTIME=2\n"]);
        assert!(best.unwrap().unwrap().text.ends_with(b"CRASHTIME=1\n"));
        let error = texts(&["SIZE(page)=64\n", "", "SIZE(page)=56\n"]).err().unwrap().to_string();
        assert!(
            error.contains("contradict each other in SIZE(page), one at 0x0 and another at 0x2"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn any_memory_holds_a_text_or_none(
            bytes in prop::collection::vec(any::<u8>(), 0..64), at in 0u64..0x3000, text in "[ -~\n]{0,200}",
        ) {
            let mut memory = Memory::with(0xff0, text.as_bytes());
            memory.1[0x1800..0x1800 + bytes.len()].copy_from_slice(&bytes);
            let _ = found(&memory, LE64, at);
        }
    }
}
