//! Rotary position embedding: the table of angles, and the rotation.

use std::marker::PhantomData;
use std::ops::Range;

use mscc_ir::DType;

use super::element::{Element, is_compute_float, with_float};
use super::error::KernelError;
use super::isa::{Body, Isa};
use super::kernel::{Check, Kernel, Split};
use super::pool::{Scratch, TaskResult};
use super::simd::Simd;
use super::view::View;

/// `cos[t, j]`, `sin[t, j]` of the f32 product `positions[t] * frequencies[j]`, times `scale`.
///
/// | value           | shape    | dtype                              |
/// |-----------------|----------|------------------------------------|
/// | `positions`     | `[T]`      | i32; gapless                       |
/// | `frequencies`   | [R/2]    | f32, radians a position; gapless   |
/// | -> `cos`, `sin` | [T, R/2] | f32; gapless rows                  |
pub struct RopeTable<'a> {
    /// Absolute position of each token.
    pub positions: &'a View,
    /// Radians a position.
    pub frequencies: &'a View,
    /// Factor of both results.
    pub scale: f32,
    /// Cosines.
    pub cos: &'a View,
    /// Sines.
    pub sin: &'a View,
}

impl Kernel for RopeTable<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("rope_table");
        let RopeTable { positions, frequencies, cos, sin, .. } = *self;
        let floats = [frequencies, cos, sin].iter().all(|view| view.dtype() == DType::F32);
        check.dtypes(floats && positions.dtype() == DType::I32, &[positions, frequencies, cos, sin])?;
        check.shape("positions", positions, positions.rank() == 1, "[T]")?;
        check.shape("frequencies", frequencies, frequencies.rank() == 1, "[R/2]")?;
        check.gapless("positions", positions)?;
        check.gapless("frequencies", frequencies)?;
        for (name, view) in [("cos", cos), ("sin", sin)] {
            check.dims(name, view, &[positions.len(), frequencies.len()], "[T, R/2]")?;
            check.inner(name, view)?;
        }
        Ok(())
    }

    fn split(&self, threads: usize) -> Split {
        // A sine and a cosine take the time of moving some hundred bytes.
        Split::even(self.positions.len(), 200 * self.frequencies.len(), threads)
    }

    unsafe fn run(&self, _: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        let RopeTable { positions, frequencies, scale, cos, sin } = *self;
        for token in split.range(task, positions.len()) {
            let position = *positions.as_ptr::<i32>().add(token) as f32;
            let cos = cos.as_ptr::<f32>().add(token * cos.strides()[0]);
            let sin = sin.as_ptr::<f32>().add(token * sin.strides()[0]);
            for j in 0..frequencies.len() {
                let angle = f64::from(position * *frequencies.as_ptr::<f32>().add(j));
                let (s, c) = angle.sin_cos();
                *cos.add(j) = c as f32 * scale;
                *sin.add(j) = s as f32 * scale;
            }
        }
        Ok(())
    }
}

/// Turns pairs `(a, b)` of each head into `(a cos - b sin, b cos + a sin)`, in f32, rounded once.
///
/// | value        | shape     | dtype                                                            |
/// |--------------|-----------|------------------------------------------------------------------|
/// | `x`          | [T, N, D] | f32, bf16, f16; D contiguous                                     |
/// | `cos`, `sin` | [T, R/2]  | f32; rows contiguous; R <= D, the rest of a head is copied       |
/// | -> `y`       | [T, N, D] | as `x`; D contiguous; may be `x`                                 |
///
/// Element j pairs with j + R/2, or, `interleaved`, 2j with 2j + 1.
pub struct Rope<'a> {
    /// Queries or keys.
    pub x: &'a View,
    /// Cosines of the tokens' angles.
    pub cos: &'a View,
    /// Sines of the tokens' angles.
    pub sin: &'a View,
    /// Whether neighbours are paired.
    pub interleaved: bool,
    /// Result.
    pub y: &'a View,
}

impl Kernel for Rope<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("rope");
        let Rope { x, cos, sin, y, .. } = *self;
        let tables = cos.dtype() == DType::F32 && sin.dtype() == DType::F32;
        let values = x.dtype() == y.dtype() && is_compute_float(x.dtype());
        check.dtypes(tables && values, &[x, cos, sin, y])?;
        check.shape("x", x, x.rank() == 3, "[T, N, D]")?;
        check.dims("y", y, x.dims(), "those of x")?;
        let fits = cos.rank() == 2 && cos.dims()[0] == x.dims()[0] && 2 * cos.dims()[1] <= x.dims()[2];
        check.shape("cos", cos, fits, "[T, R/2] with R <= D")?;
        check.dims("sin", sin, cos.dims(), "those of cos")?;
        [("x", x), ("cos", cos), ("sin", sin), ("y", y)]
            .iter()
            .try_for_each(|(name, view)| check.inner(name, view))
    }

    fn split(&self, threads: usize) -> Split {
        let heads_bytes = self.x.dims()[1] * self.x.dims()[2] * self.x.element_bytes();
        Split::even(self.x.dims()[0], 2 * heads_bytes, threads)
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        let tokens = split.range(task, self.x.dims()[0]);
        with_float!(self.x.dtype(), E => isa.dispatch(Tokens::<E>(self, tokens, PhantomData)));
        Ok(())
    }
}

struct Tokens<'a, E>(&'a Rope<'a>, Range<usize>, PhantomData<E>);

