//! Rewrite rules of mscc: text in, rules with proofs out.
//!
//! No egg here: rules are engine-neutral data, and the compiler's e-graph stage is the one that applies them.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attrs;
mod draw;
mod error;
pub mod given;
pub mod guards;
pub mod instantiate;
mod load;
mod operand_orders;
mod print;
pub mod proof;
pub mod rule;

pub use error::{Problem, RuleError};
pub use given::{Bindings, check_given};
pub use guards::{MatchView, Origin, Refusal, check_guard};
pub use load::{builtin, load};
pub use proof::{Proof, ProofFailure, prove};
pub use rule::Rule;
