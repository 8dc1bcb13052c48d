//! Rotary frequencies with their scaling.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, Float, bad};
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// The rotary frequencies `theta^(-2j/dim)`, j < dim/2, scaled for long contexts.
///
/// | value  | shape   | dtype |                    |
/// |--------|---------|-------|--------------------|
/// | -> `y` | [dim/2] | f32   | radians a position |
///
/// Depends on no input, so it is a weight that a recipe computes when the plan is loaded.
/// Source: HF `modeling_rope_utils.py`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RopeFreqs {
    /// Rotary extent of a head, even.
    pub dim: u32,
    /// Base of the geometric series.
    pub theta: Float,
    /// How the frequencies are changed.
    pub scaling: RopeScaling,
}

/// Changes of the rotary frequencies for contexts longer than those trained on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RopeScaling {
    /// None.
    None,
    /// All divided by `factor`.
    Linear {
        /// The divisor.
        factor: Float,
    },
    /// Long wavelengths divided by `factor`, short ones kept, those between interpolated.
    Llama3 {
        /// The divisor.
        factor: Float,
        /// Wavelengths above `original / low_freq_factor` are divided.
        low_freq_factor: Float,
        /// Wavelengths below `original / high_freq_factor` are kept.
        high_freq_factor: Float,
        /// Context length trained on.
        original_max_position_embeddings: u32,
    },
    /// Each divided by a factor of its own (Ding et al., 2024, arXiv:2402.13753).
    Longrope {
        /// The divisors, one for each pair.
        factors: Vec<Float>,
    },
    /// Interpolated by a ramp over the dimensions (Peng et al., 2023, arXiv:2309.00071).
    Yarn {
        /// The divisor.
        factor: Float,
        /// Rotations in the original context above which a dimension is kept.
        beta_fast: Float,
        /// Rotations below which it is divided.
        beta_slow: Float,
        /// Context length trained on.
        original_max_position_embeddings: u32,
        /// Whether the ramp's ends are rounded outwards to whole dimensions.
        truncate: bool,
    },
}

impl OpDef for RopeFreqs {
    const NAME: &'static str = "rope_freqs";
    const OPERANDS: &'static [Operand] = &[];

