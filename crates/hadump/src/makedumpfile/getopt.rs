//! Options as glibc's `getopt_long` takes them.
//!
//! Scripts have relied for years on what it allows: options behind operands, `-ld31` for `-l -d 31`, `--mess` for
//! `--message-level`. A parser with rules of its own would refuse command lines that worked. Messages are glibc's too, for
//! they are what people search for.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// An option by all its names.
#[derive(Debug)]
pub(super) struct Spec<T> {
    /// `-c`; `None` for an option with a long name only.
    pub(super) short: Option<u8>,
    /// `--name`, without the dashes.
    pub(super) long: Option<&'static str>,
    /// Whether a value must follow.
    pub(super) takes_value: bool,
    pub(super) option: T,
}

/// Reads a command line option by option; what is no option gathers for [`Getopt::operands`].
pub(super) struct Getopt<'s, T> {
    specs: &'s [Spec<T>],
    args: VecDeque<OsString>,
    /// What is left of an argument such as `-lc`.
    bundle: Vec<u8>,
    operands: Vec<OsString>,
}

impl<'s, T: Copy> Getopt<'s, T> {
    /// Begins with the arguments behind the program's name.
    pub(super) fn new(specs: &'s [Spec<T>], args: impl IntoIterator<Item = OsString>) -> Self {
        Self { specs, args: args.into_iter().collect(), bundle: Vec::new(), operands: Vec::new() }
    }

    /// The next option and its value; `None` behind the last. After an error the rest is not looked at.
    ///
    /// # Errors
    ///
    /// What is wrong with an option, as glibc says it.
    pub(super) fn next(&mut self) -> Result<Option<(T, Option<OsString>)>, String> {
        if !self.bundle.is_empty() {
            return self.short().map(Some);
        }
        while let Some(arg) = self.args.pop_front() {
            match arg.as_bytes() {
                b"--" => self.operands.extend(self.args.drain(..)),
                [b'-', b'-', name @ ..] => return self.long(name).map(Some),
                [b'-', first, rest @ ..] => {
                    self.bundle = [&[*first], rest].concat();
                    return self.short().map(Some);
                }
                _ => self.operands.push(arg),
            }
        }
        Ok(None)
    }

    /// What was no option, in its order.
    pub(super) fn operands(self) -> Vec<OsString> {
        self.operands
    }

    /// The first option of the bundle; with a value, that takes the rest of it.
    fn short(&mut self) -> Result<(T, Option<OsString>), String> {
        let name = self.bundle.remove(0);
        let spec = self.specs.iter().find(|spec| spec.short == Some(name));
        let Some(spec) = spec else { return Err(format!("invalid option -- '{}'", char::from(name))) };
        if !spec.takes_value {
            return Ok((spec.option, None));
        }
        let attached = std::mem::take(&mut self.bundle);
        let value =
            if attached.is_empty() { self.args.pop_front() } else { Some(OsString::from_vec(attached)) };
        match value {
            Some(value) => Ok((spec.option, Some(value))),
            None => Err(format!("option requires an argument -- '{}'", char::from(name))),
        }
    }

    fn long(&mut self, argument: &[u8]) -> Result<(T, Option<OsString>), String> {
        let (given, attached) = match argument.iter().position(|&byte| byte == b'=') {
            Some(at) => (&argument[..at], Some(OsStr::from_bytes(&argument[at + 1..]).to_owned())),
            None => (argument, None),
        };
        let spec = self.matching(given)?;
        let name = spec.long.unwrap_or_default();
        match (spec.takes_value, attached) {
            (false, Some(_)) => Err(format!("option '--{name}' doesn't allow an argument")),
            (false, None) => Ok((spec.option, None)),
            (true, Some(value)) => Ok((spec.option, Some(value))),
            (true, None) => match self.args.pop_front() {
                Some(value) => Ok((spec.option, Some(value))),
                None => Err(format!("option '--{name}' requires an argument")),
            },
        }
    }

