//! A tiny model, its plan written by hand, and the same model on the reference interpreter.
#![allow(clippy::single_range_in_vec_init, reason = "cache groups list ranges of layers")]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use mscc_checkpoint::{Checkpoint, DType as FileType, HeaderBuilder};
use mscc_ir::attr::Float;
use mscc_ir::graph::CacheRef;
use mscc_ir::module::{CacheGroup, CacheKind, CacheTensor};
use mscc_ir::ops::{self, Op};
use mscc_ir::plan::{
    Condition, Function, InputDecl, Launch, Mesh, Meta, Operand, OutputDecl, Place, Plan, PlanLimits,
    Program, Recipe, Residence, Tap, TextAssets, Variant, WeightFile, WeightParam, Weights,
};
use mscc_ir::reference::{Rounding, Tensor, interpret};
use mscc_ir::step::{self, Limits};
use mscc_ir::view::ViewLayout;
use mscc_ir::{DType, Dim, Graph, Leaf, Sink, Symbol, SymbolInfo, Template, TensorType, Value};
use mscc_runtime::step::batch::{GroupTables, StepBatch};

pub const VOCAB: usize = 11;
pub const LAYERS: u32 = 2;
pub const BLOCK: u32 = 4;
const HIDDEN: usize = 8;
const SCALE: f64 = 0.35;
const EPS: f64 = 1e-5;

/// Values of the checkpoint's tensors; all f32 but `head`, which is bf16.
pub fn checkpoint_tensors() -> BTreeMap<String, (Vec<usize>, Vec<f64>)> {
    let mut tensors = BTreeMap::new();
    let mut state = 1u64;
    let mut add = |name: String, shape: &[usize]| {
        let values = (0..shape.iter().product()).map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // Few bits, so that bf16 holds them.
            ((state >> 56) as f64 - 128.0) / 128.0
        });
        tensors.insert(name, (shape.to_vec(), values.collect()));
    };
    add("embed".into(), &[VOCAB, HIDDEN]);
    for layer in 0..LAYERS {
        add(format!("layers.{layer}.norm"), &[HIDDEN]);
        for name in ["q", "k", "v", "o"] {
            add(format!("layers.{layer}.{name}"), &[HIDDEN, HIDDEN]);
        }
    }
    add("head".into(), &[VOCAB, HIDDEN]);
    tensors
}

fn file_type(name: &str) -> FileType {
    if name == "head" { FileType::BF16 } else { FileType::F32 }
}

/// Writes the checkpoint.
pub fn write_checkpoint(dir: &Path) {
    let tensors = checkpoint_tensors();
    let mut builder = HeaderBuilder::new();
    for (name, (shape, _)) in &tensors {
        let shape: Vec<u64> = shape.iter().map(|size| *size as u64).collect();
        builder.tensor(name, file_type(name), &shape).unwrap();
    }
    let mut bytes = builder.finish().unwrap().bytes;
    for (name, (_, values)) in &tensors {
        for value in values {
            match file_type(name) {
                FileType::BF16 => bytes.extend(half::bf16::from_f64(*value).to_le_bytes()),
                _ => bytes.extend((*value as f32).to_le_bytes()),
            }
        }
    }
    std::fs::write(dir.join("model.safetensors"), bytes).unwrap();
}

fn dim(text: &str) -> Dim {
    text.parse().unwrap()
}

fn dims(text: &[&str]) -> Vec<Dim> {
    text.iter().map(|it| dim(it)).collect()
}

fn template(text: &str) -> Template {
    Template::new(text).unwrap()
}

fn ty(dtype: DType, shape: &[&str]) -> TensorType {
    TensorType::new(dtype, dims(shape))
}

fn weight(graph: &mut Graph, name: &str, dtype: DType, shape: &[&str]) -> Value {
    graph.leaf(Leaf::Weight(template(name)), "w", ty(dtype, shape))
}

