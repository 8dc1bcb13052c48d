//! Plain Rust over eight lanes, which the compiler maps to the target's baseline vectors.

use half::{bf16, f16};

use super::Simd;

/// Eight lanes without any instruction beyond the target's baseline.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

const LANES: usize = 8;

type V = [f32; LANES];

macro_rules! lanes {
    ($i:ident => $value:expr) => {{
        let mut out = [0.0f32; LANES];
        for $i in 0..LANES {
            out[$i] = $value;
        }
        out
    }};
}

/// `2^n` for integral `n` in [-126, 127].
#[inline(always)]
fn pow2(n: f32) -> f32 {
    f32::from_bits(((n as i32 + 127) as u32) << 23)
}

impl Simd for Portable {
    const LANES: usize = LANES;
    const TILE_ROWS: usize = 2;
    const TALL_ROWS: usize = 0;
    type F = V;

    #[inline(always)]
    fn splat(self, value: f32) -> V {
        [value; LANES]
    }
    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        lanes!(i => a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        lanes!(i => a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        lanes!(i => a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: V, b: V) -> V {
        lanes!(i => a[i] / b[i])
    }
    #[inline(always)]
    fn fma(self, a: V, b: V, c: V) -> V {
        // Without the instruction `mul_add` is a call into libm, many times slower than two roundings.
        if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
            lanes!(i => a[i].mul_add(b[i], c[i]))
        } else {
            lanes!(i => a[i] * b[i] + c[i])
        }
    }
    #[inline(always)]
    fn min(self, a: V, b: V) -> V {
        lanes!(i => if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn max(self, a: V, b: V) -> V {
        lanes!(i => if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn sqrt(self, a: V) -> V {
        lanes!(i => a[i].sqrt())
    }
    #[inline(always)]
    fn abs(self, a: V) -> V {
        lanes!(i => a[i].abs())
    }
    #[inline(always)]
    fn neg(self, a: V) -> V {
        lanes!(i => -a[i])
    }
    #[inline(always)]
    fn round(self, a: V) -> V {
        // Adding and taking away 1.5 * 2^23 rounds to an integer; exact for |a| < 2^22, and beyond that
        // callers clamp.
        const MAGIC: f32 = 12_582_912.0;
        lanes!(i => (a[i] + MAGIC) - MAGIC)
    }
    #[inline(always)]
    fn scale2(self, a: V, n: V) -> V {
        // The larger step first, so that only the last product can round.
        lanes!(i => {
            let first = n[i].clamp(-126.0, 127.0);
            a[i] * pow2(first) * pow2(n[i] - first)
        })
    }
    #[inline(always)]
    fn select_lt(self, a: V, b: V, x: V, y: V) -> V {
        lanes!(i => if a[i] < b[i] { x[i] } else { y[i] })
    }
    #[inline(always)]
    fn sum(self, a: V) -> f32 {
        let b = [a[0] + a[4], a[1] + a[5], a[2] + a[6], a[3] + a[7]];
        (b[0] + b[2]) + (b[1] + b[3])
    }
    #[inline(always)]
    fn sum4(self, a: [V; 4]) -> [f32; 4] {
        [self.sum(a[0]), self.sum(a[1]), self.sum(a[2]), self.sum(a[3])]
    }
    #[inline(always)]
    fn max_lane(self, a: V) -> f32 {
        let mut max = a[0];
        for value in a {
            max = if value > max { value } else { max };
        }
        max
    }

    #[inline(always)]
    unsafe fn load_f32(self, p: *const f32) -> V {
        p.cast::<V>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn load_f32_n(self, p: *const f32, n: usize) -> V {
        if n == LANES {
            return self.load_f32(p);
        }
        lanes!(i => if i < n { *p.add(i) } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store_f32(self, p: *mut f32, v: V) {
        p.cast::<V>().write_unaligned(v);
    }
    #[inline(always)]
    unsafe fn store_f32_n(self, p: *mut f32, v: V, n: usize) {
        for (i, value) in v.iter().enumerate().take(n) {
            *p.add(i) = *value;
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> V {
        lanes!(i => f32::from_bits(u32::from(*p.add(i)) << 16))
    }
    #[inline(always)]
    unsafe fn load_bf16_n(self, p: *const u16, n: usize) -> V {
        if n == LANES {
            return self.load_bf16(p);
        }
        lanes!(i => if i < n { f32::from_bits(u32::from(*p.add(i)) << 16) } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut u16, v: V) {
        self.store_bf16_n(p, v, LANES);
    }
    #[inline(always)]
    unsafe fn store_bf16_n(self, p: *mut u16, v: V, n: usize) {
        for (i, value) in v.iter().enumerate().take(n) {
            *p.add(i) = bf16::from_f32(*value).to_bits();
        }
    }
    #[inline(always)]
    unsafe fn load_f16(self, p: *const u16) -> V {
        lanes!(i => f16::from_bits(*p.add(i)).to_f32())
    }
    #[inline(always)]
    unsafe fn load_f16_n(self, p: *const u16, n: usize) -> V {
        if n == LANES {
            return self.load_f16(p);
        }
        lanes!(i => if i < n { f16::from_bits(*p.add(i)).to_f32() } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16, v: V) {
        self.store_f16_n(p, v, LANES);
    }
    #[inline(always)]
    unsafe fn store_f16_n(self, p: *mut u16, v: V, n: usize) {
        for (i, value) in v.iter().enumerate().take(n) {
            *p.add(i) = f16::from_f32(*value).to_bits();
        }
    }
}
