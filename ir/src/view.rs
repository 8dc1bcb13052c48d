//! Strided views with symbolic strides: how reshape, split and the like cost nothing.

use serde::{Deserialize, Serialize};

use crate::Dim;

/// Where the elements of a value lie in a buffer, in elements of its dtype.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewLayout {
    /// Of the first element.
    pub offset: Dim,
    /// Size along each axis.
    pub shape: Vec<Dim>,
    /// Distance of neighbours along each axis.
    pub strides: Vec<Dim>,
}

impl ViewLayout {
    /// All of a densely packed buffer.
    pub fn contiguous(shape: &[Dim]) -> Self {
        ViewLayout { offset: Dim::ZERO, shape: shape.to_vec(), strides: contiguous_strides(shape) }
    }

    /// Whether the elements lie densely packed in order.
    pub fn is_contiguous(&self) -> bool {
        let expected = contiguous_strides(&self.shape);
        let axes = self.shape.iter().zip(&self.strides).zip(&expected);
        axes.into_iter().all(|((size, stride), expected)| *size == Dim::ONE || stride == expected)
    }

    /// Whether neighbours along the innermost axis lie side by side.
    pub fn has_dense_rows(&self) -> bool {
        self.strides.last().is_none_or(|stride| *stride == Dim::ONE)
    }

    /// The part of `size` elements from `start` on along `axis`.
    pub fn slice(&self, axis: usize, start: &Dim, size: &Dim) -> Self {
        let mut part = self.clone();
        part.offset = part.offset + start.clone() * self.strides[axis].clone();
        part.shape[axis] = size.clone();
        part
    }

    /// The axes in another order: axis `i` of the result is `permutation[i]` of `self`.
    pub fn permute(&self, permutation: &[usize]) -> Self {
        ViewLayout {
            offset: self.offset.clone(),
            shape: permutation.iter().map(|axis| self.shape[*axis].clone()).collect(),
            strides: permutation.iter().map(|axis| self.strides[*axis].clone()).collect(),
        }
    }

    /// The same elements in the same order under another shape, if strides can express it.
    ///
    /// Walks both shapes, pairing runs of axes of equal product; a run of old axes must be densely nested.
    pub fn reshape(&self, shape: &[Dim]) -> Option<Self> {
        if shape.contains(&Dim::ZERO) {
            let strides = contiguous_strides(shape);
            return Some(ViewLayout { offset: self.offset.clone(), shape: shape.to_vec(), strides });
        }
        let mut strides = vec![Dim::ZERO; shape.len()];
        let (mut old, mut new) = (0, 0);
        while old < self.shape.len() || new < shape.len() {
            let (first_old, first_new) = (old, new);
            let mut old_product = self.shape.get(old).cloned().unwrap_or(Dim::ONE);
            let mut new_product = shape.get(new).cloned().unwrap_or(Dim::ONE);
            old = (old + 1).min(self.shape.len());
            new = (new + 1).min(shape.len());
            while old_product != new_product {
                let grow_new = old_product.exact_div(&new_product).is_some();
                if grow_new && new < shape.len() {
                    new_product = new_product * shape[new].clone();
                    new += 1;
                } else if old < self.shape.len() {
                    old_product = old_product * self.shape[old].clone();
                    old += 1;
                } else {
                    return None;
                }
            }
            if old_product.is_invalid() {
                return None;
            }
            let mut stride = self.merged_stride(first_old, old)?;
            for axis in (first_new..new).rev() {
                strides[axis] = stride.clone();
                stride = stride * shape[axis].clone();
            }
        }
        Some(ViewLayout { offset: self.offset.clone(), shape: shape.to_vec(), strides })
    }

