//! Weights that a checkpoint stores as one tensor for each expert.
#![allow(clippy::unwrap_used)]
#![allow(unsafe_code, reason = "reads device tensors, of which a store gives addresses")]

#[allow(dead_code, reason = "the plan alone is wanted here")]
mod tiny;

use std::path::Path;

use mscc_checkpoint::{Checkpoint, DType as FileType, HeaderBuilder};
use mscc_ir::ops::Concat;
use mscc_ir::plan::{Plan, Recipe, WeightFile, WeightParam, validate};
use mscc_ir::{DType, Dim, Graph, Leaf, Sink, Template, TensorType};
use mscc_runtime::device::cpu::Isa;
use mscc_runtime::load::weights::{WeightOptions, WeightStore};

/// Writes f32 tensors, or such as `change` makes of them; values count on from tensor to tensor, their names returned.
fn write(dir: &Path, names: &[String], shape: [u64; 2], change: impl Fn(&str) -> (FileType, [u64; 2])) {
    let mut builder = HeaderBuilder::new();
    for name in names {
        let (dtype, shape) = change(name);
        builder.tensor(name, dtype, &shape).unwrap();
    }
    let header = builder.finish().unwrap();
    let mut bytes = header.bytes;
    let elements = names.len() as u64 * shape[0] * shape[1];
    bytes.extend((0..elements).flat_map(|value| (value as f32).to_le_bytes()));
    bytes.resize(header.file_len as usize, 0);
    std::fs::write(dir.join("model.safetensors"), bytes).unwrap();
}

fn names(layers: u32, experts: u32) -> Vec<String> {
    let mut names = Vec::new();
    for layer in 0..layers {
        for e in 0..experts {
            names.extend(["gate", "up", "down"].map(|part| format!("l.{layer}.experts.{e}.{part}")));
        }
    }
    names
}

fn stack(graph: &mut Graph, part: &str, shape: [u32; 3]) -> mscc_ir::Value {
    let name = Template::new(&format!("l.{{i}}.experts.{{e}}.{part}")).unwrap();
    graph.leaf(Leaf::Weight(name), part, TensorType::new(DType::F32, shape.map(Dim::from)))
}

/// A plan of `layers` layers that want gate and up joined, and down, of so many experts.
fn plan(dir: &Path, layers: u32, shape: [u32; 3]) -> Plan {
    let tiny = tempfile::tempdir().unwrap();
    tiny::write_checkpoint(tiny.path());
    let mut plan = tiny::plan(tiny.path());
    let file = Checkpoint::open(dir).unwrap().files()[0].clone();
    let recipe = |name: &str, mut body: Graph, value| {
        body.sink(Sink::Output("weight".into()), value);
        Recipe { name: Template::new(name).unwrap(), body, format: Default::default() }
    };
    let mut joined = Graph::new("recipe");
    let parts = ["gate", "up"].map(|part| stack(&mut joined, part, shape));
    let rows = joined.op1(Concat { axis: 1 }, &parts, "rows").unwrap();
    let mut down = Graph::new("recipe");
    let value = stack(&mut down, "down", shape);
    plan.weights.recipes =
        vec![recipe("l.{i}.experts.gate_up", joined, rows), recipe("l.{i}.experts.{e}.down", down, value)];
    plan.weights.dir = dir.to_str().unwrap().into();
    plan.weights.files = vec![WeightFile { name: file.name, len: file.len, header_hash: file.header_hash }];
    plan.programs[0].variants.remove(0);
    let variant = &mut plan.programs[0].variants[0];
    variant.functions.truncate(1);
    variant.functions[0].launches.clear();
    variant.functions[0].taps.clear();
    variant.functions[0].weights = (0..2).map(|recipe| WeightParam { recipe, layer_offset: 0 }).collect();
    variant.calls = vec![(0, 0..layers)];
    plan
}

fn load(plan: &Plan) -> Result<WeightStore, String> {
    let (base_dir, isa) = (Path::new("."), Isa::detect());
    let options = WeightOptions { dir: None, base_dir, threads: 2, isa, progress: None, files: None };
    validate(plan).map_err(|error| error.to_string())?;
    WeightStore::load(plan, &options).map_err(|error| error.to_string())
}

fn same(_: &str) -> (FileType, [u64; 2]) {
    (FileType::F32, [2, 3])
}

#[test]
fn experts_of_each_layer_are_stacked() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &names(2, 3), [2, 3], same);
    let plan = plan(dir.path(), 2, [3, 2, 3]);
    let store = load(&plan).unwrap();
    assert_eq!(store.bytes(), (0, 2 * 3 * 3 * 24));
    let floats = |recipe, layer, count: usize| {
        let address = store.address(store.position((recipe, layer)).unwrap()).cast::<f32>().cast_const();
        // SAFETY: the store has so many aligned floats there, and lives.
        unsafe { std::slice::from_raw_parts(address, count) }.to_vec()
    };
    let tensor = |layer: usize, e: usize, part: usize| {
        (0..6).map(move |at| (((layer * 3 + e) * 3 + part) * 6 + at) as f32)
    };
    for layer in 0..2 {
        let rows: Vec<f32> = (0..3).flat_map(|e| tensor(layer, e, 0).chain(tensor(layer, e, 1))).collect();
        assert_eq!(floats(0, layer as i64, 36), rows);
        let down: Vec<f32> = (0..3).flat_map(|e| tensor(layer, e, 2)).collect();
        assert_eq!(floats(1, layer as i64, 18), down);
    }
}

#[test]
fn members_that_are_not_as_needed_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let odd = |name: &str| match name {
        "l.0.experts.1.up" => (FileType::F16, [4, 3]),
        "l.1.experts.2.down" => (FileType::F32, [3, 2]),
        _ => same(name),
    };
    let stored: Vec<String> = names(2, 3).into_iter().filter(|name| name != "l.1.experts.0.gate").collect();
    write(dir.path(), &stored, [2, 3], odd);
    let error = load(&plan(dir.path(), 2, [3, 2, 3])).err().unwrap();
    for part in [
        "3 tensors are not as the plan needs them",
        "`l.0.experts.1.up` is F16[4, 3]; expected f32[2, 3]",
        "`l.1.experts.0.gate` is missing; expected f32[2, 3]",
        "`l.1.experts.2.down` is F32[3, 2]; expected f32[2, 3]",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let error = load(&plan(dir.path(), 40, [5, 2, 3])).err().unwrap();
    assert!(error.contains("and 577 more") && error.lines().count() < 12, "{error}");
}

#[test]
fn tens_of_thousands_of_members_load_at_once() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &names(58, 256), [1, 1], |_| (FileType::F32, [1, 1]));
    let start = std::time::Instant::now();
    let store = load(&plan(dir.path(), 58, [256, 1, 1])).unwrap();
    assert_eq!(store.bytes(), (0, 44_544 * 4));
    let last = store.address(store.position((1, 57)).unwrap()).cast::<f32>().cast_const();
    // SAFETY: the store has 256 aligned floats there, and lives.
    assert_eq!(unsafe { *last.add(255) }, 44_543.0);
    assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
}

#[test]
fn stacks_without_bounds_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &names(1, 1), [2, 3], same);
    let refused = |layers, count| load(&plan(dir.path(), layers, [count, 2, 3])).err().unwrap();
    assert!(refused(1, 0).contains("is a stack of no or too many tensors"));
    assert!(refused(1, u32::MAX).contains("is a stack of no or too many tensors"));
    assert!(refused(20, 1 << 16).contains("loading would take too many tensors and ops"));
}