    fn attrs(&self) -> Attrs {
        let mut attrs: Attrs =
            vec![("dim", Attr::Int(i64::from(self.dim))), ("theta", Attr::Float(self.theta))];
        let mut scaling = |name: &str, values: &[(&'static str, Float)]| {
            attrs.push(("scaling", Attr::Name(name.to_owned())));
            attrs.extend(values.iter().map(|(name, value)| (*name, Attr::Float(*value))));
        };
        match &self.scaling {
            RopeScaling::None => {}
            RopeScaling::Linear { factor } => scaling("linear", &[("factor", *factor)]),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                scaling(
                    "llama3",
                    &[
                        ("factor", *factor),
                        ("low_freq_factor", *low_freq_factor),
                        ("high_freq_factor", *high_freq_factor),
                    ],
                );
                attrs.push((ORIGINAL, Attr::Int(i64::from(*original_max_position_embeddings))));
            }
            RopeScaling::Yarn {
                factor,
                beta_fast,
                beta_slow,
                original_max_position_embeddings,
                truncate,
            } => {
                scaling(
                    "yarn",
                    &[("factor", *factor), ("beta_fast", *beta_fast), ("beta_slow", *beta_slow)],
                );
                attrs.push((ORIGINAL, Attr::Int(i64::from(*original_max_position_embeddings))));
                attrs.push(("truncate", Attr::Bool(*truncate)));
            }
            RopeScaling::Longrope { factors } => {
                scaling("longrope", &[]);
                attrs.push(("factors", Attr::Floats(factors.clone())));
            }
        }
        attrs
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        let (dim, theta) = (attrs.size("dim")?, attrs.float("theta")?);
        let scaling = match attrs.optional("scaling") {
            None => RopeScaling::None,
            Some(Attr::Name(name)) if name == "linear" => {
                RopeScaling::Linear { factor: attrs.float("factor")? }
            }
            Some(Attr::Name(name)) if name == "llama3" => RopeScaling::Llama3 {
                factor: attrs.float("factor")?,
                low_freq_factor: attrs.float("low_freq_factor")?,
                high_freq_factor: attrs.float("high_freq_factor")?,
                original_max_position_embeddings: attrs.size(ORIGINAL)?,
            },
            Some(Attr::Name(name)) if name == "yarn" => RopeScaling::Yarn {
                factor: attrs.float("factor")?,
                beta_fast: attrs.float("beta_fast")?,
                beta_slow: attrs.float("beta_slow")?,
                original_max_position_embeddings: attrs.size(ORIGINAL)?,
                truncate: attrs.flag("truncate")?,
            },
            Some(Attr::Name(name)) if name == "longrope" => {
                RopeScaling::Longrope { factors: attrs.floats("factors")? }
            }
            Some(other) => return Err(bad("scaling", "linear, llama3, longrope or yarn", other)),
        };
        Ok(RopeFreqs { dim, theta, scaling })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        if !self.dim.is_multiple_of(2) || self.dim > 1 << 16 {
            return Err(operands.attribute("dim", format!("{} is odd or above 65536", self.dim)));
        }
        if self.theta.0.is_nan() || self.theta.0 <= 1.0 {
            return Err(operands.attribute("theta", "is not above 1"));
        }
        if let Some((attribute, reason)) = self.scaling.fault() {
            return Err(operands.attribute(attribute, reason));
        }
        match &self.scaling {
            RopeScaling::Longrope { factors } if factors.len() != (self.dim / 2) as usize => {
                let reason = format!("has {} items, expected {}, one for each pair", factors.len(), self.dim / 2);
                return Err(operands.attribute("factors", reason));
            }
            _ => {}
        }
        Ok(vec![TensorType::new(DType::F32, vec![Dim::from(self.dim / 2)])])
    }

