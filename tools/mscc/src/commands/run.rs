//! `mscc run`

use std::io::Write;
use std::time::{Duration, Instant};

use clap::builder::NonEmptyStringValueParser;
use mscc_runtime::Llm;
use mscc_runtime::Model;
use mscc_runtime::engine::text::{Prompt, TextRequest};
use mscc_runtime::engine::{Engine, EngineOptions, FinishReason, Request};
use mscc_runtime::sample::SamplingParams;
use serde_json::json;

use crate::error::CliError;
use crate::output;
use crate::plan_source::{PlanArgs, TokenIds};

/// Continue a text
///
/// The continuation streams to standard output, speed to standard error.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mscc run plan.bin --prompt 'Once upon a time'
  mscc run plan.bin --prompt 'Once upon a time' --temperature 0.8 --top-p 0.95 --seed 7
  mscc run plan.bin --prompt-ids 1,2,3 --max-tokens 20 --ignore-eos --json")]
pub struct Args {
    #[command(flatten)]
    plan: PlanArgs,
    /// Text to continue
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_ids", required_unless_present = "prompt_ids")]
    prompt: Option<String>,
    /// Token ids to continue, taken as they are
    #[arg(long, value_name = "IDS")]
    prompt_ids: Option<TokenIds>,
    /// Most tokens to generate
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// Go on behind the model's end tokens
    #[arg(long)]
    ignore_eos: bool,
    /// Text that ends the continuation; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    stop: Vec<String>,
    #[command(flatten)]
    sampling: Sampling,
    /// Print token ids, text and figures as JSON at the end, in place of the text
    #[arg(long)]
    json: bool,
}

/// How tokens are chosen; without any of these, the likeliest is taken always.
#[derive(clap::Args)]
#[command(next_help_heading = "Sampling [default: greedy]")]
struct Sampling {
    /// Sample as the model's authors recommend; the options below win over that
    #[arg(long)]
    recommended: bool,
    /// Divides the scores; 0 is greedy
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    temperature: Option<f32>,
    /// Keeps the N likeliest tokens
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    top_k: Option<u32>,
    /// Keeps the likeliest tokens that add up to X
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Keeps tokens at least X as likely as the likeliest
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    min_p: Option<f32>,
    /// Makes tokens already there less likely; 1 does nothing
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    repetition_penalty: Option<f32>,
    /// Subtracted from the scores of generated tokens
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    presence_penalty: Option<f32>,
    /// Subtracted for each time a token was generated
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    frequency_penalty: Option<f32>,
    /// Makes sampling repeatable
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<u64>,
}

