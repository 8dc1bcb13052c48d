//! The target of plans: fields changed, hashes right, loaded and run.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use mscc_checkpoint::{Checkpoint, MappedCheckpoint};
use mscc_compiler::Options;
use mscc_compiler::predict::predict;
use mscc_compiler::savings::savings;
use mscc_ir::Symbol;
use mscc_ir::plan::{Plan, container, print_plan, validate};
use mscc_runtime::step::batch::{GroupTables, StepBatch, StepModel, TapSink};
use mscc_runtime::{LoadOptions, Model, RuntimeError};

use crate::bytes;
use crate::random::Random;
use crate::tree::Tree;

/// Most bytes that a step may take.
const MEMORY: u64 = 512 << 10;
/// Most floating-point operations, and bytes moved, of a step that is run: plans may ask for as much work as they like, which is
/// not a fault, and takes its time.
const WORK: i64 = 200_000_000;

/// A plan from which others are made, with its weights.
struct Origin {
    plan: Plan,
    files: Arc<MappedCheckpoint>,
}

/// Changes fields of a plan as `input` says, and runs what still loads.
pub fn plan_fields(input: &[u8]) -> &'static str {
    thread_local! {
        static TREES: RefCell<Vec<Tree>> = RefCell::new(origins().iter().map(|origin| {
            let value = serde_json::to_value(&origin.plan).expect("plans have no maps with odd keys");
            Tree::new(value)
        }).collect());
    }
    TREES.with_borrow_mut(|trees| {
        let mut random = Random::of_bytes(input);
        // The first is the smallest, of which there can be most.
        let index = if random.once_in(12) { random.below(trees.len()) } else { 0 };
        let (tree, origin) = (&mut trees[index], &origins()[index]);
        let undo = tree.mutate(&mut random);
        let plan = serde::Deserialize::deserialize(tree.value());
        tree.restore(undo);
        let Ok(plan) = plan else { return "refused: a field cannot be decoded" };
        run(plan, origin, &mut random)
    })
}

/// A file of sections with right hashes: what the decoder of bodies says, and a run of what still loads.
pub fn plan_bytes(input: &[u8]) -> &'static str {
    let Some(plan) = decode(&seal(input)) else { return "refused: cannot be decoded" };
    let hash = *blake3::hash(input).as_bytes();
    let origins = origins();
    let origin = origins.iter().find(|origin| origin.plan.weights.files == plan.weights.files);
    run(plan, origin.unwrap_or(&origins[0]), &mut Random::of_bytes(&hash))
}

/// The encoded plans, for mutation as bytes.
pub fn seeds() -> Vec<Vec<u8>> {
    let encode = |origin: &Origin| container::encode(&origin.plan).expect("plans can be written");
    origins().iter().map(encode).collect()
}

/// One of the seeds with one section changed, and its length stated as it is.
pub fn mutate(random: &mut Random<'_>, seeds: &[Vec<u8>]) -> Vec<u8> {
    let Some(seed) = random.pick(seeds) else { return Vec::new() };
    let entry = 16 + 64 * random.below(5);
    let number = |at: usize| Some(u64::from_le_bytes(*seed.get(at..)?.first_chunk()?) as usize);
    let section =
        number(entry + 16).zip(number(entry + 24)).and_then(|(at, len)| Some(at..at.checked_add(len)?));
    let Some(section) = section.filter(|section| section.end <= seed.len()) else { return seed.clone() };
    let body = bytes::mutate(random, &[seed[section.clone()].to_vec()]);
    let mut changed = seed.clone();
    changed[entry + 24..entry + 32].copy_from_slice(&(body.len() as u64).to_le_bytes());
    changed.splice(section, body);
    changed
}

