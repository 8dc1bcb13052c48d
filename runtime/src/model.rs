//! A model that is ready to run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mscc_checkpoint::MappedCheckpoint;
use mscc_ir::module::CacheGroup;
use mscc_ir::plan::container::ContainerError;
use mscc_ir::plan::{Condition, Plan, PlanError, PlanLimits, Variant, validate};
use mscc_ir::{DType, Dim, Symbol, SymbolTable};

use crate::device::cpu::Isa;
use crate::device::{Device, Host};
use crate::error::RuntimeError;
use crate::load::plan::read_plan;
use crate::load::weights::{LoadProgress, WeightOptions, WeightStore};
use crate::step::batch::{StepBatch, StepModel, TapSink};
use crate::step::buffers::{Buffers, Needs};
use crate::step::launch::BoundVariant;
use crate::step::resolve::{ResolvedFunction, VariantProgram};
use crate::step::shape::{ShapeProgram, Slot, TapeBuilder};
use crate::step::sizes::Sizes;
use crate::step::tile::{Binder, BoundCall, LayerCall};

/// A plan with its weights, on the CPU of this process.
///
/// Steps run after [`StepModel::allocate_caches`] only. What follows from the sizes of a step is kept, for each
/// variant, until sizes change.
pub struct Model {
    plan: Plan,
    sizes: Sizes,
    inputs: Vec<InputSource>,
    /// Reused for inputs that are computed of a batch.
    of_tokens: Vec<i32>,
    /// Position of `logits` among the outputs.
    logits: usize,
    guards: Guards,
    // Bound launches hold addresses of what follows, and go first.
    variants: Vec<VariantState>,
    buffers: Buffers<Host>,
    store: WeightStore,
    device: Host,
    has_caches: bool,
    memory_limit: u64,
}

/// How a model is loaded.
#[derive(Default)]
pub struct LoadOptions<'a> {
    /// Threads to compute with; as many as the machine has if not given.
    pub threads: Option<usize>,
    /// Directory of the checkpoint in place of the plan's.
    pub weights_dir: Option<PathBuf>,
    /// Instructions to use; the best that the machine has if not given, or if it lacks them.
    pub isa: Option<Isa>,
    /// Told how far the loading of weights has come, from any thread.
    pub progress: Option<&'a (dyn Fn(LoadProgress) + Sync)>,
    /// Weight files that are mapped already, in place of those of a directory: models of one checkpoint share them.
    pub weight_files: Option<Arc<MappedCheckpoint>>,
    /// Most bytes that caches and one step's activations, inputs and outputs may take together; as many as the
    /// system gives if not given. A plan states what it needs, and may state anything.
    pub memory_limit: Option<u64>,
    /// Whether sizes and offsets are computed by an interpreter only, without generating code for them.
    pub interpret_sizes: bool,
}

/// Memory that a model takes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryReport {
    /// Weights used in place in the checkpoint's files, which the system can drop and read again.
    pub weights_mapped_bytes: u64,
    /// Weights that were made when the model was loaded.
    pub weights_owned_bytes: u64,
    /// Caches, at the pages that they now have.
    pub cache_bytes: u64,
    /// Activations of the largest step that the plan allows; `None` if the plan does not bound them.
    pub arena_peak_bytes: Option<u64>,
}

/// Which part of a batch an input is.
enum InputSource {
    TokenIds,
    Positions,
    QueryStart,
    ContextLen,
    LogitIndex,
    TokenSequence,
    TokenContext,
    TokenStart,
    BlockTable(usize),
    SlotMapping(usize),
}

/// The guards of all variants as one program.
struct Guards {
    program: ShapeProgram,
    variants: Vec<Vec<(Relation, Slot, Slot)>>,
}

enum Relation {
    Le,
    Eq,
}

/// A variant with what was computed for its last sizes.
struct VariantState {
    program: VariantProgram,
    calls: Vec<LayerCall>,
    /// What was placed for the program's current values, if it was.
    resolved: Option<(Needs, Vec<ResolvedFunction>)>,
    /// The generation of the buffers to which launches are bound, and the launches.
    bound: Option<(u64, Vec<BoundCall<Host>>)>,
}

