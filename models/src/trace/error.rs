//! Why a model cannot be traced.

use std::fmt;
use std::path::PathBuf;

use mscc_ir::ops::TypeError;
use mscc_ir::template::BadTemplate;
use mscc_ir::verify::VerifyError;

use super::warning::Warning;
use super::weights::WeightProblem;
use crate::hf::ConfigError;
use crate::keys::{LackingKey, UnknownKey, UnreadKeys};
use crate::spec::{ExprProblem, Place};

/// Why a model cannot be traced.
///
/// What to do: `mscc models` lists what can be compiled; if the key named is a mistake of the config, mend it there.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// A config that cannot be used, whatever the family.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No family for this config.
    #[error("{}", UnknownFamilyMessage(.0))]
    UnknownFamily(Box<UnknownFamily>),
    /// Keys that ask for what the family does not do, the first few of them.
    #[error(
        "{}: the config asks for what family {family} {}:{}{}", config.display(),
        if own.is_some() { "lacks" } else { "of mscc lacks" }, Lines(keys), or_builtin(own)
    )]
    Lacking {
        /// The config.
        config: PathBuf,
        /// The family.
        family: String,
        /// If the family is the user's, the built-in one that the config names, or nothing.
        own: Option<String>,
        /// The keys.
        keys: Vec<LackingKey>,
    },
    /// A setting that makes no sense.
    #[error("{}: {keys}: expected {expected}, found {found}", config.display())]
    Setting {
        /// The config.
        config: PathBuf,
        /// The key, or several with their values, of which the setting is made.
        keys: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A setting that is not supported.
    #[error("{}: {keys} is not supported in family {family}; supported: {supported}", config.display())]
    Unsupported {
        /// The config.
        config: PathBuf,
        /// The family.
        family: String,
        /// The keys that it is made of, with their values.
        keys: String,
        /// What is supported.
        supported: String,
    },
    /// Settings of which nothing can be computed that the family needs.
    #[error("{}: {keys}: {problem}", config.display())]
    Expression {
        /// The config.
        config: PathBuf,
        /// The keys with their values.
        keys: String,
        /// What is wrong.
        problem: ExprProblem,
    },
    /// A slot of which no alternative's condition holds.
    #[error(
        "{}: of slot `{slot}` no `if` holds{} ({file})", config.display(),
        layer.map_or(String::new(), |layer| format!(" in layer {layer}"))
    )]
    Unfilled {
        /// The config.
        config: PathBuf,
        /// The family's file, and the slot's place in it.
        file: String,
        /// The slot.
        slot: String,
        /// The layer, if it is a layer's slot.
        layer: Option<u32>,
    },
    /// A block that does not fit where the family puts it.
    #[error("{0}")]
    Misfit(Box<Misfit>),
    /// Values that a step adds although their types differ.
    #[error("{file}:{}:{}: step `{step}`: {problem}", place.line, place.column)]
    Step {
        /// The family's file.
        file: String,
        /// The step's place in it.
        place: Place,
        /// The step.
        step: String,
        /// What does not fit.
        problem: Box<TypeError>,
    },
    /// A key of the config that a family of the user's takes as it stands; either may be wrong.
    #[error("{problem} ({file}:{}:{})", place.line, place.column)]
    InFamily {
        /// The problem.
        problem: Box<TraceError>,
        /// The family's file.
        file: String,
        /// Where in it.
        place: Place,
    },
    /// What a family of the user's computes, of a config or of nothing.
    #[error("{file}:{}:{}: `{expr}`: {problem}", place.line, place.column)]
    Computed {
        /// The family's file.
        file: String,
        /// Where in it.
        place: Place,
        /// The expression.
        expr: String,
        /// The problem.
        problem: Box<TraceError>,
    },
    /// A value of the family's own that makes no sense.
    #[error("expected {expected}, found {found}")]
    Constant {
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A tensor that two slots read, neither being tied to the other.
    #[error("{file}: slots `{first}` and `{second}` both read `{tensor}`")]
    ClaimedTwice {
        /// The family's file.
        file: String,
        /// The tensor.
        tensor: String,
        /// One slot.
        first: String,
        /// The other.
        second: String,
    },
    /// A path from a config that is no template.
    #[error(transparent)]
    BadPath {
        /// What is wrong with it.
        #[from]
        source: BadTemplate,
    },
    /// Tensors that are missing or not what the model wants, all of them.
    #[error(
        "the checkpoint in {} does not fit the config{}:{}{}", dir.display(),
        family.as_ref().map_or(String::new(), |file| format!(" and {file}")), Lines(problems),
        Unread(unread)
    )]
    Weights {
        /// The checkpoint.
        dir: PathBuf,
        /// The family's file, if it is the user's.
        family: Option<String>,
        /// One for each kind of tensor and problem.
        problems: Vec<WeightProblem>,
        /// Keys of the config that nobody reads, one of which may be why.
        unread: Vec<Warning>,
    },
    /// More of something than any model has.
    #[error("{place}: more than {limit} {what}")]
    TooLarge {
        /// The config with the key that says how many layers there are, or the place in the family's file.
        place: String,
        /// Of what there is too much.
        what: &'static str,
        /// How much is accepted.
        limit: usize,
    },
    /// An option outside its range.
    #[error("`{name}`: expected {expected}, found {found}")]
    Option {
        /// The option.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// Warnings, where none are accepted.
    #[error("warnings are errors here:{}", Lines(.0))]
    Strict(Vec<Warning>),
    /// The family describes a model that breaks rules of the IR.
    #[error("{file} describes no sound model:{}", Lines(problems))]
    Unsound {
        /// The family's file.
        file: String,
        /// The broken rules.
        problems: Vec<VerifyError>,
    },
}

