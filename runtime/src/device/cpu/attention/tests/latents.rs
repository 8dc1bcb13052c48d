//! Both forms of attention over latents.

use std::ops::Range;

use super::*;

/// Which form, and so where keys lie.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    /// Keys are the latents, in pages of so many tokens.
    Latent { block: usize },
    /// Keys and values of each head, packed.
    Ragged,
}

/// Sequences with their whole contexts.
struct Scene {
    heads: usize,
    /// Of the first part of keys, of the second, and of values.
    widths: [usize; 3],
    /// Whether keys are one for all heads and values as well.
    is_latent: bool,
    /// Per sequence: both parts of queries, both parts of keys, values, of all positions.
    sequences: Vec<[Vec<f64>; 5]>,
    lengths: Vec<usize>,
}

impl Scene {
    fn latent(random: &mut Random, heads: usize, [width, rope]: [usize; 2], lengths: &[usize]) -> Scene {
        Scene::new(random, heads, [width, rope, width], lengths, true)
    }

    fn ragged(random: &mut Random, heads: usize, widths: [usize; 3], lengths: &[usize]) -> Scene {
        Scene::new(random, heads, widths, lengths, false)
    }

    fn new(
        random: &mut Random,
        heads: usize,
        widths: [usize; 3],
        lengths: &[usize],
        is_latent: bool,
    ) -> Scene {
        let [width, rope, v_width] = widths;
        let key_heads = if is_latent { 1 } else { heads };
        let sequence = |len: &usize| {
            let rows = [heads * width, heads * rope, key_heads * width, rope, key_heads * v_width];
            rows.map(|row| (0..len * row).map(|_| random.float()).collect())
        };
        let sequences = lengths.iter().map(sequence).collect();
        Scene { heads, widths, is_latent, sequences, lengths: lengths.to_vec() }
    }

    fn scale(&self) -> f64 {
        3.0 / ((self.widths[0] + self.widths[1]) as f64).sqrt()
    }

    /// The definition, in f64, of one sequence.
    fn reference(&self, sequence: usize, dtype: DType) -> Vec<f64> {
        let [q, q_rope, k, k_rope, v] = self.sequences[sequence]
            .each_ref()
            .map(|values| Tensor::zeros(dtype, &[values.len()]).of(values).get());
        let ([width, rope, v_width], heads) = (self.widths, self.heads);
        let key_row = |j: usize, head: usize| if self.is_latent { j } else { j * heads + head };
        let v = if self.is_latent { &k } else { &v };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut y = Vec::new();
        for i in 0..self.lengths[sequence] {
            for head in 0..heads {
                let row = i * heads + head;
                let scores: Vec<f64> = (0..=i)
                    .map(|j| {
                        let nope = dot(&q[row * width..][..width], &k[key_row(j, head) * width..][..width]);
                        let part = dot(&q_rope[row * rope..][..rope], &k_rope[j * rope..][..rope]);
                        (nope + part) * self.scale()
                    })
                    .collect();
                let max = scores.iter().copied().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for c in 0..v_width {
                    let value = |j: usize| v[key_row(j, head) * v_width + c];
                    y.push(weights.iter().enumerate().map(|(j, w)| w / sum * value(j)).sum());
                }
            }
        }
        y
    }

