//! Traced, fused and lowered forms as text, to be read and reviewed.
#![allow(clippy::unwrap_used)]

use mscc_compiler::Compiled;
use mscc_ir::Module;
use mscc_ir::graph::Graph;
use mscc_ir::ops::OpKind;
use mscc_ir::plan::print_plan;
use mscc_ir::text::{parse_module, print_function, print_module};
use mscc_tests::{FIXTURES, Fixture, compile_model};

fn compiled(name: &str) -> Compiled {
    compile_model(&Fixture::open(name).dir, "bfloat16", |_| {})
}

#[test]
fn qwen3() {
    let compiled = compiled("qwen3");
    insta::assert_snapshot!("qwen3_traced", print_module(&compiled.traced));
    insta::assert_snapshot!("qwen3_fused", print_module(&compiled.fused));
    insta::assert_snapshot!("qwen3_lowered", print_plan(&compiled.plan));
}

#[test]
fn qwen2_with_biases() {
    insta::assert_snapshot!("qwen2_tied_fused", print_module(&compiled("qwen2_tied").fused));
}

#[test]
fn llama_with_scaled_rope() {
    insta::assert_snapshot!("llama_fused", print_module(&compiled("llama").fused));
}

/// The function of this name in the model after all passes.
fn fused_function(compiled: &Compiled, name: &str) -> String {
    print_function(compiled.fused.function(name).unwrap())
}

#[test]
fn qwen3_with_experts() {
    insta::assert_snapshot!("qwen3_moe_layer_fused", fused_function(&compiled("qwen3_moe"), "layer"));
}

#[test]
fn deepseek_v3_by_both_forms() {
    let compiled = compiled("deepseek_v3");
    insta::assert_snapshot!("deepseek_v3_layer_fused", fused_function(&compiled, "layer_1"));
    let [prefill] = compiled.forms.as_slice() else { panic!("one form beside that for all steps") };
    let attention = print_function(prefill.module.function("layer_1").unwrap());
    let attention = attention.lines().skip_while(|line| !line.contains("latent_cache = "));
    let guard: Vec<String> = prefill.guard.iter().map(|condition| format!("if {condition}")).collect();
    let text = [guard.join("\n"), attention.collect::<Vec<_>>().join("\n")].join("\n\n");
    insta::assert_snapshot!("deepseek_v3_layer_prefill", text);
}

/// Ops of a kind that a step runs.
fn total(module: &Module, kind: OpKind) -> usize {
    let calls = module.program.iter();
    calls.map(|call| call.layers.clone().count() * count(&module.functions[call.function], kind)).sum()
}

fn count(graph: &Graph, kind: OpKind) -> usize {
    graph.nodes().filter(|(_, node)| node.op().is_some_and(|op| op.kind() == kind)).count()
}

#[test]
fn traces_are_unfused_and_what_is_fused_has_its_forms() {
    for name in FIXTURES {
        let compiled = compiled(name);
        for function in &compiled.traced.functions {
            for fused in [OpKind::AddRmsNorm, OpKind::Swiglu, OpKind::Matmul, OpKind::LatentAttention] {
                assert_eq!(count(function, fused), 0, "{name}: {fused:?} in the trace of @{}", function.name);
            }
        }
        for function in &compiled.fused.functions {
            for (_, node) in function.nodes() {
                let is_norm = node.op().is_some_and(|op| op.kind() == OpKind::RmsNorm);
                let feeder = node.operands.first().and_then(|operand| function.node(operand.node).op());
                let after_add = is_norm && feeder.is_some_and(|op| op.kind() == OpKind::Add);
                assert!(!after_add, "{name}: an unfused rms_norm behind an add in @{}", function.name);
            }
            assert_eq!(count(function, OpKind::Silu), 0, "{name}");
            assert_eq!(count(function, OpKind::Linear), 0, "{name}");
        }
        let is_plain = ["llama", "qwen2", "qwen3"].iter().any(|family| name.starts_with(family));
        if !is_plain || name.contains("moe") {
            continue;
        }
        let layers = total(&compiled.traced, OpKind::Attention);
        // Weights of several types are not joined: q, k, v, o, gate, up and down are as stored.
        let matmuls = if name == "llama_mixed" { 7 } else { 4 };
        assert_eq!(total(&compiled.fused, OpKind::Matmul), matmuls * layers + 1, "{name}");
        assert_eq!(total(&compiled.fused, OpKind::AddRmsNorm), 2 * layers, "{name}");
        assert_eq!(total(&compiled.fused, OpKind::Swiglu), layers, "{name}");
    }
}

#[test]
fn printed_modules_parse_back() {
    for name in FIXTURES {
        let compiled = compiled(name);
        for module in [&compiled.traced, &compiled.fused] {
            assert_eq!(parse_module(&print_module(module)).unwrap(), *module, "{name}");
        }
    }
}

#[test]
fn plans_are_byte_identical() {
    let bytes = |name| mscc_ir::plan::container::encode(&compiled(name).plan).unwrap();
    for name in FIXTURES {
        let first = bytes(name);
        for _ in 0..5 {
            assert!(bytes(name) == first, "{name}");
        }
    }
}
