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
    /// The layers, ascending and disjoint; layer 0 alone where the name is of no layer.
    pub layers: Vec<Range<u32>>,
    /// What is wrong.
    pub mismatch: Mismatch,
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
        let name = match self.layers.as_slice() {
            [one] if one.len() == 1 => self.name.render(i64::from(one.start)),
            _ => self.name.as_str().to_owned(),
        };
        write!(f, "{name}: ")?;
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
        if self.layers.iter().map(|layers| layers.len()).sum::<usize>() > 1 {
            f.write_str(" (layers")?;
            for (at, layers) in self.layers.iter().enumerate() {
                write!(f, "{}{}", if at > 0 { ", " } else { " " }, layers.start)?;
                if layers.len() > 1 {
                    write!(f, "-{}", layers.end - 1)?;
                }
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// Compares tensors as the trace comes by them.
pub(super) struct Checker<'a> {
    checkpoint: &'a Checkpoint,
    read: HashSet<&'a str>,
    problems: BTreeMap<(Template, Mismatch), Vec<Range<u32>>>,
}

impl<'a> Checker<'a> {
    pub fn new(checkpoint: &'a Checkpoint) -> Self {
        Checker { checkpoint, read: HashSet::new(), problems: BTreeMap::new() }
    }

    /// Compares a tensor, or all of a stack.
    pub fn check(&mut self, weight: &UsedWeight, layer: u32) {
        let (members, shape) = weight.members();
        let mut first = None;
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
                self.report(name, layer, mismatch);
            }
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

    fn report(&mut self, name: Template, layer: u32, mismatch: Mismatch) {
        let layers = self.problems.entry((name, mismatch)).or_default();
        match layers.last_mut() {
            Some(last) if last.end == layer => last.end += 1,
            // Two functions read it.
            Some(last) if last.end > layer => {}
            Some(_) | None => layers.push(layer..layer + 1),
        }
    }

    /// All that is wrong, ordered by name.
    pub fn problems(&self) -> Vec<WeightProblem> {
        let unread: Vec<&str> = self.unread().take(MAX_COMPARED).collect();
        let mut guesses = MAX_GUESSES;
        let problems = self.problems.iter().map(|((name, mismatch), layers)| {
            let mut mismatch = mismatch.clone();
            if let (Mismatch::Missing { nearest: guess, .. }, Some(first)) = (&mut mismatch, layers.first())
                && guesses > 0
            {
                guesses -= 1;
                let name = name.render(i64::from(first.start));
                *guess = nearest(&name, unread.iter().copied()).map(str::to_owned);
            }
            WeightProblem { name: name.clone(), layers: layers.clone(), mismatch }
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
