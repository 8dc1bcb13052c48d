//! `mscc inspect` tells what a plan holds.

use crate::*;

/// Bytes that a token takes in the caches of all layers: keys and values.
fn cache_bytes(config: &Value, element_bytes: u64) -> u64 {
    let number = |key: &str| config[key].as_u64();
    let heads = number("num_attention_heads").unwrap();
    let head_dim = number("head_dim").unwrap_or_else(|| number("hidden_size").unwrap() / heads);
    let kv_heads = number("num_key_value_heads").unwrap_or(heads);
    2 * number("num_hidden_layers").unwrap() * kv_heads * head_dim * element_bytes
}

#[test]
fn json_of_every_fixture() {
    for fixture in DENSE {
        let bench = Bench::with_plan(fixture);
        let config = read_json(&fixture_dir(fixture).join("config.json"));
        let plan = bench.json(&["inspect", "plan.bin", "--json"]);
        assert_eq!(plan["schema"], "mscc.inspect.v1");
        assert_eq!(plan["compute_dtype"], "f32");
        assert_eq!(plan["target"], "cpu");
        assert_eq!(plan["family"], config["model_type"]);
        assert_eq!(plan["limits"]["vocab_size"], config["vocab_size"]);
        assert_eq!(plan["memory"]["cache_bytes_per_token"], cache_bytes(&config, 4), "{fixture}");
        let group = &plan["caches"][0];
        assert_eq!(group["bytes_per_token"], plan["memory"]["cache_bytes_per_token"]);
        assert_eq!(group["layers"], config["num_hidden_layers"]);
        let (mapped, all) = (&plan["memory"]["weight_mapped_bytes"], &plan["memory"]["weight_bytes"]);
        assert!(mapped.as_u64().unwrap() > 0 && mapped.as_u64() <= all.as_u64());
        for symbol in ["T", "B", "L", "Td", "Bd", "C", "S", "Q", "A", "M"] {
            let range = &plan["symbols"][symbol];
            assert!(range["min"].as_i64().unwrap() <= range["max"].as_i64().unwrap(), "{symbol}");
        }
        let inputs: Vec<&str> =
            plan["inputs"].as_array().unwrap().iter().map(|input| input["name"].as_str().unwrap()).collect();
        let contract = ["token_ids", "positions", "query_start", "context_len", "logit_index"];
        assert_eq!(inputs[..5], contract);
        assert_eq!(inputs[5..], ["block_table.full", "slot_mapping.full"]);
        check_launches(&plan["programs"][0]["variants"][0], config["num_hidden_layers"].as_u64().unwrap());
        check_recipes(&plan["weights"]["recipes"], &bench);
    }
}

fn check_launches(variant: &Value, layers: u64) {
    let mut per_step = 0;
    let mut attention = 0;
    for function in variant["functions"].as_array().unwrap() {
        let calls = function["calls"].as_u64().unwrap();
        let launches = function["launches"].as_array().unwrap();
        per_step += calls * launches.len() as u64;
        for launch in launches {
            let origins = launch["origins"].as_array().unwrap();
            assert!(!origins.is_empty(), "{launch}");
            match launch["kernel"].as_str().unwrap() {
                "attention" => attention += calls,
                "swiglu" | "add_rms_norm" => assert_eq!(origins.len(), 2, "{launch}"),
                _ => {}
            }
            let is_qkv = launch["name"] == "self_attn.q_k_v_proj";
            let parts = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
            assert!(!is_qkv || parts.iter().all(|part| origins.contains(&(*part).into())), "{launch}");
        }
    }
    assert_eq!(variant["launches_per_step"], per_step);
    assert_eq!(attention, layers);
}

fn check_recipes(recipes: &Value, bench: &Bench) {
    let recipes = recipes.as_array().unwrap();
    let summary = bench.ok(&["inspect", "plan.bin"]);
    let (_, computed) = summary.split_once("weight recipes that are computed at load\n").unwrap();
    for recipe in recipes {
        let name = recipe["name"].as_str().unwrap();
        assert!(recipe["body"].as_str().unwrap().starts_with("func @recipe"), "{name}");
        let is_listed = computed.contains(&format!("  {name} : "));
        assert_eq!(is_listed, !recipe["identity"].as_bool().unwrap(), "{name}");
    }
    assert!(recipes.iter().any(|recipe| recipe["name"] == "model.layers.{i}.mlp.gate_up_proj.weight"));
}

#[test]
fn bf16_halves_the_cache() {
    let bench = Bench::new();
    bench.ok(&["compile", &text(&fixture_dir("qwen3")), "-o", "plan.bin", "--block-size", "3"]);
    let plan = bench.json(&["inspect", "plan.bin", "--json"]);
    let config = read_json(&fixture_dir("qwen3").join("config.json"));
    assert_eq!(plan["memory"]["cache_bytes_per_token"], cache_bytes(&config, 2));
    assert_eq!(plan["caches"][0]["block_size"], 3);
    assert_eq!(plan["compute_dtype"], "bf16");
}

