//! `mscc models`

use std::collections::BTreeSet;

use mscc_models::families;
use mscc_models::spec::{Family, Slot};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::output;
use crate::usage::UsageError;

/// List the model families that can be compiled
///
/// Each with its classes, its blocks, and in parentheses the options of blocks that it uses; docs/families.md tells
/// what they are. What a model uses of them is up to its config.json.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mscc models
  mscc models --json | jq '.families[].model_type'")]
pub struct Args {
    /// Print the file that describes this family: a beginning for one of your own
    #[arg(value_name = "FAMILY")]
    family: Option<String>,
    /// Print the list as JSON
    #[arg(long, conflicts_with = "family")]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), CliError> {
    let families = families::builtin();
    if let Some(name) = args.family {
        let text = families::text(&name).ok_or_else(|| {
            let known: Vec<&str> = families.iter().map(|family| family.model_type.as_str()).collect();
            UsageError::UnknownFamily { name, known: known.join(", ") }
        })?;
        return output::print(text);
    }
    if args.json {
        let list: Vec<Value> = families.iter().map(to_json).collect();
        return output::print_json(&json!({ "schema": "mscc.models.v1", "families": list }));
    }
    output::print(&families.iter().map(to_text).collect::<String>())
}

fn to_text(family: &Family) -> String {
    let (model_type, classes) = (&family.model_type, family.architectures.join(", "));
    let mut text = format!("{model_type:<16} {classes}\n{:17}{}\n", "", parts(family).join("; "));
    for requirement in &family.requires {
        text += &format!("{:17}only {} = {}\n", "", requirement.key, requirement.supported);
    }
    text
}

/// Its blocks, each once, with all options that some slot gives it.
fn parts(family: &Family) -> Vec<String> {
    let mut parts: Vec<(&str, BTreeSet<&str>)> = Vec::new();
    for filling in family.fillings() {
        let at = parts.iter().position(|(block, _)| *block == filling.block.name).unwrap_or_else(|| {
            parts.push((filling.block.name, BTreeSet::new()));
            parts.len() - 1
        });
        parts[at].1.extend(filling.options());
    }
    let text = |(block, options): (&str, BTreeSet<&str>)| match options.is_empty() {
        true => block.to_owned(),
        false => format!("{block} ({})", Vec::from_iter(options).join(", ")),
    };
    parts.into_iter().map(text).collect()
}

fn to_json(family: &Family) -> Value {
    let slot = |slot: &Slot| {
        let fillings = slot.fillings.iter().map(|filling| {
            json!({
                "block": filling.block.name,
                "options": filling.options().collect::<Vec<_>>(),
                "is_alternative": filling.condition.is_some() || slot.fillings.len() > 1,
                "may_be_tied": filling.tied_to.is_some(),
            })
        });
        json!({ "slot": slot.name, "filled_by": fillings.collect::<Vec<_>>() })
    };
    let slots = |slots: &[Slot]| slots.iter().map(slot).collect::<Vec<_>>();
    let only = family.requires.iter().map(|requirement| (&requirement.key, &requirement.supported));
    json!({
        "model_type": family.model_type,
        "architectures": family.architectures,
        "embed_tokens": slot(&family.embed_tokens),
        "rotary_emb": slots(&family.rotary_emb),
        "layers": slots(&family.layers.slots),
        "norm": slot(&family.norm),
        "lm_head": slot(&family.lm_head),
        "only": only.collect::<std::collections::BTreeMap<_, _>>(),
        "config_keys": family.keys().collect::<BTreeSet<_>>(),
    })
}
