//! Pictures of plans made by hand, friendly ones and others.
#![allow(clippy::unwrap_used)]
#![allow(clippy::single_range_in_vec_init, reason = "cache groups list ranges of layers")]

use mscc_ir::attr::Float;
use mscc_ir::module::{CacheGroup, CacheKind, CacheTensor};
use mscc_ir::ops::{Add, AddRmsNorm, RmsNorm};
use mscc_ir::plan::{
    Function, Fusion, InputDecl, Launch, Listing, Mesh, Meta, Operand, OutputDecl, Place, Plan, PlanLimits,
    Program, Recipe, Residence, Tap, TextAssets, Variant, WeightFile, WeightParam, Weights,
};
use mscc_ir::view::ViewLayout;
use mscc_ir::{DType, Dim, Graph, Leaf, Sink, SymbolInfo, Template, TensorType};
use mscc_report::proto::{DimensionValue, ModelProto};
use mscc_report::{ReportError, arena, dot, html, kinds, kinds_named, onnx};
use prost::Message;

const EPS: Float = Float(1e-6);

/// `h = x + r`, `y = rms_norm(h)`, one launch; every name is `name`.
fn plan(name: &str) -> Plan {
    let ty = TensorType::new(DType::F32, vec![Dim::symbol("T"), Dim::constant(8)]);
    let row = TensorType::new(DType::F32, vec![Dim::constant(8)]);
    let template = Template::new(name).unwrap();
    let leaves = |graph: &mut Graph| {
        let x = graph.leaf(Leaf::State("x".into()), name, ty.clone());
        let r = graph.leaf(Leaf::State(name.into()), name, ty.clone());
        let w = graph.leaf(Leaf::Weight(template.clone()), name, row.clone());
        [x, r, w]
    };
    let mut source = Graph::new(name);
    let [x, r, w] = leaves(&mut source);
    let h = source.op1(Add, &[x, r], name).unwrap();
    let y = source.op1(RmsNorm { eps: EPS, dtype: None }, &[h, w], name).unwrap();
    source.sink(Sink::State("x".into()), h);
    source.sink(Sink::Output(name.into()), y);
    let mut fused = Graph::new(name);
    let [x, r, w] = leaves(&mut fused);
    let results = fused.op(AddRmsNorm { eps: EPS, dtype: None }, &[x, r, w], &["y", name]).unwrap();
    fused.sink(Sink::State("x".into()), results[1]);
    fused.sink(Sink::State(name.into()), results[1]);
    fused.sink(Sink::Output(name.into()), results[0]);
    fused.sink(Sink::Tap(template.clone()), results[0]);
    let operand = |place, base: Dim, ty: &TensorType| Operand {
        place,
        dtype: ty.dtype,
        base_bytes: base,
        layout: ViewLayout::contiguous(&ty.shape),
    };
    let line = Dim::symbol("T") * Dim::constant(64);
    let (x, r) = (operand(Place::Arena, Dim::ZERO, &ty), operand(Place::Arena, line.clone(), &ty));
    let (w, y) = (operand(Place::Weight(0), Dim::ZERO, &row), operand(Place::Output(0), Dim::ZERO, &ty));
    let launch = Launch {
        kernel: "add_rms_norm".into(),
        op: AddRmsNorm { eps: EPS, dtype: None }.into(),
        operands: vec![x.clone(), r, w],
        results: vec![y.clone(), x],
        name: "y".into(),
        origins: vec![name.into(), name.into()],
    };
    let mut body = Graph::new("recipe");
    let weight = body.leaf(Leaf::Weight(template.clone()), name, row);
    body.sink(Sink::Output("weight".into()), weight);
    let function = Function {
        name: name.into(),
        launches: vec![launch],
        weights: vec![WeightParam { recipe: 0, layer_offset: 0 }],
        caches: vec![],
        taps: vec![Tap { name: template.clone(), after: 0, value: y }],
        listing: Some(Listing {
            source,
            fused,
            origins: vec![vec![0], vec![1], vec![2], vec![3, 4]],
            fusion: Fusion::default(),
        }),
    };
    let tensor = CacheTensor { name: name.into(), dtype: DType::F32, row: vec![2] };
    Plan {
        meta: Meta {
            model: name.into(),
            family: name.into(),
            producer: name.into(),
            target: "cpu".into(),
            compute_dtype: DType::F32,
            mesh: Mesh { size: 1, rank: 0 },
            limits: PlanLimits {
                max_model_len: 8,
                max_num_seqs: 1,
                max_num_batched_tokens: 8,
                vocab_size: 8,
            },
            warnings: vec![name.into()],
            rewrites: vec![(name.into(), 1)],
        },
        symbols: vec![("T".into(), SymbolInfo { min: 1, max: 8, likely: 2 })],
        inputs: vec![InputDecl {
            name: name.into(),
            dtype: DType::I32,
            shape: vec![Dim::symbol("T")],
            residence: Residence::Device,
        }],
        outputs: vec![OutputDecl { name: name.into(), dtype: DType::F32, shape: ty.shape }],
        caches: vec![CacheGroup {
            name: name.into(),
            kind: CacheKind::Full,
            block_size: 4,
            layers: vec![0..1],
            tensors: vec![tensor],
        }],
        weights: Weights {
            dir: name.into(),
            files: vec![WeightFile { name: name.into(), len: 32, header_hash: [0; 32] }],
            recipes: vec![Recipe { name: template, body, format: Default::default() }],
        },
        programs: vec![Program {
            name: "main".into(),
            variants: vec![Variant {
                name: name.into(),
                guard: vec![],
                functions: vec![function],
                calls: vec![(0, 0..3)],
                arena_bytes: line * Dim::constant(2),
            }],
        }],
        text: TextAssets::default(),
    }
}

