//! The device tensors of a plan, from the checkpoint that it was compiled for.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mscc_checkpoint::{Checkpoint, CheckpointError, DType as FileType, MappedCheckpoint};
use mscc_ir::plan::{Plan, Recipe};
use mscc_ir::{DType, Leaf, NodeKind, TensorType, Value};

use super::recipe::{Made, RecipeError, Source, run_recipe};
use crate::device::Host;
use crate::device::cpu::Isa;
use crate::error::RuntimeError;

/// Most problems that an error lists.
const MAX_PROBLEMS: usize = 8;
/// Most bytes that recipes make on their way, for each byte of the checkpoint. Four bits become 32 at most, in a few
/// ops each.
const MAX_AMPLIFICATION: u64 = 64;
/// Bytes that they may make in any case: tables of frequencies come from nothing.
const FREE_BYTES: u64 = 64 << 20;

/// How far the loading of weights has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// Device tensors that are ready.
    pub done: usize,
    /// Device tensors that the plan needs.
    pub total: usize,
}

/// How weights are loaded.
pub struct WeightOptions<'a> {
    /// Directory of the checkpoint in place of the plan's.
    pub dir: Option<&'a Path>,
    /// Where a relative directory of the plan is looked for if it is not in the current directory.
    pub base_dir: &'a Path,
    /// Threads that run recipes.
    pub threads: usize,
    /// Instructions that they use.
    pub isa: Isa,
    /// Told after each tensor, from any thread.
    pub progress: Option<&'a (dyn Fn(LoadProgress) + Sync)>,
    /// Files that are mapped already, in place of those of a directory.
    pub files: Option<&'a Arc<MappedCheckpoint>>,
}

/// All device tensors of a plan: mapped from the checkpoint where they are stored as needed, made by recipes else.
pub struct WeightStore {
    tensors: Vec<Made>,
    positions: HashMap<(u32, i64), usize>,
    /// Keeps mapped tensors alive.
    _files: Option<Arc<MappedCheckpoint>>,
}

impl WeightStore {
    /// Makes all tensors that the plan needs.
    ///
    /// Errors: no files in the plan; a directory or file that is missing or is not what the plan was compiled for;
    /// tensors that are missing or of another type, up to eight of them at once; memory that is not to be had.
    pub fn load(plan: &Plan, options: &WeightOptions<'_>) -> Result<WeightStore, RuntimeError> {
        let instances = plan.weight_instances();
        let positions = instances.iter().enumerate().map(|(at, instance)| (*instance, at)).collect();
        let recipes = &plan.weights.recipes;
        let reads_files = instances.iter().any(|(recipe, _)| {
            let recipe = recipes.get(*recipe as usize);
            recipe.is_some_and(|recipe| recipe.body.leaves().next().is_some())
        });
        let files = if reads_files { Some(open(plan, options)?) } else { None };
        if let Some(files) = &files {
            check_tensors(files, recipes, &instances)?;
        }
        check_amount(plan, &instances, files.as_deref().map_or(0, file_bytes))?;
        let tensors = make_all(files.as_deref(), recipes, &instances, options)?;
        Ok(WeightStore { tensors, positions, _files: files })
    }

    /// Position of the tensor that a recipe makes for a layer.
    pub fn position(&self, instance: (u32, i64)) -> Option<usize> {
        self.positions.get(&instance).copied()
    }

    /// Where the tensor at a position starts.
    pub fn address(&self, position: usize) -> *mut u8 {
        self.tensors[position].address()
    }

    /// Bytes used in place in the checkpoint, and bytes of memory taken.
    pub fn bytes(&self) -> (u64, u64) {
        self.tensors.iter().fold((0, 0), |(mapped, owned), tensor| match tensor {
            Made::Mapped { bytes, .. } => (mapped + *bytes as u64, owned),
            Made::Owned(memory) => (mapped, owned + memory.len() as u64),
        })
    }
}

