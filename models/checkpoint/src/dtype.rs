//! Element types as files name them.

use std::fmt;

use safetensors::Dtype;

/// The element type of a stored tensor.
///
/// Types without a variant here are known to the format and measured correctly when a file is
/// checked, but nothing of ours computes with them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DType {
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of binary32.
    BF16,
    /// 8-bit float, 4 exponent and 3 mantissa bits, no infinities.
    F8E4M3,
    /// 8-bit float, 5 exponent and 2 mantissa bits.
    F8E5M2,
    /// 8-bit power of two, used as a block scale.
    F8E8M0,
    /// Signed 64-bit integer.
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Signed 16-bit integer.
    I16,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 64-bit integer.
    U64,
    /// Unsigned 32-bit integer.
    U32,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned 8-bit integer.
    U8,
    /// One byte, 0 or 1.
    Bool,
    /// Any other type of the format, by the name it has in files.
    Other(String),
}

/// The types with a variant of ours, beside the format's.
const TABLE: [(DType, Dtype); 16] = [
    (DType::F64, Dtype::F64),
    (DType::F32, Dtype::F32),
    (DType::F16, Dtype::F16),
    (DType::BF16, Dtype::BF16),
    (DType::F8E4M3, Dtype::F8_E4M3),
    (DType::F8E5M2, Dtype::F8_E5M2),
    (DType::F8E8M0, Dtype::F8_E8M0),
    (DType::I64, Dtype::I64),
    (DType::I32, Dtype::I32),
    (DType::I16, Dtype::I16),
    (DType::I8, Dtype::I8),
    (DType::U64, Dtype::U64),
    (DType::U32, Dtype::U32),
    (DType::U16, Dtype::U16),
    (DType::U8, Dtype::U8),
    (DType::Bool, Dtype::BOOL),
];

impl DType {
    /// Size of one element in bits; `None` for [`DType::Other`].
    pub fn bits(&self) -> Option<u32> {
        self.to_format().map(|dtype| dtype.bitsize() as u32)
    }

    /// Ours for the format's.
    pub(crate) fn from_format(dtype: Dtype) -> DType {
        match TABLE.iter().find(|(_, theirs)| *theirs == dtype) {
            Some((ours, _)) => ours.clone(),
            None => DType::Other(dtype.to_string()),
        }
    }

    /// The format's for ours; `None` for [`DType::Other`].
    pub(crate) fn to_format(&self) -> Option<Dtype> {
        TABLE.iter().find(|(ours, _)| ours == self).map(|(_, theirs)| *theirs)
    }
}

impl fmt::Display for DType {
    /// The name used in files, such as `BF16` or `F8_E4M3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.to_format()) {
            (DType::Other(name), _) => f.write_str(name),
            (_, Some(dtype)) => write!(f, "{dtype}"),
            (_, None) => unreachable!("every variant but Other is in the table"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_both_ways() {
        for (ours, theirs) in &TABLE {
            assert_eq!(DType::from_format(*theirs), *ours);
            assert_eq!(ours.bits(), Some(theirs.bitsize() as u32));
        }
        assert_eq!(DType::F8E4M3.to_string(), "F8_E4M3");
        assert_eq!(DType::from_format(Dtype::F4), DType::Other("F4".to_owned()));
        assert_eq!(DType::Other("F4".to_owned()).bits(), None);
    }
}
