use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context;
use mscc_ir::kernels::ascend::{AclnnDecl, DECLS, Family, Since, WITHOUT_CALL};

use super::families::fill;

/// The page about Ascend: the one there is, with what is between its marks made anew.
pub fn page(root: &Path) -> anyhow::Result<String> {
    let path = root.join("docs/ascend.md");
    let mut page = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    fill(&mut page, "calls", &calls())?;
    fill(&mut page, "unchecked", &unchecked())?;
    fill(&mut page, "no-kernel", &without_call())?;
    Ok(page)
}

/// The ways of computing each op, with how many rules of each are encoded.
fn calls() -> String {
    let mut text = String::from("| call | op | entry | devices | types | limits | not checked |\n");
    text.push_str("|---|---|---|---|--:|---|--:|\n");
    for decl in DECLS {
        let newer = if decl.since == Since::Later { " (newer than 8.1)" } else { "" };
        let fallback = decl.fallback.map_or(String::new(), |name| format!(", else `{name}`"));
        let types = decl.dtypes.len();
        let mut limits: Vec<String> = decl
            .limits
            .iter()
            .map(|limit| {
                let holds = devices(|family| limit.socs.has(family) && runs_on(decl, family));
                let everywhere = holds == devices(|family| runs_on(decl, family));
                format!("`{}`{}", limit.rule, if everywhere { String::new() } else { format!(" on {holds}") })
            })
            .collect();
        limits.extend(decl.only.iter().map(|only| format!("`{}`", only.rule())));
        let (op, limits, unchecked) = (decl.op.name(), limits.join(", "), decl.unchecked.len());
        let (name, entry, devices) = (decl.name, decl.entry, devices(|family| runs_on(decl, family)));
        writeln!(
            text,
            "| `{name}` | `{op}` | {entry}{newer}{fallback} | {devices} | {types} | {limits} | {unchecked} |"
        )
        .expect("a string takes all");
    }
    text
}

fn runs_on(decl: &AclnnDecl, family: Family) -> bool {
    decl.parsed.rows.iter().any(|(socs, _)| socs.has(family))
}

/// Names of the families that are such.
fn devices(are: impl Fn(Family) -> bool) -> String {
    let names: Vec<&str> =
        Family::ALL.iter().filter(|family| are(**family)).map(|family| family.name()).collect();
    names.join(", ")
}

/// Documented rules that cannot be checked, each once, with the calls that have them.
fn unchecked() -> String {
    let mut rules: Vec<(&str, Vec<String>)> = Vec::new();
    for decl in DECLS {
        for rule in decl.unchecked {
            let name = format!("`{}`", decl.name);
            match rules.iter_mut().find(|(known, _)| known == rule) {
                Some((_, names)) => names.push(name),
                None => rules.push((rule, vec![name])),
            }
        }
    }
    let lines = rules.iter().map(|(rule, names)| format!("- {rule} ({})", names.join(", ")));
    lines.collect::<Vec<_>>().join("\n")
}

/// Ops that no call computes.
fn without_call() -> String {
    let lines = WITHOUT_CALL.iter().map(|(kind, reason)| format!("| `{}` | {reason} |", kind.name()));
    format!("| op | why none |\n|---|---|\n{}", lines.collect::<Vec<_>>().join("\n"))
}
