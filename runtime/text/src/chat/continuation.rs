use serde_json::Value;

use super::ChatError;

/// What is put behind the content of the last message, to find in the text where it ends.
const MARK: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// A rendering that is to end where the last message's content ends.
///
/// The content is marked before the template runs, since a template may trim or move it; the text is cut at the
/// mark.
///
/// Source: transformers 5.23, `render_jinja_template`.
pub(super) struct Continuation {
    /// The content as it was.
    content: String,
    /// Where it stands, for errors.
    place: String,
}

impl Continuation {
    /// Marks the content of the last message: its text, or the last of its parts that has one. `template` is the
    /// source of the template.
    pub(super) fn mark(messages: &mut [Value], template: &str) -> Result<Self, ChatError> {
        let place = format!("messages[{}].content", messages.len().saturating_sub(1));
        let fail = |reason| Err(ChatError::Conversation { place: place.clone(), reason });
        let text = match messages.last_mut().and_then(|message| message.get_mut("content")) {
            Some(Value::String(text)) => text,
            Some(Value::Array(parts)) => match parts.iter_mut().rev().find_map(|part| part.get_mut("text")) {
                Some(Value::String(text)) => text,
                _ => return fail("has no part with text that could be continued"),
            },
            _ => return fail("expected a text that could be continued"),
        };
        if !template.contains("content") {
            return fail("cannot be continued: the chat template does not write it");
        }
        let content = text.clone();
        text.push_str(MARK);
        Ok(Self { content, place })
    }

    /// The rendered text up to the mark.
    pub(super) fn cut(self, mut text: String) -> Result<String, ChatError> {
        let mark = MARK.trim_end();
        match text.rfind(mark) {
            Some(at) if text.contains(super::python::strip(&self.content)) => {
                // If the template trimmed the mark, it would have trimmed the content too.
                let is_trimmed = !text[at..].starts_with(MARK);
                text.truncate(at);
                if is_trimmed {
                    text.truncate(text.trim_end_matches(super::python::is_space).len());
                }
                Ok(text)
            }
            _ => Err(ChatError::Conversation {
                place: self.place,
                reason: "cannot be continued: the chat template drops or changes it",
            }),
        }
    }
}