    /// One step: of each sequence the queries `new`, after the keys before them. Memory that nothing may read is NaN.
    fn step(
        &self,
        form: Form,
        (isa, threads): (Isa, usize),
        (dtype, key_dtype): (DType, DType),
        parts: &[(usize, Range<usize>)],
    ) -> Vec<Vec<f64>> {
        let ([width, rope, v_width], heads) = (self.widths, self.heads);
        let tokens: usize = parts.iter().map(|(_, new)| new.len()).sum();
        let joined = |which: usize, row: usize, from_start: bool| -> Vec<f64> {
            let of = |(sequence, new): &(usize, Range<usize>)| {
                let start = if from_start { 0 } else { new.start };
                self.sequences[*sequence][which][start * row..new.end * row].to_vec()
            };
            parts.iter().flat_map(of).collect()
        };
        // Parts of one projection of queries, the heads of one token not side by side.
        let strides = [(width + rope) * heads + 5, width + rope, 1];
        let q = Tensor::with_strides(dtype, &[tokens, heads, width], &strides).of(&joined(
            0,
            heads * width,
            false,
        ));
        let q_rope =
            Tensor::with_strides(dtype, &[tokens, heads, rope], &strides).of(&joined(1, heads * rope, false));
        let mut starts = vec![0.0];
        parts.iter().for_each(|(_, new)| starts.push(starts[starts.len() - 1] + new.len() as f64));
        let contexts: Vec<f64> = parts.iter().map(|(_, new)| new.end as f64).collect();
        let query_start = Tensor::zeros(DType::I32, &[parts.len() + 1]).of(&starts);
        let context_len = Tensor::zeros(DType::I32, &[parts.len()]).of(&contexts);
        let y = Tensor::gapped(dtype, &[tokens, heads, v_width]);
        let (keys, key_parts) =
            (joined(2, if self.is_latent { width } else { heads * width }, true), joined(3, rope, true));
        let scale = self.scale() as f32;
        match form {
            Form::Ragged => {
                let rows = key_parts.len() / rope + 2;
                let padded = |mut values: Vec<f64>, row: usize| {
                    values.resize(rows * row, f64::NAN);
                    values
                };
                // Keys and values are parts of one projection.
                let strides = [(width + v_width) * heads, width + v_width, 1];
                let k = Tensor::with_strides(key_dtype, &[rows, heads, width], &strides)
                    .of(&padded(keys, heads * width));
                let v = Tensor::with_strides(key_dtype, &[rows, heads, v_width], &strides)
                    .of(&padded(joined(4, heads * v_width, true), heads * v_width));
                let k_rope = Tensor::gapped(key_dtype, &[rows, rope]).of(&padded(key_parts, rope));
                run(
                    isa,
                    threads,
                    &RaggedAttention {
                        q: &q.view(),
                        q_rope: &q_rope.view(),
                        k: &k.view(),
                        k_rope: &k_rope.view(),
                        v: &v.view(),
                        query_start: &query_start.view(),
                        context_len: &context_len.view(),
                        scale,
                        y: &y.view(),
                    },
                );
            }
            Form::Latent { block } => {
                let pages_of = |len: usize| len.div_ceil(block);
                let most = parts.iter().map(|(_, new)| pages_of(new.end)).max().unwrap_or(0) + 1;
                let pages = parts.iter().map(|(_, new)| pages_of(new.end)).sum::<usize>() + 2;
                let mut table = vec![-1.0; parts.len() * most];
                let mut caches = [width, rope].map(|width| vec![f64::NAN; pages * block * width]);
                let (mut next, mut from) = (pages, 0);
                for (row, (_, new)) in parts.iter().enumerate() {
                    for position in 0..new.end {
                        if position % block == 0 {
                            next -= 1;
                            table[row * most + position / block] = next as f64;
                        }
                        let to = next * block + position % block;
                        for (cache, (values, width)) in
                            caches.iter_mut().zip([(&keys, width), (&key_parts, rope)])
                        {
                            cache[to * width..][..width].copy_from_slice(&values[from * width..][..width]);
                        }
                        from += 1;
                    }
                }
                let [latent, rotated] = caches;
                let latent = Tensor::zeros(key_dtype, &[pages, block, width]).of(&latent);
                let rotated = Tensor::zeros(key_dtype, &[pages, block, rope]).of(&rotated);
                let block_table = Tensor::zeros(DType::I32, &[parts.len(), most]).of(&table);
                run(
                    isa,
                    threads,
                    &LatentAttention {
                        q: &q.view(),
                        q_rope: &q_rope.view(),
                        latent_cache: &latent.view(),
                        rope_cache: &rotated.view(),
                        block_table: &block_table.view(),
                        query_start: &query_start.view(),
                        context_len: &context_len.view(),
                        scale,
                        y: &y.view(),
                    },
                );
            }
        }
        let row = heads * v_width;
        let cut = |pair: &[f64]| y.get()[pair[0] as usize * row..pair[1] as usize * row].to_vec();
        starts.windows(2).map(cut).collect()
    }

    fn forms(&self) -> Vec<Form> {
        if self.is_latent {
            [1, 3, 16, 128].map(|block| Form::Latent { block }).to_vec()
        } else {
            vec![Form::Ragged]
        }
    }
}