/// Checks that tags nest, that attributes are quoted, and gives all tags with their attributes.
fn tags(html: &str) -> Vec<(String, Vec<(String, String)>)> {
    const VOID: [&str; 3] = ["meta", "input", "br"];
    let mut open: Vec<String> = Vec::new();
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "a stray > in {:?}", &rest[..start]);
        rest = &rest[start + 1..];
        if let Some(after) = rest.strip_prefix("!DOCTYPE html>") {
            rest = after;
        } else if let Some(after) = rest.strip_prefix('/') {
            let (name, after) = after.split_once('>').unwrap();
            assert_eq!(open.pop().as_deref(), Some(name), "tags do not nest");
            rest = after;
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap();
            let name = rest[..end].to_owned();
            assert!(end > 0, "a stray < before {:?}", &rest[..rest.len().min(40)]);
            rest = &rest[end..];
            let mut attributes = Vec::new();
            let closed = loop {
                rest = rest.trim_start();
                if let Some(after) = rest.strip_prefix("/>") {
                    rest = after;
                    break true;
                }
                if let Some(after) = rest.strip_prefix('>') {
                    rest = after;
                    break false;
                }
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap();
                assert!(end > 0, "no attribute: {:?}", &rest[..rest.len().min(40)]);
                let attribute = rest[..end].to_owned();
                rest = &rest[end..];
                let mut value = String::new();
                if let Some(after) = rest.strip_prefix("=\"") {
                    let (text, after) = after.split_once('"').unwrap();
                    assert!(!text.contains('<'), "{text}");
                    (value, rest) = (text.to_owned(), after);
                }
                attributes.push((attribute, value));
            };
            if name == "style" {
                rest = &rest[rest.find("</style>").unwrap()..];
            }
            if !closed && !VOID.contains(&name.as_str()) {
                open.push(name.clone());
            }
            tags.push((name, attributes));
        }
    }
    assert!(open.is_empty(), "{open:?} are not closed");
    tags
}

#[test]
fn the_page_is_well_formed_and_loads_nothing() {
    let page = html(&plan("layers.{i}.norm")).unwrap();
    let tags = tags(&page);
    let is_local = |(name, value): &(String, String)| match name.as_str() {
        "href" => value.starts_with('#'),
        "src" | "srcset" | "action" | "data" => false,
        name => !name.starts_with("on"),
    };
    let known = |name: &str| !["script", "link", "img", "iframe", "object", "base", "form"].contains(&name);
    for (name, attributes) in &tags {
        assert!(known(name) && attributes.iter().all(is_local), "{name} {attributes:?}");
    }
    assert!(
        !page.contains("http:")
            && !page.contains("https:")
            && !page.contains("url(")
            && !page.contains("@import")
    );
    let ids: Vec<&String> = tags
        .iter()
        .flat_map(|(_, attributes)| attributes)
        .filter(|(name, _)| name == "id")
        .map(|(_, id)| id)
        .collect();
    let unique: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(ids.len(), unique.len(), "{ids:?}");
}

#[test]
fn a_fusion_unfolds_to_its_sources() {
    let page = html(&plan("norm")).unwrap();
    assert!(page.contains("launch 1 of 1, stands for 2 ops"), "{page}");
    assert!(page.contains("3 launches") && page.contains("2 ops in 1 launches"));
}

/// Strings that mean something in HTML, CSS, Graphviz or a template.
const HOSTILE: [&str; 6] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</style></title><b>&amp;",
    "\\\" ] evil [ label=\\\"",
    "\u{202e}\n\r\t\u{0}-->",
];

#[test]
fn hostile_names_stay_text() {
    for name in HOSTILE {
        let plan = plan(name);
        let page = html(&plan).unwrap();
        let plain: Vec<String> =
            tags(&html(&self::plan("name")).unwrap()).into_iter().map(|tag| tag.0).collect();
        let found: Vec<String> = tags(&page).into_iter().map(|tag| tag.0).collect();
        assert_eq!(found, plain, "{name:?} changed the page");
        let dot = dot(&kinds(&plan)).unwrap();
        let quotes = dot.replace("\\\\", "").replace("\\\"", "").matches('"').count();
        assert_eq!(quotes % 2, 0, "{dot}");
        let plain = mscc_report::dot(&kinds(&self::plan("name"))).unwrap();
        assert_eq!(dot.lines().count(), plain.lines().count(), "{dot}");
        onnx(&plan).unwrap();
    }
}

