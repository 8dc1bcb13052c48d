//! The choice of experts and their weights, in one pass.

use super::topk::greatest;
use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, Float, bad};
use crate::reference::{self, Tensor};
use crate::{DType, Dim, TensorType};

/// The `k` best of E experts of each token, and their weights.
///
/// | value        | shape  | dtype     |                                             |
/// |--------------|--------|-----------|---------------------------------------------|
/// | `x`          | [T, E] | any float | products of the router                      |
/// | `bias?`      | \[E\]    | any float | added to the scores for the choice alone    |
/// | -> `weights` | [T, k] | as `x`    | computed in f32, rounded once               |
/// | -> `ids`     | [T, k] | i32       | the experts, best first, equals by place    |
///
/// Scores are the `softmax` or `sigmoid` of `x`. With `groups` above 1, experts are chosen from the `kept` best groups
/// of consecutive experts, a group being as good as its `best` best experts together. The weights are the scores of the
/// chosen, divided by their sum plus `eps` if `renormalize` holds, times `scale`. With `scoring` `softmax_of_chosen` the
/// greatest of `x` are chosen, and the softmax over them are the weights.
///
/// Errors: sizes that do not fit; fewer than `k` experts to choose from; a bias, groups or `renormalize` with
/// `softmax_of_chosen`; `eps` negative or without `renormalize`.
/// Source: CANN operator list, aclnnMoeGatingTopK and aclnnMoeGatingTopKSoftmaxV2.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MoeGating {
    /// How many experts each token gets.
    pub k: u32,
    /// What the router's products become.
    pub scoring: Scoring,
    /// How many groups the experts form.
    pub groups: u32,
    /// How many groups are chosen from.
    pub kept: u32,
    /// How many experts of a group count for it.
    pub best: u32,
    /// Whether the weights are divided by their sum.
    pub renormalize: bool,
    /// Added to the sum.
    pub eps: Float,
    /// Factor of the weights.
    pub scale: Float,
}

/// How scores are made of a router's products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scoring {
    /// The softmax over all experts.
    Softmax,
    /// The sigmoid of each.
    Sigmoid,
    /// The softmax over the chosen experts.
    SoftmaxOfChosen,
}

impl Scoring {
    /// All ways.
    pub const ALL: [Scoring; 3] = [Scoring::Softmax, Scoring::Sigmoid, Scoring::SoftmaxOfChosen];

    /// Its name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Scoring::Softmax => "softmax",
            Scoring::Sigmoid => "sigmoid",
            Scoring::SoftmaxOfChosen => "softmax_of_chosen",
        }
    }
}

