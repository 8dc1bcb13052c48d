//! Speed of the CPU kernels, as shares of what this machine can do.
//!
//! Prints, measured in the same run: the rate of prefill-like matrix products against the peak rate of the
//! multiply instructions, and the bandwidth of decode-like products against that of plain reading; then
//! criterion's figures.
#![allow(unsafe_code, reason = "views are built by hand")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use mscc_ir::DType;
use mscc_runtime::device::cpu::Matmul;
use mscc_runtime::device::cpu::{Isa, Pool, View, launch};

/// Memory of one tensor, filled with small values.
struct Tensor {
    data: Vec<u32>,
    dtype: DType,
    dims: Vec<usize>,
}

impl Tensor {
    fn new(dtype: DType, dims: &[usize]) -> Tensor {
        let bytes = dims.iter().product::<usize>() * dtype.bytes().expect("whole bytes");
        // Bits of two bf16 (or one f32, or two f16) of about 1e-2.
        let data = (0..bytes.div_ceil(4)).map(|i| 0x3c12_3c34 ^ ((i as u32 & 1) << 15)).collect();
        Tensor { data, dtype, dims: dims.to_vec() }
    }

    fn view(&self) -> View {
        // SAFETY: the vector holds all elements; benches launch one kernel at a time.
        unsafe { View::contiguous(self.data.as_ptr().cast_mut().cast(), self.dtype, &self.dims) }
    }
}

/// The shortest of several runs, which other load disturbs least.
fn best(mut body: impl FnMut()) -> Duration {
    body();
    let start = Instant::now();
    let mut best = Duration::MAX;
    while start.elapsed() < Duration::from_millis(600) {
        let run = Instant::now();
        body();
        best = best.min(run.elapsed());
    }
    best
}

#[cfg(target_arch = "x86_64")]
mod machine {
    //! What the machine can do at best.

    use std::arch::x86_64::*;
    use std::hint::black_box;

    pub const ROUNDS: usize = 200_000;
    const CHAINS: usize = 24;

    /// FLOPs of one call of [`fma_f32`] (or, doubled, of [`fma_bf16`]).
    pub const FLOPS: f64 = (ROUNDS * CHAINS * 16 * 2) as f64;

    #[target_feature(enable = "avx512f")]
    pub fn fma_f32() {
        let mut sums = [_mm512_set1_ps(black_box(0.0)); CHAINS];
        let (a, b) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(0.25)));
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(a, b, *sum);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub fn fma_bf16() {
        let mut sums = [_mm512_set1_ps(black_box(0.0)); CHAINS];
        let (a, b) = (_mm512_set1_epi32(black_box(0x3c00_3c00)), _mm512_set1_epi32(black_box(0x3d00_3d00)));
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                // SAFETY: both are plain 512-bit vectors.
                let (a, b) = unsafe { (std::mem::transmute(a), std::mem::transmute(b)) };
                *sum = _mm512_dpbf16_ps(*sum, a, b);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f")]
    pub fn read(words: &[u32]) {
        let mut sums = [_mm512_setzero_si512(); 4];
        for chunk in words.chunks_exact(64) {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the chunk has four times sixteen words.
                let v = unsafe { _mm512_loadu_si512(chunk.as_ptr().add(16 * i).cast()) };
                *sum = _mm512_add_epi32(*sum, v);
            }
        }
        black_box(sums);
    }
}

