//! Matrix product.

use std::marker::PhantomData;

use mscc_ir::DType;

#[cfg(target_arch = "x86_64")]
use super::dot::Bf16Pairs;
use super::dot::{Product, TILE_COLUMNS, Widened, X_BYTES, block, block_bytes, block_rows};
use super::element::{Element, convert_row, is_compute_float, with_float};
use super::error::KernelError;
use super::isa::{Body, Isa};
use super::kernel::{Check, Kernel, Split};
use super::pool::{Scratch, TaskResult};
use super::simd::Simd;
use super::view::{Outer, View};

/// `y = x w^T + bias`, or `x w + bias`, sums in f32, rounded once.
///
/// | value  | shape                            | dtype                                   |
/// |--------|----------------------------------|-----------------------------------------|
/// | `x`    | [.., M, K]                       | f32, bf16, f16; K contiguous            |
/// | `w`    | [N, K] if `transposed`, else [K, N]; or [.., N, K] ([.., K, N]) with the leading dims of `x` | f32, bf16, f16 |
/// | `bias` | `[N]`, optional                    | f32, bf16, f16                          |
/// | -> `y` | [.., M, N]                       | f32, bf16, f16                          |
///
/// Fastest with K contiguous in `w`, as Hugging Face stores linear layers; other layouts are transposed
/// block by block. bf16 times bf16 uses the BF16 dot product where there is one (subnormal operands count as
/// zero); everything else is widened to f32. The bits of a row do not depend on the other rows.
pub struct Matmul<'a> {
    /// Left operand.
    pub x: &'a View,
    /// Right operand.
    pub w: &'a View,
    /// Added to each row before the rounding.
    pub bias: Option<&'a View>,
    /// Whether `w` is [N, K].
    pub transposed: bool,
    /// Result.
    pub y: &'a View,
}

/// Bytes of `w` that a block takes: half of a typical second-level cache, the rest is for `x` and results.
const PANEL_BYTES: usize = 512 << 10;
/// Rows from which on a block of `w` is used often enough to be worth keeping in the cache.
const PANEL_ROWS: usize = 9;

/// `M`, `N`, `K` and the number of products.
struct Sizes {
    m: usize,
    n: usize,
    k: usize,
    batch: usize,
}

impl Matmul<'_> {
    fn is_batched(&self) -> bool {
        self.w.rank() > 2
    }

    fn sizes(&self) -> Sizes {
        let rank = self.x.rank();
        let k = self.x.last_dim();
        let n = self.y.last_dim();
        let leading: usize = self.x.dims()[..rank - 1].iter().product();
        if self.is_batched() {
            let m = self.x.dims()[rank - 2];
            Sizes { m, n, k, batch: self.x.dims()[..rank - 2].iter().product() }
        } else {
            Sizes { m: leading, n, k, batch: 1 }
        }
    }

    /// Whether rows of `w` can be used where they lie.
    fn is_direct(&self) -> bool {
        w_strides(self.w, self.transposed).1 == 1 || self.sizes().k <= 1
    }
}

impl Kernel for Matmul<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("matmul");
        let Matmul { x, w, bias, y, .. } = *self;
        let floats = [Some(x), Some(w), bias, Some(y)].into_iter().flatten();
        check
            .dtypes(floats.clone().all(|view| is_compute_float(view.dtype())), &floats.collect::<Vec<_>>())?;
        check.shape("x", x, x.rank() >= 1, "[.., K]")?;
        check.shape("w", w, w.rank() == 2 || (w.rank() > 2 && w.rank() == x.rank()), "[.., N, K]")?;
        let (lead, last) = w.dims().split_at(w.rank() - 2);
        let (n, k) = if self.transposed { (last[0], last[1]) } else { (last[1], last[0]) };
        check.shape("w", w, k == x.last_dim(), "[.., N, K] with the K of x")?;
        let x_lead = &x.dims()[..x.rank() - 1];
        check.shape(
            "w",
            w,
            lead.is_empty() || *lead == x_lead[..x_lead.len() - 1],
            "the leading dims of x",
        )?;
        let fits = y.rank() == x.rank() && y.dims()[..y.rank() - 1] == *x_lead && y.last_dim() == n;
        check.shape("y", y, fits, "[.., M, N]")?;
        if let Some(bias) = bias {
            check.dims("bias", bias, &[n], "[N]")?;
            check.inner("bias", bias)?;
        }
        check.inner("x", x)?;
        check.inner("y", y)
    }

    fn split(&self, threads: usize) -> Split {
        let Sizes { m, n, k, batch } = self.sizes();
        if m * n * batch == 0 {
            return Split::default();
        }
        let row_bytes = (k * self.w.element_bytes()).max(1);
        let wanted = wanted_tasks(threads);
        let reused = m >= PANEL_ROWS || !self.is_direct();
        let columns = block_columns(n, wanted.div_ceil(batch), row_bytes, reused, threads);
        let column_blocks = n.div_ceil(columns);
        let rows = m.div_ceil(wanted.div_ceil(column_blocks * batch)).next_multiple_of(12).max(96).min(m);
        Split { tasks: batch * column_blocks * m.div_ceil(rows), rows, columns, ..Split::default() }
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, scratch: &mut Scratch) -> TaskResult {
        let sizes = self.sizes();
        Job::new(self, &sizes, split, task).run(isa, scratch);
        Ok(())
    }
}

