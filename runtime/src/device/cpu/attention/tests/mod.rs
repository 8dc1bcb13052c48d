mod latents;

use mscc_ir::DType;

use super::super::testing::{FLOATS, Random, Tensor, levels, run};
use super::super::{Pool, launch};
use super::*;

/// Sequences with their whole contexts, from which steps of any cut are made.
struct Scene {
    heads: usize,
    kv_heads: usize,
    width: usize,
    v_width: usize,
    window: Option<usize>,
    soft_cap: Option<f32>,
    /// Of each head.
    sinks: Option<Vec<f64>>,
    /// Per sequence: queries, keys and values of all positions.
    sequences: Vec<[Vec<f64>; 3]>,
    lengths: Vec<usize>,
}

impl Scene {
    fn new(
        random: &mut Random,
        (heads, kv_heads): (usize, usize),
        [width, v_width]: [usize; 2],
        lengths: &[usize],
    ) -> Scene {
        let mut values = |count: usize| (0..count).map(|_| random.float()).collect::<Vec<_>>();
        let sequences = lengths
            .iter()
            .map(|len| {
                [
                    values(len * heads * width),
                    values(len * kv_heads * width),
                    values(len * kv_heads * v_width),
                ]
            })
            .collect();
        let (window, soft_cap, lengths) = (None, None, lengths.to_vec());
        Scene { heads, kv_heads, width, v_width, window, soft_cap, sinks: None, sequences, lengths }
    }

    fn scale(&self) -> f64 {
        3.0 / (self.width as f64).sqrt()
    }

    /// The definition, in f64, of one sequence.
    fn reference(&self, sequence: usize, dtype: DType) -> Vec<f64> {
        let [q, k, v] = self.sequences[sequence]
            .each_ref()
            .map(|values| Tensor::zeros(dtype, &[values.len()]).of(values).get());
        let (d, dv) = (self.width, self.v_width);
        let mut y = Vec::new();
        for i in 0..self.lengths[sequence] {
            for head in 0..self.heads {
                let kv_head = head / (self.heads / self.kv_heads);
                let from = self.window.map_or(0, |w| (i + 1).saturating_sub(w));
                let scores: Vec<f64> = (from..=i)
                    .map(|j| {
                        let dot: f64 = (0..d)
                            .map(|c| {
                                q[(i * self.heads + head) * d + c] * k[(j * self.kv_heads + kv_head) * d + c]
                            })
                            .sum();
                        let score = dot * self.scale();
                        self.soft_cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
                    })
                    .collect();
                let sink = self.sinks.as_ref().map(|sinks| sinks[head]);
                let max = scores.iter().copied().chain(sink).fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
                let sum = weights.iter().sum::<f64>() + sink.map_or(0.0, |sink| (sink - max).exp());
                for c in 0..dv {
                    let value = |j: usize| v[((from + j) * self.kv_heads + kv_head) * dv + c];
                    y.push(weights.iter().enumerate().map(|(j, w)| w / sum * value(j)).sum());
                }
            }
        }
        y
    }

