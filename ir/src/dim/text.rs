//! The text of dims: `2*T + 1`, `floordiv(T + 127, 128)`, `mod(T, 16)`, `min(S, 4096)`, `max(T, 1)`.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Atom, Dim, MAX_ATOMS, MAX_DEPTH, Repr};

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let poly = match &self.0 {
            Repr::Const(value) => return write!(f, "{value}"),
            Repr::Invalid => return f.write_str("invalid"),
            Repr::Poly(poly) => poly,
        };
        for (at, term) in poly.terms.iter().enumerate() {
            match (at, term.coefficient < 0) {
                (0, false) => {}
                (0, true) => f.write_char('-')?,
                (_, false) => f.write_str(" + ")?,
                (_, true) => f.write_str(" - ")?,
            }
            let magnitude = term.coefficient.unsigned_abs();
            if magnitude != 1 {
                write!(f, "{magnitude}*")?;
            }
            for (nth, atom) in term.atoms.iter().enumerate() {
                if nth > 0 {
                    f.write_char('*')?;
                }
                write!(f, "{atom}")?;
            }
        }
        match poly.constant {
            0 => Ok(()),
            constant if constant < 0 => write!(f, " - {}", constant.unsigned_abs()),
            constant => write!(f, " + {constant}"),
        }
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, name: &str, dims: &[Dim]| {
            write!(f, "{name}(")?;
            for (at, dim) in dims.iter().enumerate() {
                write!(f, "{}{dim}", if at > 0 { ", " } else { "" })?;
            }
            f.write_char(')')
        };
        match self {
            Atom::Symbol(symbol) => write!(f, "{symbol}"),
            Atom::FloorDiv(dim, k) => write!(f, "floordiv({dim}, {k})"),
            Atom::Mod(dim, k) => write!(f, "mod({dim}, {k})"),
            Atom::Min(dims) => list(f, "min", dims),
            Atom::Max(dims) => list(f, "max", dims),
        }
    }
}

/// Where and why a text is no dim.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad dim at byte {offset}: {reason}")]
pub struct ParseDimError {
    /// Byte offset in the text given.
    pub offset: usize,
    /// What was wrong there.
    pub reason: String,
}

impl FromStr for Dim {
    type Err = ParseDimError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (dim, end) = parse_dim_at(text, 0)?;
        let rest = text[end..].trim_start();
        if rest.is_empty() {
            Ok(dim)
        } else {
            let offset = text.len() - rest.len();
            Err(ParseDimError {
                offset,
                reason: format!("unexpected `{}`", rest.chars().next().unwrap_or(' ')),
            })
        }
    }
}

/// Parses the dim that starts at byte `start` of `text`; gives it and the offset behind it.
pub(crate) fn parse_dim_at(text: &str, start: usize) -> Result<(Dim, usize), ParseDimError> {
    let mut parser = Parser { text, at: start, depth: 0, num_factors: 0 };
    let dim = parser.sum()?;
    if dim.is_invalid() {
        return Err(parser.error("the expression is too large or overflows"));
    }
    Ok((dim, parser.at))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
    num_factors: u32,
}

impl<'a> Parser<'a> {
    fn error(&self, reason: impl Into<String>) -> ParseDimError {
        ParseDimError { offset: self.at, reason: reason.into() }
    }

    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(|byte| *byte == b' ') {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), ParseDimError> {
        if self.eat(byte) { Ok(()) } else { Err(self.error(format!("expected `{}`", byte as char))) }
    }

    fn sum(&mut self) -> Result<Dim, ParseDimError> {
        self.depth += 1;
        if self.depth > 2 * MAX_DEPTH {
            return Err(self.error("nested too deep"));
        }
        let mut sum = if self.eat(b'-') { -self.product()? } else { self.product()? };
        loop {
            if self.eat(b'+') {
                sum = sum + self.product()?;
            } else if self.eat(b'-') {
                sum = sum - self.product()?;
            } else {
                self.depth -= 1;
                return Ok(sum);
            }
        }
    }

    fn product(&mut self) -> Result<Dim, ParseDimError> {
        let mut product = self.factor()?;
        while self.eat(b'*') {
            product = product * self.factor()?;
        }
        Ok(product)
    }

    fn factor(&mut self) -> Result<Dim, ParseDimError> {
        self.num_factors += 1;
        if self.num_factors > 4 * MAX_ATOMS {
            return Err(self.error("the expression is too long"));
        }
        match self.peek() {
            Some(b'(') => {
                self.at += 1;
                let dim = self.sum()?;
                self.expect(b')')?;
                Ok(dim)
            }
            Some(byte) if byte.is_ascii_digit() => Ok(Dim::constant(self.number()?)),
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'_' => self.name(),
            Some(_) => Err(self.error("expected a number, a symbol or `(`")),
            None => Err(self.error("expected a dim, found the end")),
        }
    }

    fn number(&mut self) -> Result<i64, ParseDimError> {
        let start = self.at;
        while self.text.as_bytes().get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        let digits = &self.text[start..self.at];
        digits
            .parse()
            .map_err(|_| ParseDimError { offset: start, reason: "number does not fit 64 bits".into() })
    }

    fn name(&mut self) -> Result<Dim, ParseDimError> {
        let start = self.at;
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        while self.text.as_bytes().get(self.at).is_some_and(is_name) {
            self.at += 1;
        }
        let name = &self.text[start..self.at];
        if self.text.as_bytes().get(self.at) != Some(&b'(') {
            return Ok(if name == "invalid" { Dim::INVALID } else { Dim::symbol(name) });
        }
        self.at += 1;
        let dim = match name {
            "floordiv" | "ceildiv" | "mod" => {
                let dim = self.sum()?;
                self.expect(b',')?;
                self.peek();
                let divisor = self.number()?;
                match name {
                    "floordiv" => dim.floor_div(divisor),
                    "ceildiv" => dim.ceil_div(divisor),
                    _ => dim.modulo(divisor),
                }
            }
            "min" | "max" => {
                let mut dims = vec![self.sum()?];
                while self.eat(b',') {
                    dims.push(self.sum()?);
                }
                if name == "min" { Dim::min(dims) } else { Dim::max(dims) }
            }
            _ => {
                let reason =
                    format!("unknown function `{name}`: expected floordiv, ceildiv, mod, min or max");
                return Err(ParseDimError { offset: start, reason });
            }
        };
        self.expect(b')')?;
        Ok(dim)
    }
}

impl Serialize for Dim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Dim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}