#[test]
fn both_forms_match_the_definition() {
    let mut random = Random::new(41);
    let lengths = [70, 1, 133];
    let scenes = [
        Scene::latent(&mut random, 16, [512, 64], &lengths),
        Scene::latent(&mut random, 5, [24, 6], &lengths),
        Scene::latent(&mut random, 67, [3, 2], &lengths),
        Scene::latent(&mut random, 1, [33, 16], &lengths),
        Scene::ragged(&mut random, 4, [128, 64, 128], &lengths),
        Scene::ragged(&mut random, 3, [5, 2, 9], &lengths),
        Scene::ragged(&mut random, 1, [24, 8, 16], &lengths),
    ];
    for scene in scenes {
        let form = scene.forms().pop().unwrap();
        for (dtype, keys) in FLOATS.into_iter().flat_map(|d| [(d, d), (DType::F32, d), (d, DType::F32)]) {
            let coarser = if dtype == DType::F32 { keys } else { dtype };
            let wants = [0, 1, 2].map(|sequence| scene.reference(sequence, coarser));
            let slack = if dtype == keys { 3e-6 } else { 3e-2 };
            for isa in levels() {
                let got = scene.step(form, (isa, 2), (dtype, keys), &[(0, 0..70), (1, 0..1), (2, 0..133)]);
                for (got, want) in got.iter().flatten().zip(wants.iter().flatten()) {
                    let rounding = match dtype {
                        DType::F32 => 0.0,
                        DType::F16 => 1.0 / 2048.0,
                        _ => 1.0 / 256.0,
                    };
                    let limit = want.abs() * rounding + slack;
                    assert!((got - want).abs() <= limit, "{got} {want} {form:?} {}", isa.name());
                }
            }
        }
    }
}

#[test]
fn bits_depend_on_the_position_alone() {
    let mut random = Random::new(43);
    let lengths = [1100, 9, 67, 1];
    let scenes = [
        Scene::latent(&mut random, 20, [16, 6], &lengths),
        Scene::latent(&mut random, 3, [36, 8], &lengths),
        Scene::ragged(&mut random, 3, [24, 6, 17], &lengths),
    ];
    for scene in scenes {
        let row = scene.heads * scene.widths[2];
        for dtype in [DType::F32, DType::BF16] {
            for isa in levels() {
                let forms = scene.forms();
                let alone = scene.step(forms[0], (isa, 1), (dtype, dtype), &[(0, 0..1100)]).remove(0);
                for form in forms {
                    let what = format!("{} {form:?}", isa.name());
                    for threads in [1, 3, 9] {
                        for new in [0..1, 63..65, 100..163, 1023..1024, 1024..1025, 1000..1100] {
                            let expected = &alone[new.start * row..new.end * row];
                            let by = (isa, threads);
                            let got = scene.step(form, by, (dtype, dtype), &[(0, new.clone())]).remove(0);
                            assert_eq!(got, expected, "{what} {threads} threads, {new:?}");
                            let all = [(3, 0..1), (1, 8..9), (0, new.clone()), (2, 3..67)];
                            let got = scene.step(form, by, (dtype, dtype), &all).remove(2);
                            assert_eq!(got, expected, "{what} {threads} threads, {new:?} in company");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn hostile_contexts_of_packed_keys_are_errors() {
    let q = Tensor::zeros(DType::F32, &[3, 1, 4]);
    let keys = Tensor::zeros(DType::F32, &[5, 1, 4]);
    let rope = Tensor::zeros(DType::F32, &[5, 4]);
    let (q, keys, rope) = (q.view(), keys.view(), rope.view());
    let attend = |starts: [f64; 3], contexts: [f64; 2]| {
        let y = Tensor::zeros(DType::F32, &[3, 1, 4]).of(&[7.0; 12]);
        let starts = Tensor::zeros(DType::I32, &[3]).of(&starts);
        let contexts = Tensor::zeros(DType::I32, &[2]).of(&contexts);
        let kernel = RaggedAttention {
            q: &q,
            q_rope: &q,
            k: &keys,
            k_rope: &rope,
            v: &keys,
            query_start: &starts.view(),
            context_len: &contexts.view(),
            scale: 1.0,
            y: &y.view(),
        };
        let value = match launch(&mut Pool::new(1), Isa::detect(), &kernel) {
            Ok(()) => None,
            Err(KernelError::Index { value, .. }) => Some(value),
            Err(error) => panic!("{error}"),
        };
        (value, y.get())
    };
    assert_eq!(attend([0.0, 1.0, 3.0], [2.0, 3.0]), (None, vec![0.0; 12]));
    // Queries before the first key see nothing.
    assert_eq!(attend([0.0, 1.0, 3.0], [0.0, 1.0]), (None, vec![0.0; 12]));
    assert_eq!(attend([0.0, 1.0, 3.0], [3.0, 3.0]).0, Some("context_len"));
    assert_eq!(attend([0.0, 1.0, 3.0], [-1.0, 3.0]).0, Some("context_len"));
    assert_eq!(attend([0.0, 1.0, 4.0], [2.0, 3.0]).0, Some("query_start"));
    assert_eq!(attend([0.0, 2.0, 1.0], [2.0, 3.0]).0, Some("query_start"));
}
