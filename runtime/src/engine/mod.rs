//! Serving: many requests at once over a model and its paged caches.
//!
//! [`Engine`] takes requests as token ids and gives tokens, step by step; [`Scorer`] gives the logits of whole
//! sequences. Neither knows devices or plans: they see a [`StepModel`].

mod batch;
mod cache;
mod check;
mod error;
mod options;
mod request;
mod score;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(feature = "text")]
pub mod text;

use std::collections::{BTreeMap, HashMap};

use mscc_ir::plan::PlanLimits;

use crate::sample::Sampler;
use crate::step::batch::StepModel;

pub use self::cache::PageAllocator;
pub use self::error::EngineError;
pub use self::options::EngineOptions;
pub use self::request::{Event, FinishReason, Request};
pub use self::score::{ScoredRows, Scorer};

use self::batch::{BatchBuilder, Part};
use self::cache::PagedCache;
use self::check::{check_groups, check_length, check_limits, check_logits, check_tokens};
use self::request::Sequence;

/// Serves many requests with one model, by continuous batching over paged caches.
///
/// Every step takes one token of each sequence that decodes and fills up with chunks of prompts, oldest request first.
/// A request enters when there are pages for its prompt and a spare one for each sequence running. When pages run out,
/// the youngest running sequence gives up its own and is computed again later; the oldest never does, so that there is
/// always progress and every request ends.
///
/// What a request is given does not depend on others, as far as the model's logits do not.
///
/// A step costs the same however many requests wait.
///
/// Invariants, which debug builds check after each step: a page is free or belongs to one running sequence; requests
/// run in order of arrival.
#[derive(Debug)]
pub struct Engine<M> {
    model: M,
    limits: PlanLimits,
    eos_token_ids: Vec<u32>,
    /// Longest sequence, by the model and by the cache.
    max_len: usize,
    cache: PagedCache,
    /// By arrival, all younger than those running.
    waiting: BTreeMap<u64, Sequence>,
    /// In order of arrival.
    running: Vec<Sequence>,
    /// The arrival of each unfinished request, by id.
    arrivals: HashMap<u64, u64>,
    /// What is to be told at the end of the next step.
    events: Vec<Event>,
    builder: BatchBuilder,
    sampler: Sampler,
    num_added: u64,
    last_epoch: u64,
    num_preemptions: u64,
}

/// How busy an engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineStats {
    /// Requests whose state is in the cache.
    pub num_running: usize,
    /// Requests that wait for room.
    pub num_waiting: usize,
    /// Free pages of each cache group.
    pub free_pages: Vec<usize>,
    /// How often a sequence had to give up its pages, since the start.
    pub num_preemptions: u64,
}

/// A part of a running sequence to compute: its index and how many tokens.
#[derive(Clone, Copy, Debug)]
struct Scheduled {
    at: usize,
    num_new: usize,
}

impl<M: StepModel> Engine<M> {
    /// Takes the model and memory for its caches.
    ///
    /// # Errors
    /// Limits that are zero, a cache group that cannot be kept, or memory that is too little or not to be had.
    pub fn new(mut model: M, options: EngineOptions) -> Result<Self, EngineError> {
        let mut limits = model.limits().clone();
        limits.max_num_seqs = options.max_num_seqs.unwrap_or(u32::MAX).min(limits.max_num_seqs);
        limits.max_num_batched_tokens =
            options.max_num_batched_tokens.unwrap_or(u32::MAX).min(limits.max_num_batched_tokens);
        check_limits(&limits)?;
        check_groups(model.caches())?;
        let num_pages = options.pages(model.caches(), &limits)?;
        model.allocate_caches(&num_pages)?;
        let most_new = limits.max_num_batched_tokens as usize;
        let cache = PagedCache::new(model.caches(), &num_pages, most_new);
        Ok(Self {
            max_len: cache.capacity().min(limits.max_model_len as usize),
            builder: BatchBuilder::new(model.caches()),
            cache,
            limits,
            model,
            eos_token_ids: options.eos_token_ids,
            waiting: BTreeMap::new(),
            running: Vec::new(),
            arrivals: HashMap::new(),
            events: Vec::new(),
            sampler: Sampler::default(),
            num_added: 0,
            last_epoch: 0,
            num_preemptions: 0,
        })
    }

