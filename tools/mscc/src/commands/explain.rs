//! `mscc explain`

use std::path::{Path, PathBuf};

use mscc_compiler::rules::RulesError;
use mscc_compiler::{CompileError, Options};
use mscc_ir::plan::Plan;
use mscc_models::hf::nearest;
use mscc_patterns::builtin;
use serde_json::Value;

use crate::compile_args::CompileArgs;
use crate::error::CliError;
use crate::explanation::{self, Filter};
use crate::inputs::Inputs;
use crate::manifest::Manifest;
use crate::new_file::directory;
use crate::numbers::whole;
use crate::plan_source::{base_dir, is_model, read};
use crate::usage::UsageError;
use crate::{model_yaml, output, summary, terminal};

/// Say what fusion did and why
///
/// For each rule and place: whether it fired and what that saves, or was found and another form cost less, or was
/// refused by which condition, or came near and what differed. Costs are those that the compiler compared.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mscc explain plan.bin
  mscc explain ./Qwen3-0.6B --rule merge_matmul --layer 0
  mscc explain ./Qwen3-0.6B --summary --target cpu,ascend910b3
  mscc explain config.json --json | jq '.variants[].functions[].rules[].rule'
  mscc explain model.yaml --record fusion.json
  mscc explain model.yaml --expect fusion.json     # exit code 1 if something no longer fuses")]
pub struct Args {
    /// Plans, or models that are compiled in memory: directories, model.yaml files or configs
    #[arg(value_name = "PLAN|MODEL", required = true)]
    sources: Vec<PathBuf>,
    /// Of these rules alone, by name
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    rule: Vec<String>,
    /// Of this layer's kind alone
    #[arg(long, value_name = "LAYER", allow_negative_numbers = true, value_parser = whole::<u32>)]
    layer: Option<u32>,
    /// What fusion saves in typical steps, kind by kind
    #[arg(long, conflicts_with_all = ["rule", "layer"])]
    summary: bool,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    /// Compare with a record, and end with exit code 1 if something no longer fuses
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rule", "layer", "summary", "json", "record"])]
    expect: Option<PathBuf>,
    /// Record what fuses, for --expect
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rule", "layer", "summary", "json"])]
    record: Option<PathBuf>,
    /// Compile from configs alone, without weights
    #[arg(long)]
    config_only: bool,
    #[command(flatten)]
    how: CompileArgs,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), CliError> {
    if let Some(path) = &args.expect {
        return expect(&one_plan(&args, "--expect")?.0, path);
    }
    if let Some(path) = &args.record {
        let (plan, inputs) = one_plan(&args, "--record")?;
        return output::write_file(path, &inputs, Manifest::of(&plan).text().as_bytes());
    }
    let (plans, _) = plans(&args)?;
    let filter = Filter { rules: &args.rule, layer: args.layer };
    plans.iter().try_for_each(|plan| check_filter(&args, plan))?;
    if args.json {
        let documents: Vec<Value> = match args.summary {
            true => plans.iter().map(summary::to_json).collect(),
            false => plans.iter().map(|plan| explanation::to_json(plan, filter)).collect(),
        };
        return match <[Value; 1]>::try_from(documents) {
            Ok([document]) => output::print_json(&document),
            Err(documents) => output::print_json(&Value::Array(documents)),
        };
    }
    for (index, plan) in plans.iter().enumerate() {
        let text = match args.summary {
            true => summary::text(plan),
            false => explanation::text(plan, filter),
        };
        output::print(&format!("{}{text}", if index == 0 { "" } else { "\n" }))?;
    }
    Ok(())
}

/// Names the fusions that are lost.
fn expect(plan: &Plan, path: &Path) -> Result<(), CliError> {
    let manifest = Manifest::read(path)?;
    if manifest.len() == 0 {
        return Err(UsageError::EmptyRecord { path: path.to_owned() }.into());
    }
    let lost = manifest.lost(plan, path)?;
    if lost.is_empty() {
        output::note(&format!("all {} fusions of {} are there", manifest.len(), path.display()));
        return Ok(());
    }
    let lines: Vec<String> = lost.iter().map(|lost| format!("\n  {lost}")).collect();
    let count = lost.len();
    Err(CliError::Failure(format!(
        "of {} fusions in {}, {count} {} lost:{}\nif that is meant, record anew with --record {}",
        manifest.len(),
        path.display(),
        if count == 1 { "is" } else { "are" },
        lines.concat(),
        path.display()
    )))
}

/// The plan of the one source and target; and what was read for it.
fn one_plan(args: &Args, option: &'static str) -> Result<(Plan, Inputs), CliError> {
    let (mut plans, inputs) = plans(args)?;
    match (plans.pop(), plans.is_empty()) {
        (Some(plan), true) => Ok((plan, inputs)),
        (Some(_) | None, _) => Err(UsageError::OnePlan { option }.into()),
    }
}

/// Of each source and target, a plan; and what was read for them.
fn plans(args: &Args) -> Result<(Vec<Plan>, Inputs), CliError> {
    let (mut plans, mut inputs) = (Vec::new(), Inputs::default());
    for source in &args.sources {
        inputs = inputs.with("the source", source).with_model(source);
        if is_config(source) {
            // Its neighbours are the same model's.
            inputs = inputs.with_model(directory(source));
        }
        if !is_config(source) && !is_model(source) {
            let plan = read(source)?;
            if args.config_only || args.how.options() != Options::default() {
                return Err(UsageError::CompileOptionsOfPlan { path: source.clone() }.into());
            }
            inputs = inputs.with_plan(&plan, base_dir(source), None);
            plans.push(plan);
            continue;
        }
        let file = model_yaml::read(source)?;
        let given = args.how.options();
        let targets =
            given.target.as_deref().map_or(vec![None], |names| names.split(',').map(Some).collect());
        for target in targets {
            let target = target.map(|name| name.trim().to_owned());
            let options = file.clone().overridden_by(Options { target, ..given.clone() });
            inputs = inputs.with_options(&options);
            let spinner = terminal::spinner(&format!("compiling {}", source.display()));
            let compiled = model_yaml::compile(&options, is_config(source) || args.config_only);
            spinner.finish_and_clear();
            let compiled = compiled?;
            compiled.plan.meta.warnings.iter().for_each(|warning| output::warning(warning));
            plans.push(compiled.plan);
        }
    }
    Ok((plans, inputs))
}

fn is_config(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "json")
}

/// Refuses names of rules that neither are built in nor did anything, and layers that there are not.
fn check_filter(args: &Args, plan: &Plan) -> Result<(), CliError> {
    let rules = builtin().map_err(|error| CompileError::from(RulesError::from(error)))?;
    let of_plan: Vec<&str> = explanation::functions(plan)
        .flat_map(|function| &function.fusion.rules)
        .map(|rule| rule.rule.as_str())
        .collect();
    let known = || of_plan.iter().copied().chain(rules.iter().map(|rule| rule.name.as_str()));
    for name in &args.rule {
        if !known().any(|other| other == name) {
            let nearest = nearest(name, known()).map(str::to_owned);
            return Err(UsageError::UnknownRule { name: name.clone(), nearest }.into());
        }
        if !of_plan.contains(&name.as_str()) {
            output::note(&format!("{name}: there is nothing here that it begins with"));
        }
    }
    let num_layers = explanation::num_layers(plan);
    match args.layer {
        Some(layer) if layer >= num_layers => Err(UsageError::NoLayer { layer, num_layers }.into()),
        Some(_) | None => Ok(()),
    }
}
