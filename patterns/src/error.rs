//! Why a text is no rule.

use mscc_ir::attr::AttrError;

/// What is wrong in a file of rules, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {problem}")]
pub struct RuleError {
    /// The file's name as given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: Box<Problem>,
}

/// What can be wrong in a rule's text.
///
/// What to do: mend the rule at that place; patterns/README.md describes rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Another word or sign was to come.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What was to come.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A name that stands for nothing.
    #[error("unknown {what} `{name}`: {}", suggestion(.nearest, .known))]
    Unknown {
        /// What it should name: `op`, `guard`, …
        what: &'static str,
        /// The name.
        name: String,
        /// The known name most like it, if one is alike.
        nearest: Option<String>,
        /// All known names.
        known: Vec<String>,
    },
    /// Attributes that do not fit their op.
    #[error("`{op}`: {error}")]
    Attribute {
        /// The op.
        op: &'static str,
        /// What does not fit.
        error: AttrError,
    },
    /// A variable that nothing gives a value.
    #[error("`?{0}` is not bound on the left side")]
    Unbound(String),
    /// The name of an axis that stands alone nowhere on the left side.
    #[error("no axis of the left side is called `{0}`")]
    UnboundAxis(String),
    /// A clause of the left side whose result no clause before it reads.
    #[error(
        "`?{0}` is not an operand of a clause before this one and reads none, so there is no way to find it from the first"
    )]
    NotReached(String),
    /// A clause reads a value that an earlier clause of the left side has found.
    #[error("`?{0}` is the result of a clause before this one: write that clause after all that read it")]
    ReadsEarlier(String),
    /// A node among its own operands.
    #[error("`?{0}` is computed from itself")]
    ReadsItself(String),
    /// A result that the node does not have.
    #[error("`{op}` has {results} results, there is no `?{name}.{index}`")]
    NoSuchResult {
        /// The node's name in the rule.
        name: String,
        /// Its op.
        op: &'static str,
        /// The result asked for.
        index: u32,
        /// How many it has.
        results: usize,
    },
    /// A node of several results used as one value.
    #[error("`?{name}` is a node of `{op}`, which has several results: write `?{name}.0` for the first")]
    SeveralResults {
        /// The node's name in the rule.
        name: String,
        /// Its op.
        op: &'static str,
    },
    /// Too few or too many operands or arguments.
    #[error("`{of}` takes {expected}, given {given}")]
    Count {
        /// The op or guard.
        of: &'static str,
        /// What it takes.
        expected: String,
        /// How many are given.
        given: usize,
    },
    /// A part of the rule that must be there.
    #[error("the rule has no `{0}`")]
    Missing(&'static str),
    /// Something that may stand only once.
    #[error("`{0}` is there twice")]
    Twice(String),
    /// An operand without a type.
    #[error("`?{0}` has no type: add it under `given`")]
    NoType(String),
    /// A type for what is no operand of the left side.
    #[error("`?{0}` is no operand of the left side, so it takes no type")]
    NotOperand(String),
    /// A name used as an attribute's value and as a tensor, or with and without a star.
    #[error("`?{name}` is {is} and cannot be {used} here")]
    Kind {
        /// The name.
        name: String,
        /// What it is.
        is: &'static str,
        /// What it is used as.
        used: &'static str,
    },
    /// A rule that rounds more often, of a phase that only simplifies.
    #[error("only rules of the phases `choose` and `expand` may round more often")]
    MoreRoundings,
    /// The first matched node is not among those made.
    #[error("`?{0}`, the first node of the left side, equals nothing")]
    FirstNotEqual(String),
    /// A text that is too long or too deep.
    #[error("{0}")]
    TooLarge(&'static str),
    /// A file under `rules/` that does not hold the one rule it is named after.
    #[error("expected one rule, named `{0}` like its file")]
    FileName(String),
}

impl Problem {
    /// The problem that `name` is none of `known`.
    pub(crate) fn unknown<'a>(
        what: &'static str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let known: Vec<String> = known.into_iter().map(str::to_owned).collect();
        let name: String = name.chars().take(MAX_COMPARED).collect();
        let near = |other: &&String| distance(&name, other) <= ((name.chars().count() + 1) / 3).max(1);
        let nearest = known.iter().filter(near).min_by_key(|other| distance(&name, other)).cloned();
        Problem::Unknown { what, name, nearest, known }
    }
}

/// Characters of an unknown name that are compared with the known ones.
const MAX_COMPARED: usize = 64;

fn suggestion(nearest: &Option<String>, known: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if known.is_empty() => "there are none".to_owned(),
        None => format!("expected one of {}", known.join(", ")),
    }
}

/// Characters to insert, delete or replace to turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names() {
        let known = ["add", "mul", "rms_norm"];
        let text = |name| Problem::unknown("op", name, known).to_string();
        assert_eq!(text("rmsnorm"), "unknown op `rmsnorm`: did you mean `rms_norm`?");
        assert_eq!(text("softmax"), "unknown op `softmax`: expected one of add, mul, rms_norm");
    }
}
