//! Typed access to the keys of a config file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::nearest::nearest;

/// What a size of a model may be: dims, vocabulary, positions.
pub const SIZES: RangeInclusive<u64> = 1..=1 << 31;
/// How many layers a model may have.
pub const LAYERS: RangeInclusive<u64> = 1..=4096;
/// What the id of a token may be.
pub const TOKEN_IDS: RangeInclusive<u64> = 0..=i32::MAX as u64;

/// The keys of a config file, read by type.
///
/// A key is a path with dots through nested objects, such as `rope_parameters.factor`. `null` and a
/// missing key are the same. Getters come in pairs: `u64` wants the key, `opt_u64` does not; both give
/// an error when it is there with another type or out of range.
#[derive(Debug)]
pub struct Fields {
    path: PathBuf,
    root: Map<String, Value>,
    /// Canonical path to the path in the file, where they differ.
    spellings: BTreeMap<String, String>,
}

/// What [`Fields::leaves`] does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Leaves it out, with all that is inside.
    Skip,
    /// Takes it as it is, even if it is an object.
    Take,
    /// Takes it if it is no object, else what is inside.
    Enter,
}

/// Why a config file cannot be used.
///
/// What to do: mend the place named, or download the file again.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The operating system refused.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it says.
        reason: io::Error,
    },
    /// A directory, device or pipe.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// What was found.
        path: PathBuf,
    },
    /// Larger than any config.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// Not the JSON that is accepted.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// A key that is needed is not there.
    #[error("{}: `{key}` is missing: expected {expected}{}", path.display(), Similar(similar))]
    Missing {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What its value should be.
        expected: String,
        /// A key of the file with almost this name.
        similar: Option<String>,
    },
    /// A value of the wrong type.
    #[error("{}: `{key}`: expected {expected}, found {found}", path.display())]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The key, as the file spells it.
        key: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A number outside the range that makes sense.
    #[error("{}: `{key}`: expected {expected}, found {found}", path.display())]
    OutOfRange {
        /// The file.
        path: PathBuf,
        /// The key, as the file spells it.
        key: String,
        /// The range.
        expected: String,
        /// The number.
        found: String,
    },
    /// Two spellings of one setting that say different things.
    #[error("{}: `{key}` and `{other}` disagree: remove one", path.display())]
    Conflict {
        /// The file.
        path: PathBuf,
        /// One key.
        key: String,
        /// The other.
        other: String,
    },
}

