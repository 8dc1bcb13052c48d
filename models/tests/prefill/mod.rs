//! A prefill run by the reference interpreter, for whoever has a module and its weights.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use half::{bf16, f16};
use mscc_checkpoint::MappedCheckpoint;
use mscc_ir::graph::{Leaf, Sink};
use mscc_ir::module::CacheGroup;
use mscc_ir::reference::{Rounding, Tensor, interpret};
use mscc_ir::{DType, Graph, Module, Symbol, step};
use mscc_models::hf::dtype_from_checkpoint;

/// A single prefill of some tokens, its pages out of order.
pub struct Prefill<'a> {
    module: &'a Module,
    weights: &'a MappedCheckpoint,
    token_ids: Vec<i64>,
    block_size: u32,
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
        let pages = token_ids.len().div_ceil(block_size as usize).next_power_of_two();
        let (state, caches) = (HashMap::new(), HashMap::new());
        let (taps, outputs) = (HashMap::new(), HashMap::new());
        Prefill { module, weights, token_ids, block_size, pages, state, caches, taps, outputs }
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
                    self.empty_cache(group, &cache.tensor)
                }
            };
            leaves.insert(function.value_name(value).to_owned(), tensor);
        }
        let tokens = self.token_ids.len() as i64;
        let pages = self.pages as i64;
        let sizes = |symbol: &Symbol| match symbol.name() {
            step::TOKENS | step::LOGITS => Some(tokens),
            step::SEQUENCES => Some(1),
            step::CONTEXT => Some(tokens),
            step::TABLE_WIDTH => Some(pages),
            name if name.starts_with("P_") => Some(pages),
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
        let count = self.token_ids.len() as i64;
        // Pages are used from the last to the first.
        let page = |token: i64| self.pages as i64 - 1 - token / i64::from(self.block_size);
        let ints = |data: Vec<i64>| Tensor::int(DType::I32, &[data.len()], data);
        match name.split('.').next().unwrap() {
            "token_ids" => ints(self.token_ids.clone()),
            "positions" | "logit_index" => ints((0..count).collect()),
            "token_sequence" => ints(vec![0; count as usize]),
            "token_context" => ints((1..=count).collect()),
            "token_start" => ints((0..=count).collect()),
            "query_start" => ints(vec![0, count]),
            "context_len" => ints(vec![count]),
            "block_table" => {
                let table = (0..self.pages as i64).rev().collect();
                Tensor::int(DType::I32, &[1, self.pages], table)
            }
            "slot_mapping" => {
                let block = i64::from(self.block_size);
                ints((0..count).map(|token| page(token) * block + token % block).collect())
            }
            _ => panic!("no input `{name}`"),
        }
    }

    fn empty_cache(&self, group: &CacheGroup, tensor: &str) -> Tensor {
        let tensor = group.tensor(tensor).unwrap();
        let mut shape = vec![self.pages, group.block_size as usize];
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
