//! The text side of mscc: from text to token ids and back.
//!
//! What it does: reads `tokenizer.json` with `tokenizer_config.json` and encodes and decodes as Hugging
//! Face `transformers` does; renders chat templates in the same environment as `transformers`, bounded in
//! work and memory; turns generated ids into text piece by piece; finds stop strings in such pieces.
//!
//! What it does not: download anything, run code of a model repository, read files named by a template,
//! choose tokens, or know about models, plans and devices. The engine's core speaks token ids.
//!
//! Read first: [`Tokenizer`], [`TextStream`], [`ChatTemplate`].
//!
//! ```
//! use mscc_text::{ChatInput, ChatTemplate};
//!
//! let template = ChatTemplate::from_text("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}")?;
//! let messages = serde_json::json!([{"role": "user", "content": "Hello!"}]);
//! assert_eq!(template.render(&ChatInput::new(messages))?, "<user>Hello!");
//! # Ok::<(), mscc_text::ChatError>(())
//! ```
#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod chat;
mod cleanup;
mod files;
mod special;
mod stop;
mod stream;
mod tokenizer;

pub use chat::{ChatError, ChatInput, ChatLimits, ChatTemplate};
pub use files::FileError;
pub use stop::{StopError, StopOutcome, StopStrings};
pub use stream::TextStream;
pub use tokenizer::{Tokenizer, TokenizerError};