impl<E: Element> Body for Tokens<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Tokens(op, tokens, _) = self;
        let (x_strides, y_strides) = (op.x.strides(), op.y.strides());
        let (width, half) = (op.x.dims()[2], op.cos.dims()[1]);
        for token in tokens {
            let cos = op.cos.as_ptr::<f32>().wrapping_add(token * op.cos.strides()[0]).cast_const();
            let sin = op.sin.as_ptr::<f32>().wrapping_add(token * op.sin.strides()[0]).cast_const();
            for head in 0..op.x.dims()[1] {
                let x = op.x.as_ptr::<E>().wrapping_add(token * x_strides[0] + head * x_strides[1]);
                let y = op.y.as_ptr::<E>().wrapping_add(token * y_strides[0] + head * y_strides[1]);
                // SAFETY: the head and the tables' rows lie within checked views.
                unsafe {
                    if op.interleaved {
                        rotate_neighbours(x, y, cos, sin, half);
                    } else {
                        rotate_halves(s, x, y, cos, sin, half);
                    }
                    if x != y {
                        std::ptr::copy(x.add(2 * half), y.add(2 * half), width - 2 * half);
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn rotate_halves<S: Simd, E: Element>(
    s: S,
    x: *const E,
    y: *mut E,
    cos: *const f32,
    sin: *const f32,
    half: usize,
) {
    let mut i = 0;
    while i < half {
        let n = (half - i).min(S::LANES);
        let (a, b) = (E::load_n(s, x.wrapping_add(i), n), E::load_n(s, x.wrapping_add(i + half), n));
        let (c, d) = (s.load_f32_n(cos.wrapping_add(i), n), s.load_f32_n(sin.wrapping_add(i), n));
        E::store_n(s, y.wrapping_add(i), s.sub(s.mul(a, c), s.mul(b, d)), n);
        E::store_n(s, y.wrapping_add(i + half), s.add(s.mul(b, c), s.mul(a, d)), n);
        i += n;
    }
}

#[inline(always)]
unsafe fn rotate_neighbours<E: Element>(
    x: *const E,
    y: *mut E,
    cos: *const f32,
    sin: *const f32,
    half: usize,
) {
    for i in 0..half {
        let (a, b) = (E::get(x.wrapping_add(2 * i)), E::get(x.wrapping_add(2 * i + 1)));
        let (c, d) = (*cos.wrapping_add(i), *sin.wrapping_add(i));
        E::set(y.wrapping_add(2 * i), a * c - b * d);
        E::set(y.wrapping_add(2 * i + 1), b * c + a * d);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FLOATS, Random, Tensor, levels, run};
    use super::*;

    #[test]
    fn table_matches_the_reference() {
        let positions = [0.0, 1.0, 77.0, 131_071.0];
        let frequencies: Vec<f64> =
            (0..5).map(|j| f64::from(10_000f64.powf(-f64::from(j) / 5.0) as f32)).collect();
        let p = Tensor::zeros(DType::I32, &[4]).of(&positions);
        let f = Tensor::zeros(DType::F32, &[5]).of(&frequencies);
        let (cos, sin) = (Tensor::zeros(DType::F32, &[4, 5]), Tensor::gapped(DType::F32, &[4, 5]));
        let (c, s) = (cos.view(), sin.view());
        let kernel = RopeTable { positions: &p.view(), frequencies: &f.view(), scale: 1.5, cos: &c, sin: &s };
        run(Isa::Portable, 2, &kernel);
        let angles: Vec<f64> = positions
            .iter()
            .flat_map(|p| frequencies.iter().map(move |f| f64::from((p * f) as f32)))
            .collect();
        cos.assert_close(&angles.iter().map(|a| a.cos() * 1.5).collect::<Vec<_>>(), 0.1, "cos");
        sin.assert_close(&angles.iter().map(|a| a.sin() * 1.5).collect::<Vec<_>>(), 0.1, "sin");
    }

    #[test]
    fn rotation_matches_the_reference() {
        let mut random = Random::new(4);
        for (heads, width, half) in [(1, 2, 1), (3, 24, 12), (2, 80, 16), (2, 128, 64), (1, 5, 0)] {
            for (dtype, interleaved) in FLOATS.into_iter().flat_map(|d| [(d, false), (d, true)]) {
                let tokens = 5;
                let x = Tensor::gapped(dtype, &[tokens, heads, width]).random(&mut random);
                let cos = Tensor::zeros(DType::F32, &[tokens, half]).random(&mut random);
                let sin = Tensor::zeros(DType::F32, &[tokens, half]).random(&mut random);
                let (c, s) = (cos.get(), sin.get());
                let mut want = x.get();
                for (index, head) in want.chunks_mut(width).enumerate() {
                    for j in 0..half {
                        let (a, b) = if interleaved { (2 * j, 2 * j + 1) } else { (j, j + half) };
                        let (cos, sin) = (c[index / heads * half + j], s[index / heads * half + j]);
                        (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[b] * cos + head[a] * sin);
                    }
                }
                for isa in levels() {
                    let y = Tensor::zeros(dtype, x.dims());
                    let (cos, sin) = (&cos.view(), &sin.view());
                    run(isa, 2, &Rope { x: &x.view(), cos, sin, interleaved, y: &y.view() });
                    y.assert_close(&want, 1.0, isa.name());
                    let same = x.clone();
                    run(isa, 2, &Rope { x: &same.view(), cos, sin, interleaved, y: &same.view() });
                    same.assert_bits(&y.get(), "in place");
                }
            }
        }
    }
}
