//! AVX2, FMA and F16C.

use std::arch::x86_64::*;

use super::Simd;

/// Eight lanes of AVX2.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The machine has AVX2, FMA and F16C.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Avx2(())
    }
}

const LANES: usize = 8;

/// Rounds f32 bits to bf16, nearest even, the result in the low half of each 32-bit lane.
///
/// # Safety
/// The machine has AVX2.
#[inline(always)]
unsafe fn round_bf16(v: __m256) -> __m256i {
    let bits = _mm256_castps_si256(v);
    let odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    let rounded =
        _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    // A NaN must stay one: keep its upper half and set the quiet bit.
    let nan = _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40));
    let is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    _mm256_blendv_epi8(rounded, nan, is_nan)
}

/// # Safety
/// The machine has AVX2.
#[inline(always)]
unsafe fn pow2(n: __m256) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32(
        _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)),
        23,
    ))
}

// SAFETY of all blocks below: a value of `Avx2` exists only where the machine has the features.
impl Simd for Avx2 {
    const LANES: usize = LANES;
    const TILE_ROWS: usize = 3;
    const TALL_ROWS: usize = 0;
    type F = __m256;

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_sqrt_ps(a) }
    }
    #[inline(always)]
    fn abs(self, a: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), a) }
    }
    #[inline(always)]
    fn neg(self, a: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_xor_ps(_mm256_set1_ps(-0.0), a) }
    }
    #[inline(always)]
    fn round(self, a: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC) }
    }
    #[inline(always)]
    fn scale2(self, a: __m256, n: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe {
            let first = _mm256_min_ps(_mm256_max_ps(n, _mm256_set1_ps(-126.0)), _mm256_set1_ps(127.0));
            let rest = _mm256_sub_ps(n, first);
            _mm256_mul_ps(_mm256_mul_ps(a, pow2(first)), pow2(rest))
        }
    }
    #[inline(always)]
    fn select_lt(self, a: __m256, b: __m256, x: __m256, y: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ)) }
    }
    #[inline(always)]
    fn sum(self, a: __m256) -> f32 {
        // SAFETY: see above.
        unsafe {
            let b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
            let c = _mm_add_ps(b, _mm_movehl_ps(b, b));
            _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)))
        }
    }
    #[inline(always)]
    fn sum4(self, a: [__m256; 4]) -> [f32; 4] {
        // SAFETY: see above.
        unsafe {
            let b0 = _mm_add_ps(_mm256_castps256_ps128(a[0]), _mm256_extractf128_ps(a[0], 1));
            let b1 = _mm_add_ps(_mm256_castps256_ps128(a[1]), _mm256_extractf128_ps(a[1], 1));
            let b2 = _mm_add_ps(_mm256_castps256_ps128(a[2]), _mm256_extractf128_ps(a[2], 1));
            let b3 = _mm_add_ps(_mm256_castps256_ps128(a[3]), _mm256_extractf128_ps(a[3], 1));
            sum_quads([b0, b1, b2, b3])
        }
    }
    #[inline(always)]
    fn max_lane(self, a: __m256) -> f32 {
        // SAFETY: see above.
        unsafe {
            let b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
            let c = _mm_max_ps(b, _mm_movehl_ps(b, b));
            _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)))
        }
    }

    #[inline(always)]
    unsafe fn load_f32(self, p: *const f32) -> __m256 {
        // `lddqu` and not `loadu`, which copies through memory in builds with debug assertions.
        _mm256_castsi256_ps(_mm256_lddqu_si256(p.cast()))
    }
    #[inline(always)]
    unsafe fn load_f32_n(self, p: *const f32, n: usize) -> __m256 {
        if n == LANES {
            return self.load_f32(p);
        }
        let mut buffer = [0.0f32; LANES];
        std::ptr::copy_nonoverlapping(p, buffer.as_mut_ptr(), n);
        _mm256_loadu_ps(buffer.as_ptr())
    }
    #[inline(always)]
    unsafe fn store_f32(self, p: *mut f32, v: __m256) {
        _mm256_storeu_ps(p, v);
    }
    #[inline(always)]
    unsafe fn store_f32_n(self, p: *mut f32, v: __m256, n: usize) {
        if n == LANES {
            return self.store_f32(p, v);
        }
        let mut buffer = [0.0f32; LANES];
        _mm256_storeu_ps(buffer.as_mut_ptr(), v);
        std::ptr::copy_nonoverlapping(buffer.as_ptr(), p, n);
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> __m256 {
        let wide = _mm256_cvtepu16_epi32(_mm_lddqu_si128(p.cast()));
        _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))
    }
    #[inline(always)]
    unsafe fn load_bf16_n(self, p: *const u16, n: usize) -> __m256 {
        if n == LANES {
            return self.load_bf16(p);
        }
        let mut buffer = [0u16; LANES];
        std::ptr::copy_nonoverlapping(p, buffer.as_mut_ptr(), n);
        self.load_bf16(buffer.as_ptr())
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut u16, v: __m256) {
        let words = round_bf16(v);
        let packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(words, words), 0b1000);
        _mm_storeu_si128(p.cast(), _mm256_castsi256_si128(packed));
    }
    #[inline(always)]
    unsafe fn store_bf16_n(self, p: *mut u16, v: __m256, n: usize) {
        if n == LANES {
            return self.store_bf16(p, v);
        }
        let mut buffer = [0u16; LANES];
        self.store_bf16(buffer.as_mut_ptr(), v);
        std::ptr::copy_nonoverlapping(buffer.as_ptr(), p, n);
    }
    #[inline(always)]
    unsafe fn load_f16(self, p: *const u16) -> __m256 {
        _mm256_cvtph_ps(_mm_lddqu_si128(p.cast()))
    }
    #[inline(always)]
    unsafe fn load_f16_n(self, p: *const u16, n: usize) -> __m256 {
        if n == LANES {
            return self.load_f16(p);
        }
        let mut buffer = [0u16; LANES];
        std::ptr::copy_nonoverlapping(p, buffer.as_mut_ptr(), n);
        self.load_f16(buffer.as_ptr())
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16, v: __m256) {
        _mm_storeu_si128(p.cast(), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
    }
    #[inline(always)]
    unsafe fn store_f16_n(self, p: *mut u16, v: __m256, n: usize) {
        if n == LANES {
            return self.store_f16(p, v);
        }
        let mut buffer = [0u16; LANES];
        self.store_f16(buffer.as_mut_ptr(), v);
        std::ptr::copy_nonoverlapping(buffer.as_ptr(), p, n);
    }
}

/// `(v0 + v2) + (v1 + v3)` of four vectors of four lanes.
///
/// # Safety
/// The machine has SSE (every x86-64 has).
#[inline(always)]
pub(super) unsafe fn sum_quads(v: [__m128; 4]) -> [f32; 4] {
    let low_01 = _mm_unpacklo_ps(v[0], v[1]);
    let high_01 = _mm_unpackhi_ps(v[0], v[1]);
    let low_23 = _mm_unpacklo_ps(v[2], v[3]);
    let high_23 = _mm_unpackhi_ps(v[2], v[3]);
    let lane0 = _mm_movelh_ps(low_01, low_23);
    let lane1 = _mm_movehl_ps(low_23, low_01);
    let lane2 = _mm_movelh_ps(high_01, high_23);
    let lane3 = _mm_movehl_ps(high_23, high_01);
    let sum = _mm_add_ps(_mm_add_ps(lane0, lane2), _mm_add_ps(lane1, lane3));
    let mut out = [0.0f32; 4];
    _mm_storeu_ps(out.as_mut_ptr(), sum);
    out
}