    /// The option of this name, or the only one whose name begins so.
    fn matching(&self, given: &[u8]) -> Result<&'s Spec<T>, String> {
        let long = |spec: &Spec<T>| spec.long.unwrap_or_default();
        if let Some(exact) = self.specs.iter().find(|spec| spec.long.is_some_and(|l| l.as_bytes() == given)) {
            return Ok(exact);
        }
        let begin_so: Vec<_> =
            self.specs.iter().filter(|s| s.long.is_some_and(|l| l.as_bytes().starts_with(given))).collect();
        let shown = String::from_utf8_lossy(given);
        match begin_so[..] {
            [only] => Ok(only),
            [] => Err(format!("unrecognized option '--{shown}'")),
            _ => {
                let names: String = begin_so.iter().map(|spec| format!(" '--{}'", long(spec))).collect();
                Err(format!("option '--{shown}' is ambiguous; possibilities:{names}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn spec(
        short: Option<u8>,
        long: Option<&'static str>,
        takes_value: bool,
        option: char,
    ) -> Spec<char> {
        Spec { short, long, takes_value, option }
    }

    const SPECS: [Spec<char>; 6] = [
        spec(Some(b'l'), None, false, 'l'),
        spec(Some(b'd'), None, true, 'd'),
        spec(None, Some("split"), false, 's'),
        spec(None, Some("splitblock-size"), true, 'b'),
        spec(None, Some("num-threads"), true, 'n'),
        spec(None, Some("dry-run"), false, 'r'),
    ];

    /// Options with their values as `d=31`, a bar, and the operands.
    fn parse(args: &[&str]) -> Result<String, String> {
        let mut getopt = Getopt::new(&SPECS, args.iter().map(OsString::from));
        let mut words = Vec::new();
        while let Some((option, value)) = getopt.next()? {
            let value = value.map(|v| format!("={}", v.to_string_lossy())).unwrap_or_default();
            words.push(format!("{option}{value}"));
        }
        let operands = getopt.operands().into_iter().map(|o| o.to_string_lossy().into_owned());
        Ok(words.into_iter().chain(["|".into()]).chain(operands).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn options_stand_anywhere_and_in_bundles() {
        assert_eq!(parse(&["in", "-l", "out", "-d", "31"]).unwrap(), "l d=31 | in out");
        assert_eq!(parse(&["-ld31", "in"]).unwrap(), "l d=31 | in");
        assert_eq!(parse(&["-dl"]).unwrap(), "d=l |");
        assert_eq!(parse(&["-d", "-l"]).unwrap(), "d=-l |");
        assert_eq!(parse(&["-l", "--", "-d", "--"]).unwrap(), "l | -d --");
        assert_eq!(parse(&["-", ""]).unwrap(), "| - ");
    }

    #[test]
    fn long_options_are_abbreviated_and_take_values_either_way() {
        assert_eq!(parse(&["--num-threads=4", "--dry", "--n", "5"]).unwrap(), "n=4 r n=5 |");
        // `--split` is a whole name although another begins with it.
        assert_eq!(parse(&["--split", "--splitb=7"]).unwrap(), "s b=7 |");
        assert_eq!(parse(&["--num="]).unwrap(), "n= |");
    }

    #[test]
    fn errors_are_worded_as_glibc_words_them() {
        for (args, error) in [
            (&["-q"][..], "invalid option -- 'q'"),
            (&["-lq"], "invalid option -- 'q'"),
            (&["-d"], "option requires an argument -- 'd'"),
            (&["--foo"], "unrecognized option '--foo'"),
            (&["--s"], "option '--s' is ambiguous; possibilities: '--split' '--splitblock-size'"),
            (&["--num"], "option '--num-threads' requires an argument"),
            (&["--dry-run=3"], "option '--dry-run' doesn't allow an argument"),
        ] {
            assert_eq!(parse(args).unwrap_err(), error, "{args:?}");
        }
    }
}
