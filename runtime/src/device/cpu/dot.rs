//! Register tiles of dot products, the core of matrix products and attention scores.
//!
//! Each element of a tile has one vector accumulator. Its lanes run along K, step by step in one order; the
//! tail of K is one more step whose missing lanes are zero; the lanes are summed by one fixed tree. A tile's
//! shape decides only which elements share loads, so every shape gives the same bits.
//!
//! Addresses are computed by `wrapping_add`, because `add` checks itself in builds with debug assertions,
//! which here would cost more than the arithmetic.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::element::Element;
#[cfg(target_arch = "x86_64")]
use super::simd::Avx512;
use super::simd::Simd;

/// How a vector of `x` and a vector of `w` are multiplied into an accumulator.
pub(crate) trait Product: Copy {
    type S: Simd;
    /// Element of the left operand, which tiles reuse: already in the type it is multiplied in.
    type X: Element;
    /// Element of the right operand, widened on the fly.
    type W: Element;
    type Xv: Copy;
    type Wv: Copy;
    /// Elements of K in one step.
    const STEP: usize;

    fn simd(self) -> Self::S;
    unsafe fn x(self, p: *const Self::X) -> Self::Xv;
    unsafe fn x_n(self, p: *const Self::X, n: usize) -> Self::Xv;
    unsafe fn w(self, p: *const Self::W) -> Self::Wv;
    unsafe fn w_n(self, p: *const Self::W, n: usize) -> Self::Wv;
    fn step(self, x: Self::Xv, w: Self::Wv, sum: <Self::S as Simd>::F) -> <Self::S as Simd>::F;
}

/// f32 products; `w` of any float type.
#[derive(Clone, Copy)]
pub(crate) struct Widened<S, W>(S, std::marker::PhantomData<W>);

impl<S, W> Widened<S, W> {
    #[inline(always)]
    pub(crate) fn new(s: S) -> Self {
        Widened(s, std::marker::PhantomData)
    }
}

impl<S: Simd, W: Element> Product for Widened<S, W> {
    type S = S;
    type X = f32;
    type W = W;
    type Xv = S::F;
    type Wv = S::F;
    const STEP: usize = S::LANES;

    #[inline(always)]
    fn simd(self) -> S {
        self.0
    }
    #[inline(always)]
    unsafe fn x(self, p: *const f32) -> S::F {
        self.0.load_f32(p)
    }
    #[inline(always)]
    unsafe fn x_n(self, p: *const f32, n: usize) -> S::F {
        self.0.load_f32_n(p, n)
    }
    #[inline(always)]
    unsafe fn w(self, p: *const W) -> S::F {
        W::load(self.0, p)
    }
    #[inline(always)]
    unsafe fn w_n(self, p: *const W, n: usize) -> S::F {
        W::load_n(self.0, p, n)
    }
    #[inline(always)]
    fn step(self, x: S::F, w: S::F, sum: S::F) -> S::F {
        self.0.fma(x, w, sum)
    }
}

/// bf16 pairs by the AVX-512 BF16 dot product, which takes subnormal operands as zero.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Bf16Pairs(Avx512);

#[cfg(target_arch = "x86_64")]
impl Bf16Pairs {
    /// # Safety
    /// The machine has the features of [`Avx512`] and AVX-512 BF16.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Bf16Pairs(Avx512::assume())
    }
}

#[cfg(target_arch = "x86_64")]
impl Product for Bf16Pairs {
    type S = Avx512;
    type X = half::bf16;
    type W = half::bf16;
    type Xv = __m512i;
    type Wv = __m512i;
    const STEP: usize = 32;

    #[inline(always)]
    fn simd(self) -> Avx512 {
        self.0
    }
    #[inline(always)]
    unsafe fn x(self, p: *const half::bf16) -> __m512i {
        _mm512_maskz_loadu_epi16(!0, p.cast())
    }
    #[inline(always)]
    unsafe fn x_n(self, p: *const half::bf16, n: usize) -> __m512i {
        _mm512_maskz_loadu_epi16(((1u64 << n) - 1) as __mmask32, p.cast())
    }
    #[inline(always)]
    unsafe fn w(self, p: *const half::bf16) -> __m512i {
        self.x(p)
    }
    #[inline(always)]
    unsafe fn w_n(self, p: *const half::bf16, n: usize) -> __m512i {
        self.x_n(p, n)
    }
    #[inline(always)]
    fn step(self, x: __m512i, w: __m512i, sum: __m512) -> __m512 {
        // SAFETY: a value of this type exists only where the machine has the feature; the three types are
        // plain 512-bit vectors.
        unsafe {
            let x = std::mem::transmute::<__m512i, __m512bh>(x);
            let w = std::mem::transmute::<__m512i, __m512bh>(w);
            _mm512_dpbf16_ps(sum, x, w)
        }
    }
}

