//! The text form of modules: prints deterministically and parses back to an equal module.
//!
//! ```text
//! module tiny
//! symbol T in 1..64 likely 8
//! fact B <= T
//! cache full full block 16 layers [0..2] { k: bf16[2, 24], v: bf16[2, 24] }
//!
//! func @layer {
//!   state %hidden_states: bf16[T, 64]
//!   weight "model.layers.{i}." %input_layernorm.weight: bf16[64], %bias = "other.bias": bf16[64]
//!   %norm = rms_norm %hidden_states, %input_layernorm.weight {eps=1e-6} : bf16[T, 64]
//!   state hidden_states = %norm
//! }
//!
//! program {
//!   @layer [0..2]
//! }
//! ```
//!
//! What a function is given is declared by `input`, `state`, `cache` and `weight`: a value of the same name, where
//! for weights a prefix may come before it, or a value of another one behind `=`. `%x = state hidden_states : f32[T]`
//! says the same as `state %x = hidden_states: f32[T]`. Where values go is said by `state`, `cache`, `output` and
//! `tap` before a name without `%`.

mod lexer;
mod parse;
mod print;

pub use parse::{ParseError, parse_attrs, parse_function, parse_module};
pub use print::{print_function, print_module};

/// Longest prefix of weights, in bytes: it is written once and stands before each name of its list.
const MAX_PREFIX_BYTES: usize = 128;

#[cfg(test)]
mod tests;
