use std::collections::HashMap;
use std::fmt::Write as _;

use mscc_ir::ops::{Op, OpKind};
use mscc_ir::reference::{Rounding, Sampler, Tensor, interpret};
use mscc_ir::text::{parse_module, print_function};
use mscc_ir::{DType, Module, TensorType};
use mscc_patterns::{Rule, builtin, load};

use super::*;
use crate::cost::Target;

/// Runs every op but those listed.
struct Without(CostModel, &'static [OpKind]);

impl Target for Without {
    fn supports(&self, op: &Op, _: &[TensorType]) -> bool {
        !self.1.contains(&op.kind())
    }

    fn cost_model(&self) -> &CostModel {
        &self.0
    }
}

fn cpu() -> Without {
    Without(CostModel::cpu(), &[])
}

const HEADER: &str = "module tiny
symbol A in 1..100000 likely 512
symbol B in 1..4 likely 2
symbol C in 1..4096 likely 64
symbol M in 1..8 likely 2
symbol P_full in 1..64 likely 8
symbol T in 1..64 likely 8
cache full full block 16 layers [0..2] { k: f32[2, 8], v: f32[2, 8] }
";

/// A decoder layer as passes leave it: the sum of the layer before is still to be made.
const LAYER: &str = r#"func @layer {
  %attention = state attention : f32[T, 32]
  %residual = state residual : f32[T, 32]
  %cos = state cos : f32[T, 4]
  %sin = state sin : f32[T, 4]
  %k_cache = cache full.k : f32[P_full, 16, 2, 8]
  %v_cache = cache full.v : f32[P_full, 16, 2, 8]
  %slots = input slot_mapping.full : i32[T]
  %table = input block_table.full : i32[B, M]
  %query_start = input query_start : i32[B + 1]
  %context_len = input context_len : i32[B]
  %post_norm.weight = weight "layers.{i-1}.post_norm.weight" : f32[32]
  %gate_proj.weight = weight "layers.{i-1}.mlp.gate_proj.weight" : f32[48, 32]
  %up_proj.weight = weight "layers.{i-1}.mlp.up_proj.weight" : f32[48, 32]
  %down_proj.weight = weight "layers.{i-1}.mlp.down_proj.weight" : f32[32, 48]
  %input_norm.weight = weight "layers.{i}.input_norm.weight" : f32[32]
  %self_attn.q_proj.weight = weight "layers.{i}.self_attn.q_proj.weight" : f32[32, 32]
  %self_attn.k_proj.weight = weight "layers.{i}.self_attn.k_proj.weight" : f32[16, 32]
  %self_attn.v_proj.weight = weight "layers.{i}.self_attn.v_proj.weight" : f32[16, 32]
  %self_attn.q_norm.weight = weight "layers.{i}.self_attn.q_norm.weight" : f32[8]
  %add.0 = add %residual, %attention
  %post_norm = rms_norm %add.0, %post_norm.weight {eps=1e-6}
  %mlp.gate_proj = matmul %post_norm, %gate_proj.weight {trans_b=true}
  %mlp.act = silu %mlp.gate_proj
  %mlp.up_proj = matmul %post_norm, %up_proj.weight {trans_b=true}
  %mlp.mul = mul %mlp.act, %mlp.up_proj
  %mlp.down_proj = matmul %mlp.mul, %down_proj.weight {trans_b=true}
  %add.1 = add %add.0, %mlp.down_proj
  %input_norm = rms_norm %add.1, %input_norm.weight {eps=1e-5}
  %self_attn.q_proj = matmul %input_norm, %self_attn.q_proj.weight {trans_b=true}
  %self_attn.k_proj = matmul %input_norm, %self_attn.k_proj.weight {trans_b=true}
  %self_attn.v_proj = matmul %input_norm, %self_attn.v_proj.weight {trans_b=true}
  %q.heads = reshape %self_attn.q_proj {shape=[T, 4, 8]}
  %k.heads = reshape %self_attn.k_proj {shape=[T, 2, 8]}
  %v.heads = reshape %self_attn.v_proj {shape=[T, 2, 8]}
  %q.norm = rms_norm %q.heads, %self_attn.q_norm.weight {eps=1e-6}
  %q.rope = rope %q.norm, %cos, %sin
  %k.rope = rope %k.heads, %cos, %sin
  %k.written = cache_write %k_cache, %k.rope, %slots
  %v.written = cache_write %v_cache, %v.heads, %slots
  %o = attention %q.rope, %k.written, %v.written, %table, %query_start, %context_len {scale=0.35}
  %o.flat = reshape %o {shape=[T, 32]}
  state attention = %o.flat
  state residual = %add.1
  cache full.k = %k.written
  cache full.v = %v.written
}
"#;

