//! Element types.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The type of a tensor's elements. Sizes are in bits, because packed types are smaller than a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DType {
    /// IEEE 754 binary64; only the reference interpreter computes in it.
    F64,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of binary32.
    BF16,
    /// 8-bit float, 4 exponent and 3 mantissa bits, no infinities (OCP `E4M3`).
    F8E4M3,
    /// Signed 64-bit integer.
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 4-bit integer, two in a byte, low nibble first.
    I4,
    /// One byte, 0 or 1.
    Bool,
}

impl DType {
    /// All types, in the order of declaration.
    pub const ALL: [DType; 11] = [
        DType::F64,
        DType::F32,
        DType::F16,
        DType::BF16,
        DType::F8E4M3,
        DType::I64,
        DType::I32,
        DType::I8,
        DType::U8,
        DType::I4,
        DType::Bool,
    ];

    /// Size of one element in bits.
    pub const fn bits(self) -> u32 {
        match self {
            DType::F64 | DType::I64 => 64,
            DType::F32 | DType::I32 => 32,
            DType::F16 | DType::BF16 => 16,
            DType::F8E4M3 | DType::I8 | DType::U8 | DType::Bool => 8,
            DType::I4 => 4,
        }
    }

    /// Size of one element in bytes; `None` for types smaller than a byte.
    pub const fn bytes(self) -> Option<usize> {
        match self.bits() {
            bits if bits % 8 == 0 => Some((bits / 8) as usize),
            _ => None,
        }
    }

    /// Bytes that `elements` packed elements take, rounded up; `None` on overflow.
    pub const fn packed_bytes(self, elements: u64) -> Option<u64> {
        match elements.checked_mul(self.bits() as u64) {
            Some(bits) => Some(bits.div_ceil(8)),
            None => None,
        }
    }

    /// Whether it is a floating-point type.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F64 | DType::F32 | DType::F16 | DType::BF16 | DType::F8E4M3)
    }

    /// Whether it is an integer type (`bool` is none).
    pub const fn is_int(self) -> bool {
        matches!(self, DType::I64 | DType::I32 | DType::I8 | DType::U8 | DType::I4)
    }

    /// The name used in the text form.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F8E4M3 => "f8e4m3",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::I4 => "i4",
            DType::Bool => "bool",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A string that names no element type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown dtype `{0}`: expected one of f64, f32, f16, bf16, f8e4m3, i64, i32, i8, u8, i4, bool")]
pub struct UnknownDType(pub String);

impl FromStr for DType {
    type Err = UnknownDType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        DType::ALL.into_iter().find(|dtype| dtype.name() == text).ok_or_else(|| UnknownDType(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for dtype in DType::ALL {
            assert_eq!(dtype.name().parse(), Ok(dtype));
        }
        assert!("float32".parse::<DType>().is_err());
    }

    #[test]
    fn packed_bytes_round_up_and_check_overflow() {
        assert_eq!(DType::I4.packed_bytes(3), Some(2));
        assert_eq!(DType::BF16.packed_bytes(3), Some(6));
        assert_eq!(DType::F64.packed_bytes(u64::MAX), None);
    }
}
