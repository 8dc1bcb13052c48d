use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context;
use mscc_compiler::savings::savings;
use mscc_compiler::{Options, compile};
use mscc_ir::plan::fusion::Cost;

use super::families::fill;

/// The models of the table: paths of configs and models beside this list.
const MODELS: &str = "fusion_models.json";
const TARGETS: [&str; 2] = ["ascend910b3", "cpu"];

/// The page about fusion: the one there is, with what is between its marks made anew.
pub fn page(root: &Path) -> anyhow::Result<String> {
    let path = root.join("docs/fusion.md");
    let mut page = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    fill(&mut page, "savings", &table(&root.join("tests/data"))?)?;
    Ok(page)
}

fn table(data: &Path) -> anyhow::Result<String> {
    let mut text = String::from("| model | target | step | launches | moved, MB | time, ms | saves |\n");
    text.push_str("|---|---|---|--:|--:|--:|--:|\n");
    let models = fs::read(data.join(MODELS)).context(MODELS)?;
    for model in serde_json::from_slice::<Vec<String>>(&models).context(MODELS)? {
        for target in TARGETS {
            let options = Options {
                model: Some(data.join(&model)),
                target: Some(target.to_owned()),
                ..Options::default()
            };
            let compiled = compile(&options, true).with_context(|| format!("{model} for {target}"))?;
            for savings in savings(&compiled.plan) {
                let (before, after) = savings.total();
                let name = &compiled.plan.meta.model;
                writeln!(
                    text,
                    "| {name} | `{target}` | {} | {} → {} | {} → {} | {} → {} | {} |",
                    savings.step.name,
                    before.launches,
                    after.launches,
                    thousandths(before.bytes / 1000),
                    thousandths(after.bytes / 1000),
                    thousandths(before.ps / 1_000_000),
                    thousandths(after.ps / 1_000_000),
                    share(before, after),
                )?;
            }
        }
    }
    Ok(text)
}

/// A number of thousandths, with so many digits that three say something.
fn thousandths(count: i64) -> String {
    match count {
        ..10_000 => format!("{}.{:03}", count / 1000, count % 1000),
        10_000..100_000 => format!("{}.{}", count / 1000, count % 1000 / 100),
        100_000.. => (count / 1000).to_string(),
    }
}

/// Time saved, in percent of what it was.
fn share(before: Cost, after: Cost) -> String {
    let saved = (before.ps - after.ps) as i128 * 1000 / i128::from(before.ps.max(1));
    format!("{}{}.{} %", if saved < 0 { "-" } else { "" }, saved.abs() / 10, saved.abs() % 10)
}
