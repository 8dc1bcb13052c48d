//! Tensors of the reference interpreter.

use crate::ops::EvalError;
use crate::{DType, TensorType};

/// Most elements of a tensor that the reference interpreter computes.
pub const MAX_ELEMENTS: u128 = 1 << 26;

/// A dense tensor. Floats of every type are held as f64, integers as i64.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Element type that the values stand for.
    pub dtype: DType,
    /// Size along each axis.
    pub shape: Vec<usize>,
    /// The elements, innermost axis fastest.
    pub data: Data,
}

/// Elements of a [`Tensor`].
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Of a float type.
    Float(Vec<f64>),
    /// Of an integer type or bool.
    Int(Vec<i64>),
}

impl Tensor {
    /// A float tensor.
    pub fn float(dtype: DType, shape: &[usize], data: Vec<f64>) -> Self {
        debug_assert!(dtype.is_float() && shape.iter().product::<usize>() == data.len());
        Tensor { dtype, shape: shape.to_vec(), data: Data::Float(data) }
    }

    /// An integer tensor.
    pub fn int(dtype: DType, shape: &[usize], data: Vec<i64>) -> Self {
        debug_assert!(!dtype.is_float() && shape.iter().product::<usize>() == data.len());
        Tensor { dtype, shape: shape.to_vec(), data: Data::Int(data) }
    }

