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

/// Where a tile's sums stand between two pieces of K.
#[derive(Clone, Copy)]
struct Piece<F> {
    /// `M * TILE_COLUMNS` vectors.
    sums: *mut F,
    /// Whether the sums begin at zero and not as they stand.
    first: bool,
    /// Whether the sums are complete after it.
    last: bool,
}

/// Dot products of `M` rows of `x` with four rows of `w`, over one piece of K; of meaning after the last.
///
/// With `PREFETCH`, fetches what lies `ahead` elements after each row of `w`: for products that read `w` once.
///
/// # Safety
/// `x` has `M` rows of `k` elements, `x_stride` apart, and each of `w` is one. Unless the piece is first and last, its
/// sums are there; unless it is last, `k` is a multiple of `P::STEP`.
#[inline(always)]
unsafe fn tile<P: Product, const M: usize, const PREFETCH: bool>(
    p: P,
    (x, x_stride): (*const P::X, usize),
    w: [*const P::W; TILE_COLUMNS],
    k: usize,
    piece: Piece<<P::S as Simd>::F>,
    ahead: usize,
) -> [[f32; TILE_COLUMNS]; M] {
    let s = p.simd();
    let mut sums = [[s.splat(0.0); TILE_COLUMNS]; M];
    if !piece.first {
        for (m, row) in sums.iter_mut().enumerate() {
            for (n, sum) in row.iter_mut().enumerate() {
                *sum = *piece.sums.wrapping_add(m * TILE_COLUMNS + n);
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
        let wv = [
            p.w(w[0].wrapping_add(i)),
            p.w(w[1].wrapping_add(i)),
            p.w(w[2].wrapping_add(i)),
            p.w(w[3].wrapping_add(i)),
        ];
        for (m, row) in sums.iter_mut().enumerate() {
            let xv = p.x(x.wrapping_add(m * x_stride + i));
            for n in 0..TILE_COLUMNS {
                row[n] = p.step(xv, wv[n], row[n]);
            }
        }
        i += P::STEP;
    }
    if i < k {
        let n = k - i;
        let wv = [
            p.w_n(w[0].wrapping_add(i), n),
            p.w_n(w[1].wrapping_add(i), n),
            p.w_n(w[2].wrapping_add(i), n),
            p.w_n(w[3].wrapping_add(i), n),
        ];
        for (m, row) in sums.iter_mut().enumerate() {
            let xv = p.x_n(x.wrapping_add(m * x_stride + i), n);
            for n in 0..TILE_COLUMNS {
                row[n] = p.step(xv, wv[n], row[n]);
            }
        }
    }
    let mut out = [[0.0; TILE_COLUMNS]; M];
    if piece.last {
        for (out, sums) in out.iter_mut().zip(sums) {
            *out = s.sum4(sums);
        }
    } else {
        for (m, row) in sums.into_iter().enumerate() {
            for (n, sum) in row.into_iter().enumerate() {
                *piece.sums.wrapping_add(m * TILE_COLUMNS + n) = sum;
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

/// Bytes of memory that [`block`] needs for `n` rows of `w`.
pub(crate) fn block_bytes<P: Product>(n: usize) -> usize {
    n.div_ceil(TILE_COLUMNS) * P::S::TILE_ROWS * TILE_COLUMNS * size_of::<<P::S as Simd>::F>()
}

/// All dot products of `m <= TILE_ROWS` rows of `x` with `n` rows of `w`, to rows of `out`.
///
/// `cold` says that `w` is not in a cache yet, so that fetching ahead pays for high tiles too; `ahead` is by how many
/// rows of `w`. Where the rows of `x` are long, K is taken piece by piece, and sums wait in `spare` meanwhile: that
/// moves them, no more.
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
    (cold, ahead): (bool, usize),
) {
    debug_assert!(m <= P::S::TILE_ROWS);
    let (x, w, spare) = ((x, x_stride), (w, w_stride), spare.cast());
    // Only the arms up to the instruction set's TILE_ROWS survive compilation.
    match m {
        1 => rows::<P, 1, true>(p, x, w, n, k, out, spare, ahead),
        2 if P::S::TILE_ROWS >= 2 => rows::<P, 2, true>(p, x, w, n, k, out, spare, ahead),
        3 if P::S::TILE_ROWS >= 3 => rows::<P, 3, true>(p, x, w, n, k, out, spare, ahead),
        4 if P::S::TILE_ROWS >= 4 => rows::<P, 4, true>(p, x, w, n, k, out, spare, ahead),
        5 if P::S::TILE_ROWS >= 5 && cold => rows::<P, 5, true>(p, x, w, n, k, out, spare, ahead),
        6 if P::S::TILE_ROWS >= 6 && cold => rows::<P, 6, true>(p, x, w, n, k, out, spare, ahead),
        5 if P::S::TILE_ROWS >= 5 => rows::<P, 5, false>(p, x, w, n, k, out, spare, ahead),
        6 if P::S::TILE_ROWS >= 6 => rows::<P, 6, false>(p, x, w, n, k, out, spare, ahead),
        _ => debug_assert_eq!(m, 0),
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "those of `block`")]
unsafe fn rows<P: Product, const M: usize, const PREFETCH: bool>(
    p: P,
    (x, x_stride): (*const P::X, usize),
    (w, w_stride): (*const P::W, usize),
    n: usize,
    k: usize,
    (out, out_stride): (*mut f32, usize),
    spare: *mut <P::S as Simd>::F,
    ahead: usize,
) {
    let step = (X_BYTES / M / size_of::<P::X>()).next_multiple_of(P::STEP);
    let whole = n / TILE_COLUMNS * TILE_COLUMNS;
    let mut done = 0;
    loop {
        let len = step.min(k - done);
        let (first, last) = (done == 0, done + len == k);
        let x = (x.wrapping_add(done), x_stride);
        let mut j = 0;
        while j < whole {
            let piece = Piece { sums: spare.wrapping_add(j * M), first, last };
            let w = w.wrapping_add(j * w_stride + done);
            let w = [w, w.wrapping_add(w_stride), w.wrapping_add(2 * w_stride), w.wrapping_add(3 * w_stride)];
            let values = tile::<P, M, PREFETCH>(p, x, w, len, piece, ahead * w_stride);
            if last {
                for (m, values) in values.into_iter().enumerate() {
                    out.wrapping_add(m * out_stride + j).cast::<[f32; TILE_COLUMNS]>().write(values);
                }
            }
            j += TILE_COLUMNS;
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
        let values = tile::<P, M, false>(p, x, w, k, piece, 0);
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
