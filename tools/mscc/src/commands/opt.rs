//! `mscc opt`

use std::path::PathBuf;

use mscc_compiler::passes::{self, Pass};
use mscc_compiler::{Target, rules};
use mscc_ir::text::{parse_module, print_module};
use mscc_ir::verify::verify;

use crate::error::CliError;
use crate::output;

/// Run passes over a graph in IR text and print what comes out
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mscc compile ./Qwen3-0.6B --emit traced > traced.mir
  mscc opt traced.mir --passes recut,fuse
  mscc opt graph.mir --passes fuse --target cpu -o fused.mir")]
pub struct Args {
    /// IR text
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
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), CliError> {
    let text = std::fs::read_to_string(&args.graph)
        .map_err(|source| CliError::Read { path: args.graph.clone(), source })?;
    let at = |problem: String| CliError::Input(format!("{}: {problem}", args.graph.display()));
    let module = parse_module(&text).map_err(|error| at(error.to_string()))?;
    let errors: Vec<String> = verify(&module).iter().map(ToString::to_string).collect();
    if !errors.is_empty() {
        return Err(at(errors.join("\n  ")));
    }
    if module.functions.is_empty() {
        return Err(at(
            "there is no function in it; `mscc compile MODEL --emit traced` shows the form".to_owned()
        ));
    }
    let passes: Vec<Pass> = args
        .passes
        .iter()
        .map(|name| name.parse().map_err(|error: passes::UnknownPass| CliError::Input(error.to_string())))
        .collect::<Result<_, _>>()?;
    let target = Target::by_name(&args.target).ok_or_else(|| {
        CliError::Input(format!("unknown target `{}`: expected {}", args.target, Target::NAMES.join(", ")))
    })?;
    let rules = rules::load(&args.rules).map_err(|error| CliError::Input(error.to_string()))?;
    let (module, reports) = passes::run(&module, &passes, &rules, &target)
        .map_err(|error| CliError::Failure(error.to_string()))?;
    for report in &reports {
        for diagnostic in &report.diagnostics {
            output::note(&format!("warning: @{}: {diagnostic}", report.function));
        }
    }
    match args.output {
        None => output::print(&print_module(&module)),
        Some(path) => output::write_file(&path, print_module(&module).as_bytes()),
    }
}
