//! The text of `/sys/kernel/release_region`, the 2008 kernel's only word about a waiting dump.
//!
//! One line names three groups, `CPU:`, `HPTE:` and `DUMP:`, each with pairs of hexadecimal numbers: address and
//! *length*, though a `-` is between them (Linux 2.6.26 to 3.3, `arch/powerpc/platforms/pseries/phyp_dump.c`,
//! `show_release_region`). The design document of 2007 prints it on two lines with a `/` between, leaves out the last
//! colon and mixes cases; all of that is read. Reading a pair as start and end is possible only on request.
//!
//! The kernel that shipped printed a header that it had just initialised: offsets from zero and lengths of zero. Such
//! a text says nothing of where things lie ([`ReleaseRegion::is_blank`]); the device tree does.

use crate::{Error, Findings};
use vmcore::{PhysAddr, Range};

/// Two numbers of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The first number: always an address.
    pub address: PhysAddr,
    /// The second number: a length in bytes, or an end under [`Reading::StartEnd`].
    pub second: u64,
}

/// How the second number of a pair is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    /// As a length in bytes; what the kernel means.
    #[default]
    AddressLength,
    /// As the first address past the range; only when the user asks for it.
    StartEnd,
}

impl Pair {
    /// The memory that the pair names; empty when it ends before it starts.
    pub fn range(self, reading: Reading) -> Range<PhysAddr> {
        let end = match reading {
            Reading::AddressLength => self.address.0.saturating_add(self.second),
            Reading::StartEnd => self.second,
        };
        Range::new(self.address, PhysAddr(end))
    }
}

/// A name and its pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The name in upper case.
    pub name: String,
    /// The pairs in their order.
    pub pairs: Vec<Pair>,
}

/// One pair as it was printed and as it may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What the text says.
    pub raw: Range<PhysAddr>,
    /// What of it can hold memory of the crashed system in place: it ends where the save areas begin, and covers
    /// whole pages.
    pub clamped: Range<PhysAddr>,
}

/// The parsed text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReleaseRegion {
    /// All groups in their order, those of unknown names included.
    pub groups: Vec<Group>,
    text: String,
}

