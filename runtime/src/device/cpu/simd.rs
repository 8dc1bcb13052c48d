//! Vectors of f32 with one interface over the instruction sets.
//!
//! A value of a [`Simd`] type is the proof that the machine has its instructions: arithmetic on it is safe,
//! only loads and stores are not. All methods are `#[inline(always)]` and take on the caller's features.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;

/// One vector instruction set.
///
/// `load_*_n` and `store_*_n` touch the first `n <= LANES` elements only; lanes beyond are zero.
/// The float-to-16-bit stores round to nearest, ties to even, and keep subnormals.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// f32 elements in a vector.
    const LANES: usize;
    /// Rows of the left operand that a register tile of [`super::dot`] can hold.
    const TILE_ROWS: usize;
    /// Rows of a tall tile, which is half as wide; 0 if there is none.
    const TALL_ROWS: usize;
    /// A vector of f32.
    type F: Copy;

    fn splat(self, value: f32) -> Self::F;
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, fused where the instruction set can.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The lesser; `b` if either is a NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// The greater; `b` if either is a NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    fn sqrt(self, a: Self::F) -> Self::F;
    fn abs(self, a: Self::F) -> Self::F;
    fn neg(self, a: Self::F) -> Self::F;
    /// To the nearest integer, ties to even.
    fn round(self, a: Self::F) -> Self::F;
    /// `a * 2^n` for integral `n` in [-252, 252], rounded once where the result is normal.
    fn scale2(self, a: Self::F, n: Self::F) -> Self::F;
    /// Per lane `x` where `a < b`, else `y`.
    fn select_lt(self, a: Self::F, b: Self::F, x: Self::F, y: Self::F) -> Self::F;
    /// Sum of the lanes, always by the same tree: fold the upper half onto the lower down to four lanes,
    /// then `(v0 + v2) + (v1 + v3)`.
    fn sum(self, a: Self::F) -> f32;
    /// [`Simd::sum`] of four vectors, bit for bit.
    fn sum4(self, a: [Self::F; 4]) -> [f32; 4];
    /// The greatest lane.
    fn max_lane(self, a: Self::F) -> f32;

    unsafe fn load_f32(self, p: *const f32) -> Self::F;
    unsafe fn load_f32_n(self, p: *const f32, n: usize) -> Self::F;
    unsafe fn store_f32(self, p: *mut f32, v: Self::F);
    unsafe fn store_f32_n(self, p: *mut f32, v: Self::F, n: usize);
    unsafe fn load_bf16(self, p: *const u16) -> Self::F;
    unsafe fn load_bf16_n(self, p: *const u16, n: usize) -> Self::F;
    unsafe fn store_bf16(self, p: *mut u16, v: Self::F);
    unsafe fn store_bf16_n(self, p: *mut u16, v: Self::F, n: usize);
    unsafe fn load_f16(self, p: *const u16) -> Self::F;
    unsafe fn load_f16_n(self, p: *const u16, n: usize) -> Self::F;
    unsafe fn store_f16(self, p: *mut u16, v: Self::F);
    unsafe fn store_f16_n(self, p: *mut u16, v: Self::F, n: usize);
}
