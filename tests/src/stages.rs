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
    let options = Options {
        model: Some(model.to_owned()),
        target: Some(target.to_owned()),
        max_model_len: model.ends_with("phi3_short").then_some(64),
        ..Options::default()
    };
    let traced = compile(&options, true)?.traced;
    let target = Target::by_name(target).expect("it compiled for the target");
    let early = [Pass::Normalise, Pass::Recut, Pass::Suit, Pass::Normalise];
    let (module, _) = passes::run(&traced, &early, &[], &target)?;
    let target = target.with_symbols(&in_guard(&module));
    Ok((module, target))
}