/// Columns of a full tile: rows of `w` it takes.
pub(crate) const TILE_COLUMNS: usize = 4;
/// Columns of a tall tile, which takes more rows of `x`, so that `w` is read once.
const TALL_COLUMNS: usize = 2;
/// Rows of `x` from which on a tall tile is better.
const TALL_FROM: usize = 5;

/// Where a tile's sums stand between two pieces of K.
#[derive(Clone, Copy)]
struct Piece<F> {
    /// `M * N` vectors.
    sums: *mut F,
    /// Whether the sums begin at zero and not as they stand.
    first: bool,
    /// Whether the sums are complete after it.
    last: bool,
}

/// Dot products of `M` rows of `x` with `N` rows of `w`, two or four, over one piece of K; of meaning after the last.
///
/// With `PREFETCH`, fetches what lies `ahead` elements, or wrapped as many before, after each row of `w`: for
/// products that read `w` once.
///
/// # Safety
/// `x` has `M` rows of `k` elements, `x_stride` apart, and each of `w` is one. Unless the piece is first and last, its
/// sums are there; unless it is last, `k` is a multiple of `P::STEP`.
#[inline(always)]
unsafe fn tile<P: Product, const M: usize, const N: usize, const PREFETCH: bool>(
    p: P,
    (x, x_stride): (*const P::X, usize),
    w: [*const P::W; N],
    k: usize,
    piece: Piece<<P::S as Simd>::F>,
    ahead: usize,
) -> [[f32; N]; M] {
    let s = p.simd();
    let mut sums = [[s.splat(0.0); N]; M];
    if !piece.first {
        for (m, row) in sums.iter_mut().enumerate() {
            for (n, sum) in row.iter_mut().enumerate() {
                *sum = *piece.sums.wrapping_add(m * N + n);
            }
        }
    }
    let mut i = 0;
    while i + P::STEP <= k {
        if PREFETCH {
            for row in w {
                prefetch(row.wrapping_add(ahead + i));
            }
        }
        let mut wv = [p.w(w[0].wrapping_add(i)); N];
        for n in 1..N {
            wv[n] = p.w(w[n].wrapping_add(i));
        }
        for (m, row) in sums.iter_mut().enumerate() {
            let xv = p.x(x.wrapping_add(m * x_stride + i));
            for n in 0..N {
                row[n] = p.step(xv, wv[n], row[n]);
            }
        }
        i += P::STEP;
    }
    if i < k {
        let n = k - i;
        let mut wv = [p.w_n(w[0].wrapping_add(i), n); N];
        for j in 1..N {
            wv[j] = p.w_n(w[j].wrapping_add(i), n);
        }
        for (m, row) in sums.iter_mut().enumerate() {
            let xv = p.x_n(x.wrapping_add(m * x_stride + i), n);
            for n in 0..N {
                row[n] = p.step(xv, wv[n], row[n]);
            }
        }
    }
    let mut out = [[0.0; N]; M];
    if piece.last {
        // Four at a time: a row, or two rows of two, the last one twice where they are odd.
        let step = TILE_COLUMNS / N;
        for i in 0..M.div_ceil(step) {
            let (a, b) = (i * step, (i * step + step - 1).min(M - 1));
            let four = s.sum4([sums[a][0], sums[a][1], sums[b][N - 2], sums[b][N - 1]]);
            for n in 0..N {
                out[a][n] = four[n];
                out[b][n] = four[TILE_COLUMNS - N + n];
            }
        }
    } else {
        for (m, row) in sums.into_iter().enumerate() {
            for (n, sum) in row.into_iter().enumerate() {
                *piece.sums.wrapping_add(m * N + n) = sum;
            }
        }
    }
    out
}

/// Dot products of `M` rows of `x` with one row of `w`; the columns that do not fill a [`tile`].
///
/// # Safety
/// As [`tile`], with one row of `w` and the whole of K.
#[inline(always)]
unsafe fn column<P: Product, const M: usize>(
    p: P,
    x: *const P::X,
    x_stride: usize,
    w: *const P::W,
    k: usize,
) -> [f32; M] {
    let s = p.simd();
    let mut sums = [s.splat(0.0); M];
    let mut i = 0;
    while i + P::STEP <= k {
        let wv = p.w(w.wrapping_add(i));
        for (m, sum) in sums.iter_mut().enumerate() {
            *sum = p.step(p.x(x.wrapping_add(m * x_stride + i)), wv, *sum);
        }
        i += P::STEP;
    }
    if i < k {
        let wv = p.w_n(w.wrapping_add(i), k - i);
        for (m, sum) in sums.iter_mut().enumerate() {
            *sum = p.step(p.x_n(x.wrapping_add(m * x_stride + i), k - i), wv, *sum);
        }
    }
    let mut out = [0.0; M];
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = s.sum(sum);
    }
    out
}

