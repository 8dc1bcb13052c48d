//! The model's tensors against those of the checkpoint.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Range;

use mscc_checkpoint::Checkpoint;
use mscc_ir::{DType, Template};

use super::context::weight_dtype;
use super::scope::UsedWeight;
use super::warning::Warning;
use crate::hf::nearest;
use crate::keys::Ignored;
use crate::spec::Family;

/// Tensors of one name over the layers that have the same problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightProblem {
    /// Their name.
    pub name: Template,
    /// Which of them, by ascending layers.
    pub affected: Vec<Affected>,
    /// What is wrong.
    pub mismatch: Mismatch,
}

/// Tensors of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affected {
    /// The layers; layer 0 alone where the name is of no layer.
    pub layers: Range<u32>,
    /// The members of the stack in each of these layers, ascending and disjoint; member 0 alone of what is no stack.
    pub members: Vec<Range<u32>>,
}

/// What is wrong with a tensor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mismatch {
    /// It is not there.
    Missing {
        /// The shape wanted, in elements.
        expected: Vec<u64>,
        /// A tensor that is there with almost this name.
        nearest: Option<String>,
    },
    /// It has another shape.
    Shape {
        /// The shape wanted, in elements.
        expected: Vec<u64>,
        /// The shape stored, in elements.
        found: Vec<u64>,
    },
    /// It is stored in a type that weights of these models do not have.
    DType {
        /// The type stored.
        found: mscc_checkpoint::DType,
    },
    /// It is one of several tensors that are used as one, and stored in another type than the first.
    Mixed {
        /// The type of the first.
        first: DType,
        /// The type stored.
        found: DType,
    },
}

impl fmt::Display for WeightProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count: usize = self.affected.iter().map(Affected::count).sum();
        match self.affected.first() {
            Some(Affected { layers, members }) if count == 1 => {
                let member = members.first().map_or(0, |members| members.start);
                f.write_str(&self.name.member(member).render(i64::from(layers.start)))?;
            }
            Some(_) | None => f.write_str(self.name.as_str())?,
        }
        f.write_str(": ")?;
        match &self.mismatch {
            Mismatch::Missing { expected, nearest } => {
                write!(f, "expected {expected:?}, but it is missing")?;
                if let Some(nearest) = nearest {
                    write!(f, ", did you mean `{nearest}`?")?;
                }
            }
            Mismatch::Shape { expected, found } => write!(f, "expected {expected:?}, found {found:?}")?,
            Mismatch::DType { found } => write!(f, "expected BF16, F16, F32 or F64, found {found}")?,
            Mismatch::Mixed { first, found } => {
                write!(f, "expected {first}, the type of the first expert's, found {found}")?;
            }
        }
        if count == 1 {
            return Ok(());
        }
        if !self.name.is_stacked() {
            let layers: Vec<_> = self.affected.iter().map(|affected| affected.layers.clone()).collect();
            return write!(f, " (layers {})", Ranges(&layers));
        }
        write!(f, " ({count} tensors, ")?;
        for (at, Affected { layers, members }) in self.affected.iter().take(SHOWN).enumerate() {
            f.write_str(if at > 0 { "; " } else { "" })?;
            if self.name.is_layered() {
                let layer = if layers.len() > 1 { "layers" } else { "layer" };
                write!(f, "{layer} {}: ", Ranges(std::slice::from_ref(layers)))?;
            }
            write!(f, "experts {}", Ranges(members))?;
        }
        f.write_str(if self.affected.len() > SHOWN { "; …)" } else { ")" })
    }
}

impl Affected {
    fn count(&self) -> usize {
        self.layers.len() * self.members.iter().map(Range::len).sum::<usize>()
    }
}

/// The first few ranges, with the last number of each.
struct Ranges<'a>(&'a [Range<u32>]);

/// How many ranges of layers or experts a message lists.
const SHOWN: usize = 16;

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, range) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}{}", if at > 0 { ", " } else { "" }, range.start)?;
            if range.len() > 1 {
                write!(f, "-{}", range.end - 1)?;
            }
        }
        f.write_str(if self.0.len() > SHOWN { ", …" } else { "" })
    }
}

/// Compares tensors as the trace comes by them.
pub(super) struct Checker<'a> {
    checkpoint: &'a Checkpoint,
    read: HashSet<&'a str>,
    problems: BTreeMap<(Template, Mismatch), Vec<Affected>>,
}

