//! Attributes of ops in a form that text, rules and plans share.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::Dim;

/// A float that can be compared and hashed: by its bits, so that `NaN` equals itself and `0.0 != -0.0`.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Float(pub f64);

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Float {}

impl Hash for Float {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl PartialOrd for Float {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Float {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl fmt::Debug for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Attr {
    /// `true` or `false`.
    Bool(bool),
    /// An integer, `-1`.
    Int(i64),
    /// A float, always with a point or an exponent: `1e-6`, `8.0`.
    Float(Float),
    /// A bare word, `llama3`.
    Name(String),
    /// A list of dims or integers, `[T, 64]`.
    Dims(Vec<Dim>),
    /// A list of floats, each with a point or an exponent: `[1.0, 2.5]`. Not empty.
    Floats(Vec<Float>),
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attr::Bool(value) => write!(f, "{value}"),
            Attr::Int(value) => write!(f, "{value}"),
            Attr::Float(value) => write!(f, "{value:?}"),
            Attr::Name(name) => f.write_str(name),
            Attr::Dims(dims) => list(f, dims, |dim, f| write!(f, "{dim}")),
            Attr::Floats(floats) => list(f, floats, |float, f| write!(f, "{float:?}")),
        }
    }
}

fn list<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    show: impl Fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    f.write_str("[")?;
    for (at, item) in items.iter().enumerate() {
        f.write_str(if at > 0 { ", " } else { "" })?;
        show(item, f)?;
    }
    f.write_str("]")
}

/// Attributes by name, in the order in which they print.
pub type Attrs = Vec<(&'static str, Attr)>;

/// Why attributes do not fit an op.
///
/// What to do: mend the attribute where the op stands; docs/ir.md has the ops.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttrError {
    /// A required attribute is not given.
    #[error("attribute `{0}` is missing")]
    Missing(&'static str),
    /// The op has no such attribute.
    #[error("unknown attribute `{name}`: expected {}", if .expected.is_empty() { "none".to_owned() } else { .expected.join(", ") })]
    Unknown {
        /// The name given.
        name: String,
        /// The names it has.
        expected: Vec<&'static str>,
    },
    /// The attribute is of another kind or outside its range.
    #[error("attribute `{name}`: expected {expected}, found `{found}`")]
    Bad {
        /// Its name.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

/// Takes attributes out of a list by name; what is left over at the end is an error.
pub struct AttrReader<'a> {
    given: &'a [(String, Attr)],
    asked: Vec<&'static str>,
}

impl<'a> AttrReader<'a> {
    /// Reads from `given`.
    pub fn new(given: &'a [(String, Attr)]) -> Self {
        AttrReader { given, asked: Vec::new() }
    }

    /// The attribute, if given.
    pub fn optional(&mut self, name: &'static str) -> Option<&'a Attr> {
        self.asked.push(name);
        self.given.iter().find(|(given, _)| given == name).map(|(_, attr)| attr)
    }

    /// The attribute.
    pub fn required(&mut self, name: &'static str) -> Result<&'a Attr, AttrError> {
        self.optional(name).ok_or(AttrError::Missing(name))
    }

    /// A boolean, `false` if absent.
    pub fn flag(&mut self, name: &'static str) -> Result<bool, AttrError> {
        match self.optional(name) {
            None => Ok(false),
            Some(Attr::Bool(value)) => Ok(*value),
            Some(other) => Err(bad(name, "true or false", other)),
        }
    }

    /// An integer.
    pub fn int(&mut self, name: &'static str) -> Result<i64, AttrError> {
        match self.required(name)? {
            Attr::Int(value) => Ok(*value),
            other => Err(bad(name, "an integer", other)),
        }
    }

    /// An integer from 1 to 2^31, if given.
    pub fn optional_size(&mut self, name: &'static str) -> Result<Option<u32>, AttrError> {
        match self.optional(name) {
            None => Ok(None),
            Some(Attr::Int(value @ 1..=0x8000_0000)) => Ok(Some(*value as u32)),
            Some(other) => Err(bad(name, "an integer from 1 to 2^31", other)),
        }
    }

    /// An integer from 1 to 2^31.
    pub fn size(&mut self, name: &'static str) -> Result<u32, AttrError> {
        self.optional_size(name)?.ok_or(AttrError::Missing(name))
    }

    /// A finite float (an integer will do), if given.
    pub fn optional_float(&mut self, name: &'static str) -> Result<Option<Float>, AttrError> {
        match self.optional(name) {
            None => Ok(None),
            Some(Attr::Float(value)) if value.0.is_finite() => Ok(Some(*value)),
            Some(Attr::Int(value)) => Ok(Some(Float(*value as f64))),
            Some(other) => Err(bad(name, "a finite number", other)),
        }
    }

    /// A finite float.
    pub fn float(&mut self, name: &'static str) -> Result<Float, AttrError> {
        self.optional_float(name)?.ok_or(AttrError::Missing(name))
    }

    /// A bare word.
    pub fn name(&mut self, name: &'static str) -> Result<&'a str, AttrError> {
        match self.required(name)? {
            Attr::Name(word) => Ok(word),
            other => Err(bad(name, "a word", other)),
        }
    }

    /// A list of dims.
    pub fn dims(&mut self, name: &'static str) -> Result<Vec<Dim>, AttrError> {
        match self.required(name)? {
            Attr::Dims(dims) => Ok(dims.clone()),
            other => Err(bad(name, "a list of dims", other)),
        }
    }

    /// A list of finite floats; integers will do.
    pub fn floats(&mut self, name: &'static str) -> Result<Vec<Float>, AttrError> {
        const EXPECTED: &str = "a list of finite numbers";
        let attr = self.required(name)?;
        match attr {
            Attr::Floats(floats) if floats.iter().all(|float| float.0.is_finite()) => Ok(floats.clone()),
            Attr::Dims(dims) => {
                let number = |dim: &Dim| dim.as_const().map(|int| Float(int as f64));
                dims.iter().map(|dim| number(dim).ok_or_else(|| bad(name, EXPECTED, attr))).collect()
            }
            other => Err(bad(name, EXPECTED, other)),
        }
    }

    /// A dim, written as a list of one.
    pub fn dim(&mut self, name: &'static str) -> Result<Dim, AttrError> {
        let attr = self.required(name)?;
        match attr {
            Attr::Dims(dims) if dims.len() == 1 => Ok(dims[0].clone()),
            other => Err(bad(name, "a list of one dim", other)),
        }
    }

    /// A list of integers.
    pub fn ints(&mut self, name: &'static str) -> Result<Vec<i64>, AttrError> {
        let attr = self.required(name)?;
        let Attr::Dims(dims) = attr else { return Err(bad(name, "a list of integers", attr)) };
        dims.iter().map(|dim| dim.as_const().ok_or_else(|| bad(name, "a list of integers", attr))).collect()
    }

    /// Refuses attributes that nobody asked for.
    pub fn finish(self) -> Result<(), AttrError> {
        match self.given.iter().find(|(name, _)| !self.asked.iter().any(|asked| asked == name)) {
            None => Ok(()),
            Some((name, _)) => Err(AttrError::Unknown { name: name.clone(), expected: self.asked }),
        }
    }
}

/// The error for an attribute that is not what is `expected`.
pub fn bad(name: &'static str, expected: &'static str, found: &Attr) -> AttrError {
    AttrError::Bad { name, expected, found: found.to_string() }
}
