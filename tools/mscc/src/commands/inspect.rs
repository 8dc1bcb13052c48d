//! `mscc inspect`

use std::fmt::Write as _;
use std::path::PathBuf;

use mscc_ir::kernels::ascend::Soc;
use mscc_ir::module::CacheKind;
use mscc_ir::plan::{Function, Plan, Variant, print_plan};
use mscc_ir::{TensorType, step};
use mscc_models::families;
use mscc_report::figures::{bytes, calls_of, launches_per_step, memory};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::inputs::{Inputs, is_same_output};
use crate::operators;
use crate::output;
use crate::plan_source::{base_dir, read};
use crate::prediction;
use crate::usage::UsageError;

/// Show what a plan holds
///
/// Symbols, variants, launches for each kind of layer, memory by class, cache bytes per token, weight recipes and
/// where each launch came from: as text, as data, or as pictures.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mscc inspect plan.bin
  mscc inspect plan.bin --json | jq .memory
  mscc inspect plan.bin --launches
  mscc inspect plan.bin --html report.html
  mscc inspect plan.bin --dot - --kind layer | dot -Tsvg > layer.svg
  mscc inspect plan.bin --onnx plan.onnx")]
pub struct Args {
    /// The plan
    plan: PathBuf,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// Print all launches with their operands
    #[arg(long, conflicts_with = "json")]
    launches: bool,
    /// Write a page with graphs, memory, weights and launches
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "launches"])]
    html: Option<PathBuf>,
    /// Write the fused graphs for Graphviz; `-` is standard output
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "launches"])]
    dot: Option<PathBuf>,
    /// With --dot: of this kind of layer alone
    #[arg(long, value_name = "NAME", requires = "dot")]
    kind: Option<String>,
    /// Write the fused graphs for viewers of ONNX, such as Netron
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "launches"])]
    onnx: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), CliError> {
    let plan = read(&args.plan)?;
    if args.html.is_some() || args.dot.is_some() || args.onnx.is_some() {
        return draw(&args, &plan);
    }
    if args.json {
        return output::print_json(&to_json(&plan));
    }
    if args.launches {
        return output::print(&print_plan(&plan));
    }
    output::print(&summary(&plan).map_err(|error| CliError::Failure(error.to_string()))?)
}

/// Draws what is asked for.
fn draw(args: &Args, plan: &Plan) -> Result<(), CliError> {
    let failed = |source| CliError::Report { path: args.plan.clone(), source };
    let inputs = Inputs::default().with("the plan", &args.plan).with_plan(plan, base_dir(&args.plan), None);
    check_outputs(args, &inputs)?;
    if let Some(path) = &args.html {
        output::write_file(path, &inputs, mscc_report::html(plan).map_err(failed)?.as_bytes())?;
    }
    if let Some(path) = &args.dot {
        let kinds = match &args.kind {
            Some(kind) => mscc_report::kinds_named(plan, kind).map_err(failed)?,
            None => mscc_report::kinds(plan),
        };
        let dot = mscc_report::dot(&kinds).map_err(failed)?;
        match path.as_os_str() == "-" {
            true => output::print(&dot)?,
            false => output::write_file(path, &inputs, dot.as_bytes())?,
        }
    }
    if let Some(path) = &args.onnx {
        output::write_file(path, &inputs, &mscc_report::onnx(plan).map_err(failed)?)?;
    }
    Ok(())
}