/// Opens the plan's files and checks that they are those it was compiled for.
fn open(plan: &Plan, options: &WeightOptions<'_>) -> Result<Arc<MappedCheckpoint>, RuntimeError> {
    let given = options.files;
    let dir =
        given.map_or_else(|| directory(&plan.weights.dir, options), |it| it.checkpoint().dir().to_owned());
    let differs = |path: PathBuf, problem: String| RuntimeError::Weights { path, problem };
    let files = &plan.weights.files;
    if files.is_empty() {
        let problem = "the plan was compiled from a config alone, without weights, and cannot run; \
                       compile the model again from a directory with its safetensors files";
        return Err(differs(dir, problem.to_owned()));
    }
    let opened;
    let checkpoint = match given {
        Some(given) => given.checkpoint(),
        None => {
            let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
            opened = Checkpoint::open_files(&dir, &names).map_err(|error| match error {
                CheckpointError::Io { path, source } if source.kind() == io::ErrorKind::NotFound => differs(
                    path,
                    "the weights are not there; pass --weights DIR with the directory that has them".into(),
                ),
                other => RuntimeError::Checkpoint(other),
            })?;
            &opened
        }
    };
    for expected in files {
        let Some(found) = checkpoint.files().iter().find(|found| found.name == expected.name) else {
            return Err(differs(dir.join(&expected.name), "is not among the weight files given".to_owned()));
        };
        let what = match (expected.len == found.len, expected.header_hash == found.header_hash) {
            (true, true) => continue,
            (false, _) => format!("has {} bytes, the plan was compiled for {}", found.len, expected.len),
            (true, false) => "has other tensors than the plan was compiled for".to_owned(),
        };
        let problem = format!("{what}; compile the model again, or pass the right --weights DIR");
        return Err(differs(dir.join(&expected.name), problem));
    }
    match given {
        Some(given) => Ok(Arc::clone(given)),
        None => Ok(Arc::new(MappedCheckpoint::new(checkpoint.clone())?)),
    }
}

fn file_bytes(files: &MappedCheckpoint) -> u64 {
    files.checkpoint().files().iter().map(|file| file.len).fold(0, u64::saturating_add)
}

/// Refuses recipes that make much more of a checkpoint than it holds, be it at once or again and again.
fn check_amount(plan: &Plan, instances: &[(u32, i64)], file_bytes: u64) -> Result<(), RuntimeError> {
    let bytes = |ty: &TensorType| ty.bytes().as_const().and_then(|bytes| u64::try_from(bytes).ok());
    let recipe_bytes = |recipe: &Recipe| {
        let results = recipe.body.nodes().flat_map(|(_, node)| &node.results);
        results.fold(0u64, |sum, result| sum.saturating_add(bytes(&result.ty).unwrap_or(u64::MAX)))
    };
    let of_recipes: Vec<u64> = plan.weights.recipes.iter().map(recipe_bytes).collect();
    let made =
        instances.iter().fold(0u64, |sum, (recipe, _)| sum.saturating_add(of_recipes[*recipe as usize]));
    let most = file_bytes.saturating_mul(MAX_AMPLIFICATION).saturating_add(FREE_BYTES);
    if made <= most {
        return Ok(());
    }
    let problem =
        format!("the plan's recipes make {made} bytes out of {file_bytes}, which no real plan does");
    Err(RuntimeError::Weights { path: PathBuf::from(&plan.weights.dir), problem })
}

/// The directory asked for; else the plan's, in the current directory or beside the plan.
fn directory(stated: &str, options: &WeightOptions<'_>) -> PathBuf {
    if let Some(dir) = options.dir {
        return dir.to_owned();
    }
    let given = PathBuf::from(stated);
    let beside = options.base_dir.join(&given);
    if given.is_relative() && !given.is_dir() && beside.is_dir() { beside } else { given }
}