fn recipe(name: &str, build: impl FnOnce(&mut Graph) -> Value) -> Recipe {
    let mut body = Graph::new("recipe");
    let value = build(&mut body);
    body.sink(Sink::Output("weight".into()), value);
    Recipe { name: template(name), body, format: Default::default() }
}

fn recipes() -> Vec<Recipe> {
    let layered = |name: &str| format!("layers.{{i}}.{name}");
    vec![
        recipe("embed", |graph| weight(graph, "embed", DType::F32, &["11", "8"])),
        recipe("layers.{i}.norm", |graph| weight(graph, "layers.{i}.norm", DType::F32, &["8"])),
        recipe("layers.{i}.qkv", |graph| {
            let parts = ["q", "k", "v"].map(|name| weight(graph, &layered(name), DType::F32, &["8", "8"]));
            graph.op1(ops::Concat { axis: 0 }, &parts, "qkv").unwrap()
        }),
        recipe("layers.{i}.o", |graph| {
            let o = weight(graph, "layers.{i}.o", DType::F32, &["8", "8"]);
            graph.op1(ops::Transpose { permutation: vec![1, 0] }, &[o], "o").unwrap()
        }),
        recipe("head", |graph| {
            let head = weight(graph, "head", DType::BF16, &["11", "8"]);
            graph.op1(ops::Cast { dtype: DType::F32 }, &[head], "head").unwrap()
        }),
    ]
}

/// Bytes of `rows` rows of f32, rounded up to whole lines.
fn lines(rows: &str, width: usize) -> Dim {
    (dim(rows) * Dim::from(width * 4)).round_up(64)
}

fn operand(place: Place, base_bytes: Dim, dtype: DType, shape: &[&str]) -> Operand {
    Operand { place, dtype, base_bytes, layout: ViewLayout::contiguous(&dims(shape)) }
}

fn launch(kernel: &str, op: impl Into<Op>, operands: &[&Operand], results: &[&Operand]) -> Launch {
    let all = |list: &[&Operand]| list.iter().map(|it| (*it).clone()).collect();
    let op = op.into();
    Launch {
        kernel: kernel.into(),
        op,
        operands: all(operands),
        results: all(results),
        name: kernel.into(),
        origins: vec![],
    }
}

fn matmul(trans_b: bool) -> ops::Matmul {
    ops::Matmul { trans_b, dtype: None }
}

fn attention() -> ops::Attention {
    ops::Attention { scale: Float(SCALE), window: None, soft_cap: None }
}

const INPUTS: [&str; 7] = [
    "token_ids",
    "positions",
    "query_start",
    "context_len",
    "logit_index",
    "block_table.kv",
    "slot_mapping.kv",
];

fn input(name: &str) -> Operand {
    let index = INPUTS.iter().position(|other| *other == name).unwrap();
    let ty = step::input_type(name).unwrap();
    let layout = ViewLayout::contiguous(&ty.shape);
    Operand { place: Place::Input(index as u32), dtype: ty.dtype, base_bytes: Dim::ZERO, layout }
}

