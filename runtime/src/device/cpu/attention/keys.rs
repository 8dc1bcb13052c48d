//! Keys and values of a tile: where they lie in the pages, or gathered from there.

use std::ops::Range;

use super::super::dot::prefetch;
use super::super::element::{Element, convert_row, with_float};
use super::super::error::KernelError;
use super::super::simd::Simd;
use super::super::view::View;
use super::Attention;

/// Keys of a tile; a multiple of every vector length.
pub(super) const TILE_KEYS: usize = 64;
/// How many keys ahead their memory is asked for: rows of one head lie far apart, which the machine does not
/// foresee.
const KEYS_AHEAD: usize = 16;

/// Rows of keys and values.
pub(super) struct Tile<E> {
    /// Absolute position of the first key, whether it counts or not.
    pub(super) start: usize,
    /// The keys that count: from this one on
    pub(super) from: usize,
    /// to the one before this.
    pub(super) to: usize,
    /// Keys, and those that come next.
    pub(super) k: [*const E; TILE_KEYS + KEYS_AHEAD],
    /// Values.
    pub(super) v: [*const E; TILE_KEYS],
    /// Whether the rows are in a cache already.
    is_near: bool,
}

impl<E> Tile<E> {
    fn new(start: usize, keys: Range<usize>, is_near: bool) -> Tile<E> {
        let none = std::ptr::null();
        let (k, v) = ([none; TILE_KEYS + KEYS_AHEAD], [none; TILE_KEYS]);
        Tile { start, from: keys.start - start, to: keys.end - start, k, v, is_near }
    }

    /// Asks for what comes after the four keys from `key` on: their values, and keys.
    #[inline(always)]
    pub(super) fn prefetch(&self, key: usize, width: usize, v_width: usize) {
        if self.is_near {
            return;
        }
        for key in key..(key + 4).min(TILE_KEYS) {
            prefetch_row(self.k[key + KEYS_AHEAD], width);
            prefetch_row(self.v[key], v_width);
        }
    }
}

/// Finds the keys and values of absolute positions `keys`, which lie within the tile; `end` is where the task's keys
/// end.
#[inline(always)]
pub(super) unsafe fn locate<E: Element>(
    op: &Attention<'_>,
    head: usize,
    sequence: usize,
    start: usize,
    keys: Range<usize>,
    end: usize,
) -> Result<Tile<E>, KernelError> {
    let mut tile = Tile::new(start, keys, false);
    for at in tile.from..(TILE_KEYS + KEYS_AHEAD).min(end - start) {
        let [k, v] = place(op, head, sequence, start + at)?;
        tile.k[at] = op.k_cache.as_ptr::<E>().wrapping_add(k);
        if at < TILE_KEYS {
            tile.v[at] = op.v_cache.as_ptr::<E>().wrapping_add(v);
        }
    }
    Ok(tile)
}

/// As [`locate`], but collects the rows, widened, at two places, each with a stride.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "whose keys, which, and where to")]
pub(super) unsafe fn gather<S: Simd>(
    s: S,
    op: &Attention<'_>,
    head: usize,
    sequence: usize,
    start: usize,
    keys: Range<usize>,
    end: usize,
    ((k_to, k_stride), (v_to, v_stride)): ((*mut f32, usize), (*mut f32, usize)),
) -> Result<Tile<f32>, KernelError> {
    let mut tile = Tile::new(start, keys, true);
    let (width, v_width) = (op.k_cache.dims()[3], op.v_cache.dims()[3]);
    for at in tile.from..tile.to {
        if start + at + KEYS_AHEAD < end {
            let [k, v] = place(op, head, sequence, start + at + KEYS_AHEAD)?;
            prefetch_row(byte(op.k_cache, k), width * op.k_cache.element_bytes());
            prefetch_row(byte(op.v_cache, v), v_width * op.v_cache.element_bytes());
        }
        let [k, v] = place(op, head, sequence, start + at)?;
        let (k_to, v_to) = (k_to.wrapping_add(at * k_stride), v_to.wrapping_add(at * v_stride));
        with_float!(op.k_cache.dtype(), E => {
            convert_row(s, op.k_cache.as_ptr::<E>().wrapping_add(k).cast_const(), k_to, width);
            convert_row(s, op.v_cache.as_ptr::<E>().wrapping_add(v).cast_const(), v_to, v_width);
        });
        (tile.k[at], tile.v[at]) = (k_to, v_to);
    }
    Ok(tile)
}

/// Offsets of a head's key and value for an absolute position below the context's length.
#[inline(always)]
unsafe fn place(
    op: &Attention<'_>,
    head: usize,
    sequence: usize,
    key: usize,
) -> Result<[usize; 2], KernelError> {
    let (pages, block) = (op.k_cache.dims()[0], op.k_cache.dims()[1]);
    let (entry, offset) = (key / block, key % block);
    let got = *op.block_table.as_ptr::<i32>().wrapping_add(sequence * op.block_table.strides()[0] + entry);
    let Some(page) = usize::try_from(got).ok().filter(|page| *page < pages) else {
        let position = sequence * op.block_table.dims()[1] + entry;
        return Err(op.index_error("block_table", position, i64::from(got), pages));
    };
    let at = |strides: &[usize]| page * strides[0] + offset * strides[1] + head * strides[2];
    Ok([at(op.k_cache.strides()), at(op.v_cache.strides())])
}

fn byte(view: &View, at: usize) -> *const u8 {
    view.as_ptr::<u8>().wrapping_add(at * view.element_bytes())
}

#[inline(always)]
fn prefetch_row<E>(row: *const E, len: usize) {
    for line in (0..len * size_of::<E>()).step_by(64) {
        prefetch(row.cast::<u8>().wrapping_add(line));
    }
}
