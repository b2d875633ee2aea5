//! What a dump's own VMCOREINFO says, though it was cut short, and how it is completed.

use vmcore::VmcoreInfo;

/// Keys that kernels of all versions write, in their order. A text that lacks one was cut before it.
pub(super) const ALWAYS: [&str; 5] =
    ["SYMBOL(init_uts_ns)", "SIZE(page)", "OFFSET(page.flags)", "NUMBER(NR_FREE_PAGES)", "NUMBER(PG_lru)"];

/// The keys in which two texts of one kernel differ: it writes the time when it crashes.
const CHANGES: &str = "CRASHTIME";

/// Whether the text of a note ends with a whole line, as the kernel writes it.
pub(super) fn ends_with_a_line(note: &[u8]) -> bool {
    whole(note).len() == up_to_nul(note).len()
}

/// The whole lines of a text. What is cut inside a line is not believed.
pub(super) fn whole(text: &[u8]) -> &[u8] {
    let text = up_to_nul(text);
    &text[..memchr::memrchr(b'\n', text).map_or(0, |end| end + 1)]
}

fn up_to_nul(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr(0, text).unwrap_or(text.len())]
}

/// Whether `other` says the same as `own` of all that `own` speaks of, the size of pages perhaps excepted.
pub(super) fn agrees(own: &VmcoreInfo, other: &VmcoreInfo, with_page_size: bool) -> bool {
    keys(own.text()).all(|(key, _)| {
        key == CHANGES || (key == "PAGESIZE" && !with_page_size) || own.get(key) == other.get(key)
    })
}

/// What all texts of one kernel say alike: keys and their values.
pub(super) fn lasting(info: &VmcoreInfo) -> impl Iterator<Item = (&str, &str)> {
    keys(info.text()).filter(|&(key, _)| key != CHANGES).filter_map(|(key, _)| Some((key, info.get(key)?)))
}

/// The lines of `text` whose keys `own` lacks.
pub(super) fn lacking(own: &VmcoreInfo, text: &[u8]) -> Vec<u8> {
    lines(text, |key| own.get(key).is_none())
}

/// `own` with what `text` has besides, and with its size of pages.
pub(super) fn completed(own: &VmcoreInfo, text: &[u8]) -> Vec<u8> {
    let other = VmcoreInfo::parse(text);
    let stale = |key: &str| key == "PAGESIZE" && other.get(key).is_some();
    let kept = VmcoreInfo::parse(&lines(own.text(), |key| !stale(key)));
    [kept.text(), &lacking(&kept, text)].concat()
}

fn lines(text: &[u8], wanted: impl Fn(&str) -> bool) -> Vec<u8> {
    keys(text).filter(|(key, _)| wanted(key)).flat_map(|(_, line)| [line, b"\n"].concat()).collect()
}

/// The keys of a text, and their lines.
fn keys(text: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    text.split(|&b| b == b'\n').filter_map(|line| {
        let end = memchr::memchr(b'=', line)?;
        Some((std::str::from_utf8(&line[..end]).ok()?, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_completes_the_whole_lines_of_one_that_was_cut_and_contradicts_none_of_them() {
        let cut = b"OSRELEASE=6.1\nPAGESIZE=4096\nSIZE(page)=64\nNUMBER(PG_lru)=1";
        assert!(!ends_with_a_line(cut) && ends_with_a_line(b"A=1\n\0") && ends_with_a_line(b""));
        let own = VmcoreInfo::parse(whole(cut));
        let text =
            |size, lru| format!("OSRELEASE=6.1\nPAGESIZE={size}\nSIZE(page)=64\nNUMBER(PG_lru)={lru}\n");
        for (size, lru) in [(4096, 1), (4096, 12), (65536, 12)] {
            let text = text(size, lru);
            let other = VmcoreInfo::parse(text.as_bytes());
            assert_eq!(agrees(&own, &other, true), size == 4096);
            assert!(agrees(&own, &other, false));
            let completed = VmcoreInfo::parse(&completed(&own, text.as_bytes()));
            assert_eq!(completed.number("PG_lru"), Some(lru));
            assert_eq!(completed.page_size().unwrap().bytes(), size);
        }
        let other = VmcoreInfo::parse(b"OSRELEASE=6.1\nPAGESIZE=4096\nSIZE(page)=56\n");
        assert!(!agrees(&own, &other, false));
        assert!(!agrees(&own, &VmcoreInfo::parse(b"OSRELEASE=6.1\n"), false), "it says less");
    }
}
