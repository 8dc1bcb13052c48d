//! What fusion makes of real models for a device of operators that compute fused forms, as NPUs have them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mscc_ir::DType;
use mscc_ir::attr::Attr;
use mscc_ir::graph::NodeKind;
use mscc_ir::kernels::ascend::{Soc, WITHOUT_CALL};
use mscc_ir::module::Module;
use mscc_ir::ops::{Op, OpKind};
use mscc_ir::text::parse_module;
use mscc_ir::{Graph, Symbol, TensorType, step};
use mscc_models::TraceOptions;
use mscc_models::hf::ModelDir;
use mscc_patterns::builtin;

use super::tests::assert_same_at;
use super::*;
use crate::cost::Target;
use crate::passes::{self, Pass};

/// Has an operator for every fused form, whatever the sizes, and none for what no operator of an NPU computes.
struct Operators(CostModel);

impl Target for Operators {
    fn supports(&self, op: &Op, operands: &[TensorType]) -> bool {
        match op.kind() {
            // Made when weights are loaded.
            OpKind::CausalMask | OpKind::Iota | OpKind::RopeFreqs | OpKind::RopeTable => true,
            OpKind::GroupedMatmul => operands[2].dtype == DType::I64,
            // Results are of the operands' type.
            OpKind::Matmul => op.attrs().iter().all(|(name, _)| *name != "dtype"),
            OpKind::MoeGating => {
                let attrs = op.attrs();
                let is =
                    |name, value: &Attr| attrs.iter().any(|(other, attr)| *other == name && attr == value);
                !is("scoring", &Attr::Name("sigmoid".to_owned())) || is("renormalize", &Attr::Bool(true))
            }
            OpKind::MlaProlog => true,
            kind => kind.is_view() || WITHOUT_CALL.iter().all(|(other, _)| *other != kind),
        }
    }

    fn cost_model(&self) -> &CostModel {
        &self.0
    }
}

fn sizes(symbol: &Symbol) -> Option<i64> {
    let value = match symbol.name() {
        step::TOKENS => 5,
        step::SEQUENCES => 2,
        step::LOGITS => 2,
        "M" => 3,
        step::CONTEXT => 40,
        step::PAIRS => 100,
        name if name.starts_with("P_") => 7,
        _ => return None,
    };
    Some(value)
}

/// Functions of the model under `tests/data` before and after fusion; those of fixtures are run.
fn fused(model: &str) -> (Module, Vec<Extraction>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(model);
    let config = ModelDir::open(&path).unwrap().config().unwrap();
    let options = TraceOptions {
        compute_dtype: DType::BF16,
        residual_dtype: None,
        max_model_len: None,
        max_num_seqs: 4,
        max_num_batched_tokens: 64,
        block_size: 16,
        strict: false,
    };
    let traced = mscc_models::trace(&config, None, &options).unwrap();
    let device = crate::Target::by_name("ascend910b3").unwrap();
    let passes = [Pass::Normalise, Pass::Recut, Pass::Suit];
    let (module, _) = passes::run(&traced.module, &passes, &[], &device).unwrap();
    let module = passes::normalise_all(&module);
    let target = Operators(device.cost_model().clone());
    let rules = builtin().unwrap();
    let extract = |function: &Graph| {
        let saturated = saturate(function, &module.symbols, &rules, &target);
        let chosen = extract(&saturated, target.cost_model(), &|_| None);
        assert_eq!(chosen.report.diagnostics, [], "{model}");
        if !model.starts_with("fixtures") {
            return chosen;
        }
        assert_same_at(function, &chosen.graph, &sizes);
        for seed in 0..4 {
            let other = extract_random(&saturated, target.cost_model(), &|_| None, seed);
            assert_same_at(function, &other.graph, &sizes);
        }
        chosen
    };
    let extracted = module.functions.iter().map(extract).collect();
    (module, extracted)
}

/// What is launched, without weights alone and views: the op, its attributes but shapes, and how often.
fn launches(graph: &Graph) -> String {
    let weight_only = graph.weight_only();
    let mut lines = Vec::new();
    for (id, node) in graph.nodes() {
        let NodeKind::Op(op) = &node.kind else { continue };
        if weight_only[id.index()] || op.kind().is_view() {
            continue;
        }
        let names: Vec<&str> = node.results.iter().map(|result| result.name.as_str()).collect();
        let operands: Vec<&str> = node.operands.iter().map(|value| graph.value_name(*value)).collect();
        let attrs: Vec<String> = op.attrs().iter().map(|(name, attr)| format!("{name}={attr}")).collect();
        lines.push(format!(
            "{} = {} {} {{{}}}",
            names.join(", "),
            op.kind().name(),
            operands.join(", "),
            attrs.join(", ")
        ));
    }
    lines.join("\n")
}

