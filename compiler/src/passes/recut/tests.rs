use super::*;
use mscc_ir::text::{parse_module, print_module};
use mscc_ir::verify::verify;

const MODULE: &str = r#"
module two_kinds
symbol B in 1..4 likely 2
symbol C in 1..64 likely 8
symbol A in 1..64 likely 8
symbol M in 1..4 likely 2
symbol P_full in 1..16 likely 8
symbol T in 1..16 likely 8
cache full full block 4 layers [0..5] { k: f32[1, 4], v: f32[1, 4] }

func @embed {
  %ids = input token_ids : i32[T]
  %table = weight "embed" : f32[9, 4]
  %x = gather %table, %ids
  state hidden_states = %x
  tap "embed" = %x
}

func @layer {
  %x = state hidden_states : f32[T, 4]
  %w = weight "layers.{i}.norm" : f32[4]
  %k_cache = cache full.k : f32[P_full, 4, 1, 4]
  %v_cache = cache full.v : f32[P_full, 4, 1, 4]
  %slots = input slot_mapping.full : i32[T]
  %table = input block_table.full : i32[B, M]
  %starts = input query_start : i32[B + 1]
  %contexts = input context_len : i32[B]
  %n = rms_norm %x, %w {eps=1e-6}
  %q = reshape %n {shape=[T, 1, 4]}
  %k = cache_write %k_cache, %q, %slots
  %v = cache_write %v_cache, %q, %slots
  %a = attention %q, %k, %v, %table, %starts, %contexts {scale=0.5}
  %o = reshape %a {shape=[T, 4]}
  %y = add %o, %x
  state hidden_states = %y
  cache full.k = %k
  cache full.v = %v
  tap "layers.{i}" = %y
}

func @head {
  %x = state hidden_states : f32[T, 4]
  %w = weight "norm" : f32[4]
  %n = rms_norm %x, %w {eps=1e-6}
  output logits = %n
}

program {
  @embed [0]
  @layer [0..5]
  @head [5]
}
"#;

#[test]
fn layers_are_cut_at_attention() {
    let module = recut(&parse_module(MODULE).unwrap());
    assert_eq!(verify(&module), vec![]);
    let names: Vec<&str> = module.functions.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(names, ["embed.layer", "layer", "layer.head"]);
    let calls: Vec<_> = module.program.iter().map(|call| (call.function, call.layers.clone())).collect();
    assert_eq!(calls, [(0, 0..1), (1, 1..5), (2, 5..6)]);
    let text = print_module(&module);
    assert!(text.contains(r#"tap "layers.{i-1}" = %y"#), "{text}");
    let middle = mscc_ir::text::print_function(&module.functions[1]);
    assert!(middle.contains("%n = rms_norm %y"), "{middle}");
    assert_eq!(parse_module(&text).unwrap(), module);
}

#[test]
fn one_layer_alone() {
    let module = parse_module(&MODULE.replace("[0..5]\n  @head [5]", "[0..1]\n  @head [1]")).unwrap();
    let module = recut(&module);
    assert_eq!(verify(&module), vec![]);
    assert_eq!(module.functions.len(), 2);
}

#[test]
fn offsets_are_read_from_templates() {
    let offset = |text: &str| layer_offset(&Template::new(text).unwrap());
    assert_eq!(offset("a.{i-1}.b"), Some(-1));
    assert_eq!(offset("a.{i}.{i+2}"), Some(2));
    assert_eq!(offset("a"), None);
}
