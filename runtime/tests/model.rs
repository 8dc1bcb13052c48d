//! Models from plans written by hand: steps against the reference, and plans and batches that must be refused.
#![allow(clippy::unwrap_used)]

mod tiny;

use std::path::Path;
use std::sync::Arc;

use mscc_checkpoint::{Checkpoint, MappedCheckpoint};
use mscc_ir::module::CacheGroup;
use mscc_ir::plan::{Plan, container};
use mscc_runtime::device::cpu::Isa;
use mscc_runtime::step::batch::{StepBatch, StepModel, TapSink};
use mscc_runtime::{LoadOptions, Model, RuntimeError};
use tiny::{Part, Reference, batch, plan, write_checkpoint};

const PAGES: u32 = 8;

fn options() -> LoadOptions<'static> {
    LoadOptions { threads: Some(2), ..LoadOptions::default() }
}

fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_checkpoint(dir.path());
    dir
}

fn load(plan: Plan) -> Result<Model, RuntimeError> {
    let mut model = Model::from_plan(plan, Path::new("."), &options())?;
    model.allocate_caches(&[PAGES])?;
    Ok(model)
}

fn part<'a>(pages: &'a [i32], past: usize, tokens: &'a [i32]) -> Part<'a> {
    Part { pages, past, tokens }
}

/// A prefill of two sequences, two decode steps with one of them growing into its second page, and a mix.
fn steps() -> Vec<StepBatch> {
    let (a, b, c) = (&[5, 2][..], &[7, 3][..], &[1, 4, 6][..]);
    vec![
        batch(&[part(a, 0, &[1, 2, 3]), part(b, 0, &[4, 5, 6, 7, 8])], 2),
        batch(&[part(a, 3, &[9]), part(b, 5, &[10])], 2),
        batch(&[part(a, 4, &[0]), part(b, 6, &[1])], 2),
        batch(&[part(b, 7, &[2]), part(c, 0, &[3, 3, 4, 5, 6, 7, 7, 8, 9])], 4),
        batch(&[part(a, 5, &[0])], 2),
    ]
}

#[track_caller]
fn assert_close(got: &[f32], want: &[f64], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(*got) - want).abs() < 1e-4, "{what}[{index}]: {got}, expected {want}");
    }
}

#[derive(Default)]
struct Collect(Vec<(String, Vec<usize>, Vec<f32>)>);

impl TapSink for Collect {
    fn wants(&self, name: &str) -> bool {
        name != "embed.output"
    }

    fn take(&mut self, name: &str, shape: &[usize], values: Vec<f32>) {
        self.0.push((name.to_owned(), shape.to_vec(), values));
    }
}

#[test]
fn steps_match_the_reference_on_every_level() {
    let dir = directory();
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        for threads in [1, 3] {
            let options = LoadOptions { threads: Some(threads), isa: Some(isa), ..LoadOptions::default() };
            let mut model = Model::from_plan(plan(dir.path()), Path::new("."), &options).unwrap();
            model.allocate_caches(&[PAGES]).unwrap();
            let mut reference = Reference::new(i64::from(PAGES));
            for (index, batch) in steps().iter().enumerate() {
                let want = reference.step(batch);
                let what = format!("{} step {index}", isa.name());
                assert_close(model.step(batch, None).unwrap(), &want["logits"], &what);
            }
        }
    }
}

#[test]
fn models_can_move_between_threads() {
    fn movable<T: Send>() {}
    movable::<Model>();
}

#[test]
fn taps_hand_over_wanted_values() {
    let dir = directory();
    let mut model = load(plan(dir.path())).unwrap();
    let mut reference = Reference::new(i64::from(PAGES));
    let batch = &steps()[0];
    let mut taps = Collect::default();
    model.step(batch, Some(&mut taps)).unwrap();
    let want = reference.step(batch);
    let names: Vec<&str> = taps.0.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["layers.0.key", "layers.0.output", "layers.1.key", "layers.1.output"]);
    for ((_, shape, values), name) in
        taps.0.iter().zip(["pk_1", "layers.0.output", "pk_3", "layers.1.output"])
    {
        assert_eq!(shape.iter().product::<usize>(), 64);
        assert_close(values, &want[name], name);
    }
}