    /// Queues a request.
    ///
    /// A sequence ends with [`FinishReason::Length`] when it is as long as the model or the cache allows.
    ///
    /// # Errors
    /// A request that could never be served, saying why.
    pub fn add(&mut self, request: Request) -> Result<(), EngineError> {
        request.params.validate()?;
        if self.arrivals.contains_key(&request.id) {
            return Err(EngineError::DuplicateRequest { id: request.id });
        }
        let vocab_size = self.limits.vocab_size;
        check_tokens(&request.prompt, vocab_size, "the prompt")?;
        for (token, _) in &request.params.logit_bias {
            if *token >= vocab_size {
                let place = "logit_bias".to_owned();
                return Err(EngineError::UnknownToken { token: *token, place, vocab_size });
            }
        }
        check_length(request.prompt.len(), 1, &self.limits, self.cache.capacity())?;
        self.arrivals.insert(request.id, self.num_added);
        let sequence = Sequence::new(request, self.num_added, self.cache.no_pages());
        self.waiting.insert(sequence.arrival, sequence);
        self.num_added += 1;
        Ok(())
    }

    /// Ends a request, of which the next step tells; false if there is none of this id.
    pub fn cancel(&mut self, id: u64) -> bool {
        let Some(arrival) = self.arrivals.remove(&id) else { return false };
        if self.waiting.remove(&arrival).is_none()
            && let Ok(at) = self.running.binary_search_by_key(&arrival, |sequence| sequence.arrival)
        {
            let mut sequence = self.running.remove(at);
            self.cache.release(&mut sequence.pages);
        }
        self.events.push(end(id, FinishReason::Cancelled));
        true
    }

    /// Whether a step would do or tell anything.
    pub fn has_work(&self) -> bool {
        !(self.events.is_empty() && self.waiting.is_empty() && self.running.is_empty())
    }

    /// Computes one batch and gives what became of its requests.
    ///
    /// # Errors
    /// The model's. All requests are still there, and another step computes the same again.
    pub fn step(&mut self) -> Result<Vec<Event>, EngineError> {
        let scheduled = self.schedule();
        if !scheduled.is_empty() {
            self.compute(&scheduled)?;
        }
        self.running.retain_mut(|sequence| {
            if sequence.finished {
                self.cache.release(&mut sequence.pages);
                self.arrivals.remove(&sequence.request.id);
            }
            !sequence.finished
        });
        if cfg!(debug_assertions) {
            self.cache.check(self.running.iter().map(|sequence| &sequence.pages));
            let arrivals = self.running.iter().map(|sequence| sequence.arrival);
            let oldest = self.waiting.first_key_value().map(|(arrival, _)| *arrival);
            assert!(arrivals.chain(oldest).is_sorted(), "requests are out of order");
            assert_eq!(self.arrivals.len(), self.running.len() + self.waiting.len(), "requests are lost");
        }
        Ok(std::mem::take(&mut self.events))
    }