/// Strides of `w` along N and K.
pub(super) fn w_strides(w: &View, transposed: bool) -> (usize, usize) {
    let strides = &w.strides()[w.rank() - 2..];
    if transposed { (strides[0], strides[1]) } else { (strides[1], strides[0]) }
}

/// Tasks that level the threads.
pub(super) fn wanted_tasks(threads: usize) -> usize {
    if threads == 1 { 1 } else { threads * 8 }
}

/// Columns of a block: about as many blocks as wanted, in whole tiles, and each block of `w` within the cache if it is
/// used again.
pub(super) fn block_columns(
    n: usize,
    wanted: usize,
    row_bytes: usize,
    reused: bool,
    threads: usize,
) -> usize {
    let round = |n: usize| n.next_multiple_of(TILE_COLUMNS);
    let mut columns = round(n.div_ceil(wanted));
    if reused {
        columns = columns.min(round((PANEL_BYTES / row_bytes).max(16)));
    } else if threads > 1 {
        // A product that reads w once: blocks that are worth handing out.
        columns = columns.max(round(((32 << 10) / row_bytes).max(1)));
    }
    columns.min(round(n))
}

/// One task: a block of rows times a block of columns of one product.
pub(super) struct Job<'a> {
    pub x: *const u8,
    pub x_dtype: DType,
    /// Offsets of the rows of `x` and of `y` in elements; the task's rows start at `row`.
    pub x_rows: Outer,
    pub y_rows: Outer,
    pub row: usize,
    pub rows: usize,
    pub w: *const u8,
    pub w_dtype: DType,
    /// Strides along N and K.
    pub w_n: usize,
    pub w_k: usize,
    pub n: usize,
    pub k: usize,
    /// First column, for the bias and the result.
    pub column: usize,
    pub bias: Option<&'a View>,
    pub y: &'a View,
    pub y_base: usize,
}

impl<'a> Job<'a> {
    fn new(op: &Matmul<'a>, sizes: &Sizes, split: Split, task: usize) -> Job<'a> {
        let column_blocks = sizes.n.div_ceil(split.columns);
        let row_blocks = sizes.m.div_ceil(split.rows);
        let column = task % column_blocks * split.columns;
        let row = task / column_blocks % row_blocks * split.rows;
        let product = task / column_blocks / row_blocks;
        let (w_n, w_k) = w_strides(op.w, op.transposed);
        let inner = if op.is_batched() { 2 } else { op.x.rank() };
        let rows_of = |view: &View| {
            let from = view.rank() - inner.min(view.rank());
            Outer::new(&view.dims()[from..view.rank() - 1], &view.strides()[from..view.rank() - 1])
        };
        let batch_of = |view: &View| if op.is_batched() { view.outer(2).offset(product) } else { 0 };
        Job {
            x: op.x.as_ptr::<u8>().wrapping_add(batch_of(op.x) * op.x.element_bytes()),
            x_dtype: op.x.dtype(),
            x_rows: rows_of(op.x),
            y_rows: rows_of(op.y),
            row,
            rows: split.rows.min(sizes.m - row),
            w: op.w.as_ptr::<u8>().wrapping_add((batch_of(op.w) + column * w_n) * op.w.element_bytes()),
            w_dtype: op.w.dtype(),
            w_n,
            w_k,
            n: split.columns.min(sizes.n - column),
            k: sizes.k,
            column,
            bias: op.bias,
            y: op.y,
            y_base: batch_of(op.y),
        }
    }
}

impl Job<'_> {
    /// Computes the block.
    ///
    /// # Safety
    /// All that it points to lies within views checked for this product, and nobody else touches the block.
    pub(super) unsafe fn run(self, isa: Isa, scratch: &mut Scratch) {
        let pairs = isa == Isa::Avx512Bf16 && self.x_dtype == DType::BF16 && self.w_dtype == DType::BF16;
        #[cfg(target_arch = "x86_64")]
        if pairs && isa.is_available() {
            return run_pairs(self, scratch);
        }
        debug_assert!(!pairs, "the level's instructions are missing");
        with_float!(self.w_dtype, W => isa.dispatch(Wide::<W>(self, scratch, PhantomData)));
    }
}

