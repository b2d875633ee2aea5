//! Which methods the pages of a file may have.

use super::Method;
use std::fmt;
use std::str::FromStr;

/// Ways of storing a page, never none of them: as it is, or compressed by some methods.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Methods {
    /// The flags of the methods.
    flags: u32,
    /// Whether pages may be stored as they are although they would shrink.
    raw: bool,
}

impl Methods {
    /// These ways; `None` is to store a page as it is. `None` when there are none.
    pub fn of(ways: impl IntoIterator<Item = Option<Method>>) -> Option<Self> {
        let mut methods = Self { flags: 0, raw: false };
        for way in ways {
            match way {
                Some(method) => methods.flags |= method.flag(),
                None => methods.raw = true,
            }
        }
        (methods.raw || methods.flags != 0).then_some(methods)
    }

    /// All ways.
    pub fn ways(self) -> impl Iterator<Item = Option<Method>> {
        let raw = self.raw.then_some(None);
        let methods = Method::ALL.into_iter().filter(move |method| self.flags & method.flag() != 0);
        raw.into_iter().chain(methods.map(Some))
    }

    /// The way that makes the smallest files of most dumps.
    pub fn strongest(self) -> Option<Method> {
        let by_size = [Method::Zstd, Method::Zlib, Method::Lzo, Method::Snappy];
        by_size.into_iter().find(|method| self.flags & method.flag() != 0)
    }
}

impl Default for Methods {
    /// One way for each kind of disk: as it is, quickly, and well. Without LZO zlib is the second.
    fn default() -> Self {
        let quick = if cfg!(feature = "lzo") { Method::Lzo } else { Method::Zlib };
        Self { flags: quick.flag() | Method::Zstd.flag(), raw: true }
    }
}

impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.ways().map(name_of).collect();
        f.write_str(&names.join(","))
    }
}

impl fmt::Debug for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How the pages of a file are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// All in one way; `None` stores them as they are.
    One(Option<Method>),
    /// Each batch in the way that disk and processors have time for: the file's bytes depend on how fast they were.
    Auto(Methods),
}

impl Choice {
    /// The bits of all methods that a page may have, for the header's `status`.
    pub fn flags(self) -> u32 {
        match self {
            Self::One(method) => method.map_or(0, Method::flag),
            Self::Auto(methods) => methods.flags,
        }
    }

    /// All methods that a page may have, the quickest first.
    pub fn methods(self) -> impl Iterator<Item = Method> {
        let by_time = [Method::Lzo, Method::Snappy, Method::Zstd, Method::Zlib];
        by_time.into_iter().filter(move |method| self.flags() & method.flag() != 0)
    }

    /// The method that makes the smallest file; `None` stores pages as they are.
    pub fn strongest(self) -> Option<Method> {
        match self {
            Self::One(method) => method,
            Self::Auto(methods) => methods.strongest(),
        }
    }

    /// The method, or `auto`; `None` when pages are stored as they are.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::One(method) => method.map(Method::name),
            Self::Auto(_) => Some("auto"),
        }
    }
}

impl Default for Choice {
    fn default() -> Self {
        Self::One(None)
    }
}

/// One word: `none`, a method's name, or `auto:` and names with commas between them.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(method) => f.write_str(name_of(*method)),
            Self::Auto(methods) => write!(f, "auto:{methods}"),
        }
    }
}

/// The text is not one that [`Choice`] is displayed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoChoice;

impl FromStr for Choice {
    type Err = NoChoice;

    fn from_str(text: &str) -> Result<Self, NoChoice> {
        let way = |name| match name {
            "none" => Some(None),
            name => Method::from_name(name).map(Some),
        };
        let choice = match text.strip_prefix("auto:") {
            None => way(text).map(Self::One),
            Some(names) => {
                let ways: Option<Vec<_>> = names.split(',').map(way).collect();
                ways.and_then(Methods::of).map(Self::Auto)
            }
        };
        choice.ok_or(NoChoice)
    }
}

fn name_of(way: Option<Method>) -> &'static str {
    way.map_or("none", Method::name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_reads_back_as_it_is_displayed() {
        let all = Methods::of(Method::ALL.map(Some).into_iter().chain([None])).unwrap();
        let some = Methods::of([Some(Method::Snappy), Some(Method::Zlib)]).unwrap();
        let ones = Method::ALL.map(Some).into_iter().chain([None]).map(Choice::One);
        let choices = ones.chain([all, some, Methods::default()].map(Choice::Auto));
        for choice in choices {
            assert_eq!(choice.to_string().parse(), Ok(choice), "{choice}");
        }
        assert_eq!(Choice::Auto(some).to_string(), "auto:zlib,snappy");
        for bad in ["", "auto", "auto:", "auto:zlib,", "auto:gzip", "zlib,lzo", "none "] {
            assert_eq!(bad.parse::<Choice>(), Err(NoChoice), "{bad:?}");
        }
    }

    #[test]
    fn the_usual_methods_are_those_that_this_build_reads() {
        let expected = if cfg!(feature = "lzo") { "none,lzo,zstd" } else { "none,zlib,zstd" };
        assert_eq!(Methods::default().to_string(), expected);
        assert_eq!(Methods::default().strongest(), Some(Method::Zstd));
        assert_eq!(Methods::of([None]).unwrap().strongest(), None);
        assert_eq!(Methods::of([]), None);
    }
}
