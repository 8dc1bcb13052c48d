//! YAML as a tree in which every part knows its place.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned, UserMessageFormatter};

use super::setting::Setting;
use crate::hf::nearest;

/// Largest family file, in bytes.
const MAX_BYTES: usize = 1 << 16;

/// A place in a YAML file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Place {
    /// Line, from 1; 0 if it is not known.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// Why a family file cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{file}:{}:{}: {problem}", place.line, place.column)]
pub struct FamilyError {
    /// The file.
    pub file: String,
    /// Where in it.
    pub place: Place,
    /// What is wrong there.
    pub problem: Box<FamilyProblem>,
}

/// What can be wrong with a family file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FamilyProblem {
    /// Not YAML, or more of it than is accepted.
    #[error("{0}")]
    Yaml(String),
    /// A key that means nothing there.
    #[error("unknown key `{key}`{}: expected {}", similar(nearest), .expected.join(", "))]
    UnknownKey {
        /// The key.
        key: String,
        /// The key that was probably meant.
        nearest: Option<String>,
        /// The keys that mean something there.
        expected: Vec<String>,
    },
    /// A key that has to be there is not.
    #[error("`{0}` is missing")]
    Missing(String),
    /// A key stands there twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// A value of another kind.
    #[error("expected {expected}, found {found}")]
    Kind {
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A name that stands for nothing.
    #[error("there is no {what} `{name}`{}: expected one of {}", similar(nearest), .expected.join(", "))]
    Unknown {
        /// What it should be the name of.
        what: &'static str,
        /// The name.
        name: String,
        /// The name that was probably meant.
        nearest: Option<String>,
        /// The names that there are.
        expected: Vec<String>,
    },
    /// A block that does not fit its slot.
    #[error("slot `{slot}` takes a block that {expected}: one of {}", .blocks.join(", "))]
    WrongBlock {
        /// The slot.
        slot: String,
        /// What it takes.
        expected: &'static str,
        /// The blocks that do.
        blocks: Vec<String>,
    },
    /// A slot that no step uses.
    #[error("no step uses slot `{0}`")]
    UnusedSlot(String),
    /// A path that is no template over the layers.
    #[error(transparent)]
    Template(#[from] mscc_ir::template::BadTemplate),
    /// A broken expression.
    #[error(transparent)]
    Expr(#[from] super::expr::ExprError),
}

fn similar(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or(String::new(), |name| format!(", did you mean `{name}`?"))
}

impl FamilyProblem {
    /// A name that is none of `expected`.
    pub(super) fn unknown<'a>(
        what: &'static str,
        name: &str,
        expected: impl IntoIterator<Item = &'a str> + Clone,
    ) -> FamilyProblem {
        FamilyProblem::Unknown {
            what,
            name: name.to_owned(),
            nearest: nearest(name, expected.clone()).map(str::to_owned),
            expected: expected.into_iter().map(str::to_owned).collect(),
        }
    }
}

/// A problem with its place, before the file is known.
pub(super) type Located<T> = Result<T, (Place, FamilyProblem)>;

/// A part of a YAML document.
#[derive(Clone, Debug)]
pub struct Yaml {
    /// Where it stands.
    pub place: Place,
    /// What stands there.
    pub content: Content,
}

/// What a part of a YAML document is.
#[derive(Clone, Debug)]
pub enum Content {
    /// A value.
    Scalar(Setting),
    /// A list.
    List(Vec<Yaml>),
    /// A mapping.
    Map(Map),
}

/// A mapping of a YAML document.
#[derive(Clone, Debug, Default)]
pub struct Map {
    /// Where it stands.
    pub place: Place,
    /// Key, its place and its value, in the order of the file; no key is there twice.
    pub entries: Vec<(String, Place, Yaml)>,
}

impl Yaml {
    /// Reads a document of at most 64 KiB.
    ///
    /// Errors: what is wrong, and where: no YAML, several documents, a key twice, a number that is none.
    pub fn read(text: &str) -> Result<Yaml, (Place, String)> {
        Yaml::parse(text).map_err(|(place, problem)| (place, problem.to_string()))
    }

    /// As [`Yaml::read`], for the text of a family.
    pub(super) fn parse(text: &str) -> Located<Yaml> {
        if text.len() > MAX_BYTES {
            let message = format!("larger than {MAX_BYTES} bytes");
            return Err((Place { line: 1, column: 1 }, FamilyProblem::Yaml(message)));
        }
        let root: Spanned<Bare> = serde_saphyr::from_str(text).map_err(|error| {
            let place = error.location().map_or(Place { line: 1, column: 1 }, |at| Place::from(&at));
            let problem = in_words(error.without_snippet());
            let place = if problem == TAB { tab(text, place) } else { place };
            (place, FamilyProblem::Yaml(problem))
        })?;
        root.into_yaml()
    }

    /// Its entries.
    pub(super) fn map(&self) -> Located<&Map> {
        match &self.content {
            Content::Map(map) => Ok(map),
            _ => Err(self.kind("a mapping")),
        }
    }

    /// Its items.
    pub(super) fn list(&self) -> Located<&[Yaml]> {
        match &self.content {
            Content::List(items) => Ok(items),
            _ => Err(self.kind("a list")),
        }
    }

    /// Its text.
    pub(super) fn str(&self) -> Located<&str> {
        match &self.content {
            Content::Scalar(Setting::Str(text)) => Ok(text),
            _ => Err(self.kind("a text")),
        }
    }

    /// Its items, which are texts.
    pub(super) fn strs(&self) -> Located<Vec<String>> {
        self.list()?.iter().map(|item| item.str().map(str::to_owned)).collect()
    }

    /// The literal that it is.
    pub(super) fn literal(&self) -> Located<Setting> {
        match &self.content {
            Content::Scalar(value) => Ok(value.clone()),
            Content::List(items) => {
                Ok(Setting::List(items.iter().map(Yaml::literal).collect::<Located<_>>()?))
            }
            Content::Map(_) => Err(self.kind("a value or a list")),
        }
    }

    fn kind(&self, expected: &'static str) -> (Place, FamilyProblem) {
        let found = match &self.content {
            Content::Scalar(value) => value.to_string(),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a mapping".to_owned(),
        };
        (self.place, FamilyProblem::Kind { expected, found })
    }
}

impl Map {
    /// The value of a key, if it is there.
    pub(super) fn get(&self, key: &str) -> Option<&Yaml> {
        self.entries.iter().find(|(name, ..)| name == key).map(|(.., value)| value)
    }

    /// The value of a key that has to be there.
    pub(super) fn require(&self, key: &str) -> Located<&Yaml> {
        self.get(key).ok_or_else(|| (self.place, FamilyProblem::Missing(key.to_owned())))
    }

    /// Refuses all keys but these.
    pub(super) fn only(&self, expected: &[&str]) -> Located<()> {
        let Some((key, place, _)) = self.entries.iter().find(|(key, ..)| !expected.contains(&key.as_str()))
        else {
            return Ok(());
        };
        let nearest = nearest(key, expected.iter().copied()).map(str::to_owned);
        let expected = expected.iter().map(|key| (*key).to_owned()).collect();
        Err((*place, FamilyProblem::UnknownKey { key: key.clone(), nearest, expected }))
    }
}

impl From<&Location> for Place {
    fn from(location: &Location) -> Place {
        Place { line: location.line() as u32, column: location.column() as u32 }
    }
}

/// What is wrong, without the place.
fn in_words(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("key `{key}` is there twice"),
        Error::MultipleDocuments { .. } => "expected one document, and here the second begins".to_owned(),
        other => {
            let text = other.render_with_formatter(&UserMessageFormatter);
            advice(text.split(" at line ").next().unwrap_or_default()).to_owned()
        }
    }
}

