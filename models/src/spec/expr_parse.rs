//! Reading expressions.

use super::expr::{BINARY, Binary, ExprError, ExprProblem, Term, TermKind};
use super::setting::Setting;

/// Longest expression, in characters. Operators in a row nest as deep as the text is long.
const MAX_CHARS: usize = 1024;
/// Deepest nesting of parentheses, lists, calls, conditions and signs.
const MAX_DEPTH: usize = 32;

const TIGHTEST: u8 = 8;
const NOT: u8 = 3;
/// Words that are no keys.
const WORDS: [&str; 10] = ["if", "then", "else", "and", "or", "not", "in", "true", "false", "null"];

/// Reads a whole expression.
pub(super) fn parse(text: &str) -> Result<Term, ExprError> {
    let error = |(at, problem)| ExprError { text: text.chars().take(MAX_CHARS).collect(), at, problem };
    let tokens = tokens(text).map_err(error)?;
    let mut parser = Parser { tokens, next: 0, depth: 0 };
    let term = parser.expression(0).map_err(error)?;
    match parser.peek().kind {
        TokenKind::End => Ok(term),
        _ => Err(error(parser.unexpected("an operator or the end"))),
    }
}

type Parsed<T> = Result<T, (usize, ExprProblem)>;

#[derive(Clone, Debug)]
struct Token {
    at: usize,
    kind: TokenKind,
}

#[derive(Clone, Debug, PartialEq)]
enum TokenKind {
    /// A word or a key.
    Name(String),
    Const(Setting),
    Mark(&'static str),
    Other(char),
    End,
}

const MARKS: [&str; 17] =
    ["==", "!=", "<=", ">=", "??", "<", ">", "+", "-", "*", "/", "%", "(", ")", "[", "]", ","];

fn tokens(text: &str) -> Parsed<Vec<Token>> {
    let chars: Vec<char> = text.chars().take(MAX_CHARS + 1).collect();
    if chars.len() > MAX_CHARS {
        return Err((MAX_CHARS, ExprProblem::TooLarge));
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let while_in = |is: fn(&char) -> bool| rest.iter().take_while(|c| is(c)).count();
        let syntax = |expected, found: String| (at + 1, ExprProblem::Syntax { expected, found });
        let (kind, length) = match rest[0] {
            c if c.is_whitespace() => {
                at += 1;
                continue;
            }
            '\'' | '"' => {
                let Some(length) = rest[1..].iter().position(|c| *c == rest[0]) else {
                    return Err(syntax("a closing quote", "the end".to_owned()));
                };
                let text: String = rest[1..=length].iter().collect();
                (TokenKind::Const(Setting::Str(text.into())), length + 2)
            }
            '0'..='9' => {
                let length = number_length(rest);
                let text: String = rest[..length].iter().collect();
                let value = match text.parse::<i64>() {
                    Ok(int) => Some(Setting::Int(int)),
                    Err(_) if text.contains(['.', 'e', 'E']) => {
                        text.parse().ok().filter(|float: &f64| float.is_finite()).map(Setting::Float)
                    }
                    Err(_) => None,
                };
                let value = value.ok_or_else(|| syntax("a number in range", format!("`{text}`")))?;
                (TokenKind::Const(value), length)
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let length = while_in(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
                let name: String = rest[..length].iter().collect();
                if name.split('.').any(str::is_empty) {
                    return Err(syntax("a key after the point", format!("`{name}`")));
                }
                let kind = match name.as_str() {
                    "true" => TokenKind::Const(Setting::Bool(true)),
                    "false" => TokenKind::Const(Setting::Bool(false)),
                    "null" => TokenKind::Const(Setting::Null),
                    _ => TokenKind::Name(name),
                };
                (kind, length)
            }
            c => match MARKS.iter().find(|mark| mark.chars().eq(rest.iter().copied().take(mark.len()))) {
                Some(mark) => (TokenKind::Mark(mark), mark.len()),
                None => (TokenKind::Other(c), 1),
            },
        };
        tokens.push(Token { at: at + 1, kind });
        at += length;
    }
    tokens.push(Token { at: chars.len() + 1, kind: TokenKind::End });
    Ok(tokens)
}

/// Length of the number at the start: digits, a fraction, an exponent.
fn number_length(chars: &[char]) -> usize {
    let digits = |from: usize| chars[from..].iter().take_while(|c| c.is_ascii_digit()).count();
    let mut length = digits(0);
    if chars.get(length) == Some(&'.') {
        length += 1 + digits(length + 1);
    }
    if matches!(chars.get(length), Some('e' | 'E')) {
        let sign = usize::from(matches!(chars.get(length + 1), Some('+' | '-')));
        length += 1 + sign + digits(length + 1 + sign);
    }
    length
}

struct Parser {
    /// Ends with [`TokenKind::End`].
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
}

impl Parser {
    /// Operators that bind at least as tightly as `least`, and their operands.
    fn expression(&mut self, least: u8) -> Parsed<Term> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err((self.peek().at, ExprProblem::TooLarge));
        }
        let mut left = self.prefix(least)?;
        while let Some((binary, binds)) = self.operator().filter(|(_, binds)| *binds >= least) {
            let at = self.advance();
            let right = self.expression(binds + 1)?;
            left = Term { at, kind: TermKind::Binary(binary, Box::new([left, right])) };
        }
        self.depth -= 1;
        Ok(left)
    }

