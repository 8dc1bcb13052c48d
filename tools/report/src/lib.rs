//! Plans as pictures: [`html`] for people, [`dot`] for Graphviz, [`onnx`] for viewers of ONNX such as Netron.
//!
//! Everything is drawn from the plan alone, [`Listing`]s and launches; nothing is read or run.
//! A plan is input from outside: its strings are escaped, and how much is drawn is bounded. Pictures grow with kinds of
//! layers, not with layers.
//!
//! Read first: [`diagram`] for what is drawn of a graph, [`layout`] for where, [`page`] for the page around it.

#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod arena;
pub mod diagram;
mod dot;
pub mod figures;
pub mod layout;
mod onnx;
pub mod page;

use mscc_ir::plan::{Function, Listing, Plan, Program, Variant};

pub use dot::dot;
pub use onnx::{ONNX_DOMAIN, onnx, proto};
pub use page::html;

/// Why there is no picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// A plan without graphs, which is none that `mscc compile` wrote.
    #[error("the plan holds no graph of @{0}, only its launches")]
    NoListing(String),
    /// A kind of layer that the plan does not have.
    #[error("the plan has no kind of layer `{name}`: it has {known}")]
    NoKind {
        /// The name asked for.
        name: String,
        /// Those there are.
        known: String,
    },
    /// A step of more calls than can be looked at.
    #[error("a step has {0} runs of layers, too many for a graph")]
    TooManyCalls(usize),
    /// The page's template does not fit its data: a bug.
    #[error("cannot make the page: {0}")]
    Template(String),
}

/// A kind of layer in one variant of a program.
#[derive(Clone, Copy, Debug)]
pub struct Kind<'a> {
    /// The program.
    pub program: &'a Program,
    /// The variant.
    pub variant: &'a Variant,
    /// The function.
    pub function: &'a Function,
    /// Calls in a step: layers.
    pub calls: u64,
}

impl<'a> Kind<'a> {
    /// Its graphs.
    pub fn listing(&self) -> Result<&'a Listing, ReportError> {
        self.function.listing.as_ref().ok_or_else(|| ReportError::NoListing(self.function.name.clone()))
    }
}

/// The kinds of layers of a plan, of all programs and variants, in order.
pub fn kinds(plan: &Plan) -> Vec<Kind<'_>> {
    let mut kinds = Vec::new();
    for program in &plan.programs {
        for variant in &program.variants {
            for (index, function) in variant.functions.iter().enumerate() {
                kinds.push(Kind { program, variant, function, calls: figures::calls_of(variant, index) });
            }
        }
    }
    kinds
}

/// The kinds of this name.
///
/// Errors: there is none.
pub fn kinds_named<'a>(plan: &'a Plan, name: &str) -> Result<Vec<Kind<'a>>, ReportError> {
    let all = kinds(plan);
    let known: Vec<&str> = all.iter().map(|kind| kind.function.name.as_str()).collect();
    let named: Vec<Kind<'_>> = all.iter().filter(|kind| kind.function.name == name).copied().collect();
    if named.is_empty() {
        return Err(ReportError::NoKind { name: name.to_owned(), known: clip(&known.join(", ")) });
    }
    Ok(named)
}

/// Longest text that is shown in one place, in characters.
const MAX_TEXT: usize = 200;

/// Text of any length, cut where it would fill the picture.
fn clip(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