#[test]
fn long_names_do_not_fill_the_page() {
    let page = html(&plan(&"x".repeat(1 << 16))).unwrap();
    assert!(page.len() < 100_000, "{} bytes", page.len());
}

#[test]
fn large_plans_make_small_pages() {
    let mut plan = plan("name");
    let variant = &mut plan.programs[0].variants[0];
    let function = variant.functions[0].clone();
    variant.functions = vec![function; 3000];
    plan.meta.warnings = vec!["warning".into(); 100_000];
    let launch = plan.programs[0].variants[0].functions[0].launches[0].clone();
    plan.programs[0].variants[0].functions[0].launches = vec![launch; 50_000];
    let page = html(&plan).unwrap();
    assert!(page.len() < 8_000_000, "{} bytes", page.len());
}

#[test]
fn a_graph_too_large_to_draw_is_left_out() {
    let mut plan = plan("name");
    let function = &mut plan.programs[0].variants[0].functions[0];
    let listing = function.listing.as_mut().unwrap();
    let graph = &mut listing.fused;
    let x = graph.by_name("y").unwrap();
    let mut last = x;
    for index in 0..10_000 {
        last = graph.op1(Add, &[last, x], &format!("sum.{index}")).unwrap();
    }
    listing.origins.resize(listing.fused.len(), vec![]);
    let page = html(&plan).unwrap();
    assert!(page.contains("too large to draw") && page.len() < 100_000);
}

#[test]
fn onnx_says_what_the_plan_does() {
    let model = ModelProto::decode(&*onnx(&plan("norm")).unwrap()).unwrap();
    assert_eq!(model.ir_version, 10);
    let domains: Vec<_> = model.opset_import.iter().filter_map(|set| set.domain.as_deref()).collect();
    assert_eq!(domains, ["", "mscc", "mscc.main.norm"]);
    let graph = model.graph.as_ref().unwrap();
    let [call] = graph.node.as_slice() else { panic!("{:?}", graph.node) };
    assert_eq!((call.op_type.as_str(), call.domain.as_str()), ("norm", "mscc.main.norm"));
    let [function] = model.functions.as_slice() else { panic!("{:?}", model.functions) };
    assert_eq!((function.name.as_str(), function.domain.as_str()), ("norm", "mscc.main.norm"));
    assert_eq!(call.input.len(), function.input.len());
    assert_eq!(call.output.len(), function.output.len());
    let ops: Vec<&str> = function.node.iter().map(|node| node.op_type.as_str()).collect();
    // One value goes out twice, the second time through a copy.
    assert_eq!(ops, ["weight", "add_rms_norm", "Identity"]);
    assert_eq!(function.node[1].doc_string, "stands for add norm_3, rms_norm norm_4");
    assert_eq!(function.node[1].attribute[0].f, Some(1e-6));
    let y = function.value_info.iter().find(|value| value.name == "y").unwrap();
    let tensor = y.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
    assert_eq!(tensor.elem_type, 1);
    let dims: Vec<_> =
        tensor.shape.as_ref().unwrap().dim.iter().map(|dim| dim.value.clone().unwrap()).collect();
    assert_eq!(dims, [DimensionValue::DimParam("T".into()), DimensionValue::DimValue(8)]);
    // Names are made once, whatever sinks there are.
    let mut made: Vec<&String> = graph.input.iter().map(|value| &value.name).chain(&call.output).collect();
    made.sort();
    assert!(made.windows(2).all(|pair| pair[0] != pair[1]), "{made:?}");
}

#[test]
fn memory_is_followed_across_calls() {
    let plan = plan("norm");
    let timeline = arena::timeline(&plan, &plan.programs[0].variants[0]).unwrap();
    // x (state, then the new one) and r, each 8 x 8 x 4 bytes.
    assert_eq!((timeline.arena, timeline.arena_likely), (1024, 256));
    assert_eq!(timeline.live.len(), 1);
    assert_eq!(timeline.slots.len(), 2);
    assert!(timeline.slots[0].spans.iter().all(|span| span.first == 0 && span.last == 0));
}

#[test]
fn kinds_are_found_by_name() {
    let mut plan = plan("norm");
    assert_eq!(kinds_named(&plan, "norm").unwrap().len(), 1);
    let error = kinds_named(&plan, "nrm").unwrap_err().to_string();
    assert_eq!(error, "the plan has no kind of layer `nrm`: it has norm");
    plan.programs[0].variants[0].functions[0].listing = None;
    assert_eq!(dot(&kinds(&plan)), Err(ReportError::NoListing("norm".into())));
    assert_eq!(onnx(&plan), Err(ReportError::NoListing("norm".into())));
    assert!(html(&plan).unwrap().contains("The plan holds no graph of this kind"));
}