impl ReleaseRegion {
    /// Parses the text in any of its spellings.
    ///
    /// # Errors
    ///
    /// When there are no pairs, a number stands alone, is not a hexadecimal number, has a sign or more than 64 bits.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut scan = Scan { text, at: skip_title(text) };
        let mut groups: Vec<Group> = Vec::new();
        scan.skip(":,");
        while let Some((word, column)) = scan.word()? {
            scan.skip("");
            if scan.eat(':') {
                groups.push(Group { name: word.to_ascii_uppercase(), pairs: Vec::new() });
            } else {
                let address = scan.number(word, column)?;
                if !scan.eat('-') {
                    return Err(scan.error("a number without a partner", column));
                }
                scan.skip("");
                let (word, column) =
                    scan.word()?.ok_or_else(|| scan.error("a number without a partner", column))?;
                let second = scan.number(word, column)?;
                let group = groups.last_mut().ok_or_else(|| scan.error("a pair before any group", column))?;
                group.pairs.push(Pair { address: PhysAddr(address), second });
            }
            scan.skip(":,");
        }
        if groups.iter().all(|g| g.pairs.is_empty()) {
            return Err(scan.error("no pair of numbers", 0));
        }
        Ok(Self { groups, text: text.to_owned() })
    }

    /// The text as it was.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The pairs of every group called `name`.
    pub fn pairs<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Pair> + 'a {
        self.groups.iter().filter(move |g| g.name == name).flat_map(|g| g.pairs.iter().copied())
    }

    /// Where the CPU state lies.
    pub fn cpu(&self) -> Option<Pair> {
        self.pairs("CPU").next()
    }

    /// Where the page-table entries lie.
    pub fn hpte(&self) -> Option<Pair> {
        self.pairs("HPTE").next()
    }

    /// Where the copy of low memory lies.
    pub fn low_memory(&self) -> Option<Pair> {
        self.pairs("DUMP").next()
    }

    /// The memory that stayed in place.
    pub fn in_place(&self) -> impl Iterator<Item = Pair> + '_ {
        self.pairs("DUMP").skip(1)
    }

    /// Reports whether the text says nothing of the save areas: what the shipped kernel printed, offsets from zero
    /// with lengths of zero.
    pub fn is_blank(&self) -> bool {
        let areas = [self.cpu(), self.hpte(), self.low_memory()];
        areas.iter().flatten().all(|p| p.second == 0)
    }

    /// Where the save areas begin: the lowest address among them.
    pub fn scratch(&self) -> Option<PhysAddr> {
        let areas = [self.cpu(), self.hpte(), self.low_memory()];
        areas.iter().flatten().map(|p| p.address).min().filter(|_| !self.is_blank())
    }

    /// The memory that stayed in place, as printed and as it may be used: up to `scratch`, in whole pages of
    /// `page` bytes (a power of two).
    pub fn listed(&self, reading: Reading, scratch: Option<PhysAddr>, page: u64) -> Vec<Listed> {
        let clamp = |pair: Pair| {
            let raw = pair.range(reading);
            let end = scratch.map_or(raw.end, |s| raw.end.min(s));
            let start = raw.start.0.checked_next_multiple_of(page.max(1)).unwrap_or(u64::MAX);
            let end = end.0 - end.0 % page.max(1);
            Listed { raw, clamped: Range::new(PhysAddr(start), PhysAddr(end)) }
        };
        self.in_place().map(clamp).collect()
    }

    /// Explains the faults of the text; `scratch` is where the save areas really begin and `page` the page size
    /// in bytes.
    pub fn findings(&self, reading: Reading, scratch: Option<PhysAddr>, page: u64) -> Findings {
        let mut out = Findings::default();
        self.spelling(&mut out);
        if self.is_blank() {
            out.note(
                "release_region prints offsets and lengths of zero for the save areas, as kernels 2.6.26 to 3.3 do; \
                 the device tree decides where they lie",
            );
        } else {
            self.areas(&mut out);
        }
        for (pair, listed) in self.in_place().zip(self.listed(reading, scratch, page)) {
            explain_in_place(pair, listed, reading, scratch, page, &mut out);
        }
        out
    }

    fn spelling(&self, out: &mut Findings) {
        let text = self.text.trim();
        if text.contains(['/', '\\']) {
            out.note("release_region has a line continuation, which is the document's and not the kernel's");
        }
        if !text.ends_with(':') {
            out.note("release_region does not end with a colon, as the kernel's text would");
        }
        let digits = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| w.starts_with("0x"));
        if digits.clone().any(|w| w.contains(|c: char| c.is_ascii_uppercase())) {
            out.note("release_region has upper-case hexadecimal digits, which the kernel never prints");
        }
        for group in self.groups.iter().filter(|g| !["CPU", "HPTE", "DUMP"].contains(&g.name.as_str())) {
            out.warning(format!(
                "release_region has a group {:?} of unknown meaning; it is not used",
                group.name
            ));
        }
        for name in ["CPU", "DUMP"] {
            if self.pairs(name).next().is_none() {
                out.warning(format!("release_region has no {name} pair"));
            }
        }
    }

    fn areas(&self, out: &mut Findings) {
        let areas = [("CPU", self.cpu()), ("HPTE", self.hpte()), ("DUMP", self.low_memory())];
        let areas: Vec<(&str, Pair)> = areas.iter().filter_map(|&(n, p)| Some((n, p?))).collect();
        for pair in areas.windows(2) {
            let ((name, one), (next, two)) = (pair[0], pair[1]);
            let end = one.address.0.saturating_add(one.second);
            if end < two.address.0 {
                out.note(format!(
                    "release_region: {name} is {:#x} bytes long, {next} begins {:#x} bytes after its start: \
                     copied short, or padding of {:#x} bytes",
                    one.second,
                    two.address.0 - one.address.0,
                    two.address.0 - end
                ));
            } else if end > two.address.0 {
                out.warning(format!(
                    "release_region: {name} ends at {end:#x}, inside {next} at {}",
                    two.address
                ));
            }
        }
        for (name, pair) in &areas {
            if pair.second == 0 {
                out.warning(format!("release_region: nothing was copied for {name}"));
            }
        }
        if let Some(low) = self.low_memory()
            && low.address.0 % 0x1000 != 0
        {
            out.note(format!(
                "the copy of low memory begins at {}, inside a page: each page of it straddles two",
                low.address
            ));
        }
    }
}

