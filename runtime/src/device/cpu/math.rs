//! Vector functions: one polynomial each, the same code for whole vectors and tails, so that a result does
//! not depend on the position in a vector.

use super::simd::Simd;

/// `e^x`, at most 2 ulp off; 0 below -104, infinity above 88.73, NaN stays NaN.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`, then a polynomial of degree 6 in `r`, fitted on Chebyshev nodes.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    let x = s.max(s.splat(-104.0), s.min(s.splat(89.0), x));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let minus_n = s.neg(n);
    // ln 2 in two parts: the product of n and the upper part is exact.
    let r = s.fma(minus_n, s.splat(355.0 / 512.0), x);
    let r = s.fma(minus_n, s.splat(-2.121_944_4e-4), r);
    let mut q = s.splat(0.001_392_620_3);
    q = s.fma(q, r, s.splat(0.008_363_195));
    q = s.fma(q, r, s.splat(0.041_666_556));
    q = s.fma(q, r, s.splat(0.166_665_77));
    q = s.fma(q, r, s.splat(0.5));
    let p = s.add(s.fma(s.mul(r, r), q, r), s.splat(1.0));
    s.scale2(p, n)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.neg(x))))
}

/// `x * sigmoid(x)`; `x` -> -infinity gives -0.
#[inline(always)]
pub(crate) fn silu<S: Simd>(s: S, x: S::F) -> S::F {
    // Below -88 the quotient underflows to -0 by itself; the clamp keeps -infinity from giving NaN.
    let x = s.max(s.splat(-1e4), x);
    s.div(x, s.add(s.splat(1.0), exp(s, s.neg(x))))
}

/// Hyperbolic tangent, at most 3 ulp off.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    let magnitude = s.abs(x);
    let u = s.mul(x, x);
    let mut q = s.splat(-0.006_096_714);
    q = s.fma(q, u, s.splat(0.020_997_18));
    q = s.fma(q, u, s.splat(-0.053_850_91));
    q = s.fma(q, u, s.splat(0.133_327_7));
    q = s.fma(q, u, s.splat(-0.333_333_28));
    let near = s.fma(s.mul(x, u), q, x);
    let e = exp(s, s.add(magnitude, magnitude));
    let far = s.sub(one, s.div(s.splat(2.0), s.add(e, one)));
    let far = s.select_lt(x, s.splat(0.0), s.neg(far), far);
    s.select_lt(magnitude, s.splat(0.625), near, far)
}

/// `x / 2 * (1 + erf(x / sqrt 2))`, the exact form of GELU.
///
/// `erfc(z) = t P(t) e^(-z^2)`, `t = 1 / (1 + z / 2)`, P of degree 10, fitted on Chebyshev nodes for z in
/// [0, 10]; beyond, e^(-z^2) is zero in f32.
#[inline(always)]
pub(crate) fn gelu_erf<S: Simd>(s: S, x: S::F) -> S::F {
    const P: [f32; 11] = [
        5.109_925e-6,
        6.572_483_5e-6,
        -6.575_381e-5,
        4.922_416_5e-6,
        0.000_595_961_8,
        -0.000_619_836_1,
        -0.006_154_095_5,
        0.005_962_867_6,
        0.102_029_78,
        0.326_222_5,
        0.572_012,
    ];
    let one = s.splat(1.0);
    let z = s.mul(s.abs(x), s.splat(std::f32::consts::FRAC_1_SQRT_2));
    // Here e^(-z^2) is zero. The operand that may be a NaN stands second, so that it comes through.
    let z = s.min(s.splat(14.0), z);
    let t = s.div(one, s.fma(z, s.splat(0.5), one));
    let u = s.mul(s.sub(t, s.splat(7.0 / 12.0)), s.splat(2.4));
    let mut p = s.splat(P[0]);
    for coefficient in &P[1..] {
        p = s.fma(p, u, s.splat(*coefficient));
    }
    let half_erfc = s.mul(s.splat(0.5), s.mul(s.mul(t, p), exp(s, s.neg(s.mul(z, z)))));
    let cdf = s.select_lt(x, s.splat(0.0), half_erfc, s.sub(one, half_erfc));
    s.mul(s.max(s.splat(-1e4), x), cdf)
}

/// `x / 2 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`, computed as `x * sigmoid(2 u)`.
#[inline(always)]
pub(crate) fn gelu_tanh<S: Simd>(s: S, x: S::F) -> S::F {
    const SCALE: f32 = 1.595_769_2; // 2 sqrt(2 / pi)
    // Beyond these ends the result is x or -0 in f32, and x^3 stays finite between them.
    let x = s.max(s.splat(-1e4), x);
    let cubic = s.mul(s.mul(x, x), s.splat(0.044_715));
    let u = s.mul(s.fma(cubic, x, x), s.splat(SCALE));
    s.div(x, s.add(s.splat(1.0), exp(s, s.neg(u))))
}

#[cfg(test)]
mod tests {
    use super::super::isa::{Body, Isa};
    use super::*;

    #[derive(Clone, Copy)]
    enum Function {
        Exp,
        Sigmoid,
        Silu,
        Tanh,
        GeluErf,
        GeluTanh,
    }