/// Bytes of `x` that stay in a first-level cache while rows of `w` pass by.
pub(crate) const X_BYTES: usize = 24 << 10;
/// As [`X_BYTES`], for tall tiles, which have fewer rows of `w` pass by.
const TALL_X_BYTES: usize = 32 << 10;

/// Most rows of `x` that [`block`] takes, if it is to take so many.
pub(crate) fn block_rows<P: Product>(rows: usize) -> usize {
    if rows <= P::S::TALL_ROWS { P::S::TALL_ROWS } else { P::S::TILE_ROWS }
}

/// Bytes of memory that [`block`] needs for `n` rows of `w`.
pub(crate) fn block_bytes<P: Product>(n: usize) -> usize {
    n * P::S::TILE_ROWS.max(P::S::TALL_ROWS) * size_of::<<P::S as Simd>::F>()
}

/// All dot products of `m` rows of `x`, at most [`block_rows`], with `n` rows of `w`, to rows of `out`.
///
/// `cold` says that `w` is not in a cache yet, so that fetching ahead pays for high tiles too; `ahead` is by how many
/// rows of `w`, if what comes next are not simply the next ones. Where the rows of `x` are long, K is taken piece by
/// piece, and sums wait in `spare` meanwhile: that moves them, no more.
///
/// # Safety
/// `x` has `m` rows and `w` has `n` rows of `k` elements, `out` has `m` rows of `n`, at their strides. `spare` has
/// [`block_bytes`] and is aligned to a vector.
#[inline(always)]
pub(crate) unsafe fn block<P: Product>(
    p: P,
    (x, x_stride, m): (*const P::X, usize, usize),
    (w, w_stride, n): (*const P::W, usize, usize),
    k: usize,
    out: (*mut f32, usize),
    spare: *mut u8,
    (cold, ahead): (bool, Option<usize>),
) {
    debug_assert!(m <= block_rows::<P>(m));
    let (x, w, spare) = ((x, x_stride), (w, w_stride), spare.cast());
    // Only the arms that the instruction set has registers for survive compilation.
    match m {
        TALL_FROM.. if m <= P::S::TALL_ROWS && cold && ahead.is_none() => match m {
            5 => rows::<P, 5, TALL_COLUMNS, true>(p, x, w, n, k, out, spare, ahead),
            6 => rows::<P, 6, TALL_COLUMNS, true>(p, x, w, n, k, out, spare, ahead),
            7 => rows::<P, 7, TALL_COLUMNS, true>(p, x, w, n, k, out, spare, ahead),
            8 => rows::<P, 8, TALL_COLUMNS, true>(p, x, w, n, k, out, spare, ahead),
            _ => debug_assert!(false, "no tile has {m} rows"),
        },
        1 => rows::<P, 1, TILE_COLUMNS, true>(p, x, w, n, k, out, spare, ahead),
        2 if P::S::TILE_ROWS >= 2 => rows::<P, 2, TILE_COLUMNS, true>(p, x, w, n, k, out, spare, ahead),
        3 if P::S::TILE_ROWS >= 3 => rows::<P, 3, TILE_COLUMNS, true>(p, x, w, n, k, out, spare, ahead),
        4 if P::S::TILE_ROWS >= 4 => rows::<P, 4, TILE_COLUMNS, true>(p, x, w, n, k, out, spare, ahead),
        5 if P::S::TILE_ROWS >= 5 && cold => {
            rows::<P, 5, TILE_COLUMNS, true>(p, x, w, n, k, out, spare, ahead)
        }
        6 if P::S::TILE_ROWS >= 6 && cold => {
            rows::<P, 6, TILE_COLUMNS, true>(p, x, w, n, k, out, spare, ahead)
        }
        5 if P::S::TILE_ROWS >= 5 => rows::<P, 5, TILE_COLUMNS, false>(p, x, w, n, k, out, spare, ahead),
        6 if P::S::TILE_ROWS >= 6 => rows::<P, 6, TILE_COLUMNS, false>(p, x, w, n, k, out, spare, ahead),
        _ => debug_assert_eq!(m, 0),
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "those of `block`")]
unsafe fn rows<P: Product, const M: usize, const N: usize, const PREFETCH: bool>(
    p: P,
    (x, x_stride): (*const P::X, usize),
    (w, w_stride): (*const P::W, usize),
    n: usize,
    k: usize,
    (out, out_stride): (*mut f32, usize),
    spare: *mut <P::S as Simd>::F,
    ahead: Option<usize>,
) {
    let bytes = if N == TILE_COLUMNS { X_BYTES } else { TALL_X_BYTES };
    let most = (bytes / M / size_of::<P::X>()).next_multiple_of(P::STEP);
    // Pieces of equal length: each costs the same to begin and to end.
    let step = k.div_ceil(k.div_ceil(most).max(1)).next_multiple_of(P::STEP);
    let whole = n / N * N;
    let mut done = 0;
    loop {
        let len = step.min(k - done);
        let (first, last) = (done == 0, done + len == k);
        let x = (x.wrapping_add(done), x_stride);
        let mut j = 0;
        while j < whole {
            // What comes after this tile: columns of this piece, then the next piece of the first columns, and after
            // the last piece the first one of other columns.
            let ahead = match ahead {
                Some(columns) => columns * w_stride,
                None if j + N < whole => N * w_stride,
                None if last => (N * w_stride).wrapping_sub(done),
                None => len.wrapping_sub(j * w_stride),
            };
            let piece = Piece { sums: spare.wrapping_add(j * M), first, last };
            let mut rows = [w.wrapping_add(j * w_stride + done); N];
            for n in 1..N {
                rows[n] = rows[0].wrapping_add(n * w_stride);
            }
            let values = tile::<P, M, N, PREFETCH>(p, x, rows, len, piece, ahead);
            if last {
                for (m, values) in values.into_iter().enumerate() {
                    out.wrapping_add(m * out_stride + j).cast::<[f32; N]>().write(values);
                }
            }
            j += N;
        }
        done += len;
        if last {
            break;
        }
    }
    for j in whole..n {
        let values = column::<P, M>(p, x, x_stride, w.wrapping_add(j * w_stride), k);
        for (m, value) in values.into_iter().enumerate() {
            *out.wrapping_add(m * out_stride + j) = value;
        }
    }
}

