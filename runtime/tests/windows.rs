//! A cache that keeps a window gives what one that keeps all gives, by the bit, in fewer pages.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "the plan alone is wanted here")]
mod tiny;

use std::path::Path;

use mscc_ir::module::CacheKind;
use mscc_ir::ops::Op;
use mscc_ir::plan::{InputDecl, Place, Plan, Residence};
use mscc_ir::{Dim, step};
use mscc_runtime::engine::{Engine, EngineOptions, Request, Scorer};
use mscc_runtime::sample::SamplingParams;
use mscc_runtime::step::batch::StepModel;
use mscc_runtime::{LoadOptions, Model};

const WINDOW: u32 = 6;

/// The tiny model with attention of its last layer over a window, and a cache group of its own for that layer.
fn plan(dir: &Path, kind: CacheKind) -> Plan {
    let mut plan = tiny::plan(dir);
    let mut group = plan.caches[0].clone();
    (group.name, group.kind, group.layers) = ("near".into(), kind, std::iter::once(1..2).collect());
    plan.caches[0].layers = std::iter::once(0..1).collect();
    plan.caches.push(group);
    let pages = plan.symbols.iter().find(|(name, _)| name == "P_kv").unwrap().1;
    plan.symbols.push(("P_near".into(), pages));
    let old_inputs = plan.inputs.clone();
    for name in ["block_table.near", "slot_mapping.near"] {
        let ty = step::input_type(name).unwrap();
        let residence = Residence::Device;
        plan.inputs.push(InputDecl { name: name.into(), dtype: ty.dtype, shape: ty.shape, residence });
    }
    let moved = |index: u32| match old_inputs[index as usize].name.as_str() {
        "block_table.kv" => old_inputs.len() as u32,
        "slot_mapping.kv" => old_inputs.len() as u32 + 1,
        _ => index,
    };
    for variant in &mut plan.programs[0].variants {
        let mut near = variant.functions[1].clone();
        near.name = "near".into();
        near.caches.iter_mut().for_each(|cache| cache.group = "near".into());
        for launch in &mut near.launches {
            if let Op::Attention(op) = &mut launch.op {
                op.window = Some(WINDOW);
            }
            for operand in launch.operands.iter_mut().chain(&mut launch.results) {
                match &mut operand.place {
                    Place::Input(index) => *index = moved(*index),
                    Place::Cache(_) => operand.layout.shape[0] = Dim::symbol("P_near"),
                    Place::Arena | Place::Output(_) | Place::Weight(_) => {}
                }
            }
        }
        variant.functions.push(near);
        variant.calls = vec![(0, 0..1), (1, 0..1), (3, 1..2), (2, 0..1)];
    }
    plan
}

fn model(dir: &Path, kind: CacheKind, threads: usize) -> Model {
    let options = LoadOptions { threads: Some(threads), ..LoadOptions::default() };
    Model::from_plan(plan(dir, kind), Path::new("."), &options).unwrap()
}

fn tokens(count: u32, seed: u32) -> Vec<u32> {
    (0..count).map(|at| (at * at + seed * at + seed) % tiny::VOCAB as u32).collect()
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

#[test]
fn windows_give_what_whole_caches_give() {
    let dir = tempfile::tempdir().unwrap();
    tiny::write_checkpoint(dir.path());
    let subject = tokens(61, 3);
    let mut whole = model(dir.path(), CacheKind::Full, 1);
    let expected = bits(&Scorer::new(&mut whole).unwrap().logits(&subject, None).unwrap());
    let others = [tokens(40, 1), tokens(2, 5), tokens(17, 7)];
    for threads in [1, 3] {
        let mut model = model(dir.path(), CacheKind::Window(WINDOW), threads);
        let mut scorer = Scorer::new(&mut model).unwrap();
        for chunk in [None, Some(1), Some(3), Some(7), Some(16)] {
            assert_eq!(bits(&scorer.logits(&subject, chunk).unwrap()), expected, "chunk {chunk:?}");
            let batch = [others[0].as_slice(), &others[1], &subject, &others[2]];
            let mut got = Vec::new();
            let scored = scorer.score(&batch, chunk, None, |rows| {
                if rows.sequence == 2 {
                    got.extend_from_slice(rows.logits);
                }
                Ok::<(), mscc_runtime::engine::EngineError>(())
            });
            scored.unwrap();
            assert_eq!(bits(&got), expected, "in a batch, chunk {chunk:?}");
        }
    }
}

#[test]
fn requests_are_served_with_pages_of_windows_used_again() {
    let dir = tempfile::tempdir().unwrap();
    tiny::write_checkpoint(dir.path());
    let requests: Vec<Request> = (0..4)
        .map(|id| Request {
            ignore_eos: true,
            ..Request::new(id, tokens(9 + 5 * id as u32, id as u32), SamplingParams::greedy().max_tokens(30))
        })
        .collect();
    let serve = |kind: CacheKind, pages: [u32; 2], budget: u32| {
        let model = model(dir.path(), kind, 2);
        let options = EngineOptions::default().num_pages(pages).max_num_batched_tokens(budget);
        let mut engine = Engine::new(model, options).unwrap();
        requests.iter().for_each(|request| engine.add(request.clone()).unwrap());
        let mut given: Vec<Vec<u32>> = vec![Vec::new(); requests.len()];
        while engine.has_work() {
            for event in engine.step().unwrap() {
                given[event.request as usize].extend(event.token);
            }
        }
        assert_eq!(engine.stats().free_pages, pages.map(|pages| pages as usize));
        given
    };
    let expected = serve(CacheKind::Full, [64, 64], 32);
    for budget in [1, 5, 32] {
        // 4 sequences of up to 54 tokens keep 6 each of them here, which lie in 3 pages of 4 at most.
        assert_eq!(serve(CacheKind::Window(WINDOW), [64, 20], budget), expected, "{budget} tokens a step");
    }
    // Too few for all at once.
    assert_eq!(serve(CacheKind::Window(WINDOW), [20, 7], 5), expected);
}

#[test]
fn a_window_of_nothing_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    tiny::write_checkpoint(dir.path());
    let plan = plan(dir.path(), CacheKind::Window(0));
    let error = Model::from_plan(plan, Path::new("."), &LoadOptions::default()).err().unwrap().to_string();
    assert!(error.contains("caches.near: keeps a window of no token"), "{error}");
    let model = model(dir.path(), CacheKind::Window(1), 1);
    assert_eq!(model.caches().len(), 2);
}
