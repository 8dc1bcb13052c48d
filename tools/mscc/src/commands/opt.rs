//! `mscc opt`

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use mscc_compiler::egraph::Report;
use mscc_compiler::files;
use mscc_compiler::passes::{self, Pass};
use mscc_compiler::{CompileError, Target, rewrites, rules};
use mscc_ir::Module;
use mscc_ir::text::{parse_module, print_module};
use mscc_ir::verify::verify;
use serde_json::json;

use crate::error::CliError;
use crate::inputs::Inputs;
use crate::output;
use crate::usage::UsageError;

/// Run passes over a graph in IR text and print what comes out
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mscc compile ./Qwen3-0.6B --emit traced > traced.mir
  mscc opt traced.mir --passes recut,fuse
  mscc compile ./Qwen3-0.6B --emit traced | mscc opt - --passes fuse
  mscc opt graph.mir --passes fuse --target cpu -o fused.mir")]
pub struct Args {
    /// IR text; `-` is standard input
    graph: PathBuf,
    /// Passes in order: normalise, recut, fuse
    #[arg(long, value_delimiter = ',', required = true, value_name = "PASS")]
    passes: Vec<String>,
    /// Device whose kernels and costs decide
    #[arg(long, default_value = "cpu")]
    target: String,
    /// File with rewrite rules of your own, which are proved first; may be given several times
    #[arg(long, value_name = "FILE")]
    rules: Vec<PathBuf>,
    /// File for the result [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// With -o: print what the passes did as JSON
    #[arg(long, requires = "output")]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), CliError> {
    let inputs = Inputs::default().with("the graph", &args.graph);
    let inputs = args.rules.iter().fold(inputs, |inputs, rules| inputs.with("the file of rules", rules));
    args.output.as_deref().map_or(Ok(()), |path| output::check_writable(path, &inputs))?;
    let text =
        read_graph(&args.graph).map_err(|source| CliError::Read { path: args.graph.clone(), source })?;
    let module = parse_module(&text).map_err(|source| CliError::Ir { path: args.graph.clone(), source })?;
    let problems = verify(&module);
    if !problems.is_empty() {
        return Err(CliError::Graph { path: args.graph, problems });
    }
    if module.functions.is_empty() {
        return Err(UsageError::NoFunction { path: args.graph }.into());
    }
    let passes: Vec<Pass> = args.passes.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    let target = Target::by_name(&args.target)
        .ok_or_else(|| UsageError::UnknownTarget { name: args.target.clone(), known: &Target::NAMES })?;
    let rules = rules::load(&args.rules).map_err(CompileError::from)?;
    let (module, reports) = passes::run(&module, &passes, &rules, &target).map_err(CompileError::from)?;
    let warnings = warnings(&reports);
    warnings.iter().for_each(|warning| output::warning(warning));
    let text = print_module(&module);
    match &args.output {
        None => return output::print(&text),
        Some(path) => output::write_file(path, &inputs, text.as_bytes())?,
    }
    if args.json {
        return output::print_json(&summary(&args, &module, &reports, &warnings));
    }
    Ok(())
}

/// The text of a file, or of standard input.
fn read_graph(path: &Path) -> std::io::Result<String> {
    if path.as_os_str() != "-" {
        return files::read_text(path, files::MAX_BYTES);
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(files::MAX_BYTES + 1).read_to_end(&mut bytes)?;
    files::text(bytes, files::MAX_BYTES)
}

/// What went wrong or was cut short, one line each.
pub fn warnings(reports: &[Report]) -> Vec<String> {
    let of = |report: &Report| {
        let line = |diagnostic| format!("@{}: {diagnostic}", report.function);
        report.diagnostics.iter().map(line).collect::<Vec<_>>()
    };
    reports.iter().flat_map(of).collect()
}

fn summary(args: &Args, module: &Module, reports: &[Report], warnings: &[String]) -> serde_json::Value {
    json!({
        "schema": "mscc.opt.v1",
        "output": args.output,
        "passes": args.passes,
        "functions": module.functions.len(),
        "rewrites": rewrites(reports).into_iter().collect::<BTreeMap<_, _>>(),
        "warnings": warnings,
    })
}