fn functions() -> (Vec<Function>, Dim) {
    let f32 = |place, base: &Dim, shape: &[&str]| operand(place, base.clone(), DType::F32, shape);
    let x_base = Dim::ZERO;
    let y_base = lines("T", HIDDEN);
    let qkv_base = y_base.clone() + lines("T", HIDDEN);
    let end = qkv_base.clone() + lines("T", 3 * HIDDEN);
    let x = f32(Place::Arena, &x_base, &["T", "8"]);
    let y = f32(Place::Arena, &y_base, &["T", "8"]);
    let y_heads = f32(Place::Arena, &y_base, &["T", "2", "4"]);
    let qkv = f32(Place::Arena, &qkv_base, &["T", "24"]);
    let part = |index: i64| {
        let part = qkv.layout.slice(1, &Dim::constant(8 * index), &Dim::constant(8));
        Operand { layout: part.reshape(&dims(&["T", "2", "4"])).unwrap(), ..qkv.clone() }
    };
    let cache = |index| f32(Place::Cache(index), &Dim::ZERO, &["P_kv", "4", "2", "4"]);
    let w = |index, shape: &[&str]| f32(Place::Weight(index), &Dim::ZERO, shape);
    let slots = input("slot_mapping.kv");
    let (k, v) = (cache(0), cache(1));
    let embed = Function {
        name: "embed".into(),
        launches: vec![launch("gather", ops::Gather, &[&w(0, &["11", "8"]), &input("token_ids")], &[&x])],
        weights: vec![WeightParam { recipe: 0, layer_offset: 0 }],
        caches: vec![],
        taps: vec![Tap { name: template("embed.output"), after: 0, value: x.clone() }],
        listing: None,
    };
    let cache_ref = |tensor: &str| CacheRef { group: "kv".into(), tensor: tensor.into() };
    let norm = ops::RmsNorm { eps: Float(EPS), dtype: None };
    let layer = Function {
        name: "layer".into(),
        launches: vec![
            launch("rms_norm", norm, &[&x, &w(0, &["8"])], &[&y]),
            launch("matmul", matmul(true), &[&y, &w(1, &["24", "8"])], &[&qkv]),
            launch("cache_write", ops::CacheWrite, &[&k, &part(1), &slots], &[&k]),
            launch("cache_write", ops::CacheWrite, &[&v, &part(2), &slots], &[&v]),
            launch(
                "attention",
                attention(),
                &[&part(0), &k, &v, &input("block_table.kv"), &input("query_start"), &input("context_len")],
                &[&y_heads],
            ),
            launch("matmul", matmul(false), &[&y, &w(2, &["8", "8"])], &[&x]),
        ],
        weights: (1..4).map(|recipe| WeightParam { recipe, layer_offset: 0 }).collect(),
        caches: vec![cache_ref("k"), cache_ref("v")],
        taps: vec![
            Tap { name: template("layers.{i}.key"), after: 1, value: part(1) },
            Tap { name: template("layers.{i}.output"), after: 5, value: x.clone() },
        ],
        listing: None,
    };
    let rows = f32(Place::Arena, &y_base, &["L", "8"]);
    let logits = f32(Place::Output(0), &Dim::ZERO, &["L", "11"]);
    let head = Function {
        name: "head".into(),
        launches: vec![
            launch("gather", ops::Gather, &[&x, &input("logit_index")], &[&rows]),
            launch("matmul", matmul(true), &[&rows, &w(0, &["11", "8"])], &[&logits]),
        ],
        weights: vec![WeightParam { recipe: 4, layer_offset: 0 }],
        caches: vec![],
        taps: vec![],
        listing: None,
    };
    (vec![embed, layer, head], end)
}