    fn eval(&self, _: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let data = self.frequencies().iter().map(|f| f64::from(*f)).collect();
        Ok(vec![Tensor::float(DType::F32, &shapes[0], data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let theta = Float(2.0 + draw.number().0);
        let pairs = 1 + draw.below(9) as u32;
        (RopeFreqs { dim: 2 * pairs, theta, scaling: RopeScaling::example(draw, pairs) }, Vec::new())
    }
}

const ORIGINAL: &str = "original_max_position_embeddings";

impl RopeFreqs {
    /// The frequencies, computed in f32 as the reference does.
    pub fn frequencies(&self) -> Vec<f32> {
        let dim = self.dim as f32;
        let theta = self.theta.0 as f32;
        let plain = |j: u32| 1.0 / theta.powf((2 * j) as f32 / dim);
        (0..self.dim / 2).map(|j| self.scaling.apply(plain(j), j, self.dim, self.theta.0)).collect()
    }
}

impl RopeScaling {
    /// The parameter that makes no sense, and why.
    fn fault(&self) -> Option<(&'static str, &'static str)> {
        let positive = |name, value: &Float| {
            (value.0.is_nan() || value.0 <= 0.0).then_some((name, "is not positive"))
        };
        match self {
            RopeScaling::None => None,
            RopeScaling::Linear { factor } => positive("factor", factor),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, .. } => {
                let order = (high_freq_factor.0 <= low_freq_factor.0)
                    .then_some(("high_freq_factor", "is not above low_freq_factor"));
                positive("factor", factor)
                    .or_else(|| positive("low_freq_factor", low_freq_factor))
                    .or_else(|| positive("high_freq_factor", high_freq_factor))
                    .or(order)
            }
            RopeScaling::Longrope { factors } => {
                factors.iter().find_map(|factor| positive("factors", factor))
            }
            RopeScaling::Yarn { factor, beta_fast, beta_slow, .. } => positive("factor", factor)
                .or_else(|| positive("beta_fast", beta_fast))
                .or_else(|| positive("beta_slow", beta_slow)),
        }
    }

    /// Frequency `j` of a rotary extent `dim` after scaling.
    fn apply(&self, frequency: f32, j: u32, dim: u32, theta: f64) -> f32 {
        match self {
            RopeScaling::None => frequency,
            RopeScaling::Linear { factor } => frequency / factor.0 as f32,
            RopeScaling::Longrope { factors } => {
                frequency / factors.get(j as usize).map_or(1.0, |factor| factor.0 as f32)
            }
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let original = f64::from(*original_max_position_embeddings);
                let (low, high) = (low_freq_factor.0, high_freq_factor.0);
                let wavelength = 2.0 * std::f32::consts::PI / frequency;
                let divided = frequency / factor.0 as f32;
                if wavelength < (original / high) as f32 {
                    frequency
                } else if wavelength > (original / low) as f32 {
                    divided
                } else {
                    let smooth = (original as f32 / wavelength - low as f32) / (high - low) as f32;
                    (1.0 - smooth) * divided + smooth * frequency
                }
            }
            RopeScaling::Yarn {
                factor,
                beta_fast,
                beta_slow,
                original_max_position_embeddings,
                truncate,
            } => {
                let width = f64::from(dim);
                let dimension_of = |rotations: f64| {
                    let original = f64::from(*original_max_position_embeddings);
                    width * (original / (rotations * 2.0 * std::f64::consts::PI)).ln() / (2.0 * theta.ln())
                };
                let (mut low, mut high) = (dimension_of(beta_fast.0), dimension_of(beta_slow.0));
                if *truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                (low, high) = (low.max(0.0), high.min(width - 1.0));
                if low == high {
                    high += 0.001;
                }
                let ramp = ((f64::from(j) - low) / (high - low)).clamp(0.0, 1.0) as f32;
                frequency * (1.0 - ramp) + frequency / factor.0 as f32 * ramp
            }
        }
    }

    fn example(draw: &mut Draw, pairs: u32) -> Self {
        let factor = draw.number();
        let original_max_position_embeddings = 1 + draw.below(4096) as u32;
        match draw.below(5) {
            0 => RopeScaling::None,
            4 => RopeScaling::Longrope { factors: (0..pairs).map(|_| draw.number()).collect() },
            1 => RopeScaling::Linear { factor },
            2 => RopeScaling::Llama3 {
                factor,
                low_freq_factor: Float(1.0),
                high_freq_factor: Float(1.5 + draw.number().0),
                original_max_position_embeddings,
            },
            _ => RopeScaling::Yarn {
                factor,
                beta_fast: draw.number(),
                beta_slow: draw.number(),
                original_max_position_embeddings,
                truncate: draw.flip(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::RopeFreqs, &[
            (&[], "dim=7, theta=1e4", "odd or above 65536"),
            (&[], "dim=8, theta=1", "is not above 1"),
            (&[], "dim=8, theta=1e4, scaling=linear, factor=0", "`factor`: is not positive"),
            (&[], "dim=8, theta=1e4, scaling=linear", "`factor` is missing"),
            (&[], "dim=8, theta=1e4, scaling=dynamic", "expected linear, llama3, longrope or yarn"),
            (&[], "dim=8, theta=1e4, scaling=longrope, factors=[1.0, 2.0]", "has 2 items, expected 4"),
            (&[], "dim=4, theta=1e4, scaling=longrope, factors=[1.0, 0.0]", "`factors`: is not positive"),
            (
                &[],
                "dim=8, theta=1e4, scaling=llama3, factor=8, low_freq_factor=4, high_freq_factor=4, \
                original_max_position_embeddings=64",
                "is not above low_freq_factor",
            ),
            (
                &[],
                "dim=8, theta=1e4, scaling=yarn, factor=8, beta_fast=32, beta_slow=0, \
                original_max_position_embeddings=64",
                "`beta_slow`: is not positive",
            ),
        ]);
    }
}