impl<'a> Checker<'a> {
    pub fn new(checkpoint: &'a Checkpoint) -> Self {
        Checker { checkpoint, read: HashSet::new(), problems: BTreeMap::new() }
    }

    /// Compares a tensor, or all of a stack.
    pub fn check(&mut self, weight: &UsedWeight, layer: u32) {
        let (members, shape) = weight.members();
        let mut first = None;
        let mut mismatches: BTreeMap<Mismatch, Vec<Range<u32>>> = BTreeMap::new();
        for member in 0..members {
            let name = weight.name.member(member);
            let mismatch = match self.mismatch(&name.render(i64::from(layer)), shape) {
                Ok(dtype) => {
                    let first = *first.get_or_insert(dtype);
                    (dtype != first).then_some(Mismatch::Mixed { first, found: dtype })
                }
                Err(mismatch) => Some(mismatch),
            };
            if let Some(mismatch) = mismatch {
                append(mismatches.entry(mismatch).or_default(), member);
            }
        }
        for (mismatch, members) in mismatches {
            self.report(weight.name.clone(), layer, members, mismatch);
        }
    }

    /// The type in which a tensor of this name and shape is stored, or what is wrong with it.
    fn mismatch(&mut self, name: &str, shape: &[u64]) -> Result<DType, Mismatch> {
        let expected = || shape.to_vec();
        let Some((name, stored)) = self.checkpoint.tensors().get_key_value(name) else {
            return Err(Mismatch::Missing { expected: expected(), nearest: None });
        };
        self.read.insert(name);
        if stored.shape != shape {
            return Err(Mismatch::Shape { expected: expected(), found: stored.shape.clone() });
        }
        weight_dtype(&stored.dtype).ok_or_else(|| Mismatch::DType { found: stored.dtype.clone() })
    }

    fn report(&mut self, name: Template, layer: u32, members: Vec<Range<u32>>, mismatch: Mismatch) {
        let affected = self.problems.entry((name, mismatch)).or_default();
        match affected.last_mut() {
            Some(last) if last.layers.end == layer && last.members == members => last.layers.end += 1,
            // Two functions read it.
            Some(last) if last.layers.end > layer => {}
            Some(_) | None => affected.push(Affected { layers: layer..layer + 1, members }),
        }
    }

    /// All that is wrong, ordered by name.
    pub fn problems(&self) -> Vec<WeightProblem> {
        let unread: Vec<&str> = self.unread().take(MAX_COMPARED).collect();
        let mut guesses = MAX_GUESSES;
        let problems = self.problems.iter().map(|((name, mismatch), affected)| {
            let mut mismatch = mismatch.clone();
            if let (Mismatch::Missing { nearest: guess, .. }, Some(first)) = (&mut mismatch, affected.first())
                && guesses > 0
            {
                guesses -= 1;
                let member = first.members.first().map_or(0, |members| members.start);
                let name = name.member(member).render(i64::from(first.layers.start));
                let guessed = nearest(&name, unread.iter().copied());
                *guess = guessed.filter(|guess| is_meant(guess, &name)).map(str::to_owned);
            }
            WeightProblem { name: name.clone(), affected: affected.clone(), mismatch }
        });
        problems.collect()
    }

    /// Stored tensors that the model does not read, one entry for each pattern of names: those of which nobody
    /// knows why, and those of which somebody does.
    ///
    /// `further` layers behind the `num_layers` of the model are known to predict further tokens.
    pub fn unread_tensors(
        &self,
        family: &Family,
        num_layers: u32,
        further: u32,
    ) -> (Vec<Warning>, Vec<Ignored>) {
        let own = family.skip.iter().map(|(pattern, reason)| (pattern.as_str(), reason.as_str()));
        let skipped: Vec<(&str, &str)> = own.chain(SKIPPED).collect();
        let mut counts = vec![0_usize; skipped.len()];
        let mut patterns: BTreeMap<String, usize> = BTreeMap::new();
        let (mut past, mut predicting) = (0, 0);
        for name in self.unread() {
            if let Some(at) = skipped.iter().position(|(pattern, _)| matches(pattern, name)) {
                counts[at] += 1;
            } else if is_past(family.layers.at.as_str(), name, num_layers) {
                match is_past(family.layers.at.as_str(), name, num_layers.saturating_add(further)) {
                    true => past += 1,
                    false => predicting += 1,
                }
            } else {
                let pattern = pattern(name);
                let full = patterns.len() >= MAX_PATTERNS && !patterns.contains_key(&pattern);
                *patterns.entry(if full { OTHERS.to_owned() } else { pattern }).or_default() += 1;
            }
        }
        let known: HashSet<String> = self.read.iter().map(|name| pattern(name)).collect();
        let mut known: Vec<&str> = known.iter().map(String::as_str).collect();
        known.sort_unstable();
        known.truncate(MAX_COMPARED);
        let warnings = patterns.into_iter().map(|(pattern, count)| Warning::UnreadTensors {
            nearest: nearest(&pattern, known.iter().copied()).map(str::to_owned),
            pattern,
            count,
        });
        let past = (past > 0).then_some(Warning::LayersPastLast { count: past, num_layers });
        let ignored = skipped.iter().zip(counts).filter(|(_, count)| *count > 0);
        let ignored = ignored.map(|((pattern, reason), count)| Ignored {
            name: format!("{count} tensors `{pattern}`"),
            reason: (*reason).to_owned(),
        });
        let predicting = (predicting > 0).then(|| Ignored {
            name: format!("{predicting} tensors of layers from {num_layers} on"),
            reason: "they predict further tokens, which plain decoding leaves out".to_owned(),
        });
        (past.into_iter().chain(warnings).collect(), ignored.chain(predicting).collect())
    }