fn module(function: &str) -> Module {
    parse_module(&format!("{HEADER}{function}")).unwrap()
}

/// The rules that these tests are about. What is added later makes further forms, and is not their matter.
const RULES: [&str; 11] = [
    "add_rms_norm",
    "cast_of_cast",
    "cast_to_itself",
    "concat_of_split",
    "matmul_bias",
    "merge_matmul",
    "merge_matmul_bias",
    "reshape_of_reshape",
    "reshape_to_itself",
    "swiglu",
    "transpose_of_inverse",
];

fn rules() -> Vec<Rule> {
    let rules: Vec<Rule> =
        builtin().unwrap().into_iter().filter(|rule| RULES.contains(&rule.name.as_str())).collect();
    assert_eq!(rules.len(), RULES.len());
    rules
}

fn sizes(symbol: &Symbol) -> Option<i64> {
    let value = match symbol.name() {
        "T" => 5,
        "B" => 2,
        "M" => 3,
        "P_full" => 7,
        "C" => 40,
        "A" => 100,
        _ => return None,
    };
    Some(value)
}

fn fuse(module: &Module) -> Extraction {
    let target = cpu();
    let saturated = saturate(&module.functions[0], &module.symbols, &rules(), &target);
    extract(&saturated, target.cost_model(), &sizes)
}

/// The body of the only function after fusion, with its report.
fn fused(function: &str) -> (String, Extraction) {
    let module = module(function);
    let extraction = fuse(&module);
    assert_same(&module.functions[0], &extraction.graph);
    (print_function(&extraction.graph), extraction)
}

/// Both graphs compute the same at every sink.
fn assert_same(given: &Graph, chosen: &Graph) {
    assert_same_at(given, chosen, &sizes);
}

/// Both graphs compute the same at every sink, at these sizes.
pub(super) fn assert_same_at(given: &Graph, chosen: &Graph, sizes: &dyn Fn(&Symbol) -> Option<i64>) {
    let mut sampler = Sampler::new(7);
    let leaves: HashMap<String, Tensor> = sampler.leaves(given, sizes).unwrap();
    let old = interpret(given, sizes, &leaves, Rounding::Exact).unwrap();
    let new = interpret(chosen, sizes, &leaves, Rounding::Exact).unwrap();
    assert_eq!(given.sinks().len(), chosen.sinks().len());
    for ((sink, old_value), (new_sink, new_value)) in given.sinks().iter().zip(chosen.sinks()) {
        assert_eq!(sink, new_sink);
        let (old, new) = (old[old_value].to_f64(), new[new_value].to_f64());
        assert_eq!(old.len(), new.len());
        for (old, new) in old.iter().zip(&new) {
            assert!((old - new).abs() <= 1e-9 * old.abs().max(1.0), "{sink:?}: {old} became {new}");
        }
    }
}

fn count(graph: &Graph, kind: OpKind) -> usize {
    graph.nodes().filter(|(_, node)| node.op().is_some_and(|op| op.kind() == kind)).count()
}

fn outcomes(report: &Report, rule: &str) -> Vec<String> {
    let rule = report.rules.iter().find(|other| other.rule == rule).unwrap();
    rule.events.iter().map(|event| format!("{}: {}", event.at.join(", "), event.outcome)).collect()
}