/// What the parser says, in words that say what to do where there are such.
fn advice(problem: &str) -> &str {
    if problem.contains("mapping values are not allowed") {
        "a colon where none can be: begin all keys at the same column, and put a value with `: ` in quotes"
    } else if problem.contains("simple key expected ':'") {
        "a line without `: `: expected `key: value`, a blank behind the colon"
    } else if problem.contains("found a tab") || problem.contains("tabs") {
        TAB
    } else {
        problem
    }
}

const TAB: &str = "a tab: indent with blanks";

/// The first tab that indents a line, from where the parser stopped; it does so before blanks and line ends.
fn tab(text: &str, stopped: Place) -> Place {
    let lines = text.lines().enumerate().skip((stopped.line as usize).saturating_sub(1));
    let indentations = lines.map(|(at, line)| (at, line.chars().take_while(|c| c.is_whitespace())));
    let mut tabs = indentations.filter_map(|(at, mut blanks)| Some((at, blanks.position(|c| c == '\t')?)));
    tabs.next().map_or(stopped, |(line, column)| Place { line: line as u32 + 1, column: column as u32 + 1 })
}

/// A value as serde gives it, the places around its parts.
enum Bare {
    Scalar(Setting),
    List(Vec<Spanned<Bare>>),
    Map(Vec<(Spanned<String>, Spanned<Bare>)>),
}

trait IntoYaml {
    fn into_yaml(self) -> Located<Yaml>;
}

impl IntoYaml for Spanned<Bare> {
    fn into_yaml(self) -> Located<Yaml> {
        let place = Place::from(&self.referenced);
        let content = match self.value {
            Bare::Scalar(value) => Content::Scalar(value),
            Bare::List(items) => {
                Content::List(items.into_iter().map(Spanned::into_yaml).collect::<Located<_>>()?)
            }
            Bare::Map(bare) => {
                let mut map = Map { place, entries: Vec::with_capacity(bare.len()) };
                for (key, value) in bare {
                    let key_place = Place::from(&key.referenced);
                    if map.get(&key.value).is_some() {
                        return Err((key_place, FamilyProblem::Twice(key.value)));
                    }
                    map.entries.push((key.value, key_place, value.into_yaml()?));
                }
                Content::Map(map)
            }
        };
        Ok(Yaml { place, content })
    }
}

impl<'de> Deserialize<'de> for Bare {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;

        impl<'de> Visitor<'de> for AnyValue {
            type Value = Bare;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Bare, E> {
                Ok(Bare::Scalar(Setting::Null))
            }

            fn visit_none<E: Error>(self) -> Result<Bare, E> {
                self.visit_unit()
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Bare, D::Error> {
                deserializer.deserialize_any(self)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Bare, E> {
                Ok(Bare::Scalar(Setting::Bool(value)))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Bare, E> {
                Ok(Bare::Scalar(Setting::Int(value)))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Bare, E> {
                i64::try_from(value).map_err(E::custom).and_then(|value| self.visit_i64(value))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Bare, E> {
                if value.is_finite() {
                    Ok(Bare::Scalar(Setting::Float(value)))
                } else {
                    Err(E::custom("expected a finite number"))
                }
            }

            fn visit_str<E>(self, value: &str) -> Result<Bare, E> {
                Ok(Bare::Scalar(Setting::Str(value.into())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Bare, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = access.next_element()? {
                    items.push(item);
                }
                Ok(Bare::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Bare, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = access.next_entry()? {
                    entries.push(entry);
                }
                Ok(Bare::Map(entries))
            }
        }

        deserializer.deserialize_any(AnyValue)
    }
}
