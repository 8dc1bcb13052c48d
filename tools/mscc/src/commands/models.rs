//! `mscc models`

use mscc_models::families;
use serde_json::json;

use crate::error::CliError;
use crate::output;

/// List the model families that can be compiled
#[derive(clap::Args)]
#[command(after_help = "Example:\n  mscc models")]
pub struct Args {
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), CliError> {
    let families = families::builtin();
    if args.json {
        let list: Vec<serde_json::Value> = families
            .iter()
            .map(|family| json!({ "model_type": family.model_type, "architectures": family.architectures }))
            .collect();
        return output::print_json(&json!({ "schema": "mscc.models.v1", "families": list }));
    }
    let lines = families.iter();
    let lines =
        lines.map(|family| format!("{:<16} {}\n", family.model_type, family.architectures.join(", ")));
    output::print(&lines.collect::<String>())
}
