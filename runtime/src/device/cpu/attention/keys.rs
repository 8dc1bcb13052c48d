//! Where keys and values lie, and those of a tile: in their place, or gathered from there.

use std::ops::Range;

use super::super::dot::prefetch;
use super::super::element::{Element, convert_row, with_float};
use super::super::error::KernelError;
use super::super::simd::Simd;
use super::super::view::View;
use super::sums::stride;

/// Keys of a tile; a multiple of every vector length.
pub(super) const TILE_KEYS: usize = 64;
/// How many keys ahead their memory is asked for: rows of one head lie far apart, which the machine does not
/// foresee.
const KEYS_AHEAD: usize = 16;

/// The keys and values of a step.
pub(super) struct Keys<'a> {
    /// How many heads they have.
    pub(super) heads: usize,
    pub(super) k: Rows<'a>,
    /// A second part of keys, multiplied with that of queries.
    pub(super) k_rope: Option<Rows<'a>>,
    /// Without them, the first parts of keys are the values.
    pub(super) v: Option<Rows<'a>>,
    pub(super) order: Order<'a>,
}

/// In which order the tokens of sequences lie.
#[derive(Clone, Copy)]
pub(super) enum Order<'a> {
    /// By pages; this is the block table.
    Paged(&'a View),
    /// One sequence after the other.
    Packed,
}

/// One row for each token, or for each token and head.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) view: &'a View,
    /// Elements between pages, between tokens and between heads.
    strides: [usize; 3],
}

impl<'a> Rows<'a> {
    /// Of [P, block, K, D] or [P, block, D].
    pub(super) fn paged(view: &'a View) -> Rows<'a> {
        let head = if view.rank() == 4 { view.strides()[2] } else { 0 };
        Rows { view, strides: [view.strides()[0], view.strides()[1], head] }
    }

    /// Of [C, K, D] or [C, D].
    pub(super) fn packed(view: &'a View) -> Rows<'a> {
        let head = if view.rank() == 3 { view.strides()[1] } else { 0 };
        Rows { view, strides: [0, view.strides()[0], head] }
    }

    pub(super) fn width(&self) -> usize {
        self.view.last_dim()
    }

    #[inline(always)]
    fn offset(&self, [page, row]: [usize; 2], head: usize) -> usize {
        page * self.strides[0] + row * self.strides[1] + head * self.strides[2]
    }

    #[inline(always)]
    fn at<E: Element>(&self, slot: [usize; 2], head: usize) -> *const E {
        self.view.as_ptr::<E>().wrapping_add(self.offset(slot, head)).cast_const()
    }

    #[inline(always)]
    fn prefetch(&self, slot: [usize; 2], head: usize) {
        let bytes = self.view.element_bytes();
        let row = self.view.as_ptr::<u8>().wrapping_add(self.offset(slot, head) * bytes);
        prefetch_row(row.cast_const(), self.width() * bytes);
    }
}

impl Keys<'_> {
    /// Most keys that a sequence has.
    pub(super) fn room(&self) -> usize {
        match self.order {
            Order::Paged(block_table) => block_table.dims()[1].saturating_mul(self.k.view.dims()[1]),
            Order::Packed => self.k.view.dims()[0],
        }
    }

    /// The rows whose elements the products take.
    pub(super) fn values(&self) -> Rows<'_> {
        self.v.unwrap_or(self.k)
    }

    /// Elements of a whole key, its second part from a cache line on.
    pub(super) fn width(&self) -> usize {
        self.k_rope.map_or(self.k.width(), |rope| stride(self.k.width()) + rope.width())
    }
}

/// The keys of one head of a sequence.
pub(super) struct Context<'a> {
    pub(super) kernel: &'static str,
    pub(super) keys: &'a Keys<'a>,
    pub(super) head: usize,
    pub(super) sequence: usize,
    /// Row of its first key, where sequences are packed.
    pub(super) first: usize,
}

/// Where gathered rows go: the first, and how far they are apart.
#[derive(Clone, Copy)]
pub(super) struct Area {
    pub(super) rows: *mut f32,
    pub(super) stride: usize,
}

impl Area {
    pub(super) fn row(self, row: usize) -> *mut f32 {
        self.rows.wrapping_add(row * self.stride)
    }
}

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

