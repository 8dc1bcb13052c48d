use mscc_ir::module::CacheGroup;
use mscc_ir::plan::PlanLimits;

use crate::step::batch::{StepModel, TapSink};

use super::EngineError;
use super::batch::{BatchBuilder, Part};
use super::cache::{PagedCache, SequencePages};
use super::check::{check_groups, check_length, check_limits, check_logits, check_tokens};

/// Gives the logits of every token of given sequences, each from an empty cache.
#[derive(Debug)]
pub struct Scorer<'m, M> {
    model: &'m mut M,
    limits: PlanLimits,
    builder: BatchBuilder,
    /// Pages that the model has memory for, per cache group.
    allocated: Vec<u32>,
    last_epoch: u64,
}

/// Logits of neighbouring tokens of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct ScoredRows<'a> {
    /// Index of the sequence.
    pub sequence: usize,
    /// Position of the first of the tokens.
    pub first_position: usize,
    /// f32 [tokens, V], row after row.
    pub logits: &'a [f32],
}

/// A sequence being scored.
struct Scored<'a> {
    index: usize,
    tokens: &'a [u32],
    computed: usize,
    pages: SequencePages,
    epoch: u64,
}

impl<'m, M: StepModel> Scorer<'m, M> {
    /// Borrows the model, whose caches it will overwrite.
    ///
    /// # Errors
    /// Limits that are zero, or a cache group that cannot be kept.
    pub fn new(model: &'m mut M) -> Result<Self, EngineError> {
        let limits = model.limits().clone();
        check_limits(&limits)?;
        check_groups(model.caches())?;
        let builder = BatchBuilder::new(model.caches());
        Ok(Self { limits, builder, model, allocated: Vec::new(), last_epoch: 0 })
    }

