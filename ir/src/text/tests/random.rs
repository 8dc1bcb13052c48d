//! Random modules read back, and no text makes the parser panic or take long.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::*;
use super::TINY;
use crate::graph::{CacheRef, Graph, Leaf, Sink, Value};
use crate::module::{CacheGroup, CacheKind, CacheTensor, Module};
use crate::ops::{Example, OpKind};
use crate::reference::Sampler;
use crate::verify::verify;
use crate::{DType, Dim, SymbolInfo, Template, TensorType};

/// Ops on values that are there where the types fit, else on new leaves.
fn random_graph(random: &mut Sampler, name: &str) -> Graph {
    let mut graph = Graph::new(name);
    let mut pool: Vec<Value> = Vec::new();
    for _ in 0..random.below(12) {
        for _ in 0..random.below(4) {
            random_leaf(random, &mut graph, TensorType::new(DType::BF16, [Dim::symbol("T")]));
        }
        let case = Example::random(*random.pick(OpKind::ALL).unwrap(), random.bits());
        let mut operands = Vec::new();
        for ty in &case.operands {
            let fitting: Vec<Value> = pool.iter().copied().filter(|value| graph.ty(*value) == ty).collect();
            operands.push(
                random.pick(&fitting).copied().unwrap_or_else(|| random_leaf(random, &mut graph, ty.clone())),
            );
        }
        pool.extend(operands.iter().copied());
        pool.extend(graph.op(case.op, &operands, &["model.layers.0/y-z"]).unwrap());
    }
    for _ in 0..random.below(6) {
        let Some(value) = random.pick(&pool).copied() else { break };
        graph.sink(
            match random.below(4) {
                0 => Sink::State("hidden/states-0".into()),
                1 => Sink::Output("logits".into()),
                2 => Sink::Tap(Template::new("tap.{i+3}").unwrap()),
                _ => Sink::Cache(CacheRef { group: "full".into(), tensor: "k.k".into() }),
            },
            value,
        );
    }
    graph
}

/// A leaf of any kind; its name is that of the value, a part of it or another one.
fn random_leaf(random: &mut Sampler, graph: &mut Graph, ty: TensorType) -> Value {
    let names = ["leaf", "full.k", "full.k.k", "input_layernorm.weight", "hidden/states-0", "7b"];
    let name = *random.pick(&names).unwrap();
    let own = *random.pick(&[name, name, "hidden/states-0", "full.v"]).unwrap();
    let prefixes = ["", "model.layers.{i}.", "{i+2}.", "experts.{e}.", "x", "a \"b\" \\ \n\u{7f}é.{i-1}."];
    let leaf = match random.below(4) {
        0 => Leaf::Input(own.into()),
        1 => Leaf::State(own.into()),
        2 => match own.split_once('.') {
            Some((group, tensor)) => Leaf::Cache(CacheRef { group: group.into(), tensor: tensor.into() }),
            None => Leaf::Cache(CacheRef { group: "full".into(), tensor: own.into() }),
        },
        _ => {
            let prefix = random.pick(&prefixes).unwrap().repeat(1 + random.below(12) as usize);
            Leaf::Weight(Template::new(&format!("{prefix}{own}")).unwrap())
        }
    };
    graph.leaf(leaf, name, ty)
}

fn random_module(seed: u64) -> Module {
    let mut random = Sampler::new(seed);
    let names = ["tiny", "my model", "", "a..b", "7b", "x-y", "é\"\\"];
    let mut module = Module { name: random.pick(&names).unwrap().to_string(), ..Module::default() };
    for symbol in Example::SYMBOLS {
        module.symbols.declare(symbol, SymbolInfo { min: 0, max: i64::MAX, likely: random.below(99) as i64 });
    }
    module.symbols.assume_le(Dim::symbol("B").ceil_div(7), Dim::symbol("T") - Dim::ONE);
    for name in ["full", "w_1"].into_iter().take(random.below(3) as usize) {
        module.caches.push(CacheGroup {
            name: name.into(),
            kind: [CacheKind::Full, CacheKind::Window(1 + random.below(99) as u32), CacheKind::Latent]
                [random.below(3) as usize]
                .clone(),
            block_size: 1 + random.below(64) as u32,
            tensors: vec![
                CacheTensor { name: "k.k".into(), dtype: DType::BF16, row: vec![2, 24] },
                CacheTensor { name: "v".into(), dtype: DType::I4, row: vec![] },
            ],
            layers: vec![0..1, 3..u32::MAX],
        });
    }
    for at in 0..random.below(4) as usize {
        module.functions.push(random_graph(&mut random, &format!("layer.{at}")));
        let start = random.below(1 << 32) as u32;
        module.call(at, start..start.saturating_add(random.below(3) as u32));
    }
    module
}