/// The plan of the tiny model; its checkpoint lies in `dir`.
pub fn plan(dir: &Path) -> Plan {
    let limits = PlanLimits {
        max_model_len: 64,
        max_num_seqs: 4,
        max_num_batched_tokens: 32,
        vocab_size: VOCAB as u32,
    };
    let table = step::symbols(&Limits {
        max_model_len: limits.max_model_len,
        max_num_seqs: limits.max_num_seqs,
        max_num_batched_tokens: limits.max_num_batched_tokens,
        block_size: BLOCK,
    });
    let mut symbols: Vec<_> = table.iter().map(|(symbol, info)| (symbol.name().to_owned(), *info)).collect();
    symbols.push(("P_kv".into(), SymbolInfo { min: 0, max: 1 << 16, likely: 64 }));
    symbols.sort_by(|a, b| a.0.cmp(&b.0));
    let (functions, arena_bytes) = functions();
    let variant = |name: &str, guard: Vec<Condition>| Variant {
        name: name.into(),
        guard,
        functions: functions.clone(),
        calls: vec![(0, 0..1), (1, 0..LAYERS), (2, 0..1)],
        arena_bytes: arena_bytes.clone(),
    };
    let file = Checkpoint::open(dir).unwrap().files()[0].clone();
    let kv = |name: &str| CacheTensor { name: name.into(), dtype: DType::F32, row: vec![2, 4] };
    Plan {
        meta: Meta {
            model: "tiny".into(),
            family: "tiny".into(),
            producer: "test".into(),
            target: "cpu".into(),
            compute_dtype: DType::F32,
            mesh: Mesh { size: 1, rank: 0 },
            limits,
            warnings: vec![],
            rewrites: vec![],
        },
        symbols,
        inputs: INPUTS
            .iter()
            .map(|name| {
                let TensorType { dtype, shape } = step::input_type(name).unwrap();
                InputDecl { name: (*name).into(), dtype, shape, residence: Residence::HostAndDevice }
            })
            .collect(),
        outputs: vec![OutputDecl { name: "logits".into(), dtype: DType::F32, shape: dims(&["L", "11"]) }],
        caches: vec![CacheGroup {
            name: "kv".into(),
            kind: CacheKind::Full,
            block_size: BLOCK,
            tensors: vec![kv("k"), kv("v")],
            layers: vec![0..LAYERS],
        }],
        weights: Weights {
            dir: dir.to_str().unwrap().into(),
            files: vec![WeightFile { name: file.name, len: file.len, header_hash: file.header_hash }],
            recipes: recipes(),
        },
        programs: vec![Program {
            name: "main".into(),
            variants: vec![
                variant("decode", vec![Condition::Eq(dim("Td"), dim("T"))]),
                variant("mixed", vec![]),
            ],
        }],
        text: TextAssets::default(),
    }
}

/// A sequence's part in a step: tokens that are there already, and new ones.
pub struct Part<'a> {
    /// Its pages.
    pub pages: &'a [i32],
    /// Tokens in the cache.
    pub past: usize,
    /// New tokens.
    pub tokens: &'a [i32],
}