struct Wide<'a, W>(Job<'a>, &'a mut Scratch, PhantomData<W>);

impl<W: Element> Body for Wide<'_, W> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: `Kernel::run`'s contract: the views were checked.
        unsafe { run_job(Widened::<S, W>::new(s), &self.0, self.1) }
    }
}

/// # Safety
/// The machine has the features named, the job comes from checked views of bf16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn run_pairs(job: Job<'_>, scratch: &mut Scratch) {
    run_job(Bf16Pairs::assume(), &job, scratch);
}

/// Columns whose sums are kept in f32 before they get their bias and are rounded.
const SUM_COLUMNS: usize = 64;
/// Columns that several tiles of rows take in turns while the next as many are fetched.
const TURN_COLUMNS: usize = 2 * TILE_COLUMNS;

#[inline(always)]
unsafe fn run_job<P: Product>(p: P, job: &Job<'_>, scratch: &mut Scratch) {
    let k = job.k;
    let tile_rows = block_rows::<P>(job.rows);
    let transpose = job.w_k != 1 && k > 1;
    // An odd number of cache lines: rows a power of two apart would compete for the same places in the cache.
    let packed_stride = ((k * size_of::<P::X>()).div_ceil(64) | 1) * 64 / size_of::<P::X>();
    // Tiles of equal height: a last one of few rows would cost almost as much as a full one.
    let tiles = job.rows.div_ceil(tile_rows);
    let start = |tile: usize| job.rows * tile / tiles;
    // Few rows: all tiles take some columns before any takes the next ones, so that memory is read all the time.
    // Many rows: `w` is read from memory by the first tile only, and from a cache by the others.
    let in_turns = tiles > 1 && job.rows * packed_stride * size_of::<P::X>() <= X_BYTES;
    let (band, most, ahead) =
        if in_turns { (tiles, TURN_COLUMNS, Some(TURN_COLUMNS)) } else { (1, SUM_COLUMNS, None) };
    let w_bytes = if transpose { job.n * k * size_of::<P::W>() } else { 0 };
    let packed_bytes = band * tile_rows * packed_stride * size_of::<P::X>();
    let sum_bytes = tile_rows * SUM_COLUMNS * size_of::<f32>();
    let areas = [packed_bytes, w_bytes, sum_bytes, block_bytes::<P>(SUM_COLUMNS)];
    let [packed, panel, sums, spare] = scratch.areas(areas);
    let (packed, sums) = (packed.cast::<P::X>(), sums.cast::<f32>());
    let (w, w_stride) = if transpose {
        let panel = panel.cast::<P::W>();
        transpose_panel(job.w.cast::<P::W>(), job.w_n, job.w_k, job.n, k, panel);
        (panel.cast_const(), k)
    } else {
        (job.w.cast::<P::W>(), job.w_n)
    };
    for first in (0..tiles).step_by(band) {
        let packed_row = |row: usize| packed.wrapping_add((row - start(first)) * packed_stride);
        for row in start(first)..start(first + band) {
            let at = job.x_rows.offset(job.row + row);
            with_float!(job.x_dtype, X => {
                convert_row(p.simd(), job.x.cast::<X>().add(at), packed_row(row), k);
            });
        }
        let mut n = 0;
        while n < job.n {
            let columns = most.min(job.n - n);
            for tile in first..first + band {
                let (m, count) = (start(tile), start(tile + 1) - start(tile));
                block(
                    p,
                    (packed_row(m).cast_const(), packed_stride, count),
                    (w.wrapping_add(n * w_stride), w_stride, columns),
                    k,
                    (sums, SUM_COLUMNS),
                    spare,
                    (tile == 0, ahead),
                );
                for i in 0..count {
                    let at = job.y_base + job.y_rows.offset(job.row + m + i) + job.column + n;
                    finish_row(p.simd(), job, sums.add(i * SUM_COLUMNS), at, job.column + n, columns);
                }
            }
            n += columns;
        }
    }
}

