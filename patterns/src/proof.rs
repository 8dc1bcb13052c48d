//! Proof of rules by test: both sides on the reference interpreter, over random types, sizes and tensors.

use std::collections::{BTreeMap, HashMap};

use mscc_ir::graph::NodeKind;
use mscc_ir::ops::EvalError;
use mscc_ir::reference::{Data, Rounding, Sampler, Tensor, interpret};
use mscc_ir::{DType, Symbol, TensorType};

use crate::draw::{self, Sizes};
use crate::given::check_given;
use crate::guards::{MatchView, check_guard};
use crate::instantiate::{self, Assignment, BuildError, Instance, Side, build_left};
use crate::rule::{DTypeClass, Given, GuardArg, GuardCall, Numerics, Rule};

/// Greatest difference of the two sides computed in f64, relative to the greater.
const TOLERANCE: f64 = 1e-9;
/// How much greater than the left side's the right side's error through rounding may be, to allow for chance.
const ROUNDING_SLACK: f64 = 1.05;
/// Random instances tried for one that the rule's guards let through.
const ATTEMPTS: u32 = 4000;
/// Instances next to each one that was let through.
const NEIGHBOURS: u32 = 8;

/// What was found in proving a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Proof {
    /// Instances on which both sides were equal.
    pub instances: u32,
    /// RMS error through rounding of the left and of the right side, relative to the exact values.
    pub rounding: Option<(f64, f64)>,
    /// How often each condition refused an instance.
    pub refused: BTreeMap<String, u32>,
}

/// Why a rule is not proved.
///
/// What to do: mend a side of the rule, or add a guard that leaves such instances out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ProofFailure {
    /// No types were found that the rule takes.
    #[error("no instance in {ATTEMPTS} random ones fits; the last: {reason}")]
    NoInstance {
        /// Why the last one did not.
        reason: String,
    },
    /// The right side cannot be built where the left side can.
    #[error("{instance}: the right side cannot be built: {error}")]
    RightSide {
        /// Types of the operands.
        instance: String,
        /// Why.
        error: BuildError,
    },
    /// The sides differ in number or type of their results.
    #[error("{instance}: the left side gives {left}, the right side {right}")]
    Types {
        /// Types of the operands.
        instance: String,
        /// The left side's results.
        left: String,
        /// The right side's results.
        right: String,
    },
    /// The sides compute different values.
    #[error("{instance}: result {result} is {left:?} on the left side and {right:?} on the right side{how}", how = .rounding.text())]
    Values {
        /// Types of the operands.
        instance: String,
        /// Position in the rule's equalities.
        result: usize,
        /// An element of the left side's result.
        left: f64,
        /// The same of the right side's.
        right: f64,
        /// Whether each op's results were rounded; if so, it is the claim to be exact that fails.
        rounding: Rounded,
    },
    /// The right side's error through rounding is greater.
    #[error("RMS error through rounding grows from {left:e} to {right:e}")]
    MoreRoundings {
        /// The left side's.
        left: f64,
        /// The right side's.
        right: f64,
    },
    /// A result of the right side that neither replaces anything nor is read: an equality is missing.
    #[error("`{value}` of the right side equals nothing and is not read")]
    Unused {
        /// The value's name in the right side.
        value: String,
    },
    /// A condition that holds of every instance: it says nothing, or is not what was meant.
    #[error("`{condition}` refused none of the instances")]
    NeverRefuses {
        /// The guard's call, or the variable's type.
        condition: String,
    },
    /// The interpreter failed.
    #[error("{instance}: {error}")]
    Eval {
        /// Types of the operands.
        instance: String,
        /// Why.
        error: EvalError,
    },
}

/// Whether values compared were rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounded {
    /// To their types after each op.
    Stored,
    /// Not at all.
    Not,
}

impl Rounded {
    fn text(self) -> &'static str {
        match self {
            Rounded::Stored => ", rounded as stored",
            Rounded::Not => "",
        }
    }
}

