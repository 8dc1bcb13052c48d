//! Storage formats: how the elements of a tensor lie on the device.

use crate::TensorType;

/// How elements are stored.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Format {
    /// Row by row.
    #[default]
    Nd,
    /// In blocks of the cube unit, `FRACTAL_NZ`.
    Nz,
}

impl Format {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Format::Nd => "ND",
            Format::Nz => "NZ",
        }
    }
}

/// The shape in which a matrix [.., R, C] is stored in NZ: [.., ⌈C/b⌉, ⌈R/16⌉, 16, b], where b elements are 32 bytes.
/// Sizes beyond R and C are filled with zeros.
///
/// `None` if a size is no number, there are fewer than two axes, or elements are smaller than a byte.
/// Source: `aclnnCalculateMatmulWeightSizeV2`, `aclnnMatmulWeightNz` in hicann/ops-nn.
pub fn nz_storage(ty: &TensorType) -> Option<Vec<i64>> {
    let sizes = ty.shape.iter().map(crate::Dim::as_const).collect::<Option<Vec<i64>>>()?;
    let (leading, &[rows, columns]) = sizes.split_at_checked(sizes.len().checked_sub(2)?)? else {
        return None;
    };
    let block = 32 / i64::try_from(ty.dtype.bytes()?).ok()?;
    let blocks = |size: i64, of: i64| size / of + i64::from(size % of != 0);
    Some([leading, &[blocks(columns, block), blocks(rows, 16), 16, block]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Dim};
    use proptest::prelude::*;

    proptest! {
        /// All elements have a place, and no row or column of blocks is empty.
        #[test]
        fn blocks_cover_the_matrix_and_no_more(
            rows in 1i64..3000, columns in 1i64..3000, experts in 1i64..5, dtype in prop::sample::select(vec![DType::F16, DType::I8, DType::F32])
        ) {
            let ty = TensorType::new(dtype, [experts, rows, columns].map(Dim::constant));
            let Some([e, column_blocks, row_blocks, height, width]) = nz_storage(&ty).and_then(|shape| <[i64; 5]>::try_from(shape).ok()) else {
                panic!("five axes")
            };
            prop_assert_eq!((e, height), (experts, 16));
            prop_assert_eq!(width * i64::from(dtype.bits()), 256);
            prop_assert!(column_blocks * width >= columns && (column_blocks - 1) * width < columns);
            prop_assert!(row_blocks * 16 >= rows && (row_blocks - 1) * 16 < rows);
        }
    }
}
