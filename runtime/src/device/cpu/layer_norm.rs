//! Normalisation by mean and variance.

use std::marker::PhantomData;
use std::ops::Range;

use super::element::{Element, is_compute_float, with_float};
use super::error::KernelError;
use super::isa::{Body, Isa};
use super::kernel::{Check, Kernel, Split};
use super::pool::{Scratch, TaskResult};
use super::simd::Simd;
use super::view::View;

/// `y = (x - mean) / sqrt(variance + eps) * weight + bias`, rounded once; the variance from centred values.
///
/// | value    | shape           | dtype                            |
/// |----------|-----------------|----------------------------------|
/// | `x`      | [.., D]         | f32, bf16, f16; D contiguous     |
/// | `weight` | `[D]`, optional   | f32, bf16, f16; contiguous       |
/// | `bias`   | `[D]`, optional   | f32, bf16, f16; contiguous       |
/// | -> `y`   | [.., D]         | f32, bf16, f16; D contiguous; may be `x` if as `x` |
pub struct LayerNorm<'a> {
    /// Operand.
    pub x: &'a View,
    /// Factor of each element.
    pub weight: Option<&'a View>,
    /// Added to each element.
    pub bias: Option<&'a View>,
    /// Added to the variance.
    pub eps: f32,
    /// Result.
    pub y: &'a View,
}

impl Kernel for LayerNorm<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("layer_norm");
        let LayerNorm { x, weight, bias, y, .. } = *self;
        let views = [Some(x), weight, bias, Some(y)].into_iter().flatten();
        let floats = views.clone().all(|view| is_compute_float(view.dtype()));
        check.dtypes(floats, &views.collect::<Vec<_>>())?;
        check.shape("x", x, x.rank() >= 1, "[.., D]")?;
        check.dims("y", y, x.dims(), "those of x")?;
        check.inner("x", x)?;
        check.inner("y", y)?;
        for (name, view) in [("weight", weight), ("bias", bias)] {
            if let Some(view) = view {
                check.dims(name, view, &x.dims()[x.rank() - 1..], "[D]")?;
                check.inner(name, view)?;
            }
        }
        Ok(())
    }

    fn split(&self, threads: usize) -> Split {
        Split::even(self.x.outer(1).count(), 4 * self.x.last_dim() * self.x.element_bytes(), threads)
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        let rows = split.range(task, self.x.outer(1).count());
        with_float!(self.x.dtype(), X => with_float!(self.y.dtype(), Y => {
            isa.dispatch(Rows::<X, Y>(self, rows, PhantomData));
        }));
        Ok(())
    }
}

struct Rows<'a, X, Y>(&'a LayerNorm<'a>, Range<usize>, PhantomData<(X, Y)>);

impl<X: Element, Y: Element> Body for Rows<'_, X, Y> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Rows(op, rows, _) = self;
        let (x_rows, y_rows) = (op.x.outer(1), op.y.outer(1));
        for row in rows {
            let x = op.x.as_ptr::<X>().wrapping_add(x_rows.offset(row));
            let y = op.y.as_ptr::<Y>().wrapping_add(y_rows.offset(row));
            // SAFETY: the rows lie within checked views.
            unsafe { normalise_row(s, op, x, y) };
        }
    }
}

#[inline(always)]
unsafe fn normalise_row<S: Simd, X: Element, Y: Element>(s: S, op: &LayerNorm<'_>, x: *const X, y: *mut Y) {
    let len = op.x.last_dim();
    let mut sum = s.splat(0.0);
    let mut i = 0;
    while i < len {
        sum = s.add(sum, X::load_n(s, x.wrapping_add(i), (len - i).min(S::LANES)));
        i += S::LANES;
    }
    let mean_value = s.sum(sum) / len as f32;
    let mean = s.splat(mean_value);
    let mut squares = s.splat(0.0);
    let mut i = 0;
    while i + S::LANES <= len {
        let v = s.sub(X::load(s, x.wrapping_add(i)), mean);
        squares = s.fma(v, v, squares);
        i += S::LANES;
    }
    // The lanes beyond the row would count as minus the mean: summed up one by one instead.
    let mut total = s.sum(squares);
    while i < len {
        let v = X::get(x.wrapping_add(i)) - mean_value;
        total += v * v;
        i += 1;
    }
    let scale = s.splat(1.0 / (total / len as f32 + op.eps).sqrt());
    let mut i = 0;
    while i < len {
        let n = (len - i).min(S::LANES);
        let mut v = s.mul(s.sub(X::load_n(s, x.wrapping_add(i), n), mean), scale);
        if let Some(weight) = op.weight {
            v = s.mul(v, load(s, weight, i, n));
        }
        if let Some(bias) = op.bias {
            v = s.add(v, load(s, bias, i, n));
        }
        Y::store_n(s, y.wrapping_add(i), v, n);
        i += n;
    }
}

/// Elements `i..i + n` of a contiguous view of any float type.
#[inline(always)]
unsafe fn load<S: Simd>(s: S, view: &View, i: usize, n: usize) -> S::F {
    with_float!(view.dtype(), E => E::load_n(s, view.as_ptr::<E>().wrapping_add(i), n))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FLOATS, Random, Tensor, levels, run};
    use super::*;

    #[test]
    fn matches_the_reference() {
        let mut random = Random::new(9);
        for (rows, len) in [(1, 2), (3, 17), (5, 257)] {
            for (xd, wd) in FLOATS.into_iter().flat_map(|xd| FLOATS.map(|wd| (xd, wd))) {
                let x = Tensor::gapped(xd, &[rows, len]).random(&mut random);
                let weight = Tensor::zeros(wd, &[len]).random(&mut random);
                let bias = Tensor::zeros(wd, &[len]).random(&mut random);
                for (with_weight, with_bias) in [(true, false), (true, true), (false, false)] {
                    let (w, b) = (weight.get(), bias.get());
                    let want: Vec<f64> = x
                        .get()
                        .chunks(len)
                        .flat_map(|row| {
                            let mean = row.iter().sum::<f64>() / len as f64;
                            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / len as f64;
                            let scale = 1.0 / (variance + 1e-5).sqrt();
                            let weight = |i: usize| if with_weight { w[i] } else { 1.0 };
                            let value = |i: usize| (row[i] - mean) * scale * weight(i);
                            let bias = |i: usize| if with_bias { b[i] } else { 0.0 };
                            (0..len).map(|i| value(i) + bias(i)).collect::<Vec<_>>()
                        })
                        .collect();
                    for isa in levels() {
                        let y = Tensor::zeros(xd, &[rows, len]);
                        let bias = bias.view();
                        let bias = with_bias.then_some(&bias);
                        let weight = weight.view();
                        let weight = with_weight.then_some(&weight);
                        let (x, y_view) = (&x.view(), &y.view());
                        run(isa, 2, &LayerNorm { x, weight, bias, eps: 1e-5, y: y_view });
                        y.assert_close(&want, 3.0, isa.name());
                    }
                }
            }
        }
    }
}