/// Says before anything is written whether all of it has a place to go.
fn check_outputs(args: &Args, inputs: &Inputs) -> Result<(), CliError> {
    let dot = args.dot.as_ref().filter(|path| path.as_os_str() != "-");
    let outputs = [("--html", args.html.as_ref()), ("--dot", dot), ("--onnx", args.onnx.as_ref())];
    let mut seen: Vec<(&'static str, &PathBuf)> = Vec::new();
    for (second, path) in outputs.into_iter().filter_map(|(option, path)| Some((option, path?))) {
        output::check_writable(path, inputs)?;
        if let Some((first, other)) = seen.iter().find(|(_, other)| is_same_output(other, path)) {
            let paths = Box::new(((*other).clone(), path.clone()));
            return Err(UsageError::SameOutput { first, second, paths }.into());
        }
        seen.push((second, path));
    }
    Ok(())
}

fn summary(plan: &Plan) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let (meta, memory) = (&plan.meta, memory(plan));
    let is_builtin = families::builtin().iter().any(|family| family.model_type == meta.family);
    writeln!(
        out,
        "{} ({}{}), for {}, computes in {}",
        meta.model,
        meta.family,
        if is_builtin { "" } else { ", not built in" },
        meta.target,
        meta.compute_dtype
    )?;
    writeln!(out, "written by {}", meta.producer)?;
    for warning in &meta.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    writeln!(out, "\nlimits")?;
    writeln!(out, "  sequence length          {}", meta.limits.max_model_len)?;
    writeln!(out, "  sequences in a step      {}", meta.limits.max_num_seqs)?;
    writeln!(out, "  new tokens in a step     {}", meta.limits.max_num_batched_tokens)?;
    writeln!(out, "  vocabulary               {}", meta.limits.vocab_size)?;
    writeln!(out, "\nmemory")?;
    writeln!(out, "  weights                  {}", bytes(memory.weights))?;
    match Soc::by_target(&meta.target) {
        None => writeln!(out, "    used where they lie    {}", bytes(memory.weights_mapped))?,
        Some(soc) => prediction::write_memory(&mut out, plan, soc)?,
    }
    writeln!(out, "  activations at most      {}", bytes(memory.arena_peak))?;
    writeln!(out, "  cache per token          {}", bytes(memory.cache_per_token))?;
    for group in &plan.caches {
        write!(
            out,
            "    {:<22} {}, {} layer{}",
            group.name,
            bytes(group.bytes_per_token()),
            group.num_layers(),
            if group.num_layers() == 1 { "" } else { "s" }
        )?;
        match group.window() {
            None => writeln!(out)?,
            Some(window) => {
                let most = bytes(group.most_bytes(meta.limits.max_model_len.into(), 1));
                writeln!(out, ", the last {window} tokens: {most} at most for a sequence that decodes")?;
            }
        }
    }
    writeln!(out, "\nsymbols, with what they may be in a step")?;
    for (name, info) in &plan.symbols {
        writeln!(out, "  {name:<8} {:<14} {}", format!("{}..{}", info.min, info.max), meaning(name))?;
    }
    for program in &plan.programs {
        for variant in &program.variants {
            let launches = launches_per_step(variant);
            writeln!(
                out,
                "\nprogram {}, variant {}: {launches} launches a step",
                program.name, variant.name
            )?;
            for condition in &variant.guard {
                writeln!(out, "  if {condition}")?;
            }
            for (index, function) in variant.functions.iter().enumerate() {
                let calls = calls_of(variant, index);
                writeln!(out, "  @{} × {calls}: {} launches", function.name, function.launches.len())?;
                writeln!(out, "    {}", kernels(function))?;
                for launch in function.launches.iter().filter(|launch| launch.origins.len() > 1) {
                    let (name, origins) = (&launch.name, launch.origins.join(", "));
                    writeln!(out, "    {name}: {} from {origins}", launch.kernel)?;
                }
            }
        }
    }
    operators::write_operators(&mut out, plan)?;
    prediction::write_predictions(&mut out, plan)?;
    if !meta.rewrites.is_empty() {
        writeln!(out, "\nrewrites")?;
        for (rule, count) in &meta.rewrites {
            writeln!(out, "  {rule:<24} {count}")?;
        }
    }
    writeln!(out, "\nweight recipes that are computed at load")?;
    for recipe in plan.weights.recipes.iter().filter(|recipe| recipe.identity().is_none()) {
        let ty = recipe.ty().map_or(String::new(), ToString::to_string);
        writeln!(out, "  {} : {ty}", recipe.name)?;
    }
    Ok(out)
}

/// Kernels in order, repeats counted.
fn kernels(function: &Function) -> String {
    let mut runs: Vec<(&str, u32)> = Vec::new();
    for launch in &function.launches {
        match runs.last_mut() {
            Some((kernel, count)) if *kernel == launch.kernel => *count += 1,
            _ => runs.push((&launch.kernel, 1)),
        }
    }
    let text = |(kernel, count): (&str, u32)| match count {
        1 => kernel.to_owned(),
        _ => format!("{kernel} ×{count}"),
    };
    runs.into_iter().map(text).collect::<Vec<_>>().join(", ")
}