#[test]
fn a_decoder_layer() {
    let (text, extraction) = fused(LAYER);
    let origins: String = extraction.graph.nodes().fold(String::new(), |mut all, (id, node)| {
        if let Some(op) = node.op() {
            let _ = writeln!(all, "{}: {}", op.kind().name(), extraction.graph.origins(id).join(", "));
        }
        all
    });
    insta::assert_snapshot!(format!("{text}\n{}\n{origins}", extraction.report));
}

#[test]
fn names_of_results_and_sinks_are_kept() {
    let module = module(LAYER);
    let (given, chosen) = (&module.functions[0], fuse(&module).graph);
    let name = |graph: &Graph, value| graph.value_name(value).to_owned();
    for ((_, old), (_, new)) in given.sinks().iter().zip(chosen.sinks()) {
        assert_eq!(name(given, *old), name(&chosen, *new));
    }
    let leaves = |graph: &Graph| -> Vec<String> {
        graph.leaves().map(|(value, leaf)| format!("{leaf:?} {}", graph.value_name(value))).collect()
    };
    assert_eq!(leaves(&given.leaves_first()), leaves(&chosen));
    for name in ["mlp.gate_proj", "self_attn.v_proj", "add.1", "input_norm", "mlp.mul"] {
        assert!(chosen.by_name(name).is_some(), "{name}");
    }
}

#[test]
fn nothing_changes_without_rules() {
    let module = module(LAYER);
    let saturated = saturate(&module.functions[0], &module.symbols, &[], &cpu());
    let extraction = extract(&saturated, &CostModel::cpu(), &sizes);
    assert_eq!(print_function(&extraction.graph), print_function(&module.functions[0].leaves_first()));
    assert_eq!(extraction.report.before, extraction.report.after);
}

#[test]
fn every_form_computes_the_same() {
    let module = module(LAYER);
    let saturated = saturate(&module.functions[0], &module.symbols, &rules(), &cpu());
    let model = CostModel::cpu();
    let mut prints = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let extraction = extract_random(&saturated, &model, &sizes, seed);
        assert_eq!(extraction.report.diagnostics, []);
        assert_same(&module.functions[0], &extraction.graph);
        prints.insert(print_function(&extraction.graph));
    }
    assert!(prints.len() > 20, "{}", prints.len());
    let dearest = extract_dearest(&saturated, &model, &sizes);
    assert!(dearest.report.after > dearest.report.before);
    assert_same(&module.functions[0], &dearest.graph);
}

#[test]
fn the_same_for_any_order_of_rules() {
    let module = module(LAYER);
    let mut rules = rules();
    let mut sampler = Sampler::new(1);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        for at in (1..rules.len()).rev() {
            rules.swap(at, sampler.below(at as u64 + 1) as usize);
        }
        let saturated = saturate(&module.functions[0], &module.symbols, &rules, &cpu());
        let extraction = extract(&saturated, &CostModel::cpu(), &sizes);
        seen.insert(format!("{}{:?}", print_function(&extraction.graph), extraction.report));
    }
    assert_eq!(seen.len(), 1);
}

#[test]
fn growth_stays_small() {
    let module = module(LAYER);
    let report = fuse(&module).report;
    let growth: Vec<(usize, usize)> =
        report.growth.iter().map(|phase| (phase.iterations, phase.nodes)).collect();
    assert_eq!(report.diagnostics, []);
    insta::assert_debug_snapshot!(growth);
}

