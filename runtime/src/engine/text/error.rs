use mscc_text::{ChatError, StopError, TokenizerError};

use crate::RuntimeError;
use crate::engine::EngineError;

/// Why text cannot be generated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LlmError {
    /// The plan or its weights cannot be loaded.
    #[error(transparent)]
    Load(#[from] RuntimeError),
    /// The request or the options are refused, or a step failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The tokenizer cannot be loaded, or cannot encode the prompt.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template cannot be loaded, or refuses the conversation.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// A stop string cannot be used.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// The plan was compiled without a tokenizer.
    #[error("the plan has no tokenizer; compile it with --tokenizer DIR, or use token ids")]
    NoTokenizer,
    /// A conversation for a model that has no template for them.
    #[error("the model has no chat template; compile it with --chat-template FILE")]
    NoChatTemplate,
    /// A request ended by an error.
    #[error("generation ended: {0}")]
    Generation(String),
}
