//! What the cross-crate tests share: fixtures with the reference's outputs, and models made from them.

pub mod parity;
pub mod stages;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use mscc_compiler::{Compiled, Options, compile};
use mscc_ir::plan::{Plan, container};
use mscc_runtime::engine::{Engine, EngineError, EngineOptions, Request, Scorer};
use mscc_runtime::sample::SamplingParams;
use mscc_runtime::step::batch::TapSink;
use mscc_runtime::{LoadOptions, Model};
use serde::Deserialize;

/// The fixtures that are in the repository.
pub const FIXTURES: [&str; 50] = [
    "cohere2",
    "deepseek_v2",
    "deepseek_v2_greedy",
    "deepseek_v2_groups",
    "deepseek_v3",
    "deepseek_v3_groups",
    "deepseek_v3_half",
    "ernie4_5",
    "ernie4_5_moe",
    "exaone4",
    "gemma2",
    "gemma3_text",
    "glm4",
    "glm4_moe",
    "gpt_oss",
    "granite",
    "internlm3",
    "llama",
    "llama_biased",
    "llama_f16",
    "llama_linear",
    "llama_mixed",
    "minicpm",
    "minicpm3",
    "ministral",
    "mistral",
    "mixtral",
    "mixtral_top1",
    "mixtral_window",
    "olmo2",
    "olmo3",
    "pangu_embedded",
    "pangu_ultra_moe",
    "phi",
    "phi3",
    "phi3_short",
    "qwen2_moe",
    "qwen2_moe_top1",
    "qwen2_odd",
    "qwen2_sharded",
    "qwen2_tied",
    "qwen3",
    "qwen3_f32",
    "qwen3_moe",
    "qwen3_moe_mixed",
    "qwen3_moe_top1",
    "qwen3_odd",
    "seed_oss",
    "smollm3",
    "starcoder2",
];

/// `tests/data`.
pub fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data")
}

/// What the reference gives for a fixture.
#[derive(Debug, Deserialize)]
pub struct Expected {
    /// The family.
    pub model_type: String,
    /// Prompts with their continuations.
    pub prompts: Vec<Prompt>,
    /// Prompts that were continued together.
    pub batch: Batch,
    /// How far the reference's own bf16 run is from its f32 run.
    pub bf16_reference: Bf16,
    /// New tokens of each continuation.
    pub new_tokens: usize,
}

/// A prompt and what follows.
#[derive(Debug, Deserialize)]
pub struct Prompt {
    /// The prompt.
    pub token_ids: Vec<u32>,
    /// Its greedy continuation, stop tokens ignored.
    pub greedy: Vec<u32>,
    /// Its greedy continuation up to the first stop token.
    pub greedy_until_stop: Vec<u32>,
    /// Name of the logits [T, V].
    pub logits: String,
    /// Name of the input of the output head [T, H].
    pub last_hidden: String,
    /// Name of the logits of each cached step [new_tokens, V].
    pub decode_logits: Option<String>,
    /// Name of the input of layer 0.
    pub embed: Option<String>,
    /// Names of the layers' outputs.
    #[serde(default)]
    pub layers: Vec<String>,
}

/// Prompts that were continued together.
#[derive(Debug, Deserialize)]
pub struct Batch {
    /// Their indices.
    pub prompts: Vec<usize>,
    /// Their continuations.
    pub greedy: Vec<Vec<u32>>,
}

/// How far the reference's bf16 run is from its f32 run.
#[derive(Debug, Deserialize)]
pub struct Bf16 {
    /// RMS of the logits' error, relative to the largest |logit|.
    pub rms_error: f64,
    /// At which part of the positions the greatest logit stays the greatest.
    pub argmax_agreement: f64,
}

/// A fixture with the reference's outputs.
pub struct Fixture {
    /// Its directory, a model in Hugging Face's layout.
    pub dir: PathBuf,
    /// What the reference gives.
    pub expected: Expected,
    tensors: HashMap<String, Vec<f32>>,
}

impl Fixture {
    /// Reads a fixture of `tests/data/fixtures`.
    pub fn open(name: &str) -> Fixture {
        let dir = data().join("fixtures").join(name);
        let expected = std::fs::read(dir.join("expected.json")).expect("the fixture is in the repository");
        let expected = serde_json::from_slice(&expected).expect("the fixture is well-formed");
        let bytes =
            std::fs::read(dir.join("expected.safetensors")).expect("the fixture is in the repository");
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("the fixture is well-formed");
        let floats = |data: &[u8]| {
            data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        };
        let tensors = file.iter().map(|(name, view)| (name.to_owned(), floats(view.data()))).collect();
        Fixture { dir, expected, tensors }
    }

