//! Names of files that are made of what a dump says.

/// Characters of a note's own name that its file's name has at most.
const MOST: usize = 64;

/// The name of the file of note number `number`, called `name`, of type `kind`: `003-CORE-0x1`.
///
/// A note's name is any bytes: of those only letters, digits, `_` and `-` are in a file's name, so that it leads to no other
/// directory, is no option of a program and hides nothing from whoever lists it.
pub fn note_name(number: usize, name: &[u8], kind: u32) -> String {
    let safe = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => char::from(*byte),
        _ => '_',
    };
    let name: String = name.iter().take(MOST).map(safe).collect();
    format!("{number:03}-{name}-{kind:#x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_note_is_recognised_by_its_file() {
        assert_eq!(note_name(0, b"CORE", 1), "000-CORE-0x1");
        assert_eq!(note_name(1234, b"../etc/passwd\n\x1b[2J", 0x700), "1234-___etc_passwd___2J-0x700");
        assert_eq!(note_name(7, b"", 0), "007--0x0");
    }

    proptest! {
        #[test]
        fn no_name_leads_anywhere_else(name in prop::collection::vec(any::<u8>(), 0..200), number: usize, kind: u32) {
            let file = note_name(number, &name, kind);
            prop_assert!(file.len() < 128);
            prop_assert!(file.starts_with(|c: char| c.is_ascii_digit()));
            prop_assert!(file.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        }
    }
}
