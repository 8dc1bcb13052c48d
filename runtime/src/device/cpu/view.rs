//! Strided views of checked memory.

use mscc_ir::DType;
use smallvec::SmallVec;

/// Sizes or strides of a view, one for each dimension.
pub type Dims = SmallVec<[usize; 4]>;

/// A tensor in memory: an address, an element type, sizes and strides in elements.
///
/// Whoever builds a view has checked its extent against its buffer; kernels rely on it. A stride of 0
/// repeats an element along its dimension (operands only). Elements are at least a byte: packed types are
/// viewed as bytes.
#[derive(Clone, Debug)]
pub struct View {
    ptr: *mut u8,
    dtype: DType,
    dims: Dims,
    strides: Dims,
}

// SAFETY: a view is an address and numbers. The memory behind it is touched only by kernels, whose launch
// contract (see `Kernel::run`) says that results are not read or written by anyone else meanwhile.
unsafe impl Send for View {}
// SAFETY: as above; `View` has no interior mutability of its own.
unsafe impl Sync for View {}

impl View {
    /// A view with explicit strides (elements).
    ///
    /// # Safety
    /// Every element that `dims` and `strides` reach lies in one live allocation, for as long as the view
    /// and its clones are used; `ptr` is aligned to the element; the memory is initialised. `dims` and
    /// `strides` have the same length and their products fit `usize`. If the view is used as a result, no two
    /// positions are one element, the memory is writable, nobody else touches it while a kernel runs, and it
    /// overlaps no operand unless the kernel says that it may be that operand.
    pub unsafe fn new(ptr: *mut u8, dtype: DType, dims: &[usize], strides: &[usize]) -> View {
        debug_assert_eq!(dims.len(), strides.len());
        debug_assert!(dtype.bytes().is_some_and(|bytes| ptr.addr().is_multiple_of(bytes)));
        View { ptr, dtype, dims: dims.into(), strides: strides.into() }
    }

