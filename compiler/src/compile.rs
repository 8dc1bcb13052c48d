//! The whole way from a model directory to a plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mscc_checkpoint::{Checkpoint, CheckpointError};
use mscc_ir::module::Module;
use mscc_ir::plan::{
    Function, Listing, Mesh, Meta, Plan, PlanError, PlanLimits, Program, SamplingDefaults, TextAssets,
    WeightFile, Weights, validate,
};
use mscc_ir::{NodeId, SymbolInfo};
use mscc_models::families;
use mscc_models::hf::{GenerationConfig, HfConfig, ModelDir, ModelDirError};
use mscc_models::spec::{Family, FamilyError};
use mscc_models::{Ignored, TraceError, TraceOptions, Traced};

use crate::advice::advice;
use crate::egraph::Report;
use crate::files::{MAX_BYTES, read_text};
use crate::forms::{Form, forms};
use crate::lower::{LowerError, lower};
use crate::options::{Named, OptionError, OptionPlace, Options, Resolved};
use crate::passes::BrokenPass;
use crate::passes::weight_dtype::cast_weights;
use crate::rules::{self, RulesError};
use crate::target::Target;

/// Without this file a directory holds no tokenizer.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// What a compilation made, stage by stage.
#[derive(Debug)]
pub struct Compiled {
    /// The plan.
    pub plan: Plan,
    /// The model as its author wrote it.
    pub traced: Module,
    /// The model after all passes, in the form that runs all steps.
    pub fused: Module,
    /// What fusion did, for each function of that.
    pub reports: Vec<Report>,
    /// The forms for steps of certain sizes, which the plan holds beside that.
    pub forms: Vec<Form>,
    /// What in the model's files changes nothing, and why.
    pub ignored: Vec<Ignored>,
    /// What is allowed and yet probably not meant, such as a model without a tokenizer.
    pub advice: Vec<String>,
}