    fn unread(&self) -> impl Iterator<Item = &'a str> {
        self.checkpoint.tensors().keys().map(String::as_str).filter(|name| !self.read.contains(name))
    }
}

/// Whether a name is a misspelling of another, or lacks its beginning, or has more of it: what all names of a layer
/// have in common does not make two of them alike.
fn is_meant(guess: &str, name: &str) -> bool {
    let (mut left, mut right): (Vec<&str>, Vec<&str>) =
        (guess.split('.').collect(), name.split('.').collect());
    while left.last().is_some() && left.last() == right.last() {
        left.pop();
        right.pop();
    }
    if left.is_empty() || right.is_empty() {
        return true;
    }
    let common = left.iter().zip(&right).take_while(|(left, right)| left == right).count();
    nearest(&right[common..].join("."), [left[common..].join(".").as_str()]).is_some()
}

/// Adds a number to ascending ranges.
fn append(ranges: &mut Vec<Range<u32>>, number: u32) {
    match ranges.last_mut() {
        Some(last) if last.end == number => last.end += 1,
        Some(_) | None => ranges.push(number..number + 1),
    }
}

/// Patterns of tensors that checkpoints of any family may hold and no model reads, and why.
const SKIPPED: [(&str, &str); 4] = [
    ("*.rotary_emb.inv_freq", "computed from the config"),
    ("*.rotary_emb.cos_cached", "computed from the config"),
    ("*.rotary_emb.sin_cached", "computed from the config"),
    ("*.attn.masked_bias", "a mask, which attention needs none of"),
];

/// How many names a missing one is compared with, and for how many missing ones.
const MAX_COMPARED: usize = 1024;
const MAX_GUESSES: usize = 16;
/// How many patterns of unread tensors are told apart.
const MAX_PATTERNS: usize = 32;
const OTHERS: &str = "(others)";

/// The name with `*` for every number between points.
fn pattern(name: &str) -> String {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = name.split('.').map(|part| if is_number(part) { "*" } else { part }).collect();
    parts.join(".")
}

/// Whether the tensor is of a layer that the model does not have, as prediction layers are.
fn is_past(at: &str, name: &str, num_layers: u32) -> bool {
    let Some((before, _)) = at.split_once("{i}") else { return false };
    let Some(rest) = name.strip_prefix(before) else { return false };
    let number = rest.split('.').next().unwrap_or(rest);
    number.parse().is_ok_and(|layer: u32| layer >= num_layers)
}

/// Whether `name` is as `pattern` says, where `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match() {
        assert!(matches("*.rotary_emb.inv_freq", "model.layers.0.self_attn.rotary_emb.inv_freq"));
        assert!(matches("a*b*c", "abbc") && matches("a*", "a") && matches("abc", "abc"));
        assert!(!matches("a*b*c", "acb") && !matches("abc", "abcd") && !matches("*b", "a"));
        assert_eq!(pattern("model.layers.12.mlp.3.w1"), "model.layers.*.mlp.*.w1");
    }

    #[test]
    fn layers_past_the_last_are_known() {
        assert!(is_past("model.layers.{i}", "model.layers.61.eh_proj.weight", 61));
        assert!(!is_past("model.layers.{i}", "model.layers.60.eh_proj.weight", 61));
        assert!(!is_past("model.layers.{i}", "model.norm.weight", 0));
    }
}