/// `text` with some bytes replaced, left out or put in.
fn mutate(text: &str, edits: &[(usize, u8, String)]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for (at, what, with) in edits {
        let at = at % (bytes.len() + 1);
        let end = (at + usize::from(what / 4)).min(bytes.len());
        let with = match what % 4 {
            0 => with.as_bytes().to_vec(),
            1 => Vec::new(),
            2 => bytes[at..end].repeat(2),
            _ => bytes.get(at).map(|byte| byte ^ 1).into_iter().collect(),
        };
        bytes.splice(at..end, with);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// If `text` is a module, it is verified without panic, prints and reads back.
fn survives(text: &str) {
    if let Ok(module) = parse_module(text) {
        verify(&module);
        let printed = print_module(&module);
        assert_eq!(parse_module(&printed).as_ref(), Ok(&module), "{printed}");
    }
}

fn edits() -> impl Strategy<Value = Vec<(usize, u8, String)>> {
    let token = prop_oneof![
        "[ -~]{0,3}",
        "[-0-9.e]{1,20}",
        prop::sample::select(vec![
            "..",
            "{",
            "}",
            "[",
            "]",
            "%",
            "@",
            "\"",
            "\\u{110000}",
            "{i}",
            "T",
            "floordiv(",
            "-1",
            "é",
            "\n",
            "#",
            "9223372036854775807",
            "-9223372036854775808",
            "4294967295",
            "0",
            "input ",
            "state ",
            "cache ",
            "weight \"a.\" ",
            ", %x: i8[]",
            "invalid",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec((any::<usize>(), any::<u8>(), token), 1..6)
}

proptest! {
    #[test]
    fn random_modules_read_back(seed in any::<u64>()) {
        let module = random_module(seed);
        let text = print_module(&module);
        let parsed = parse_module(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        prop_assert_eq!(&parsed, &module);
        prop_assert_eq!(print_module(&parsed), text);
        verify(&module);
        for function in &module.functions {
            for graph in [function.clone(), function.leaves_first()] {
                prop_assert_eq!(parse_function(&print_function(&graph)).unwrap(), graph);
            }
        }
    }

    #[test]
    fn edited_modules_do_no_harm(seed in any::<u64>(), edits in edits()) {
        survives(&mutate(TINY, &edits));
        survives(&mutate(&print_module(&random_module(seed)), &edits));
    }

    #[test]
    fn random_text_does_no_harm(text in "[ -~\n]{0,200}") {
        survives(&text);
        let _ = parse_function(&format!("func @f {{ {text} }}"));
        let _ = parse_module(&format!("symbol {text}"));
        let _ = parse_module(&format!("cache full full block 16 layers [{text}"));
        let _ = parse_function(&format!("func @f {{ %x = input x : f32[{text}"));
        let _ = parse_function(&format!("func @f {{ weight {text}"));
    }
}

/// A text that must be refused, and soon: with a generous limit, since the machine may be busy.
#[track_caller]
fn refused_soon(text: &str, reason: &str) {
    let start = Instant::now();
    let error = parse_module(text).expect_err("this text is hostile").to_string();
    assert!(start.elapsed() < Duration::from_secs(20), "{error}: took {:?}", start.elapsed());
    assert!(error.contains(reason), "{error}\nexpected {reason}");
    assert!(error.len() < 1000, "the error is as long as the text");
}

#[test]
fn deep_texts_are_refused() {
    let dim = |dim: &str| format!("func @f {{ %x = input x : f32[{dim}] }}");
    refused_soon(&dim(&"(".repeat(1_000_000)), "nested too deep");
    refused_soon(&dim(&"mod(".repeat(1_000_000)), "nested too deep");
    let nested = |count: usize| format!("{}T{}", "mod(1 + 2*".repeat(count), ", 7)".repeat(count));
    refused_soon(&dim(&nested(17)), "too large or overflows");
    assert!(parse_module(&dim(&nested(15))).is_ok());
}

#[test]
fn huge_dims_are_refused() {
    let dim = |dim: &str| format!("func @f {{ %x = input x : f32[{dim}] }}");
    let sum: Vec<String> = (0..100_000).map(|at| format!("s{at}")).collect();
    refused_soon(&dim(&sum.join(" + ")), "too long");
    refused_soon(&dim(&sum[..300].join(" + ")), "too large or overflows");
    refused_soon(&dim(&format!("min({})", sum.join(", "))), "too long");
    refused_soon(&dim(&vec!["T"; 5000].join("*")), "too large or overflows");
    refused_soon(&dim(&vec!["(T + 1)"; 1000].join("*")), "too large or overflows");
    refused_soon(&dim("99999999999999999999"), "does not fit 64 bits");
    refused_soon(&dim("9223372036854775807*3"), "too large or overflows");
    refused_soon(&dim("invalid"), "too large or overflows");
    // Each level writes the one below eight times and multiplies it out to 256 terms.
    let mut product = "T".to_owned();
    for level in 0..4 {
        let factors: Vec<String> = (0..6).map(|at| format!("({product} + s{level}{at})")).collect();
        product = format!("floordiv({}, 7)", factors.join("*"));
    }
    refused_soon(&dim(&product), "too large or overflows");
}

#[test]
fn long_lists_are_refused() {
    let ones = vec!["1"; 1_000_000].join(",");
    refused_soon(&format!("func @f {{ %x = input x : f32[{ones}] }}"), "1000000 axes");
    let split = format!("func @f {{ %x = input x : f32[1]\n%y = split %x {{axis=0, sizes=[{ones}]}} }}");
    refused_soon(&split, "the parts add up to 1000000");
    let zeros = vec!["0"; 1_000_000].join(",");
    let split = format!("func @f {{ %x = input x : f32[0]\n%y = split %x {{axis=0, sizes=[{zeros}]}} }}");
    refused_soon(&split, "gives 1000000 values");
    let names: Vec<String> = (0..1_000_000).map(|at| format!("%x{at}")).collect();
    refused_soon(&format!("func @f {{ {} = input x : f32[] }}", names.join(",")), "more than 1024 results");
    let attrs: Vec<String> = (0..1_000_000).map(|at| format!("a{at}=1")).collect();
    let text = format!("func @f {{ %x = rope_freqs {{{}}} }}", attrs.join(","));
    refused_soon(&text, "more than 1024 attributes");
    let leaves: Vec<String> = (0..1_000_000).map(|at| format!("%x{at}: i8[]")).collect();
    let weights = |prefix: usize| format!("weight \"{}\" {}", "p".repeat(prefix), leaves.join(","));
    refused_soon(&format!("func @f {{ {} }}", weights(1 << 20)), "a prefix has at most 128 bytes");
    refused_soon(&format!("func @f {{ {} }}", weights(129)), "a prefix has at most 128 bytes");
    refused_soon(&format!("func @f {{ {}, %x7: i8[] }}", weights(128)), "`%x7` is defined twice");
    let caches: String =
        (0..100_000).map(|at| format!("cache c{at} full block 1 layers [] {{ k: i8[] }}\n")).collect();
    refused_soon(&caches, "more than 1024 caches");
    let functions: String = (0..300_000).map(|at| format!("func @f{at} {{}}\n")).collect();
    refused_soon(&format!("{functions} func @f7 {{}}"), "`@f7` is defined twice");
    let calls = "@f [7]".repeat(1_000_000);
    refused_soon(&format!("func @f {{}} program {{ {calls} }}"), "more than 4096 calls");
    refused_soon("func @f {} program { @f [4294967295] }", "layer 4294967295 is out of range");
    refused_soon("func @f {} program { @f [0..4294967296] }", "no integer in range");
    refused_soon("cache a-b full block 1 layers [] { k: i8[] }", "cannot name a cache");
    assert!(parse_module(&" ".repeat((64 << 20) + 1)).is_err());
}

#[test]
fn one_function_and_nothing_else() {
    assert!(parse_function("func @f {}").is_ok());
    for more in ["", "func @f {} func @g {}", "func @f {} symbol T in 0..1", "func @f {} program { @f [0] }"]
    {
        assert!(parse_function(more).is_err(), "{more}");
    }
}