#[test]
fn a_deep_residual_network_is_fused_everywhere() {
    let mut text =
        String::from("func @deep {\n  %h0 = state h : f32[T, 32]\n  %w = weight \"w\" : f32[32]\n");
    for layer in 0..40 {
        let _ = writeln!(text, "  %g{layer} = weight \"g.{layer}\" : f32[64, 32]");
        let _ = writeln!(text, "  %u{layer} = weight \"u.{layer}\" : f32[64, 32]");
        let _ = writeln!(text, "  %d{layer} = weight \"d.{layer}\" : f32[32, 64]");
        let _ = writeln!(text, "  %n{layer} = rms_norm %h{layer}, %w {{eps=1e-6}}");
        let _ = writeln!(text, "  %gate{layer} = matmul %n{layer}, %g{layer} {{trans_b=true}}");
        let _ = writeln!(text, "  %up{layer} = matmul %n{layer}, %u{layer} {{trans_b=true}}");
        let _ = writeln!(text, "  %act{layer} = silu %gate{layer}");
        let _ = writeln!(text, "  %mul{layer} = mul %up{layer}, %act{layer}");
        let _ = writeln!(text, "  %down{layer} = matmul %mul{layer}, %d{layer} {{trans_b=true}}");
        let _ = writeln!(text, "  %h{} = add %h{layer}, %down{layer}", layer + 1);
    }
    text.push_str("  state h = %h40\n}\n");
    let extraction = fuse(&module(&text));
    assert_eq!(extraction.report.diagnostics, []);
    assert_eq!(count(&extraction.graph, OpKind::Matmul), 80);
    assert_eq!(count(&extraction.graph, OpKind::Swiglu), 40);
    assert_eq!(count(&extraction.graph, OpKind::AddRmsNorm), 39);
    assert_eq!(count(&extraction.graph, OpKind::Add), 1);
}

#[test]
fn swiglu_knows_the_gate_in_either_order() {
    for (a, b) in [("%act", "%up"), ("%up", "%act")] {
        let (text, _) = fused(&format!(
            "func @f {{ %gate = state g : f32[T, 8] %up = state u : f32[T, 8] %act = silu %gate \
             %y = mul {a}, {b} output y = %y }}"
        ));
        assert!(text.contains("%y = swiglu %gate, %up"), "{text}");
    }
}

#[test]
fn intermediates_that_are_read_elsewhere_stay() {
    let (text, extraction) = fused(
        "func @f { %gate = state g : f32[T, 8] %up = state u : f32[T, 8] %act = silu %gate \
         %y = mul %act, %up output y = %y output act = %act }",
    );
    assert!(text.contains("%act = silu %gate") && text.contains("output y = %y, act = %act"), "{text}");
    // Either form of the product takes one launch more.
    assert_eq!(extraction.report.after.launches, 2);
}

#[test]
fn near_misses_stay_as_they_are() {
    let unchanged = |function: &str| {
        let module = module(function);
        let extraction = fuse(&module);
        assert_eq!(print_function(&extraction.graph), print_function(&module.functions[0].leaves_first()));
        extraction.report
    };
    // A bias that is added along rows is no residual.
    let report = unchanged(
        "func @f { %x = state x : f32[T, 8] %b = weight \"b\" : f32[8] %w = weight \"w\" : f32[8] \
         %h = add %x, %b %y = rms_norm %h, %w {eps=1e-6} output y = %y }",
    );
    assert_eq!(
        outcomes(&report, "add_rms_norm"),
        ["y, h: refused: given ?r: float[.., H]: ?r is f32[8] where .. is [T]"]
    );
    // Computed weights are not joined, nor products of different values.
    unchanged(
        "func @f { %x = state x : f32[T, 8] %p = state p : f32[8, 8] %w = weight \"w\" : f32[8, 8] \
         %a = matmul %x, %w {trans_b=true} %b = matmul %x, %p {trans_b=true} output a = %a output b = %b }",
    );
    unchanged(
        "func @f { %x = state x : f32[T, 8] %z = state z : f32[T, 8] %w = weight \"w\" : f32[8, 8] \
         %v = weight \"v\" : f32[8, 8] %a = matmul %x, %w {trans_b=true} \
         %b = matmul %z, %v {trans_b=true} output a = %a output b = %b }",
    );
    // Weights of different types are not joined.
    let report = unchanged(
        "func @f { %x = state x : f32[T, 8] %w = weight \"w\" : f32[8, 8] %v = weight \"v\" : bf16[8, 8] \
         %a = matmul %x, %w {trans_b=true} %b = matmul %x, %v {trans_b=true} output a = %a output b = %b }",
    );
    assert_eq!(
        outcomes(&report, "merge_matmul"),
        ["a, b: refused: same_dtype(?w*): ?w*[0] is f32, ?w*[1] is bf16"]
    );
}