impl Model {
    /// Reads a plan and its weights.
    ///
    /// Errors: those of [`read_plan`] and [`WeightStore::load`].
    pub fn load(path: &Path, options: &LoadOptions<'_>) -> Result<Model, RuntimeError> {
        let plan = read_plan(path)?;
        let base_dir = path.parent().unwrap_or(Path::new(""));
        Model::from_plan(plan, base_dir, options).map_err(|error| match error {
            RuntimeError::Invalid(error) => {
                RuntimeError::Plan { path: path.to_owned(), source: ContainerError::Invalid(error) }
            }
            other => other,
        })
    }

    /// Loads the weights of a plan; a relative weight directory that is not in the current directory is looked for
    /// in `base_dir`.
    ///
    /// Errors: a plan that breaks a rule or asks for what steps do not have; those of [`WeightStore::load`].
    pub fn from_plan(plan: Plan, base_dir: &Path, options: &LoadOptions<'_>) -> Result<Model, RuntimeError> {
        validate(&plan)?;
        if plan.meta.target != "cpu" {
            return Err(RuntimeError::Target { target: plan.meta.target });
        }
        let sizes = Sizes::new(&plan);
        let (inputs, logits) = (input_sources(&plan)?, logits_output(&plan)?);
        let main = main_variants(&plan);
        let native = !options.interpret_sizes;
        let guards = Guards::new(main, &sizes, native)?;
        let source = |symbol: &Symbol| sizes.source(symbol);
        let programs = main.iter().map(|variant| VariantProgram::new(&plan, variant, source, native));
        let programs: Vec<VariantProgram> = programs.collect::<Result<_, _>>()?;
        let available = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = options.threads.unwrap_or_else(available).max(1);
        let isa = options.isa.filter(|isa| isa.is_available()).unwrap_or_else(Isa::detect);
        let weights = WeightOptions {
            dir: options.weights_dir.as_deref(),
            base_dir,
            threads,
            isa,
            progress: options.progress,
            files: options.weight_files.as_ref(),
        };
        let store = WeightStore::load(&plan, &weights)?;
        let state = |(program, variant): (VariantProgram, &Variant)| VariantState {
            program,
            calls: LayerCall::all(&plan, variant, &store),
            resolved: None,
            bound: None,
        };
        Ok(Model {
            variants: programs.into_iter().zip(main).map(state).collect(),
            buffers: Buffers::new(plan.inputs.len(), plan.outputs.len()),
            device: Host::new(threads, isa),
            has_caches: plan.caches.is_empty(),
            memory_limit: options.memory_limit.unwrap_or(u64::MAX),
            sizes,
            inputs,
            of_tokens: Vec::new(),
            logits,
            guards,
            store,
            plan,
        })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The device it runs on.
    pub fn device(&self) -> &Host {
        &self.device
    }

    /// Memory that the model takes.
    pub fn memory(&self) -> MemoryReport {
        let mut symbols = SymbolTable::default();
        self.plan.symbols.iter().for_each(|(name, info)| symbols.declare(name, *info));
        let arenas = main_variants(&self.plan).iter().map(|variant| &variant.arena_bytes);
        let peak = arenas.map(|arena| symbols.range(arena).and_then(|range| u64::try_from(range.max).ok()));
        let (weights_mapped_bytes, weights_owned_bytes) = self.store.bytes();
        MemoryReport {
            weights_mapped_bytes,
            weights_owned_bytes,
            cache_bytes: self.buffers.cache_bytes(),
            arena_peak_bytes: peak
                .collect::<Option<Vec<u64>>>()
                .map(|all| all.into_iter().max().unwrap_or(0)),
        }
    }

    /// How often the expressions of sizes and offsets have been evaluated, all variants together: not for a step
    /// whose sizes are those of the step before.
    pub fn shape_evaluations(&self) -> u64 {
        self.variants.iter().map(|variant| variant.program.evaluations()).sum()
    }

    /// Brings everything that depends on sizes up to date for a variant.
    fn prepare(&mut self, index: usize) -> Result<(), RuntimeError> {
        let functions = &main_variants(&self.plan)[index].functions;
        let state = &mut self.variants[index];
        if state.program.update(self.sizes.values())? || state.resolved.is_none() {
            (state.resolved, state.bound) = (None, None);
            let needs = state.program.needs()?;
            let buffers = &self.buffers;
            let cache_bytes =
                |group, tensor| buffers.cache(group, tensor).map(|(_, layer_bytes)| layer_bytes);
            let resolved = state.program.resolve(&needs, &cache_bytes)?;
            state.resolved = Some((needs, resolved));
        }
        let Some((needs, resolved)) = &state.resolved else { return Ok(()) };
        let (step, caches) = (needs.bytes(), self.buffers.cache_bytes());
        within_limit(step.saturating_add(caches), self.memory_limit, || {
            format!("a step ({step}) and caches ({caches})")
        })?;
        self.buffers.reserve(&self.device, needs)?;
        let generation = self.buffers.generation();
        if state.bound.as_ref().is_none_or(|(bound, _)| *bound != generation) {
            let binder = Binder {
                device: &self.device,
                functions,
                resolved,
                buffers: &self.buffers,
                store: &self.store,
            };
            let bound = state.calls.iter().map(|call| binder.bind(call)).collect::<Result<_, _>>()?;
            state.bound = Some((generation, bound));
        }
        Ok(())
    }

    /// Copies a batch to the inputs.
    fn upload(&mut self, batch: &StepBatch) {
        for (index, source) in self.inputs.iter().enumerate() {
            let values = match source {
                InputSource::TokenIds => &batch.token_ids,
                InputSource::Positions => &batch.positions,
                InputSource::QueryStart => &batch.query_start,
                InputSource::ContextLen => &batch.context_len,
                InputSource::LogitIndex => &batch.logit_index,
                InputSource::TokenSequence => {
                    batch.token_sequence(&mut self.of_tokens);
                    &self.of_tokens
                }
                InputSource::TokenContext => {
                    batch.token_context(&mut self.of_tokens);
                    &self.of_tokens
                }
                InputSource::TokenStart => {
                    self.of_tokens.clear();
                    self.of_tokens.extend((0..=batch.token_ids.len()).map(|token| token as i32));
                    &self.of_tokens
                }
                InputSource::BlockTable(group) => &batch.groups[*group].block_table,
                InputSource::SlotMapping(group) => &batch.groups[*group].slot_mapping,
            };
            if let Some(memory) = self.buffers.input_mut(index) {
                self.device.write(memory, values);
            }
        }
    }
}

impl StepModel for Model {
    fn caches(&self) -> &[CacheGroup] {
        &self.plan.caches
    }