impl Sampling {
    fn params(&self, model: &Model, max_tokens: u32) -> Result<SamplingParams, CliError> {
        let samples = self.top_k.is_some() || self.top_p.is_some() || self.min_p.is_some();
        let base = match (self.recommended, samples) {
            (true, _) => SamplingParams::recommended(&model.plan().text.sampling),
            (false, true) => SamplingParams::default(),
            (false, false) => SamplingParams::greedy(),
        };
        let params = SamplingParams {
            temperature: self.temperature.unwrap_or(base.temperature),
            top_k: self.top_k.unwrap_or(base.top_k),
            top_p: self.top_p.unwrap_or(base.top_p),
            min_p: self.min_p.unwrap_or(base.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(base.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(base.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(base.frequency_penalty),
            seed: self.seed,
            max_tokens: Some(max_tokens),
            ..base
        };
        params.validate().map_err(|error| CliError::Input(error.to_string()))?;
        Ok(params)
    }
}

/// A continuation with how long it took.
#[derive(Default)]
struct Continuation {
    prompt_ids: Vec<u32>,
    token_ids: Vec<u32>,
    text: Option<String>,
    finish: Option<FinishReason>,
    first_token: Duration,
    later_tokens: Duration,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), CliError> {
    let model = args.plan.load()?;
    let params = args.sampling.params(&model, args.max_tokens)?;
    let has_tokenizer = args.plan.has_tokenizer(&model);
    let continuation = match (&args.prompt, &args.prompt_ids) {
        (None, Some(ids)) if !has_tokenizer => {
            if !args.stop.is_empty() {
                args.plan.tokenizer(&model, "--stop")?;
            }
            continue_ids(model, &args, &ids.0, params)?
        }
        _ => continue_text(model, &args, params)?,
    };
    match &continuation.text {
        _ if args.json => output::print_json(&continuation.to_json())?,
        Some(_) => output::print("\n")?,
        None => {
            let ids: Vec<String> = continuation.token_ids.iter().map(u32::to_string).collect();
            output::print(&format!("{}\n", ids.join(",")))?;
        }
    }
    continuation.report_speed();
    Ok(())
}

fn engine_options(model: &Model) -> EngineOptions {
    EngineOptions::default().max_num_seqs(1).eos_token_ids(model.plan().text.eos_token_ids.clone())
}

/// Text in and out; it is printed as it becomes final.
fn continue_text(model: Model, args: &Args, params: SamplingParams) -> Result<Continuation, CliError> {
    let tokenizer = args.plan.tokenizer(&model, "a text")?;
    let prompt = match (&args.prompt, &args.prompt_ids) {
        (Some(text), _) => Prompt::Text(text.clone()),
        (None, ids) => Prompt::Tokens(ids.as_ref().map_or(Vec::new(), |ids| ids.0.clone())),
    };
    let options = engine_options(&model);
    let mut llm = Llm::new(Engine::new(model, options)?, tokenizer, None);
    let mut continuation = Continuation { prompt_ids: llm.encode(&prompt)?, ..Continuation::default() };
    let mut request = TextRequest::new(prompt, params).stop(args.stop.iter().cloned());
    request.ignore_eos = args.ignore_eos;
    llm.add(request)?;
    let mut text = String::new();
    let mut out = std::io::stdout().lock();
    let started = Instant::now();
    while llm.has_work() {
        for event in llm.step()? {
            continuation.take(event.token, event.finish, started)?;
            if !args.json && !event.text.is_empty() {
                out.write_all(event.text.as_bytes())?;
                out.flush()?;
            }
            text.push_str(&event.text);
        }
    }
    continuation.text = Some(text);
    Ok(continuation)
}

/// Token ids in and out, for models without a tokenizer.
fn continue_ids(
    model: Model,
    args: &Args,
    ids: &[u32],
    params: SamplingParams,
) -> Result<Continuation, CliError> {
    let options = engine_options(&model);
    let mut engine = Engine::new(model, options)?;
    engine.add(Request { ignore_eos: args.ignore_eos, ..Request::new(1, ids, params) })?;
    let mut continuation = Continuation { prompt_ids: ids.to_vec(), ..Continuation::default() };
    let started = Instant::now();
    while engine.has_work() {
        for event in engine.step()? {
            continuation.take(event.token, event.finish, started)?;
        }
    }
    Ok(continuation)
}

impl Continuation {
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

    fn prefill_rate(&self) -> f64 {
        self.prompt_ids.len() as f64 / self.first_token.as_secs_f64().max(1e-9)
    }

    fn decode_rate(&self) -> Option<f64> {
        let tokens = self.token_ids.len().checked_sub(1).filter(|tokens| *tokens > 0)?;
        Some(tokens as f64 / self.later_tokens.as_secs_f64().max(1e-9))
    }

    fn report_speed(&self) {
        let (prompt, rate) = (self.prompt_ids.len(), self.prefill_rate());
        let decode = self.decode_rate().map_or(String::new(), |rate| format!(" at {rate:.1} tokens/s"));
        let generated = self.token_ids.len();
        output::note(&format!("prompt {prompt} tokens at {rate:.1} tokens/s, {generated} generated{decode}"));
    }

    fn to_json(&self) -> serde_json::Value {
        let finish = match &self.finish {
            Some(FinishReason::Stop(_)) => "stop_token",
            Some(FinishReason::StopString(_)) => "stop_string",
            Some(FinishReason::Length) => "length",
            Some(FinishReason::Cancelled) => "cancelled",
            Some(FinishReason::Error(_)) | None => "error",
        };
        json!({
            "schema": "mscc.run.v1",
            "prompt_ids": self.prompt_ids,
            "token_ids": self.token_ids,
            "text": self.text,
            "finish_reason": finish,
            "time_to_first_token_seconds": self.first_token.as_secs_f64(),
            "prompt_tokens_per_second": self.prefill_rate(),
            "tokens_per_second": self.decode_rate(),
        })
    }
}