/// The file with hashes and lengths as they should be, if it has a table of sections at all.
pub fn seal(input: &[u8]) -> Vec<u8> {
    const HEADER: usize = 16;
    const ENTRY: usize = 64;
    let mut bytes = input.to_vec();
    let count =
        bytes.get(12..16).map_or(0, |count| u32::from_le_bytes(count.try_into().expect("four bytes")));
    let table_end = HEADER + ENTRY * (count as usize).min(64);
    if bytes.len() < table_end + 32 {
        return bytes;
    }
    let (mut start, end) = (table_end + 32, bytes.len());
    for at in (HEADER..table_end).step_by(ENTRY) {
        let stated = u64::from_le_bytes(bytes[at + 24..at + 32].try_into().expect("eight bytes"));
        let is_last = at + ENTRY == table_end;
        let len = usize::try_from(stated).map_or(end - start, |len| len.min(end - start));
        let len = if is_last { end - start } else { len };
        let hash = *blake3::hash(&bytes[start..start + len]).as_bytes();
        bytes[at + 16..at + 24].copy_from_slice(&(start as u64).to_le_bytes());
        bytes[at + 24..at + 32].copy_from_slice(&(len as u64).to_le_bytes());
        bytes[at + 32..at + 64].copy_from_slice(&hash);
        start += len;
    }
    let hash = *blake3::hash(&bytes[..table_end]).as_bytes();
    bytes[table_end..table_end + 32].copy_from_slice(&hash);
    bytes
}

fn decode(bytes: &[u8]) -> Option<Plan> {
    container::decode(bytes).ok()
}