    /// Runs the sequences together, at most `chunk` tokens of each in a step, and hands their logits to `each`: those
    /// of one sequence in order of position, none left out. Without a chunk a step takes as many tokens as the plan
    /// allows and as have 64 MiB of logits. Taps are given the values of every step.
    ///
    /// # Errors
    /// An empty sequence, one that is too long or has an unknown token; the model's errors; those of `each`, which
    /// end it.
    pub fn score<E: From<EngineError>>(
        &mut self,
        sequences: &[&[u32]],
        chunk: Option<usize>,
        mut taps: Option<&mut dyn TapSink>,
        mut each: impl FnMut(ScoredRows<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (index, tokens) in sequences.iter().enumerate() {
            check_tokens(tokens, self.limits.vocab_size, &format!("sequence {index}"))?;
            check_length(tokens.len(), 0, &self.limits, usize::MAX)?;
        }
        let default = (DEFAULT_LOGITS / self.limits.vocab_size as usize).max(1);
        let chunk = chunk.unwrap_or(default).max(1);
        let budget = chunk.max(default).min(self.limits.max_num_batched_tokens as usize);
        for (wave, tokens) in sequences.chunks(self.limits.max_num_seqs as usize).enumerate() {
            let first = wave * self.limits.max_num_seqs as usize;
            let (mut cache, mut active) = self.start(tokens, first, chunk.min(budget))?;
            while !active.is_empty() {
                let taps: Option<&mut dyn TapSink> = match &mut taps {
                    Some(taps) => Some(&mut **taps),
                    None => None,
                };
                let scheduled = schedule(&mut active, &mut cache, chunk, budget);
                self.step(&mut active, &scheduled, taps, &mut each)?;
                active.retain(|scored| scored.computed < scored.tokens.len());
            }
        }
        Ok(())
    }

    /// All logits of one sequence, f32 [T, V].
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn logits(&mut self, tokens: &[u32], chunk: Option<usize>) -> Result<Vec<f32>, EngineError> {
        let mut logits = Vec::new();
        self.score(&[tokens], chunk, None, |rows| {
            logits.extend_from_slice(rows.logits);
            Ok::<(), EngineError>(())
        })?;
        Ok(logits)
    }

    /// Gives each sequence the pages that it needs while it is computed, at most `most_new` tokens in a step.
    fn start<'a>(
        &mut self,
        sequences: &[&'a [u32]],
        first: usize,
        most_new: usize,
    ) -> Result<(PagedCache, Vec<Scored<'a>>), EngineError> {
        let pages_of = |group: &CacheGroup| {
            let pages = sequences.iter().map(|tokens| group.most_pages(tokens.len() as u64, most_new as u64));
            let (value, most) = (pages.sum::<u64>(), (i32::MAX as u64 / u64::from(group.block_size)).max(1));
            match u32::try_from(value) {
                Ok(pages) if value <= most => Ok(pages),
                Ok(_) | Err(_) => Err(EngineError::Limit { name: "pages of all sequences", value, most }),
            }
        };
        let needed = self.model.caches().iter().map(pages_of).collect::<Result<Vec<u32>, _>>()?;
        if self.allocated.is_empty() || needed.iter().zip(&self.allocated).any(|(needed, have)| needed > have)
        {
            self.allocated.clear();
            self.model.allocate_caches(&needed)?;
            self.allocated.clone_from(&needed);
        }
        let mut cache = PagedCache::new(self.model.caches(), &needed, most_new);
        let start = |(at, tokens): (usize, &&'a [u32])| {
            let mut pages = cache.no_pages();
            let fits = cache.hold(&mut pages, 0, tokens.len());
            debug_assert!(fits, "there are pages for all");
            self.last_epoch += 1;
            Scored { index: first + at, tokens, computed: 0, pages, epoch: self.last_epoch }
        };
        let started = sequences.iter().enumerate().map(start).collect();
        Ok((cache, started))
    }

    fn step<E: From<EngineError>>(
        &mut self,
        active: &mut [Scored<'_>],
        scheduled: &[(usize, usize)],
        taps: Option<&mut dyn TapSink>,
        each: &mut impl FnMut(ScoredRows<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let part = |(at, num_new): &(usize, usize)| {
            let scored = &active[*at];
            let tokens = &scored.tokens[..scored.computed + num_new];
            Part {
                epoch: scored.epoch,
                tokens,
                num_new: *num_new,
                pages: &scored.pages,
                num_logits: *num_new,
            }
        };
        let parts: Vec<Part<'_>> = scheduled.iter().map(part).collect();
        let batch = self.builder.build(&parts);
        let mut logits = self.model.step(batch, taps).map_err(EngineError::from)?;
        check_logits(logits, batch.logit_index.len(), self.limits.vocab_size)?;
        for (at, num_new) in scheduled {
            let scored = &mut active[*at];
            let (rows, rest) = logits.split_at(num_new * self.limits.vocab_size as usize);
            logits = rest;
            each(ScoredRows { sequence: scored.index, first_position: scored.computed, logits: rows })?;
            scored.computed += num_new;
        }
        Ok(())
    }
}

/// Which sequences a step computes, by index, and how many tokens of each, those of one token first; at most `chunk` of
/// each and `budget` of all.
fn schedule(
    active: &mut [Scored<'_>],
    cache: &mut PagedCache,
    chunk: usize,
    mut budget: usize,
) -> Vec<(usize, usize)> {
    let mut scheduled = Vec::new();
    for (at, scored) in active.iter_mut().enumerate() {
        let num_new = (scored.tokens.len() - scored.computed).min(chunk).min(budget);
        if num_new > 0 {
            let held = cache.hold(&mut scored.pages, scored.computed, scored.tokens.len());
            debug_assert!(held, "pages for all of a sequence were taken at its start");
            scheduled.push((at, num_new));
            budget -= num_new;
        }
    }
    scheduled.sort_by_key(|(_, num_new)| *num_new > 1);
    scheduled
}

/// Logits of a step unless a chunk is given: 64 MiB of f32.
const DEFAULT_LOGITS: usize = 16 << 20;
