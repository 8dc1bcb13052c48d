//! Why a model cannot be traced.

use std::fmt;
use std::path::PathBuf;

use mscc_ir::ops::TypeError;
use mscc_ir::template::BadTemplate;
use mscc_ir::verify::VerifyError;

use super::warning::Warning;
use super::weights::WeightProblem;
use crate::hf::ConfigError;
use crate::spec::{FamilyError, Place, Setting};

/// Why a model cannot be traced.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// A config that cannot be used, whatever the family.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No family for this config.
    #[error(
        "{}: no family for {found}{}: known are {}", config.display(),
        nearest.as_ref().map_or(String::new(), |name| format!(", the nearest is `{name}`")), .known.join(", ")
    )]
    UnknownFamily {
        /// The config.
        config: PathBuf,
        /// What it says.
        found: String,
        /// The `model_type` that is spelt most alike.
        nearest: Option<String>,
        /// All `model_type`s.
        known: Vec<String>,
    },
    /// A setting that makes no sense.
    #[error("{}: `{key}`: expected {expected}, found {found}", config.display())]
    Setting {
        /// The config.
        config: PathBuf,
        /// The key, or an expression over several.
        key: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: Setting,
    },
    /// A setting that is not supported.
    #[error(
        "{}: `{key}` = {found} is not supported in family {family}; supported: {supported}", config.display()
    )]
    Unsupported {
        /// The config.
        config: PathBuf,
        /// The family.
        family: String,
        /// The key, or an expression over several.
        key: String,
        /// Its value.
        found: Setting,
        /// What is supported.
        supported: String,
    },
    /// An expression of the family that has no value for this config.
    #[error("{}: {source}", config.display())]
    Expression {
        /// The config.
        config: PathBuf,
        /// The expression and what is wrong.
        source: Box<FamilyError>,
    },
    /// A block that does not fit where the family puts it.
    #[error("{file}:{}:{}: block `{block}` does not fit slot `{slot}`: {source}", place.line, place.column)]
    Misfit {
        /// The family's file.
        file: String,
        /// The slot's place in it.
        place: Place,
        /// The slot.
        slot: String,
        /// The block.
        block: &'static str,
        /// What does not fit.
        source: Box<TypeError>,
    },
    /// Values that a step adds although their types differ.
    #[error("{file}: step `{step}`: {source}")]
    Step {
        /// The family's file.
        file: String,
        /// The step.
        step: String,
        /// What does not fit.
        source: Box<TypeError>,
    },
    /// A path from a config that is no template.
    #[error(transparent)]
    BadPath {
        /// What is wrong with it.
        #[from]
        source: BadTemplate,
    },
    /// Tensors that are missing or not what the model wants, all of them.
    #[error("the checkpoint in {} does not fit the config:{}", dir.display(), Lines(problems))]
    Weights {
        /// The checkpoint.
        dir: PathBuf,
        /// One for each kind of tensor and problem.
        problems: Vec<WeightProblem>,
    },
    /// More kinds of layers than any model has.
    #[error("more than {limit} kinds of layers")]
    TooManyKinds {
        /// How many are accepted.
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

/// One line for each.
struct Lines<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Lines<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}
