use mscc_text::ChatInput;

use crate::engine::FinishReason;
use crate::sample::{SamplingParams, TokenLogprobs};

/// Something to continue, with all that can be said about how.
#[derive(Clone, Debug, PartialEq)]
pub struct TextRequest {
    /// What to continue.
    pub prompt: Prompt,
    /// How to go on, and how far.
    pub params: SamplingParams,
    /// Texts that end it.
    pub stop: Vec<String>,
    /// Whether such a text is given out too.
    pub include_stop: bool,
    /// Tokens that end it, besides the model's own.
    pub stop_token_ids: Vec<u32>,
    /// Whether the model's own end tokens do not end it.
    pub ignore_eos: bool,
    /// Whether special tokens have no text.
    pub skip_special: bool,
}

/// What a request continues.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// Text, to which the special tokens are added that frame a text.
    Text(String),
    /// A conversation, rendered by the model's chat template.
    Chat(Box<ChatInput>),
    /// Tokens, taken as they are.
    Tokens(Vec<u32>),
}

/// What became of a request in a step.
#[derive(Clone, Debug, PartialEq)]
pub struct TextEvent {
    /// The request.
    pub request: u64,
    /// Text that has become final, perhaps none.
    pub text: String,
    /// The token that was generated; one that ends the request too, although it has no text.
    pub token: Option<u32>,
    /// Its log probabilities, if asked for.
    pub logprobs: Option<TokenLogprobs>,
    /// Why there is no more.
    pub finish: Option<FinishReason>,
}

impl TextRequest {
    /// A request that ends where the model ends it or its parameters do.
    pub fn new(prompt: impl Into<Prompt>, params: SamplingParams) -> Self {
        Self {
            prompt: prompt.into(),
            params,
            stop: Vec::new(),
            include_stop: false,
            stop_token_ids: Vec::new(),
            ignore_eos: false,
            skip_special: true,
        }
    }

    /// With these texts as ends.
    #[must_use]
    pub fn stop(self, stop: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { stop: stop.into_iter().map(Into::into).collect(), ..self }
    }
}

impl Prompt {
    /// A conversation of roles and contents, answered next by the assistant.
    pub fn chat(messages: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>) -> Self {
        let message = |(role, content): (_, _)| serde_json::json!({ "role": Into::<String>::into(role), "content": Into::<String>::into(content) });
        let messages = messages.into_iter().map(message).collect();
        ChatInput { add_generation_prompt: true, ..ChatInput::new(messages) }.into()
    }
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<ChatInput> for Prompt {
    fn from(input: ChatInput) -> Self {
        Self::Chat(Box::new(input))
    }
}

impl From<Vec<u32>> for Prompt {
    fn from(tokens: Vec<u32>) -> Self {
        Self::Tokens(tokens)
    }
}
