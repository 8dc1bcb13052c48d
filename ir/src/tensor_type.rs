//! Types of tensors: element type and symbolic shape.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{DType, Dim};

/// Most axes of a value; more are refused, so that hostile text cannot make types explode.
pub const MAX_RANK: usize = 16;

/// Element type and shape of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TensorType {
    /// Type of the elements.
    pub dtype: DType,
    /// Size along each axis, outermost first.
    pub shape: Vec<Dim>,
}

impl TensorType {
    /// A type of this element type and shape.
    pub fn new(dtype: DType, shape: impl Into<Vec<Dim>>) -> Self {
        TensorType { dtype, shape: shape.into() }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Size of the innermost axis; 1 for a scalar.
    pub fn last(&self) -> Dim {
        self.shape.last().cloned().unwrap_or(Dim::ONE)
    }

    /// All axes but the innermost.
    pub fn leading(&self) -> &[Dim] {
        self.shape.split_last().map_or(&[], |(_, leading)| leading)
    }

    /// Number of elements.
    pub fn numel(&self) -> Dim {
        Dim::product(&self.shape)
    }

    /// Bytes of the packed elements.
    pub fn bytes(&self) -> Dim {
        match self.dtype.bytes() {
            Some(bytes) => self.numel() * Dim::from(bytes),
            None => (self.numel() * Dim::from(self.dtype.bits())).ceil_div(8),
        }
    }

    /// The same shape with another element type.
    pub fn with_dtype(&self, dtype: DType) -> Self {
        TensorType { dtype, shape: self.shape.clone() }
    }

    /// The type with `replace(symbol)` in place of symbols.
    pub fn substitute(&self, replace: &dyn Fn(&crate::Symbol) -> Option<Dim>) -> Self {
        TensorType {
            dtype: self.dtype,
            shape: self.shape.iter().map(|dim| dim.substitute(replace)).collect(),
        }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (at, dim) in self.shape.iter().enumerate() {
            write!(f, "{}{dim}", if at > 0 { ", " } else { "" })?;
        }
        f.write_str("]")
    }
}

/// Normalises an axis that may count from the end; `None` if it is outside `rank`.
pub fn resolve_axis(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let resolved = if axis < 0 { axis.checked_add(rank)? } else { axis };
    (0..rank).contains(&resolved).then_some(resolved as usize)
}