fn snapshot(model: &str) {
    let (module, extracted) = fused(model);
    let name = Path::new(model).file_stem().unwrap().to_str().unwrap().to_owned();
    let mut text = String::new();
    for (function, extraction) in module.functions.iter().zip(&extracted) {
        text += &format!("@{}\n{}\n\n", function.name, launches(&extraction.graph));
    }
    insta::with_settings!({ description => format!("launches of {name} where every fused form has an operator") }, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn latents_and_experts_in_groups() {
    snapshot("fixtures/deepseek_v3_groups");
}

/// Sizes that operators take: what rotates goes with the norm into the cache.
#[test]
fn latents_of_real_sizes() {
    snapshot("configs/ascend-latent.json");
}

#[test]
fn heads_and_experts() {
    snapshot("fixtures/qwen3_moe");
}

/// How often each op is launched in all functions of further models, and which have no operator.
#[test]
fn other_models() {
    let fixtures = [
        "cohere2",
        "deepseek_v2",
        "deepseek_v2_groups",
        "ernie4_5_moe",
        "gemma2",
        "glm4_moe",
        "gpt_oss",
        "llama_biased",
        "minicpm3",
        "mixtral",
        "pangu_ultra_moe",
        "phi3",
        "qwen2_moe",
        "starcoder2",
    ];
    let mut text = String::new();
    let mut fired = BTreeSet::new();
    for model in ["fixtures/deepseek_v3", "fixtures/qwen3_moe", "configs/ascend-latent.json"] {
        note_fired(&fused(model).1, &mut fired);
    }
    for fixture in fixtures {
        let (_, extracted) = fused(&format!("fixtures/{fixture}"));
        note_fired(&extracted, &mut fired);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut lacking = BTreeSet::new();
        let target = Operators(CostModel::cpu());
        for graph in extracted.iter().map(|extraction| &extraction.graph) {
            let weight_only = graph.weight_only();
            for (id, node) in graph.nodes().filter(|(id, _)| !weight_only[id.index()]) {
                let Some(op) = graph.node(id).op().filter(|op| !op.kind().is_view()) else { continue };
                *counts.entry(op.kind().name()).or_default() += 1;
                let types: Vec<TensorType> =
                    node.operands.iter().map(|value| graph.ty(*value).clone()).collect();
                if !target.supports(op, &types) {
                    lacking.insert(op.kind().name());
                }
            }
        }
        let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{name} ×{count}")).collect();
        text += &format!("{fixture}: {}\n", counts.join(", "));
        if !lacking.is_empty() {
            text += &format!("  no operator: {lacking:?}\n");
        }
    }
    let silent: Vec<String> =
        builtin().unwrap().into_iter().map(|rule| rule.name).filter(|name| !fired.contains(name)).collect();
    text += &format!("rules that fired nowhere: {}\n", silent.join(", "));
    insta::assert_snapshot!(text);
}

/// Adds the names of the rules whose forms were chosen.
fn note_fired(extracted: &[Extraction], fired: &mut BTreeSet<String>) {
    for rule in extracted.iter().flat_map(|extraction| &extraction.report.rules) {
        if rule.events.iter().any(|event| event.fired()) {
            fired.insert(rule.rule.clone());
        }
    }
}

const HEADS: &str = "module m
symbol T in 1..64 likely 8
func @heads {
  %a = state a : f32[T, 4, 8]
  %by_head = state by_head : f32[4, T, 8]
  %w = weight \"w\" : f32[4, 6, 8]
  %x = transpose %a {permutation=[1, 0, 2]}
  %w_turned = transpose %w {permutation=[0, 2, 1]}
  %p = matmul %x, %w {trans_b=true}
  %y = transpose %p {permutation=[1, 0, 2]}
  %q = matmul %by_head, %w_turned
  %z = transpose %q {permutation=[1, 0, 2]}
  state y = %y
  state z = %z
}
";

/// Transposes on either side of products head by head.
#[test]
fn products_of_heads() {
    let module = parse_module(HEADS).unwrap();
    let target = Operators(CostModel::ascend(Soc::by_target("ascend910b3").unwrap()));
    let saturated = saturate(&module.functions[0], &module.symbols, &builtin().unwrap(), &target);
    let extraction = extract(&saturated, target.cost_model(), &|_| None);
    assert_same_at(&module.functions[0], &extraction.graph, &sizes);
    assert_eq!(
        launches(&extraction.graph),
        "y = transpose_batch_matmul a, w {trans_b=true}\nz = transpose_batch_matmul by_head, w {by_batch=true, trans_b=true}"
    );
}

/// What the target cannot run is chosen only where no form of it runs.
#[test]
fn expansions_run_where_the_op_does_not() {
    let text = "module m\nsymbol T in 1..64 likely 8\nfunc @f {\n  %x = state x : f32[T, 8]\n  \
        %capped = soft_cap %x {cap=30.0}\n  %s = softmax %capped\n  %y = renormalize %s {eps=0.5}\n  state y = %y\n}\n";
    let module = parse_module(text).unwrap();
    let kinds = |target: &dyn Target| {
        let saturated = saturate(&module.functions[0], &module.symbols, &builtin().unwrap(), target);
        let extraction = extract(&saturated, target.cost_model(), &|_| None);
        assert_same_at(&module.functions[0], &extraction.graph, &sizes);
        let kinds = extraction.graph.nodes().filter_map(|(_, node)| Some(node.op()?.kind().name()));
        (kinds.collect::<Vec<_>>(), extraction.report)
    };
    let operators = Operators(CostModel::cpu());
    let (expanded, report) = kinds(&operators);
    assert_eq!(expanded, ["scale", "tanh", "scale", "softmax", "sum", "shift", "clamp", "div_rows"]);
    assert!(report.after < report.before);
    let (kept, report) = kinds(&crate::Target::cpu());
    assert_eq!(kept, ["soft_cap", "softmax", "renormalize"]);
    assert!(
        report
            .rules
            .iter()
            .filter(|rule| rule.rule.starts_with("expand_"))
            .all(|rule| rule.events.is_empty())
    );
}
