//! What the stage did and why, for `mscc explain` and for tests.

use std::fmt;

use mscc_ir::attr::AttrError;
use mscc_ir::ops::{OpKind, TypeError};
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

/// What a rule did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleReport {
    /// Its name.
    pub rule: String,
    /// What happened at each of its matches: those that hold, then those refused, then near misses.
    pub events: Vec<Event>,
}

/// What happened at one match of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Names of the values that it computes otherwise.
    pub at: Vec<String>,
    /// Names of all values whose nodes it matched.
    pub replaced: Vec<String>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the result.
    Fired {
        /// What the old form costs more, everything else unchanged; picoseconds and launches.
        saved_ps: i128,
        /// Launches that the old form takes more.
        saved_launches: i64,
    },
    /// It holds, but another form was chosen.
    NotChosen(Why),
    /// It was not made.
    Refused(Refusal),
    /// The rule matches the op that makes the value, but not what that op reads.
    NearMiss {
        /// Where the attempt that came furthest ended.
        value: String,
        /// What the rule wants there.
        expected: String,
        /// What makes that value.
        found: String,
    },
}

/// Why a form was not chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It would cost so many picoseconds more.
    Dearer(i128),
    /// Its values are not needed by what was chosen.
    Unused,
    /// With what was chosen elsewhere it would need its own result.
    Cyclic,
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

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Fired { saved_ps, saved_launches } => {
                write!(f, "fired, saves {} and {saved_launches} launches", Time(*saved_ps))
            }
            Outcome::NotChosen(Why::Dearer(ps)) => write!(f, "not chosen, would cost {} more", Time(*ps)),
            Outcome::NotChosen(Why::Unused) => f.write_str("not chosen, its values are not needed"),
            Outcome::NotChosen(Why::Cyclic) => f.write_str("not chosen, it would need its own result"),
            Outcome::Refused(refusal) => write!(f, "refused: {refusal}"),
            Outcome::NearMiss { value, expected, found } => {
                write!(f, "near miss: `{value}` is not {expected} but {found}")
            }
        }
    }
}

/// A time in microseconds with three digits, from picoseconds, without floats.
struct Time(i128);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanoseconds = self.0.unsigned_abs() / 1000;
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{:03} us", nanoseconds / 1000, nanoseconds % 1000)
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
        let ps = i128::try_from(self.ps).unwrap_or(i128::MAX);
        write!(f, "{}, {} launches", Time(ps), self.launches)
    }
}