#[test]
fn summary_of_a_plan() {
    let bench = Bench::with_plan("qwen3");
    let summary = bench.ok(&["inspect", "plan.bin"]);
    insta::assert_snapshot!(summary.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

#[test]
fn launches_are_the_plans_text() {
    let bench = Bench::with_plan("qwen3");
    let model = text(&fixture_dir("qwen3"));
    let lowered = bench.ok(&["compile", &model, "--emit", "lowered", "--compute-dtype", "float32"]);
    assert_eq!(bench.ok(&["inspect", "plan.bin", "--launches"]), lowered);
}

#[test]
fn sizes_of_large_models_from_their_configs() {
    let bench = Bench::new();
    for (config, gigabytes) in [("llama-3.1-70b", 141.1), ("llama-3.2-1b", 2.47), ("qwen3-0.6b", 1.19)] {
        let path = data().join("configs").join(format!("{config}.json"));
        bench.ok(&["compile", "--config-only", &text(&path), "-o", "plan.bin"]);
        let memory = &bench.json(&["inspect", "plan.bin", "--json"])["memory"];
        assert_eq!(memory["cache_bytes_per_token"], cache_bytes(&read_json(&path), 2), "{config}");
        let weights = memory["weight_bytes"].as_f64().unwrap() / 1e9;
        assert!((weights / gigabytes - 1.0).abs() < 0.01, "{config}: {weights} GB");
    }
}

/// What a reader sees of a page without opening boxes, one line for each piece of text: headings, names, figures.
fn visible(html: &str) -> String {
    const SHOWN: [&str; 8] = [
        "h1",
        "h2",
        "h3",
        "code",
        "small",
        "span class=\"title\"",
        "span class=\"name\"",
        "span class=\"amount\"",
    ];
    let pieces = html.split_once("</head>").unwrap().1.split('<').filter_map(|piece| piece.split_once('>'));
    let shown = pieces.filter(|(tag, _)| SHOWN.iter().any(|shown| tag.starts_with(shown)));
    let lines: Vec<&str> = shown.map(|(_, text)| text.trim()).filter(|text| !text.is_empty()).collect();
    lines.join("\n").replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

#[test]
fn page_of_a_plan() {
    let bench = Bench::with_plan("qwen3");
    assert_eq!(bench.ok(&["inspect", "plan.bin", "--html", "report.html"]), "");
    let page = String::from_utf8(bench.read("report.html")).unwrap();
    for part in ["http", "<script", "<link", "<img", "url(", "@import", " on"] {
        let body = page.split_once("<body>").unwrap().1;
        let tags = body.split('<').map(|piece| format!("<{}", piece.split('>').next().unwrap()));
        assert!(!tags.into_iter().any(|tag| tag.contains(part)), "{part}");
    }
    let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    assert!(!style.contains("url(") && !style.contains("@import") && !style.contains('<'));
    assert!(page.len() < 200_000, "{} bytes", page.len());
    insta::assert_snapshot!(visible(&page));
}

#[test]
fn graphviz_of_a_plan() {
    let bench = Bench::with_plan("qwen3");
    let dot = bench.ok(&["inspect", "plan.bin", "--dot", "-"]);
    insta::assert_snapshot!(dot);
    bench.ok(&["inspect", "plan.bin", "--dot", "all.dot"]);
    assert_eq!(bench.read("all.dot"), dot.as_bytes());
    let one = bench.ok(&["inspect", "plan.bin", "--dot", "-", "--kind", "layer.head"]);
    assert_eq!(one.matches("subgraph").count(), 1);
    assert!(one.contains("@layer.head × 1"));
}

#[test]
fn onnx_of_a_plan() {
    let bench = Bench::with_plan("qwen3");
    bench.ok(&["inspect", "plan.bin", "--onnx", "plan.onnx", "--html", "report.html"]);
    let model = bench.read("plan.onnx");
    for text in ["mscc.main.any", "add_rms_norm", "model.layers.{i-1}.mlp.down_proj.weight", "B + 1"] {
        assert!(model.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
    assert!(bench.path("report.html").exists());
}

#[test]
fn pictures_of_what_is_not_there() {
    let bench = Bench::with_plan("qwen3");
    let output = bench.call(&["inspect", "plan.bin", "--dot", "-", "--kind", "layers"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("no kind of layer `layers`: it has embed.layer, layer, layer.head"), "{stderr}");
    assert_eq!(bench.call(&["inspect", "plan.bin", "--json", "--html", "x.html"]).status.code(), Some(2));
    assert_eq!(bench.call(&["inspect", "plan.bin", "--html", "missing/x.html"]).status.code(), Some(2));
    assert_eq!(bench.files(), ["plan.bin"]);
}