/// A block that does not fit where a family puts it.
#[derive(Clone, Debug)]
pub struct Misfit {
    /// The config.
    pub config: PathBuf,
    /// The keys that the slot reads, with their values.
    pub keys: String,
    /// The family's file.
    pub file: String,
    /// The slot's place in it.
    pub place: Place,
    /// The slot.
    pub slot: String,
    /// The block.
    pub block: &'static str,
    /// What does not fit.
    pub problem: TypeError,
    /// Whether the family comes with mscc, so that the config is to blame.
    pub is_builtin: bool,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Misfit { config, keys, file, place: Place { line, column }, slot, block, problem, is_builtin } =
            self;
        let config = config.display();
        match is_builtin {
            true => {
                write!(
                    f,
                    "{config}: {keys}: {problem} (block `{block}` in slot `{slot}`, {file}:{line}:{column})"
                )
            }
            false => {
                write!(
                    f,
                    "{file}:{line}:{column}: block `{block}` in slot `{slot}`: {problem} ({config}: {keys})"
                )
            }
        }
    }
}

/// A config that no family is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFamily {
    /// The config.
    pub config: PathBuf,
    /// What it says.
    pub found: String,
    /// All `model_type`s that there are.
    pub known: Vec<String>,
    /// The `model_type` of the nearest family: the one spelt most alike, else the one that lacks least.
    pub nearest: String,
    /// What differs: the config's keys that the nearest family does not read.
    pub differs: UnreadKeys,
    /// What differs of the tensors: those that the nearest family wants and that are not so, those that it does not read.
    pub misfits: Vec<String>,
    /// Whether the config gives the sizes that any decoder has, so that it may be one of the nearest family.
    pub has_sizes: bool,
    /// Whether the config says that the model comes with Python code of its own.
    pub has_code: bool,
}

fn or_builtin(own: &Option<String>) -> String {
    own.as_deref().filter(|builtin| !builtin.is_empty()).map_or(String::new(), |builtin| {
        format!(
            "\n  its `model_type` is {builtin:?}, which is built in: leave --family out to compile it as that"
        )
    })
}

struct UnknownFamilyMessage<'a>(&'a UnknownFamily);

impl fmt::Display for UnknownFamilyMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnknownFamily { config, found, known, nearest, differs, misfits, has_sizes, has_code } = self.0;
        write!(f, "{}: there is no family for {found}; known are {}", config.display(), known.join(", "))?;
        if *has_code {
            f.write_str(" (Python code that comes with a model is never run)")?;
        }
        write!(f, "\n  the nearest is {nearest}, ")?;
        let differences = match (differs.lacking.as_slice(), differs.unknown.as_slice()) {
            ([], []) if !has_sizes => f.write_str(
                "but the config does not give the sizes that a decoder has: `hidden_size` and others",
            ),
            ([], []) if misfits.is_empty() => write!(
                f,
                "which knows all keys of this config; if it is one, set `model_type` to {nearest:?}"
            ),
            ([], []) => f.write_str("which knows all keys of this config"),
            ([], unknown) => write!(f, "which does not know {}", names(unknown)),
            (lacking, []) => write!(f, "which lacks{}", Lines(lacking)),
            (lacking, unknown) => {
                write!(f, "which does not know {} and lacks{}", names(unknown), Lines(lacking))
            }
        };
        differences?;
        if !misfits.is_empty() {
            write!(f, "\n  its tensors differ:{}", Lines(misfits))?;
        }
        f.write_str("\n  a file can describe another family: --family FILE; `mscc models ")?;
        write!(f, "{nearest}` prints one to begin with")
    }
}

/// Names of keys, the first few.
fn names(keys: &[UnknownKey]) -> String {
    let shown: Vec<String> = keys.iter().take(MAX_LINES).map(|key| format!("`{}`", key.key)).collect();
    let more = if keys.len() > MAX_LINES { ", …" } else { "" };
    shown.join(", ") + more
}

/// One line for each, up to [`MAX_LINES`].
struct Lines<'a, T>(&'a [T]);

/// Keys that nobody reads, if there are such.
struct Unread<'a>(&'a [Warning]);

impl fmt::Display for Unread<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => Ok(()),
            unread => write!(f, "\nit may be a key that is spelled otherwise:{}", Lines(unread)),
        }
    }
}

/// Most lines of a message.
const MAX_LINES: usize = 24;

impl<T: fmt::Display> fmt::Display for Lines<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(MAX_LINES).try_for_each(|line| write!(f, "\n  {line}"))?;
        match self.0.len().checked_sub(MAX_LINES) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "\n  and {more} more"),
        }
    }
}
