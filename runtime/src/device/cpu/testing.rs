//! Tensors and comparisons for the kernels' tests.

use half::{bf16, f16};
use mscc_ir::DType;

use super::isa::Isa;
use super::kernel::{Kernel, launch};
use super::pool::Pool;
use super::view::{View, row_major};

/// A small generator of equal numbers on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// In [-1, 1).
    pub(crate) fn float(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// A tensor with memory of its own, with or without gaps between rows.
#[derive(Clone)]
pub(crate) struct Tensor {
    data: Vec<u64>,
    dtype: DType,
    dims: Vec<usize>,
    strides: Vec<usize>,
}

impl Tensor {
    pub(crate) fn zeros(dtype: DType, dims: &[usize]) -> Tensor {
        Tensor::with_strides(dtype, dims, &row_major(dims))
    }

    /// Rows with gaps: as in a part of a merged result.
    pub(crate) fn gapped(dtype: DType, dims: &[usize]) -> Tensor {
        let mut wider = dims.to_vec();
        if let Some(last) = wider.last_mut() {
            *last += 3;
        }
        Tensor::with_strides(dtype, dims, &row_major(&wider))
    }

    pub(crate) fn with_strides(dtype: DType, dims: &[usize], strides: &[usize]) -> Tensor {
        let reach: usize = dims.iter().zip(strides).map(|(dim, stride)| dim.saturating_sub(1) * stride).sum();
        let bytes = (reach + 1) * dtype.bytes().unwrap();
        let data = vec![0; bytes.div_ceil(8)];
        Tensor { data, dtype, dims: dims.to_vec(), strides: strides.to_vec() }
    }

    /// Fills with values in [-1, 1), rounded to the dtype.
    pub(crate) fn random(mut self, random: &mut Random) -> Tensor {
        let values: Vec<f64> = (0..self.view().len()).map(|_| random.float()).collect();
        self.set(&values);
        self
    }

    pub(crate) fn of(mut self, values: &[f64]) -> Tensor {
        self.set(values);
        self
    }

    pub(crate) fn view(&self) -> View {
        let ptr = self.data.as_ptr().cast_mut().cast();
        // SAFETY: `with_strides` made the memory as large as the strides reach; tests use a tensor as a
        // result in one launch at a time.
        unsafe { View::new(ptr, self.dtype, &self.dims, &self.strides) }
    }

    pub(crate) fn dims(&self) -> &[usize] {
        &self.dims
    }

    pub(crate) fn set(&mut self, values: &[f64]) {
        let view = self.view();
        let outer = view.outer(0);
        assert_eq!(values.len(), outer.count());
        for (i, value) in values.iter().enumerate() {
            let at = outer.offset(i);
            // SAFETY: within the tensor, of its type.
            unsafe {
                match self.dtype {
                    DType::F64 => *view.as_ptr::<f64>().add(at) = *value,
                    DType::F32 => *view.as_ptr::<f32>().add(at) = *value as f32,
                    DType::BF16 => *view.as_ptr::<bf16>().add(at) = bf16::from_f32(*value as f32),
                    DType::F16 => *view.as_ptr::<f16>().add(at) = f16::from_f32(*value as f32),
                    DType::I32 => *view.as_ptr::<i32>().add(at) = *value as i32,
                    DType::I64 => *view.as_ptr::<i64>().add(at) = *value as i64,
                    DType::U8 => *view.as_ptr::<u8>().add(at) = *value as u8,
                    other => panic!("tests have no {other}"),
                }
            }
        }
    }

    /// All elements in row-major order.
    pub(crate) fn get(&self) -> Vec<f64> {
        let view = self.view();
        let outer = view.outer(0);
        (0..outer.count())
            .map(|i| {
                let at = outer.offset(i);
                // SAFETY: within the tensor, of its type.
                unsafe {
                    match self.dtype {
                        DType::F64 => *view.as_ptr::<f64>().add(at),
                        DType::F32 => f64::from(*view.as_ptr::<f32>().add(at)),
                        DType::BF16 => (*view.as_ptr::<bf16>().add(at)).to_f64(),
                        DType::F16 => (*view.as_ptr::<f16>().add(at)).to_f64(),
                        DType::I32 => f64::from(*view.as_ptr::<i32>().add(at)),
                        DType::I64 => *view.as_ptr::<i64>().add(at) as f64,
                        DType::U8 => f64::from(*view.as_ptr::<u8>().add(at)),
                        other => panic!("tests have no {other}"),
                    }
                }
            })
            .collect()
    }

    /// Elements that compare bit for bit (but NaN).
    #[track_caller]
    pub(crate) fn assert_bits(&self, other: &[f64], what: &str) {
        let got = self.get();
        assert_eq!(got.len(), other.len());
        for (i, (got, want)) in got.iter().zip(other).enumerate() {
            assert!(got.to_bits() == want.to_bits(), "{what}: element {i}: {got} != {want}");
        }
    }

    /// Elements within the dtype's rounding of the reference, plus `slack` of `scale`.
    #[track_caller]
    pub(crate) fn assert_close(&self, want: &[f64], scale: f64, what: &str) {
        let (epsilon, slack) = match self.dtype {
            DType::BF16 => (1.0 / 256.0, 2e-6),
            DType::F16 => (1.0 / 2048.0, 2e-6),
            _ => (2e-6, 2e-6),
        };
        let got = self.get();
        assert_eq!(got.len(), want.len());
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            let limit = epsilon * want.abs() + slack * scale;
            assert!((got - want).abs() <= limit, "{what}: element {i}: {got}, expected {want} +- {limit}");
        }
    }
}

/// The levels that this machine can run.
pub(crate) fn levels() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

pub(crate) const FLOATS: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

/// Runs a kernel on some threads.
#[track_caller]
pub(crate) fn run(isa: Isa, threads: usize, kernel: &dyn Kernel) {
    launch(&mut Pool::new(threads), isa, kernel).unwrap();
}
