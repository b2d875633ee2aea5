//! What crashes of the same kind have in common.
//!
//! `docs/report.md` has the algorithm, so that others can compute the same.

use crate::cause::machinery::{is_machinery, normalised};
use crate::cause::{Cause, Kind};
use crate::stack::{Frame, Proof};
use sha2::{Digest, Sha256};

/// A hash over the kind of crash and its topmost functions, stable across addresses, builds and compilers' suffixes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Signature {
    /// In hexadecimal.
    pub hash: String,
    /// The words it was made of, in their order.
    pub parts: Vec<String>,
}

/// The first word: which algorithm it is.
const VERSION: &str = "hadump-signature-1";

/// How many functions count.
const FUNCTIONS: usize = 5;

/// How many bytes of the hash are kept.
const BYTES: usize = 8;

/// The signature of a crash, by the kernel's own trace in the log, or where it printed none by the `stack` of the CPU that
/// crashed. `None` where there was no crash, and where no function is known: a kind alone is nothing to group by.
pub fn find(cause: &Cause, stack: &[Frame]) -> Option<Signature> {
    if cause.kind == Kind::NoCrash {
        return None;
    }
    let mut logged: Vec<String> = cause.at.iter().map(|at| normalised(at)).collect();
    let certain =
        cause.call_trace.iter().filter(|frame| !frame.starts_with("? ")).map(|frame| normalised(frame));
    // The place is where the registers were, and some machines begin the trace with it. Where there were none it is a frame.
    let place = cause.call_trace.iter().position(|frame| Some(frame) == cause.at.as_ref());
    let trace: Vec<String> = match place {
        Some(place) => {
            let shown = cause.call_trace[..=place].iter().filter(|frame| !frame.starts_with("? ")).count();
            certain.skip(shown).collect()
        }
        None => certain.collect(),
    };
    logged.extend(trace);
    let mut functions = top(logged);
    if functions.is_empty() {
        let unwound = stack.iter().filter(|frame| frame.proof == Proof::Unwound);
        functions = top(unwound.filter_map(|frame| Some(normalised(frame.function.as_ref()?))).collect());
    }
    if functions.is_empty() {
        return None;
    }
    let mut parts = vec![VERSION.to_owned(), cause.kind.name().to_owned()];
    parts.extend(functions);
    let mut hash = Sha256::new();
    for part in &parts {
        hash.update(part.as_bytes());
        hash.update(b"\n");
    }
    let hash = hash.finalize()[..BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Signature { hash, parts })
}

/// The functions that count, of all from the innermost on.
fn top(functions: Vec<String>) -> Vec<String> {
    let named = functions.into_iter().filter(|name| !name.starts_with("0x") && !name.is_empty());
    named.skip_while(|name| is_machinery(name)).take(FUNCTIONS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(kind: Kind, at: Option<&str>, trace: &[&str]) -> Cause {
        let call_trace = trace.iter().map(|&frame| frame.to_owned()).collect();
        Cause { kind, at: at.map(str::to_owned), call_trace, ..Cause::default() }
    }

    #[test]
    fn names_lose_what_a_compiler_or_build_gave_them() {
        for (frame, name) in [
            ("foo+0x1f/0x40", "foo"),
            ("foo.isra.0+0x1f/0x40 [bar]", "foo"),
            ("foo.constprop.0.isra.3+0x1f/0x40", "foo"),
            ("__handle_sysrq.cold+0xba/0x1b9", "__handle_sysrq"),
            ("foo.llvm.12345678+0x1/0x2", "foo"),
            (".foo+0x1/0x2", "foo"),
            ("foo", "foo"),
        ] {
            assert_eq!(normalised(frame), name);
        }
    }

    #[test]
    fn a_signature_is_the_same_for_another_build_and_another_for_another_place() {
        let one = cause(
            Kind::NullPointer,
            Some("foo+0x1/0x2 [m]"),
            &["? a+0x1/0x2", "b.isra.0+0x1/0x9", "c+0x1/0x2"],
        );
        let two =
            cause(Kind::NullPointer, Some("foo.cold+0x7/0x8"), &["b+0x5/0x9", "? d+0x0/0x1", "c+0x2/0x2"]);
        let first = find(&one, &[]).unwrap();
        assert_eq!(first.parts, ["hadump-signature-1", "null_pointer", "foo", "b", "c"]);
        assert_eq!(find(&two, &[]).unwrap(), first);
        assert_eq!(first.hash.len(), 2 * BYTES);
        let other = cause(Kind::BadAccess, Some("foo+0x1/0x2 [m]"), &["b+0x1/0x9", "c+0x1/0x2"]);
        assert_ne!(find(&other, &[]).unwrap().hash, first.hash);
    }

    /// `printf 'hadump-signature-1\nsysrq\nsysrq_handle_crash\n__handle_sysrq\n' | sha256sum | cut -c1-16`
    #[test]
    fn a_shell_computes_the_same() {
        let trace = [
            "dump_stack_lvl+0x5d/0x80",
            "vpanic+0x2/0x4",
            "panic+0x6b/0x70",
            "sysrq_handle_crash+0x1a/0x20",
            "__handle_sysrq.cold+0xba/0x1b9",
        ];
        let found = find(&cause(Kind::SysRq, Some(trace[3]), &trace), &[]).unwrap();
        assert_eq!(found.parts[2..], ["sysrq_handle_crash", "__handle_sysrq"]);
        assert_eq!(found.hash, "f46a2e34cc3d3dbe");
    }

    #[test]
    fn a_place_that_the_trace_repeats_counts_once() {
        let twice = cause(Kind::Bug, Some("foo+0x1/0x2"), &["foo+0x1/0x2", "b+0x1/0x2"]);
        assert_eq!(find(&twice, &[]).unwrap().parts[2..], ["foo", "b"]);
    }

    #[test]
    fn a_stack_that_was_unwound_serves_where_the_log_has_no_trace() {
        let frame = |function: &str, proof| Frame {
            pc: 1,
            sp: 2,
            function: Some(function.to_owned()),
            offset: 1,
            size: None,
            module: None,
            proof,
            interrupted: false,
        };
        let stack = [
            frame("crash_setup_regs", Proof::Unwound),
            frame("__crash_kexec", Proof::Unwound),
            frame("noise", Proof::Scanned),
            frame("foo.part.0", Proof::Unwound),
        ];
        let found = find(&cause(Kind::Unknown, None, &[]), &stack).unwrap();
        assert_eq!(found.parts, ["hadump-signature-1", "unknown", "foo"]);
        assert_eq!(find(&cause(Kind::Unknown, None, &[]), &[]), None);
        assert_eq!(find(&cause(Kind::NoCrash, None, &["foo+0x1/0x2"]), &stack), None);
    }
}