    fn limits(&self) -> &PlanLimits {
        &self.plan.meta.limits
    }

    fn allocate_caches(&mut self, pages: &[u32]) -> Result<(), RuntimeError> {
        self.has_caches = false;
        self.sizes.set_pages(pages)?;
        self.variants.iter_mut().for_each(|state| (state.resolved, state.bound) = (None, None));
        let pairs = self.plan.caches.iter().zip(pages);
        let tokens = pairs.map(|(group, pages)| {
            let tokens = u64::from(*pages).saturating_mul(u64::from(group.block_size));
            tokens.saturating_mul(group.bytes_per_token().unwrap_or(u64::MAX))
        });
        let bytes = tokens.fold(0, u64::saturating_add);
        within_limit(bytes, self.memory_limit, || format!("caches of {pages:?} pages"))?;
        self.buffers.allocate_caches(&self.device, &self.plan.caches, pages)?;
        self.has_caches = true;
        Ok(())
    }

    fn step(&mut self, batch: &StepBatch, taps: Option<&mut dyn TapSink>) -> Result<&[f32], RuntimeError> {
        if !self.has_caches {
            return Err(RuntimeError::Batch("no caches are allocated".to_owned()));
        }
        self.sizes.take(batch, &self.plan)?;
        let index = self.guards.choose(self.sizes.values())?;
        self.prepare(index)?;
        self.upload(batch);
        let state = &self.variants[index];
        if let (Some((_, resolved)), Some((_, bound))) = (&state.resolved, &state.bound) {
            let functions = &main_variants(&self.plan)[index].functions;
            let variant = BoundVariant { functions, resolved, calls: &state.calls, bound };
            variant.run(&mut self.device, taps)?;
        }
        let count = batch.logit_index.len() * self.plan.meta.limits.vocab_size as usize;
        Ok(self
            .buffers
            .output(self.logits)
            .map(|memory| self.device.floats(memory, count))
            .unwrap_or_default())
    }
}

impl Guards {
    fn new(variants: &[Variant], sizes: &Sizes, native: bool) -> Result<Guards, PlanError> {
        let bad = |problem: mscc_ir::dim::DimError| PlanError {
            field: "programs.main.guard".to_owned(),
            problem: problem.to_string(),
        };
        let mut builder = TapeBuilder::default();
        let mut guards = Vec::with_capacity(variants.len());
        for variant in variants {
            let mut guard = Vec::with_capacity(variant.guard.len());
            for condition in &variant.guard {
                let (relation, a, b) = match condition {
                    Condition::Le(a, b) => (Relation::Le, a, b),
                    Condition::Eq(a, b) => (Relation::Eq, a, b),
                };
                guard.push((relation, builder.slot(a).map_err(bad)?, builder.slot(b).map_err(bad)?));
            }
            guards.push(guard);
        }
        let source = |symbol: &Symbol| sizes.source(symbol);
        let program = ShapeProgram::new(builder.finish(), source, native).map_err(bad)?;
        Ok(Guards { program, variants: guards })
    }