impl Context<'_> {
    /// Finds the keys and values of absolute positions `keys`, which lie within the tile; `end` is where the task's
    /// keys end. For keys of one part.
    #[inline(always)]
    pub(super) unsafe fn locate<E: Element>(
        &self,
        start: usize,
        keys: Range<usize>,
        end: usize,
    ) -> Result<Tile<E>, KernelError> {
        let (k, v) = (self.keys.k, self.keys.values());
        let mut tile = Tile::new(start, keys, false);
        let mut walk = self.walk(start + tile.from);
        for at in tile.from..(TILE_KEYS + KEYS_AHEAD).min(end - start) {
            let slot = walk.step()?;
            tile.k[at] = k.at(slot, self.head);
            if at < TILE_KEYS {
                tile.v[at] = v.at(slot, self.head);
            }
        }
        Ok(tile)
    }

    /// As [`Context::locate`], but collects the rows, widened, and of keys both parts.
    #[inline(always)]
    pub(super) unsafe fn gather<S: Simd>(
        &self,
        s: S,
        start: usize,
        keys: Range<usize>,
        end: usize,
        (k_area, v_area): (Area, Area),
    ) -> Result<Tile<f32>, KernelError> {
        let Keys { k, k_rope, v, .. } = *self.keys;
        let mut tile = Tile::new(start, keys, true);
        let mut walk = self.walk(start + tile.from);
        let mut ahead = self.walk(start + tile.from + KEYS_AHEAD);
        for at in tile.from..tile.to {
            if start + at + KEYS_AHEAD < end {
                let slot = ahead.step()?;
                [Some(k), k_rope, v].iter().flatten().for_each(|rows| rows.prefetch(slot, self.head));
            }
            let slot = walk.step()?;
            let to = k_area.row(at);
            widen_row(s, k, slot, self.head, to);
            if let Some(k_rope) = k_rope {
                std::ptr::write_bytes(to.wrapping_add(k.width()), 0, stride(k.width()) - k.width());
                widen_row(s, k_rope, slot, self.head, to.wrapping_add(stride(k.width())));
            }
            tile.k[at] = to;
            tile.v[at] = to;
            if let Some(v) = v {
                let to = v_area.row(at);
                widen_row(s, v, slot, self.head, to);
                tile.v[at] = to;
            }
        }
        Ok(tile)
    }

    /// The places of keys, from one on.
    #[inline(always)]
    fn walk(&self, key: usize) -> Walk<'_> {
        match self.keys.order {
            Order::Paged(_) => {
                let block = self.keys.k.view.dims()[1];
                Walk { context: self, next_entry: key / block, block, left: 0, slot: [0, key % block] }
            }
            Order::Packed => {
                let left = usize::MAX;
                Walk { context: self, next_entry: 0, block: left, left, slot: [0, self.first + key] }
            }
        }
    }

    /// A page of the sequence, which is in sight.
    #[inline(always)]
    unsafe fn page(&self, entry: usize) -> Result<usize, KernelError> {
        let Order::Paged(block_table) = self.keys.order else { return Ok(0) };
        let pages = self.keys.k.view.dims()[0];
        let got = *block_table.as_ptr::<i32>().wrapping_add(self.sequence * block_table.strides()[0] + entry);
        usize::try_from(got).ok().filter(|page| *page < pages).ok_or_else(|| {
            let position = self.sequence * block_table.dims()[1] + entry;
            let (kernel, value) = (self.kernel, "block_table");
            KernelError::Index { kernel, value, position, got: i64::from(got), limit: pages }
        })
    }
}

/// Goes from key to key, and looks up a page when it comes to it.
struct Walk<'a> {
    context: &'a Context<'a>,
    next_entry: usize,
    block: usize,
    /// Rows until the page ends.
    left: usize,
    /// Page and row of the next key.
    slot: [usize; 2],
}

impl Walk<'_> {
    /// Page and row of the next key, which is below the context's length.
    #[inline(always)]
    unsafe fn step(&mut self) -> Result<[usize; 2], KernelError> {
        if self.left == 0 {
            self.slot = [self.context.page(self.next_entry)?, self.slot[1] % self.block];
            self.left = self.block - self.slot[1];
            self.next_entry += 1;
        }
        let slot = self.slot;
        self.slot[1] += 1;
        self.left -= 1;
        Ok(slot)
    }
}

#[inline(always)]
unsafe fn widen_row<S: Simd>(s: S, rows: Rows<'_>, slot: [usize; 2], head: usize, to: *mut f32) {
    with_float!(rows.view.dtype(), E => convert_row(s, rows.at::<E>(slot, head), to, rows.width()));
}

#[inline(always)]
fn prefetch_row<E>(row: *const E, len: usize) {
    for line in (0..len * size_of::<E>()).step_by(64) {
        prefetch(row.cast::<u8>().wrapping_add(line));
    }
}