impl OpDef for MoeGating {
    const NAME: &'static str = "moe_gating";
    const OPERANDS: &'static [Operand] = &[Operand::one("x"), Operand::optional("bias")];
    const RESULTS: &'static [&'static str] = &["weights", "ids"];

    fn attrs(&self) -> Attrs {
        let mut attrs = vec![
            ("k", Attr::Int(i64::from(self.k))),
            ("scoring", Attr::Name(self.scoring.name().to_owned())),
        ];
        if self.groups != 1 {
            attrs.push(("groups", Attr::Dims(vec![Dim::from(self.groups)])));
        }
        for (name, count) in [("kept", self.kept), ("best", self.best)] {
            if count != 1 {
                attrs.push((name, Attr::Int(i64::from(count))));
            }
        }
        if self.renormalize {
            attrs.push(("renormalize", Attr::Bool(true)));
        }
        for (name, value, default) in [("eps", self.eps, 0.0), ("scale", self.scale, 1.0)] {
            if value != Float(default) {
                attrs.push((name, Attr::Float(value)));
            }
        }
        attrs
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        let k = attrs.size("k")?;
        let name = attrs.name("scoring")?;
        let scoring = Scoring::ALL.into_iter().find(|scoring| scoring.name() == name);
        let expected = "softmax, sigmoid or softmax_of_chosen";
        let scoring = scoring.ok_or_else(|| bad("scoring", expected, &Attr::Name(name.to_owned())))?;
        let groups = match attrs.optional("groups") {
            None => 1,
            Some(found) => {
                let count = match found {
                    Attr::Dims(list) if list.len() == 1 => list[0].as_const(),
                    _ => None,
                };
                let count = count.and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
                count.ok_or_else(|| bad("groups", "a list of one integer from 1", found))?
            }
        };
        Ok(MoeGating {
            k,
            scoring,
            groups,
            kept: attrs.optional_size("kept")?.unwrap_or(1),
            best: attrs.optional_size("best")?.unwrap_or(1),
            renormalize: attrs.flag("renormalize")?,
            eps: attrs.optional_float("eps")?.unwrap_or(Float(0.0)),
            scale: attrs.optional_float("scale")?.unwrap_or(Float(1.0)),
        })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let x = operands.float(0)?;
        operands.rank(0, 2)?;
        if operands.get(1).is_some() {
            operands.float(1)?;
            operands.shape(1, &x.shape[1..])?;
        }
        self.check(&operands, x)?;
        let shape = [x.shape[0].clone(), Dim::from(self.k)];
        Ok(vec![TensorType::new(x.dtype, shape.as_slice()), TensorType::new(DType::I32, shape.as_slice())])
    }

    /// An exponential counts as four operations; each expert meets the least of those kept.
    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        let bytes = |types: &[TensorType]| types.iter().fold(Dim::ZERO, |sum, ty| sum + ty.bytes());
        Work {
            read_bytes: bytes(operands),
            written_bytes: bytes(results),
            flops: operands[0].numel() * Dim::constant(6),
        }
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let (x, bias) = (&operands[0], operands.get(1));
        let (mut weights, mut ids) = (Vec::new(), Vec::new());
        for row in x.floats().chunks(x.last().max(1)) {
            let (row_weights, row_ids) = self.row(row, bias.map(Tensor::floats));
            weights.extend(row_weights);
            ids.extend(row_ids.into_iter().map(|id| id as i64));
        }
        Ok(vec![Tensor::float(x.dtype, &shapes[0], weights), Tensor::int(DType::I32, &shapes[1], ids)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let scoring = Scoring::ALL[draw.below(3)];
        let plain = scoring == Scoring::SoftmaxOfChosen;
        let groups = if plain || draw.flip() { 1 } else { 1 + draw.below(3) };
        let size = 1 + draw.below(4);
        let (kept, best) =
            if groups > 1 { (1 + draw.below(groups), 1 + draw.below(size.min(2))) } else { (1, 1) };
        let renormalize = !plain && draw.flip();
        let gating = MoeGating {
            k: 1 + draw.below(kept * size) as u32,
            scoring,
            groups: groups as u32,
            kept: kept as u32,
            best: best as u32,
            renormalize,
            eps: if renormalize && draw.flip() { Float(1e-20) } else { Float(0.0) },
            scale: if draw.flip() { Float(1.0) } else { draw.number() },
        };
        let experts = Dim::from(groups * size);
        let mut operands = vec![TensorType::new(draw.float(), [draw.dim(), experts.clone()])];
        if !plain && draw.flip() {
            operands.push(TensorType::new(draw.float(), [experts]));
        }
        (gating, operands)
    }
}

impl MoeGating {
    fn check(&self, operands: &Check<'_>, x: &TensorType) -> Result<(), TypeError> {
        let experts = x.last().as_const().unwrap_or(0);
        let refuse = |name, reason: String| Err(operands.attribute(name, reason));
        if self.groups == 0 || experts % i64::from(self.groups) != 0 {
            return refuse("groups", format!("is {}, `x` is {} wide", self.groups, x.last()));
        }
        let size = experts / i64::from(self.groups);
        if self.kept == 0 || self.kept > self.groups {
            return refuse("kept", format!("is {} of {} groups", self.kept, self.groups));
        }
        if self.best == 0 || (i64::from(self.best) > size && experts > 0) {
            return refuse("best", format!("is {}, groups have {size}", self.best));
        }
        if i64::from(self.k) > i64::from(self.kept) * size || self.k == 0 {
            let from = i64::from(self.kept) * size;
            return refuse("k", format!("is {}, there are {from} to choose from", self.k));
        }
        if self.scoring == Scoring::SoftmaxOfChosen
            && (operands.get(1).is_some() || self.groups > 1 || self.renormalize)
        {
            return refuse("scoring", "takes no bias, groups or renormalisation".to_owned());
        }
        if self.eps.0 < 0.0 || (self.eps.0 > 0.0 && !self.renormalize) {
            return refuse("eps", "is negative, or nothing is divided".to_owned());
        }
        if !self.scale.0.is_finite() {
            return refuse("scale", "is not finite".to_owned());
        }
        Ok(())
    }