/// Says how the memory that stayed in place was cut down to what can be used, and why.
fn explain_in_place(
    pair: Pair,
    listed: Listed,
    reading: Reading,
    scratch: Option<PhysAddr>,
    page: u64,
    out: &mut Findings,
) {
    let Listed { raw, clamped } = listed;
    let printed = format!("{}-{:#x}", pair.address, pair.second);
    if raw.is_empty() {
        out.warning(format!("release_region: the pair {printed} names no memory"));
        return;
    }
    if let Some(scratch) = scratch.filter(|&s| raw.end > s) {
        let mut text = format!(
            "release_region: {printed} as address and length ends at {}, {:#x} bytes past the start of the save areas \
             at {scratch}; only {clamped:?} is taken as memory in place",
            raw.end,
            raw.end.0 - scratch.0
        );
        if reading == Reading::AddressLength && (pair.address.0..=scratch.0).contains(&pair.second) {
            let left = scratch.0 - pair.second;
            text += &format!(
                " (read as start and end it would stop {left:#x} bytes, {} MiB, short of them)",
                left >> 20
            );
        }
        // The shipped kernel computes the length before it aligns the start of the save areas down to a page.
        let slack = raw.end.0 - scratch.0;
        if slack < page {
            out.note(text);
        } else {
            out.warning(text);
        }
    }
    let ragged = |a: PhysAddr| page > 0 && !a.0.is_multiple_of(page);
    if ragged(raw.start) || (ragged(raw.end) && raw.end != PhysAddr(u64::MAX)) {
        out.note(format!("release_region: {printed} does not begin and end at pages of {page:#x} bytes"));
    }
}

/// Where the line itself begins, after a file name or prompt that was pasted with it.
fn skip_title(text: &str) -> usize {
    let lower = text.to_ascii_lowercase();
    ["release_region", "release-region"]
        .iter()
        .filter_map(|t| lower.rfind(t).map(|at| at + t.len()))
        .max()
        .unwrap_or(0)
}

/// Goes through the text; columns are bytes from its start.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Skips white space, continuation marks and any of `also`.
    fn skip(&mut self, also: &str) {
        let skipped = |c: char| c.is_whitespace() || c == '/' || c == '\\' || c == '\0' || also.contains(c);
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(skipped).len();
    }

    fn eat(&mut self, mark: char) -> bool {
        let found = self.rest().starts_with(mark);
        self.at += if found { mark.len_utf8() } else { 0 };
        found
    }

    /// The next run of letters, digits and underscores, with its column; `None` at the end.
    fn word(&mut self) -> Result<Option<(&'a str, usize)>, Error> {
        let rest = self.rest();
        let column = self.at;
        let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        if len == 0 && !rest.is_empty() {
            let mark = rest.chars().next().unwrap_or_default();
            return Err(self.error(format!("{mark:?} where a number or a name should be"), column));
        }
        self.at += len;
        Ok((len > 0).then_some((&rest[..len], column)))
    }

    fn number(&self, word: &str, column: usize) -> Result<u64, Error> {
        let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).unwrap_or(word);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(self.error(format!("{word:?} is not a hexadecimal number"), column));
        }
        u64::from_str_radix(digits, 16)
            .map_err(|_| self.error(format!("{word} has more than 64 bits"), column))
    }

    fn error(&self, why: impl Into<String>, column: usize) -> Error {
        let text: String = self.text.chars().take(120).collect();
        Error::Region { why: why.into(), column, text }
    }
}

#[cfg(test)]
#[path = "region_tests.rs"]
mod tests;