/// Why a model cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// No model is named.
    #[error("no model is named: set `model` in model.yaml, or pass --model DIR")]
    NoModel,
    /// An option that cannot be what it is.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The model's files cannot be read.
    #[error(transparent)]
    ModelDir(#[from] ModelDirError),
    /// The model's config cannot be read.
    #[error(transparent)]
    Config(#[from] mscc_models::hf::ConfigError),
    /// The model's weights cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A model directory without weights.
    #[error("{}: there are no weights (*.safetensors); {}`--config-only` compiles without", .0.display(), beside(.0))]
    NoWeights(PathBuf),
    /// The model cannot be traced.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// A family of the user's that cannot be used.
    #[error(transparent)]
    Family(#[from] FamilyError),
    /// Rules that cannot be used.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A file that an option names.
    #[error("{}: cannot read {}: {reason}", Named(key, place.as_deref()), .path.display())]
    OptionFile {
        /// The option.
        key: &'static str,
        /// Where it stands, if a file gives it.
        place: Option<Box<OptionPlace>>,
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// A directory for the tokenizer that has none.
    #[error(
        "{}: there is no {TOKENIZER_FILE} in {}: name the directory that has it",
        Named("tokenizer", place.as_deref()), .dir.display()
    )]
    NoTokenizer {
        /// Where the option stands, if a file gives it.
        place: Option<Box<OptionPlace>>,
        /// The directory.
        dir: PathBuf,
    },
    /// A pass that broke the module: a bug.
    #[error("{0}; this is a bug of mscc")]
    Pass(#[from] BrokenPass),
    /// The target lacks a kernel.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// The plan breaks a rule: a bug.
    #[error("{0}; this is a bug of mscc")]
    Plan(#[from] PlanError),
}

/// Compiles the model that the options name.
///
/// `config_only` leaves weights aside: the plan can be looked at, but not run. Reads headers of weight files, never
/// their data.
///
/// Errors: options, model files or a config that make no sense or are not supported, each naming the place.
pub fn compile(options: &Options, config_only: bool) -> Result<Compiled, CompileError> {
    let resolved = options.resolve()?;
    let given = options.model.as_deref().ok_or(CompileError::NoModel)?;
    let dir = ModelDir::open(given)?;
    let config = dir.config()?;
    let checkpoint = if config_only { None } else { Some(checkpoint(&dir, given)?) };
    let target = Target::by_name(resolved.target).expect("`resolve` lets only known targets through");
    let family = family(options)?;
    let (traced, note) = trace(family.as_ref(), &config, checkpoint.as_ref(), &resolved, &target)?;
    let rules = rules::load(options.rules.as_deref().unwrap_or_default())?;
    let rules = rules::without(rules, options)?;
    let mut forms = forms(
        &cast_weights(&traced.module, resolved.dtype, target.knows_bf16()),
        resolved.latent_attention,
        &rules,
        options.stop_after_rewrite,
        &target,
    )?;
    let mut lowered = lower(&forms, &target)?;
    for (variant, form) in lowered.variants.iter_mut().zip(&forms) {
        list_graphs(&mut variant.functions, &form.module, &form.reports);
    }
    let Form { module: fused, reports, .. } = forms.pop().expect("the last form runs all steps");
    let warnings = traced.warnings.iter().map(ToString::to_string).chain(note).chain(unlike_default(options));
    let text = text_assets(&dir, &config, options)?;
    let vocab_size = lowered.outputs.iter().find(|output| output.name == "logits");
    let vocab_size = vocab_size.and_then(|logits| logits.shape.last()?.as_const()).unwrap_or(0);
    let plan = Plan {
        meta: Meta {
            model: model_name(given, &traced),
            family: traced.family.clone(),
            producer: format!("mscc {}", env!("CARGO_PKG_VERSION")),
            target: target.name.to_owned(),
            compute_dtype: resolved.compute_dtype,
            mesh: Mesh { size: 1, rank: 0 },
            limits: PlanLimits {
                max_model_len: traced.limits.max_model_len,
                max_num_seqs: traced.limits.max_num_seqs,
                max_num_batched_tokens: traced.limits.max_num_batched_tokens,
                vocab_size: u32::try_from(vocab_size).unwrap_or(0),
            },
            warnings: warnings.collect(),
            rewrites: rewrites(&reports),
        },
        symbols: symbols(&fused),
        inputs: lowered.inputs,
        outputs: lowered.outputs,
        caches: fused.caches.clone(),
        weights: Weights {
            dir: dir.dir().map_or(String::new(), path_text),
            files: checkpoint.as_ref().map_or(Vec::new(), weight_files),
            recipes: lowered.recipes,
        },
        programs: vec![Program { name: "main".to_owned(), variants: lowered.variants }],
        text,
    };
    validate(&plan)?;
    let advice = advice(&dir, &plan);
    Ok(Compiled { plan, traced: traced.module, fused, reports, forms, ignored: traced.ignored, advice })
}

/// A file of a model stands for itself alone.
fn beside(given: &Path) -> String {
    let dir = given.parent().filter(|_| given.is_file());
    let dir = dir.map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir });
    let has_weights =
        |dir: &&Path| matches!(ModelDir::open(dir).map(|dir| dir.checkpoint()), Ok(Ok(Some(_))));
    match dir.filter(has_weights) {
        Some(dir) => format!("name the model's directory, {}; ", dir.display()),
        None => String::new(),
    }
}

fn checkpoint(dir: &ModelDir, given: &Path) -> Result<Checkpoint, CompileError> {
    dir.checkpoint()?.ok_or_else(|| CompileError::NoWeights(given.to_owned()))
}

/// The family that the options name.
fn family(options: &Options) -> Result<Option<Family>, CompileError> {
    let Some(path) = &options.family else { return Ok(None) };
    let text = read_text(path, MAX_BYTES).map_err(|reason| option_file(options, "family", path, reason))?;
    Ok(Some(Family::parse(&path_text(path), &text)?))
}

/// Traces the model; also says if that made something else than the built-in family of the same name does.
fn trace(
    own: Option<&Family>,
    config: &HfConfig,
    checkpoint: Option<&Checkpoint>,
    resolved: &Resolved,
    target: &Target,
) -> Result<(Traced, Option<String>), CompileError> {
    let options = TraceOptions {
        compute_dtype: resolved.compute_dtype,
        residual_dtype: target.residual_dtype(),
        max_model_len: resolved.max_model_len,
        max_num_seqs: resolved.max_num_seqs,
        max_num_batched_tokens: resolved.max_num_batched_tokens,
        block_size: resolved.block_size,
        strict: resolved.strict,
    };
    let Some(own) = own else { return Ok((mscc_models::trace(config, checkpoint, &options)?, None)) };
    let traced = mscc_models::trace_family(own, config, checkpoint, &options)?;
    let builtin = families::builtin().iter().find(|family| family.model_type == own.model_type);
    let differs = builtin.is_some_and(|builtin| {
        let other = mscc_models::trace_family(builtin, config, checkpoint, &options);
        !other.is_ok_and(|other| other.module == traced.module)
    });
    let note =
        || format!("{}: it describes another model than the built-in family {}", own.file, own.model_type);
    Ok((traced, differs.then(note)))
}

/// What a plan says of a rule that was left out.
pub fn left_out(rule: &str) -> String {
    format!("compiled without rule {rule}")
}

/// What a plan that was made to look for a fault says of itself.
fn unlike_default(options: &Options) -> Vec<String> {
    let without = options.without_rule.iter().flatten();
    let without = without.map(|rule| left_out(rule));
    let stopped = options.stop_after_rewrite.map(|last| format!("compiled with {last} rewrites at most"));
    without.chain(stopped).collect()
}

/// Puts the graphs before and after fusion beside the launches made of them.
fn list_graphs(functions: &mut [Function], fused: &Module, reports: &[Report]) {
    for ((function, fused), report) in functions.iter_mut().zip(&fused.functions).zip(reports) {
        let indices = |origins: &Vec<NodeId>| origins.iter().map(|origin| origin.0).collect();
        function.listing = Some(Listing {
            source: report.given.clone(),
            fused: fused.clone(),
            origins: report.origins.iter().map(indices).collect(),
            fusion: report.fusion(),
        });
    }
}

/// The directory's name, or the family's where that says nothing.
fn model_name(given: &Path, traced: &Traced) -> String {
    let dir = if given.is_dir() { given.file_name() } else { given.file_stem() };
    match dir.map(|name| name.to_string_lossy()) {
        Some(name) if name != "config" => name.into_owned(),
        _ => traced.module.name.clone(),
    }
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn symbols(module: &Module) -> Vec<(String, SymbolInfo)> {
    module.symbols.iter().map(|(symbol, info)| (symbol.name().to_owned(), *info)).collect()
}

fn weight_files(checkpoint: &Checkpoint) -> Vec<WeightFile> {
    let file = |record: &mscc_checkpoint::FileRecord| WeightFile {
        name: record.name.clone(),
        len: record.len,
        header_hash: record.header_hash,
    };
    checkpoint.files().iter().map(file).collect()
}

/// How often each rule's form was chosen, over all functions.
pub fn rewrites(reports: &[Report]) -> Vec<(String, u32)> {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for rule in reports.iter().flat_map(|report| &report.rules) {
        let fired = rule.events.iter().filter(|event| event.fired()).count();
        *counts.entry(&rule.rule).or_default() += fired as u32;
    }
    counts.into_iter().filter(|(_, count)| *count > 0).map(|(rule, count)| (rule.to_owned(), count)).collect()
}

fn option_file(options: &Options, key: &'static str, path: &Path, reason: std::io::Error) -> CompileError {
    CompileError::OptionFile { key, place: options.place(key), path: path.to_owned(), reason }
}

fn text_assets(dir: &ModelDir, config: &HfConfig, options: &Options) -> Result<TextAssets, CompileError> {
    let generation: GenerationConfig = dir.generation_config(config)?;
    let chat_template = match &options.chat_template {
        None => None,
        Some(path) => Some(
            read_text(path, MAX_BYTES)
                .map_err(|reason| option_file(options, "chat_template", path, reason))?,
        ),
    };
    let tokenizer_dir = match &options.tokenizer {
        Some(dir) if !dir.join(TOKENIZER_FILE).is_file() => {
            return Err(CompileError::NoTokenizer { place: options.place("tokenizer"), dir: dir.clone() });
        }
        Some(path) => Some(path_text(path)),
        None => dir.tokenizer_path().and(dir.dir()).map(path_text),
    };
    Ok(TextAssets {
        tokenizer_dir,
        chat_template,
        eos_token_ids: generation.eos_token_ids,
        bos_token_id: generation.bos_token_id,
        sampling: SamplingDefaults {
            do_sample: generation.do_sample,
            temperature: generation.temperature.map(|value| value as f32),
            top_k: generation.top_k.and_then(|value| u32::try_from(value).ok()),
            top_p: generation.top_p.map(|value| value as f32),
            min_p: generation.min_p.map(|value| value as f32),
            repetition_penalty: generation.repetition_penalty.map(|value| value as f32),
        },
    })
}
