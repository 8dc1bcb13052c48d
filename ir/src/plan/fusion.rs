//! What fusion did to a function and why, for people and scripts to read: nothing runs from it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What fusion did to one function in one variant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fusion {
    /// Symbols, with the sizes at which costs were compared.
    pub sizes: Vec<(String, i64)>,
    /// Cost of the function as given, after removal of what is unused or computed twice.
    pub before: Cost,
    /// Cost of the function as chosen.
    pub after: Cost,
    /// What each rule did, in the order in which rules run: by phase, then by name.
    pub rules: Vec<RuleReport>,
}

/// Cost of one call of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Time, picoseconds.
    pub ps: i64,
    /// Kernel launches.
    pub launches: i64,
    /// Bytes read and written.
    pub bytes: i64,
}

/// What a rule did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleReport {
    /// Its name.
    pub rule: String,
    /// What happened at each of its matches: those that hold, then those refused, then near misses.
    pub events: Vec<Event>,
}

/// What happened at one match of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Names of the values that it computes otherwise.
    pub at: Vec<String>,
    /// Names of all values whose nodes it matched.
    pub replaced: Vec<String>,
    /// Which of all rewrites of the model it is, from 1; none if it was not made.
    pub number: Option<u32>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is in the result. What the old form costs more, everything else unchanged; nothing where the old form alone
    /// makes no graph, since something else that was chosen is built on the new one.
    Fired(Cost),
    /// It is in the result, since the target has no kernel for what it replaces.
    Needed,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// It would cost so many picoseconds more.
    Dearer(i64),
    /// The target has no kernel for it, or for what it is built on.
    NoKernel,
    /// Its values are not needed by what was chosen.
    Unused,
    /// With what was chosen elsewhere it would need its own result.
    Cyclic,
}

/// What stood against a rewrite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What had to hold: a condition of the rule as written there, or what the op made asks for.
    pub condition: String,
    /// Operands of the rule with what they are instead.
    pub found: Vec<(String, String)>,
}

impl Fusion {
    /// All matches of rules, with the rule's name.
    pub fn events(&self) -> impl Iterator<Item = (&str, &Event)> {
        self.rules.iter().flat_map(|rule| rule.events.iter().map(|event| (rule.rule.as_str(), event)))
    }
}

impl Event {
    /// Whether it is in the result.
    pub fn fired(&self) -> bool {
        matches!(self.outcome, Outcome::Fired(_) | Outcome::Needed)
    }
}

impl std::ops::Sub for Cost {
    type Output = Cost;

    fn sub(self, other: Cost) -> Cost {
        Cost {
            ps: self.ps.saturating_sub(other.ps),
            launches: self.launches.saturating_sub(other.launches),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Fired(saved) => {
                write!(f, "fired, saves {} and {} launches", Time(saved.ps), saved.launches)
            }
            Outcome::Needed => f.write_str("fired, the target has no kernel for what it replaces"),
            Outcome::NotChosen(why) => write!(f, "not chosen, {why}"),
            Outcome::Refused(refusal) => write!(f, "refused: {refusal}"),
            Outcome::NearMiss { value, expected, found } => {
                write!(f, "near miss: `{value}` is not {expected} but {found}")
            }
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Dearer(ps) => write!(f, "would cost {} more", Time(*ps)),
            Why::NoKernel => f.write_str("the target has no kernel for it"),
            Why::Unused => f.write_str("its values are not needed"),
            Why::Cyclic => f.write_str("it would need its own result"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.condition)?;
        for (index, (operand, value)) in self.found.iter().enumerate() {
            write!(f, "{} {operand} is {value}", if index == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} launches", Time(self.ps), self.launches)
    }
}

/// A time in microseconds with three digits, from picoseconds, without floats.
struct Time(i64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanoseconds = self.0.unsigned_abs() / 1000;
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{:03} us", nanoseconds / 1000, nanoseconds % 1000)
    }
}