#[test]
fn sizes_are_evaluated_once_while_only_contexts_grow() {
    let dir = directory();
    let mut model = load(plan(dir.path())).unwrap();
    let run = |model: &mut Model, past: usize| {
        model.step(&batch(&[part(&[1, 2, 3, 4], past, &[1])], 4), None).unwrap();
        model.shape_evaluations()
    };
    assert_eq!(run(&mut model, 0), 1);
    for past in 1..12 {
        assert_eq!(run(&mut model, past), 1);
    }
    model.step(&steps()[0], None).unwrap();
    assert_eq!(model.shape_evaluations(), 2, "another variant");
    assert_eq!(run(&mut model, 12), 2, "each variant keeps its own, though the arena has moved");
    model.allocate_caches(&[PAGES + 1]).unwrap();
    assert_eq!(run(&mut model, 0), 3, "the caches have another size");
}

#[test]
fn steps_without_logits_and_new_caches_work() {
    let dir = directory();
    let mut model = load(plan(dir.path())).unwrap();
    let mut batch = steps().swap_remove(0);
    let all = model.step(&batch, None).unwrap().to_vec();
    batch.logit_index.clear();
    assert!(model.step(&batch, None).unwrap().is_empty());
    batch.logit_index = vec![7, 0];
    let some = model.step(&batch, None).unwrap().to_vec();
    assert_eq!(some, [&all[7 * 11..], &all[..11]].concat());
    model.allocate_caches(&[PAGES]).unwrap();
    batch.logit_index = (0..8).collect();
    assert_eq!(model.step(&batch, None).unwrap(), all);
}

#[test]
fn plans_load_from_files_beside_their_weights() {
    let dir = directory();
    let weights = dir.path().join("weights");
    std::fs::create_dir(&weights).unwrap();
    std::fs::rename(dir.path().join("model.safetensors"), weights.join("model.safetensors")).unwrap();
    let mut plan = plan(&weights);
    plan.weights.dir = "weights".into();
    let path = dir.path().join("plan.bin");
    std::fs::write(&path, container::encode(&plan).unwrap()).unwrap();
    let told = std::sync::Mutex::new(Vec::new());
    let progress = |progress| told.lock().unwrap().push(progress);
    let model = Model::load(&path, &LoadOptions { progress: Some(&progress), ..options() }).unwrap();
    assert_eq!(model.plan(), &plan);
    let memory = model.memory();
    // The embedding and two norms; two times qkv and o, and the head as f32.
    assert_eq!((memory.weights_mapped_bytes, memory.weights_owned_bytes), (352 + 64, 2 * (768 + 256) + 352));
    assert_eq!((memory.cache_bytes, memory.arena_peak_bytes), (0, Some(32 * 32 * 5)));
    assert_eq!(told.lock().unwrap().len(), 8);

    let elsewhere = LoadOptions { weights_dir: Some(dir.path().join("nowhere")), ..options() };
    let error = Model::load(&path, &elsewhere).err().unwrap().to_string();
    assert!(error.contains("nowhere"), "{error}");
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let dir = directory();
    let refusal = |change: &dyn Fn(&mut Plan)| {
        let mut plan = plan(dir.path());
        change(&mut plan);
        load(plan).err().unwrap().to_string()
    };
    let expect = |error: String, parts: &[&str]| {
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    expect(refusal(&|plan| plan.weights.files.clear()), &["from a config alone"]);
    expect(
        refusal(&|plan| plan.weights.files[0].len += 1),
        &["model.safetensors", "compiled for", "--weights"],
    );
    expect(
        refusal(&|plan| plan.weights.files[0].header_hash[0] ^= 1),
        &["other tensors", "compile the model again"],
    );
    expect(
        refusal(&|plan| plan.weights.files[0].name = "gone.safetensors".into()),
        &["gone.safetensors", "--weights"],
    );
    expect(refusal(&|plan| plan.weights.dir = "/nonexistent".into()), &["/nonexistent"]);
    let other_layer = |plan: &mut Plan| {
        let variants = &mut plan.programs[0].variants;
        variants.iter_mut().for_each(|variant| variant.functions[1].weights[0].layer_offset = 5);
    };
    expect(refusal(&other_layer), &["2 tensors", "`layers.5.norm` is missing", "f32[8]"]);
}

#[test]
fn batches_that_break_the_contract_are_refused() {
    let dir = directory();
    let mut model = load(plan(dir.path())).unwrap();
    let good = || steps().swap_remove(0);
    let mut refuse = |change: &dyn Fn(&mut StepBatch), expected: &str| {
        let mut batch = good();
        change(&mut batch);
        let error = model.step(&batch, None).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, RuntimeError::Batch(_)) && text.contains(expected), "{text}");
    };
    refuse(&|batch| *batch = StepBatch::default(), "no token");
    refuse(&|batch| batch.token_ids[2] = 11, "`token_ids`[2] is 11");
    refuse(&|batch| batch.token_ids[7] = -1, "`token_ids`[7] is -1");
    refuse(&|batch| batch.positions[0] = -1, "`positions`[0]");
    refuse(&|batch| batch.positions.push(0), "`positions` has 9");
    refuse(&|batch| batch.query_start[1] = 0, "`query_start`[1]");
    refuse(&|batch| batch.query_start[0] = 1, "from 0 to 8");
    refuse(&|batch| batch.query_start[2] = 7, "from 0 to 8");
    let short_last = |batch: &mut StepBatch| (batch.query_start[1], batch.context_len[0]) = (7, 7);
    refuse(&short_last, "sequence 1 has one new token");
    refuse(&|batch| batch.context_len[0] = 2, "`context_len`[0] is 2");
    refuse(&|batch| batch.context_len[1] = 9, "outside 5..=8");
    refuse(&|batch| batch.logit_index[0] = 8, "`logit_index`[0]");
    refuse(&|batch| batch.groups.clear(), "`groups`");
    refuse(&|batch| batch.groups[0].block_table[3] = 8, "`block_table.kv`[3] is 8");
    refuse(&|batch| batch.groups[0].block_table.push(0), "`block_table.kv` has 5");
    refuse(&|batch| batch.groups[0].slot_mapping[3] = 32, "slot_mapping.kv");
    refuse(&|batch| batch.groups[0].slot_mapping[3] = batch.groups[0].slot_mapping[4], "twice");
    refuse(&|batch| batch.table_width = usize::MAX, "allows");
    refuse(&|batch| batch.table_width = 17, "size M is 17");
    refuse(&|batch| batch.logit_index = vec![0; 33], "size L is 33");
    assert_eq!(model.step(&good(), None).unwrap().len(), 88, "and the model lives on");
    let mut fresh = Model::from_plan(plan(dir.path()), Path::new("."), &options()).unwrap();
    assert!(fresh.step(&good(), None).unwrap_err().to_string().contains("no caches"));
    assert!(fresh.allocate_caches(&[]).is_err() && fresh.allocate_caches(&[1 << 20]).is_err());
}

