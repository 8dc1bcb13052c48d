//! The reference interpreter: every op by its definition, in f64.
//!
//! It is the oracle of rules, passes and kernels, and folds constants. It is not fast and not meant to be.

mod interpret;
mod sample;
mod tensor;

pub use interpret::{Rounding, interpret};
pub use sample::Sampler;
pub use tensor::{Data, MAX_ELEMENTS, Tensor, check_size, round_to};

/// `f` of each element.
pub fn unary(x: &Tensor, f: impl Fn(f64) -> f64) -> Tensor {
    Tensor::float(x.dtype, &x.shape, x.floats().iter().map(|x| f(*x)).collect())
}

/// `f` of pairs of elements, the smaller operand repeated along leading axes.
pub fn binary(a: &Tensor, b: &Tensor, shape: &[usize], f: impl Fn(f64, f64) -> f64) -> Tensor {
    let count: usize = shape.iter().product();
    let (left, right) = (a.floats(), b.floats());
    let data = (0..count).map(|at| f(left[at % left.len()], right[at % right.len()])).collect();
    Tensor::float(a.dtype, shape, data)
}

/// `x * sigmoid(x)`
pub fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// `1 / (1 + e^-x)`
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `e^x / Σ e^x`, the greatest subtracted first.
pub fn softmax(row: &[f64]) -> Vec<f64> {
    let greatest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|x| (x - greatest).exp()).sum();
    row.iter().map(|x| (x - greatest).exp() / sum).collect()
}

/// `x * Φ(x)`
pub fn gelu(x: f64) -> f64 {
    0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// The approximation of `x * Φ(x)` by a hyperbolic tangent.
pub fn gelu_tanh(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    0.5 * x * (1.0 + inner.tanh())
}

/// Normalisation by mean and variance over the innermost axis; of type `dtype` if it is given.
pub fn layer_norm(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
    dtype: Option<crate::DType>,
) -> Tensor {
    let width = x.last().max(1);
    let mut data = Vec::with_capacity(x.numel());
    for row in x.floats().chunks(width) {
        let mean = row.iter().sum::<f64>() / width as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
        let scale = 1.0 / (variance + eps).sqrt();
        data.extend(row.iter().enumerate().map(|(at, x)| {
            let weight = weight.map_or(1.0, |weight| weight.floats()[at]);
            let bias = bias.map_or(0.0, |bias| bias.floats()[at]);
            (x - mean) * scale * weight + bias
        }));
    }
    Tensor::float(dtype.unwrap_or(x.dtype), &x.shape, data)
}

/// Normalisation by root mean square over the innermost axis; of type `dtype` if it is given.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64, dtype: Option<crate::DType>) -> Tensor {
    let width = x.last().max(1);
    let mut data = Vec::with_capacity(x.numel());
    for row in x.floats().chunks(width) {
        let mean_square = row.iter().map(|x| x * x).sum::<f64>() / width as f64;
        let scale = 1.0 / (mean_square + eps).sqrt();
        data.extend(row.iter().zip(weight.floats()).map(|(x, weight)| x * scale * weight));
    }
    Tensor::float(dtype.unwrap_or(x.dtype), &x.shape, data)
}