fn run(mut plan: Plan, origin: &Origin, random: &mut Random<'_>) -> &'static str {
    if random.once_in(8) {
        let bytes = container::encode(&plan).expect("what was decoded can be encoded");
        match decode(&bytes) {
            // `validate` looks at the plan once more below.
            Some(decoded) => plan = decoded,
            None => return "refused: invalid",
        }
    }
    if plan.meta.target != "cpu" && validate(&plan).is_ok() {
        let shown = print_plan(&plan);
        assert!(shown.contains(&plan.meta.target));
        predict(&plan);
        savings(&plan);
        return "shown";
    }
    if random.once_in(16) && validate(&plan).is_ok() {
        savings(&plan);
    }
    let options = LoadOptions {
        threads: Some(if random.once_in(64) { 3 } else { 1 }),
        memory_limit: Some(MEMORY),
        interpret_sizes: !random.once_in(64),
        weight_files: (!random.once_in(64)).then(|| Arc::clone(&origin.files)),
        ..LoadOptions::default()
    };
    let mut model = match Model::from_plan(plan, Path::new("."), &options) {
        Ok(model) => model,
        Err(RuntimeError::Invalid(_)) => return "refused: invalid",
        Err(error) => return refused(&error, "refused: weights"),
    };
    let sequences = [Sequence { past: 0, new: 3 }, Sequence { past: 0, new: 5 }];
    let width = model
        .caches()
        .iter()
        .map(|group| 16u32.div_ceil(group.block_size.max(1)) as usize)
        .max()
        .unwrap_or(1);
    let pages: Vec<u32> = model.caches().iter().map(|_| 2 * width as u32 + 1).collect();
    if let Err(error) = model.allocate_caches(&pages) {
        return refused(&error, "refused: caches");
    }
    let decoding = sequences.map(|it| Sequence { past: it.new, new: 1 });
    let mixed = [Sequence { past: 6, new: 1 }, Sequence { past: 2, new: 4 }];
    let mut outcome = "run";
    for sequences in [sequences, decoding, mixed] {
        let mut batch = batch(&model, &sequences, width);
        let hostile = random.once_in(8);
        if hostile {
            distort(random, &mut batch);
        }
        if work(model.plan(), &batch, &pages).is_none_or(|work| work > WORK) {
            return "not run: too much work";
        }
        let logits = batch.logit_index.len() * model.limits().vocab_size as usize;
        let mut taps = Taps;
        let taps: Option<&mut dyn TapSink> = if random.once_in(2) { Some(&mut taps) } else { None };
        match model.step(&batch, taps) {
            Ok(values) => assert_eq!(values.len(), logits, "logits are [L, V]"),
            Err(RuntimeError::Batch(_)) if hostile => outcome = "run, with a batch refused",
            Err(error) => return refused(&error, "refused: step"),
        }
    }
    outcome
}

/// A typed error is what is asked for; a kernel's panic comes as one, too, and is not.
fn refused(error: &RuntimeError, outcome: &'static str) -> &'static str {
    let text = error.to_string();
    assert!(!text.contains("panicked"), "{text}");
    outcome
}

struct Taps;

impl TapSink for Taps {
    fn wants(&self, name: &str) -> bool {
        !name.is_empty()
    }

    fn take(&mut self, name: &str, shape: &[usize], values: Vec<f32>) {
        assert_eq!(values.len(), shape.iter().product::<usize>(), "tap {name} is of its shape");
    }
}

#[derive(Clone, Copy)]
struct Sequence {
    past: usize,
    new: usize,
}

/// A batch for whatever caches and limits the model has.
fn batch(model: &Model, sequences: &[Sequence], table_width: usize) -> StepBatch {
    let vocab = model.limits().vocab_size.max(1) as usize;
    let mut batch = StepBatch { query_start: vec![0], table_width, ..StepBatch::default() };
    batch.groups = vec![GroupTables::default(); model.caches().len()];
    for (row, sequence) in sequences.iter().enumerate() {
        for position in sequence.past..sequence.past + sequence.new {
            batch.token_ids.push((7 * position % vocab) as i32);
            batch.positions.push(position as i32);
            for (tables, group) in batch.groups.iter_mut().zip(model.caches()) {
                let block = group.block_size as usize;
                let page = row * table_width + position / block;
                tables.slot_mapping.push((page * block + position % block) as i32);
            }
        }
        batch.query_start.push(batch.token_ids.len() as i32);
        batch.context_len.push((sequence.past + sequence.new) as i32);
        for tables in &mut batch.groups {
            tables.block_table.extend((0..table_width).map(|page| (row * table_width + page) as i32));
        }
    }
    batch.logit_index = (0..batch.token_ids.len() as i32).collect();
    batch
}

/// Changes a list of a batch as a faulty embedding program might.
fn distort(random: &mut Random<'_>, batch: &mut StepBatch) {
    let group = random.below(batch.groups.len());
    if random.once_in(16) {
        match random.below(3) {
            0 => batch.groups.clear(),
            1 => batch.groups.push(GroupTables::default()),
            _ => batch.table_width = [0, 1, 3, 1 << 16, usize::MAX][random.below(5)],
        }
        return;
    }
    let mut lists = vec![
        &mut batch.token_ids,
        &mut batch.positions,
        &mut batch.query_start,
        &mut batch.context_len,
        &mut batch.logit_index,
    ];
    if let Some(tables) = batch.groups.get_mut(group) {
        lists.extend([&mut tables.block_table, &mut tables.slot_mapping]);
    }
    let index = random.below(lists.len());
    let list = &mut lists[index];
    let (at, to) = (random.below(list.len()), random.below(list.len()));
    let value = [0, 1, -1, 2, 5, 8, 9, 17, 64, 1 << 20, i32::MAX, i32::MIN, -2][random.below(13)];
    match random.below(6) {
        0 => list.push(value),
        1 => list.truncate(at),
        2 if !list.is_empty() => list.swap(at, to),
        3 if !list.is_empty() => list[at] = list[to],
        _ if !list.is_empty() => list[at] = value,
        _ => list.clear(),
    }
}

/// Floating-point operations and bytes moved by all variants of a step; `None` if they do not fit.
fn work(plan: &Plan, batch: &StepBatch, pages: &[u32]) -> Option<i64> {
    let (tokens, sequences) = (batch.token_ids.len() as i64, batch.context_len.len() as i64);
    let longest = batch.context_len.iter().copied().max().map_or(0, i64::from).clamp(0, 64);
    let value = |symbol: &Symbol| {
        Some(match symbol.name() {
            "T" => tokens,
            "B" => sequences,
            "L" => batch.logit_index.len() as i64,
            "M" => i64::try_from(batch.table_width).ok()?,
            // No less than they are.
            "Td" | "Q" => tokens,
            "Bd" => sequences,
            "S" => longest,
            "C" => longest.checked_mul(sequences)?,
            "A" => longest.checked_mul(tokens)?,
            name => {
                let group = plan.caches.iter().position(|group| group.pages_symbol() == name)?;
                i64::from(*pages.get(group)?)
            }
        })
    };
    let variants =
        plan.programs.iter().filter(|program| program.name == "main").flat_map(|program| &program.variants);
    let mut sum = 0i64;
    for variant in variants {
        for (function, layers) in &variant.calls {
            let function = variant.functions.get(*function as usize)?;
            for launch in &function.launches {
                let types = |operands: &[mscc_ir::plan::Operand]| {
                    operands.iter().map(|it| it.ty()).collect::<Vec<_>>()
                };
                let work = launch.op.work(&types(&launch.operands), &types(&launch.results));
                let all = [&work.flops, &work.read_bytes, &work.written_bytes];
                let all =
                    all.into_iter().try_fold(1000i64, |sum, dim| sum.checked_add(dim.eval(&value).ok()?))?;
                sum = sum.checked_add(all.checked_mul(i64::from(layers.end.checked_sub(layers.start)?))?)?;
            }
        }
    }
    Some(sum)
}

/// A plan written by hand for a tiny model, and compiled plans of small ones.
fn origins() -> &'static [Origin] {
    static ORIGINS: OnceLock<Vec<Origin>> = OnceLock::new();
    ORIGINS.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        crate::tiny::write_checkpoint(dir.path());
        let mut tiny = crate::tiny::plan(dir.path());
        // Both variants are the same but for the guard.
        let lone = Plan { programs: tiny.programs.clone(), ..tiny.clone() };
        tiny.programs[0].variants.remove(0);
        let mut origins = vec![origin(tiny, dir.path()), origin(lone, dir.path())];
        for (name, compute_dtype) in [("llama", "bfloat16"), ("qwen3", "float32"), ("qwen2_tied", "bfloat16")]
        {
            let dir = fixtures().join(name);
            let options = Options {
                model: Some(dir.clone()),
                compute_dtype: Some(compute_dtype.to_owned()),
                max_model_len: Some(64),
                max_num_batched_tokens: Some(32),
                ..Options::default()
            };
            let compiled = mscc_compiler::compile(&options, false).expect("fixtures compile");
            origins.push(origin(compiled.plan, &dir));
        }
        // It is never run; what it calls is held against the operators' rules.
        let dir = fixtures().join("qwen3");
        let options = Options {
            model: Some(dir.clone()),
            target: Some("ascend910b3".to_owned()),
            max_model_len: Some(256),
            ..Options::default()
        };
        let compiled = mscc_compiler::compile(&options, false).expect("fixtures compile");
        origins.push(origin(compiled.plan, &dir));
        origins
    })
}

fn origin(mut plan: Plan, dir: &Path) -> Origin {
    // The same bytes wherever the files are, since mutations are drawn from them.
    plan.weights.dir = "weights".to_owned();
    plan.text.tokenizer_dir = plan.text.tokenizer_dir.map(|_| "tokenizer".to_owned());
    // Of what only people read there is a little of each kind, so that most mutations meet what counts.
    let variants = plan.programs.iter_mut().flat_map(|program| &mut program.variants);
    let functions = variants.flat_map(|variant| &mut variant.functions);
    for listing in functions.filter_map(|function| function.listing.as_mut()) {
        listing.fusion.rules.truncate(4);
        listing.fusion.rules.iter_mut().for_each(|rule| rule.events.truncate(1));
    }
    let checkpoint = Checkpoint::open(dir).expect("the checkpoint is there");
    Origin { plan, files: Arc::new(MappedCheckpoint::new(checkpoint).expect("the checkpoint can be mapped")) }
}

fn fixtures() -> PathBuf {
    crate::repository().join("tests/data/fixtures")
}