    /// The innermost stride of axes `from..to` if they are densely nested.
    fn merged_stride(&self, from: usize, to: usize) -> Option<Dim> {
        let mut axes = (from..to).rev().filter(|axis| self.shape[*axis] != Dim::ONE);
        let Some(innermost) = axes.next() else { return Some(Dim::ONE) };
        let mut expected = self.strides[innermost].clone() * self.shape[innermost].clone();
        for axis in axes {
            if self.strides[axis] != expected {
                return None;
            }
            expected = expected * self.shape[axis].clone();
        }
        Some(self.strides[innermost].clone())
    }

    /// An upper bound of the elements from the first to behind the last, whatever lies between.
    pub fn extent_bound(&self) -> Dim {
        let axes = self.shape.iter().zip(&self.strides);
        axes.fold(Dim::ONE, |extent, (size, stride)| extent + size.clone() * stride.clone())
    }
}

/// Strides of densely packed elements.
pub fn contiguous_strides(shape: &[Dim]) -> Vec<Dim> {
    let mut strides = vec![Dim::ONE; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].clone() * shape[axis].clone();
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(text: &[&str]) -> Vec<Dim> {
        text.iter().map(|dim| dim.parse().unwrap()).collect()
    }

    #[test]
    fn a_split_result_reshapes_into_heads() {
        let qkv = ViewLayout::contiguous(&dims(&["T", "192"]));
        let k = qkv.slice(1, &Dim::constant(96), &Dim::constant(48));
        let heads = k.reshape(&dims(&["T", "2", "24"])).unwrap();
        assert_eq!(heads.strides, dims(&["192", "24", "1"]));
        assert_eq!(heads.offset, Dim::constant(96));
        assert!(!heads.is_contiguous() && heads.has_dense_rows());
        assert_eq!(heads.reshape(&dims(&["T", "48"])).unwrap(), k);
        assert_eq!(heads.reshape(&dims(&["48*T"])), None);
    }

    #[test]
    fn unit_axes_come_and_go() {
        let x = ViewLayout::contiguous(&dims(&["T", "8"]));
        let wide = x.reshape(&dims(&["1", "T", "1", "8"])).unwrap();
        assert!(wide.is_contiguous());
        assert_eq!(wide.reshape(&dims(&["8*T"])).unwrap().strides, dims(&["1"]));
    }

    #[test]
    fn empty_views_take_any_shape() {
        let x = ViewLayout::contiguous(&dims(&["T", "8"])).slice(1, &Dim::constant(3), &Dim::ZERO);
        for shape in [&["0"][..], &["0", "5"], &["B", "0", "7"]] {
            let empty = x.reshape(&dims(shape)).unwrap();
            assert_eq!((empty.offset, empty.shape), (Dim::constant(3), dims(shape)));
        }
    }

    #[test]
    fn symbolic_axes_merge_only_where_they_nest() {
        let x = ViewLayout::contiguous(&dims(&["T", "B", "6"]));
        assert_eq!(x.reshape(&dims(&["B*T", "2", "3"])).unwrap().strides, dims(&["6", "3", "1"]));
        assert_eq!(x.reshape(&dims(&["3*T", "2*B"])).unwrap().strides, dims(&["2*B", "1"]));
        let turned = x.permute(&[1, 0, 2]);
        assert_eq!(turned.reshape(&dims(&["B*T", "6"])), None);
        assert_eq!(
            turned.reshape(&dims(&["B", "T", "3", "2"])).unwrap().strides,
            dims(&["6", "6*B", "2", "1"])
        );
    }

    #[test]
    fn other_numbers_of_elements_have_no_view() {
        let x = ViewLayout::contiguous(&dims(&["T", "8"]));
        for shape in [&["T"][..], &["8"], &["T", "9"], &["T", "8", "2"], &[], &["B", "8"]] {
            assert_eq!(x.reshape(&dims(shape)), None, "{shape:?}");
        }
        let huge = ViewLayout::contiguous(&vec![Dim::constant(1 << 40); 3]);
        assert_eq!(huge.reshape(&vec![Dim::constant(1 << 40); 2]), None);
        assert_eq!(huge.reshape(&[Dim::constant(1 << 60), Dim::constant(1 << 60)]), None);
    }
}