    fn prefix(&mut self, least: u8) -> Parsed<Term> {
        let at = self.peek().at;
        if least == 0 && self.accept("if") {
            let condition = self.expression(1)?;
            self.expect("then", "`then`")?;
            let then = self.expression(0)?;
            self.expect("else", "`else`")?;
            let otherwise = self.expression(0)?;
            return Ok(Term { at, kind: TermKind::If(Box::new([condition, then, otherwise])) });
        }
        if least <= NOT && self.accept("not") {
            return Ok(Term { at, kind: TermKind::Not(Box::new(self.expression(NOT)?)) });
        }
        if self.accept("-") {
            return Ok(Term { at, kind: TermKind::Negative(Box::new(self.expression(TIGHTEST)?)) });
        }
        let mut term = self.primary()?;
        loop {
            let at = self.peek().at;
            if !self.accept("[") {
                return Ok(term);
            }
            let index = self.expression(0)?;
            self.expect("]", "`]`")?;
            term = Term { at, kind: TermKind::Item(Box::new([term, index])) };
        }
    }

    fn primary(&mut self) -> Parsed<Term> {
        let Token { at, kind } = self.peek().clone();
        let kind = match kind {
            TokenKind::Const(value) => {
                self.advance();
                TermKind::Const(value)
            }
            TokenKind::Name(name) if !WORDS.contains(&name.as_str()) => {
                self.advance();
                if self.accept("(") {
                    TermKind::Call(name, self.list(")", "`)`")?)
                } else {
                    TermKind::Key(name)
                }
            }
            TokenKind::Mark("(") => {
                self.advance();
                let inner = self.expression(0)?;
                self.expect(")", "`)`")?;
                return Ok(inner);
            }
            TokenKind::Mark("[") => {
                self.advance();
                TermKind::List(self.list("]", "`]`")?)
            }
            TokenKind::Name(_) | TokenKind::Mark(_) | TokenKind::Other(_) | TokenKind::End => {
                return Err(self.unexpected("a value"));
            }
        };
        Ok(Term { at, kind })
    }

    /// Expressions with commas between, up to and with `close`.
    fn list(&mut self, close: &str, expected: &'static str) -> Parsed<Vec<Term>> {
        let mut items = Vec::new();
        if self.accept(close) {
            return Ok(items);
        }
        loop {
            items.push(self.expression(0)?);
            if !self.accept(",") {
                self.expect(close, expected)?;
                return Ok(items);
            }
        }
    }

    fn operator(&self) -> Option<(Binary, u8)> {
        let found = BINARY.iter().find(|(_, symbol, _)| self.is(symbol));
        found.map(|(binary, _, binds)| (*binary, *binds))
    }

    fn is(&self, text: &str) -> bool {
        match &self.peek().kind {
            TokenKind::Name(name) => name == text,
            TokenKind::Mark(mark) => *mark == text,
            TokenKind::Const(_) | TokenKind::Other(_) | TokenKind::End => false,
        }
    }

    fn accept(&mut self, text: &str) -> bool {
        let is = self.is(text);
        if is {
            self.advance();
        }
        is
    }

    fn expect(&mut self, text: &str, expected: &'static str) -> Parsed<()> {
        if self.accept(text) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.next]
    }

    /// Steps over a token that is not the end; gives where it was.
    fn advance(&mut self) -> usize {
        let at = self.peek().at;
        self.next += 1;
        at
    }

    fn unexpected(&self, expected: &'static str) -> (usize, ExprProblem) {
        let token = self.peek();
        let found = match &token.kind {
            TokenKind::Name(name) => format!("`{name}`"),
            TokenKind::Const(value) => format!("`{value}`"),
            TokenKind::Mark(mark) => format!("`{mark}`"),
            TokenKind::Other(c) => format!("`{c}`"),
            TokenKind::End => "the end".to_owned(),
        };
        (token.at, ExprProblem::Syntax { expected, found })
    }
}