#[test]
fn memory_is_taken_within_a_limit_only() {
    let dir = directory();
    // 8 pages of 4 tokens, 2 layers, keys and values of 8 floats.
    let caches = 8 * 4 * 2 * 2 * 8 * 4;
    let load = |memory_limit| {
        let options = LoadOptions { memory_limit: Some(memory_limit), ..options() };
        Model::from_plan(plan(dir.path()), Path::new("."), &options).unwrap()
    };
    let error = load(caches - 1).allocate_caches(&[PAGES]).unwrap_err();
    assert!(matches!(error, RuntimeError::Memory { bytes, .. } if bytes == caches), "{error}");
    let mut model = load(caches + 1200);
    model.allocate_caches(&[PAGES]).unwrap();
    let error = model.step(&steps()[0], None).unwrap_err();
    assert!(matches!(error, RuntimeError::Memory { .. }), "{error}");
    assert_eq!(model.step(&steps()[4], None).unwrap().len(), 11, "a smaller step fits");
}

#[test]
fn models_share_weights_that_are_mapped() {
    let dir = directory();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let files = Arc::new(MappedCheckpoint::new(checkpoint).unwrap());
    let mut plan = plan(dir.path());
    plan.weights.dir = "/nonexistent".into();
    let options =
        || LoadOptions { weight_files: Some(Arc::clone(&files)), interpret_sizes: true, ..options() };
    let mut model = Model::from_plan(plan.clone(), Path::new("."), &options()).unwrap();
    model.allocate_caches(&[PAGES]).unwrap();
    assert_eq!(model.step(&steps()[0], None).unwrap().len(), 88);
    assert_eq!(Arc::strong_count(&files), 2);
    plan.weights.files[0].header_hash[0] ^= 1;
    let error = Model::from_plan(plan, Path::new("."), &options()).err().unwrap().to_string();
    assert!(error.contains("other tensors"), "{error}");
}

