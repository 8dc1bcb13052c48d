use std::borrow::Cow;
use std::fmt::Write;

use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};

/// Deepest nesting of a value that is written out.
const MAX_DEPTH: usize = 200;

/// Python's `str` of a value where the engine's own form may differ from it: of floats, lists and maps.
pub(super) fn str_if_different(state: &State, value: &Value) -> Result<Option<String>, Error> {
    Ok(match value.kind() {
        ValueKind::Number if !value.is_integer() => f64::try_from(value.clone()).ok().map(float),
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            let mut repr = Repr { state, out: String::new(), paid: 0 };
            repr.write(value, 0)?;
            Some(repr.out)
        }
        _ => None,
    })
}

/// Python's `str` of a value.
pub(super) fn str<'a>(state: &State, value: &'a Value) -> Result<Cow<'a, str>, Error> {
    Ok(match (value.as_str(), str_if_different(state, value)?) {
        (Some(text), _) => Cow::Borrowed(text),
        (None, Some(text)) => Cow::Owned(text),
        (None, None) => Cow::Owned(value.to_string()),
    })
}

/// Python's `repr` of a float: the shortest digits that read back the same, with an exponent below 1e-4 and
/// from 1e16.
pub(super) fn float(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "nan".into()
        } else if value > 0.0 {
            "inf".into()
        } else {
            "-inf".into()
        };
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').expect("an exponent was asked for");
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    let mut text = value.to_string();
    if !text.contains('.') {
        text.push_str(".0");
    }
    text
}

/// Pays for `bytes` of text.
pub(super) fn charge(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes as u64 / 64 + 1)
}

/// An error of the kind that Python calls TypeError or ValueError.
pub(super) fn error(what: impl Into<String>) -> Error {
    Error::new(minijinja::ErrorKind::InvalidOperation, what.into())
}

/// Fails for values nested deeper than Python would print.
pub(super) fn check_depth(depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH { Err(error("recursion limit: the value is nested too deep")) } else { Ok(()) }
}

/// Writes Python's `repr` of values.
struct Repr<'a, 'b, 'c> {
    state: &'a State<'b, 'c>,
    out: String,
    /// How much of `out` is paid for.
    paid: usize,
}

impl Repr<'_, '_, '_> {
    fn write(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        check_depth(depth)?;
        match value.kind() {
            ValueKind::String => repr_str(value.as_str().unwrap_or_default(), &mut self.out),
            ValueKind::Number if !value.is_integer() => {
                let text = f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float);
                self.out.push_str(&text);
            }
            ValueKind::Undefined => self.out.push_str("Undefined"),
            ValueKind::Seq | ValueKind::Iterable => {
                let is_tuple = value.is_tuple();
                self.out.push(if is_tuple { '(' } else { '[' });
                let mut count = 0;
                for item in value.try_iter()? {
                    if count > 0 {
                        self.out.push_str(", ");
                    }
                    self.write(&item, depth + 1)?;
                    count += 1;
                }
                self.out.push_str(match (is_tuple, count) {
                    (true, 1) => ",)",
                    (true, _) => ")",
                    (false, _) => "]",
                });
            }
            ValueKind::Map => {
                self.out.push('{');
                for (index, key) in value.try_iter()?.enumerate() {
                    if index > 0 {
                        self.out.push_str(", ");
                    }
                    self.write(&key, depth + 1)?;
                    self.out.push_str(": ");
                    self.write(&value.get_item(&key)?, depth + 1)?;
                }
                self.out.push('}');
            }
            _ => {
                let _ = write!(self.out, "{value}");
            }
        }
        let unpaid = self.out.len() - std::mem::replace(&mut self.paid, self.out.len());
        charge(self.state, unpaid)
    }
}

/// Writes Python's `repr` of a string: single quotes unless only those are inside, escapes for what cannot be
/// printed.
fn repr_str(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c => {
                let code = u32::from(c);
                let _ = match code {
                    0..=0xFF => write!(out, "\\x{code:02x}"),
                    0x100..=0xFFFF => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

/// `str.isprintable` for the characters that text has in practice; unassigned ones pass as printable.
fn is_printable(c: char) -> bool {
    c == ' '
        || !(c.is_control()
            || c.is_whitespace()
            || matches!(c,
                '\u{AD}' | '\u{600}'..='\u{605}' | '\u{61C}' | '\u{6DD}' | '\u{70F}' | '\u{180E}'
                | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}'
                | '\u{FFF9}'..='\u{FFFB}' | '\u{E000}'..='\u{F8FF}' | '\u{E0000}'..='\u{E0FFF}'
                | '\u{F0000}'..='\u{10FFFF}'))
}

/// `str.strip`.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `str.isspace` of one character; Python counts four separators that Unicode's White_Space does not.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1C}'..='\u{1F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_does() {
        let expected = [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (-0.0, "-0.0"),
            (f64::INFINITY, "inf"),
        ];
        for (value, text) in expected {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn strings_are_quoted_as_python_does() {
        let expected =
            [("a", "'a'"), ("it's", "\"it's\""), ("'\"", "'\\'\"'"), ("\n\u{1b}\u{a0}é", "'\\n\\x1b\\xa0é'")];
        for (text, expected) in expected {
            let mut out = String::new();
            repr_str(text, &mut out);
            assert_eq!(out, expected);
        }
    }
}