    /// Weights and experts of one token.
    fn row(&self, row: &[f64], bias: Option<&[f64]>) -> (Vec<f64>, Vec<usize>) {
        let scores = match self.scoring {
            Scoring::Softmax => reference::softmax(row),
            Scoring::Sigmoid => row.iter().map(|x| reference::sigmoid(*x)).collect(),
            Scoring::SoftmaxOfChosen => row.to_vec(),
        };
        let mut preference: Vec<f64> = match bias {
            None => scores.clone(),
            Some(bias) => scores.iter().zip(bias).map(|(score, bias)| score + bias).collect(),
        };
        if self.groups > 1 {
            let size = row.len() / self.groups as usize;
            let of_group = |group: &[f64]| -> f64 {
                greatest(group, self.best as usize).into_iter().map(|at| group[at]).sum()
            };
            let of_groups: Vec<f64> = preference.chunks(size).map(of_group).collect();
            let kept = greatest(&of_groups, self.kept as usize);
            for (group, preference) in preference.chunks_mut(size).enumerate() {
                if !kept.contains(&group) {
                    preference.fill(f64::NEG_INFINITY);
                }
            }
        }
        let ids = greatest(&preference, self.k as usize);
        let mut weights: Vec<f64> = ids.iter().map(|id| scores[*id]).collect();
        if self.scoring == Scoring::SoftmaxOfChosen {
            weights = reference::softmax(&weights);
        }
        if self.renormalize {
            let sum = weights.iter().sum::<f64>() + self.eps.0;
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        weights.iter_mut().for_each(|weight| *weight *= self.scale.0);
        (weights, ids)
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(
            OpKind::MoeGating,
            &[
                (&["f32[T, 4]"], "k=5, scoring=softmax", "`k`: is 5, there are 4 to choose from"),
                (&["f32[T, 4]"], "k=1, scoring=relu", "attribute `scoring`: expected softmax, sigmoid or"),
                (&["f32[T, 6]"], "k=3, scoring=sigmoid, groups=[3]", "`k`: is 3, there are 2 to choose from"),
                (&["f32[T, 6]"], "k=1, scoring=sigmoid, groups=[4]", "`groups`: is 4, `x` is 6 wide"),
                (&["f32[T, 6]"], "k=1, scoring=sigmoid, groups=[T]", "expected a list of one integer"),
                (&["f32[T, 6]"], "k=1, scoring=sigmoid, groups=[2], kept=3", "`kept`: is 3 of 2 groups"),
                (&["f32[T, 6]"], "k=1, scoring=sigmoid, groups=[3], best=3", "`best`: is 3, groups have 2"),
                (
                    &["f32[T, 6]"],
                    "k=1, scoring=softmax, eps=0.5",
                    "`eps`: is negative, or nothing is divided",
                ),
                (
                    &["f32[T, 6]", "f32[6]"],
                    "k=1, scoring=softmax_of_chosen",
                    "`scoring`: takes no bias, groups or renormalisation",
                ),
                (
                    &["f32[T, 6]", "f32[5]"],
                    "k=1, scoring=softmax",
                    "`bias` has size 5 along axis 0, expected 6",
                ),
                (&["f32[4, T]"], "k=1, scoring=softmax", "`k`: is 1, there are 0 to choose from"),
            ],
        );
    }
}
