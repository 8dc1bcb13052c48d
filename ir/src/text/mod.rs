//! The text form of modules: prints deterministically and parses back to an equal module.
//!
//! ```text
//! module tiny
//! symbol T in 1..64 likely 8
//! fact B <= T
//! cache full full block 16 layers [0..2] { k: bf16[2, 24], v: bf16[2, 24] }
//!
//! func @layer {
//!   %hidden_states = state hidden_states : bf16[T, 64]
//!   %weight = weight "model.layers.{i}.input_layernorm.weight" : bf16[64]
//!   %norm = rms_norm %hidden_states, %weight {eps=1e-6} : bf16[T, 64]
//!   state hidden_states = %norm
//! }
//!
//! program {
//!   @layer [0..2]
//! }
//! ```

mod lexer;
mod parse;
mod print;

pub use parse::{ParseError, parse_function, parse_module};
pub use print::{print_function, print_module};

#[cfg(test)]
mod tests;
