//! Host memory that kernels work on.
#![allow(unsafe_code, reason = "owns raw memory, which kernels reach by address")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use memmap2::MmapMut;

/// Bytes to whose multiples memory starts are aligned: a cache line, and the widest vector.
pub const ALIGN: usize = 64;

/// Zeroed memory of a fixed size, aligned to [`ALIGN`]. Large pieces cost nothing until they are touched.
#[derive(Debug)]
pub struct Memory {
    /// The first aligned byte.
    start: NonNull<u8>,
    bytes: usize,
    owner: Owner,
}

/// Who frees the memory.
#[derive(Debug)]
enum Owner {
    Heap { base: NonNull<u8>, layout: Layout },
    Mapping(#[expect(dead_code, reason = "unmapped when dropped")] MmapMut),
}

// SAFETY: it owns its memory and has no interior mutability: what goes through `address` is under the contract of
// the kernels (see `View::new`), all else follows the borrow of `self`.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

/// Bytes from which on large pages are worth asking for: two of the usual large size.
const LARGE: usize = 4 << 20;

impl Memory {
    /// So many zeroed bytes; `None` if they are not to be had.
    pub fn zeroed(bytes: usize) -> Option<Memory> {
        // A small alignment lets the allocator hand out fresh zero pages, which it does not for larger ones.
        let layout = Layout::from_size_align(bytes.checked_add(ALIGN)?, 8).ok()?;
        // SAFETY: the size is at least `ALIGN`.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        let skip = base.addr().get().next_multiple_of(ALIGN) - base.addr().get();
        // SAFETY: `skip` is less than `ALIGN`, so the start and `bytes` from there on lie in what was allocated.
        let start = unsafe { base.add(skip) };
        Some(Memory { start, bytes, owner: Owner::Heap { base, layout } })
    }

    /// As [`Memory::zeroed`], for what will be filled from end to end: in large pages where the system has them,
    /// which are faster to get and to walk, but are taken whole at the first touch.
    pub fn zeroed_to_fill(bytes: usize) -> Option<Memory> {
        if bytes < LARGE || isize::try_from(bytes).is_err() {
            return Memory::zeroed(bytes);
        }
        let mut mapping = MmapMut::map_anon(bytes).ok()?;
        // A system without large pages gives small ones.
        #[cfg(target_os = "linux")]
        let _ = mapping.advise(memmap2::Advice::HugePage);
        let start = NonNull::new(mapping.as_mut_ptr())?;
        Some(Memory { start, bytes, owner: Owner::Mapping(mapping) })
    }

    /// A copy of the given bytes; `None` if the memory is not to be had.
    pub fn copy_of(bytes: &[u8]) -> Option<Memory> {
        let mut memory = Memory::zeroed_to_fill(bytes.len())?;
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
        self.start.as_ptr()
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
        if let Owner::Heap { base, layout } = self.owner {
            // SAFETY: allocated with this layout, and not freed before.
            unsafe { dealloc(base.as_ptr(), layout) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_zeroed_and_bounded() {
        let sizes = [0, 1, 63, 64, 1000, 1 << 20, LARGE + 1];
        for mut memory in sizes
            .into_iter()
            .flat_map(|bytes| [Memory::zeroed(bytes), Memory::zeroed_to_fill(bytes)])
            .flatten()
        {
            let bytes = memory.len();
            assert_eq!((memory.address().addr() % ALIGN, memory.len()), (0, bytes));
            assert!(memory.bytes().iter().all(|byte| *byte == 0));
            memory.bytes_mut().fill(1);
        }
        assert_eq!(Memory::copy_of(&1.5f32.to_ne_bytes()).unwrap().floats(9), [1.5]);
        for zeroed in [Memory::zeroed, Memory::zeroed_to_fill] {
            assert!(zeroed(usize::MAX).is_none() && zeroed(isize::MAX as usize).is_none());
        }
    }
}
