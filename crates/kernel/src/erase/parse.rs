//! The language of makedumpfile's filter configuration (makedumpfile.conf(5)).
//!
//! A file is a sequence of words; line ends mean nothing, `#` begins a comment. A line that begins with `[` opens the
//! section of a module, `vmlinux` at first.

use super::{Erase, Expression, Loop, Over, Position, Rule, What};
use std::iter::Peekable;

/// Why a configuration cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {}, column {}: {message}", at.line, at.column)]
pub struct SyntaxError {
    /// Where.
    pub at: Position,
    /// What is there and what was expected.
    pub message: String,
}

const KEYWORDS: [&str; 8] = ["erase", "for", "in", "within", "via", "endfor", "size", "nullify"];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `[name]` at the start of a line.
    Section(String),
}

type Words = Peekable<std::vec::IntoIter<(Position, Token)>>;

/// Parses a whole file.
pub(super) fn parse(text: &str) -> Result<Vec<Rule>, SyntaxError> {
    let mut parser = Parser { end: end_of(text), words: words(text)?.into_iter().peekable() };
    let mut module = "vmlinux".to_owned();
    let mut rules = Vec::new();
    while let Some((at, token)) = parser.words.next() {
        match token {
            Token::Section(name) => module = name,
            Token::Word(word) if word == "erase" => {
                let erase = parser.erase(None)?;
                rules.push(Rule { module: module.clone(), at, over: None, erase: vec![erase] });
            }
            Token::Word(word) if word == "for" => rules.push(parser.repetition(at, &module)?),
            Token::Word(word) => {
                return Err(error(at, format!("'{word}', expected 'erase', 'for' or a [module]")));
            }
        }
    }
    Ok(rules)
}

fn end_of(text: &str) -> Position {
    let line = text.lines().count().max(1);
    let column = text.lines().last().map_or(1, |line| line.chars().count() + 1);
    Position { line, column }
}

fn error(at: Position, message: impl Into<String>) -> SyntaxError {
    SyntaxError { at, message: message.into() }
}

/// Splits the text into words with their places.
fn words(text: &str) -> Result<Vec<(Position, Token)>, SyntaxError> {
    let mut words = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let place = |column: usize| Position { line: i + 1, column };
        if let Some(rest) = line.strip_prefix('[') {
            let (name, after) =
                rest.split_once(']').ok_or_else(|| error(place(1), "a section without its ']'"))?;
            if name.trim().is_empty() || !after.trim().is_empty() {
                return Err(error(place(1), "a section is [module] on a line of its own"));
            }
            words.push((place(1), Token::Section(name.trim().to_owned())));
            continue;
        }
        let mut start = None;
        let ends = line.chars().chain([' ']).enumerate();
        let mut word = String::new();
        for (column, c) in ends {
            match (c.is_whitespace(), start) {
                (false, None) => {
                    start = Some(column);
                    word = c.to_string();
                }
                (false, Some(_)) => word.push(c),
                (true, Some(begin)) => {
                    words.push((place(begin + 1), Token::Word(std::mem::take(&mut word))));
                    start = None;
                }
                (true, None) => {}
            }
        }
    }
    Ok(words)
}

struct Parser {
    words: Words,
    end: Position,
}

impl Parser {
    /// The next word, which is not a keyword; `what` says what is expected.
    fn name(&mut self, what: &str) -> Result<(Position, String), SyntaxError> {
        match self.words.next() {
            Some((at, Token::Word(word))) if !KEYWORDS.contains(&word.as_str()) => Ok((at, word)),
            Some((at, Token::Word(word))) => Err(error(at, format!("'{word}', expected {what}"))),
            Some((at, Token::Section(name))) => Err(error(at, format!("section [{name}], expected {what}"))),
            None => Err(error(self.end, format!("the end, expected {what}"))),
        }
    }

    /// Takes the next word if it is `keyword`.
    fn takes(&mut self, keyword: &str) -> bool {
        self.words.next_if(|(_, token)| matches!(token, Token::Word(word) if word == keyword)).is_some()
    }

    /// What follows `erase`. Inside a loop it is about the loop's `variable`.
    fn erase(&mut self, variable: Option<&str>) -> Result<Erase, SyntaxError> {
        let (at, word) = self.name("a symbol after 'erase'")?;
        let target = expression(at, &word)?;
        if let Some(variable) = variable.filter(|variable| *variable != target.parts[0]) {
            return Err(error(at, format!("'{word}' is not about the loop's variable '{variable}'")));
        }
        let what = if self.takes("nullify") {
            What::Pointer
        } else if self.takes("size") {
            let (at, word) = self.name("a size after 'size'")?;
            match word.starts_with(|c: char| c.is_ascii_digit()) {
                true => What::Bytes(bytes(at, &word)?),
                false => What::BytesIn(expression(at, &word)?),
            }
        } else {
            What::All
        };
        Ok(Erase { target, what })
    }

    /// What follows `for`, up to `endfor`.
    fn repetition(&mut self, at: Position, module: &str) -> Result<Rule, SyntaxError> {
        let (_, variable) = self.name("the name of the loop's variable after 'for'")?;
        if !self.takes("in") {
            let at = self.words.peek().map_or(self.end, |(at, _)| *at);
            return Err(error(at, format!("expected 'in' after 'for {variable}'")));
        }
        let (list_at, list) = self.name("a list or array after 'in'")?;
        let list = expression(list_at, &list)?;
        let over = if self.takes("via") {
            let (at, member) = self.name("the member that leads to the next element after 'via'")?;
            Over::Chain(expression(at, &member)?.parts)
        } else if self.takes("within") {
            let (at, word) = self.name("STRUCT:MEMBER after 'within'")?;
            let (structure, member) = word.split_once(':').unwrap_or((&word, "list"));
            if structure.is_empty() || member.is_empty() {
                return Err(error(at, format!("'{word}', expected STRUCT:MEMBER after 'within'")));
            }
            Over::ListHead { structure: structure.to_owned(), member: member.to_owned() }
        } else {
            Over::Elements
        };
        let mut erase = Vec::new();
        while !self.takes("endfor") {
            match self.words.next() {
                Some((_, Token::Word(word))) if word == "erase" => erase.push(self.erase(Some(&variable))?),
                Some((at, Token::Word(word))) => {
                    return Err(error(at, format!("'{word}', expected 'erase' or 'endfor'")));
                }
                Some((at, Token::Section(name))) => {
                    return Err(error(at, format!("section [{name}] before the loop's 'endfor'")));
                }
                None => return Err(error(self.end, "the end before the loop's 'endfor'")),
            }
        }
        Ok(Rule { module: module.to_owned(), at, over: Some(Loop { variable, list, over }), erase })
    }
}

/// `symbol.member.member`.
fn expression(at: Position, word: &str) -> Result<Expression, SyntaxError> {
    let parts: Vec<String> = word.split('.').map(str::to_owned).collect();
    let is_name = |part: &String| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$')
    };
    if parts.iter().all(is_name) && !word.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(Expression { at, parts });
    }
    Err(error(at, format!("'{word}', expected SYMBOL or SYMBOL.MEMBER")))
}

/// A number of bytes, with K or M.
fn bytes(at: Position, word: &str) -> Result<u64, SyntaxError> {
    let (digits, unit) = match word.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1 << 10),
        None => word.strip_suffix(['m', 'M']).map_or((word, 1), |digits| (digits, 1 << 20)),
    };
    let number = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    let number = number.ok().and_then(|n| n.checked_mul(unit)).filter(|n| *n > 0);
    number.ok_or_else(|| error(at, format!("'{word}', expected a number of bytes as 25, 1K or 2M")))
}
