//! model.yaml: options of a compilation in a file, in our words or in those of vLLM or mindformers.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use mscc_models::hf::nearest;
use mscc_models::spec::{Content, Map, Place, Setting, Yaml};

use crate::dialects::{self, Dialect, Key, Meaning};
use crate::files::{MAX_BYTES, read_text};
use crate::options::{OptionPlace, Options, largest};

/// What a model.yaml says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelYaml {
    /// The options, which know their lines; paths are relative to the file's directory.
    pub options: Options,
    /// What became of keys that are not ours, in the order of the file.
    pub notes: Vec<KeyNote>,
}

/// What became of a key that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyNote {
    /// The file.
    pub file: PathBuf,
    /// The key's line.
    pub line: u32,
    /// The key with its path.
    pub key: String,
    /// Whose key it is.
    pub dialect: Dialect,
    /// The option that it sets, or why it does nothing.
    pub effect: Result<&'static str, &'static str>,
}

impl fmt::Display for KeyNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: `{}` ({}) is ", self.file.display(), self.line, self.key, self.dialect)?;
        match self.effect {
            Ok(option) => write!(f, "read as `{option}`"),
            Err(reason) => write!(f, "ignored: {reason}"),
        }
    }
}

/// Why a model.yaml cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelYamlError {
    /// A file that cannot be read.
    #[error("cannot read {}: {reason}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// Something in it that makes no sense.
    #[error("{}:{}:{}: {problem}\n  {text}", file.display(), place.line, place.column)]
    Problem {
        /// The file.
        file: PathBuf,
        /// Where in it.
        place: Place,
        /// What is wrong there.
        problem: Box<KeyProblem>,
        /// The line.
        text: String,
    },
}

/// What can be wrong in a model.yaml.
///
/// What to do: mend the line named; README.md has a table of all keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// Not the YAML that is accepted.
    #[error("{0}")]
    Yaml(String),
    /// A key of no dialect.
    #[error("unknown key `{key}`{}: expected one of {}", similar(nearest), dialects::own().collect::<Vec<_>>().join(", "))]
    Unknown {
        /// The key with its path.
        key: String,
        /// The key that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A value of the wrong kind.
    #[error("`{key}`: expected {expected}, found {found}")]
    Value {
        /// The key with its path.
        key: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A key of another dialect that asks for what mscc lacks.
    #[error("`{key}` ({dialect}) = {found} is not supported; supported: {supported}")]
    Unsupported {
        /// The key with its path.
        key: String,
        /// Whose key it is.
        dialect: Dialect,
        /// Its value.
        found: String,
        /// What is supported.
        supported: &'static str,
    },
    /// Two keys for one option that say different things.
    #[error("`{key}` and `{other}` in line {line} say different things of one option: remove one")]
    Conflict {
        /// The key with its path.
        key: String,
        /// The key before it.
        other: String,
        /// The line of that.
        line: u32,
    },
}

fn similar(nearest: &Option<&str>) -> String {
    nearest.map_or(String::new(), |name| format!(", did you mean `{name}`?"))
}

impl ModelYaml {
    /// Reads a file.
    ///
    /// Errors: a file that cannot be read, is no YAML or larger than 64 KiB; keys that nobody knows; values of the
    /// wrong kind; options of other dialects that are not supported; keys that disagree.
    pub fn read(file: &Path) -> Result<ModelYaml, ModelYamlError> {
        let text = read_text(file, MAX_BYTES)
            .map_err(|reason| ModelYamlError::Read { file: file.to_owned(), reason })?;
        ModelYaml::parse(file, &text)
    }

    /// Reads the text of a file. Errors as for [`ModelYaml::read`].
    pub fn parse(file: &Path, text: &str) -> Result<ModelYaml, ModelYamlError> {
        let mut reader = Reader { file, yaml: ModelYaml::default() };
        let done = Yaml::read(text).map_err(|(place, problem)| (place, KeyProblem::Yaml(problem))).and_then(
            |root| match &root.content {
                Content::Map(map) => reader.map("", map),
                Content::Scalar(Setting::Null) => Ok(()),
                Content::Scalar(_) | Content::List(_) => Err((
                    root.place,
                    KeyProblem::Yaml(
                        "expected keys with values, `key: value`, a blank behind the colon".to_owned(),
                    ),
                )),
            },
        );
        match done {
            Ok(()) => Ok(reader.yaml),
            Err((place, problem)) => {
                let line = text.lines().nth((place.line as usize).saturating_sub(1)).unwrap_or_default();
                let text = line.trim().chars().take(MAX_LINE).collect();
                let problem = Box::new(problem);
                Err(ModelYamlError::Problem { file: file.to_owned(), place, problem, text })
            }
        }
    }
}

/// How much of a line a message shows, in characters.
const MAX_LINE: usize = 120;

struct Reader<'a> {
    file: &'a Path,
    yaml: ModelYaml,
}

