use super::*;
use mscc_ir::text::parse_module;

const MODULE: &str = r#"
module m
symbol T in 1..16 likely 8
symbol L in 0..16 likely 8
fact L <= T

func @first {
  %ids = input token_ids : i32[T]
  %table = weight "embed" : f32[9, 8]
  %x = gather %table, %ids
  state h = %x
}

func @layer {
  %h = state h : f32[T, 8]
  %a = weight "layers.{i}.a" : f32[4, 8]
  %b = weight "layers.{i}.b" : f32[4, 8]
  %ab = concat %a, %b {axis=0}
  %m = matmul %h, %ab {trans_b=true}
  %p, %q = split %m {axis=-1, sizes=[4, 4]}
  %s = silu %p
  %t = mul %s, %q
  %u = concat %t, %s {axis=1}
  %v = add %u, %h
  state h = %v
  tap "layers.{i}" = %v
}

func @last {
  %h = state h : f32[T, 8]
  %rows = input logit_index : i32[L]
  %y = gather %h, %rows
  output logits = %y
}

program {
  @first [0]
  @layer [0..3]
  @last [3]
}
"#;

fn form(module: &str) -> Form {
    let module = parse_module(module).unwrap();
    Form { name: "any", guard: Vec::new(), module, reports: Vec::new() }
}

#[test]
fn lowers_to_views_slots_and_recipes() {
    let lowered = lower(&[form(MODULE)], &Target::cpu()).unwrap();
    let layer = &lowered.variants[0].functions[1];
    let kernels: Vec<&str> = layer.launches.iter().map(|launch| launch.kernel.as_str()).collect();
    assert_eq!(kernels, ["matmul", "silu", "mul", "concat", "add", "cast"]);
    let names: Vec<&str> = lowered.recipes.iter().map(|recipe| recipe.name.as_str()).collect();
    assert_eq!(names, ["embed", "layers.{i}.ab"]);
    assert_eq!(lowered.recipes[0].identity().map(|template| template.as_str()), Some("embed"));
    // The split is a view into the product.
    let half = &layer.launches[2].operands[1];
    assert_eq!(
        (half.layout.offset.to_string(), half.layout.strides[0].to_string()),
        ("4".into(), "8".into())
    );
    // The old state is read by the launch that makes the new one, so the new one is copied over at the end … or the
    // slots differ.
    let (read, written) = (&layer.launches[4].operands[1], &layer.launches[4].results[0]);
    assert_ne!(read.base_bytes, written.base_bytes);
    // The output is written where it is wanted.
    let last = &lowered.variants[0].functions[2];
    assert_eq!(last.launches.len(), 1);
    assert_eq!(last.launches[0].results[0].place, mscc_ir::plan::Place::Output(0));
}

#[test]
fn an_op_without_a_kernel_is_an_error() {
    let text = MODULE
        .replace("%s = silu %p", "%s0 = linear %p, %w0\n %s = silu %s0")
        .replace("func @layer {", "func @layer {\n  %w0 = weight \"w0\" : f32[4, 4]");
    let error = lower(&[form(&text)], &Target::cpu()).unwrap_err().to_string();
    assert_eq!(error, "@layer, %s0: cpu has no kernel for `linear` on (f32[T, 4], f32[4, 4])");
}

#[test]
fn stacks_stay_one_leaf_whatever_is_made_of_them() {
    let text = r#"module m
symbol T in 1..16 likely 8
func @layer {
  %ids = input token_ids : i32[T]
  %gate = weight "l.{i-1}.mlp.experts.{e}.gate.weight" : bf16[64, 4, 8]
  %up = weight "l.{i-1}.mlp.experts.{e}.up.weight" : bf16[64, 4, 8]
  %down = weight "l.{i-1}.mlp.experts.{e}.down.weight" : f32[64, 8]
  %mlp.gate_up = concat %gate, %up {axis=1}
  %flat = reshape %mlp.gate_up {shape=[256, 16]}
  %wide = cast %flat {dtype=f32}
  %x = gather %wide, %ids
  %y = gather %down, %ids
  output x = %x
  output y = %y
}
program { @layer [1..3] }
"#;
    let lowered = lower(&[form(text)], &Target::cpu()).unwrap();
    let recipes: Vec<_> = lowered
        .recipes
        .iter()
        .map(|recipe| {
            let sources = recipe.sources().map(|(_, stored)| (stored.name(7, 63), stored.count()));
            (recipe.name.as_str(), recipe.body.len(), sources.collect::<Vec<_>>())
        })
        .collect();
    let member = |part: &str| (format!("l.7.mlp.experts.63.{part}.weight"), 64);
    assert_eq!(
        recipes,
        [
            ("l.{i}.mlp.experts.wide", 5, vec![member("gate"), member("up")]),
            ("l.{i}.mlp.experts.{e}.down.weight", 1, vec![member("down")]),
        ]
    );
    assert!(lowered.recipes.iter().all(|recipe| recipe.identity().is_none()));
    assert!(lowered.variants[0].functions[0].weights.iter().all(|param| param.layer_offset == -1));
}
