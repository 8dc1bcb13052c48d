//! Float element types as vectors of f32 see them.

use half::{bf16, f16};
use mscc_ir::DType;

use super::simd::Simd;

/// A float type that a kernel loads, widened to f32, and stores, rounded to nearest even.
///
/// The `_n` forms touch `n <= S::LANES` elements. Pointers need the type's alignment only for [`Element::get`]
/// and [`Element::set`].
pub(crate) trait Element: Copy + Send + Sync + 'static {
    const DTYPE: DType;
    unsafe fn load<S: Simd>(s: S, p: *const Self) -> S::F;
    unsafe fn load_n<S: Simd>(s: S, p: *const Self, n: usize) -> S::F;
    unsafe fn store<S: Simd>(s: S, p: *mut Self, v: S::F);
    unsafe fn store_n<S: Simd>(s: S, p: *mut Self, v: S::F, n: usize);
    unsafe fn get(p: *const Self) -> f32;
    unsafe fn set(p: *mut Self, v: f32);
}

macro_rules! element {
    ($type:ty, $dtype:ident, $as:ty, $load:ident, $load_n:ident, $store:ident, $store_n:ident, $to:expr, $from:expr) => {
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;
            #[inline(always)]
            unsafe fn load<S: Simd>(s: S, p: *const Self) -> S::F {
                s.$load(p.cast::<$as>())
            }
            #[inline(always)]
            unsafe fn load_n<S: Simd>(s: S, p: *const Self, n: usize) -> S::F {
                s.$load_n(p.cast::<$as>(), n)
            }
            #[inline(always)]
            unsafe fn store<S: Simd>(s: S, p: *mut Self, v: S::F) {
                s.$store(p.cast::<$as>(), v)
            }
            #[inline(always)]
            unsafe fn store_n<S: Simd>(s: S, p: *mut Self, v: S::F, n: usize) {
                s.$store_n(p.cast::<$as>(), v, n)
            }
            #[inline(always)]
            unsafe fn get(p: *const Self) -> f32 {
                $to(*p)
            }
            #[inline(always)]
            unsafe fn set(p: *mut Self, v: f32) {
                *p = $from(v);
            }
        }
    };
}

element!(
    f32,
    F32,
    f32,
    load_f32,
    load_f32_n,
    store_f32,
    store_f32_n,
    std::convert::identity,
    std::convert::identity
);
element!(bf16, BF16, u16, load_bf16, load_bf16_n, store_bf16, store_bf16_n, bf16::to_f32, bf16::from_f32);
element!(f16, F16, u16, load_f16, load_f16_n, store_f16, store_f16_n, f16::to_f32, f16::from_f32);

/// What some checkpoints hold and no kernel computes in: `cast` alone takes it, as an operand.
impl Element for f64 {
    const DTYPE: DType = DType::F64;
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const Self) -> S::F {
        Self::load_n(s, p, S::LANES)
    }
    #[inline(always)]
    unsafe fn load_n<S: Simd>(s: S, p: *const Self, n: usize) -> S::F {
        let mut lanes = [0.0f32; MAX_LANES];
        for (i, lane) in lanes.iter_mut().enumerate().take(n) {
            *lane = Self::get(p.wrapping_add(i));
        }
        s.load_f32(lanes.as_ptr())
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, p: *mut Self, v: S::F) {
        Self::store_n(s, p, v, S::LANES);
    }
    #[inline(always)]
    unsafe fn store_n<S: Simd>(s: S, p: *mut Self, v: S::F, n: usize) {
        let mut lanes = [0.0f32; MAX_LANES];
        s.store_f32(lanes.as_mut_ptr(), v);
        for (i, lane) in lanes.iter().enumerate().take(n) {
            Self::set(p.wrapping_add(i), *lane);
        }
    }
    #[inline(always)]
    unsafe fn get(p: *const Self) -> f32 {
        p.read_unaligned() as f32
    }
    #[inline(always)]
    unsafe fn set(p: *mut Self, v: f32) {
        p.write_unaligned(f64::from(v));
    }
}

/// Loads `n <= LANES` elements that lie `stride` elements apart; 1 and 0 (a broadcast) are fast.
#[inline(always)]
pub(crate) unsafe fn load_strided<S: Simd, E: Element>(s: S, p: *const E, stride: usize, n: usize) -> S::F {
    if stride == 1 {
        if n == S::LANES { E::load(s, p) } else { E::load_n(s, p, n) }
    } else if stride == 0 {
        s.splat(E::get(p))
    } else {
        let mut lanes = [0.0f32; MAX_LANES];
        for (i, lane) in lanes.iter_mut().enumerate().take(n) {
            *lane = E::get(p.add(i * stride));
        }
        s.load_f32(lanes.as_ptr())
    }
}

/// Stores `n <= LANES` elements `stride` elements apart.
#[inline(always)]
pub(crate) unsafe fn store_strided<S: Simd, E: Element>(s: S, p: *mut E, stride: usize, v: S::F, n: usize) {
    if stride == 1 {
        if n == S::LANES { E::store(s, p, v) } else { E::store_n(s, p, v, n) }
    } else {
        let mut lanes = [0.0f32; MAX_LANES];
        s.store_f32(lanes.as_mut_ptr(), v);
        for (i, lane) in lanes.iter().enumerate().take(n) {
            E::set(p.add(i * stride), *lane);
        }
    }
}

/// Copies a row, converting where the types differ.
#[inline(always)]
pub(crate) unsafe fn convert_row<S: Simd, X: Element, Y: Element>(s: S, x: *const X, y: *mut Y, k: usize) {
    if X::DTYPE == Y::DTYPE {
        std::ptr::copy_nonoverlapping(x.cast::<Y>(), y, k);
        return;
    }
    let mut i = 0;
    while i + S::LANES <= k {
        Y::store(s, y.wrapping_add(i), X::load(s, x.wrapping_add(i)));
        i += S::LANES;
    }
    if i < k {
        Y::store_n(s, y.wrapping_add(i), X::load_n(s, x.wrapping_add(i), k - i), k - i);
    }
}

/// The most lanes any [`Simd`] has.
const MAX_LANES: usize = 16;

/// Whether kernels compute with the type.
pub(crate) const fn is_compute_float(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::BF16 | DType::F16)
}

/// Runs the body with `$e` as the Rust type of a float dtype that [`is_compute_float`] accepts.
macro_rules! with_float {
    ($dtype:expr, $e:ident => $body:expr) => {
        match $dtype {
            mscc_ir::DType::F32 => {
                type $e = f32;
                $body
            }
            mscc_ir::DType::BF16 => {
                type $e = half::bf16;
                $body
            }
            mscc_ir::DType::F16 => {
                type $e = half::f16;
                $body
            }
            mscc_ir::DType::F64
            | mscc_ir::DType::F8E4M3
            | mscc_ir::DType::I64
            | mscc_ir::DType::I32
            | mscc_ir::DType::I8
            | mscc_ir::DType::U8
            | mscc_ir::DType::I4
            | mscc_ir::DType::Bool => unreachable!("check() admits f32, bf16 and f16 only"),
        }
    };
}
pub(crate) use with_float;
