use crate::Model;
use crate::engine::FinishReason;
use crate::step::batch::StepModel;

use super::{Llm, LlmError};

/// A text being generated: gives its pieces, none empty, as they become final. Dropped early, the request is cancelled.
#[derive(Debug)]
pub struct Generation<'a, M: StepModel = Model> {
    llm: &'a mut Llm<M>,
    id: u64,
    tokens: Vec<u32>,
    finish: Option<FinishReason>,
    /// An error to give after the last piece.
    failure: Option<LlmError>,
}

impl<'a, M: StepModel> Generation<'a, M> {
    pub(super) fn new(llm: &'a mut Llm<M>, id: u64) -> Self {
        Self { llm, id, tokens: Vec::new(), finish: None, failure: None }
    }

    /// The tokens generated so far, one that ended it included.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Why it ended, once it has.
    pub fn finish_reason(&self) -> Option<&FinishReason> {
        self.finish.as_ref()
    }

    /// The whole text.
    ///
    /// # Errors
    /// The first that occurs.
    pub fn text(&mut self) -> Result<String, LlmError> {
        self.collect()
    }

    /// Takes a step and gives the text that it made final, perhaps none.
    fn advance(&mut self) -> Result<String, LlmError> {
        let mut text = String::new();
        for event in self.llm.step()? {
            if event.request != self.id {
                self.llm.unseen.push(event);
                continue;
            }
            text.push_str(&event.text);
            self.tokens.extend(event.token);
            if let Some(FinishReason::Error(message)) = &event.finish {
                self.failure = Some(LlmError::Generation(message.clone()));
            }
            self.finish = event.finish;
        }
        Ok(text)
    }
}

impl<M: StepModel> Iterator for Generation<'_, M> {
    type Item = Result<String, LlmError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.finish.is_none() {
            match self.advance() {
                Ok(text) if text.is_empty() => {}
                Ok(text) => return Some(Ok(text)),
                Err(error) => {
                    // The engine would try the same again; a text ends here.
                    self.llm.abandon(self.id);
                    self.finish = Some(FinishReason::Error(error.to_string()));
                    return Some(Err(error));
                }
            }
        }
        self.failure.take().map(Err)
    }
}

impl<M: StepModel> Drop for Generation<'_, M> {
    fn drop(&mut self) {
        if self.finish.is_none() {
            self.llm.abandon(self.id);
        }
    }
}