type Located<T> = Result<T, (Place, KeyProblem)>;

impl Reader<'_> {
    fn map(&mut self, prefix: &str, map: &Map) -> Located<()> {
        for (name, place, value) in &map.entries {
            // vLLM's files have its command line's options.
            let name = if prefix.is_empty() { name.replace('-', "_") } else { name.clone() };
            let path = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            match (dialects::find(&path), &value.content) {
                (_, Content::Map(inner)) if dialects::has_inner(&path) => self.map(&path, inner)?,
                (Some(key), _) => self.key(key, *place, value)?,
                (None, Content::Scalar(Setting::Null)) if dialects::has_inner(&path) => {}
                (None, _) => {
                    let nearest = nearest(&path, dialects::paths());
                    return Err((*place, KeyProblem::Unknown { key: path, nearest }));
                }
            }
        }
        Ok(())
    }

    fn key(&mut self, key: &'static Key, place: Place, value: &Yaml) -> Located<()> {
        let effect = match &key.meaning {
            Meaning::Option(option) => {
                self.set(key, option, place, value)?;
                Ok(*option)
            }
            Meaning::Nothing(reason) => Err(*reason),
            Meaning::Only { is_neutral, supported } => {
                let (neutral, found) = match &value.content {
                    Content::Scalar(setting) => (is_neutral(setting), setting.to_string()),
                    Content::List(items) => (items.is_empty(), "a list".to_owned()),
                    Content::Map(map) => (map.entries.is_empty(), "a mapping".to_owned()),
                };
                if !neutral {
                    let (dialect, key) = (key.dialect, key.path.to_owned());
                    return Err((value.place, KeyProblem::Unsupported { key, dialect, found, supported }));
                }
                Err("with this value it asks for nothing")
            }
        };
        if key.dialect != Dialect::Mscc {
            self.yaml.notes.push(KeyNote {
                file: self.file.to_owned(),
                line: place.line,
                key: key.path.to_owned(),
                dialect: key.dialect,
                effect,
            });
        }
        Ok(())
    }

    /// Sets an option, unless the value is null or says to choose.
    fn set(&mut self, key: &'static Key, option: &'static str, place: Place, value: &Yaml) -> Located<()> {
        let expected = |expected: &str| {
            let found = match &value.content {
                Content::Scalar(setting) => setting.to_string(),
                Content::List(_) => "a list".to_owned(),
                Content::Map(_) => "a mapping".to_owned(),
            };
            (
                value.place,
                KeyProblem::Value { key: key.path.to_owned(), expected: expected.to_owned(), found },
            )
        };
        if matches!(&value.content, Content::Scalar(Setting::Null)) {
            return Ok(());
        }
        let other_dialect = key.dialect != Dialect::Mscc;
        if let Content::Scalar(Setting::Str(text)) = &value.content
            && other_dialect
            && (text.is_empty() || text.as_ref() == "auto")
        {
            return Ok(());
        }
        let dir = self.file.parent();
        let path = |value: &Yaml| match &value.content {
            Content::Scalar(Setting::Str(text)) if text.is_empty() => {
                Err(expected("a path, or nothing behind the colon"))
            }
            Content::Scalar(Setting::Str(text)) => {
                Ok(dir.map_or_else(|| PathBuf::from(&**text), |dir| dir.join(&**text)))
            }
            _ => Err(expected("a path (in quotes, if it is a number)")),
        };
        let text = || match &value.content {
            // Others write `CPU`.
            Content::Scalar(Setting::Str(text)) if other_dialect => Ok(text.to_lowercase()),
            Content::Scalar(Setting::Str(text)) => Ok(text.as_ref().to_owned()),
            _ => Err(expected("a name")),
        };
        let name = |value: &Yaml| match &value.content {
            Content::Scalar(Setting::Str(name)) => Ok(name.as_ref().to_owned()),
            _ => Err(expected("the name of a rule, or a list of names")),
        };
        let number = || match &value.content {
            Content::Scalar(Setting::Int(number)) if u32::try_from(*number).is_ok() => Ok(*number as u32),
            Content::Scalar(Setting::Float(number)) if number.fract() == 0.0 => {
                Err(expected("a whole number of digits alone, the first of them no 0"))
            }
            _ => Err(expected(&format!("a whole number from 1 to {}", largest(option)))),
        };
        let mut options = Options::default();
        match option {
            "model" => options.model = Some(path(value)?),
            "target" => options.target = Some(text()?),
            "dtype" => options.dtype = Some(text()?),
            "compute_dtype" => options.compute_dtype = Some(text()?),
            "max_model_len" => options.max_model_len = Some(number()?),
            "max_num_seqs" => options.max_num_seqs = Some(number()?),
            "max_num_batched_tokens" => options.max_num_batched_tokens = Some(number()?),
            "block_size" => options.block_size = Some(number()?),
            "latent_attention" => options.latent_attention = Some(text()?),
            "tokenizer" => options.tokenizer = Some(path(value)?),
            "chat_template" => options.chat_template = Some(path(value)?),
            "family" => options.family = Some(path(value)?),
            "rules" => {
                options.rules = Some(match &value.content {
                    Content::List(items) => items.iter().map(path).collect::<Located<_>>()?,
                    Content::Scalar(_) | Content::Map(_) => vec![path(value)?],
                });
            }
            "without_rule" => {
                options.without_rule = Some(match &value.content {
                    Content::List(items) => items.iter().map(name).collect::<Located<_>>()?,
                    Content::Scalar(_) | Content::Map(_) => vec![name(value)?],
                });
            }
            "stop_after_rewrite" => match &value.content {
                Content::Scalar(Setting::Int(last)) if u32::try_from(*last).is_ok() => {
                    options.stop_after_rewrite = Some(*last as u32);
                }
                _ => return Err(expected("a whole number from 0")),
            },
            "strict" => match &value.content {
                Content::Scalar(Setting::Bool(strict)) => options.strict = Some(*strict),
                _ => return Err(expected("true or false")),
            },
            other => unreachable!("the table has options of ours alone, and `{other}` is none"),
        }
        if let Some(before) = self.yaml.options.places.get(option) {
            let same = self.yaml.options.clone().overridden_by(options);
            if same.without_places() != self.yaml.options.clone().without_places() {
                let (other, line) = (before.key.clone(), before.line);
                return Err((place, KeyProblem::Conflict { key: key.path.to_owned(), other, line }));
            }
            return Ok(());
        }
        let at = OptionPlace {
            file: self.file.to_owned(),
            line: value.place.line,
            column: value.place.column,
            key: key.path.to_owned(),
        };
        options.places.insert(option, at);
        self.yaml.options = std::mem::take(&mut self.yaml.options).overridden_by(options);
        Ok(())
    }
}

#[cfg(test)]
#[path = "model_yaml_tests.rs"]
mod tests;