    /// One step: of each sequence the queries `new`, after the keys before them. Pages are dealt out in
    /// a shuffled order, unused memory is NaN.
    fn step(
        &self,
        (isa, threads, block): (Isa, usize, usize),
        (dtype, cache_dtype): (DType, DType),
        parts: &[(usize, std::ops::Range<usize>)],
    ) -> Vec<Vec<f64>> {
        let pages_of = |len: usize| len.div_ceil(block);
        let most = parts.iter().map(|(_, new)| pages_of(new.end)).max().unwrap_or(0) + 1;
        let pages: usize = parts.iter().map(|(_, new)| pages_of(new.end)).sum::<usize>() + 3;
        let cell = |width: usize| pages * block * self.kv_heads * width;
        let (mut ks, mut vs) = (vec![f64::NAN; cell(self.width)], vec![f64::NAN; cell(self.v_width)]);
        let mut table = vec![-1.0; parts.len() * most];
        let (mut starts, mut contexts, mut qs) = (vec![0.0], Vec::new(), Vec::new());
        let mut next = pages;
        for (row, (sequence, new)) in parts.iter().enumerate() {
            let [q, k, v] = &self.sequences[*sequence];
            for entry in 0..pages_of(new.end) {
                next -= 1;
                table[row * most + entry] = next as f64;
                // Keys out of every window are gone, and pages of no other key.
                let is_gone = |position: usize| self.window.is_some_and(|w| position + w <= new.start);
                if is_gone((entry + 1) * block - 1) {
                    table[row * most + entry] = -9.0;
                }
                for offset in 0..block {
                    let position = entry * block + offset;
                    if position >= new.end || is_gone(position) {
                        continue;
                    }
                    for (cache, values, width) in [(&mut ks, k, self.width), (&mut vs, v, self.v_width)] {
                        let run = self.kv_heads * width;
                        cache[(next * block + offset) * run..][..run]
                            .copy_from_slice(&values[position * run..][..run]);
                    }
                }
            }
            qs.extend_from_slice(&q[new.start * self.heads * self.width..new.end * self.heads * self.width]);
            starts.push((qs.len() / self.heads / self.width) as f64);
            contexts.push(new.end as f64);
        }
        let tokens = qs.len() / self.heads / self.width;
        // Queries inside a merged q, k, v.
        let stride = (self.heads + 2 * self.kv_heads) * self.width;
        let dims = [tokens, self.heads, self.width];
        let q = Tensor::with_strides(dtype, &dims, &[stride, self.width, 1]).of(&qs);
        let k_cache = Tensor::zeros(cache_dtype, &[pages, block, self.kv_heads, self.width]).of(&ks);
        let v_cache = Tensor::zeros(cache_dtype, &[pages, block, self.kv_heads, self.v_width]).of(&vs);
        let block_table = Tensor::zeros(DType::I32, &[parts.len(), most]).of(&table);
        let query_start = Tensor::zeros(DType::I32, &[parts.len() + 1]).of(&starts);
        let context_len = Tensor::zeros(DType::I32, &[parts.len()]).of(&contexts);
        let y = Tensor::zeros(dtype, &[tokens, self.heads, self.v_width]);
        let sinks = self.sinks.as_ref().map(|sinks| Tensor::zeros(DType::F32, &[self.heads]).of(sinks));
        let sinks = sinks.as_ref().map(Tensor::view);
        let kernel = Attention {
            q: &q.view(),
            k_cache: &k_cache.view(),
            v_cache: &v_cache.view(),
            block_table: &block_table.view(),
            query_start: &query_start.view(),
            context_len: &context_len.view(),
            sinks: sinks.as_ref(),
            scale: self.scale() as f32,
            window: self.window,
            soft_cap: self.soft_cap,
            y: &y.view(),
        };
        run(isa, threads, &kernel);
        let row = self.heads * self.v_width;
        let cut = |pair: &[f64]| y.get()[pair[0] as usize * row..pair[1] as usize * row].to_vec();
        starts.windows(2).map(cut).collect()
    }
}

