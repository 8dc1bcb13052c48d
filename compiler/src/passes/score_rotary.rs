//! Whether all that is rotated ends in scores.

use std::collections::{BTreeMap, BTreeSet};

use mscc_ir::Module;
use mscc_ir::graph::{Graph, Leaf, Node, NodeKind, Sink, Value};
use mscc_ir::ops::Op;

/// What a value is, as far as rotation is concerned.
#[derive(Clone, PartialEq)]
enum Held {
    /// Rotated parts of queries or keys.
    Rotated,
    /// The tensor of a cache, by name.
    Cache(String),
    /// Anything else.
    Other,
}

/// Whether every rotated value is a part of queries or keys of attention over latents, perhaps by way of a cache that
/// holds nothing else. Only products of the two count then, so that their elements may stand in any order, if it is
/// the same everywhere.
pub fn ends_in_scores(module: &Module) -> bool {
    let mut caches: BTreeMap<String, bool> = BTreeMap::new();
    let mut rotates = false;
    for graph in &module.functions {
        let held = held(graph, &BTreeSet::new());
        for (_, node) in graph.nodes() {
            match node.op() {
                Some(Op::Rope(rope)) if !rope.interleaved || !turns_all(graph, node) => return false,
                Some(Op::Rope(_)) => rotates = true,
                Some(Op::CacheWrite(_)) => {
                    if let Held::Cache(cache) = &held[&node.operands[0]] {
                        *caches.entry(cache.clone()).or_insert(true) &=
                            held[&node.operands[1]] == Held::Rotated;
                    }
                }
                _ => {}
            }
        }
    }
    let rotated: BTreeSet<String> =
        caches.into_iter().filter(|(_, rotated)| *rotated).map(|(cache, _)| cache).collect();
    rotates && module.functions.iter().all(|graph| sound(graph, &rotated))
}

/// Whether no element of a head stays as it is.
fn turns_all(graph: &Graph, rope: &Node) -> bool {
    let (width, half) = (graph.ty(rope.operands[0]).last(), graph.ty(rope.operands[1]).last());
    width == half * mscc_ir::Dim::constant(2)
}

/// What each value is; what is read from the caches `rotated` is.
fn held(graph: &Graph, rotated: &BTreeSet<String>) -> BTreeMap<Value, Held> {
    let mut held: BTreeMap<Value, Held> = BTreeMap::new();
    for (id, node) in graph.nodes() {
        let of = |operand: usize| held[&node.operands[operand]].clone();
        let is = match &node.kind {
            NodeKind::Leaf(Leaf::Cache(cache)) => Held::Cache(cache.to_string()),
            NodeKind::Op(Op::Rope(_)) => Held::Rotated,
            NodeKind::Op(Op::Reshape(_) | Op::CacheWrite(_)) => of(0),
            NodeKind::Op(Op::CacheRead(_)) => match of(0) {
                Held::Cache(cache) if rotated.contains(&cache) => Held::Rotated,
                Held::Cache(_) | Held::Rotated | Held::Other => Held::Other,
            },
            NodeKind::Leaf(_) | NodeKind::Op(_) => Held::Other,
        };
        for index in 0..node.results.len() as u32 {
            held.insert(Value { node: id, index }, is.clone());
        }
    }
    held
}

/// Whether what is rotated, and caches of it, have no readers but those that score.
fn sound(graph: &Graph, rotated: &BTreeSet<String>) -> bool {
    let held = held(graph, rotated);
    let turned = |value: &Value| match &held[value] {
        Held::Rotated => true,
        Held::Cache(cache) => rotated.contains(cache),
        Held::Other => false,
    };
    let nodes = graph.nodes().all(|(_, node)| {
        let are: Vec<bool> = node.operands.iter().map(turned).collect();
        match node.op() {
            Some(Op::RaggedAttention(_) | Op::LatentAttention(_)) => {
                let others = are.iter().enumerate().any(|(at, turned)| *turned && at != 1 && at != 3);
                are[1] == are[3] && !others
            }
            Some(Op::CacheWrite(_)) => are[0] == are[1],
            Some(Op::Reshape(_) | Op::CacheRead(_)) => true,
            _ => !are.contains(&true),
        }
    });
    nodes && graph.sinks().iter().all(|(sink, value)| matches!(sink, Sink::Cache(_)) || !turned(value))
}

#[cfg(test)]
mod tests {
    use mscc_ir::ops::OpKind;
    use mscc_ir::reference::{Rounding, Sampler, Tensor, interpret};
    use mscc_ir::text::parse_module;
    use mscc_ir::{DType, Symbol};

    use super::*;
    use crate::passes::suit::suit;
    use crate::target::Target;