mod hostile {
    //! Plans with right hashes and wrong fields: every one an error, none undefined behaviour.

    use mscc_ir::plan::{Function, Place};
    use mscc_ir::{DType, Dim, Graph, Leaf, Sink, Template, TensorType, ops};
    use proptest::prelude::*;

    use super::*;

    /// Loads a changed plan and runs all steps; the first error.
    fn refusal(change: impl Fn(&mut Function, &mut Function, &mut Function)) -> Option<String> {
        let dir = directory();
        let mut plan = plan(dir.path());
        for variant in &mut plan.programs[0].variants {
            let [embed, layer, head] = variant.functions.as_mut_slice() else { panic!("three functions") };
            change(embed, layer, head);
        }
        run(plan).err().map(|error| error.to_string())
    }

    fn run(plan: Plan) -> Result<(), RuntimeError> {
        let mut model = load(plan)?;
        for batch in steps() {
            model.step(&batch, Some(&mut Collect::default()))?;
        }
        Ok(())
    }

    #[track_caller]
    fn expect(refusal: Option<String>, expected: &str) {
        assert!(refusal.as_ref().is_some_and(|error| error.contains(expected)), "{refusal:?}");
    }

    #[test]
    fn views_beyond_their_buffers_are_refused() {
        let far = Dim::constant(1 << 20);
        expect(
            refusal(|_, layer, _| layer.launches[0].results[0].base_bytes = far.clone()),
            "result 0 lies outside",
        );
        expect(
            refusal(|_, layer, _| layer.launches[0].operands[0].layout.offset = far.clone()),
            "operand 0 lies outside",
        );
        expect(
            refusal(|_, layer, _| layer.launches[1].operands[1].layout.strides[0] = Dim::constant(9)),
            "operand 1 lies outside",
        );
        expect(
            refusal(|_, _, head| head.launches[1].results[0].base_bytes = Dim::constant(64)),
            "result 0 lies outside",
        );
        expect(refusal(|_, layer, _| layer.taps[1].value.layout.offset = far.clone()), "outside its buffer");
        let wider = |layer: &mut Function| {
            let launch = &mut layer.launches[2];
            launch.operands[0].base_bytes = Dim::constant(64);
            launch.results[0].base_bytes = Dim::constant(64);
        };
        expect(refusal(|_, layer, _| wider(layer)), "outside its buffer");
    }

    #[test]
    fn overlapping_and_gapped_results_are_refused() {
        expect(
            refusal(|_, layer, _| layer.launches[0].results[0].base_bytes = Dim::ZERO),
            "result 0 overlaps operand 0",
        );
        expect(
            refusal(|_, layer, _| layer.launches[5].operands[0].base_bytes = Dim::ZERO),
            "result 0 overlaps operand 0",
        );
        let written_twice = |layer: &mut Function| {
            let cache = layer.launches[2].operands[0].clone();
            let rows = &mut layer.launches[2].operands[1];
            rows.place = Place::Cache(0);
            rows.layout = mscc_ir::view::ViewLayout::contiguous(&rows.layout.shape);
            rows.base_bytes = Dim::ZERO;
            assert_eq!(cache.place, Place::Cache(0));
        };
        expect(refusal(|_, layer, _| written_twice(layer)), "overlaps operand 1");
        let flat = |layer: &mut Function| {
            let launch = &mut layer.launches[2];
            launch.operands[0].layout.strides[0] = Dim::ZERO;
            launch.results[0].layout.strides[0] = Dim::ZERO;
        };
        expect(refusal(|_, layer, _| flat(layer)), "not densely packed");
    }

    #[test]
    fn buffers_are_viewed_as_what_they_hold() {
        // Two bf16 in the middle of the head, as one f32 that is not aligned.
        let dir = directory();
        let mut plan = plan(dir.path());
        let mut body = Graph::new("recipe");
        let ty = TensorType::new(DType::BF16, [11u32, 8].map(Dim::from));
        let head = body.leaf(Leaf::Weight(Template::new("head").unwrap()), "head", ty);
        let shape = vec![Dim::constant(88)];
        let flat = body.op1(ops::Reshape { shape }, &[head], "flat").unwrap();
        let sizes = [1, 16, 71].map(Dim::constant).to_vec();
        let parts = body.op(ops::Split { axis: 0, sizes }, &[flat], &["a", "b", "c"]).unwrap();
        let part = parts[1];
        body.sink(Sink::Output("weight".into()), part);
        plan.weights.recipes[1].body = body;
        expect(run(plan).err().map(|error| error.to_string()), "takes a buffer of bf16 for one of f32");

        let mut plan = super::plan(dir.path());
        plan.caches[0].tensors[0].dtype = DType::BF16;
        expect(run(plan).err().map(|error| error.to_string()), "takes a buffer of bf16 for one of f32");
    }

