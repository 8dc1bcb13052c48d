//! Models between two stages of a compilation.

use std::path::Path;

use mscc_compiler::forms::in_guard;
use mscc_compiler::passes::{self, Pass};
use mscc_compiler::{CompileError, Options, Target, compile};
use mscc_ir::Module;

/// A model as fusion is given it, and the target as it is asked then.
///
/// Errors: the target cannot run the model.
pub fn before_fusion(model: &Path, target: &str) -> Result<(Module, Target), CompileError> {
    before_fusion_with(&Options {
        model: Some(model.to_owned()),
        target: Some(target.to_owned()),
        // Longer sequences would be rotated by other factors than those of the fixture.
        max_model_len: model.ends_with("phi3_short").then_some(64),
        ..Options::default()
    })
}

/// As [`before_fusion`], with these options.
pub fn before_fusion_with(options: &Options) -> Result<(Module, Target), CompileError> {
    let compiled = compile(options, true)?;
    let target = Target::by_name(&compiled.plan.meta.target).expect("it compiled for the target");
    let early = [Pass::Normalise, Pass::Recut, Pass::Suit, Pass::Normalise];
    let (module, _) = passes::run(&compiled.traced, &early, &[], &target)?;
    let target = target.with_symbols(&in_guard(&module));
    Ok((module, target))
}