/// Tries `rule` on `rounds` random instances that its conditions let through and on their neighbours.
///
/// On each, both sides must have equal types with symbolic sizes, and equal values to 1e-9 without rounding. A
/// rule that is `exact` must give equal bits with results rounded to their types; one that saves roundings must
/// not be further from the exact values than its left side. Each condition must refuse some instance.
pub fn prove(rule: &Rule, seed: u64, rounds: u32) -> Result<Proof, ProofFailure> {
    let orders = rule.operand_orders();
    let mut prover = Prover::new(rule, seed);
    for round in 0..rounds {
        prover.rule = &orders[round as usize % orders.len()];
        prover.round(round)?;
    }
    let conditions = rule.guards.iter().map(GuardCall::to_string);
    for condition in conditions.chain(rule.given.iter().filter(|given| can_refuse(given)).map(key)) {
        if !prover.refused.contains_key(&condition) {
            return Err(ProofFailure::NeverRefuses { condition });
        }
    }
    let mean = |error: f64| (error / f64::from(prover.measured.max(1))).sqrt();
    let (left, right) = (mean(prover.errors[0]), mean(prover.errors[1]));
    if rule.numerics == Numerics::FewerRoundings && right > left * ROUNDING_SLACK && prover.grows() {
        return Err(ProofFailure::MoreRoundings { left, right });
    }
    let rounding = (prover.measured > 0).then_some((left, right));
    Ok(Proof { instances: prover.instances, rounding, refused: prover.refused })
}

fn key(given: &Given) -> String {
    format!("?{}: {given}", given.var)
}

/// Whether some type is not as given, whatever the other operands are.
fn can_refuse(given: &Given) -> bool {
    given.dtype != DTypeClass::Any || !given.leading || !given.axes.is_empty()
}

struct Prover<'a> {
    rule: &'a Rule,
    sampler: Sampler,
    instances: u32,
    /// Sums of squared relative errors of the left and of the right side.
    errors: [f64; 2],
    /// Sum of the squares of what the right side's is greater.
    squared_growth: f64,
    measured: u32,
    refused: BTreeMap<String, u32>,
}

impl<'a> Prover<'a> {
    fn new(rule: &'a Rule, seed: u64) -> Self {
        let sampler = Sampler::new(seed);
        let refused = BTreeMap::new();
        Prover { rule, sampler, instances: 0, errors: [0.0; 2], squared_growth: 0.0, measured: 0, refused }
    }

    /// Whether the growth of errors is more than chance: twice its standard error. A few results that nearly cancel
    /// have most of both sides' errors.
    fn grows(&self) -> bool {
        let count = f64::from(self.measured.max(2));
        let growth = (self.errors[1] - self.errors[0]) / count;
        let variance = (self.squared_growth - count * growth * growth) / (count - 1.0);
        growth > 2.0 * (variance.max(0.0) / count).sqrt()
    }

    fn round(&mut self, round: u32) -> Result<(), ProofFailure> {
        let (assignment, sizes, left) = self.instance(round)?;
        self.compare(&assignment, &sizes, &left)?;
        for _ in 0..NEIGHBOURS {
            let neighbour = draw::neighbour(&assignment, &mut self.sampler);
            let left = instantiate::left(self.rule, &neighbour).ok();
            if let (true, Some(left)) = (self.conditions(&neighbour, left.as_ref()).is_ok(), left) {
                self.compare(&neighbour, &sizes, &left)?;
            }
        }
        Ok(())
    }

    /// A random instance that the conditions let through.
    fn instance(&mut self, round: u32) -> Result<(Assignment, Sizes, Side), ProofFailure> {
        let mut reason = String::new();
        for attempt in 0..ATTEMPTS {
            let (mut assignment, sizes) = draw::types(self.rule, &mut self.sampler, round, attempt);
            let left = build_left(self.rule, &mut assignment, Some(&mut self.sampler));
            match (self.conditions(&assignment, left.as_ref().ok()), left) {
                (Ok(()), Ok(left)) => return Ok((assignment, sizes, left)),
                (_, Err(error)) => reason = format!("{}: {error}", describe(&assignment)),
                (Err(refusal), Ok(_)) => reason = format!("{}: {refusal}", describe(&assignment)),
            }
        }
        Err(ProofFailure::NoInstance { reason })
    }