fn to_json(plan: &Plan) -> Value {
    let (meta, memory) = (&plan.meta, memory(plan));
    let symbols: serde_json::Map<String, Value> = plan
        .symbols
        .iter()
        .map(|(name, info)| {
            (name.clone(), json!({ "min": info.min, "max": info.max, "likely": info.likely }))
        })
        .collect();
    json!({
        "schema": "mscc.inspect.v1",
        "model": meta.model,
        "family": meta.family,
        "producer": meta.producer,
        "target": meta.target,
        "compute_dtype": meta.compute_dtype.name(),
        "mesh": { "size": meta.mesh.size, "rank": meta.mesh.rank },
        "limits": {
            "max_model_len": meta.limits.max_model_len,
            "max_num_seqs": meta.limits.max_num_seqs,
            "max_num_batched_tokens": meta.limits.max_num_batched_tokens,
            "vocab_size": meta.limits.vocab_size,
        },
        "warnings": meta.warnings,
        "rewrites": meta.rewrites.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "memory": {
            "weight_bytes": memory.weights,
            "weight_mapped_bytes": memory.weights_mapped,
            "device_bytes": Soc::by_target(&meta.target).map(|soc| soc.memory_bytes),
            "activation_peak_bytes": memory.arena_peak,
            "cache_bytes_per_token": memory.cache_per_token,
        },
        "symbols": symbols,
        "inputs": plan.inputs.iter().map(|input| json!({
            "name": input.name,
            "type": TensorType::new(input.dtype, input.shape.clone()).to_string(),
        })).collect::<Vec<_>>(),
        "outputs": plan.outputs.iter().map(|output| json!({
            "name": output.name,
            "type": TensorType::new(output.dtype, output.shape.clone()).to_string(),
        })).collect::<Vec<_>>(),
        "caches": plan.caches.iter().map(|group| json!({
            "name": group.name,
            "block_size": group.block_size,
            "layers": group.num_layers(),
            "kind": match group.kind {
                CacheKind::Full => "full",
                CacheKind::Window(_) => "window",
                CacheKind::Latent => "latent",
            },
            "window": group.window(),
            "bytes_per_token": group.bytes_per_token(),
            "decoding_sequence_bytes": group.most_bytes(meta.limits.max_model_len.into(), 1),
        })).collect::<Vec<_>>(),
        "programs": plan.programs.iter().map(|program| json!({
            "name": program.name,
            "variants": program.variants.iter().map(variant_json).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "operators": operators::to_json(plan),
        "predicted": prediction::to_json(plan),
        "weights": {
            "dir": plan.weights.dir,
            "files": plan.weights.files.iter().map(|file| json!({ "name": file.name, "bytes": file.len })).collect::<Vec<_>>(),
            "recipes": plan.weights.recipes.iter().map(|recipe| json!({
                "name": recipe.name.as_str(),
                "type": recipe.ty().map(ToString::to_string),
                "format": recipe.format.name(),
                "bytes": recipe.stored_bytes(),
                "identity": recipe.identity().is_some(),
                "body": mscc_ir::text::print_function(&recipe.body),
            })).collect::<Vec<_>>(),
        },
        "text": {
            "tokenizer_dir": plan.text.tokenizer_dir,
            "eos_token_ids": plan.text.eos_token_ids,
            "bos_token_id": plan.text.bos_token_id,
        },
    })
}

fn variant_json(variant: &Variant) -> Value {
    let functions = variant.functions.iter().enumerate().map(|(index, function)| {
        json!({
            "name": function.name,
            "calls": calls_of(variant, index),
            "launches": function.launches.iter().map(|launch| json!({
                "name": launch.name,
                "kernel": launch.kernel,
                "origins": launch.origins,
            })).collect::<Vec<_>>(),
            "taps": function.taps.iter().map(|tap| tap.name.as_str()).collect::<Vec<_>>(),
        })
    });
    json!({
        "name": variant.name,
        "guard": variant.guard.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "arena_bytes": variant.arena_bytes.to_string(),
        "launches_per_step": launches_per_step(variant),
        "functions": functions.collect::<Vec<_>>(),
    })
}

/// What a symbol counts.
fn meaning(symbol: &str) -> String {
    let known = match symbol {
        step::TOKENS => "new tokens",
        step::SEQUENCES => "sequences",
        step::LOGITS => "tokens whose logits are wanted",
        step::DECODE_TOKENS => "new tokens of sequences that decode",
        step::DECODE_SEQUENCES => "sequences that decode",
        step::CONTEXT => "tokens of all sequences, cached ones included",
        step::MAX_CONTEXT => "tokens of the longest sequence",
        step::MAX_NEW => "most new tokens of a sequence",
        step::PAIRS => "pairs of a new token and one it sees",
        step::TABLE_WIDTH => "pages of a row of the block table",
        other => {
            let group = other.strip_prefix("P_");
            return group.map_or(String::new(), |group| format!("pages of cache {group}"));
        }
    };
    known.to_owned()
}