/// Compares the type of every tensor that a recipe reads with the file's.
fn check_tensors(
    files: &MappedCheckpoint,
    recipes: &[Recipe],
    instances: &[(u32, i64)],
) -> Result<(), RuntimeError> {
    let mut problems = Vec::new();
    let mut count = 0;
    for (recipe, layer) in instances {
        for (_, stored) in recipes[*recipe as usize].sources() {
            for name in stored.names(*layer) {
                if fits(files.checkpoint(), &name, stored.ty()) {
                    continue;
                }
                count += 1;
                if problems.len() < MAX_PROBLEMS {
                    problems.push(misfit(files.checkpoint(), &name, stored.ty()));
                }
            }
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    let listed = problems.join("\n  ");
    let more = if count > problems.len() {
        format!("\n  and {} more", count - problems.len())
    } else {
        String::new()
    };
    let problem = format!("{count} tensors are not as the plan needs them:\n  {listed}{more}");
    Err(RuntimeError::Weights { path: files.checkpoint().dir().to_owned(), problem })
}

/// Whether a tensor is there and of this type.
fn fits(checkpoint: &Checkpoint, name: &str, expected: &TensorType) -> bool {
    let Some(info) = checkpoint.tensor(name) else { return false };
    let shape = expected.shape.iter().map(|dim| dim.as_const().and_then(|size| u64::try_from(size).ok()));
    let same_shape = shape.eq(info.shape.iter().map(|size| Some(*size)));
    let same_type = ir_type(&info.dtype) == Some(expected.dtype);
    same_shape && same_type && expected.dtype.bytes().is_some()
}

/// What is wrong with a tensor that does not fit.
fn misfit(checkpoint: &Checkpoint, name: &str, expected: &TensorType) -> String {
    match checkpoint.tensor(name) {
        None => format!("`{name}` is missing; expected {expected}"),
        Some(info) => format!("`{name}` is {}{:?}; expected {expected}", info.dtype, info.shape),
    }
}

/// Our element type for a file's; `None` if nothing of ours computes with it.
fn ir_type(dtype: &FileType) -> Option<DType> {
    match dtype {
        FileType::F64 => Some(DType::F64),
        FileType::F32 => Some(DType::F32),
        FileType::F16 => Some(DType::F16),
        FileType::BF16 => Some(DType::BF16),
        FileType::F8E4M3 => Some(DType::F8E4M3),
        FileType::I64 => Some(DType::I64),
        FileType::I32 => Some(DType::I32),
        FileType::I8 => Some(DType::I8),
        FileType::U8 => Some(DType::U8),
        FileType::Bool => Some(DType::Bool),
        _ => None, // the files' enum may grow
    }
}

/// Makes all instances, several at once; each thread holds the values of one recipe at a time.
fn make_all(
    files: Option<&MappedCheckpoint>,
    recipes: &[Recipe],
    instances: &[(u32, i64)],
    options: &WeightOptions<'_>,
) -> Result<Vec<Made>, RuntimeError> {
    let slots: Vec<Mutex<Option<Result<Made, RuntimeError>>>> =
        instances.iter().map(|_| Mutex::new(None)).collect();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        let mut host = Host::new(1, options.isa);
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((recipe, layer)) = instances.get(at) else { return };
            let made = make(files, &recipes[*recipe as usize], *layer, &mut host);
            if made.is_err() {
                next.store(instances.len(), Ordering::Relaxed);
            }
            *slots[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
            if let Some(progress) = options.progress {
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                progress(LoadProgress { done, total: instances.len() });
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..options.threads.min(instances.len()) {
            scope.spawn(work);
        }
        work();
    });
    let made = slots.into_iter().map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
    let (mut tensors, mut failure) = (Vec::with_capacity(instances.len()), None);
    for made in made.flatten() {
        match made {
            Ok(tensor) => tensors.push(tensor),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(tensors),
    }
}

fn make(
    files: Option<&MappedCheckpoint>,
    recipe: &Recipe,
    layer: i64,
    host: &mut Host,
) -> Result<Made, RuntimeError> {
    let source = Files { files, recipe, layer };
    run_recipe(recipe, host, &source).map_err(|error| match error {
        RecipeError::Memory(bytes) => RuntimeError::Memory {
            bytes: bytes as u64,
            what: format!("weight `{}`", recipe.name.render(layer)),
        },
        error => RuntimeError::Weights {
            path: files.map(|files| files.checkpoint().dir().to_owned()).unwrap_or_default(),
            problem: format!("weight `{}`: {error}", recipe.name.render(layer)),
        },
    })
}

/// The tensors that a recipe reads at a layer.
struct Files<'a> {
    files: Option<&'a MappedCheckpoint>,
    recipe: &'a Recipe,
    layer: i64,
}

impl Files<'_> {
    fn name(&self, leaf: Value, e: u32) -> Option<String> {
        match &self.recipe.body.node(leaf.node).kind {
            NodeKind::Leaf(Leaf::Weight(template)) => Some(template.member(e).render(self.layer)),
            NodeKind::Leaf(_) | NodeKind::Op(_) => None,
        }
    }
}

impl Source for Files<'_> {
    fn bytes(&self, leaf: Value, e: u32) -> &[u8] {
        let bytes = self.files.zip(self.name(leaf, e)).and_then(|(files, name)| files.tensor(&name));
        bytes.unwrap_or_default()
    }

    /// What was made is used in place of its sources, which would stay in memory beside it.
    fn done(&self, leaf: Value, e: u32) {
        if let Some((files, name)) = self.files.zip(self.name(leaf, e)) {
            files.release(&name);
        }
    }
}
