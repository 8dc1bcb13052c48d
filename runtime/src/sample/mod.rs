//! Choosing the next token from logits.
//!
//! [`SamplingParams`] say how, [`Sampler`] does it. What is chosen depends on the logits, the parameters, the tokens
//! before, the seed and the number of tokens generated so far, and on nothing else: not on the platform, and not on
//! other sequences.

mod params;
mod random;
mod sampler;
mod select;

pub use params::{ParamError, SamplingParams};
pub use sampler::{SampleError, Sampled, Sampler, TokenCounts, TokenLogprobs};

pub(crate) use random::fresh_seed;