    /// A tensor of the reference.
    pub fn tensor(&self, name: &str) -> &[f32] {
        &self.tensors[name]
    }

    /// The largest |logit| of all prompts.
    pub fn scale(&self) -> f64 {
        let prompts = self.expected.prompts.iter();
        prompts.map(|prompt| max_abs(self.tensor(&prompt.logits))).fold(0.0, f64::max)
    }
}

/// Compiles a model directory, in `compute_dtype`, with some options changed.
pub fn compile_model(dir: &Path, compute_dtype: &str, change: impl FnOnce(&mut Options)) -> Compiled {
    let mut options = Options {
        model: Some(dir.to_owned()),
        compute_dtype: Some(compute_dtype.to_owned()),
        // Longer sequences would be rotated by other factors than those of the fixture.
        max_model_len: dir.ends_with("phi3_short").then_some(64),
        ..Options::default()
    };
    change(&mut options);
    compile(&options, false).unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
}

/// The plan as it comes back from the bytes of `plan.bin`.
pub fn through_bytes(plan: &Plan) -> Plan {
    let bytes = container::encode(plan).expect("any plan can be written");
    container::decode(&bytes).expect("what was written can be read")
}

/// A model that is ready to run, its plan having been written and read.
pub fn load(compiled: &Compiled, threads: usize) -> Model {
    let options = LoadOptions { threads: Some(threads), ..LoadOptions::default() };
    Model::from_plan(through_bytes(&compiled.plan), Path::new(""), &options).expect("the plan is sound")
}

/// Logits of every token of each sequence, run together, at most `chunk` tokens of each in a step.
pub fn logits(model: &mut Model, sequences: &[&[u32]], chunk: Option<usize>) -> Vec<Vec<f32>> {
    logits_and_taps(model, sequences, chunk, None)
}

/// As [`logits`], with taps.
pub fn logits_and_taps(
    model: &mut Model,
    sequences: &[&[u32]],
    chunk: Option<usize>,
    taps: Option<&mut dyn TapSink>,
) -> Vec<Vec<f32>> {
    let mut all = vec![Vec::new(); sequences.len()];
    let mut scorer = Scorer::new(model).expect("the model has caches that can be kept");
    let done = scorer.score(sequences, chunk, taps, |rows| {
        all[rows.sequence].extend_from_slice(rows.logits);
        Ok::<(), EngineError>(())
    });
    done.expect("the sequences are within the limits");
    all
}

/// Greedy continuations of prompts served together, in the prompts' order.
pub fn greedy(model: Model, prompts: &[&[u32]], new_tokens: usize, stops: Option<&[u32]>) -> Vec<Vec<u32>> {
    let options = EngineOptions::default().eos_token_ids(stops.unwrap_or_default().to_vec());
    let mut engine = Engine::new(model, options).expect("the model has caches that can be kept");
    for (id, prompt) in prompts.iter().enumerate() {
        let params = SamplingParams::greedy().max_tokens(new_tokens as u32);
        engine.add(Request::new(id as u64, *prompt, params)).expect("the prompts are within the limits");
    }
    let mut tokens = vec![Vec::new(); prompts.len()];
    while engine.has_work() {
        for event in engine.step().expect("steps do not fail") {
            tokens[event.request as usize].extend(event.token);
        }
    }
    tokens
}

/// Takes all taps.
#[derive(Default)]
pub struct AllTaps(pub HashMap<String, Vec<f32>>);

impl TapSink for AllTaps {
    fn wants(&self, _: &str) -> bool {
        true
    }

    fn take(&mut self, name: &str, _: &[usize], values: Vec<f32>) {
        self.0.entry(name.to_owned()).or_default().extend(values);
    }
}

/// The largest |value|.
pub fn max_abs(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(value.abs())).fold(0.0, f64::max)
}

/// The largest |difference|; infinite if the numbers of values differ.
pub fn max_error(got: &[f32], expected: &[f32]) -> f64 {
    if got.len() != expected.len() {
        return f64::INFINITY;
    }
    let pairs = got.iter().zip(expected);
    pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).fold(0.0, f64::max)
}

/// The bits, so that equality is to the last one.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