#[test]
fn norms_of_one_sum_with_different_epsilons() {
    let (text, extraction) = fused(
        "func @f { %x = state x : f32[T, 8] %r = state r : f32[T, 8] %w = weight \"w\" : f32[8] \
         %h = add %x, %r %y = rms_norm %h, %w {eps=1e-6} %z = rms_norm %h, %w {eps=1e-5} \
         output y = %y output z = %z output h = %h }",
    );
    assert_eq!(count(&extraction.graph, OpKind::AddRmsNorm), 1, "{text}");
    assert_eq!(count(&extraction.graph, OpKind::RmsNorm), 1, "{text}");
}

#[test]
fn equal_values_are_computed_once_and_dead_ones_not_at_all() {
    let (text, _) = fused(
        "func @f { %x = state x : f32[T, 8] %unused = weight \"w\" : f32[8] %dead = mul %x, %unused \
         %a = silu %x %b = silu %x %y = add %a, %b output y = %y }",
    );
    assert_eq!(text.matches("silu").count(), 1, "{text}");
    assert!(!text.contains("unused"), "{text}");
}

#[test]
fn fused_ops_without_a_kernel_are_refused() {
    let module = module(LAYER);
    let target = Without(CostModel::cpu(), &[OpKind::Swiglu]);
    let saturated = saturate(&module.functions[0], &module.symbols, &rules(), &target);
    let extraction = extract(&saturated, target.cost_model(), &sizes);
    assert_eq!(count(&extraction.graph, OpKind::Swiglu), 0);
    assert_eq!(
        outcomes(&extraction.report, "swiglu"),
        ["mlp.mul: refused: the target has no kernel for swiglu(f32[T, 48], f32[T, 48])"]
    );
}

#[test]
fn qkv_with_biases() {
    let (text, extraction) = fused(
        "func @f { %x = state x : f32[T, 8] %q.w = weight \"qw\" : f32[8, 8] %k.w = weight \"kw\" : f32[4, 8] \
         %q.b = weight \"qb\" : f32[8] %k.b = weight \"kb\" : f32[4] \
         %q.0 = matmul %x, %q.w {trans_b=true} %q = add %q.0, %q.b \
         %k.0 = matmul %x, %k.w {trans_b=true} %k = add %k.b, %k.0 output q = %q output k = %k }",
    );
    assert_eq!(
        (count(&extraction.graph, OpKind::Matmul), count(&extraction.graph, OpKind::Add)),
        (1, 0),
        "{text}"
    );
    assert_eq!(count(&extraction.graph, OpKind::Concat), 2, "{text}");
    assert_eq!(extraction.report.after.launches, 1);
}

#[test]
fn endless_rules_end_on_a_cap() {
    // The loader proves nothing, so a wrong rule gets here; it must not run for ever.
    let rules = load(
        "rule endless
doc   Wrong on purpose.
phase algebra
given ?a: float[..]  ?b: float[..]
match ?y = (mul ?a ?b)
make  ?t = (mul (silu ?a) ?b)
equal ?y = ?t
numerics exact
gain  none
",
        "endless",
    )
    .unwrap();
    let module =
        module("func @f { %x = state x : f32[T, 8] %z = state z : f32[T, 8] %y = mul %x, %z output y = %y }");
    let saturated = saturate(&module.functions[0], &module.symbols, &rules, &cpu());
    let extraction = extract(&saturated, &CostModel::cpu(), &sizes);
    assert_eq!(print_function(&extraction.graph), print_function(&module.functions[0].leaves_first()));
    let diagnostics: Vec<String> = extraction.report.diagnostics.iter().map(Diagnostic::to_string).collect();
    assert_eq!(diagnostics, ["phase Algebra ended on the cap of 8 rounds; nodes added: endless 16"]);
}

