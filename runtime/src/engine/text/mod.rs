//! The engine with text in and out.

mod error;
mod generation;
mod request;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use mscc_ir::plan::TextAssets;
use mscc_text::{ChatError, ChatTemplate, StopStrings, TextStream, Tokenizer};

use crate::engine::{Engine, EngineOptions, Event, FinishReason, Request};
use crate::sample::SamplingParams;
use crate::step::batch::StepModel;
use crate::{LoadOptions, Model};

pub use error::LlmError;
pub use generation::Generation;
pub use request::{Prompt, TextEvent, TextRequest};

/// A model with its tokenizer: text in, text out.
///
/// For one request at a time there is [`generate`](Self::generate). For many, [`add`](Self::add) them and call
/// [`step`](Self::step) while there [is work](Self::has_work).
///
/// ```no_run
/// use mscc_runtime::{Llm, LoadOptions, sample::SamplingParams};
///
/// let mut llm = Llm::load("plan.bin", LoadOptions::default())?;
/// for piece in llm.generate("Once upon a time", SamplingParams::greedy().max_tokens(64))? {
///     print!("{}", piece?);
/// }
/// # Ok::<(), mscc_runtime::LlmError>(())
/// ```
#[derive(Debug)]
pub struct Llm<M = Model> {
    engine: Engine<M>,
    tokenizer: Tokenizer,
    chat_template: Option<ChatTemplate>,
    recommended: SamplingParams,
    streams: HashMap<u64, Stream>,
    /// What a [`Generation`] met of other requests, to be told by the next step.
    unseen: Vec<TextEvent>,
    last_id: u64,
}

/// The text of a request that is being served.
#[derive(Debug)]
struct Stream {
    text: TextStream,
    stops: StopStrings,
}

impl Llm {
    /// Loads a plan with its weights and its tokenizer.
    ///
    /// # Errors
    /// A plan, weights or tokenizer that cannot be used, saying which file; no tokenizer.
    pub fn load(plan: impl AsRef<Path>, options: LoadOptions<'_>) -> Result<Self, LlmError> {
        Self::load_with(plan, options, EngineOptions::default())
    }

    /// As [`load`](Self::load), with memory and limits of one's own. Without end tokens the plan's are taken.
    ///
    /// # Errors
    /// As `load`, and options that the plan does not allow.
    pub fn load_with(
        plan: impl AsRef<Path>,
        options: LoadOptions<'_>,
        mut engine: EngineOptions,
    ) -> Result<Self, LlmError> {
        let model = Model::load(plan.as_ref(), &options)?;
        let assets = &model.plan().text;
        let base_dir = plan.as_ref().parent().unwrap_or(Path::new(""));
        let dir =
            tokenizer_dir(assets, base_dir, options.weights_dir.as_deref()).ok_or(LlmError::NoTokenizer)?;
        let tokenizer = Tokenizer::from_dir(&dir)?;
        let chat_template = chat_template(assets, &dir)?;
        let recommended = SamplingParams::recommended(&assets.sampling);
        if engine.eos_token_ids.is_empty() {
            engine.eos_token_ids.clone_from(&assets.eos_token_ids);
        }
        let llm = Self::new(Engine::new(model, engine)?, tokenizer, chat_template);
        Ok(Self { recommended, ..llm })
    }
}

impl<M: StepModel> Llm<M> {
    /// Gives an engine its text side.
    pub fn new(engine: Engine<M>, tokenizer: Tokenizer, chat_template: Option<ChatTemplate>) -> Self {
        Self {
            engine,
            tokenizer,
            chat_template,
            recommended: SamplingParams::greedy(),
            streams: HashMap::new(),
            unseen: Vec::new(),
            last_id: 0,
        }
    }

