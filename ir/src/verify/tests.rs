//! One module for each way to be wrong.

use super::*;
use crate::graph::CacheRef;
use crate::module::Call;
use crate::ops::Silu;
use crate::text::parse_module;
use crate::{DType, Dim, SymbolInfo};

const HEAD: &str = "module m
symbol T in 0..64 likely 8
symbol B in 1..8 likely 2
symbol P_full in 1..64 likely 8
symbol M in 1..8 likely 2
cache full full block 4 layers [0..2, 3..5] { k: f32[2, 8], v: f32[2, 8] }
";

const SOUND: &str = r#"func @embed {
  %x = input x : f32[T, 2, 8]
  state hidden_states = %x
}
func @layer {
  %hidden_states = state hidden_states : f32[T, 2, 8]
  %slots = input slot_mapping.full : i32[T]
  %k_cache = cache full.k : f32[P_full, 4, 2, 8]
  %k = cache_write %k_cache, %hidden_states, %slots
  %v_cache = cache full.v : f32[P_full, 4, 2, 8]
  %v = cache_write %v_cache, %hidden_states, %slots
  %table = input block_table.full : i32[B, M]
  %start = input query_start : i32[B + 1]
  %context = input context_len : i32[B]
  %y = attention %hidden_states, %k, %v, %table, %start, %context {scale=1.0}
  state hidden_states = %y
  cache full.k = %k
  cache full.v = %v
}
program { @embed [0] @layer [0..2] @layer [3..5] }
"#;

#[track_caller]
fn module(body: &str) -> Module {
    parse_module(&format!("{HEAD}{body}")).unwrap_or_else(|error| panic!("{error}\n{body}"))
}

/// The problems of a module, as text.
#[track_caller]
fn problems(module: &Module) -> Vec<String> {
    verify(module).iter().map(VerifyError::to_string).collect()
}

/// The module of `SOUND` with `from` replaced must have this one problem.
#[track_caller]
fn check(from: &str, to: &str, expected: &str) {
    assert!(SOUND.contains(from), "{from}");
    assert_eq!(problems(&module(&SOUND.replace(from, to))), [expected]);
}

#[test]
fn a_sound_module_has_no_problem() {
    assert_eq!(problems(&module(SOUND)), [""; 0]);
}

#[test]
fn operands_that_do_not_fit() {
    let mut module = module("func @f {\n%x = input x : f32[T]\n%y = silu %x\n%z = silu %x\n}");
    let graph = &mut module.functions[0];
    let z = graph.by_name("z").unwrap().node;
    graph.node_mut(z).operands.clear();
    graph.node_mut(NodeId(0)).results[0].ty.dtype = DType::I8;
    assert_eq!(
        problems(&module),
        [
            "@f, %y: `silu`: operand `x` is i8, expected a float type",
            "@f, %z: `silu`: expected operands (x), found 0",
        ]
    );
}

#[test]
fn a_stated_type_that_is_not_inferred() {
    let mut module = module("func @f {\n%x = input x : f32[T]\n%a, %b = split %x {axis=0, sizes=[0, T]}\n}");
    let node = module.functions[0].node_mut(NodeId(1));
    node.results[1].ty.shape[0] = Dim::symbol("B");
    assert_eq!(problems(&module), ["@f, %a: is stated as f32[0], f32[B], but its op gives f32[0], f32[T]"]);
}

#[test]
fn values_before_they_are_defined() {
    let sound = module("func @f {\n%x = input x : f32[T]\n%y = silu %x\noutput y = %y\n}");
    for (node, index) in [(1, 0), (2, 0), (9, 0), (0, 1)] {
        let value = Value { node: NodeId(node), index };
        let mut broken = sound.clone();
        broken.functions[0].node_mut(NodeId(1)).operands[0] = value;
        assert_eq!(problems(&broken), ["@f, %y: uses a value that no earlier node defines"], "{value:?}");
    }
    for (node, index) in [(2, 0), (1, 1)] {
        let mut broken = sound.clone();
        broken.functions[0].sink(Sink::Output("z".into()), Value { node: NodeId(node), index });
        assert_eq!(problems(&broken), ["@f: uses a value that no earlier node defines"]);
    }
}

#[test]
fn symbols_that_are_not_declared() {
    assert_eq!(
        problems(&module("func @f { %x = input x : f32[T, floordiv(Z, 2)] }")),
        ["@f, %x: symbol `Z` is not declared"]
    );
}

#[test]
fn sizes_that_may_be_negative_or_have_no_bound() {
    let dims = ["T - 1", "-1", "B - T", "9223372036854775807*T"];
    for dim in dims {
        let problems = problems(&module(&format!("func @f {{ %x = input x : i8[{dim}] }}")));
        assert_eq!(problems, [format!("@f, %x: dim `{dim}` may be negative or is not bounded")]);
    }
    let mut graph = Graph::new("f");
    graph.leaf(Leaf::Input("x".into()), "x", TensorType::new(DType::F32, [Dim::INVALID]));
    let module = Module { functions: vec![graph], ..Module::default() };
    assert_eq!(problems(&module), ["@f, %x: dim `invalid` may be negative or is not bounded"]);
}

