//! What fused in a model, as a file that a project keeps, to be told when something no longer does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use mscc_compiler::{files, left_out};
use mscc_ir::plan::fusion::Outcome;
use mscc_ir::plan::{Function, Plan};
use serde::{Deserialize, Serialize};

/// Largest manifest that is read, in bytes.
const MAX_BYTES: u64 = 8 << 20;
/// Names the form of the file.
const SCHEMA: &str = "mscc.fusion.v1";

/// What fused: by variant, function and rule, the values that are computed otherwise.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    schema: String,
    target: String,
    fused: BTreeMap<String, BTreeMap<String, BTreeMap<String, BTreeSet<String>>>>,
}

/// Why a file is no manifest for a plan.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{}:{line}:{column}: {reason}; `mscc explain MODEL --record FILE` writes a record anew", .path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// It is for another device.
    #[error("{}: it was recorded for target {recorded}, and this plan is for {found}", .path.display())]
    Target {
        /// The file.
        path: PathBuf,
        /// The target it was recorded for.
        recorded: String,
        /// The plan's.
        found: String,
    },
}

/// Something that fused once and does not now.
pub struct Lost<'a> {
    variant: &'a str,
    function: &'a str,
    rule: &'a str,
    at: &'a str,
    /// What became of it.
    why: String,
}

impl fmt::Display for Lost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lost { variant, function, rule, at, why } = self;
        write!(f, "{rule} at {at}, in @{function} of variant {variant}: {why}")
    }
}

impl Manifest {
    /// What fused in a plan.
    pub fn of(plan: &Plan) -> Manifest {
        let mut fused: BTreeMap<String, BTreeMap<String, BTreeMap<String, BTreeSet<String>>>> =
            BTreeMap::new();
        for variant in plan.programs.iter().flat_map(|program| &program.variants) {
            let functions = fused.entry(variant.name.clone()).or_default();
            for function in &variant.functions {
                let rules = functions.entry(function.name.clone()).or_default();
                let events = function.listing.iter().flat_map(|listing| listing.fusion.events());
                for (rule, event) in events.filter(|(_, event)| event.fired()) {
                    rules.entry(rule.to_owned()).or_default().insert(event.at.join(", "));
                }
            }
        }
        Manifest { schema: SCHEMA.to_owned(), target: plan.meta.target.clone(), fused }
    }

    /// Reads a file.
    ///
    /// Errors: one that cannot be read, is larger than 8 MiB or of another form.
    pub fn read(path: &Path) -> Result<Manifest, ManifestError> {
        let text = files::read_text(path, MAX_BYTES)
            .map_err(|source| ManifestError::Read { path: path.to_owned(), source })?;
        let form = |line: usize, column: usize, reason: String| ManifestError::Form {
            path: path.to_owned(),
            line: line.max(1),
            column: column.max(1),
            reason,
        };
        if !text.trim_start().starts_with('{') {
            return Err(form(1, 1, "this is no record of what fused, which begins with `{`".to_owned()));
        }
        let manifest: Manifest = serde_json::from_str(&text).map_err(|error| {
            let place = format!(" at line {} column {}", error.line(), error.column());
            form(error.line(), error.column(), error.to_string().replace(&place, ""))
        })?;
        match manifest.schema.as_str() {
            SCHEMA => Ok(manifest),
            other => Err(form(1, 1, format!("`schema` is {other:?}, expected {SCHEMA:?}"))),
        }
    }

    /// The text of the file: lines that a review can read, the same for the same fusions.
    pub fn text(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("names and lists of names are JSON");
        text + "\n"
    }

    /// What is in the record and does not fuse in the plan.
    ///
    /// Errors: a plan for another device than the one recorded for; `path` is where the record was read.
    pub fn lost<'a>(&'a self, plan: &Plan, path: &Path) -> Result<Vec<Lost<'a>>, ManifestError> {
        if self.target != plan.meta.target {
            let (recorded, found) = (self.target.clone(), plan.meta.target.clone());
            return Err(ManifestError::Target { path: path.to_owned(), recorded, found });
        }
        let mut lost = Vec::new();
        for (variant, functions) in &self.fused {
            for (function, rules) in functions {
                for (rule, sites) in rules {
                    let here = function_named(plan, variant, function);
                    let gone = sites.iter().filter_map(|at| {
                        let why = match here {
                            Ok(here) => why_lost(plan, here, rule, at)?,
                            Err(why) => why.to_owned(),
                        };
                        Some(Lost { variant, function, rule, at, why })
                    });
                    lost.extend(gone);
                }
            }
        }
        Ok(lost)
    }

    /// How many fusions are recorded.
    pub fn len(&self) -> usize {
        self.fused.values().flat_map(BTreeMap::values).flat_map(BTreeMap::values).map(BTreeSet::len).sum()
    }
}

/// A function of a variant, or what there is not.
fn function_named<'a>(plan: &'a Plan, variant: &str, function: &str) -> Result<&'a Function, &'static str> {
    let mut variants = plan.programs.iter().flat_map(|program| &program.variants);
    let variant = variants.find(|other| other.name == variant).ok_or("there is no such variant now")?;
    let found = variant.functions.iter().find(|other| other.name == function);
    found.ok_or("there is no such kind of layer now; is it a record of this model?")
}

/// Why a rule did not fire at a place; `None` if it did.
fn why_lost(plan: &Plan, function: &Function, rule: &str, at: &str) -> Option<String> {
    let events = function.listing.iter().flat_map(|listing| listing.fusion.events());
    let here: Vec<&Outcome> = events
        .filter(|(name, event)| *name == rule && event.at.join(", ") == at)
        .map(|(_, event)| &event.outcome)
        .collect();
    if here.iter().any(|outcome| matches!(outcome, Outcome::Fired(_) | Outcome::Needed)) {
        return None;
    }
    let nothing = match plan.meta.warnings.contains(&left_out(rule)) {
        true => "the rule was left out",
        false => "the rule did nothing there",
    };
    Some(here.first().map_or(nothing.to_owned(), |outcome| outcome.to_string()))
}
