//! Words of the text form.

use super::ParseError;
use crate::Dim;
use crate::dim::parse_dim_at;

/// Longest text that is parsed, in bytes.
pub const MAX_TEXT_BYTES: usize = 64 << 20;

/// Reads words from a text, with the place for errors.
pub struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Result<Self, ParseError> {
        let lexer = Lexer { text, at: 0 };
        if text.len() > MAX_TEXT_BYTES {
            return Err(lexer.error("the text is longer than 64 MiB"));
        }
        Ok(lexer)
    }

    /// An error at the current place.
    pub fn error(&self, reason: impl Into<String>) -> ParseError {
        self.error_at(self.at, reason)
    }

    /// An error at byte `at`.
    pub fn error_at(&self, at: usize, reason: impl Into<String>) -> ParseError {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
        ParseError { line, column, reason: reason.into() }
    }

    /// The place of the next word.
    pub fn place(&mut self) -> usize {
        self.skip_space();
        self.at
    }

    fn skip_space(&mut self) {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b'#' => {
                    while bytes.get(self.at).is_some_and(|byte| *byte != b'\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    /// The next byte that is no space, not taken.
    pub fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes `token` if it comes next.
    pub fn eat(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.text[self.at..].starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Takes `token`, which must come next.
    pub fn expect(&mut self, token: &str) -> Result<(), ParseError> {
        if self.eat(token) { Ok(()) } else { Err(self.error(format!("expected `{token}`{}", self.found()))) }
    }

    fn found(&self) -> String {
        match self.text[self.at..].chars().next() {
            Some(found) => format!(", found `{found}`"),
            None => ", found the end".to_owned(),
        }
    }

    /// Takes a word of letters, digits, `_`, `.`, `/` and inner `-`.
    pub fn word(&mut self) -> Result<&'a str, ParseError> {
        self.skip_space();
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'/' | b'-' | b'.');
        let rest = &self.text.as_bytes()[self.at..];
        let mut len = rest.iter().take_while(|byte| is_word(byte)).count();
        if let Some(dots) = self.text[self.at..self.at + len].find("..") {
            len = dots;
        }
        if len == 0 {
            return Err(self.error(format!("expected a name{}", self.found())));
        }
        let word = &self.text[self.at..self.at + len];
        self.at += len;
        Ok(word)
    }

    /// Takes the word `keyword`.
    pub fn keyword(&mut self, keyword: &str) -> Result<(), ParseError> {
        let place = self.place();
        match self.word() {
            Ok(word) if word == keyword => Ok(()),
            _ => Err(self.error_at(place, format!("expected `{keyword}`"))),
        }
    }

    /// Takes `%name`.
    pub fn value_name(&mut self) -> Result<&'a str, ParseError> {
        self.expect("%")?;
        self.word()
    }

    /// Takes a quoted string with Rust's escapes.
    pub fn string(&mut self) -> Result<String, ParseError> {
        self.expect("\"")?;
        let start = self.at;
        let mut out = String::new();
        let mut chars = self.text[start..].char_indices();
        while let Some((offset, c)) = chars.next() {
            match c {
                '"' => {
                    self.at = start + offset + 1;
                    return Ok(out);
                }
                '\n' => break,
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some('r') => out.push('\r'),
                    Some('0') => out.push('\0'),
                    Some(c @ ('"' | '\\' | '\'')) => out.push(c),
                    Some('u') => out.push(self.unicode_escape(&mut chars, start + offset)?),
                    _ => return Err(self.error_at(start + offset, "unknown escape")),
                },
                c => out.push(c),
            }
        }
        Err(self.error_at(start, "the string has no end"))
    }

    /// The rest of `\u{..}`.
    fn unicode_escape(&self, chars: &mut std::str::CharIndices<'_>, at: usize) -> Result<char, ParseError> {
        let bad = || self.error_at(at, "bad unicode escape");
        let ('{', mut code) = (chars.next().ok_or_else(bad)?.1, 0u32) else { return Err(bad()) };
        for _ in 0..7 {
            match chars.next().ok_or_else(bad)?.1 {
                '}' => return char::from_u32(code).ok_or_else(bad),
                digit => code = code * 16 + digit.to_digit(16).ok_or_else(bad)?,
            }
        }
        Err(bad())
    }

    /// Takes a dim.
    pub fn dim(&mut self) -> Result<Dim, ParseError> {
        self.skip_space();
        match parse_dim_at(self.text, self.at) {
            Ok((dim, end)) => {
                self.at = end;
                Ok(dim)
            }
            Err(error) => Err(self.error_at(error.offset, error.reason)),
        }
    }

    /// Takes `[a, b, ..]` of what `item` reads.
    pub fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Vec<T>, ParseError> {
        self.expect("[")?;
        let mut items = Vec::new();
        if self.eat("]") {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.eat("]") {
                return Ok(items);
            }
            self.expect(",")?;
        }
    }

    /// Whether the list that starts here has a number with a point or an exponent as its first item.
    pub fn is_list_of_floats(&mut self) -> bool {
        self.skip_space();
        let mut ahead = Lexer { text: self.text, at: self.at };
        ahead.eat("[")
            && ahead.number().is_ok_and(|number| {
                number.starts_with(|first: char| first.is_ascii_digit() || first == '-')
                    && number.contains(['.', 'e', 'E'])
            })
    }

    /// Takes a number: digits, sign, point and exponent as they come.
    pub fn number(&mut self) -> Result<&'a str, ParseError> {
        self.skip_space();
        let rest = &self.text.as_bytes()[self.at..];
        let mut len = 0;
        while let Some(byte) = rest.get(len) {
            let part = byte.is_ascii_digit()
                || (*byte == b'.' && rest.get(len + 1) != Some(&b'.'))
                || (matches!(byte, b'+' | b'-') && (len == 0 || matches!(rest[len - 1], b'e' | b'E')))
                || (matches!(byte, b'e' | b'E') && len > 0);
            if !part {
                break;
            }
            len += 1;
        }
        if len == 0 {
            return Err(self.error(format!("expected a number{}", self.found())));
        }
        let number = &self.text[self.at..self.at + len];
        self.at += len;
        Ok(number)
    }

    /// Takes an integer of type `T`.
    pub fn integer<T: std::str::FromStr>(&mut self) -> Result<T, ParseError> {
        let place = self.place();
        let number = self.number()?;
        number.parse().map_err(|_| self.error_at(place, format!("`{number}` is no integer in range")))
    }
}
