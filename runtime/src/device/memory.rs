//! Host memory that kernels work on.
#![allow(unsafe_code, reason = "owns raw memory, which kernels reach by address")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Bytes to whose multiples memory starts are aligned: a cache line, and the widest vector.
pub const ALIGN: usize = 64;

/// Zeroed memory of a fixed size, aligned to [`ALIGN`]. Large pieces cost nothing until they are touched.
#[derive(Debug)]
pub struct Memory {
    base: NonNull<u8>,
    layout: Layout,
    /// From `base` to the first aligned byte.
    skip: usize,
    bytes: usize,
}

// SAFETY: it owns its memory and has no interior mutability: what goes through `address` is under the contract of
// the kernels (see `View::new`), all else follows the borrow of `self`.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// So many zeroed bytes; `None` if they are not to be had.
    pub fn zeroed(bytes: usize) -> Option<Memory> {
        // A small alignment lets the allocator hand out fresh zero pages, which it does not for larger ones.
        let layout = Layout::from_size_align(bytes.checked_add(ALIGN)?, 8).ok()?;
        // SAFETY: the size is at least `ALIGN`.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        let skip = base.addr().get().next_multiple_of(ALIGN) - base.addr().get();
        Some(Memory { base, layout, skip, bytes })
    }

    /// A copy of the given bytes; `None` if the memory is not to be had.
    pub fn copy_of(bytes: &[u8]) -> Option<Memory> {
        let mut memory = Memory::zeroed(bytes.len())?;
        memory.bytes_mut().copy_from_slice(bytes);
        Some(memory)
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it has no byte.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Where it starts.
    pub fn address(&self) -> *mut u8 {
        self.base.as_ptr().wrapping_add(self.skip)
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `bytes` bytes from `address` on are ours and initialised.
        unsafe { std::slice::from_raw_parts(self.address(), self.bytes) }
    }

    /// All bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.address(), self.bytes) }
    }

    /// The first `count` floats, or as many as there are.
    pub fn floats(&self, count: usize) -> &[f32] {
        // SAFETY: aligned, within the memory, and every bit pattern is a float.
        unsafe { std::slice::from_raw_parts(self.address().cast(), count.min(self.bytes / size_of::<f32>())) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and not freed before.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_zeroed_and_bounded() {
        for bytes in [0, 1, 63, 64, 1000, 1 << 20] {
            let mut memory = Memory::zeroed(bytes).unwrap();
            assert_eq!((memory.address().addr() % ALIGN, memory.len()), (0, bytes));
            assert!(memory.bytes().iter().all(|byte| *byte == 0));
            memory.bytes_mut().fill(1);
        }
        assert_eq!(Memory::copy_of(&1.5f32.to_ne_bytes()).unwrap().floats(9), [1.5]);
        assert!(Memory::zeroed(usize::MAX).is_none() && Memory::zeroed(isize::MAX as usize).is_none());
    }
}
