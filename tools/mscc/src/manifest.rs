//! What fused in a model, as a file that a project keeps, to be told when something no longer does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use mscc_compiler::files;
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
    #[error("{}: this is no record of what fused, which `mscc explain MODEL --record FILE` writes: {reason}", .path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
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
        let form = |reason: String| ManifestError::Form { path: path.to_owned(), reason };
        let manifest: Manifest = serde_json::from_str(&text).map_err(|error| form(error.to_string()))?;
        match manifest.schema.as_str() {
            SCHEMA => Ok(manifest),
            other => Err(form(format!("`schema` is {other:?}, expected {SCHEMA:?}"))),
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
                        let why = why_lost(here, rule, at)?;
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

fn function_named<'a>(plan: &'a Plan, variant: &str, function: &str) -> Option<&'a Function> {
    let mut variants = plan.programs.iter().flat_map(|program| &program.variants);
    let variant = variants.find(|other| other.name == variant)?;
    variant.functions.iter().find(|other| other.name == function)
}

/// Why a rule did not fire at a place; `None` if it did.
fn why_lost(function: Option<&Function>, rule: &str, at: &str) -> Option<String> {
    let Some(function) = function else { return Some("there is no such kind of layer any more".to_owned()) };
    let events = function.listing.iter().flat_map(|listing| listing.fusion.events());
    let here: Vec<&Outcome> = events
        .filter(|(name, event)| *name == rule && event.at.join(", ") == at)
        .map(|(_, event)| &event.outcome)
        .collect();
    if here.iter().any(|outcome| matches!(outcome, Outcome::Fired(_) | Outcome::Needed)) {
        return None;
    }
    Some(here.first().map_or("the rule did nothing there".to_owned(), |outcome| outcome.to_string()))
}