    #[test]
    fn symbols_have_one_range() {
        let dir = directory();
        let mut plan = plan(dir.path());
        plan.symbols.push(plan.symbols[0].clone());
        expect(run(plan).err().map(|error| error.to_string()), "is declared twice");
    }

    #[test]
    fn groups_without_tensors_have_any_number_of_pages() {
        let dir = directory();
        let mut plan = plan(dir.path());
        let none = CacheGroup {
            name: "none".into(),
            block_size: u32::MAX,
            tensors: vec![],
            ..plan.caches[0].clone()
        };
        plan.caches.push(none);
        let mut model = Model::from_plan(plan, Path::new("."), &options()).unwrap();
        model.allocate_caches(&[PAGES, u32::MAX]).unwrap();
        let mut batch = steps().swap_remove(0);
        batch.groups.push(batch.groups[0].clone());
        assert_eq!(model.step(&batch, None).unwrap().len(), 88);
    }

    #[test]
    fn recipes_make_no_more_than_a_checkpoint_gives() {
        let dir = directory();
        let mut plan = plan(dir.path());
        let mut body = Graph::new("recipe");
        let ty = TensorType::new(DType::BF16, [11u32, 8].map(Dim::from));
        let head = body.leaf(Leaf::Weight(Template::new("head").unwrap()), "head", ty);
        let wide = body.op1(ops::Cast { dtype: DType::F32 }, &[head], "wide").unwrap();
        // Nothing uses the rest, which is 11 * 8 * 4 GiB at its end.
        (0..30).fold(wide, |x, _| body.op1(ops::Concat { axis: 0 }, &[x, x], "twice").unwrap());
        body.sink(Sink::Output("weight".into()), wide);
        plan.weights.recipes[4].body = body;
        expect(run(plan).err().map(|error| error.to_string()), "which no real plan does");
    }

    #[test]
    fn caches_are_written_through_the_steps_slots_only() {
        let other = |layer: &mut Function| layer.launches[2].operands[2].place = Place::Input(0);
        expect(refusal(|_, layer, _| other(layer)), "slot_mapping");
        let repeated = |layer: &mut Function| layer.launches[2].operands[2].layout.strides[0] = Dim::ZERO;
        expect(refusal(|_, layer, _| repeated(layer)), "slot_mapping");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        /// Any change of any number of any operand runs within its buffers or is an error.
        #[test]
        fn random_changes_never_escape(
            function in 0usize..3,
            launch in 0usize..6,
            operand in 0usize..7,
            field in 0usize..12,
            text in prop::sample::select(vec![
                "0", "1", "2", "3", "64", "128", "4096", "T", "L", "64*T", "T*T", "4611686018427387904",
                "floordiv(T, 2)", "max(T, 9)", "M", "P_kv", "1048576*T",
            ]),
        ) {
            let dir = directory();
            let mut plan = plan(dir.path());
            let value: Dim = text.parse().unwrap();
            for variant in &mut plan.programs[0].variants {
                let launches = &mut variant.functions[function].launches;
                let count = launches.len();
                let launch = &mut launches[launch % count];
                let mut all: Vec<_> = launch.operands.iter_mut().chain(&mut launch.results).collect();
                let count = all.len();
                let operand = &mut all[operand % count];
                let axes = operand.layout.strides.len();
                match field {
                    0 => operand.base_bytes = value.clone(),
                    1 => operand.layout.offset = value.clone(),
                    2 => variant.arena_bytes = value.clone(),
                    3..8 => operand.layout.strides[field % axes] = value.clone(),
                    _ => operand.layout.shape[field % axes] = value.clone(),
                }
            }
            // Errors are fine; crashes, sanitizer findings and panics of kernels, which come as errors, are not.
            let error = run(plan).err().map(|error| error.to_string()).unwrap_or_default();
            prop_assert!(!error.contains("panicked"), "{error}");
        }
    }
}
