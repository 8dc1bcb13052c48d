use crate::sample::{SamplingParams, TokenCounts, TokenLogprobs, fresh_seed};

use super::cache::SequencePages;

/// Something to continue.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Names it in events; no two unfinished requests may have the same.
    pub id: u64,
    /// Its tokens, at least one.
    pub prompt: Vec<u32>,
    /// How to go on, and how far.
    pub params: SamplingParams,
    /// Tokens that end it, besides the model's own.
    pub stop_token_ids: Vec<u32>,
    /// Whether the model's own end tokens do not end it.
    pub ignore_eos: bool,
}

impl Request {
    /// A request that ends where the model ends it or its parameters do.
    pub fn new(id: u64, prompt: impl Into<Vec<u32>>, params: SamplingParams) -> Self {
        Self { id, prompt: prompt.into(), params, stop_token_ids: Vec::new(), ignore_eos: false }
    }
}

/// What became of a request in a step: one more token, or its end, or both.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The request.
    pub request: u64,
    /// The token that was generated; a stop token too.
    pub token: Option<u32>,
    /// Its log probabilities, if asked for.
    pub logprobs: Option<TokenLogprobs>,
    /// Why there are no more.
    pub finish: Option<FinishReason>,
}

/// Why a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// This token ends it.
    Stop(u32),
    /// Text of this index in the request's list of stop strings ends it.
    StopString(usize),
    /// It has as many tokens as it, the model or the cache may have.
    Length,
    /// It was cancelled.
    Cancelled,
    /// No token could be chosen.
    Error(String),
}

/// A request being served.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) request: Request,
    /// How many were added before it.
    pub(super) arrival: u64,
    /// Prompt and generated tokens.
    pub(super) tokens: Vec<u32>,
    /// How many of them have their state in the cache.
    pub(super) computed: usize,
    /// Where.
    pub(super) pages: SequencePages,
    /// Differs for each time that it was given pages.
    pub(super) epoch: u64,
    pub(super) counts: TokenCounts,
    pub(super) seed: u64,
    /// Whether its end was told.
    pub(super) finished: bool,
}

impl Sequence {
    pub(super) fn new(request: Request, arrival: u64, pages: SequencePages) -> Self {
        let uses_counts = request.params.uses_counts();
        Self {
            arrival,
            tokens: request.prompt.clone(),
            computed: 0,
            pages,
            epoch: 0,
            counts: if uses_counts {
                TokenCounts::of_prompt(&request.prompt)
            } else {
                TokenCounts::default()
            },
            seed: request.params.seed.unwrap_or_else(fresh_seed),
            finished: false,
            request,
        }
    }

    /// Tokens whose state is still to be computed; at least one.
    pub(super) fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    pub(super) fn num_generated(&self) -> usize {
        self.tokens.len() - self.request.prompt.len()
    }

    /// Appends a generated token and says whether it is the last.
    pub(super) fn push(&mut self, token: u32, eos_token_ids: &[u32], max_len: usize) -> Option<FinishReason> {
        self.tokens.push(token);
        if self.request.params.uses_counts() {
            self.counts.push(token);
        }
        let most = self.request.params.max_tokens.map_or(usize::MAX, |most| most as usize);
        let is_eos = !self.request.ignore_eos && eos_token_ids.contains(&token);
        if is_eos || self.request.stop_token_ids.contains(&token) {
            Some(FinishReason::Stop(token))
        } else if self.num_generated() >= most || self.tokens.len() >= max_len {
            Some(FinishReason::Length)
        } else {
            None
        }
    }
}
