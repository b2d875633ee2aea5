//! Text of a dump in a page: shown as what it is, whatever it is.

use crate::show::terminal::Line;
use std::fmt::{self, Display, Write};

/// Text between tags or in a quoted attribute. Nothing in it is markup, controls and what turns the direction of writing are
/// shown as escapes, as on a terminal.
pub(super) struct Text<T>(pub(super) T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is shown may come from anywhere, so all of it passes here before anything of it is a tag's.
        for c in Line(&self.0.to_string()).to_string().chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn markup_quotes_and_controls_are_text() {
        assert_eq!(
            Text("<b>\"&'\u{1b}[2J\u{202e}\n").to_string(),
            "&lt;b&gt;&quot;&amp;&#39;\\x1b[2J\\u{202e}\\x0a"
        );
    }

    proptest! {
        #[test]
        fn nothing_of_a_text_opens_or_closes_anything(text in any::<String>()) {
            let escaped = Text(&text).to_string();
            prop_assert!(!escaped.contains(['<', '>', '"', '\'']));
            prop_assert!(!escaped.chars().any(char::is_control));
        }
    }
}
