//! AVX-512 F, BW, DQ and VL.

use std::arch::x86_64::*;

use super::{Simd, avx2::sum_quads};

/// Sixteen lanes of AVX-512.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// # Safety
    /// The machine has AVX-512 F, BW, DQ and VL.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Avx512(())
    }
}

const LANES: usize = 16;

/// All lanes. Whole vectors too go through the masked forms, which compile to plain moves: the unmasked ones
/// copy through memory, with a check, in builds with debug assertions.
const ALL: __mmask16 = !0;

#[inline(always)]
fn mask(n: usize) -> __mmask16 {
    debug_assert!(n <= LANES);
    ((1u32 << n) - 1) as __mmask16
}

/// Folds sixteen lanes to four.
///
/// # Safety
/// The machine has AVX-512 F and DQ.
#[inline(always)]
unsafe fn fold(a: __m512) -> __m128 {
    let b = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1))
}

/// Rounds to bf16, nearest even. Not `vcvtneps2bf16`, which flushes subnormals.
///
/// # Safety
/// The machine has AVX-512 F.
#[inline(always)]
unsafe fn round_bf16(v: __m512) -> __m256i {
    let bits = _mm512_castps_si512(v);
    let upper = _mm512_srli_epi32(bits, 16);
    let odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    let rounded =
        _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    // A NaN must stay one: keep its upper half and set the quiet bit.
    let is_nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(rounded, is_nan, upper, _mm512_set1_epi32(0x40)))
}

#[inline(always)]
unsafe fn widen_bf16(v: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16))
}

// SAFETY of all blocks below: a value of `Avx512` exists only where the machine has the features.
impl Simd for Avx512 {
    const LANES: usize = LANES;
    const TILE_ROWS: usize = 6;
    const TALL_ROWS: usize = 8;
    type F = __m512;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sqrt_ps(a) }
    }
    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_abs_ps(a) }
    }
    #[inline(always)]
    fn neg(self, a: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_xor_ps(_mm512_set1_ps(-0.0), a) }
    }
    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC) }
    }
    #[inline(always)]
    fn scale2(self, a: __m512, n: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_scalef_ps(a, n) }
    }
    #[inline(always)]
    fn select_lt(self, a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x) }
    }
    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        // SAFETY: see above.
        unsafe {
            let b = fold(a);
            let c = _mm_add_ps(b, _mm_movehl_ps(b, b));
            _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)))
        }
    }
    #[inline(always)]
    fn sum4(self, a: [__m512; 4]) -> [f32; 4] {
        // SAFETY: see above.
        unsafe { sum_quads([fold(a[0]), fold(a[1]), fold(a[2]), fold(a[3])]) }
    }
    #[inline(always)]
    fn max_lane(self, a: __m512) -> f32 {
        // SAFETY: see above.
        unsafe {
            let b = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
            let c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
            let d = _mm_max_ps(c, _mm_movehl_ps(c, c));
            _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)))
        }
    }

    #[inline(always)]
    unsafe fn load_f32(self, p: *const f32) -> __m512 {
        _mm512_maskz_loadu_ps(ALL, p)
    }
    #[inline(always)]
    unsafe fn load_f32_n(self, p: *const f32, n: usize) -> __m512 {
        _mm512_maskz_loadu_ps(mask(n), p)
    }
    #[inline(always)]
    unsafe fn store_f32(self, p: *mut f32, v: __m512) {
        _mm512_mask_storeu_ps(p, ALL, v);
    }
    #[inline(always)]
    unsafe fn store_f32_n(self, p: *mut f32, v: __m512, n: usize) {
        _mm512_mask_storeu_ps(p, mask(n), v);
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> __m512 {
        widen_bf16(_mm256_maskz_loadu_epi16(ALL, p.cast()))
    }
    #[inline(always)]
    unsafe fn load_bf16_n(self, p: *const u16, n: usize) -> __m512 {
        widen_bf16(_mm256_maskz_loadu_epi16(mask(n), p.cast()))
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut u16, v: __m512) {
        _mm256_mask_storeu_epi16(p.cast(), ALL, round_bf16(v));
    }
    #[inline(always)]
    unsafe fn store_bf16_n(self, p: *mut u16, v: __m512, n: usize) {
        _mm256_mask_storeu_epi16(p.cast(), mask(n), round_bf16(v));
    }
    #[inline(always)]
    unsafe fn load_f16(self, p: *const u16) -> __m512 {
        _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(ALL, p.cast()))
    }
    #[inline(always)]
    unsafe fn load_f16_n(self, p: *const u16, n: usize) -> __m512 {
        _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask(n), p.cast()))
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16, v: __m512) {
        _mm256_mask_storeu_epi16(p.cast(), ALL, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
    }
    #[inline(always)]
    unsafe fn store_f16_n(self, p: *mut u16, v: __m512, n: usize) {
        _mm256_mask_storeu_epi16(p.cast(), mask(n), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
    }
}