    const LATENT: &str = "module m
symbol B in 1..8 likely 8
symbol C in 1..65536 likely 4096
symbol M in 1..64 likely 32
symbol P_latent in 1..4096 likely 256
symbol S in 1..64 likely 64
symbol T in 1..512 likely 64
cache latent latent block 16 layers [0..1] { k_rope: bf16[64] }
func @layer {
  %q = state q : bf16[T, 4, 64]
  %k = state k : bf16[T, 1, 64]
  %q_nope = state q_nope : bf16[T, 4, 16]
  %keys = state keys : bf16[C, 4, 16]
  %positions = input positions : i32[T]
  %cache = cache latent.k_rope : bf16[P_latent, 16, 64]
  %table = input block_table.latent : i32[B, M]
  %slots = input slot_mapping.latent : i32[T]
  %query_start = input query_start : i32[B + 1]
  %context_len = input context_len : i32[B]
  %freqs = rope_freqs {dim=64, theta=100.0}
  %cos, %sin = rope_table %positions, %freqs
  %q_turned = rope %q, %cos, %sin {interleaved=true}
  %k_turned = rope %k, %cos, %sin {interleaved=true}
  %flat = reshape %k_turned {shape=[T, 64]}
  %written = cache_write %cache, %flat, %slots
  %ropes = cache_read %written, %table, %context_len {rows=[C]}
  %y = ragged_attention %q_nope, %q_turned, %keys, %ropes, %keys, %query_start, %context_len {scale=0.2}
  state y = %y
  cache latent.k_rope = %written
}
program { @layer [0..1] }
";

    /// The order of what is rotated is another one in queries and caches, and scores are the same.
    #[test]
    fn scores_cannot_tell() {
        let module = parse_module(LATENT).unwrap();
        let target = Target::by_name("ascend910b3").unwrap();
        let suited = suit(&module, &target);
        let kinds = |kind| {
            suited.functions[0].nodes().filter(|(_, node)| node.op().map(Op::kind) == Some(kind)).count()
        };
        assert_eq!((kinds(OpKind::InterleaveRope), kinds(OpKind::ApplyRotary)), (2, 0));
        let sizes = |symbol: &Symbol| match symbol.name() {
            "B" => Some(1),
            "C" => Some(5),
            "M" | "P_latent" => Some(1),
            "S" => Some(64),
            "T" => Some(5),
            _ => None,
        };
        let mut leaves = Sampler::new(3).leaves(&suited.functions[0], &sizes).unwrap();
        // All that is attended to is new, as what the cache holds was stored in the order of each.
        leaves.insert("context_len".to_owned(), Tensor::int(DType::I32, &[1], vec![5]));
        leaves.insert("query_start".to_owned(), Tensor::int(DType::I32, &[2], vec![0, 5]));
        leaves.insert("slots".to_owned(), Tensor::int(DType::I32, &[5], (0..5).collect()));
        leaves.insert("table".to_owned(), Tensor::int(DType::I32, &[1, 1], vec![0]));
        let y = |graph: &Graph| {
            let values = interpret(graph, &sizes, &leaves, Rounding::Exact).unwrap();
            values[&graph.by_name("y").unwrap()].to_f64()
        };
        let (old, new) = (y(&module.functions[0]), y(&suited.functions[0]));
        assert_eq!(old.len(), new.len());
        assert!(old.iter().zip(&new).all(|(old, new)| (old - new).abs() < 1e-9), "{old:?} {new:?}");
        assert!(old.iter().any(|y| *y != 0.0));
    }

    #[test]
    fn what_else_reads_the_rotated_is_found() {
        let ends = |text: &str| ends_in_scores(&parse_module(text).unwrap());
        assert!(ends(LATENT));
        let others = [
            ("%cos, %sin {interleaved=true}\n  %k", "%cos, %sin\n  %k"),
            ("  state y = %y", "  %twice = add %q_turned, %q_turned\n  state t = %twice\n  state y = %y"),
            ("  state y = %y", "  state q_turned = %q_turned\n  state y = %y"),
            ("%q_nope, %q_turned, %keys", "%q_nope, %q, %keys"),
            (
                "  state y = %y",
                "  %plain = reshape %k {shape=[T, 64]}\n  %again = cache_write %written, %plain, %slots\n  state y = %y",
            ),
            (
                "  %q_turned = rope %q, %cos, %sin {interleaved=true}\n  %k_turned = rope %k, %cos, %sin {interleaved=true}\n",
                "  %q_turned = scale %q {by=2.0}\n  %k_turned = scale %k {by=2.0}\n",
            ),
        ];
        for (from, to) in others {
            assert!(LATENT.contains(from), "{from}");
            assert!(!ends(&LATENT.replace(from, to)), "{to}");
        }
    }
}