#[cfg(target_arch = "x86_64")]
fn shares(pool: &mut Pool) {
    let isa = Isa::detect();
    let threads = pool.threads();
    println!("{} threads, {}", threads, isa.name());
    if isa < Isa::Avx512 {
        println!("shares are measured with AVX-512 only");
        return;
    }
    // SAFETY: the level was just detected.
    let peak_f32 = best(|| pool.run(threads, &|_, _| Ok(unsafe { machine::fma_f32() })).expect("runs"));
    let peak_f32 = machine::FLOPS * threads as f64 / peak_f32.as_secs_f64() / 1e9;
    println!("peak f32   {peak_f32:8.1} GFLOP/s");
    let mut peak_bf16 = peak_f32;
    if isa == Isa::Avx512Bf16 {
        // SAFETY: the level was just detected.
        let time = best(|| pool.run(threads, &|_, _| Ok(unsafe { machine::fma_bf16() })).expect("runs"));
        peak_bf16 = 2.0 * machine::FLOPS * threads as f64 / time.as_secs_f64() / 1e9;
        println!("peak bf16  {peak_bf16:8.1} GFLOP/s");
    }
    let memory = Tensor::new(DType::F32, &[128 << 20]);
    let part = memory.data.len() / threads / 16;
    let time = best(|| {
        let data = &memory.data;
        let task = |i: usize, _: &mut _| {
            // SAFETY: the level was just detected.
            unsafe { machine::read(&data[i * part..(i + 1) * part]) };
            Ok(())
        };
        pool.run(threads * 16, &task).expect("runs");
    });
    let bandwidth = (part * threads * 16 * 4) as f64 / time.as_secs_f64() / 1e9;
    println!("read       {bandwidth:8.1} GB/s");
    drop(memory);

    for (xd, wd, m, n, k) in [
        (DType::BF16, DType::BF16, 256, 2048, 2048),
        (DType::BF16, DType::BF16, 512, 6144, 1024),
        (DType::BF16, DType::BF16, 500, 4096, 4096),
        (DType::BF16, DType::BF16, 16, 4096, 4096),
        (DType::F32, DType::F32, 256, 2048, 2048),
        (DType::F32, DType::BF16, 256, 2048, 2048),
        (DType::BF16, DType::F16, 256, 2048, 2048),
    ] {
        let time = time_matmul(pool, isa, xd, wd, m, n, k);
        let rate = 2.0 * (m * n * k) as f64 / time.as_secs_f64() / 1e9;
        let peak = if xd == DType::BF16 && wd == DType::BF16 { peak_bf16 } else { peak_f32 };
        println!("{xd} x {wd} [{m}, {k}] x [{n}, {k}]: {rate:8.1} GFLOP/s, {:.2} of peak", rate / peak);
    }
    for (xd, wd, m, n, k) in [
        (DType::BF16, DType::BF16, 1, 16384, 8192),
        (DType::BF16, DType::BF16, 1, 32768, 4096),
        (DType::BF16, DType::BF16, 4, 32768, 4096),
        (DType::BF16, DType::BF16, 8, 32768, 4096),
        (DType::BF16, DType::BF16, 1, 151_936, 1024),
        (DType::F32, DType::F32, 1, 16384, 4096),
        (DType::F32, DType::BF16, 1, 32768, 4096),
        (DType::BF16, DType::F16, 1, 32768, 4096),
    ] {
        let time = time_matmul(pool, isa, xd, wd, m, n, k);
        let rate = (n * k * wd.bytes().expect("whole bytes")) as f64 / time.as_secs_f64() / 1e9;
        println!("{xd} x {wd} [{m}, {k}] x [{n}, {k}]: {rate:8.1} GB/s, {:.2} of reading", rate / bandwidth);
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn shares(_: &mut Pool) {}

fn time_matmul(pool: &mut Pool, isa: Isa, xd: DType, wd: DType, m: usize, n: usize, k: usize) -> Duration {
    let (x, w, y) = (Tensor::new(xd, &[m, k]), Tensor::new(wd, &[n, k]), Tensor::new(xd, &[m, n]));
    let (x, w, y) = (x.view(), w.view(), y.view());
    let kernel = Matmul { x: &x, w: &w, bias: None, transposed: true, y: &y };
    best(|| launch(pool, isa, black_box(&kernel)).expect("runs"))
}

fn benches(c: &mut Criterion) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut pool = Pool::new(threads);
    shares(&mut pool);
    c.bench_function("empty launch", |b| b.iter(|| pool.run(black_box(threads), &|_, _| Ok(()))));
}

criterion_group!(all, benches);
criterion_main!(all);
