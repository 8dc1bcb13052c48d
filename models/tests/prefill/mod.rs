//! Steps run by the reference interpreter, for whoever has a module and its weights.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use half::{bf16, f16};
use mscc_checkpoint::MappedCheckpoint;
use mscc_ir::graph::{Leaf, Sink};
use mscc_ir::module::CacheGroup;
use mscc_ir::reference::{Rounding, Tensor, interpret};
use mscc_ir::{DType, Graph, Module, Symbol, step};
use mscc_models::hf::dtype_from_checkpoint;

/// A sequence as a step sees it.
#[derive(Clone)]
struct Sequence {
    /// Its tokens, the new ones last.
    token_ids: Vec<i64>,
    /// How many of them are cached.
    cached: usize,
}

/// A prefill of one sequence, or steps of several, their pages out of order.
pub struct Prefill<'a> {
    module: &'a Module,
    weights: &'a MappedCheckpoint,
    sequences: Vec<Sequence>,
    block_size: u32,
    /// Of each sequence.
    pages: usize,
    state: HashMap<String, Tensor>,
    caches: HashMap<(String, u32), Tensor>,
    /// Values read out on the way.
    pub taps: HashMap<String, Tensor>,
    /// What comes out.
    pub outputs: HashMap<String, Tensor>,
}

impl<'a> Prefill<'a> {
    /// Of these tokens, in pages of `block_size`.
    pub fn new(
        module: &'a Module,
        weights: &'a MappedCheckpoint,
        token_ids: Vec<i64>,
        block_size: u32,
    ) -> Self {
        let longest = token_ids.len();
        let mut prefill = Prefill::of_at_most(module, weights, longest, block_size);
        prefill.sequences = vec![Sequence { token_ids, cached: 0 }];
        prefill
    }

    /// Of no sequence yet; none will have more than `longest` tokens.
    #[allow(dead_code)] // some tests run no steps
    pub fn of_at_most(
        module: &'a Module,
        weights: &'a MappedCheckpoint,
        longest: usize,
        block_size: u32,
    ) -> Self {
        let pages = longest.div_ceil(block_size as usize).next_power_of_two();
        let (state, caches) = (HashMap::new(), HashMap::new());
        let (taps, outputs) = (HashMap::new(), HashMap::new());
        let sequences = Vec::new();
        Prefill { module, weights, sequences, block_size, pages, state, caches, taps, outputs }
    }

    /// A step of all sequences with these tokens and how many of each are cached, by the steps before.
    #[allow(dead_code)] // some tests run no steps
    pub fn step(&mut self, sequences: &[(&[i64], usize)]) {
        let sequence = |(token_ids, cached): &(&[i64], usize)| Sequence {
            token_ids: token_ids.to_vec(),
            cached: *cached,
        };
        self.sequences = sequences.iter().map(sequence).collect();
        self.run();
    }

    /// Runs all layers.
    pub fn run(&mut self) {
        for call in self.module.program.clone() {
            for layer in call.layers {
                self.call(&self.module.functions[call.function], layer);
            }
        }
    }

    fn call(&mut self, function: &Graph, layer: u32) {
        let mut leaves = HashMap::new();
        for (value, leaf) in function.leaves() {
            let tensor = match leaf {
                Leaf::Input(name) => self.input(name),
                Leaf::State(name) => self.state[name].clone(),
                Leaf::Weight(name) => {
                    let members =
                        if name.is_stacked() { function.ty(value).shape[0].as_const().unwrap() } else { 1 };
                    let names = (0..members as u32).map(|e| name.member(e).render(i64::from(layer)));
                    let tensors: Vec<Tensor> = names.map(|name| load(self.weights, &name)).collect();
                    if name.is_stacked() { stack(&tensors) } else { tensors[0].clone() }
                }
                Leaf::Cache(cache) => {
                    let group = self.module.cache(&cache.group).unwrap();
                    assert!(group.ordinal(layer).is_some());
                    let kept = self.caches.get(&(cache.tensor.clone(), layer));
                    kept.cloned().unwrap_or_else(|| self.empty_cache(group, &cache.tensor))
                }
            };
            leaves.insert(function.value_name(value).to_owned(), tensor);
        }
        let context: usize = self.sequences.iter().map(|sequence| sequence.token_ids.len()).sum();
        let cached: usize = self.sequences.iter().map(|sequence| sequence.cached).sum();
        let (context, tokens) = (context as i64, (context - cached) as i64);
        let (count, pages) = (self.sequences.len() as i64, self.pages as i64);
        let sizes = |symbol: &Symbol| match symbol.name() {
            step::TOKENS | step::LOGITS => Some(tokens),
            step::SEQUENCES => Some(count),
            step::CONTEXT => Some(context),
            step::TABLE_WIDTH => Some(pages),
            name if name.starts_with("P_") => Some(count * pages),
            _ => None,
        };
        let values = interpret(function, &sizes, &leaves, Rounding::Exact).unwrap();
        for (sink, value) in function.sinks() {
            let tensor = values[value].clone();
            match sink {
                Sink::State(name) => drop(self.state.insert(name.clone(), tensor)),
                Sink::Cache(cache) => drop(self.caches.insert((cache.tensor.clone(), layer), tensor)),
                Sink::Output(name) => drop(self.outputs.insert(name.clone(), tensor)),
                Sink::Tap(name) => drop(self.taps.insert(name.render(i64::from(layer)), tensor)),
            }
        }
    }