#[test]
fn matches_the_reference() {
    let mut random = Random::new(29);
    for (heads, widths) in [
        ((1, 1), [8, 8]),
        ((4, 2), [24, 24]),
        ((6, 1), [80, 80]),
        ((2, 2), [96, 40]),
        ((8, 2), [128, 128]),
        ((3, 3), [7, 7]),
        ((3, 1), [16, 5]),
        ((10, 2), [33, 64]),
        ((7, 1), [12, 12]),
        ((1, 1), [512, 512]),
        ((65, 1), [4, 4]),
    ] {
        for (window, soft_cap) in [(None, None), (Some(17), None), (None, Some(2.0))] {
            let mut scene = Scene::new(&mut random, heads, widths, &[70, 1, 133]);
            (scene.window, scene.soft_cap) = (window, soft_cap);
            if window.is_some() || heads.0 == 7 {
                scene.sinks = Some((0..heads.0).map(|_| 3.0 * random.float()).collect());
            }
            for (dtype, cache) in FLOATS.into_iter().flat_map(|d| [(d, d), (DType::F32, d), (d, DType::F32)])
            {
                // Rounded alike where the types are equal; else the coarser type decides.
                let coarser = if dtype == DType::F32 { cache } else { dtype };
                let wants = [0, 1, 2].map(|sequence| scene.reference(sequence, coarser));
                let slack = if dtype == cache { 3e-6 } else { 3e-2 };
                for isa in levels() {
                    let parts = [(0, 0..70), (1, 0..1), (2, 0..133)];
                    let got = scene.step((isa, 2, 16), (dtype, cache), &parts);
                    for (got, want) in got.iter().flatten().zip(wants.iter().flatten()) {
                        let rounding = match dtype {
                            DType::F32 => 0.0,
                            DType::F16 => 1.0 / 2048.0,
                            _ => 1.0 / 256.0,
                        };
                        let limit = want.abs() * rounding + slack;
                        assert!((got - want).abs() <= limit, "{got} {want} {}", isa.name());
                    }
                }
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_chunks_company_pages_or_threads() {
    let mut random = Random::new(31);
    for (heads, widths, window) in [
        ((4, 2), [24, 24], None),
        ((2, 1), [80, 48], Some(70)),
        ((3, 1), [64, 64], Some(5)),
        ((20, 1), [4, 4], None),
    ] {
        let mut scene = Scene::new(&mut random, heads, widths, &[150, 9, 67, 1]);
        scene.window = window;
        scene.sinks = window.map(|_| (0..heads.0).map(|_| random.float()).collect());
        for dtype in [DType::F32, DType::BF16] {
            for isa in levels() {
                let alone = scene.step((isa, 1, 16), (dtype, dtype), &[(0, 0..150)]).remove(0);
                for block in [1, 3, 16, 128] {
                    for threads in 1..=3 {
                        let all = [(3, 0..1), (0, 0..150), (1, 3..9), (2, 0..67)];
                        let got = scene.step((isa, threads, block), (dtype, dtype), &all);
                        assert_eq!(got[1], alone, "{} block {block} threads {threads}", isa.name());
                    }
                    for chunk in [1, 7, 64, 100] {
                        let mut joined = Vec::new();
                        for start in (0..150).step_by(chunk) {
                            let part = [(1, 8..9), (0, start..(start + chunk).min(150))];
                            joined.extend(scene.step((isa, 2, block), (dtype, dtype), &part).remove(1));
                        }
                        assert_eq!(joined, alone, "{} block {block} chunk {chunk}", isa.name());
                    }
                }
            }
        }
    }
}

#[test]
fn long_contexts_are_shared_among_threads_to_the_bit() {
    let mut random = Random::new(37);
    for (heads, window) in [((2, 1), None), ((9, 1), Some(1500))] {
        let mut scene = Scene::new(&mut random, heads, [20, 20], &[2100, 40]);
        scene.window = window;
        let want = scene.reference(0, DType::F32);
        for isa in levels() {
            let dtypes = (DType::F32, DType::F32);
            let whole = scene.step((isa, 1, 16), dtypes, &[(0, 0..2100)]).remove(0);
            for (got, want) in whole.iter().zip(&want) {
                assert!((got - want).abs() <= 3e-6, "{got} {want} {}", isa.name());
            }
            let row = whole.len() / 2100;
            for threads in 1..=3 {
                for last in [1023, 1024, 1025, 2047, 2048, 2099] {
                    for first in [last, last - 7] {
                        let part = (0, first..last + 1);
                        let expected = &whole[first * row..(last + 1) * row];
                        let alone =
                            scene.step((isa, threads, 3), dtypes, std::slice::from_ref(&part)).remove(0);
                        assert_eq!(alone, expected, "{} {threads} threads, {part:?}", isa.name());
                        let both = scene.step((isa, threads, 16), dtypes, &[(1, 39..40), part]).remove(1);
                        assert_eq!(both, expected, "{} {threads} threads, in company", isa.name());
                    }
                }
            }
        }
    }
}

#[test]
fn hostile_indices_are_errors() {
    let q = Tensor::zeros(DType::F32, &[2, 1, 4]);
    let cache = Tensor::zeros(DType::F32, &[3, 2, 1, 4]);
    let (q, cache) = (q.view(), cache.view());
    let attend = |table: [f64; 2], starts: [f64; 2], context: f64| {
        let y = Tensor::zeros(DType::F32, &[2, 1, 4]);
        let table = Tensor::zeros(DType::I32, &[1, 2]).of(&table);
        let starts = Tensor::zeros(DType::I32, &[2]).of(&starts);
        let context = Tensor::zeros(DType::I32, &[1]).of(&[context]);
        let kernel = Attention {
            q: &q,
            k_cache: &cache,
            v_cache: &cache,
            block_table: &table.view(),
            query_start: &starts.view(),
            context_len: &context.view(),
            sinks: None,
            scale: 1.0,
            window: None,
            soft_cap: None,
            y: &y.view(),
        };
        launch(&mut Pool::new(1), Isa::detect(), &kernel)
    };
    let value = |result: Result<(), KernelError>| match result {
        Err(KernelError::Index { value, .. }) => Some(value),
        _ => None,
    };
    assert_eq!(attend([0.0, 2.0], [0.0, 2.0], 4.0), Ok(()));
    assert_eq!(value(attend([0.0, 3.0], [0.0, 2.0], 4.0)), Some("block_table"));
    assert_eq!(value(attend([-1.0, 0.0], [0.0, 2.0], 4.0)), Some("block_table"));
    assert_eq!(value(attend([0.0, 1.0], [0.0, 3.0], 4.0)), Some("query_start"));
    assert_eq!(value(attend([0.0, 1.0], [2.0, 0.0], 4.0)), Some("query_start"));
    assert_eq!(value(attend([0.0, 1.0], [0.0, 2.0], 5.0)), Some("context_len"));
    assert_eq!(value(attend([0.0, 1.0], [0.0, 2.0], 1.0)), Some("context_len"));
    assert_eq!(value(attend([0.0, 1.0], [0.0, 2.0], -7.0)), Some("context_len"));
}
