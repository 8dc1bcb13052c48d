use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, State, Value};

use super::python::{self, charge, check_depth, error};

/// `json.dumps` with the arguments that transformers lets through.
pub(super) fn to_json(
    state: &State,
    value: &Value,
    indent: Option<Value>,
    options: Kwargs,
) -> Result<String, Error> {
    // Positional arguments come in Python's order, of which templates use none but by mistake.
    let ensure_ascii = match indent {
        Some(value) => value.is_true(),
        None => options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
    };
    let indent = match options.get::<Option<Value>>("indent")? {
        Some(value) if value.is_none() || value.is_undefined() => None,
        Some(value) => match (value.as_str(), value.as_i64()) {
            (Some(text), _) => Some(text.to_owned()),
            (None, Some(1001..)) => return Err(error("tojson: an indent of more than 1000")),
            (None, Some(count)) => Some(" ".repeat(usize::try_from(count).unwrap_or(0))),
            (None, None) => return Err(error("tojson: indent is a number or a string")),
        },
        None => None,
    };
    let separators = match options.get::<Option<Value>>("separators")? {
        Some(value) if !value.is_none() => {
            let items: Vec<Value> = value.try_iter()?.take(3).collect();
            match items.as_slice() {
                [item, key] => (item.to_string(), key.to_string()),
                _ => return Err(error("tojson: separators are two strings")),
            }
        }
        _ if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        _ => (", ".to_owned(), ": ".to_owned()),
    };
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let mut json = Json { state, ensure_ascii, indent, separators, sort_keys, out: String::new(), paid: 0 };
    json.write(value, 0)?;
    Ok(json.out)
}

struct Json<'a, 'b, 'c> {
    state: &'a State<'b, 'c>,
    ensure_ascii: bool,
    indent: Option<String>,
    /// Between items, and between a key and its value.
    separators: (String, String),
    sort_keys: bool,
    out: String,
    /// How much of it is paid for.
    paid: usize,
}

impl Json<'_, '_, '_> {
    fn write(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        check_depth(depth)?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.write_str(value.as_str().unwrap_or_default())?,
            ValueKind::Seq => {
                self.out.push('[');
                let mut count = 0;
                for item in value.try_iter()? {
                    self.next_item(count, depth + 1);
                    self.write(&item, depth + 1)?;
                    count += 1;
                }
                self.close(count, depth, ']');
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    charge(self.state, keys.len().saturating_mul(64))?;
                    keys.sort();
                }
                self.out.push('{');
                for (index, key) in keys.iter().enumerate() {
                    self.next_item(index, depth + 1);
                    match key.kind() {
                        ValueKind::String => self.write_str(key.as_str().unwrap_or_default())?,
                        ValueKind::None => self.out.push_str("\"null\""),
                        ValueKind::Bool => {
                            self.out.push_str(if key.is_true() { "\"true\"" } else { "\"false\"" });
                        }
                        ValueKind::Number => self.write_str(&number(key))?,
                        other => return Err(error(format!("tojson: a key cannot be of type {other}"))),
                    }
                    self.out.push_str(&self.separators.1);
                    self.write(&value.get_item(key)?, depth + 1)?;
                }
                self.close(keys.len(), depth, '}');
            }
            other => return Err(error(format!("tojson: a value of type {other} is not JSON"))),
        }
        let unpaid = self.out.len() - std::mem::replace(&mut self.paid, self.out.len());
        charge(self.state, unpaid)
    }

    fn next_item(&mut self, index: usize, depth: usize) {
        if index > 0 {
            self.out.push_str(&self.separators.0);
        }
        self.new_line(depth);
    }

    fn close(&mut self, count: usize, depth: usize, bracket: char) {
        if count > 0 {
            self.new_line(depth);
        }
        self.out.push(bracket);
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    }

    fn write_str(&mut self, text: &str) -> Result<(), Error> {
        // An escape is paid for before it is written; it can take six times the place.
        let escapes = text.bytes().filter(|b| *b < b' ' || (self.ensure_ascii && !b.is_ascii())).count();
        charge(self.state, escapes.saturating_mul(6))?;
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' '
                    || (self.ensure_ascii && !c.is_ascii())
                    || c == '\u{7f}' && self.ensure_ascii =>
                {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
        Ok(())
    }
}

/// A number as `json.dumps` writes it.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    match f64::try_from(value.clone()) {
        Ok(float) if float.is_nan() => "NaN".into(),
        Ok(float) if float.is_infinite() => if float > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        Ok(float) => python::float(float),
        Err(_) => value.to_string(),
    }
}