    struct Map<'a>(Function, &'a [f32], &'a mut [f32]);

    impl Body for Map<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let mut i = 0;
            while i < self.1.len() {
                let n = (self.1.len() - i).min(S::LANES);
                // SAFETY: both slices have n elements from i.
                unsafe {
                    let x = s.load_f32_n(self.1.as_ptr().add(i), n);
                    let y = match self.0 {
                        Function::Exp => exp(s, x),
                        Function::Sigmoid => sigmoid(s, x),
                        Function::Silu => silu(s, x),
                        Function::Tanh => tanh(s, x),
                        Function::GeluErf => gelu_erf(s, x),
                        Function::GeluTanh => gelu_tanh(s, x),
                    };
                    s.store_f32_n(self.2.as_mut_ptr().add(i), y, n);
                }
                i += S::LANES;
            }
        }
    }

    fn ulps(got: f32, want: f64) -> f64 {
        let want32 = want as f32;
        if got == want32 || (got.is_nan() && want.is_nan()) {
            return 0.0;
        }
        let exponent = (want32.abs().max(f32::MIN_POSITIVE).to_bits() >> 23) as i32 - 127 - 23;
        (f64::from(got) - want).abs() / 2f64.powi(exponent)
    }

    fn check(function: Function, reference: impl Fn(f64) -> f64, range: f32, limit: f64) {
        let xs: Vec<f32> = (-40_000..=40_000).map(|i| i as f32 / 40_000.0 * range + 1e-3).collect();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let mut ys = vec![0.0; xs.len()];
            isa.dispatch(Map(function, &xs, &mut ys));
            let worst =
                xs.iter().zip(&ys).map(|(x, y)| ulps(*y, reference(f64::from(*x)))).fold(0.0, f64::max);
            assert!(worst <= limit, "{}: {worst} ulp", isa.name());
        }
    }

    #[test]
    fn functions_are_accurate() {
        check(Function::Exp, f64::exp, 110.0, 2.0);
        check(Function::Exp, f64::exp, 1.0, 2.0);
        check(Function::Sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 80.0, 4.0);
        check(Function::Silu, |x| x / (1.0 + (-x).exp()), 80.0, 4.0);
        check(Function::Tanh, f64::tanh, 10.0, 3.0);
        check(Function::Tanh, f64::tanh, 0.7, 3.0);
    }

    #[test]
    fn gelu_is_accurate_in_absolute_terms() {
        // erf by its Taylor series, enough for |z| <= 3.
        let erf = |z: f64| {
            let (mut term, mut sum) = (z, z);
            for n in 1..100 {
                term *= -z * z / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            sum * std::f64::consts::FRAC_2_SQRT_PI
        };
        let xs: Vec<f32> = (-4000..=4000).map(|i| i as f32 / 1000.0).collect();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let mut ys = vec![0.0; xs.len()];
            isa.dispatch(Map(Function::GeluErf, &xs, &mut ys));
            for (x, y) in xs.iter().zip(&ys) {
                let x = f64::from(*x);
                let want = x / 2.0 * (1.0 + erf(x / 2f64.sqrt()));
                assert!((f64::from(*y) - want).abs() <= 1e-6 * x.abs().max(0.1), "{x}: {y} != {want}");
            }
            isa.dispatch(Map(Function::GeluTanh, &xs, &mut ys));
            for (x, y) in xs.iter().zip(&ys) {
                let x = f64::from(*x);
                let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                let want = x / 2.0 * (1.0 + u.tanh());
                assert!((f64::from(*y) - want).abs() <= 1e-6 * x.abs().max(0.1), "{x}: {y} != {want}");
            }
        }
    }

    #[test]
    fn extremes_are_right() {
        let inf = f32::INFINITY;
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let apply = |function, x: f32| {
                let mut y = [0.0];
                isa.dispatch(Map(function, &[x], &mut y));
                y[0]
            };
            assert_eq!(apply(Function::Exp, -inf), 0.0);
            assert_eq!(apply(Function::Exp, inf), inf);
            assert!(apply(Function::Exp, f32::NAN).is_nan());
            assert_eq!(apply(Function::Exp, 0.0), 1.0);
            for function in [Function::Silu, Function::GeluErf, Function::GeluTanh] {
                assert_eq!(apply(function, -inf), 0.0, "{}", isa.name());
                assert_eq!(apply(function, -1e30), 0.0, "{}", isa.name());
                assert_eq!(apply(function, 1e30), 1e30, "{}", isa.name());
                assert_eq!(apply(function, inf), inf, "{}", isa.name());
                assert!(apply(function, f32::NAN).is_nan());
            }
            assert_eq!(apply(Function::Sigmoid, -inf), 0.0);
            assert_eq!(apply(Function::Sigmoid, inf), 1.0);
            assert_eq!(apply(Function::Tanh, -inf), -1.0);
            assert_eq!(apply(Function::Tanh, inf), 1.0);
            assert!(apply(Function::Tanh, f32::NAN).is_nan());
        }
    }
}