    /// The elements as f64, whatever they are.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.data {
            Data::Float(data) => data.clone(),
            Data::Int(data) => data.iter().map(|value| *value as f64).collect(),
        }
    }

    /// The float elements; empty if it holds integers, which the type rules exclude where this is called.
    pub fn floats(&self) -> &[f64] {
        match &self.data {
            Data::Float(data) => data,
            Data::Int(_) => &[],
        }
    }

    /// The integer elements; empty if it holds floats, which the type rules exclude where this is called.
    pub fn ints(&self) -> &[i64] {
        match &self.data {
            Data::Int(data) => data,
            Data::Float(_) => &[],
        }
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    /// Size of the innermost axis; 1 for a scalar.
    pub fn last(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Elements from one row along axis 0 to the next.
    pub fn row(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// The same elements as another type, float elements rounded to it.
    pub fn cast(&self, dtype: DType) -> Tensor {
        let data = match (&self.data, dtype.is_float()) {
            (Data::Float(data), true) => {
                Data::Float(data.iter().map(|value| round_to(*value, dtype)).collect())
            }
            (Data::Float(data), false) => Data::Int(data.iter().map(|value| *value as i64).collect()),
            (Data::Int(data), true) => {
                Data::Float(data.iter().map(|value| round_to(*value as f64, dtype)).collect())
            }
            (Data::Int(data), false) => Data::Int(data.clone()),
        };
        Tensor { dtype, shape: self.shape.clone(), data }
    }

    /// The elements picked by `index(position in the result)`, in a tensor of `shape`.
    pub fn pick(&self, shape: &[usize], index: impl Fn(usize) -> usize) -> Tensor {
        let count: usize = shape.iter().product();
        let data = match &self.data {
            Data::Float(data) => Data::Float((0..count).map(|at| data[index(at)]).collect()),
            Data::Int(data) => Data::Int((0..count).map(|at| data[index(at)]).collect()),
        };
        Tensor { dtype: self.dtype, shape: shape.to_vec(), data }
    }

    /// Whether it is of this type at the given sizes, and holds as many elements of that kind.
    pub fn is_of(&self, ty: &TensorType, shape: &[usize]) -> bool {
        let (is_float, count) = match &self.data {
            Data::Float(data) => (true, data.len()),
            Data::Int(data) => (false, data.len()),
        };
        self.dtype == ty.dtype
            && self.shape == shape
            && is_float == ty.dtype.is_float()
            && count == self.numel()
    }
}

/// `value` rounded to the nearest representable value of `dtype`, ties to even; beyond the greatest it becomes
/// infinite, or NaN for `f8e4m3`, which has no infinities. Done here for all types, since hardware and libraries
/// go from f64 to 16 bits by way of f32 and round twice.
pub fn round_to(value: f64, dtype: DType) -> f64 {
    match dtype {
        DType::F32 => f64::from(value as f32),
        DType::F16 => round_float(value, 10, -14, 65504.0, f64::INFINITY),
        DType::BF16 => round_float(value, 7, -126, f64::from(half::bf16::MAX), f64::INFINITY),
        DType::F8E4M3 => round_float(value, 3, -6, 448.0, f64::NAN),
        DType::F64 | DType::I64 | DType::I32 | DType::I8 | DType::U8 | DType::I4 | DType::Bool => value,
    }
}

/// To a format of so many mantissa bits, least normal exponent and greatest value.
fn round_float(value: f64, mantissa_bits: i32, least_exponent: i32, greatest: f64, beyond: f64) -> f64 {
    if !value.is_finite() {
        return if value.is_nan() { value } else { beyond.copysign(value) };
    }
    let exponent = ((value.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    let quantum = 2f64.powi(exponent.max(least_exponent) - mantissa_bits);
    let rounded = (value / quantum).round_ties_even() * quantum;
    if rounded.abs() > greatest { beyond.copysign(value) } else { rounded }
}

/// Refuses shapes of more elements than the interpreter computes. Axes of size 0 count as 1, so that the product of
/// any axes is small too.
pub fn check_size(shape: &[usize]) -> Result<(), EvalError> {
    let count = shape.iter().try_fold(1u128, |product, size| product.checked_mul((*size).max(1) as u128));
    match count {
        Some(count) if count <= MAX_ELEMENTS => Ok(()),
        Some(count) => Err(EvalError::TooLarge(count)),
        None => Err(EvalError::TooLarge(u128::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dim;

    /// Checks all neighbours `a < b` among the values of `dtype`: the midpoint goes to the one `even` says, what is
    /// ever so little off it to the nearer.
    fn check_rounding(dtype: DType, values: &[f64]) {
        for (at, pair) in values.windows(2).enumerate() {
            let (a, b) = (pair[0], pair[1]);
            let middle = a + (b - a) / 2.0;
            let even = if at % 2 == 0 { a } else { b };
            for (value, expected) in
                [(a, a), (b, b), (middle, even), (middle.next_down(), a), (middle.next_up(), b)]
            {
                assert_eq!(round_to(value, dtype), expected, "{value:e} as {dtype}");
                assert_eq!(round_to(-value, dtype), -expected, "-{value:e} as {dtype}");
            }
        }
    }

    #[test]
    fn rounding_is_to_nearest_even() {
        let f16: Vec<f64> = (0..=0x7bff).map(|bits| half::f16::from_bits(bits).to_f64()).collect();
        let bf16: Vec<f64> = (0..=0x7f7f).map(|bits| half::bf16::from_bits(bits).to_f64()).collect();
        let e4m3 = |bits: i32| match bits >> 3 {
            0 => f64::from(bits) * 2f64.powi(-9),
            exponent => f64::from(8 + (bits & 7)) * 2f64.powi(exponent - 10),
        };
        let f8: Vec<f64> = (0..0x7f).map(e4m3).collect();
        assert_eq!(f8[f8.len() - 1], 448.0);
        check_rounding(DType::F16, &f16);
        check_rounding(DType::BF16, &bf16);
        check_rounding(DType::F8E4M3, &f8);
    }

    #[test]
    fn what_is_beyond_the_greatest() {
        assert_eq!(round_to(65519.99, DType::F16), 65504.0);
        assert_eq!(round_to(65520.0, DType::F16), f64::INFINITY);
        assert_eq!(round_to(-f64::MAX, DType::BF16), f64::NEG_INFINITY);
        assert_eq!(round_to(f64::INFINITY, DType::F16), f64::INFINITY);
        assert_eq!(round_to(464.0, DType::F8E4M3), 448.0);
        assert!(round_to(464.0f64.next_up(), DType::F8E4M3).is_nan());
        assert!(round_to(f64::NEG_INFINITY, DType::F8E4M3).is_nan());
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::F8E4M3] {
            assert!(round_to(f64::NAN, dtype).is_nan());
            assert!(round_to(-f64::from_bits(1), dtype).is_sign_negative());
        }
    }

    #[test]
    fn sizes_are_bounded_whatever_their_order() {
        assert_eq!(check_size(&[0, 1 << 26]), Ok(()));
        assert_eq!(check_size(&[1 << 13, 1 << 14]), Err(EvalError::TooLarge(1 << 27)));
        assert!(check_size(&[1 << 40, 1 << 40, 0]).is_err(), "or products of some axes overflow");
        assert!(check_size(&[usize::MAX; 16]).is_err());
    }

    #[test]
    fn a_tensor_of_a_type_holds_what_the_type_says() {
        let ty = TensorType::new(DType::F32, [Dim::constant(2)]);
        let tensor = Tensor::float(DType::F32, &[2], vec![0.0; 2]);
        assert!(tensor.is_of(&ty, &[2]));
        assert!(!tensor.is_of(&ty, &[3]));
        assert!(!Tensor { data: Data::Int(vec![0; 2]), ..tensor.clone() }.is_of(&ty, &[2]));
        assert!(!Tensor { data: Data::Float(vec![0.0]), ..tensor }.is_of(&ty, &[2]));
    }
}
