mod random;

use super::*;

const TINY: &str = r#"module tiny
symbol B in 1..4 likely 2, P_full in 1..64 likely 8, T in 1..64 likely 8
fact B <= T
cache full full block 16 layers [0..2] { k: bf16[2, 24], v: bf16[2, 24] }

func @layer {
  %hidden_states = state hidden_states : bf16[T, 48]
  %weight = weight "model.layers.{i}.norm.weight" : bf16[48]
  %k_cache = cache full.k : bf16[P_full, 16, 2, 24]
  %slots = input slot_mapping.full : i32[T]
  %norm = rms_norm %hidden_states, %weight {eps=1e-6} : bf16[T, 48]
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
fn errors_name_the_place() {
    let error = |from: &str, to: &str| parse_module(&TINY.replacen(from, to, 1)).unwrap_err().to_string();
    assert_eq!(error("rms_norm %hidden", "rms_nrom %hidden"), "line 11, column 11: unknown op `rms_nrom`");
    assert!(error("%hidden_states, %weight {", "%hidden_states, %w {").contains("`%w` is not defined above"));
    assert!(error("sizes=[16, 32]", "sizes=[16, 16]").contains("the parts add up to 32"));
    assert!(error("eps=1e-6", "eps=1e-6, epsilon=1").contains("unknown attribute `epsilon`"));
    assert!(error("bf16[T, 16], bf16", "bf16[T, 17], bf16").contains("is bf16[T, 16], not bf16[T, 17]"));
    assert!(error("[0..2]\n}", "[2..0]\n}").contains("runs backwards"));
}