    fn input(&self, name: &str) -> Tensor {
        let (count, block) = (self.sequences.len(), self.block_size as usize);
        // Pages are used from the last to the first.
        let page = |sequence: usize, index: usize| count * self.pages - 1 - (sequence * self.pages + index);
        let ints = |data: Vec<usize>| {
            Tensor::int(DType::I32, &[data.len()], data.into_iter().map(|value| value as i64).collect())
        };
        // Of each new token, its sequence and its position there.
        let places = self.sequences.iter().enumerate().flat_map(|(index, sequence)| {
            (sequence.cached..sequence.token_ids.len()).map(move |position| (index, position))
        });
        let tokens: Vec<(usize, usize)> = places.collect();
        let of_tokens = |value: &dyn Fn(usize, usize) -> usize| {
            ints(tokens.iter().map(|(sequence, position)| value(*sequence, *position)).collect())
        };
        match name.split('.').next().unwrap() {
            "token_ids" => {
                of_tokens(&|sequence, position| self.sequences[sequence].token_ids[position] as usize)
            }
            "positions" => of_tokens(&|_, position| position),
            "logit_index" => ints((0..tokens.len()).collect()),
            "token_sequence" => of_tokens(&|sequence, _| sequence),
            "token_context" => of_tokens(&|_, position| position + 1),
            "token_start" => ints((0..=tokens.len()).collect()),
            "query_start" => {
                let before = |index| tokens.iter().filter(|(sequence, _)| *sequence < index).count();
                ints((0..=count).map(before).collect())
            }
            "context_len" => ints(self.sequences.iter().map(|sequence| sequence.token_ids.len()).collect()),
            "block_table" => {
                let pages =
                    (0..count).flat_map(|sequence| (0..self.pages).map(move |index| page(sequence, index)));
                Tensor { shape: vec![count, self.pages], ..ints(pages.collect()) }
            }
            "slot_mapping" => {
                of_tokens(&|sequence, position| page(sequence, position / block) * block + position % block)
            }
            _ => panic!("no input `{name}`"),
        }
    }

    fn empty_cache(&self, group: &CacheGroup, tensor: &str) -> Tensor {
        let tensor = group.tensor(tensor).unwrap();
        let mut shape = vec![self.sequences.len() * self.pages, group.block_size as usize];
        shape.extend(tensor.row.iter().map(|size| *size as usize));
        Tensor::float(tensor.dtype, &shape, vec![0.0; shape.iter().product()])
    }
}

fn stack(tensors: &[Tensor]) -> Tensor {
    let shape: Vec<usize> = std::iter::once(tensors.len()).chain(tensors[0].shape.iter().copied()).collect();
    let data = tensors.iter().flat_map(|tensor| tensor.floats().iter().copied()).collect();
    Tensor::float(tensors[0].dtype, &shape, data)
}

#[allow(dead_code)] // some tests read nothing else
pub fn load(weights: &MappedCheckpoint, name: &str) -> Tensor {
    let info = weights.checkpoint().tensor(name).unwrap_or_else(|| panic!("no tensor `{name}`"));
    let (bytes, dtype) = (weights.data(info).unwrap(), dtype_from_checkpoint(&info.dtype).unwrap());
    let data = match dtype {
        DType::F64 => numbers(bytes, f64::from_le_bytes),
        DType::F32 => numbers(bytes, |b: [u8; 4]| f64::from(f32::from_le_bytes(b))),
        DType::F16 => numbers(bytes, |b: [u8; 2]| f16::from_le_bytes(b).to_f64()),
        DType::BF16 => numbers(bytes, |b: [u8; 2]| bf16::from_le_bytes(b).to_f64()),
        other => panic!("`{name}` is {other}"),
    };
    let shape: Vec<usize> = info.shape.iter().map(|size| *size as usize).collect();
    Tensor::float(dtype, &shape, data)
}

fn numbers<const N: usize>(bytes: &[u8], decode: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    bytes.chunks_exact(N).map(|chunk| decode(chunk.try_into().unwrap())).collect()
}

pub fn assert_close(found: &Tensor, expected: &Tensor, scale: f64, what: &str) {
    assert_eq!(found.shape, expected.shape, "{what}");
    let differences = found.floats().iter().zip(expected.floats()).map(|(a, b)| (a - b).abs());
    let worst = differences.fold(0.0, f64::max);
    assert!(worst <= 1e-4 * scale, "{what}: {worst} of {scale}");
}

pub fn greatest(tensor: &Tensor) -> f64 {
    tensor.floats().iter().fold(0.0, |greatest: f64, value| greatest.max(value.abs()))
}