    /// How busy it is.
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            num_running: self.running.len(),
            num_waiting: self.waiting.len(),
            free_pages: self.cache.num_free(),
            num_preemptions: self.num_preemptions,
        }
    }

    /// The longest sequence it can serve, prompt and output, in tokens.
    pub fn max_len(&self) -> usize {
        self.max_len
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// Gives the model back, with what is left in its caches.
    pub fn into_model(self) -> M {
        self.model
    }

    /// Decides what the next step computes and sees to it that there are pages for it.
    fn schedule(&mut self) -> Vec<Scheduled> {
        let mut budget = self.limits.max_num_batched_tokens as usize;
        let (mut scheduled, preempted) = self.schedule_decodes(&mut budget);
        for (at, sequence) in self.running.iter_mut().enumerate() {
            let num_new = sequence.pending().min(budget);
            if sequence.pending() > 1 && num_new > 0 {
                let held = self.cache.hold(&mut sequence.pages, sequence.computed, sequence.tokens.len());
                debug_assert!(held, "pages for all of a prompt were taken when it entered");
                scheduled.push(Scheduled { at, num_new });
                budget -= num_new;
            }
        }
        while !preempted && budget > 0 && self.running.len() < self.limits.max_num_seqs as usize {
            let Some(mut oldest) = self.waiting.first_entry() else { break };
            let num_tokens = oldest.get().tokens.len();
            let fits = self.cache.fits(num_tokens, self.running.len())
                && self.cache.hold(&mut oldest.get_mut().pages, 0, num_tokens);
            if !fits {
                break;
            }
            let mut sequence = oldest.remove();
            self.last_epoch += 1;
            sequence.epoch = self.last_epoch;
            let num_new = sequence.pending().min(budget);
            scheduled.push(Scheduled { at: self.running.len(), num_new });
            budget -= num_new;
            self.running.push(sequence);
        }
        debug_assert!(
            !scheduled.is_empty() || self.running.is_empty() && self.waiting.is_empty(),
            "no progress"
        );
        scheduled.sort_by_key(|part| part.num_new > 1);
        scheduled
    }

    /// Schedules all sequences with one token to compute, as far as the budget goes, and says whether any sequence had
    /// to give up its pages for it.
    fn schedule_decodes(&mut self, budget: &mut usize) -> (Vec<Scheduled>, bool) {
        let (mut scheduled, mut preempted) = (Vec::new(), false);
        let mut at = 0;
        while at < self.running.len() && *budget > 0 {
            let sequence = &mut self.running[at];
            if sequence.pending() == 1 {
                if !self.cache.hold(&mut sequence.pages, sequence.computed, sequence.tokens.len()) {
                    // What the youngest holds may be enough. If it is this one, the loop ends.
                    debug_assert!(
                        at > 0 || self.running.len() > 1,
                        "max_len keeps a lone sequence within the cache"
                    );
                    self.preempt_youngest();
                    preempted = true;
                    continue;
                }
                scheduled.push(Scheduled { at, num_new: 1 });
                *budget -= 1;
            }
            at += 1;
        }
        (scheduled, preempted)
    }

    /// Takes the pages of the youngest running sequence, which is then the next to enter again.
    fn preempt_youngest(&mut self) {
        let Some(mut sequence) = self.running.pop() else { return };
        self.cache.release(&mut sequence.pages);
        sequence.computed = 0;
        self.waiting.insert(sequence.arrival, sequence);
        self.num_preemptions += 1;
    }

    /// Runs the model and chooses tokens; notes events, but leaves finished sequences where they are.
    fn compute(&mut self, scheduled: &[Scheduled]) -> Result<(), EngineError> {
        let part = |part: &Scheduled| {
            let sequence = &self.running[part.at];
            let end = sequence.computed + part.num_new;
            Part {
                epoch: sequence.epoch,
                tokens: &sequence.tokens[..end],
                num_new: part.num_new,
                pages: &sequence.pages,
                num_logits: usize::from(end == sequence.tokens.len()),
            }
        };
        let parts: Vec<Part<'_>> = scheduled.iter().map(part).collect();
        let batch = self.builder.build(&parts);
        let logits = self.model.step(batch, None)?;
        check_logits(logits, batch.logit_index.len(), self.limits.vocab_size)?;
        let mut rows = logits.chunks_exact(self.limits.vocab_size as usize);
        for part in scheduled {
            let sequence = &mut self.running[part.at];
            sequence.computed += part.num_new;
            if sequence.computed < sequence.tokens.len() {
                continue;
            }
            let row = rows.next().expect("the number of rows was checked");
            let request = &sequence.request;
            let (id, index) = (request.id, sequence.num_generated() as u64);
            let event =
                match self.sampler.sample(row, &request.params, &sequence.counts, sequence.seed, index) {
                    Ok(sampled) => Event {
                        request: id,
                        token: Some(sampled.token),
                        logprobs: sampled.logprobs,
                        finish: sequence.push(sampled.token, &self.eos_token_ids, self.max_len),
                    },
                    Err(error) => end(id, FinishReason::Error(error.to_string())),
                };
            sequence.finished = event.finish.is_some();
            self.events.push(event);
        }
        Ok(())
    }
}

/// An end without a token.
fn end(request: u64, reason: FinishReason) -> Event {
    Event { request, token: None, logprobs: None, finish: Some(reason) }
}
