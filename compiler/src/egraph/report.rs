//! What the stage did and why, for `mscc explain` and for tests.

use std::fmt;

use mscc_ir::attr::AttrError;
use mscc_ir::ops::{OpKind, TypeError};
use mscc_ir::plan::fusion::{self, Cost, Fusion, RuleReport};
use mscc_ir::{Graph, NodeId, TensorType};
use mscc_patterns::rule::Phase;

use super::price::Price;

/// What happened to one function in one variant. The same input gives the same report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The function.
    pub function: String,
    /// The function as given.
    pub given: Graph,
    /// Of each node of the function as chosen, the nodes of `given` that it stands for.
    pub origins: Vec<Vec<NodeId>>,
    /// Symbols, with the sizes at which costs were compared.
    pub sizes: Vec<(String, i64)>,
    /// What each rule did, in the order in which rules run: by phase, then by name.
    pub rules: Vec<RuleReport>,
    /// What went wrong or was cut short.
    pub diagnostics: Vec<Diagnostic>,
    /// Size of the e-graph after each phase.
    pub growth: Vec<Growth>,
    /// Cost of the function as given, after removal of what is unused or computed twice.
    pub before: Price,
    /// Cost of the function as chosen.
    pub after: Price,
}

/// What stood against a rewrite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A condition of the rule.
    #[error(transparent)]
    Condition(#[from] mscc_patterns::guards::Refusal),
    /// The op made does not take these operands.
    #[error(transparent)]
    Types(TypeError),
    /// The op made does not take these attributes.
    #[error(transparent)]
    Attributes(AttrError),
    /// A result would have another type.
    #[error("the result is {made} instead of {expected}")]
    ResultType {
        /// Type of the value replaced.
        expected: TensorType,
        /// Type of what would replace it.
        made: TensorType,
    },
    /// The target cannot run the op made.
    #[error("the target has no kernel for {}({})", .op.name(), .operands.join(", "))]
    NoKernel {
        /// The op.
        op: OpKind,
        /// Types of its operands.
        operands: Vec<String>,
    },
    /// The op made would need its own result.
    #[error("an operand is computed from a value that is replaced")]
    Cycle,
    /// The rule itself does not make sense here.
    #[error("the rule is malformed: {0}")]
    Rule(String),
}

/// What went wrong or was cut short.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Diagnostic {
    /// A phase was ended by a cap before its rules had nothing more to add.
    #[error("phase {phase:?} ended on the cap of {cap}; nodes added: {}", list(.growth))]
    Cap {
        /// The phase.
        phase: Phase,
        /// Which cap, with its value.
        cap: String,
        /// The rules that added most, with the number of nodes.
        growth: Vec<(String, usize)>,
    },
    /// A rule matches in too many ways; some matches were not tried.
    #[error("rule `{0}` matches in too many ways; some matches were not tried")]
    Matches(String),
    /// A rule made unequal values equal; the function stays as given.
    #[error("rule `{rule}` is unsound: {reason}; the function stays unfused")]
    Unsound {
        /// The rule.
        rule: String,
        /// The types that disagree.
        reason: String,
    },
    /// The graph chosen is broken; the function stays as given.
    #[error("the chosen graph is broken ({0}); the function stays unfused")]
    Broken(String),
    /// An op whose cost is unknown at the given sizes; it counts as free.
    #[error("the cost of `{value}` is unknown: {reason}")]
    Cost {
        /// A result of the op.
        value: String,
        /// Why.
        reason: String,
    },
    /// The search ended on its cap; a cheaper graph may exist.
    #[error("the search for the cheapest graph ended on its cap")]
    Search,
}

/// Size of the e-graph after a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// The phase.
    pub phase: Phase,
    /// Rounds of matching and applying, the last of which changed nothing unless a cap ended it.
    pub iterations: usize,
    /// Nodes then.
    pub nodes: usize,
    /// Classes then.
    pub classes: usize,
}

fn list(growth: &[(String, usize)]) -> String {
    growth.iter().map(|(rule, nodes)| format!("{rule} {nodes}")).collect::<Vec<_>>().join(", ")
}

impl Report {
    /// What of it a plan holds.
    pub fn fusion(&self) -> Fusion {
        Fusion {
            sizes: self.sizes.clone(),
            before: self.before.cost(),
            after: self.after.cost(),
            rules: self.rules.iter().filter(|rule| !rule.events.is_empty()).cloned().collect(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "@{}: {} -> {}", self.function, self.before, self.after)?;
        for diagnostic in &self.diagnostics {
            writeln!(f, "  warning: {diagnostic}")?;
        }
        for rule in self.rules.iter().filter(|rule| !rule.events.is_empty()) {
            writeln!(f, "  {}", rule.rule)?;
            for event in &rule.events {
                writeln!(f, "    {}: {}", event.at.join(", "), event.outcome)?;
                if event.replaced.len() > event.at.len() {
                    writeln!(f, "      from {}", event.replaced.join(", "))?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cost().fmt(f)
    }
}

impl Price {
    /// What of it is told to users.
    pub fn cost(&self) -> Cost {
        Cost {
            ps: i64::try_from(self.ps).unwrap_or(i64::MAX),
            launches: i64::try_from(self.launches).unwrap_or(i64::MAX),
            bytes: i64::try_from(self.bytes).unwrap_or(i64::MAX),
        }
    }
}

impl Refusal {
    /// In the words in which it is told to users.
    pub fn told(&self) -> fusion::Refusal {
        match self {
            Refusal::Condition(refusal) => fusion::Refusal {
                condition: refusal.condition.clone(),
                found: refusal
                    .found
                    .iter()
                    .map(|found| (found.operand.clone(), found.value.clone()))
                    .collect(),
            },
            other => fusion::Refusal { condition: other.to_string(), found: Vec::new() },
        }
    }
}
