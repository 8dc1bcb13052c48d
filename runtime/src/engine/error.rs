use crate::error::RuntimeError;
use crate::sample::ParamError;

/// Why a model cannot be served, or a request not be taken.
///
/// What to do: shorten the prompt, or compile with limits (`--max-model-len` and so on) that fit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The model failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A sampling parameter is outside its range.
    #[error(transparent)]
    Params(#[from] ParamError),
    /// A limit, of the plan or given, that is zero or beyond what tables can index.
    #[error("{name} is {value}; it must be in 1..={most}")]
    Limit {
        /// The limit.
        name: &'static str,
        /// Its value.
        value: u64,
        /// The greatest that can be served.
        most: u64,
    },
    /// The cache's memory is less than a page of each group.
    #[error("{bytes} bytes of cache are too few: the least, a page of each group, is {least_bytes} bytes")]
    CacheBytes {
        /// What was given.
        bytes: u64,
        /// The least.
        least_bytes: u64,
    },
    /// A request whose id another one has that is not finished.
    #[error("request {id} is being served already")]
    DuplicateRequest {
        /// The id.
        id: u64,
    },
    /// A prompt without tokens.
    #[error("the prompt has no tokens")]
    EmptyPrompt,
    /// A token that the model does not know.
    #[error("token {token} of {place} is not in the model's vocabulary of {vocab_size}")]
    UnknownToken {
        /// The token.
        token: u32,
        /// Where it was found.
        place: String,
        /// Rows of the output head.
        vocab_size: u32,
    },
    /// More tokens than the model takes.
    #[error("{tokens} tokens{} are more than max_model_len, {max_model_len}", reserve(*.to_generate))]
    TooLong {
        /// Tokens given.
        tokens: usize,
        /// How many tokens there must be room for after them.
        to_generate: usize,
        /// The longest sequence, in tokens.
        max_model_len: u32,
    },
    /// A sequence that could never fit the cache.
    #[error("{tokens} tokens{} are more than the cache can hold, {capacity}; give it more memory", reserve(*.to_generate))]
    CacheTooSmall {
        /// Tokens given.
        tokens: usize,
        /// How many tokens there must be room for after them.
        to_generate: usize,
        /// The most tokens of one sequence that fit.
        capacity: usize,
    },
    /// A model that gives other logits than asked for.
    #[error("the step gave {got} logits, not {expected}")]
    Logits {
        /// Rows times vocabulary.
        expected: usize,
        /// What came.
        got: usize,
    },
}

fn reserve(to_generate: usize) -> String {
    if to_generate == 0 { String::new() } else { format!(" and {to_generate} to generate") }
}