/// Adds the bias from `column` on and writes a run of `y`.
#[inline(always)]
unsafe fn finish_row<S: Simd>(s: S, job: &Job<'_>, sums: *mut f32, at: usize, column: usize, len: usize) {
    if let Some(bias) = job.bias {
        with_float!(bias.dtype(), B => {
            let bias = bias.as_ptr::<B>().wrapping_add(column).cast_const();
            let mut i = 0;
            while i < len {
                let n = (len - i).min(S::LANES);
                let sum = s.load_f32_n(sums.wrapping_add(i), n);
                s.store_f32_n(sums.wrapping_add(i), s.add(sum, B::load_n(s, bias.wrapping_add(i), n)), n);
                i += n;
            }
        });
    }
    with_float!(job.y.dtype(), Y => convert_row(s, sums.cast_const(), job.y.as_ptr::<Y>().add(at), len));
}

/// Writes columns of `w` as rows without gaps, in squares that stay in the first-level cache.
#[inline(always)]
unsafe fn transpose_panel<W: Copy>(w: *const W, w_n: usize, w_k: usize, n: usize, k: usize, panel: *mut W) {
    const SIDE: usize = 16;
    for k0 in (0..k).step_by(SIDE) {
        for n0 in (0..n).step_by(SIDE) {
            for i in k0..(k0 + SIDE).min(k) {
                for j in n0..(n0 + SIDE).min(n) {
                    *panel.add(j * k + i) = *w.add(j * w_n + i * w_k);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FLOATS, Random, Tensor, levels, run};
    use super::*;

    fn reference(
        x: &[f64],
        w: &[f64],
        bias: Option<&[f64]>,
        n: usize,
        k: usize,
        transposed: bool,
    ) -> Vec<f64> {
        let rows = x.len().checked_div(k).unwrap_or(0);
        let mut y = Vec::new();
        for row in 0..rows {
            for column in 0..n {
                let at = |i: usize| if transposed { column * k + i } else { i * n + column };
                let product: f64 = (0..k).map(|i| x[row * k + i] * w[at(i)]).sum();
                y.push(product + bias.map_or(0.0, |bias| bias[column]));
            }
        }
        y
    }

    #[test]
    fn products_match_the_reference_for_all_types_and_layouts() {
        let mut random = Random::new(13);
        let sizes = [(1, 1, 1), (1, 7, 33), (2, 5, 16), (7, 13, 47), (13, 4, 96), (6, 31, 257)];
        for (m, n, k) in sizes {
            for (xd, wd) in FLOATS.into_iter().flat_map(|xd| FLOATS.map(|wd| (xd, wd))) {
                for (transposed, with_bias) in [(true, false), (true, true), (false, true)] {
                    let x = Tensor::gapped(xd, &[m, k]).random(&mut random);
                    let w = Tensor::gapped(wd, &if transposed { [n, k] } else { [k, n] }).random(&mut random);
                    let bias = Tensor::zeros(wd, &[n]).random(&mut random);
                    let bias_values = bias.get();
                    let bias_values = with_bias.then_some(bias_values.as_slice());
                    let want = reference(&x.get(), &w.get(), bias_values, n, k, transposed);
                    for isa in levels() {
                        let y = Tensor::gapped(xd, &[m, n]);
                        let bias = bias.view();
                        let bias = with_bias.then_some(&bias);
                        run(isa, 2, &Matmul { x: &x.view(), w: &w.view(), bias, transposed, y: &y.view() });
                        let what = format!("{xd} x {wd} [{m}, {k}] x [{n}, {k}] {}", isa.name());
                        y.assert_close(&want, k as f64, &what);
                    }
                }
            }
        }
    }

    #[test]
    fn batched_products_match_the_reference() {
        let mut random = Random::new(17);
        let (batch, m, n, k) = (3, 5, 6, 19);
        let x = Tensor::gapped(DType::F32, &[batch, m, k]).random(&mut random);
        let w = Tensor::gapped(DType::F32, &[batch, n, k]).random(&mut random);
        let (xs, ws) = (x.get(), w.get());
        let want: Vec<f64> = (0..batch)
            .flat_map(|b| reference(&xs[b * m * k..][..m * k], &ws[b * n * k..][..n * k], None, n, k, true))
            .collect();
        for isa in levels() {
            let y = Tensor::gapped(DType::F32, &[batch, m, n]);
            let kernel = Matmul { x: &x.view(), w: &w.view(), bias: None, transposed: true, y: &y.view() };
            run(isa, 2, &kernel);
            y.assert_close(&want, k as f64, isa.name());
        }
    }

    #[test]
    fn a_row_has_the_same_bits_alone_and_in_any_company() {
        let mut random = Random::new(19);
        // More columns than a block takes, and rows so long that they are taken in pieces.
        for (m, n, k) in [(37, 131, 83), (150, 67, 64), (9, 11, 5000)] {
            for (xd, wd) in FLOATS.into_iter().flat_map(|xd| FLOATS.map(|wd| (xd, wd))) {
                let x = Tensor::zeros(xd, &[m, k]).random(&mut random);
                let w = Tensor::zeros(wd, &[n, k]).random(&mut random);
                let (x, w) = (x.view(), w.view());
                for isa in levels() {
                    let whole = Tensor::zeros(xd, &[m, n]);
                    run(isa, 1, &Matmul { x: &x, w: &w, bias: None, transposed: true, y: &whole.view() });
                    let whole = whole.get();
                    for (threads, chunk) in [
                        (1, 1),
                        (1, 2),
                        (1, 3),
                        (1, 4),
                        (1, 5),
                        (1, 6),
                        (2, 7),
                        (2, 8),
                        (2, m),
                        (3, 30),
                        (3, m),
                    ] {
                        let y = Tensor::zeros(xd, &[m, n]);
                        for start in (0..m).step_by(chunk) {
                            let part = |view: View| view.slice(0, start, chunk.min(m - start)).unwrap();
                            let (x, y) = (part(x.clone()), part(y.view()));
                            run(isa, threads, &Matmul { x: &x, w: &w, bias: None, transposed: true, y: &y });
                        }
                        let what = format!("{} {threads} threads, chunks of {chunk}", isa.name());
                        assert_eq!(y.get(), whole, "{what}");
                    }
                }
            }
        }
    }

    #[test]
    fn untransposed_weights_give_the_bits_of_transposed_ones() {
        let mut random = Random::new(23);
        let (m, n, k) = (7, 37, 45);
        for dtype in FLOATS {
            let x = Tensor::zeros(dtype, &[m, k]).random(&mut random);
            let w = Tensor::zeros(dtype, &[n, k]).random(&mut random);
            let turned: Vec<f64> = (0..n * k).map(|i| w.get()[i % n * k + i / n]).collect();
            let turned = Tensor::zeros(dtype, &[k, n]).of(&turned);
            for isa in levels() {
                let (a, b) = (Tensor::zeros(dtype, &[m, n]), Tensor::zeros(dtype, &[m, n]));
                let x = &x.view();
                run(isa, 2, &Matmul { x, w: &w.view(), bias: None, transposed: true, y: &a.view() });
                run(isa, 2, &Matmul { x, w: &turned.view(), bias: None, transposed: false, y: &b.view() });
                b.assert_bits(&a.get(), isa.name());
            }
        }
    }

    #[test]
    fn empty_products_are_fine() {
        for (m, n, k) in [(0, 3, 4), (3, 0, 4), (2, 3, 0)] {
            let (x, w) = (Tensor::zeros(DType::F32, &[m, k]), Tensor::zeros(DType::F32, &[n, k]));
            let y = Tensor::zeros(DType::F32, &[m, n]);
            for isa in levels() {
                let kernel =
                    Matmul { x: &x.view(), w: &w.view(), bias: None, transposed: true, y: &y.view() };
                run(isa, 2, &kernel);
                assert!(y.get().iter().all(|y| *y == 0.0));
            }
        }
    }
}