    /// The first variant whose guard holds.
    fn choose(&mut self, sizes: &[i64]) -> Result<usize, RuntimeError> {
        self.program.update(sizes).map_err(|error| RuntimeError::Batch(error.to_string()))?;
        let value = |slot: &Slot| self.program.value(*slot);
        let holds = |(relation, a, b): &(Relation, Slot, Slot)| match relation {
            Relation::Le => value(a) <= value(b),
            Relation::Eq => value(a) == value(b),
        };
        let chosen = self.variants.iter().position(|guard| guard.iter().all(holds));
        chosen.ok_or_else(|| RuntimeError::Batch("no variant of the plan takes these sizes".to_owned()))
    }
}

fn within_limit(bytes: u64, limit: u64, what: impl FnOnce() -> String) -> Result<(), RuntimeError> {
    if bytes <= limit {
        return Ok(());
    }
    Err(RuntimeError::Memory { bytes, what: format!("{}, of {limit} that may be taken", what()) })
}

/// The variants of the program that steps run.
fn main_variants(plan: &Plan) -> &[Variant] {
    plan.program("main").map(|program| program.variants.as_slice()).unwrap_or_default()
}

/// Where each input of the plan comes from.
fn input_sources(plan: &Plan) -> Result<Vec<InputSource>, PlanError> {
    let group = |name: &str| plan.caches.iter().position(|group| group.name == name);
    let source = |name: &str| match name.split_once('.') {
        Some(("block_table", name)) => Some(InputSource::BlockTable(group(name)?)),
        Some(("slot_mapping", name)) => Some(InputSource::SlotMapping(group(name)?)),
        Some(_) => None,
        None => match name {
            "token_ids" => Some(InputSource::TokenIds),
            "positions" => Some(InputSource::Positions),
            "query_start" => Some(InputSource::QueryStart),
            "context_len" => Some(InputSource::ContextLen),
            "logit_index" => Some(InputSource::LogitIndex),
            "token_sequence" => Some(InputSource::TokenSequence),
            "token_context" => Some(InputSource::TokenContext),
            "token_start" => Some(InputSource::TokenStart),
            _ => None,
        },
    };
    let known = |(index, input): (usize, &mscc_ir::plan::InputDecl)| {
        source(&input.name).ok_or_else(|| PlanError {
            field: format!("inputs[{index}]"),
            problem: format!("a step has no input `{}`", input.name),
        })
    };
    plan.inputs.iter().enumerate().map(known).collect()
}

/// The output that holds the logits, f32 [L, V].
fn logits_output(plan: &Plan) -> Result<usize, PlanError> {
    let bad = |problem: &str| PlanError { field: "outputs".to_owned(), problem: problem.to_owned() };
    let index = plan.outputs.iter().position(|output| output.name == "logits");
    let index = index.ok_or_else(|| bad("there is no output `logits`"))?;
    let shape = [Dim::symbol(mscc_ir::step::LOGITS), Dim::from(plan.meta.limits.vocab_size)];
    let output = &plan.outputs[index];
    if output.dtype != DType::F32 || output.shape != shape {
        return Err(bad("`logits` is not f32[L, vocab_size]"));
    }
    Ok(index)
}