#[test]
fn views_of_views_cancel() {
    let (text, _) = fused(
        "func @f { %x = state x : f32[T, 8] %a = reshape %x {shape=[T, 2, 4]} %b = reshape %a {shape=[T, 8]} \
         %y = silu %b output y = %y }",
    );
    assert!(text.contains("%y = silu %x"), "{text}");
}

#[test]
fn likely_values_stand_in_for_missing_sizes() {
    let module = module(LAYER);
    let saturated = saturate(&module.functions[0], &module.symbols, &rules(), &cpu());
    let extraction = extract(&saturated, &CostModel::cpu(), &|_| None);
    assert_eq!(extraction.report.diagnostics, []);
}

/// The search finds what trying all selections finds.
#[test]
fn no_selection_is_cheaper() {
    let module = module(LAYER);
    let saturated = saturate(&module.functions[0], &module.symbols, &rules(), &cpu());
    let space = saturated.space.as_ref().unwrap();
    let choices: Vec<(usize, usize)> = space
        .classes
        .iter()
        .enumerate()
        .map(|(index, class)| (index, class.forms.len()))
        .filter(|(_, forms)| *forms > 1)
        .collect();
    let count: usize = choices.iter().map(|(_, forms)| forms).product();
    assert!((500..100_000).contains(&count), "{count}");
    for model in [
        CostModel::cpu(),
        CostModel::ascend(mscc_ir::kernels::ascend::Soc::by_target("ascend910b1").unwrap()),
    ] {
        let mut pricer = Pricer::new(space, &model, &sizes, &mut Vec::new());
        let mut selection = select::original(space);
        let mut least = pricer.price(&selection).unwrap();
        for mut nth in 0..count {
            for (class, forms) in &choices {
                selection[*class] = (nth % forms) as u32;
                nth /= forms;
            }
            least = pricer.price(&selection).map_or(least, |price| price.min(least));
        }
        let found = select::cheapest(space, &mut pricer).unwrap();
        assert_eq!(pricer.price(&found), Some(least), "{}", model.name);
    }
}

#[test]
fn a_write_that_a_wrong_rule_drops_stays() {
    let rules = load(
        "rule drop_write
doc   Wrong on purpose.
phase algebra
given ?c: float[P, S, K, D]  ?rows: float[T, K, D]  ?slots: int[T]
match ?y = (cache_write ?c ?rows ?slots)
equal ?y = ?c
numerics exact
gain  none
",
        "wrong",
    )
    .unwrap();
    let module = module(LAYER);
    let saturated = saturate(&module.functions[0], &module.symbols, &rules, &cpu());
    let extraction = extract(&saturated, &CostModel::cpu(), &sizes);
    assert_eq!(extraction.graph, module.functions[0]);
    let diagnostics: Vec<String> = extraction.report.diagnostics.iter().map(Diagnostic::to_string).collect();
    assert_eq!(
        diagnostics,
        ["the chosen graph is broken (`k.written` lost its effect); the function stays unfused"]
    );
}

#[test]
fn unequal_types_are_blamed_on_the_rule() {
    use super::analysis::{Classes, Types};
    use super::language::{ENode, Head};
    use mscc_ir::Leaf;
    let mut classes = Classes::new(Types::default());
    let leaf = |name: &str, width: i64| {
        let ty = TensorType::new(DType::F32, [mscc_ir::Dim::constant(width)]);
        (Leaf::State(name.to_owned()), ty)
    };
    classes.analysis.leaves = vec![leaf("a", 8), leaf("b", 9)];
    let [a, b] = [0, 1].map(|index| classes.add(ENode::new(Head::Leaf(index), [])));
    classes.analysis.rule = "wrong".to_owned();
    classes.union_trusted(a, b, "wrong");
    classes.rebuild();
    let unsound = classes.analysis.unsound.take().unwrap();
    assert_eq!((unsound.rule.as_str(), unsound.reason.as_str()), ("wrong", "f32[8] made equal to f32[9]"));
}
