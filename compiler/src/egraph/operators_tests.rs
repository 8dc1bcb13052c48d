//! What fusion makes of real models for a device of operators that compute fused forms, as NPUs have them.

use std::path::Path;

use mscc_ir::DType;
use mscc_ir::attr::Attr;
use mscc_ir::graph::NodeKind;
use mscc_ir::module::Module;
use mscc_ir::ops::{Op, OpKind};
use mscc_ir::{Graph, Symbol, TensorType, step};
use mscc_models::TraceOptions;
use mscc_models::hf::ModelDir;
use mscc_patterns::builtin;

use super::tests::assert_same_at;
use super::*;
use crate::cost::Target;
use crate::passes::{self, Pass};

/// Has an operator for every fused form, whatever the sizes, and none for what only routes or is part of one.
struct Operators(CostModel);

impl Target for Operators {
    fn supports(&self, op: &Op, operands: &[TensorType]) -> bool {
        match op.kind() {
            OpKind::FloorDiv
            | OpKind::IndexAdd
            | OpKind::KeepGroups
            | OpKind::Renormalize
            | OpKind::SoftCap => false,
            OpKind::Swiglu | OpKind::Rope => false,
            OpKind::GroupedMatmul => operands[2].dtype == DType::I64,
            // Results are of the operands' type.
            OpKind::Matmul => op.attrs().iter().all(|(name, _)| *name != "dtype"),
            OpKind::MoeGating => {
                let attrs = op.attrs();
                let is =
                    |name, value: &Attr| attrs.iter().any(|(other, attr)| *other == name && attr == value);
                !is("scoring", &Attr::Name("sigmoid".to_owned())) || is("renormalize", &Attr::Bool(true))
            }
            _ => true,
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

/// The fixture's functions before and after fusion.
fn fused(fixture: &str) -> (Module, Vec<Extraction>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/fixtures").join(fixture);
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
        assert_eq!(chosen.report.diagnostics, [], "{fixture}");
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

fn snapshot(fixture: &str) {
    let (module, extracted) = fused(fixture);
    let mut text = String::new();
    for (function, extraction) in module.functions.iter().zip(&extracted) {
        text += &format!("@{}\n{}\n\n", function.name, launches(&extraction.graph));
    }
    insta::with_settings!({ description => format!("launches of {fixture} where every fused form has an operator") }, {
        insta::assert_snapshot!(fixture.to_owned(), text);
    });
}

#[test]
fn latents_and_experts_in_groups() {
    snapshot("deepseek_v3_groups");
}

#[test]
fn heads_and_experts() {
    snapshot("qwen3_moe");
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
    for fixture in fixtures {
        let (_, extracted) = fused(fixture);
        let mut counts: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
        let mut lacking = std::collections::BTreeSet::new();
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
    insta::assert_snapshot!(text);
}
