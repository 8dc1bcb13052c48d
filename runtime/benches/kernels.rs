//! Speed of the CPU kernels, as shares of what this machine can do.
//!
//! Prints, measured in the same run: the rate of prefill-like matrix products against the peak rate of the
//! multiply instructions, and the bandwidth of decode-like products against that of plain reading; then
//! criterion's figures. `MSCC_BENCH_SHARES=decode` measures only shares whose line has that text.
#![allow(unsafe_code, reason = "views are built by hand")]

mod machine;

use std::hint::black_box;

#[cfg(target_arch = "x86_64")]
use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use mscc_ir::DType;
use mscc_runtime::device::cpu::{
    Attention, GroupedMatmul, Isa, LatentAttention, Matmul, Pool, RaggedAttention, RmsNorm, View, launch,
};

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

/// The shortest of several runs of each body, which other load disturbs least; they take turns, so that a
/// change of the machine's speed meets both.
#[cfg(target_arch = "x86_64")]
fn best(mut body: impl FnMut(), mut other: impl FnMut()) -> (Duration, Duration) {
    let time = |body: &mut dyn FnMut()| {
        let run = Instant::now();
        body();
        run.elapsed()
    };
    body();
    other();
    let start = Instant::now();
    let mut best = (Duration::MAX, Duration::MAX);
    while start.elapsed() < Duration::from_millis(1500) {
        best = (best.0.min(time(&mut body)), best.1.min(time(&mut other)));
    }
    best
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
    let pool = RefCell::new(pool);
    let peak = |bf16: bool| machine::multiply(&mut pool.borrow_mut(), bf16);
    let memory = machine::memory();
    let read = || machine::read(&mut pool.borrow_mut(), &memory);
    let read_bytes = machine::read_bytes(&memory, threads);
    let only = std::env::var("MSCC_BENCH_SHARES").unwrap_or_default();

    for (xd, wd, m, n, k) in [
        (DType::BF16, DType::BF16, 256, 2048, 2048),
        (DType::BF16, DType::BF16, 512, 4096, 1024),
        (DType::BF16, DType::BF16, 512, 1024, 2048),
        (DType::BF16, DType::BF16, 512, 6144, 1024),
        (DType::BF16, DType::BF16, 512, 1024, 3072),
        (DType::BF16, DType::BF16, 500, 4096, 4096),
        (DType::BF16, DType::BF16, 16, 4096, 4096),
        (DType::F32, DType::F32, 256, 2048, 2048),
        (DType::F32, DType::BF16, 256, 2048, 2048),
        (DType::BF16, DType::F16, 256, 2048, 2048),
    ] {
        let name = format!("prefill {xd} x {wd} [{m}, {k}] x [{n}, {k}]");
        if !name.contains(&only) {
            continue;
        }
        let product = Product::new(xd, wd, m, n, k);
        let pairs = isa == Isa::Avx512Bf16 && xd == DType::BF16 && wd == DType::BF16;
        let (time, peak_time) = best(|| product.run(&mut pool.borrow_mut(), isa), || peak(pairs));
        let rate = 2.0 * (m * n * k) as f64 / time.as_secs_f64() / 1e9;
        let peak = machine::flops(threads, pairs) / peak_time.as_secs_f64() / 1e9;
        println!("{name}: {rate:.1} of {peak:.1} GFLOP/s, {:.2}", rate / peak);
    }
    for (xd, wd, m, n, k) in [
        (DType::BF16, DType::BF16, 1, 4096, 4096),
        (DType::BF16, DType::BF16, 1, 16384, 8192),
        (DType::BF16, DType::BF16, 1, 32768, 4096),
        (DType::BF16, DType::BF16, 4, 32768, 4096),
        (DType::BF16, DType::BF16, 8, 32768, 4096),
        (DType::BF16, DType::BF16, 8, 151_936, 1024),
        (DType::BF16, DType::BF16, 1, 151_936, 1024),
        (DType::F32, DType::F32, 1, 16384, 4096),
        (DType::F32, DType::BF16, 1, 32768, 4096),
        (DType::BF16, DType::F16, 1, 32768, 4096),
    ] {
        let name = format!("decode {xd} x {wd} [{m}, {k}] x [{n}, {k}]");
        if !name.contains(&only) {
            continue;
        }
        let product = Product::new(xd, wd, m, n, k);
        let (time, read_time) = best(|| product.run(&mut pool.borrow_mut(), isa), read);
        let rate = (n * k * wd.bytes().expect("whole bytes")) as f64 / time.as_secs_f64() / 1e9;
        let limit = read_bytes / read_time.as_secs_f64() / 1e9;
        println!("{name}: {rate:.1} of {limit:.1} GB/s, {:.2}", rate / limit);
    }
    for (experts, groups, rows, n, k) in [
        // One token and a batch of eight, decoding; gate and up projections of Qwen3-30B-A3B and DeepSeek-V3.
        (128, 8, 1, 1536, 2048),
        (128, 1, 1, 1536, 2048),
        (128, 60, 1, 1536, 2048),
        (32, 8, 1, 4096, 7168),
        (32, 8, 1, 7168, 2048),
        (32, 8, 8, 4096, 7168),
        (8, 2, 1, 28672, 4096),
    ] {
        let name = format!("experts decode {groups} of {experts} x {rows} [{k}] x [{n}, {k}]");
        if !name.contains(&only) {
            continue;
        }
        let product = Experts::new(experts, groups, rows, n, k);
        let (time, read_time) = best(|| product.run(&mut pool.borrow_mut(), isa), read);
        let rate = (groups * n * k * 2) as f64 / time.as_secs_f64() / 1e9;
        let limit = read_bytes / read_time.as_secs_f64() / 1e9;
        println!("{name}: {rate:.1} of {limit:.1} GB/s, {:.2}", rate / limit);
    }
    for (experts, groups, rows, n, k) in
        [(32, 32, 16, 1536, 2048), (32, 32, 64, 1536, 2048), (8, 8, 128, 4096, 4096)]
    {
        let name = format!("experts prefill {groups} of {experts} x {rows} [{k}] x [{n}, {k}]");
        if !name.contains(&only) {
            continue;
        }
        let product = Experts::new(experts, groups, rows, n, k);
        let pairs = isa == Isa::Avx512Bf16;
        let (time, peak_time) = best(|| product.run(&mut pool.borrow_mut(), isa), || peak(pairs));
        let rate = 2.0 * (groups * rows * n * k) as f64 / time.as_secs_f64() / 1e9;
        let peak = machine::flops(threads, pairs) / peak_time.as_secs_f64() / 1e9;
        println!("{name}: {rate:.1} of {peak:.1} GFLOP/s, {:.2}", rate / peak);
    }
    for (form, sequences, tokens, context, heads) in [
        ("latent", 1, 1, 4096, 128),
        ("latent", 8, 1, 1024, 128),
        ("latent", 1, 1, 8192, 16),
        ("latent", 1, 128, 128, 128),
        ("ragged", 1, 128, 128, 128),
        ("ragged", 1, 512, 512, 16),
    ] {
        let name = format!("{form} attention bf16 {sequences} x {tokens} of {context}, {heads} heads");
        if !name.contains(&only) {
            continue;
        }
        let scene = Latents::new(sequences, tokens, context, heads);
        let run = || scene.run(&mut pool.borrow_mut(), isa, form);
        let (time, peak_time) = best(run, || peak(false));
        let pairs: usize = (context - tokens + 1..=context).sum();
        let per_pair = if form == "latent" { 512 + 64 + 512 } else { 128 + 64 + 128 };
        let rate = 2.0 * (sequences * pairs * heads * per_pair) as f64 / time.as_secs_f64() / 1e9;
        let peak = machine::flops(threads, false) / peak_time.as_secs_f64() / 1e9;
        println!("{name}: {rate:.1} of {peak:.1} GFLOP/s, {:.2}", rate / peak);
    }
    for (dtype, sequences, context, heads, kv_heads) in [
        (DType::BF16, 1, 32768, 16, 8),
        (DType::BF16, 1, 32768, 16, 1),
        (DType::BF16, 1, 32768, 32, 8),
        (DType::BF16, 16, 2048, 16, 8),
        (DType::F32, 1, 16384, 16, 8),
    ] {
        let name = format!("attention {dtype} {sequences} x {context}, {heads}/{kv_heads} heads of 128");
        if !name.contains(&only) {
            continue;
        }
        let scene = Scene::new(dtype, (sequences, 1), context, (heads, kv_heads));
        let (time, read_time) = best(|| scene.run(&mut pool.borrow_mut(), isa), read);
        let bytes = 2 * sequences * context * kv_heads * WIDTH * dtype.bytes().expect("whole bytes");
        let rate = bytes as f64 / time.as_secs_f64() / 1e9;
        let limit = read_bytes / read_time.as_secs_f64() / 1e9;
        println!("{name}: {rate:.1} of {limit:.1} GB/s, {:.2}", rate / limit);
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn shares(_: &mut Pool) {}

/// A product of `[M, K]` with `[N, K]`.
#[cfg(target_arch = "x86_64")]
struct Product {
    x: Tensor,
    w: Tensor,
    y: Tensor,
}

#[cfg(target_arch = "x86_64")]
impl Product {
    fn new(xd: DType, wd: DType, m: usize, n: usize, k: usize) -> Product {
        Product { x: Tensor::new(xd, &[m, k]), w: Tensor::new(wd, &[n, k]), y: Tensor::new(xd, &[m, n]) }
    }

    fn run(&self, pool: &mut Pool, isa: Isa) {
        let (x, w, y) = (&self.x.view(), &self.w.view(), &self.y.view());
        launch(pool, isa, &Matmul { x, w, bias: None, transposed: true, y }).expect("runs");
    }
}

/// Products of some of many matrices, each with as many rows.
#[cfg(target_arch = "x86_64")]
struct Experts {
    x: Tensor,
    w: Tensor,
    sizes: Tensor,
    y: Tensor,
}

#[cfg(target_arch = "x86_64")]
impl Experts {
    fn new(experts: usize, groups: usize, rows: usize, n: usize, k: usize) -> Experts {
        let m = groups * rows;
        let sizes =
            (0..experts).map(|expert| if expert * groups % experts < groups { rows as u32 } else { 0 });
        Experts {
            x: Tensor::new(DType::BF16, &[m, k]),
            w: Tensor::new(DType::BF16, &[experts, n, k]),
            sizes: Tensor { data: sizes.collect(), dtype: DType::I32, dims: vec![experts] },
            y: Tensor::new(DType::BF16, &[m, n]),
        }
    }

    fn run(&self, pool: &mut Pool, isa: Isa) {
        let (x, w, group_sizes, y) = (&self.x.view(), &self.w.view(), &self.sizes.view(), &self.y.view());
        launch(pool, isa, &GroupedMatmul { x, w, group_sizes, transposed: true, y }).expect("runs");
    }
}

/// New tokens at the ends of equal contexts, with the sizes of DeepSeek-V3's attention, for both of its forms.
#[cfg(target_arch = "x86_64")]
struct Latents {
    /// Both parts of queries, keys and values of the packed form.
    ragged: [Tensor; 5],
    /// Both parts of queries and of the cache of the form over latents.
    latent: [Tensor; 4],
    block_table: Tensor,
    query_start: Tensor,
    context_len: Tensor,
    y: [Tensor; 2],
}

#[cfg(target_arch = "x86_64")]
impl Latents {
    fn new(sequences: usize, tokens: usize, context: usize, heads: usize) -> Latents {
        let Scene { block_table, query_start, context_len, .. } =
            Scene::new(DType::BF16, (sequences, tokens), context, (1, 1));
        let (rows, keys) = (sequences * tokens, sequences * context);
        let tensor = |dims: &[usize]| Tensor::new(DType::BF16, dims);
        let latent = [
            tensor(&[rows, heads, 512]),
            tensor(&[rows, heads, 64]),
            tensor(&[keys / 16, 16, 512]),
            tensor(&[keys / 16, 16, 64]),
        ];
        let ragged = [
            tensor(&[rows, heads, 128]),
            tensor(&[rows, heads, 64]),
            tensor(&[keys, heads, 128]),
            tensor(&[keys, 64]),
            tensor(&[keys, heads, 128]),
        ];
        let y = [tensor(&[rows, heads, 512]), tensor(&[rows, heads, 128])];
        Latents { ragged, latent, block_table, query_start, context_len, y }
    }

    fn run(&self, pool: &mut Pool, isa: Isa, form: &str) {
        let (query_start, context_len) = (&self.query_start.view(), &self.context_len.view());
        let (block_table, scale) = (&self.block_table.view(), 0.1);
        let [y_latent, y_ragged] = &self.y.each_ref().map(Tensor::view);
        if form == "latent" {
            let [q, q_rope, latent_cache, rope_cache] = &self.latent.each_ref().map(Tensor::view);
            let kernel = LatentAttention {
                q,
                q_rope,
                latent_cache,
                rope_cache,
                block_table,
                query_start,
                context_len,
                scale,
                y: y_latent,
            };
            launch(pool, isa, &kernel).expect("runs");
        } else {
            let [q, q_rope, k, k_rope, v] = &self.ragged.each_ref().map(Tensor::view);
            let y = y_ragged;
            let kernel = RaggedAttention { q, q_rope, k, k_rope, v, query_start, context_len, scale, y };
            launch(pool, isa, &kernel).expect("runs");
        }
    }
}

/// Size of a head.
const WIDTH: usize = 128;

/// New tokens at the ends of equal contexts.
struct Scene {
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    block_table: Tensor,
    query_start: Tensor,
    context_len: Tensor,
    y: Tensor,
}

impl Scene {
    fn new(
        dtype: DType,
        (sequences, tokens): (usize, usize),
        context: usize,
        (heads, kv_heads): (usize, usize),
    ) -> Scene {
        const BLOCK: usize = 16;
        let ints = |dims: Vec<usize>, data: Vec<usize>| {
            let data = data.into_iter().map(|value| value as u32).collect();
            Tensor { dims, data, dtype: DType::I32 }
        };
        let pages = sequences * context / BLOCK;
        let cache = || Tensor::new(dtype, &[pages, BLOCK, kv_heads, WIDTH]);
        Scene {
            q: Tensor::new(dtype, &[sequences * tokens, heads, WIDTH]),
            k_cache: cache(),
            v_cache: cache(),
            block_table: ints(vec![sequences, context / BLOCK], (0..pages).collect()),
            query_start: ints(vec![sequences + 1], (0..=sequences).map(|at| at * tokens).collect()),
            context_len: ints(vec![sequences], vec![context; sequences]),
            y: Tensor::new(dtype, &[sequences * tokens, heads, WIDTH]),
        }
    }

    fn run(&self, pool: &mut Pool, isa: Isa) {
        let kernel = Attention {
            q: &self.q.view(),
            k_cache: &self.k_cache.view(),
            v_cache: &self.v_cache.view(),
            block_table: &self.block_table.view(),
            query_start: &self.query_start.view(),
            context_len: &self.context_len.view(),
            sinks: None,
            scale: 0.1,
            window: None,
            soft_cap: None,
            y: &self.y.view(),
        };
        launch(pool, isa, &kernel).expect("runs");
    }
}

fn benches(c: &mut Criterion) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let isa = Isa::detect();
    let mut pool = Pool::new(threads);
    shares(&mut pool);
    c.bench_function("empty launch", |b| b.iter(|| pool.run(black_box(threads), &|_, _| Ok(()))));

    let (x, w, y) = (
        Tensor::new(DType::BF16, &[256, 2048]),
        Tensor::new(DType::BF16, &[2048]),
        Tensor::new(DType::BF16, &[256, 2048]),
    );
    let (x, weight, y) = (&x.view(), &w.view(), &y.view());
    c.bench_function("rms_norm bf16 [256, 2048]", |b| {
        b.iter(|| launch(&mut pool, isa, &RmsNorm { x, weight, eps: 1e-6, y }));
    });
    for (name, tokens, context) in [("decode", 1, 4096), ("prefill", 512, 512)] {
        let (heads, kv_heads) = (16, 8);
        let scene = Scene::new(DType::BF16, (1, tokens), context, (heads, kv_heads));
        let name = format!("attention {name} bf16 {tokens} x {context}, {heads}/{kv_heads} heads of {WIDTH}");
        c.bench_function(&name, |b| b.iter(|| scene.run(&mut pool, isa)));
    }
}

criterion_group!(all, benches);
criterion_main!(all);