#[test]
fn cache_groups_that_cannot_be() {
    let group = |from: &str, to: &str, reason: &str| {
        let text = HEAD.replace(from, to);
        assert_ne!(text, HEAD);
        assert_eq!(problems(&parse_module(&text).unwrap()), [format!("cache `full` {reason}")]);
    };
    group("block 4", "block 0", "has pages of 0 tokens");
    group("full full", "full window 0", "has a window of 0 tokens");
    for layers in ["[0..2, 1..5]", "[3..5, 0..2]", "[0..0]", "[0..4294967295, 5..4294967295]"] {
        group("[0..2, 3..5]", layers, "has layers that are not ascending and disjoint");
    }
    group("v: f32[2, 8]", "k: f32[2, 8]", "has two tensors of one name");
    group("v: f32[2, 8]", "v: f32[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "has a tensor of too many axes");
    let mut module = module("");
    module.caches.push(module.caches[0].clone());
    assert_eq!(problems(&module), ["cache `full` is declared twice"]);
    module.caches.truncate(1);
    module.caches[0].name = "a b".into();
    assert_eq!(problems(&module), ["cache `a b` has a name that is no symbol's"]);
}

#[test]
fn cache_tensors_that_are_not_there() {
    check(
        "%v_cache = cache full.v",
        "%v_cache = cache full.w",
        "@layer, %v_cache: there is no cache tensor `full.w`",
    );
    check("  cache full.v = %v", "  cache swa.v = %v", "@layer, %v: there is no cache tensor `swa.v`");
    let calls = "@layer [0..2] @layer [3..5]";
    let body = SOUND.replace(calls, "@layer [0..3]");
    let missing = |value: &str, tensor: &str| {
        format!("@layer, %{value}: there is no cache tensor `full.{tensor} of layer 2`")
    };
    assert_eq!(
        problems(&module(&body)),
        [missing("k_cache", "k"), missing("v_cache", "v"), missing("k", "k"), missing("v", "v")]
    );
    for (layers, found) in [("[4..6]", true), ("[1..4]", true), ("[4294967294]", true), ("[4..5]", false)] {
        let module = module(&SOUND.replace(calls, &format!("@layer {layers}")));
        assert_eq!(!verify(&module).is_empty(), found, "{layers}");
    }
}

#[test]
fn boundaries_of_another_type() {
    check(
        "cache full.k = %k",
        "cache full.k = %y",
        "@layer, %y: `full.k` is f32[P_full, 4, 2, 8], not f32[T, 2, 8]",
    );
    let body = "func @f { %k = cache full.k : f16[P_full, 4, 2, 8] }";
    assert_eq!(
        problems(&module(body)),
        ["@f, %k: `full.k` is f32[P_full, 4, 2, 8], not f16[P_full, 4, 2, 8]"]
    );
    let body = "func @f { %x = input x : f32[T] } func @g { %y = input x : f32[B] }";
    assert_eq!(problems(&module(body)), ["@g, %y: `x` is f32[T], not f32[B]"]);
    check(
        "%x = input x : f32[T, 2, 8]",
        "%x = input x : f32[B, 2, 8]",
        "@layer, %hidden_states: `hidden_states` is f32[B, 2, 8], not f32[T, 2, 8]",
    );
    // The second call of a range meets what the first left.
    let body = "func @f { %x = input x : f32[T] state s = %x }
        func @g { %s = state s : f32[T]\n%b = input b : f32[B]\nstate s = %b }
        program { @f [0] @g [0..7] }";
    assert_eq!(problems(&module(body)), ["@g, %s: `s` is f32[B], not f32[T]"]);
}

#[test]
fn caches_read_after_they_are_overwritten() {
    let overwritten =
        |value: &str, by: &str| format!("@layer, %{value}: is overwritten by `{by}` and read elsewhere too");
    check("%hidden_states, %k, %v,", "%hidden_states, %k_cache, %v,", &overwritten("k_cache", "k"));
    check(
        "  cache full.k = %k\n",
        "  cache full.k = %k\n  output old = %k_cache\n",
        &overwritten("k_cache", "k"),
    );
    // Under another name: a second leaf for the same tensor, or a view.
    check(
        "%y = attention %hidden_states, %k,",
        "%again = cache full.k : f32[P_full, 4, 2, 8]\n%y = attention %hidden_states, %again,",
        &overwritten("k_cache", "k"),
    );
    check(
        "%y = attention %hidden_states, %k,",
        "%flat = reshape %k_cache {shape=[4*P_full, 2, 8]}\n\
         %paged = reshape %flat {shape=[P_full, 4, 2, 8]}\n%y = attention %hidden_states, %paged,",
        &overwritten("k_cache", "k"),
    );
    check(
        "%k = cache_write %k_cache,",
        "%k_view = transpose %k_cache {permutation=[0, 1, 2, 3]}\n%copy = silu %k_cache\n%k = cache_write %k_view,",
        &overwritten("k_view", "k"),
    );
    let twice = "  %other = cache_write %k_cache, %hidden_states, %slots\n  cache full.k = %k\n";
    let body = SOUND.replace("  cache full.k = %k\n", twice);
    assert_eq!(problems(&module(&body)), [overwritten("k_cache", "k"), overwritten("k_cache", "other")]);
}

#[test]
fn what_may_be_overwritten() {
    // A view that nobody reads, and the new value as often as one likes.
    let body = SOUND
        .replace(
            "  cache full.k = %k\n",
            "  %view = reshape %k_cache {shape=[4*P_full, 2, 8]}\n  cache full.k = %k\n",
        )
        .replace("  cache full.v = %v\n", "  cache full.v = %v\n  output v = %v\n");
    assert_eq!(problems(&module(&body)), [""; 0]);
}

#[test]
fn weights_and_own_rows_are_not_overwritten() {
    let body = |cache: &str, rows: &str| {
        format!(
            "func @f {{\n%w = weight \"w\" : f32[T, 1, 1]\n%x = input x : f32[T, 1, 1]\n%slots = input s : i32[T]\n\
             %rows = reshape %{rows} {{shape=[T, 1]}}\n%new = cache_write %{cache}, %rows, %slots\n}}"
        )
    };
    let overwritten = |value: &str| format!("@f, %{value}: is overwritten by `new` and read elsewhere too");
    assert_eq!(problems(&module(&body("w", "x"))), [overwritten("w")]);
    assert_eq!(problems(&module(&body("x", "x"))), [overwritten("x")]);
    assert_eq!(problems(&module(&body("x", "w"))), [""; 0]);
}

#[test]
fn sinks_written_twice() {
    let twice = |sink: &str, name: &str| {
        check(
            "  state hidden_states = %y\n",
            &format!("  state hidden_states = %y\n  {sink} = %y\n  {sink} = %y\n"),
            &format!("@layer, %y: `{name}` is written twice"),
        );
    };
    twice("output logits", "output logits");
    twice("tap \"a.{i}\"", "tap \"a.{i}\"");
    twice("state other", "state other");
    check("  cache full.v = %v\n", "  cache full.k = %v\n", "@layer, %v: `cache full.k` is written twice");
}

#[test]
fn state_that_no_call_leaves() {
    check(
        "state hidden_states = %x",
        "state other = %x",
        "@layer, %hidden_states: reads state `hidden_states`, which no earlier call leaves",
    );
}

#[test]
fn calls_of_no_function() {
    let mut module = module(SOUND);
    module.program.push(Call { function: 7, layers: 0..u32::MAX });
    assert_eq!(problems(&module), ["the program calls function number 7, which does not exist"]);
}

#[test]
fn symbols_without_sense_do_no_harm() {
    let mut module = module(SOUND);
    let info = SymbolInfo { min: i64::MIN, max: i64::MIN, likely: i64::MAX };
    module.symbols.declare("T", info);
    assert!(!verify(&module).is_empty());
    let mut graph = Graph::new("g");
    let x = graph.leaf(
        Leaf::Cache(CacheRef { group: "full".into(), tensor: String::new() }),
        "x",
        TensorType::new(DType::F32, []),
    );
    graph.op1(Silu, &[x], "").unwrap();
    module.functions.push(graph);
    verify(&module);
}

#[test]
fn stacks_have_a_countable_axis() {
    let stack = |ty: &str| {
        problems(&module(&format!(
            "func @f {{\nweight \"l.{{i}}.{{e}}.\" %w: {ty}\noutput y = %w\n}}\nprogram {{ @f [0] }}"
        )))
    };
    assert_eq!(stack("f32[3, 4, 8]"), [""; 0]);
    for bad in ["f32[T, 4]", "f32[0, 4]", "f32[65537]", "f32[]"] {
        let expected = "@f, %w: `l.{i}.{e}.w` names a stack, whose axis 0 must be a constant count of tensors, 1 to 65536";
        assert_eq!(stack(bad), [expected], "{bad}");
    }
}

#[test]
fn caches_are_reached_through_their_own_tables() {
    for (own, place) in [("slot_mapping", "k"), ("block_table", "y")] {
        let mut module = module(&SOUND.replace(&format!("input {own}.full"), &format!("input {own}.other")));
        let first = problems(&module);
        assert_eq!(first[0], format!("@layer, %{place}: cache `full` is reached through `{own}.other`"));
        module.caches.clear();
        assert!(!problems(&module).is_empty());
    }
}

#[test]
fn readers_see_no_more_than_a_window_keeps() {
    let windowed = |attrs: &str| {
        let head = HEAD.replace("full full", "full window 5");
        let body = SOUND.replace("{scale=1.0}", &format!("{{scale=1.0{attrs}}}"));
        problems(&parse_module(&format!("{head}{body}")).unwrap())
    };
    assert_eq!(windowed(", window=5"), [""; 0]);
    assert_eq!(windowed(", window=6"), ["@layer, %y: cache `full` keeps 5 tokens, and its reader sees 6"]);
    assert_eq!(windowed(""), ["@layer, %y: cache `full` keeps 5 tokens, and its reader sees all"]);
}
