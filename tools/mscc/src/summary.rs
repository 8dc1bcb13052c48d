//! What fusion saves in typical steps, as text and as data.

use mscc_compiler::savings::{Savings, savings};
use mscc_ir::plan::Plan;
use mscc_ir::plan::fusion::Cost;
use serde_json::{Value, json};

use crate::explanation::{cost_json, signed_time, size};

/// For people: a table for each step.
pub fn text(plan: &Plan) -> String {
    let mut out =
        vec![format!("{} ({}) for {}: unfused → fused", plan.meta.model, plan.meta.family, plan.meta.target)];
    for savings in savings(plan) {
        let Savings { step, variant, functions } = &savings;
        out.push(format!(
            "  {}, {} × {} new tokens at {}, variant {variant}",
            step.name, step.sequences, step.new_tokens, step.context
        ));
        for function in functions {
            out.push(row(
                &format!("@{} × {}", function.name, function.calls),
                function.before,
                function.after,
            ));
        }
        let (before, after) = savings.total();
        out.push(row("in all", before, after));
    }
    if out.len() > 1 {
        out.push(
            "  unfused: as written, one launch for each op, whether or not the target has a kernel for it"
                .to_owned(),
        );
        out.push("  fused: with what the target's kernels ask for, such as heads filled up".to_owned());
    }
    out.join("\n") + "\n"
}

fn row(name: &str, before: Cost, after: Cost) -> String {
    let launches = format!("{} → {}", before.launches, after.launches);
    let moved = format!("{} → {}", size(before.bytes), size(after.bytes));
    let time = format!("{} → {}", signed_time(before.ps), signed_time(after.ps));
    let saved = signed_time(before.ps.saturating_sub(after.ps));
    format!("    {name:<28} {launches:>12} launches  {moved:>22} moved  {time:>24}, saves {saved}")
}

/// For scripts.
pub fn to_json(plan: &Plan) -> Value {
    let steps = savings(plan).into_iter().map(|savings| {
        let functions = savings.functions.iter().map(|function| {
            json!({
                "name": function.name,
                "calls": function.calls,
                "before": cost_json(&function.before),
                "after": cost_json(&function.after),
            })
        });
        let (before, after) = savings.total();
        json!({
            "step": savings.step.name,
            "sequences": savings.step.sequences,
            "new_tokens": savings.step.new_tokens,
            "context": savings.step.context,
            "variant": savings.variant,
            "functions": functions.collect::<Vec<_>>(),
            "before": cost_json(&before),
            "after": cost_json(&after),
        })
    });
    json!({
        "schema": "mscc.savings.v1",
        "model": plan.meta.model,
        "target": plan.meta.target,
        "steps": steps.collect::<Vec<_>>(),
    })
}
