//! Checks that type rules share.

use super::{Arity, Operand, TypeError};
use crate::tensor_type::MAX_RANK;
use crate::{DType, Dim, TensorType};

/// The operands of an op, their number already checked.
#[derive(Clone, Copy)]
pub struct Check<'a> {
    op: &'static str,
    declared: &'static [Operand],
    types: &'a [TensorType],
}

impl<'a> Check<'a> {
    /// Checks the number of operands.
    pub fn new(
        op: &'static str,
        declared: &'static [Operand],
        types: &'a [TensorType],
    ) -> Result<Self, TypeError> {
        let least = declared.iter().filter(|operand| operand.arity != Arity::Optional).count();
        let unlimited = declared.iter().any(|operand| operand.arity == Arity::Many);
        if types.len() < least || (!unlimited && types.len() > declared.len()) {
            let names: Vec<String> = declared
                .iter()
                .map(|operand| match operand.arity {
                    Arity::One => operand.name.to_owned(),
                    Arity::Optional => format!("{}?", operand.name),
                    Arity::Many => format!("{}…", operand.name),
                })
                .collect();
            return Err(TypeError::Arity { op, expected: names.join(", "), got: types.len() });
        }
        let check = Check { op, declared, types };
        if let Some(index) = types.iter().position(|ty| ty.rank() > MAX_RANK) {
            return Err(check.bad_rank(index, format!("at most {MAX_RANK}")));
        }
        if types.iter().any(overflows) {
            return Err(check.overflow());
        }
        Ok(check)
    }

    /// The results' types, whose sizes must be possible to write down.
    pub fn results(&self, types: Vec<TensorType>) -> Result<Vec<TensorType>, TypeError> {
        match types.iter().any(|ty| ty.rank() > MAX_RANK || overflows(ty)) {
            true => Err(self.overflow()),
            false => Ok(types),
        }
    }

    /// How many operands there are.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Never: every op with `Many` has at least one operand, but ops without operands exist.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// All operands' types.
    pub fn types(&self) -> &'a [TensorType] {
        self.types
    }

    /// The type of operand `index`, which must not be optional or beyond the end.
    pub fn at(&self, index: usize) -> &'a TensorType {
        &self.types[index]
    }

    /// The type of operand `index`, if given.
    pub fn get(&self, index: usize) -> Option<&'a TensorType> {
        self.types.get(index)
    }

    fn name(&self, index: usize) -> &'static str {
        let declared = self.declared.get(index).or(self.declared.last());
        declared.map_or("operand", |operand| operand.name)
    }

    /// Operand `index`, which must be floating-point.
    pub fn float(&self, index: usize) -> Result<&'a TensorType, TypeError> {
        self.require(index, |dtype| dtype.is_float(), "a float type")
    }

    /// Operand `index`, which must have element type `dtype`.
    pub fn of_dtype(&self, index: usize, dtype: DType) -> Result<&'a TensorType, TypeError> {
        self.require(index, |got| got == dtype, dtype.name())
    }

    /// Operand `index`, which must be i32 or i64.
    pub fn index(&self, index: usize) -> Result<&'a TensorType, TypeError> {
        self.require(index, |dtype| matches!(dtype, DType::I32 | DType::I64), "i32 or i64")
    }

    fn require(
        &self,
        index: usize,
        holds: impl Fn(DType) -> bool,
        expected: &str,
    ) -> Result<&'a TensorType, TypeError> {
        let ty = &self.types[index];
        if holds(ty.dtype) {
            return Ok(ty);
        }
        let (operand, expected) = (self.name(index), expected.to_owned());
        Err(TypeError::DType { op: self.op, operand, expected, got: ty.dtype })
    }

    /// Operand `index` must have exactly `rank` axes.
    pub fn rank(&self, index: usize, rank: usize) -> Result<(), TypeError> {
        let got = self.types[index].rank();
        if got == rank { Ok(()) } else { Err(self.bad_rank(index, rank.to_string())) }
    }

    /// Operand `index` must have at least `rank` axes.
    pub fn min_rank(&self, index: usize, rank: usize) -> Result<(), TypeError> {
        let got = self.types[index].rank();
        if got >= rank { Ok(()) } else { Err(self.bad_rank(index, format!("at least {rank}"))) }
    }

    fn bad_rank(&self, index: usize, expected: String) -> TypeError {
        TypeError::Rank { op: self.op, operand: self.name(index), expected, got: self.types[index].rank() }
    }

    /// Operand `index` must have size `expected` along `axis`, which must exist.
    pub fn dim(&self, index: usize, axis: usize, expected: &Dim) -> Result<(), TypeError> {
        let got = &self.types[index].shape[axis];
        if got == expected {
            return Ok(());
        }
        let (operand, expected, got) = (self.name(index), expected.clone(), got.clone());
        Err(TypeError::DimMismatch { op: self.op, operand, axis, expected, got })
    }

    /// Operand `index` must have exactly this shape.
    pub fn shape(&self, index: usize, expected: &[Dim]) -> Result<(), TypeError> {
        self.rank(index, expected.len())?;
        expected.iter().enumerate().try_for_each(|(axis, dim)| self.dim(index, axis, dim))
    }

    /// Operand `index` must have the type of operand `other`.
    pub fn same_type(&self, index: usize, other: usize) -> Result<(), TypeError> {
        self.of_dtype(index, self.types[other].dtype)?;
        self.shape(index, &self.types[other].shape)
    }

    /// The shape of element-wise operands 0 and 1: equal, or one is a suffix of the other.
    pub fn broadcast(&self) -> Result<Vec<Dim>, TypeError> {
        let (a, b) = (&self.types[0].shape, &self.types[1].shape);
        let (longer, shorter, index) = if a.len() >= b.len() { (a, b, 1) } else { (b, a, 0) };
        let skipped = longer.len() - shorter.len();
        for (axis, expected) in longer[skipped..].iter().enumerate() {
            self.dim(index, axis, expected)?;
        }
        Ok(longer.clone())
    }

    /// An error about an attribute.
    pub fn attribute(&self, attribute: &'static str, reason: impl Into<String>) -> TypeError {
        TypeError::Attribute { op: self.op, attribute, reason: reason.into() }
    }

    /// Attribute `dtype` must be floating-point.
    pub fn float_attribute(&self, dtype: DType) -> Result<(), TypeError> {
        if dtype.is_float() {
            Ok(())
        } else {
            Err(self.attribute("dtype", format!("{dtype} is no float type")))
        }
    }

    /// The error for an operand or result that is too large.
    pub fn overflow(&self) -> TypeError {
        TypeError::Overflow { op: self.op }
    }
}

fn overflows(ty: &TensorType) -> bool {
    ty.bytes().is_invalid() || ty.shape.iter().any(Dim::is_invalid)
}