    /// Holds all conditions against an instance and counts those that refuse it; the error is the first.
    fn conditions(&mut self, assignment: &Assignment, left: Option<&Side>) -> Result<(), String> {
        let instance = Instance { rule: self.rule, assignment, left };
        let mut first = None;
        if let Err(refusal) = check_given(self.rule, &instance) {
            let given = self.rule.given.iter().map(key).find(|key| {
                let condition = refusal.condition.replace("*:", ":");
                condition.strip_prefix("given ").is_some_and(|condition| condition == key)
            });
            *self.refused.entry(given.unwrap_or_default()).or_default() += 1;
            first = Some(refusal.to_string());
        }
        for call in &self.rule.guards {
            let known = |arg: &GuardArg| match arg {
                GuardArg::Var(var) | GuardArg::Star(var) => {
                    instance.attr(var).is_some() || !instance.types(var).is_empty()
                }
                GuardArg::Int(_) | GuardArg::Name(_) => true,
            };
            if let (true, Err(refusal)) = (call.args.iter().all(known), check_guard(call, &instance)) {
                *self.refused.entry(call.to_string()).or_default() += 1;
                first.get_or_insert_with(|| refusal.to_string());
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Both sides of an instance must agree.
    fn compare(&mut self, assignment: &Assignment, sizes: &Sizes, left: &Side) -> Result<(), ProofFailure> {
        let instance = || describe(assignment);
        let right = instantiate::right(self.rule, assignment)
            .map_err(|error| ProofFailure::RightSide { instance: instance(), error })?;
        if types(left) != types(&right) {
            let show = |side| types(side).iter().map(|ty| ty.to_string()).collect::<Vec<_>>().join(", ");
            return Err(ProofFailure::Types { instance: instance(), left: show(left), right: show(&right) });
        }
        if let Some((left, right)) =
            right.pairs.iter().map(|(a, b)| (right.graph.ty(*a), right.graph.ty(*b))).find(|(a, b)| a != b)
        {
            let (left, right) = (left.to_string(), right.to_string());
            return Err(ProofFailure::Types { instance: instance(), left, right });
        }
        if let Some(value) = unused(&right) {
            return Err(ProofFailure::Unused { value });
        }
        let size = |symbol: &Symbol| sizes.get(symbol).copied();
        let fail = |error| ProofFailure::Eval { instance: instance(), error };
        let leaves = self.sampler.leaves(&left.graph, &size).map_err(fail)?;
        let both = |rounding| {
            let [(mut a, _), (mut b, (c, d))] =
                [results(left, &size, &leaves, rounding)?, results(&right, &size, &leaves, rounding)?];
            a.extend(c);
            b.extend(d);
            Ok::<_, EvalError>((a, b))
        };
        let (left_exact, right_exact) = both(Rounding::Exact).map_err(fail)?;
        let (left_stored, right_stored) = both(Rounding::Stored).map_err(fail)?;
        let pairs = |a: &[Tensor], b: &[Tensor], same: fn(f64, f64, f64) -> bool, rounding| {
            let differs =
                a.iter().zip(b).enumerate().find_map(|(nth, (a, b))| Some((nth, difference(a, b, same)?)));
            differs.map_or(Ok(()), |(result, (left, right))| {
                Err(ProofFailure::Values { instance: instance(), result, left, right, rounding })
            })
        };
        pairs(&left_exact, &right_exact, close, Rounded::Not)?;
        match self.rule.numerics {
            Numerics::Exact => pairs(&left_stored, &right_stored, same_bits, Rounded::Stored)?,
            Numerics::MoreRoundings => {}
            Numerics::FewerRoundings => {
                let usual =
                    |ty: &TensorType| !ty.dtype.is_float() || matches!(ty.dtype, DType::F32 | DType::BF16);
                if assignment.types.values().flatten().all(usual) {
                    for (nth, exact) in left_exact.iter().enumerate() {
                        let errors = [
                            relative_error(exact, &left_stored[nth]),
                            relative_error(exact, &right_stored[nth]),
                        ];
                        if let [Some(left), Some(right)] = errors {
                            self.errors[0] += left;
                            self.errors[1] += right;
                            self.squared_growth += (right - left).powi(2);
                            self.measured += 1;
                        }
                    }
                }
            }
        }
        self.instances += 1;
        Ok(())
    }
}

/// Types of an instance, for failures.
fn describe(assignment: &Assignment) -> String {
    let types = assignment.types.iter().map(|(var, types)| {
        let types: Vec<String> = types.iter().map(TensorType::to_string).collect();
        format!("?{var}: {}", types.join(" "))
    });
    let attrs = assignment.attrs.iter().map(|(var, value)| format!("?{var} = {value}"));
    types.chain(attrs).collect::<Vec<_>>().join(", ")
}

fn types(side: &Side) -> Vec<&TensorType> {
    side.results.iter().map(|value| side.graph.ty(*value)).collect()
}

/// Name of a computed value that is no result and that no node reads.
fn unused(side: &Side) -> Option<String> {
    let read = |value| {
        let paired = side.pairs.iter().any(|(a, b)| *a == value || *b == value);
        paired
            || side.results.contains(&value)
            || side.graph.nodes().any(|(_, node)| node.operands.contains(&value))
    };
    let ops = side.graph.nodes().filter(|(_, node)| matches!(node.kind, NodeKind::Op(_)));
    ops.flat_map(|(id, node)| (0..node.results.len()).map(move |index| (id, index)))
        .map(|(node, index)| mscc_ir::Value { node, index: index as u32 })
        .find(|value| !read(*value))
        .map(|value| side.graph.value_name(value).to_owned())
}

/// Values of a side's results, and of the pairs within it.
#[allow(clippy::type_complexity)] // two lists of one length
fn results(
    side: &Side,
    size: &dyn Fn(&Symbol) -> Option<i64>,
    leaves: &HashMap<String, Tensor>,
    rounding: Rounding,
) -> Result<(Vec<Tensor>, (Vec<Tensor>, Vec<Tensor>)), EvalError> {
    let values = interpret(&side.graph, size, leaves, rounding)?;
    let tensors = side.results.iter().map(|value| values[value].clone()).collect();
    Ok((tensors, side.pairs.iter().map(|(a, b)| (values[a].clone(), values[b].clone())).unzip()))
}

/// The first pair of elements that are not the `same`, given the greatest magnitude in the tensor.
fn difference(a: &Tensor, b: &Tensor, same: fn(f64, f64, f64) -> bool) -> Option<(f64, f64)> {
    if a.shape != b.shape {
        return Some((a.numel() as f64, b.numel() as f64));
    }
    if let (Data::Int(a), Data::Int(b)) = (&a.data, &b.data) {
        return a.iter().zip(b).find(|(a, b)| a != b).map(|(a, b)| (*a as f64, *b as f64));
    }
    let (a, b) = (a.to_f64(), b.to_f64());
    let greatest = a.iter().fold(0.0, |greatest: f64, value| greatest.max(value.abs()));
    a.into_iter().zip(b).find(|(a, b)| !same(*a, *b, greatest))
}

fn close(a: f64, b: f64, greatest: f64) -> bool {
    // Sums in another order leave a rest where they cancel, of the size of the rest of the tensor.
    let bound = TOLERANCE * a.abs().max(b.abs()) + 1e-3 * TOLERANCE * greatest;
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= bound
}

fn same_bits(a: f64, b: f64, _: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Squared RMS error relative to the RMS of the exact values; `None` where that means nothing.
fn relative_error(exact: &Tensor, stored: &Tensor) -> Option<f64> {
    let (exact, stored) = (exact.to_f64(), stored.to_f64());
    let error: f64 = exact.iter().zip(&stored).map(|(exact, stored)| (exact - stored).powi(2)).sum();
    let magnitude: f64 = exact.iter().map(|exact| exact * exact).sum();
    Some(error / magnitude).filter(|relative| relative.is_finite())
}

#[cfg(test)]
mod tests;