/// A batch of the given sequences with logits for all their tokens.
pub fn batch(parts: &[Part<'_>], table_width: usize) -> StepBatch {
    let mut batch = StepBatch { query_start: vec![0], table_width, ..StepBatch::default() };
    let mut tables = GroupTables::default();
    for part in parts {
        for (index, token) in part.tokens.iter().enumerate() {
            let position = part.past + index;
            batch.token_ids.push(*token);
            batch.positions.push(position as i32);
            let page = part.pages[position / BLOCK as usize];
            tables.slot_mapping.push(page * BLOCK as i32 + (position % BLOCK as usize) as i32);
        }
        batch.query_start.push(batch.token_ids.len() as i32);
        batch.context_len.push((part.past + part.tokens.len()) as i32);
        let row = part.pages.iter().copied().chain(std::iter::repeat(0));
        tables.block_table.extend(row.take(table_width));
    }
    batch.logit_index = (0..batch.token_ids.len() as i32).collect();
    batch.groups = vec![tables];
    batch
}

/// The model by the reference interpreter, with caches that stay between steps.
pub struct Reference {
    graph: Graph,
    leaves: HashMap<String, Tensor>,
    pages: i64,
}

impl Reference {
    pub fn new(pages: i64) -> Reference {
        let mut graph = Graph::new("tiny");
        let f32 = |shape: &[&str]| ty(DType::F32, shape);
        let mut leaves = HashMap::new();
        let mut inputs = HashMap::new();
        for name in INPUTS {
            let leaf = graph.leaf(Leaf::Input(name.into()), name, step::input_type(name).unwrap());
            inputs.insert(name, leaf);
        }
        let mut weights = HashMap::new();
        for (name, (shape, values)) in checkpoint_tensors() {
            let sizes: Vec<Dim> = shape.iter().map(|size| Dim::from(*size)).collect();
            let leaf = Leaf::Weight(template(&name));
            weights.insert(name.clone(), graph.leaf(leaf, &name, TensorType::new(DType::F32, sizes)));
            leaves.insert(name, Tensor::float(DType::F32, &shape, values));
        }
        let mut x = graph.op1(ops::Gather, &[weights["embed"], inputs["token_ids"]], "x").unwrap();
        let heads = ops::Reshape { shape: dims(&["T", "2", "4"]) };
        let flat = ops::Reshape { shape: dims(&["T", "8"]) };
        for layer in 0..LAYERS {
            let w = |name: &str| weights[&format!("layers.{layer}.{name}")];
            let normed =
                graph.op1(ops::RmsNorm { eps: Float(EPS), dtype: None }, &[x, w("norm")], "normed").unwrap();
            let mut project = |name: &str| {
                let y = graph.op1(matmul(true), &[normed, w(name)], &format!("p{name}")).unwrap();
                graph.op1(heads.clone(), &[y], &format!("p{name}")).unwrap()
            };
            let (q, k, v) = (project("q"), project("k"), project("v"));
            let mut written = Vec::new();
            for (tensor, rows) in [("k", k), ("v", v)] {
                let name = format!("cache.{layer}.{tensor}");
                let reference = CacheRef { group: "kv".into(), tensor: tensor.into() };
                let cache = graph.leaf(Leaf::Cache(reference), &name, f32(&["P_kv", "4", "2", "4"]));
                leaves.insert(
                    name.clone(),
                    Tensor::float(DType::F32, &[pages as usize, 4, 2, 4], vec![0.0; pages as usize * 32]),
                );
                let out = graph.op1(
                    ops::CacheWrite,
                    &[cache, rows, inputs["slot_mapping.kv"]],
                    &format!("{name}.new"),
                );
                written.push(out.unwrap());
            }
            let operands = [
                q,
                written[0],
                written[1],
                inputs["block_table.kv"],
                inputs["query_start"],
                inputs["context_len"],
            ];
            let mixed = graph.op1(attention(), &operands, "mixed").unwrap();
            let mixed = graph.op1(flat.clone(), &[mixed], "flat").unwrap();
            x = graph.op1(matmul(true), &[mixed, w("o")], &format!("layers.{layer}.output")).unwrap();
        }
        let rows = graph.op1(ops::Gather, &[x, inputs["logit_index"]], "rows").unwrap();
        graph.op1(matmul(true), &[rows, weights["head"]], "logits").unwrap();
        Reference { graph, leaves, pages }
    }

    /// Runs a step; values by name.
    pub fn step(&mut self, batch: &StepBatch) -> HashMap<String, Vec<f64>> {
        let ints = |values: &[i32], shape: &[usize]| {
            Tensor::int(DType::I32, shape, values.iter().map(|value| i64::from(*value)).collect())
        };
        let (t, b, l) = (batch.token_ids.len(), batch.context_len.len(), batch.logit_index.len());
        let tables = &batch.groups[0];
        for (name, tensor) in [
            ("token_ids", ints(&batch.token_ids, &[t])),
            ("positions", ints(&batch.positions, &[t])),
            ("query_start", ints(&batch.query_start, &[b + 1])),
            ("context_len", ints(&batch.context_len, &[b])),
            ("logit_index", ints(&batch.logit_index, &[l])),
            ("block_table.kv", ints(&tables.block_table, &[b, batch.table_width])),
            ("slot_mapping.kv", ints(&tables.slot_mapping, &[t])),
        ] {
            self.leaves.insert(name.into(), tensor);
        }
        let size = |symbol: &Symbol| match symbol.name() {
            "T" => Some(t as i64),
            "B" => Some(b as i64),
            "L" => Some(l as i64),
            "M" => Some(batch.table_width as i64),
            "P_kv" => Some(self.pages),
            _ => None,
        };
        let values = interpret(&self.graph, &size, &self.leaves, Rounding::Exact).unwrap();
        let mut named = HashMap::new();
        for (value, tensor) in values {
            let name = self.graph.value_name(value).to_owned();
            if let Some(cache) = name.strip_suffix(".new") {
                self.leaves.insert(cache.to_owned(), tensor.clone());
            }
            named.insert(name, tensor.to_f64());
        }
        named
    }
}
