//! Generating text: how tokens are chosen, where it ends, and what came of it.

use std::time::{Duration, Instant};

use clap::builder::NonEmptyStringValueParser;
use mscc_runtime::engine::text::{Prompt, TextRequest};
use mscc_runtime::engine::{Engine, EngineError, EngineOptions, FinishReason, Request};
use mscc_runtime::sample::SamplingParams;
use mscc_runtime::step::batch::StepModel;
use mscc_runtime::{Llm, Model};
use mscc_text::{ChatTemplate, Tokenizer};
use serde_json::json;

use crate::error::CliError;
use crate::memory::Budget;
use crate::numbers::{count, fraction, whole};
use crate::{interrupt, output};

/// Most tokens of a continuation, unless said otherwise.
const DEFAULT_MAX_TOKENS: u32 = 128;

/// How text is generated.
#[derive(clap::Args)]
pub struct GenerationArgs {
    /// Most tokens to generate [default: 128; in a conversation, as many as fit]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    pub max_tokens: Option<u32>,
    /// Go on behind the model's end tokens
    #[arg(long)]
    ignore_eos: bool,
    /// Text that ends the generation; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    stop: Vec<String>,
    #[command(flatten)]
    sampling: Sampling,
}

/// How tokens are chosen; without any of these, the likeliest is taken always.
#[derive(clap::Args)]
#[command(next_help_heading = "Sampling [default: greedy]")]
struct Sampling {
    /// Sample as the model's authors recommend; the options below win over that
    #[arg(long)]
    recommended: bool,
    /// Divides the scores; 0 is greedy
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = fraction)]
    temperature: Option<f32>,
    /// Keeps the N likeliest tokens
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u32>)]
    top_k: Option<u32>,
    /// Keeps the likeliest tokens that add up to X
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = fraction)]
    top_p: Option<f32>,
    /// Keeps tokens at least X as likely as the likeliest
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = fraction)]
    min_p: Option<f32>,
    /// Makes tokens already there less likely; 1 does nothing
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = fraction)]
    repetition_penalty: Option<f32>,
    /// Subtracted from the scores of generated tokens
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = fraction)]
    presence_penalty: Option<f32>,
    /// Subtracted for each time a token was generated
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = fraction)]
    frequency_penalty: Option<f32>,
    /// Makes sampling repeatable
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u64>)]
    seed: Option<u64>,
}

/// What text is generated in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// The prompt goes on.
    Continuation,
    /// A message is answered.
    Conversation,
}

impl GenerationArgs {
    /// How the model chooses tokens, and how many.
    pub fn params(&self, model: &Model, setting: Setting) -> Result<SamplingParams, CliError> {
        let most = match setting {
            Setting::Continuation => Some(DEFAULT_MAX_TOKENS),
            Setting::Conversation => None,
        };
        let params = SamplingParams { max_tokens: self.max_tokens.or(most), ..self.sampling.params(model) };
        params.validate().map_err(EngineError::from)?;
        Ok(params)
    }

    /// Whether texts end the generation, which needs a tokenizer.
    pub fn has_stop_texts(&self) -> bool {
        !self.stop.is_empty()
    }

    /// Generates text and hands it out as it becomes final. Ctrl-C ends it early; what was generated stays.
    pub fn text(
        &self,
        llm: &mut Llm,
        prompt: &Prompt,
        params: SamplingParams,
        mut each: impl FnMut(&str) -> Result<(), CliError>,
    ) -> Result<Generated, CliError> {
        let mut generated = Generated { prompt_ids: llm.encode(prompt)?, ..Generated::default() };
        let max_tokens = params.max_tokens;
        let mut request =
            TextRequest::new(generated.prompt_ids.clone(), params).stop(self.stop.iter().cloned());
        request.ignore_eos = self.ignore_eos;
        let listening = begin();
        let id = llm.add(request)?;
        let mut text = String::new();
        let started = Instant::now();
        while llm.has_work() {
            if interrupt::requested() {
                llm.cancel(id);
            }
            for event in llm.step()? {
                generated.take(event.token, event.finish, started)?;
                if !event.text.is_empty() {
                    each(&event.text)?;
                }
                text.push_str(&event.text);
            }
        }
        drop(listening);
        explain_cut(&generated, llm.engine().model(), max_tokens);
        generated.text = Some(text);
        Ok(generated)
    }

    /// Generates token ids, for models without a tokenizer.
    pub fn ids(
        &self,
        model: Model,
        budget: Budget,
        prompt: &[u32],
        params: SamplingParams,
    ) -> Result<Generated, CliError> {
        let max_tokens = params.max_tokens;
        let mut engine = engine(model, budget)?;
        let listening = begin();
        engine.add(Request { ignore_eos: self.ignore_eos, ..Request::new(1, prompt, params) })?;
        let mut generated = Generated { prompt_ids: prompt.to_vec(), ..Generated::default() };
        let started = Instant::now();
        while engine.has_work() {
            if interrupt::requested() {
                engine.cancel(1);
            }
            for event in engine.step()? {
                generated.take(event.token, event.finish, started)?;
            }
        }
        drop(listening);
        explain_cut(&generated, engine.model(), max_tokens);
        Ok(generated)
    }
}

