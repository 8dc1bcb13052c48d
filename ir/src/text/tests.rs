mod random;

use super::*;

const TINY: &str = r#"module tiny
symbol B in 1..4 likely 2, P_full in 1..64 likely 8, T in 1..64 likely 8
fact B <= T
cache full full block 16 layers [0..2] { k: bf16[2, 24], v: bf16[2, 24] }

func @layer {
  input %slots = slot_mapping.full: i32[T]
  state %hidden_states: bf16[T, 48]
  cache %k_cache = full.k: bf16[P_full, 16, 2, 24], %full.v: bf16[P_full, 16, 2, 24]
  weight "model.layers.{i}." %norm.weight: bf16[48], %tied = "lm_head.weight": bf16[48]
  %norm = rms_norm %hidden_states, %norm.weight {eps=1e-6} : bf16[T, 48]
  %heads = reshape %norm {shape=[T, 2, 24]} : bf16[T, 2, 24]
  %k = cache_write %k_cache, %heads, %slots : bf16[P_full, 16, 2, 24]
  %a, %b = split %norm {axis=-1, sizes=[16, 32]} : bf16[T, 16], bf16[T, 32]
  state hidden_states = %norm
  cache full.k = %k
  tap "model.layers.{i}" = %norm
}

program {
  @layer [0..2]
}
"#;

#[test]
fn prints_what_it_parses() {
    let module = parse_module(TINY).unwrap();
    assert_eq!(print_module(&module), TINY);
    assert_eq!(parse_module(&print_module(&module)).unwrap(), module);
}

#[test]
fn leaves_are_gathered_in_lists() {
    let long = r#"func @f {
  %x = state x : f32[T]
  %hidden_states = state hidden_states : f32[T]
  %sum = add %x, %hidden_states
  %w = weight "layers.{i}.a.w" : f32[4]
  %a.b = weight "layers.{i}.a.b" : f32[4]
  %renamed = weight "layers.{i}.c" : f32[4]
  %head.w = weight "head.w" : f32[4]
  %d = weight "head" : f32[4]
  %longer_than_that_one.e = weight "some.longer_than_that_one.e" : f32[4]
  %input_layernorm.weight = weight "some.input_layernorm.weight" : f32[4]
  %post_attention_layernorm.weight = weight "some.post_attention_layernorm.weight" : f32[4]
  %token_ids = input token_ids : i32[T]
  state x = %sum
  state hidden_states = %x
}
"#;
    let short = r#"func @f {
  state %x: f32[T], %hidden_states: f32[T]
  %sum = add %x, %hidden_states : f32[T]
  weight "layers.{i}.a." %w: f32[4]
  weight "layers.{i}." %a.b: f32[4], %renamed = "layers.{i}.c": f32[4]
  weight %head.w: f32[4], %d = "head": f32[4]
  weight "some." %longer_than_that_one.e: f32[4], %input_layernorm.weight: f32[4]
  weight "some." %post_attention_layernorm.weight: f32[4]
  input %token_ids: i32[T]
  state x = %sum, hidden_states = %x
}
"#;
    let graph = parse_function(long).unwrap();
    assert_eq!(print_function(&graph), short);
    assert_eq!(parse_function(short).unwrap(), graph);
}

#[test]
fn errors_name_the_place() {
    let error = |from: &str, to: &str| parse_module(&TINY.replacen(from, to, 1)).unwrap_err().to_string();
    assert_eq!(error("rms_norm %hidden", "rms_nrom %hidden"), "line 11, column 11: unknown op `rms_nrom`");
    assert!(
        error("%hidden_states, %norm.weight {", "%hidden_states, %w {").contains("`%w` is not defined above")
    );
    assert!(error("sizes=[16, 32]", "sizes=[16, 16]").contains("the parts add up to 32"));
    assert!(error("eps=1e-6", "eps=1e-6, epsilon=1").contains("unknown attribute `epsilon`"));
    assert!(error("bf16[T, 16], bf16", "bf16[T, 17], bf16").contains("is bf16[T, 16], not bf16[T, 17]"));
    assert!(error("%full.v:", "%slots:").contains("`%slots` is defined twice"));
    assert!(error("%full.v:", "%full:").contains("expected GROUP.TENSOR, found `full`"));
    assert!(error("{i}.\" %", "{j}.\" %").contains("bad placeholder in `model.layers.{j}.`"));
    assert!(error("state %hidden_states:", "state hidden_states:").contains("expected `=`, found `:`"));
    assert!(error("input %slots", "input slots").contains("expected `%`, found `s`"));
    assert!(error("[0..2]\n}", "[2..0]\n}").contains("runs backwards"));
}
