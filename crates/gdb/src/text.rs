//! Text of a dump, which holds whatever it likes, on its way to gdb's terminal or into XML.

/// Text in XML. A dump's text is made safe for a terminal before, which leaves no controls that XML cannot have.
pub(crate) fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // Neither controls nor what is no character to XML.
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_has_no_character_of_its_own_or_that_it_forbids() {
        assert_eq!(xml("a<b>&\"c\"\u{1b}\n\u{ffff}ü"), "a&lt;b&gt;&amp;&quot;c&quot;???ü");
    }
}