impl Fields {
    pub(super) fn new(path: &Path, root: Map<String, Value>, spellings: BTreeMap<String, String>) -> Self {
        Fields { path: path.to_owned(), root, spellings }
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The value of a key, whatever its type; `None` if missing or `null`.
    ///
    /// Errors: [`ConfigError::WrongType`] if what should be an object on the way is none.
    pub fn value(&self, key: &str) -> Result<Option<&Value>, ConfigError> {
        self.find(key).map_err(|(outer, value)| self.wrong_type(outer, "an object", value))
    }

    /// Whether the key is there and not `null`.
    pub fn has(&self, key: &str) -> bool {
        matches!(self.find(key), Ok(Some(_)))
    }

    /// Whether the key is there and `null`, which some config classes tell from a missing key.
    pub fn is_null(&self, key: &str) -> bool {
        let mut map = &self.root;
        let mut parts = key.split('.').peekable();
        while let Some(part) = parts.next() {
            match map.get(part) {
                Some(Value::Object(object)) => map = object,
                Some(Value::Null) => return parts.peek().is_none(),
                Some(_) | None => return false,
            }
        }
        false
    }

    /// An integer in a range.
    pub fn u64(&self, key: &str, range: RangeInclusive<u64>) -> Result<u64, ConfigError> {
        let expected = || integer_in(&range);
        self.opt_u64(key, range.clone())?.ok_or_else(|| self.missing(key, expected()))
    }

    /// An integer in a range, or none.
    pub fn opt_u64(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, ConfigError> {
        self.value(key)?.map(|value| self.to_u64(key, value, &range)).transpose()
    }

    /// A number in a range. Integers are numbers too.
    pub fn f64(&self, key: &str, range: RangeInclusive<f64>) -> Result<f64, ConfigError> {
        let expected = || number_in(&range);
        self.opt_f64(key, range.clone())?.ok_or_else(|| self.missing(key, expected()))
    }

    /// A number in a range, or none.
    pub fn opt_f64(&self, key: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, ConfigError> {
        self.value(key)?.map(|value| self.to_f64(key, value, &range)).transpose()
    }

    /// A truth value.
    pub fn bool(&self, key: &str) -> Result<bool, ConfigError> {
        self.opt_bool(key)?.ok_or_else(|| self.missing(key, "true or false"))
    }

    /// A truth value, or none.
    pub fn opt_bool(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        let Some(value) = self.value(key)? else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong_type(key, "true or false", value))
    }

    /// A string.
    pub fn str(&self, key: &str) -> Result<&str, ConfigError> {
        self.opt_str(key)?.ok_or_else(|| self.missing(key, "a string"))
    }

    /// A string, or none.
    pub fn opt_str(&self, key: &str) -> Result<Option<&str>, ConfigError> {
        let Some(value) = self.value(key)? else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong_type(key, "a string", value))
    }

    /// An object, or none.
    pub fn opt_object(&self, key: &str) -> Result<Option<&Map<String, Value>>, ConfigError> {
        let Some(value) = self.value(key)? else { return Ok(None) };
        value.as_object().map(Some).ok_or_else(|| self.wrong_type(key, "an object", value))
    }

    /// A list of strings, or none.
    pub fn opt_str_list(&self, key: &str) -> Result<Option<Vec<&str>>, ConfigError> {
        self.opt_list(key, |key, item| item.as_str().ok_or_else(|| self.wrong_type(key, "a string", item)))
    }

    /// A list of integers in a range, or none.
    pub fn opt_u64_list(
        &self,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<Vec<u64>>, ConfigError> {
        self.opt_list(key, |key, item| self.to_u64(key, item, &range))
    }

    /// A list of numbers in a range, or none.
    pub fn opt_f64_list(
        &self,
        key: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<Vec<f64>>, ConfigError> {
        self.opt_list(key, |key, item| self.to_f64(key, item, &range))
    }

    /// Path and value of every leaf, in the order of the file; `null` is never among them. `visit` says of
    /// each key on the way what is done with it.
    pub fn leaves(&self, visit: &dyn Fn(&str) -> Visit) -> Vec<(String, &Value)> {
        let mut leaves = Vec::new();
        collect("", &self.root, visit, &mut leaves);
        leaves
    }

    /// How the file spells a key, or would: a key that is not there is named as those beside it are.
    pub fn spelling<'a>(&'a self, key: &'a str) -> Cow<'a, str> {
        if let Some(spelling) = self.spellings.get(key) {
            return Cow::Borrowed(spelling);
        }
        match key.rsplit_once('.') {
            None => Cow::Borrowed(key),
            Some((object, rest)) => match self.spelling(object) {
                Cow::Borrowed(same) if same == object => Cow::Borrowed(key),
                spelling => Cow::Owned(format!("{spelling}.{rest}")),
            },
        }
    }

    /// Follows a path. The error is what stands in the way of going further, and where.
    fn find<'a, 'k>(&'a self, key: &'k str) -> Result<Option<&'a Value>, (&'k str, &'a Value)> {
        let mut map = &self.root;
        let mut start = 0;
        while let Some(dot) = key[start..].find('.') {
            let end = start + dot;
            match map.get(&key[start..end]) {
                None | Some(Value::Null) => return Ok(None),
                Some(Value::Object(object)) => map = object,
                Some(other) => return Err((&key[..end], other)),
            }
            start = end + 1;
        }
        Ok(map.get(&key[start..]).filter(|value| !value.is_null()))
    }

    fn opt_list<'a, T>(
        &'a self,
        key: &str,
        item: impl Fn(&str, &'a Value) -> Result<T, ConfigError>,
    ) -> Result<Option<Vec<T>>, ConfigError> {
        let Some(value) = self.value(key)? else { return Ok(None) };
        let list = value.as_array().ok_or_else(|| self.wrong_type(key, "a list", value))?;
        let items = list.iter().enumerate().map(|(i, value)| item(&format!("{key}[{i}]"), value));
        items.collect::<Result<_, _>>().map(Some)
    }

    pub(super) fn to_u64(
        &self,
        key: &str,
        value: &Value,
        range: &RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        match value.as_u64() {
            Some(number) if range.contains(&number) => Ok(number),
            None if !value.is_i64() => Err(self.wrong_type(key, &integer_in(range), value)),
            Some(_) | None => Err(self.out_of_range(key, integer_in(range), value)),
        }
    }

    fn to_f64(&self, key: &str, value: &Value, range: &RangeInclusive<f64>) -> Result<f64, ConfigError> {
        match value.as_f64() {
            Some(number) if range.contains(&number) => Ok(number),
            Some(_) => Err(self.out_of_range(key, number_in(range), value)),
            None => Err(self.wrong_type(key, &number_in(range), value)),
        }
    }

    fn missing(&self, key: &str, expected: impl Into<String>) -> ConfigError {
        ConfigError::Missing {
            path: self.path.clone(),
            key: self.spelling(key).into_owned(),
            expected: expected.into(),
            similar: nearest(key, self.root.keys().map(String::as_str)).map(str::to_owned),
        }
    }

    pub(super) fn wrong_type(&self, key: &str, expected: &str, value: &Value) -> ConfigError {
        ConfigError::WrongType {
            path: self.path.clone(),
            key: self.spelling(key).into_owned(),
            expected: expected.to_owned(),
            found: describe(value),
        }
    }

    fn out_of_range(&self, key: &str, expected: String, value: &Value) -> ConfigError {
        ConfigError::OutOfRange {
            path: self.path.clone(),
            key: self.spelling(key).into_owned(),
            expected,
            found: describe(value),
        }
    }
}

fn collect<'a>(
    prefix: &str,
    map: &'a Map<String, Value>,
    visit: &dyn Fn(&str) -> Visit,
    leaves: &mut Vec<(String, &'a Value)>,
) {
    for (key, value) in map {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match (visit(&key), value) {
            (_, Value::Null) | (Visit::Skip, _) => {}
            (Visit::Enter, Value::Object(inner)) if !inner.is_empty() => collect(&key, inner, visit, leaves),
            (Visit::Enter | Visit::Take, value) => leaves.push((key, value)),
        }
    }
}

/// A value in few words.
pub(super) fn describe(value: &Value) -> String {
    const SHOWN: usize = 40;
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.chars().count() > SHOWN => {
            format!("{:?}…", text.chars().take(SHOWN).collect::<String>())
        }
        Value::String(text) => format!("{text:?}"),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn integer_in(range: &RangeInclusive<u64>) -> String {
    format!("an integer from {} to {}", range.start(), range.end())
}

fn number_in(range: &RangeInclusive<f64>) -> String {
    match (*range.start(), *range.end()) {
        (f64::MIN, f64::MAX) => "a number".to_owned(),
        (f64::MIN_POSITIVE, f64::MAX) => "a number above 0".to_owned(),
        (f64::MIN_POSITIVE, end) => format!("a number above 0 and up to {end}"),
        (start, f64::MAX) => format!("a number from {start}"),
        (start, end) => format!("a number from {start} to {end}"),
    }
}

/// The hint at the end of [`ConfigError::Missing`].
struct Similar<'a>(&'a Option<String>);

impl fmt::Display for Similar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(key) => write!(f, "; is `{key}` a misspelling of it?"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Fields {
        let Value::Object(map) = value else { panic!("not an object") };
        Fields::new(Path::new("c.json"), map, BTreeMap::from([("o.x".to_owned(), "old_x".to_owned())]))
    }

    #[test]
    fn reads_by_type() {
        let fields = fields(json!({
            "u": 3, "f": 1e-6, "i": 10000, "b": true, "s": "x", "n": null,
            "l": [1, 2], "ls": ["a"], "o": {"x": 5, "deep": {"y": 0.5}}
        }));
        assert_eq!(fields.u64("u", SIZES).unwrap(), 3);
        assert_eq!(fields.f64("f", 0.0..=1.0).unwrap(), 1e-6);
        assert_eq!(fields.f64("i", f64::MIN..=f64::MAX).unwrap(), 10000.0);
        assert!(fields.bool("b").unwrap());
        assert_eq!(fields.str("s").unwrap(), "x");
        assert_eq!(fields.opt_u64("n", SIZES).unwrap(), None);
        assert_eq!(fields.opt_bool("absent").unwrap(), None);
        assert_eq!(fields.opt_u64_list("l", SIZES).unwrap(), Some(vec![1, 2]));
        assert_eq!(fields.opt_f64_list("l", 0.0..=9.0).unwrap(), Some(vec![1.0, 2.0]));
        assert_eq!(fields.opt_str_list("ls").unwrap(), Some(vec!["a"]));
        assert_eq!(fields.u64("o.x", SIZES).unwrap(), 5);
        assert_eq!(fields.f64("o.deep.y", 0.0..=1.0).unwrap(), 0.5);
        assert_eq!(fields.opt_u64("o.absent.z", SIZES).unwrap(), None);
        assert!(fields.has("o.deep.y") && !fields.has("n") && !fields.has("u.z"));
    }

    #[test]
    fn names_key_expectation_and_value() {
        let fields = fields(json!({
            "u": -3, "f": 2.5, "s": 7, "big": 1u64 << 40, "huge": 1.8e19, "b": "yes", "l": [1, "x"],
            "hiden_size": 64, "o": {"x": []}, "long": "é".repeat(100)
        }));
        let cases = [
            (fields.u64("u", SIZES).unwrap_err(), "`u`: expected an integer from 1 to 2147483648, found -3"),
            (fields.u64("f", SIZES).unwrap_err(), "found 2.5"),
            (fields.u64("big", SIZES).unwrap_err(), "found 1099511627776"),
            (fields.u64("huge", SIZES).unwrap_err(), "found 1.8e+19"),
            (fields.f64("f", 0.0..=1.0).unwrap_err(), "`f`: expected a number from 0 to 1, found 2.5"),
            (fields.f64("b", f64::MIN_POSITIVE..=f64::MAX).unwrap_err(), "a number above 0, found \"yes\""),
            (fields.opt_str("s").unwrap_err(), "`s`: expected a string, found 7"),
            (fields.opt_bool("b").unwrap_err(), "expected true or false, found \"yes\""),
            (fields.opt_u64_list("l", SIZES).unwrap_err(), "`l[1]`: expected an integer"),
            (fields.opt_u64_list("s", SIZES).unwrap_err(), "expected a list, found 7"),
            (fields.u64("hidden_size", SIZES).unwrap_err(), "`hidden_size` is missing: expected an integer"),
            (fields.u64("hidden_size", SIZES).unwrap_err(), "is `hiden_size` a misspelling of it?"),
            (fields.bool("nothing_like_it").unwrap_err(), "c.json: `nothing_like_it` is missing"),
            (fields.u64("o.x", SIZES).unwrap_err(), "`old_x`: expected an integer"),
            (fields.u64("s.x", SIZES).unwrap_err(), "`s`: expected an object, found 7"),
            (fields.bool("long").unwrap_err(), "é\"…"),
        ];
        for (error, expected) in cases {
            assert!(error.to_string().contains(expected), "{error}: {expected}");
        }
    }

    #[test]
    fn gives_the_leaves_that_are_wanted() {
        let fields = fields(json!({
            "hidden_size": 1, "use_cache": true, "o": {"x": 1, "y": 2}, "whole": {"a": 1}, "n": null, "new": {}
        }));
        let leaves = fields.leaves(&|key| match key {
            "hidden_size" | "o.y" => Visit::Skip,
            "whole" => Visit::Take,
            _ => Visit::Enter,
        });
        assert_eq!(
            Vec::from_iter(leaves.iter().map(|(key, _)| key.as_str())),
            ["use_cache", "o.x", "whole", "new"]
        );
        assert_eq!(*leaves[2].1, json!({"a": 1}));
    }

    #[test]
    fn keys_that_are_not_there_are_spelt_as_their_neighbours() {
        let spellings = [("o", "old"), ("o.x", "old_x")];
        let spellings = spellings.map(|(key, old)| (key.to_owned(), old.to_owned()));
        let fields = Fields::new(Path::new("c.json"), Map::new(), BTreeMap::from(spellings));
        assert_eq!(fields.spelling("o.x"), "old_x");
        assert_eq!(fields.spelling("o.y.z"), "old.y.z");
        assert_eq!(fields.spelling("a.b"), "a.b");
    }
}
