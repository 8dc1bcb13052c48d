//! What a plan is expected to take on its device, as text and as data.

use std::fmt::{self, Write};

use mscc_compiler::cost::CostModel;
use mscc_compiler::predict::{Prediction, predict};
use mscc_ir::kernels::ascend::{Format, Soc};
use mscc_ir::plan::Plan;
use mscc_report::figures::{bytes, memory, tensors};
use serde_json::{Value, json};

/// The predictions for an NPU: on the host, `mscc run` says what it takes.
pub fn predictions(plan: &Plan) -> Vec<Prediction> {
    if Soc::by_target(&plan.meta.target).is_some() { predict(plan) } else { Vec::new() }
}

/// Lines of the summary on weights: how many lie in blocks, and whether the device can hold them.
pub fn write_memory(out: &mut String, plan: &Plan, soc: &Soc) -> fmt::Result {
    let tensors = tensors(plan);
    let mut in_blocks = tensors.iter().filter(|(recipe, _)| {
        plan.weights.recipes.get(**recipe as usize).is_some_and(|recipe| recipe.format == Format::Nz)
    });
    let in_blocks = in_blocks.try_fold(0u64, |sum, (_, tensors)| sum.checked_add(tensors.total()?));
    writeln!(out, "    in blocks (NZ)         {}", bytes(in_blocks))?;
    writeln!(out, "  memory of {:<14} {}", soc.target, bytes(Some(soc.memory_bytes)))?;
    if memory(plan).weights.is_some_and(|weights| weights > soc.memory_bytes) {
        writeln!(out, "    warning: weights alone are more than one {} has", soc.target)?;
    }
    Ok(())
}

/// A part of the summary for each typical step; empty for a plan for the host.
pub fn write_predictions(out: &mut String, plan: &Plan) -> fmt::Result {
    let Some(soc) = Soc::by_target(&plan.meta.target) else { return Ok(()) };
    writeln!(out, "\npredicted for {}, from figures of its documents: nothing was measured", soc.target)?;
    for uncertain in soc.uncertain {
        writeln!(out, "  uncertain: {uncertain}")?;
    }
    let model = CostModel::ascend(soc);
    let (gb_s, gflops) = (model.bytes_per_second as f64 / 1e9, model.half_flops_per_second as f64 / 1e9);
    writeln!(
        out,
        "  assumed: {:.1} of the bandwidth, {:.0} GB/s; {:.1} of the peak of products, {:.0} TFLOP/s; {} µs a launch",
        gb_s / f64::from(soc.memory_gb_s),
        gb_s,
        gflops / soc.half_gflops() as f64,
        gflops / 1e3,
        model.launch_ps / 1_000_000
    )?;
    for prediction in predictions(plan) {
        let step = prediction.step;
        writeln!(
            out,
            "  {}, {} × {} new tokens at {}: {} launches, {}",
            step.name,
            step.sequences,
            step.new_tokens,
            step.context,
            prediction.launches(),
            time(prediction.ps())
        )?;
        for function in prediction.functions.iter().filter(|function| function.calls > 0) {
            writeln!(
                out,
                "    @{:<24} × {:<3} {:>3} launches, {:>10}, bound by {}",
                function.name,
                function.calls,
                function.launches,
                time(function.ps),
                function.bounds.name()
            )?;
        }
    }
    Ok(())
}

/// The same for scripts.
pub fn to_json(plan: &Plan) -> Value {
    let predictions = predictions(plan);
    let microseconds = |ps: u64| ps as f64 / 1e6;
    let one = |prediction: &Prediction| {
        let functions = prediction.functions.iter().map(|function| {
            json!({
                "name": function.name,
                "calls": function.calls,
                "launches": function.launches,
                "microseconds": microseconds(function.ps),
                "bound_by": function.bounds.name(),
                "memory_microseconds": microseconds(function.bounds.memory),
                "compute_microseconds": microseconds(function.bounds.compute),
                "launch_microseconds": microseconds(function.bounds.launch),
            })
        });
        json!({
            "step": prediction.step.name,
            "sequences": prediction.step.sequences,
            "new_tokens": prediction.step.new_tokens,
            "context": prediction.step.context,
            "variant": prediction.variant,
            "launches": prediction.launches(),
            "microseconds": microseconds(prediction.ps()),
            "functions": functions.collect::<Vec<_>>(),
        })
    };
    predictions.iter().map(one).collect()
}

/// Picoseconds in a unit that fits.
pub fn time(ps: u64) -> String {
    let ps = ps as f64;
    if ps >= 1e9 { format!("{:.2} ms", ps / 1e9) } else { format!("{:.1} µs", ps / 1e6) }
}
