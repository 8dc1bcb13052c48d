//! Passes over modules, each in its file, and the order in which they run.

mod carry;
pub mod fit;
pub mod fuse;
pub mod normalise;
pub mod rebuild;
pub mod recut;
mod score_rotary;
pub mod suit;
pub mod weight_dtype;

use std::str::FromStr;

use mscc_ir::module::Module;
use mscc_ir::verify::{VerifyError, verify};
use mscc_patterns::Rule;

use crate::egraph::Report;
use crate::passes::fuse::Saturation;
use crate::target::Target;

/// A pass over modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// One spelling for what authors write in several; no dead code.
    Normalise,
    /// Cuts layers at the attention core.
    Recut,
    /// Casts, tables and the like that the target's kernels ask for.
    Suit,
    /// Normalises, then fuses by equality saturation.
    Fuse,
    /// Fills up what the target's attention takes in other sizes only.
    Fit,
}

impl Pass {
    /// All passes, in the order in which a compilation runs them.
    pub const ALL: [Pass; 5] = [Pass::Normalise, Pass::Recut, Pass::Suit, Pass::Fuse, Pass::Fit];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Pass::Normalise => "normalise",
            Pass::Recut => "recut",
            Pass::Suit => "suit",
            Pass::Fuse => "fuse",
            Pass::Fit => "fit",
        }
    }
}

/// A name that no pass has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown pass `{0}`: expected normalise, recut, suit, fuse or fit")]
pub struct UnknownPass(String);

impl FromStr for Pass {
    type Err = UnknownPass;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Pass::ALL.into_iter().find(|pass| pass.name() == name).ok_or_else(|| UnknownPass(name.to_owned()))
    }
}

/// A pass that broke the module: a bug of ours.
///
/// What to do: report it as a bug, with config.json or the graph.
#[derive(Clone, Debug, thiserror::Error)]
#[error("pass `{}` broke the module: {}", .pass.name(), .errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct BrokenPass {
    /// The pass.
    pub pass: Pass,
    /// What the verifier says.
    pub errors: Vec<VerifyError>,
}

/// Runs passes one after the other; what each makes is verified.
///
/// Errors: a pass that breaks a sound module.
pub fn run(
    module: &Module,
    passes: &[Pass],
    rules: &[Rule],
    target: &Target,
) -> Result<(Module, Vec<Report>), BrokenPass> {
    let mut module = module.clone();
    let mut reports = Vec::new();
    for pass in passes {
        module = match pass {
            Pass::Normalise => normalise_all(&module),
            Pass::Recut => recut::recut(&module),
            Pass::Suit => suit::suit(&module, target),
            Pass::Fit => {
                let symbols = module.symbols.clone();
                fit::fit_all(&mut [(&mut module, symbols)], target);
                module
            }
            Pass::Fuse => {
                let normal = normalise_all(&module);
                let target = target.with_symbols(&normal.symbols);
                let (fused, of_fuse) = Saturation::new(&normal, rules, &target).cheapest(&|_| None);
                reports = of_fuse;
                fused
            }
        };
        check(*pass, &module)?;
    }
    Ok((module, reports))
}

/// Verifies what a pass made.
pub(crate) fn check(pass: Pass, module: &Module) -> Result<(), BrokenPass> {
    let errors = verify(module);
    if errors.is_empty() { Ok(()) } else { Err(BrokenPass { pass, errors }) }
}

pub(crate) fn normalise_all(module: &Module) -> Module {
    let mut normal = module.clone();
    for function in &mut normal.functions {
        *function = normalise::normalise(function);
    }
    normal
}
