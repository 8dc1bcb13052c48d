//! Values of configs and expressions.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

/// What an expression computes with: the value of a config key, or what was made of some.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// Nothing: `null`, or a key that is not there and has no default.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A finite number.
    Float(f64),
    /// A text.
    Str(Arc<str>),
    /// A list.
    List(Arc<[Setting]>),
    /// An object, of which only its being there is known.
    Object,
}

impl Setting {
    /// The setting that a value of a config file is.
    pub fn from_json(value: &Value) -> Setting {
        match value {
            Value::Null => Setting::Null,
            Value::Bool(value) => Setting::Bool(*value),
            Value::Number(number) => match number.as_i64() {
                Some(int) => Setting::Int(int),
                None => Setting::Float(number.as_f64().unwrap_or(f64::MAX)),
            },
            Value::String(text) => Setting::Str(Arc::from(text.as_str())),
            Value::Array(items) => Setting::List(items.iter().map(Setting::from_json).collect()),
            Value::Object(_) => Setting::Object,
        }
    }

    /// The number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Setting::Int(int) => Some(*int as f64),
            Setting::Float(float) => Some(*float),
            Setting::Null | Setting::Bool(_) | Setting::Str(_) | Setting::List(_) | Setting::Object => None,
        }
    }

    /// How much of it there is to compare: items of lists, at every depth, and pieces of long texts.
    pub(super) fn items(&self) -> u64 {
        match self {
            Setting::Str(text) => 1 + text.len() as u64 / 64,
            Setting::List(items) => 1 + items.iter().map(Setting::items).sum::<u64>(),
            Setting::Null | Setting::Bool(_) | Setting::Int(_) | Setting::Float(_) | Setting::Object => 1,
        }
    }

    /// Whether both are the same value, 8 and 8.0 being the same number.
    pub fn equals(&self, other: &Setting) -> bool {
        match (self, other) {
            (Setting::Int(a), Setting::Int(b)) => a == b,
            (Setting::List(a), Setting::List(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.equals(b))
            }
            (Setting::Object, _) | (_, Setting::Object) => false,
            (a, b) => match (a.as_f64(), b.as_f64()) {
                (Some(a), Some(b)) => a == b,
                (_, _) => a == b,
            },
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::Null => f.write_str("null"),
            Setting::Bool(value) => write!(f, "{value}"),
            Setting::Int(value) => write!(f, "{value}"),
            Setting::Float(value) => write!(f, "{value:?}"),
            Setting::Str(text) => match text.char_indices().nth(MAX_SHOWN) {
                Some((end, _)) => write!(f, "{:?}...", &text[..end]),
                None => write!(f, "{text:?}"),
            },
            Setting::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().take(MAX_ITEMS).enumerate() {
                    write!(f, "{}{item}", if at > 0 { ", " } else { "" })?;
                }
                match items.len() > MAX_ITEMS {
                    true => write!(f, ", ...] of {} items", items.len()),
                    false => f.write_str("]"),
                }
            }
            Setting::Object => f.write_str("an object"),
        }
    }
}

/// How much of a text and of a list a message shows.
const MAX_SHOWN: usize = 60;
const MAX_ITEMS: usize = 6;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_of_both_kinds_are_equal() {
        assert!(Setting::Int(8).equals(&Setting::Float(8.0)));
        assert!(Setting::from_json(&json!([1, 2.0])).equals(&Setting::from_json(&json!([1.0, 2]))));
        assert!(!Setting::Bool(true).equals(&Setting::Int(1)));
        assert!(!Setting::Object.equals(&Setting::Object));
    }

    #[test]
    fn shows_a_bounded_part() {
        let long = Setting::from_json(&json!(["x".repeat(1000)]));
        assert!(long.to_string().len() < 100);
        assert_eq!(Setting::from_json(&json!(vec![0; 9])).to_string(), "[0, 0, 0, 0, 0, 0, ...] of 9 items");
    }
}