/// From here on, Ctrl-C ends the text and not the program.
fn begin() -> interrupt::Listening {
    let listening = interrupt::listen();
    output::detail("generating; Ctrl-C ends it");
    listening
}

impl Sampling {
    fn params(&self, model: &Model) -> SamplingParams {
        let samples = self.top_k.is_some() || self.top_p.is_some() || self.min_p.is_some();
        let base = match (self.recommended, samples) {
            (true, _) => SamplingParams::recommended(&model.plan().text.sampling),
            (false, true) => SamplingParams::default(),
            (false, false) => SamplingParams::greedy(),
        };
        SamplingParams {
            temperature: self.temperature.unwrap_or(base.temperature),
            top_k: self.top_k.unwrap_or(base.top_k),
            top_p: self.top_p.unwrap_or(base.top_p),
            min_p: self.min_p.unwrap_or(base.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(base.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(base.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(base.frequency_penalty),
            seed: self.seed,
            ..base
        }
    }
}

/// Tells of a text that ended for want of cache pages alone.
fn explain_cut(generated: &Generated, model: &Model, max_tokens: Option<u32>) {
    let tokens = generated.prompt_ids.len() + generated.token_ids.len();
    let wanted = max_tokens.is_none_or(|most| generated.token_ids.len() < most as usize);
    let fits = tokens < model.limits().max_model_len as usize;
    if generated.finish == Some(FinishReason::Length) && wanted && fits {
        output::warning(&format!(
            "the text is cut: memory has room for caches of {tokens} tokens; allow more with --memory-limit SIZE"
        ));
    }
}

/// Gives a model its text side, for one sequence at a time.
pub fn llm(
    model: Model,
    budget: Budget,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
) -> Result<Llm, CliError> {
    Ok(Llm::new(engine(model, budget)?, tokenizer, template))
}

fn engine(model: Model, budget: Budget) -> Result<Engine<Model>, CliError> {
    let eos_token_ids = model.plan().text.eos_token_ids.clone();
    let options = EngineOptions::default().max_num_seqs(1).cache_bytes(budget.cache_bytes());
    Ok(Engine::new(model, options.eos_token_ids(eos_token_ids))?)
}

/// What was generated, and how long it took.
#[derive(Default)]
pub struct Generated {
    /// The tokens before it.
    pub prompt_ids: Vec<u32>,
    /// Its tokens.
    pub token_ids: Vec<u32>,
    /// Its text; `None` without a tokenizer.
    pub text: Option<String>,
    /// Why it ended.
    pub finish: Option<FinishReason>,
    first_token: Duration,
    later_tokens: Duration,
}

impl Generated {
    fn take(
        &mut self,
        token: Option<u32>,
        finish: Option<FinishReason>,
        started: Instant,
    ) -> Result<(), CliError> {
        if let Some(FinishReason::Error(problem)) = finish {
            return Err(CliError::Failure(problem));
        }
        if token.is_some() {
            match self.token_ids.is_empty() {
                true => self.first_token = started.elapsed(),
                false => self.later_tokens = started.elapsed() - self.first_token,
            }
        }
        self.token_ids.extend(token);
        self.finish = finish.or(self.finish.take());
        Ok(())
    }

    /// Whether Ctrl-C ended it.
    pub fn is_interrupted(&self) -> bool {
        self.finish == Some(FinishReason::Cancelled)
    }

    fn prefill_rate(&self) -> Option<f64> {
        let seconds = self.first_token.as_secs_f64();
        (seconds > 0.0).then(|| self.prompt_ids.len() as f64 / seconds)
    }

    fn decode_rate(&self) -> Option<f64> {
        let tokens = self.token_ids.len().checked_sub(1).filter(|tokens| *tokens > 0)?;
        Some(tokens as f64 / self.later_tokens.as_secs_f64().max(1e-9))
    }

    /// How fast it was, in words.
    pub fn speed(&self) -> String {
        let at = |rate: Option<f64>| rate.map_or(String::new(), |rate| format!(" at {rate:.1} tokens/s"));
        let (prompt, generated) = (self.prompt_ids.len(), self.token_ids.len());
        format!(
            "prompt {prompt} tokens{}, {generated} generated{}",
            at(self.prefill_rate()),
            at(self.decode_rate())
        )
    }

    /// All of it, as data.
    pub fn to_json(&self, schema: &str) -> serde_json::Value {
        let finish = match &self.finish {
            Some(FinishReason::Stop(_)) => "stop_token",
            Some(FinishReason::StopString(_)) => "stop_string",
            Some(FinishReason::Length) => "length",
            Some(FinishReason::Cancelled) => "interrupted",
            Some(FinishReason::Error(_)) | None => "error",
        };
        json!({
            "schema": schema,
            "prompt_ids": self.prompt_ids,
            "token_ids": self.token_ids,
            "text": self.text,
            "finish_reason": finish,
            "time_to_first_token_seconds": self.first_token.as_secs_f64(),
            "prompt_tokens_per_second": self.prefill_rate(),
            "tokens_per_second": self.decode_rate(),
        })
    }

    /// Tells of an interrupted run once all else was printed.
    pub fn check_interrupted(&self) -> Result<(), CliError> {
        if self.is_interrupted() { Err(CliError::Interrupted) } else { Ok(()) }
    }
}