    /// Continues a prompt, piece by piece. Requests that were added before are served along.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn generate(
        &mut self,
        prompt: impl Into<Prompt>,
        params: SamplingParams,
    ) -> Result<Generation<'_, M>, LlmError> {
        self.start(TextRequest::new(prompt, params))
    }

    /// As [`generate`](Self::generate), with all that a request can say.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn start(&mut self, request: TextRequest) -> Result<Generation<'_, M>, LlmError> {
        let id = self.add(request)?;
        Ok(Generation::new(self, id))
    }

    /// Queues a request and gives it a number, which its events carry.
    ///
    /// # Errors
    /// A prompt that cannot be encoded or rendered, stop strings that cannot be used, or a request that could never
    /// be served.
    pub fn add(&mut self, request: TextRequest) -> Result<u64, LlmError> {
        let id = self.last_id + 1;
        let stream = Stream {
            text: self.tokenizer.stream(request.skip_special),
            stops: StopStrings::new(&request.stop, request.include_stop)?,
        };
        self.engine.add(Request {
            id,
            prompt: self.encode(&request.prompt)?,
            params: request.params,
            stop_token_ids: request.stop_token_ids,
            ignore_eos: request.ignore_eos,
        })?;
        self.streams.insert(id, stream);
        self.last_id = id;
        Ok(id)
    }

    /// The tokens of a prompt: of text with the special tokens that frame it, of a conversation as its template
    /// renders it.
    ///
    /// # Errors
    /// A prompt that cannot be encoded or rendered.
    pub fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>, LlmError> {
        Ok(match prompt {
            Prompt::Text(text) => self.tokenizer.encode(text, true)?,
            Prompt::Chat(input) => {
                let template = self.chat_template.as_ref().ok_or(LlmError::NoChatTemplate)?;
                self.tokenizer.encode(&template.render(input)?, false)?
            }
            Prompt::Tokens(tokens) => tokens.clone(),
        })
    }

    /// Ends a request, of which the next step tells; false if there is none of this number.
    pub fn cancel(&mut self, id: u64) -> bool {
        self.engine.cancel(id)
    }

    /// Whether a step would do or tell anything.
    pub fn has_work(&self) -> bool {
        !self.unseen.is_empty() || self.engine.has_work()
    }

    /// Computes one batch and gives what became of its requests.
    ///
    /// # Errors
    /// The model's. All requests are still there.
    pub fn step(&mut self) -> Result<Vec<TextEvent>, LlmError> {
        let events = self.engine.step()?;
        let mut told = std::mem::take(&mut self.unseen);
        for event in events {
            told.extend(self.tell(event));
        }
        Ok(told)
    }

    /// What the model's authors recommend for sampling; greedy if they recommend nothing.
    pub fn recommended_params(&self) -> &SamplingParams {
        &self.recommended
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The chat template, if the model has one.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat_template.as_ref()
    }

    /// The engine below.
    pub fn engine(&self) -> &Engine<M> {
        &self.engine
    }

    /// Adds an event's text. Nothing is told of a request that has ended for the text side already.
    fn tell(&mut self, event: Event) -> Option<TextEvent> {
        let stream = self.streams.get_mut(&event.request)?;
        let ended_by_engine = event.finish.is_some();
        let (text, finish) = match stream.push(event.token, event.finish) {
            Ok(told) => told,
            Err(error) => (String::new(), Some(FinishReason::Error(error.to_string()))),
        };
        if finish.is_some() {
            self.streams.remove(&event.request);
            if !ended_by_engine {
                self.engine.cancel(event.request);
            }
        }
        Some(TextEvent { request: event.request, text, token: event.token, logprobs: event.logprobs, finish })
    }

    /// Ends a request without a word.
    fn abandon(&mut self, id: u64) {
        self.streams.remove(&id);
        self.engine.cancel(id);
    }
}

impl Stream {
    /// The text that a token makes final, and why it is the last, if so. A token that ends the request has no text.
    fn push(
        &mut self,
        token: Option<u32>,
        finish: Option<FinishReason>,
    ) -> Result<(String, Option<FinishReason>), LlmError> {
        let is_stop = matches!(finish, Some(FinishReason::Stop(_)));
        let mut piece = match token {
            Some(token) if !is_stop => self.text.push(token)?,
            Some(_) | None => String::new(),
        };
        if finish.is_some() {
            piece.push_str(&self.text.flush()?);
        }
        let mut outcome = self.stops.push(&piece);
        if let Some(index) = outcome.stopped {
            return Ok((outcome.emit, Some(FinishReason::StopString(index))));
        }
        if finish.is_some() {
            outcome.emit.push_str(&self.stops.flush());
        }
        Ok((outcome.emit, finish))
    }
}

/// Where the tokenizer's files are: where the plan says, in the current directory or beside the plan; else where the
/// weights were said to be.
pub fn tokenizer_dir(assets: &TextAssets, base_dir: &Path, weights_dir: Option<&Path>) -> Option<PathBuf> {
    let stated = assets.tokenizer_dir.as_ref().map(PathBuf::from);
    let beside = stated.as_ref().map(|dir| base_dir.join(dir));
    let moved = weights_dir.map(Path::to_owned);
    let has_tokenizer = |dir: &PathBuf| dir.join("tokenizer.json").is_file();
    // Without any, the error names the directory of the plan.
    [stated.clone(), beside, moved].into_iter().flatten().find(has_tokenizer).or(stated)
}

/// The chat template: the plan's own, else that of the tokenizer's directory; `None` if there is none.
///
/// # Errors
/// A template that cannot be read or is not Jinja.
pub fn chat_template(assets: &TextAssets, tokenizer_dir: &Path) -> Result<Option<ChatTemplate>, ChatError> {
    let Some(template) = &assets.chat_template else { return ChatTemplate::from_dir(tokenizer_dir) };
    // The special tokens are still the model's. The tokenizer has refused a file that is too large.
    let config = std::fs::read(tokenizer_dir.join("tokenizer_config.json")).ok();
    ChatTemplate::from_bytes(config.as_deref(), Some(template))
}