    /// A row-major view without gaps.
    ///
    /// # Safety
    /// As [`View::new`].
    pub unsafe fn contiguous(ptr: *mut u8, dtype: DType, dims: &[usize]) -> View {
        View::new(ptr, dtype, dims, &row_major(dims))
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sizes, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Strides in elements, outermost first.
    pub fn strides(&self) -> &[usize] {
        &self.strides
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.dims.contains(&0)
    }

    /// Address of the first element.
    pub fn as_ptr<T>(&self) -> *mut T {
        self.ptr.cast()
    }

    /// Whether the elements of the last dimension are neighbours.
    pub fn is_inner_contiguous(&self) -> bool {
        match (self.dims.last(), self.strides.last()) {
            (Some(&dim), Some(&stride)) => stride == 1 || dim <= 1,
            _ => true,
        }
    }

    /// Whether the view is row-major without gaps.
    pub fn is_contiguous(&self) -> bool {
        self.is_contiguous_from(0)
    }

    /// The view repeated to larger sizes: dims are aligned at the end, missing ones and those of size 1
    /// repeat. `None` if another size differs.
    pub fn broadcast(&self, dims: &[usize]) -> Option<View> {
        let missing = dims.len().checked_sub(self.rank())?;
        let mut strides: Dims = smallvec::smallvec![0; dims.len()];
        for (i, (&dim, &stride)) in self.dims.iter().zip(&self.strides).enumerate() {
            let target = dims[missing + i];
            if dim == target {
                strides[missing + i] = stride;
            } else if dim != 1 {
                return None;
            }
        }
        Some(View { ptr: self.ptr, dtype: self.dtype, dims: dims.into(), strides })
    }

    /// The part `start..start + size` of a dimension; `None` if it reaches beyond.
    pub fn slice(&self, axis: usize, start: usize, size: usize) -> Option<View> {
        if start.checked_add(size)? > *self.dims.get(axis)? {
            return None;
        }
        let mut part = self.clone();
        part.dims[axis] = size;
        if size > 0 {
            part.ptr = self.ptr.wrapping_add(start * self.strides[axis] * self.element_bytes());
        }
        Some(part)
    }

    /// The view with its dimensions in another order; `None` if `order` does not name each once.
    pub fn permute(&self, order: impl IntoIterator<Item = usize>) -> Option<View> {
        let mut seen: SmallVec<[bool; 8]> = smallvec::smallvec![false; self.rank()];
        let (mut dims, mut strides) = (Dims::new(), Dims::new());
        for axis in order {
            if std::mem::replace(seen.get_mut(axis)?, true) {
                return None;
            }
            dims.push(self.dims[axis]);
            strides.push(self.strides[axis]);
        }
        (dims.len() == self.rank()).then_some(View { ptr: self.ptr, dtype: self.dtype, dims, strides })
    }

    /// A gapless view under other sizes; `None` if it has gaps or the numbers of elements differ.
    pub fn reshape(&self, dims: &[usize]) -> Option<View> {
        if !self.is_contiguous() || dims.iter().product::<usize>() != self.len() {
            return None;
        }
        Some(View { ptr: self.ptr, dtype: self.dtype, dims: dims.into(), strides: row_major(dims) })
    }

    /// Bytes of an element.
    pub(crate) fn element_bytes(&self) -> usize {
        self.dtype.bytes().expect("views hold elements of at least a byte")
    }

    /// The last dimension's size; 1 for a scalar.
    pub(crate) fn last_dim(&self) -> usize {
        self.dims.last().copied().unwrap_or(1)
    }

    /// The last dimension's stride, 1 where it does not matter.
    pub(crate) fn last_stride(&self) -> usize {
        match (self.dims.last(), self.strides.last()) {
            (Some(&dim), Some(&stride)) if dim > 1 => stride,
            _ => 1,
        }
    }

    /// All dimensions but the last `inner`, as one sequence of offsets.
    pub(crate) fn outer(&self, inner: usize) -> Outer {
        let n = self.rank().saturating_sub(inner);
        Outer::new(&self.dims[..n], &self.strides[..n])
    }

    /// The dimensions between the first `from` and the last one, as one sequence of offsets.
    pub(crate) fn slice_outer(&self, from: usize) -> Outer {
        let to = self.rank().saturating_sub(1).max(from);
        Outer::new(&self.dims[from..to], &self.strides[from..to])
    }

    /// Whether the dimensions from `axis` on are row-major without gaps.
    pub(crate) fn is_contiguous_from(&self, axis: usize) -> bool {
        let mut expected = 1;
        self.dims[axis..].iter().zip(&self.strides[axis..]).rev().all(|(&dim, &stride)| {
            let fits = dim <= 1 || stride == expected;
            expected *= dim.max(1);
            fits
        })
    }
}

/// Strides of a row-major tensor without gaps.
pub(crate) fn row_major(dims: &[usize]) -> Dims {
    let mut strides: Dims = smallvec::smallvec![1; dims.len()];
    for i in (1..dims.len()).rev() {
        strides[i - 1] = strides[i] * dims[i].max(1);
    }
    strides
}

/// Several dimensions walked as one, in row-major order; neighbours that allow it are merged.
#[derive(Clone, Debug)]
pub(crate) struct Outer {
    count: usize,
    dims: Dims,
    strides: Dims,
}

impl Outer {
    pub(crate) fn new(dims: &[usize], strides: &[usize]) -> Outer {
        let mut merged_dims = Dims::new();
        let mut merged_strides = Dims::new();
        for (&dim, &stride) in dims.iter().zip(strides) {
            if dim == 1 {
                continue;
            }
            match (merged_dims.last_mut(), merged_strides.last_mut()) {
                (Some(last_dim), Some(last_stride)) if *last_stride == stride * dim => {
                    *last_dim *= dim;
                    *last_stride = stride;
                }
                _ => {
                    merged_dims.push(dim);
                    merged_strides.push(stride);
                }
            }
        }
        Outer { count: dims.iter().product(), dims: merged_dims, strides: merged_strides }
    }

    /// Number of positions.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Offset in elements of position `index < count`.
    #[inline]
    pub(crate) fn offset(&self, mut index: usize) -> usize {
        match self.strides.len() {
            0 => 0,
            1 => index * self.strides[0],
            n => {
                let mut offset = 0;
                for i in (1..n).rev() {
                    offset += index % self.dims[i] * self.strides[i];
                    index /= self.dims[i];
                }
                offset + index * self.strides[0]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outer_dimensions_merge_where_they_can() {
        let merged = Outer::new(&[2, 3, 4], &[12, 4, 1]);
        assert_eq!((merged.count(), merged.dims.as_slice()), (24, &[24][..]));
        let split = Outer::new(&[2, 1, 3], &[100, 7, 10]);
        let offsets: Vec<_> = (0..split.count()).map(|i| split.offset(i)).collect();
        assert_eq!(offsets, [0, 10, 20, 100, 110, 120]);
        assert_eq!(Outer::new(&[], &[]).count(), 1);
        let broadcast = Outer::new(&[2, 3], &[0, 0]);
        assert_eq!(broadcast.offset(5), 0);
    }

    #[test]
    fn contiguity_ignores_strides_of_single_elements() {
        let mut data = [0f32; 6];
        let ptr = data.as_mut_ptr().cast();
        // SAFETY: all views lie within `data`.
        unsafe {
            assert!(View::new(ptr, DType::F32, &[1, 2, 3], &[99, 3, 1]).is_contiguous());
            assert!(!View::new(ptr, DType::F32, &[2, 2], &[3, 1]).is_contiguous());
            assert!(!View::new(ptr, DType::F32, &[2], &[2]).is_inner_contiguous());
        }
    }
}