/// Dot products of `m <= TILE_ROWS` rows of `x` with at most [`TILE_COLUMNS`] rows of `w` that lie anywhere: the bits
/// of [`block`].
///
/// # Safety
/// As [`block`], with the rows of `w` where the pointers say.
#[inline(always)]
pub(crate) unsafe fn scattered<P: Product>(
    p: P,
    (x, x_stride, m): (*const P::X, usize, usize),
    w: &[*const P::W],
    k: usize,
    out: (*mut f32, usize),
) {
    debug_assert!(m <= P::S::TILE_ROWS);
    match m {
        1 => scattered_rows::<P, 1>(p, (x, x_stride), w, k, out),
        2 if P::S::TILE_ROWS >= 2 => scattered_rows::<P, 2>(p, (x, x_stride), w, k, out),
        3 if P::S::TILE_ROWS >= 3 => scattered_rows::<P, 3>(p, (x, x_stride), w, k, out),
        4 if P::S::TILE_ROWS >= 4 => scattered_rows::<P, 4>(p, (x, x_stride), w, k, out),
        5 if P::S::TILE_ROWS >= 5 => scattered_rows::<P, 5>(p, (x, x_stride), w, k, out),
        6 if P::S::TILE_ROWS >= 6 => scattered_rows::<P, 6>(p, (x, x_stride), w, k, out),
        _ => debug_assert_eq!(m, 0),
    }
}

#[inline(always)]
unsafe fn scattered_rows<P: Product, const M: usize>(
    p: P,
    x: (*const P::X, usize),
    w: &[*const P::W],
    k: usize,
    (out, out_stride): (*mut f32, usize),
) {
    if let Ok(w) = <[*const P::W; TILE_COLUMNS]>::try_from(w) {
        let piece = Piece { sums: std::ptr::null_mut(), first: true, last: true };
        let values = tile::<P, M, TILE_COLUMNS, false>(p, x, w, k, piece, 0);
        for (m, values) in values.into_iter().enumerate() {
            out.wrapping_add(m * out_stride).cast::<[f32; TILE_COLUMNS]>().write(values);
        }
        return;
    }
    for (j, w) in w.iter().enumerate() {
        for (m, value) in column::<P, M>(p, x.0, x.1, *w, k).into_iter().enumerate() {
            *out.wrapping_add(m * out_stride + j) = value;
        }
    }
}

/// Asks for the cache line at an address, which need not be one of ours.
#[inline(always)]
pub(crate) fn prefetch<T>(p: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program can see and ignores bad addresses; SSE is baseline.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}
