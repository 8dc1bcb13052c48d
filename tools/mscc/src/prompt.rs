//! What a model is given: text, token ids or a conversation.

use mscc_runtime::engine::text::Prompt;
use mscc_text::{ChatInput, Tokenizer};
use serde_json::{Map, Value, json};

use crate::error::CliError;

/// Text or token ids.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub struct PromptArgs {
    /// The prompt as text
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// The prompt as token ids, taken as they are: 1,2,3
    #[arg(long, value_name = "IDS")]
    pub prompt_ids: Option<TokenIds>,
}

impl PromptArgs {
    /// The token ids, if they were given as such.
    pub fn ids(&self) -> Option<&[u32]> {
        self.prompt_ids.as_ref().map(|ids| ids.0.as_slice())
    }

    /// The prompt as it was given.
    pub fn prompt(&self) -> Prompt {
        match (&self.prompt_ids, &self.prompt) {
            (Some(ids), _) => Prompt::Tokens(ids.0.clone()),
            (None, text) => Prompt::Text(text.clone().unwrap_or_default()),
        }
    }

    /// The tokens of the prompt; `tokenizer` is asked for if there is text.
    pub fn tokens(
        &self,
        tokenizer: impl FnOnce() -> Result<Tokenizer, CliError>,
    ) -> Result<Vec<u32>, CliError> {
        match self.ids() {
            Some(ids) => Ok(ids.to_vec()),
            None => Ok(tokenizer()?.encode(self.prompt.as_deref().unwrap_or_default(), true)?),
        }
    }
}

/// What a conversation begins with, and how its template renders it.
#[derive(clap::Args)]
#[command(next_help_heading = "Conversation")]
pub struct ConversationArgs {
    /// System message, before all others
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Variable of the chat template, as JSON: enable_thinking=false; may be given several times
    #[arg(long = "chat-arg", value_name = "KEY=JSON")]
    pub variables: Vec<Variable>,
}

impl ConversationArgs {
    /// Messages of roles and contents behind the system message, to be answered next.
    pub fn prompt(&self, messages: &[(Role, String)]) -> Prompt {
        let system = self.system.iter().map(|text| ("system", text));
        let others = messages.iter().map(|(role, text)| (role.name(), text));
        let messages: Vec<Value> =
            system.chain(others).map(|(role, text)| json!({ "role": role, "content": text })).collect();
        let variables = self.variables.iter().map(|Variable(key, value)| (key.clone(), value.clone()));
        let input = ChatInput {
            add_generation_prompt: true,
            variables: variables.collect::<Map<_, _>>(),
            ..ChatInput::new(messages.into())
        };
        input.into()
    }

    /// Whether anything is said of a conversation.
    pub fn is_given(&self) -> bool {
        self.system.is_some() || !self.variables.is_empty()
    }
}

/// Who says something, besides the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one at the keyboard.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// As templates call it.
    pub fn name(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// Token ids as users write them: `1,2,3`.
#[derive(Clone, Debug)]
pub struct TokenIds(pub Vec<u32>);

impl std::str::FromStr for TokenIds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = |part: &str| part.trim().parse().map_err(|_| format!("`{part}` is no token id"));
        let ids: Vec<u32> = text.split(',').map(id).collect::<Result<_, _>>()?;
        Ok(TokenIds(ids))
    }
}

/// A variable of a chat template as users write it: `key=value`, the value in JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable(String, Value);

impl std::str::FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) = text.split_once('=').ok_or("expected KEY=JSON, such as enable_thinking=false")?;
        let value = serde_json::from_str(value)
            .map_err(|_| format!("`{value}` is not JSON: expected false, 3 or \"text\", with the quotes"))?;
        Ok(Variable(key.trim().to_owned(), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_json() {
        let variable = |text: &str| text.parse::<Variable>();
        assert_eq!(variable("enable_thinking=false"), Ok(Variable("enable_thinking".into(), false.into())));
        assert_eq!(variable("effort=\"a=b\""), Ok(Variable("effort".into(), "a=b".into())));
        assert!(variable("effort=high").unwrap_err().contains("with the quotes"));
        assert!(variable("effort").unwrap_err().contains("KEY=JSON"));
    }
}
