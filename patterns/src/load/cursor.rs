//! A place in a rule's text, and the words found there.

use crate::error::{Problem, RuleError};

/// Reads words of `text` up to `end`; spaces, line ends and comments from `#` on separate them.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    pub file: &'a str,
    pub text: &'a str,
    pub at: usize,
    pub end: usize,
}

impl<'a> Cursor<'a> {
    /// An error at byte `at` of the text.
    pub fn error_at(&self, at: usize, problem: Problem) -> RuleError {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
        RuleError { file: self.file.to_owned(), line, column, problem: Box::new(problem) }
    }

    /// The error that `expected` does not come next.
    pub fn expected(&mut self, expected: impl Into<String>) -> RuleError {
        let at = self.place();
        let (at, found) = match self.rest().split_whitespace().next() {
            None => (self.text[..self.end].trim_end().len(), "the end of this part".to_owned()),
            Some(word) => (at, format!("`{}`", word.chars().take(24).collect::<String>())),
        };
        self.error_at(at, Problem::Expected { expected: expected.into(), found })
    }

    /// The place of the next word.
    pub fn place(&mut self) -> usize {
        loop {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start().len();
            if !self.rest().starts_with('#') {
                return self.at;
            }
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..self.end]
    }

    /// Whether nothing is left.
    pub fn is_done(&mut self) -> bool {
        self.place() == self.end
    }

    /// The next byte, not taken.
    pub fn peek(&mut self) -> Option<u8> {
        self.place();
        self.rest().bytes().next()
    }

    /// Takes `sign` if it comes next.
    pub fn eat(&mut self, sign: &str) -> bool {
        self.place();
        self.eat_joined(sign)
    }

    /// Takes `sign` if it comes next without a space before it.
    pub fn eat_joined(&mut self, sign: &str) -> bool {
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len() } else { 0 };
        found
    }

    /// Takes `sign`, which must come next.
    pub fn expect(&mut self, sign: &str) -> Result<(), RuleError> {
        if self.eat(sign) { Ok(()) } else { Err(self.expected(format!("`{sign}`"))) }
    }

    /// Takes a word of letters, digits and `_` that does not start with a digit; `what` is for the error.
    pub fn word(&mut self, what: &str) -> Result<&'a str, RuleError> {
        self.place();
        let rest = self.rest();
        let len = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        if len == 0 || rest.as_bytes()[0].is_ascii_digit() {
            return Err(self.expected(what));
        }
        self.at += len;
        Ok(&rest[..len])
    }

    /// Takes `?name`, giving its place too.
    pub fn variable(&mut self) -> Result<(&'a str, usize), RuleError> {
        let place = self.place();
        if !self.eat("?") {
            return Err(self.expected("a variable such as `?x`"));
        }
        Ok((self.word("the variable's name")?, place))
    }

    /// The same text from `at` on.
    pub fn clone_at(&self, at: usize) -> Self {
        Cursor { at, ..self.clone() }
    }

    /// Takes what stands before the next `,` or `]` outside parentheses.
    pub fn operand_text(&mut self) -> &'a str {
        self.place();
        let mut depth = 0usize;
        let ends = |c: char| {
            depth = (depth + usize::from(c == '(')).saturating_sub(usize::from(c == ')'));
            depth == 0 && matches!(c, ',' | ']')
        };
        let rest = self.rest();
        let text = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += text.len();
        text.trim_end()
    }

    /// Takes a number: digits with sign, point and exponent.
    pub fn number(&mut self) -> Result<&'a str, RuleError> {
        self.place();
        let bytes = self.rest().as_bytes();
        let part = |at: usize| match bytes[at] {
            b'+' | b'-' => at == 0 || matches!(bytes[at - 1], b'e' | b'E'),
            byte => byte.is_ascii_digit() || (at > 0 && matches!(byte, b'.' | b'e' | b'E')),
        };
        let len = (0..bytes.len()).take_while(|at| part(*at)).count();
        if len == 0 {
            return Err(self.expected("a number"));
        }
        let number = &self.rest()[..len];
        self.at += len;
        Ok(number)
    }

    /// Takes an integer of type `T`.
    pub fn integer<T: std::str::FromStr>(&mut self) -> Result<T, RuleError> {
        let start = self.clone();
        let number = self.number()?;
        number.parse().map_err(|_| start.clone().expected("an integer in range"))
    }

    /// Takes what stands between here and `close`, which must come; gives it with its place.
    pub fn until(&mut self, close: char) -> Result<(&'a str, usize), RuleError> {
        let start = self.at;
        match self.rest().find(close) {
            Some(len) => {
                self.at += len + close.len_utf8();
                Ok((&self.text[start..start + len], start))
            }
            None => {
                self.at = self.end;
                Err(self.expected(format!("`{close}`")))
            }
        }
    }

    /// All that is left as one line of prose.
    pub fn prose(&mut self) -> String {
        let lines = self.rest().lines().map(|line| line.split('#').next().unwrap_or("").trim());
        let prose = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        self.at = self.end;
        prose
    }
}
