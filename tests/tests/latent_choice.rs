//! Which form attention over cached latents takes is a matter of cost: a sweep over new tokens and context shows where the
//! two forms cross, and that they cross elsewhere in models of other sizes, as they should.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::fs;

use mscc_compiler::cost::Target as _;
use mscc_compiler::egraph::{Saturated, extract, saturate};
use mscc_compiler::{Options, Target};
use mscc_ir::ops::OpKind;
use mscc_ir::{Graph, Symbol, step};
use mscc_patterns::builtin;
use mscc_tests::data;
use mscc_tests::stages::before_fusion_with;

const CONTEXTS: [i64; 5] = [512, 2048, 8192, 32_768, 131_072];
const TOKENS: [i64; 9] = [1, 4, 16, 64, 128, 256, 512, 1024, 2048];
/// DeepSeek-V3's own.
const RANK: i64 = 512;
const HEADS: i64 = 128;

#[test]
fn forms_of_deepseek_v3_cross() {
    let mut table = String::new();
    for target in ["cpu", "ascend910b3"] {
        let layer = layer(target, RANK, HEADS);
        let _ = writeln!(table, "{target}: new tokens");
        let head: String = TOKENS.iter().map(|tokens| format!("{tokens:>9}")).collect();
        let _ = writeln!(table, "context{head}  expanded from");
        for context in CONTEXTS {
            let crossing = layer.crossing(context).unwrap();
            let _ = write!(table, "{context:>7}");
            for tokens in TOKENS.into_iter().filter(|tokens| *tokens <= context) {
                let is_absorbed = layer.is_absorbed(tokens, context);
                assert_eq!(is_absorbed, tokens < crossing, "{tokens} of {context} on {target}");
                let _ = write!(table, "{:>9}", if is_absorbed { "absorbed" } else { "expanded" });
            }
            let unused = TOKENS.iter().filter(|tokens| **tokens > context).count();
            let _ = writeln!(table, "{:1$}{crossing:>15}", "", 9 * unused);
        }
    }
    insta::assert_snapshot!(table);
}

/// A pair of tokens takes `2 * (2 * rank + rope)` operations a head where attention is over latents, and
/// `2 * (nope + rope + v)` where it is over keys and values. Making those takes `2 * (nope + v) * rank` of each cached
/// token, absorbing as much of each new one. With a long context the forms take as long at
/// `(nope + v) * rank / (2 * rank - nope - v)` new tokens: fewer, the greater the rank. NPUs count more than arithmetic, and
/// have no operator for ranks above 512.
#[test]
fn a_greater_rank_expands_earlier() {
    let mut table = String::new();
    for (target, ranks) in [("cpu", [256, RANK, 1024]), ("ascend910b3", [256, 384, RANK])] {
        let _ = writeln!(table, "{target}: expanded from");
        let mut before = i64::MAX;
        for rank in ranks {
            let crossings = crossings(&layer(target, rank, HEADS));
            let _ = writeln!(table, "rank {rank:>4}, {HEADS} heads: {crossings:?}");
            let last = crossings[crossings.len() - 1];
            assert!(last < before, "{table}");
            before = last;
            if target == "cpu" {
                let (nope, v) = (128, 128);
                let expected = (nope + v) * rank / (2 * rank - nope - v);
                assert!((last - expected).abs() * 50 <= expected, "rank {rank}: {last}, not {expected}");
            }
        }
    }
    insta::assert_snapshot!(table);
}

/// All arithmetic grows with the heads. What does not is that all of them read the same latents, which counts less, the more
/// heads there are: then the forms cross where their arithmetic does.
#[test]
fn more_heads_expand_no_later() {
    let mut table = String::new();
    for target in ["cpu", "ascend910b3"] {
        let _ = writeln!(table, "{target}: expanded from");
        let mut before: Option<Vec<i64>> = None;
        for heads in [16, 32, 64, HEADS] {
            let crossings = crossings(&layer(target, RANK, heads));
            let _ = writeln!(table, "rank {RANK}, {heads:>3} heads: {crossings:?}");
            if let Some(before) = &before {
                assert!(crossings.iter().zip(before).all(|(now, before)| now <= before), "{table}");
                assert!(crossings != *before, "{table}");
            }
            before = Some(crossings);
        }
    }
    insta::assert_snapshot!(table);
}

/// From how many new tokens on keys and values are made of the latents, for each length of the context.
fn crossings(layer: &Layer) -> Vec<i64> {
    CONTEXTS.iter().map(|context| layer.crossing(*context).unwrap()).collect()
}

/// A layer of DeepSeek-V3 with another rank of latents or number of heads, in all its forms.
fn layer(target: &str, kv_lora_rank: i64, num_attention_heads: i64) -> Layer {
    let text = fs::read_to_string(data().join("configs/deepseek-v3-671b.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config["kv_lora_rank"] = kv_lora_rank.into();
    config["num_attention_heads"] = num_attention_heads.into();
    config["num_key_value_heads"] = num_attention_heads.into();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    fs::write(&path, config.to_string()).unwrap();
    let options = Options { model: Some(path), target: Some(target.to_owned()), ..Options::default() };
    let (module, target) = before_fusion_with(&options).unwrap();
    let attends = |graph: &&Graph| uses(graph, OpKind::RaggedAttention);
    let function = module.functions.iter().find(attends).unwrap();
    let saturated = saturate(function, &module.symbols, &builtin().unwrap(), &target);
    Layer { saturated, target }
}

struct Layer {
    saturated: Saturated,
    target: Target,
}

impl Layer {
    /// Whether attention is over latents themselves, in a step of one sequence.
    fn is_absorbed(&self, tokens: i64, context: i64) -> bool {
        let sizes = |symbol: &Symbol| match symbol.name() {
            step::TOKENS | step::MAX_NEW => Some(tokens),
            step::CONTEXT | step::MAX_CONTEXT => Some(context),
            step::PAIRS => Some(tokens * context),
            step::SEQUENCES | step::LOGITS => Some(1),
            step::DECODE_TOKENS | step::DECODE_SEQUENCES => Some(i64::from(tokens == 1)),
            _ => None,
        };
        let chosen = extract(&self.saturated, self.target.cost_model(), &sizes);
        !uses(&chosen.graph, OpKind::RaggedAttention)
    }

    /// The number of new tokens from which keys and values are made of the latents.
    fn crossing(&self, context: i64) -> Option<i64> {
        if self.is_absorbed(context, context) {
            return None;
        }
        let (mut absorbed, mut expanded) = (0, context);
        while absorbed + 1 < expanded {
            let between = (absorbed + expanded) / 2;
            let side = if self.is_absorbed(between, context) { &mut absorbed } else { &mut expanded };
            *side = between;
        }
        Some(expanded)
    }
}

fn uses(graph: &Graph, kind: OpKind) -> bool {
    graph.nodes().any(|(_, node)| node.op().is_some_and(|op| op.kind() == kind))
}
