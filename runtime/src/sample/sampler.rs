use std::collections::HashMap;

use super::SamplingParams;
use super::random::uniform;
use super::select::{self, Candidate};

/// Chooses tokens; keeps the memory that it needs for one choice.
///
/// The order of processing is that of vLLM's sampler (V1): logit bias; repetition, then frequency and presence
/// penalties; for greedy choice the highest score; else temperature, `min_p`, `top_k`, `top_p`, and a draw from what is
/// left. The kept sets are those of transformers' logits warpers. Log probabilities are those of the model's own logits,
/// before all of it, as in vLLM.
///
/// Cost: O(V) per token, with one exponential per token of the vocabulary unless `top_k` leaves fewer; sorted is only
/// what `top_p` keeps.
#[derive(Clone, Debug, Default)]
pub struct Sampler {
    scores: Vec<f32>,
    weights: Vec<f64>,
    candidates: Vec<Candidate>,
}

/// A token that was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// Its id.
    pub token: u32,
    /// Log probabilities, where they are asked for.
    pub logprobs: Option<TokenLogprobs>,
}

/// Natural logarithms of probabilities that the model gave.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// Of the token that was chosen.
    pub chosen: f32,
    /// The likeliest tokens and theirs, likeliest first.
    pub top: Vec<(u32, f32)>,
}

/// Logits from which no token can be chosen.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// A logit that is NaN or positive infinity, from the model or made so by penalties.
    #[error("the logit of token {token} is {value}")]
    NotFinite {
        /// The first such token.
        token: u32,
        /// Its logit.
        value: f32,
    },
    /// No token is possible: no logits, or all negative infinity.
    #[error("no token has a finite logit")]
    NoToken,
}

/// The tokens of a sequence so far, counted, for penalties.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// How often each was generated; 0 for those that are only in the prompt.
    generated: HashMap<u32, u32>,
}

impl TokenCounts {
    /// Of a prompt, nothing generated yet.
    pub fn of_prompt(prompt: &[u32]) -> Self {
        Self { generated: prompt.iter().map(|token| (*token, 0)).collect() }
    }

    /// Counts a generated token.
    pub fn push(&mut self, token: u32) {
        let count = self.generated.entry(token).or_insert(0);
        *count = count.saturating_add(1);
    }
}

impl Sampler {
    /// Chooses the next token from `logits`, f32 `[V]`. `counts` are of the tokens before, `index` is the number of those
    /// generated, and `seed` is used in place of the parameters'.
    ///
    /// # Errors
    /// [`SampleError`] for logits that are no numbers or leave no choice.
    pub fn sample(
        &mut self,
        logits: &[f32],
        params: &SamplingParams,
        counts: &TokenCounts,
        seed: u64,
        index: u64,
    ) -> Result<Sampled, SampleError> {
        let token = if params.uses_counts() || !params.logit_bias.is_empty() {
            let mut scores = std::mem::take(&mut self.scores);
            scores.clear();
            scores.extend_from_slice(logits);
            adjust(&mut scores, params, counts);
            let chosen = self.choose(&scores, params, seed, index);
            self.scores = scores;
            chosen?
        } else {
            self.choose(logits, params, seed, index)?
        };
        let logprobs = match params.logprobs {
            Some(count) => Some(self.logprobs(logits, token, count as usize)?),
            None => None,
        };
        Ok(Sampled { token, logprobs })
    }

    fn choose(
        &mut self,
        scores: &[f32],
        params: &SamplingParams,
        seed: u64,
        index: u64,
    ) -> Result<u32, SampleError> {
        let (best, highest) = highest(scores)?;
        if params.is_greedy() {
            return Ok(best);
        }
        let (scale, highest) = (1.0 / f64::from(params.temperature), f64::from(highest));
        let weight = |score: f32| exp((f64::from(score) - highest) * scale);
        // The likeliest weighs 1. Of scores, `min_p` and `top_k` both keep an upper part, so their order is free.
        let min_p = f64::from(params.min_p).max(f64::MIN_POSITIVE);
        let top_p = f64::from(params.top_p);
        let candidates = &mut self.candidates;
        let kept: f64;
        if params.top_k == 0 || params.top_k as usize >= scores.len() {
            self.weights.clear();
            self.weights.extend(scores.iter().map(|score| weight(*score)));
            kept = self.weights.iter().filter(|weight| **weight >= min_p).sum();
            let least = min_p.max(select::negligible(kept, scores.len(), top_p));
            let all = (0u32..).zip(scores).zip(&self.weights);
            let all = all.map(|((token, score), weight)| Candidate { token, score: *score, weight: *weight });
            candidates.clear();
            candidates.extend(all.filter(|candidate| candidate.weight >= least));
        } else {
            select::top_k(scores, params.top_k as usize, candidates);
            candidates.iter_mut().for_each(|candidate| candidate.weight = weight(candidate.score));
            candidates.retain(|candidate| candidate.weight >= min_p);
            kept = candidates.iter().map(|candidate| candidate.weight).sum();
        }
        if top_p < 1.0 {
            select::top_p(candidates, top_p * kept);
        }
        let total: f64 = candidates.iter().map(|c| c.weight).sum();
        let mut left = uniform(seed, index) * total;
        for candidate in candidates.iter() {
            left -= candidate.weight;
            if left < 0.0 {
                return Ok(candidate.token);
            }
        }
        // Rounding may leave a little.
        Ok(candidates.last().map_or(best, |c| c.token))
    }

    fn logprobs(&mut self, logits: &[f32], token: u32, count: usize) -> Result<TokenLogprobs, SampleError> {
        let (_, highest) = highest(logits)?;
        let highest = f64::from(highest);
        let log_sum = highest + logits.iter().map(|x| exp(f64::from(*x) - highest)).sum::<f64>().ln();
        let of = |logit: f32| (f64::from(logit) - log_sum) as f32;
        self.candidates.clear();
        if count > 0 {
            select::top_k(logits, count, &mut self.candidates);
            self.candidates.sort_unstable_by(select::descending);
            self.candidates.truncate(count);
        }
        let top = self.candidates.iter().map(|c| (c.token, of(c.score))).collect();
        Ok(TokenLogprobs { chosen: of(logits[token as usize]), top })
    }
}

/// Bias and penalties. Tokens outside the vocabulary have no score.
fn adjust(scores: &mut [f32], params: &SamplingParams, counts: &TokenCounts) {
    for (token, bias) in &params.logit_bias {
        if let Some(score) = scores.get_mut(*token as usize) {
            *score += bias;
        }
    }
    if !params.uses_counts() {
        return;
    }
    for (token, count) in &counts.generated {
        let Some(score) = scores.get_mut(*token as usize) else { continue };
        *score = if *score > 0.0 {
            *score / params.repetition_penalty
        } else {
            *score * params.repetition_penalty
        };
        if *count > 0 {
            *score -= params.frequency_penalty * *count as f32 + params.presence_penalty;
        }
    }
}

/// The highest score and its token, the lowest id among equals.
fn highest(scores: &[f32]) -> Result<(u32, f32), SampleError> {
    let (mut highest, mut sound) = (f32::NEG_INFINITY, true);
    for score in scores {
        sound &= *score < f32::INFINITY;
        highest = if *score > highest { *score } else { highest };
    }
    if !sound {
        let bad = (0u32..).zip(scores).find(|(_, score)| score.is_nan() || **score == f32::INFINITY);
        let (token, value) = bad.expect("one was seen");
        return Err(SampleError::NotFinite { token, value: *value });
    }
    if highest == f32::NEG_INFINITY {
        return Err(SampleError::NoToken);
    }
    let (token, _) = (0u32..).zip(scores).find(|(_, score)| **score == highest).expect("it is one of them");
    Ok((token, highest))
}

/// e to the power of `x`, which is at most 0; to about 1e-16, and the same on every platform. Without branches, so that
/// loops over it are vectorised.
fn exp(x: f64) -> f64 {
    const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    // Added to a number it rounds it to an integer, which then stands in the lowest bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let rounded = x * std::f64::consts::LOG2_E + ROUND;
    let power = rounded - ROUND;
    let rest = (x - power * LN_2_HIGH) - power * LN_2_LOW;
    let series = INVERSE_FACTORIALS.iter().rev().fold(0.0, |sum, coefficient| sum * rest + coefficient);
    let scale = f64::from_bits((rounded.to_bits().wrapping_add(1023)) << 52);
    if x < -708.0 { 0.0 } else { series * scale }
}

/// 1 / n!; enough for arguments of at most ln(2) / 2.
const INVERSE_FACTORIALS: [f64; 14] = {
    let mut all = [1.0; 14];
    let mut n = 1;
    while n < all.len() {
        all[n] = all[n - 1] / n as f64;
        n += 1;
    }
    all
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn choose(logits: &[f32], params: &SamplingParams, index: u64) -> Result<u32, SampleError> {
        let sampled = Sampler::default().sample(logits, params, &TokenCounts::default(), 7, index)?;
        Ok(sampled.token)
    }

    /// Probabilities by the definitions, one after the other, as transformers' warpers are written.
    fn probabilities(logits: &[f32], params: &SamplingParams, counts: &TokenCounts) -> Vec<f64> {
        let mut scores: Vec<f64> = logits.iter().map(|x| f64::from(*x)).collect();
        for (token, bias) in &params.logit_bias {
            scores[*token as usize] += f64::from(*bias);
        }
        for (token, count) in &counts.generated {
            let score = &mut scores[*token as usize];
            let penalty = f64::from(params.repetition_penalty);
            *score = if *score > 0.0 { *score / penalty } else { *score * penalty };
            if *count > 0 {
                *score -= f64::from(params.frequency_penalty) * f64::from(*count);
                *score -= f64::from(params.presence_penalty);
            }
        }
        let softmax = |scores: &[f64]| {
            let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|s| (s - highest).exp()).sum();
            scores.iter().map(|s| (s - highest).exp() / sum).collect::<Vec<f64>>()
        };
        scores.iter_mut().for_each(|s| *s /= f64::from(params.temperature));
        let p = softmax(&scores);
        let most = p.iter().copied().fold(0.0, f64::max);
        (0..p.len())
            .filter(|i| p[*i] < f64::from(params.min_p) * most)
            .for_each(|i| scores[i] = f64::NEG_INFINITY);
        if params.top_k > 0 {
            let mut sorted = scores.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let least = sorted[(params.top_k as usize).min(sorted.len()) - 1];
            scores.iter_mut().filter(|s| **s < least).for_each(|s| *s = f64::NEG_INFINITY);
        }
        let p = softmax(&scores);
        let mut order: Vec<usize> = (0..p.len()).collect();
        order.sort_by(|a, b| p[*b].total_cmp(&p[*a]));
        let mut before = 0.0;
        for i in order {
            if params.top_p < 1.0 && before >= f64::from(params.top_p) {
                scores[i] = f64::NEG_INFINITY;
            }
            before += p[i];
        }
        softmax(&scores)
    }

    #[test]
    fn greedy_takes_the_highest_and_of_equals_the_first() {
        let greedy = SamplingParams::greedy();
        assert_eq!(choose(&[1.0, 3.0, -2.0, 3.0], &greedy, 0), Ok(1));
        assert_eq!(choose(&[-0.0, 0.0], &greedy, 0), Ok(0));
        assert_eq!(choose(&[f32::NEG_INFINITY, -1e30], &greedy, 0), Ok(1));
        assert_eq!(choose(&[1.0, 3.0], &greedy.logit_bias([(0, 2.5)]), 0), Ok(0));
    }

    #[test]
    fn logits_that_are_no_numbers_are_errors() {
        for params in [SamplingParams::greedy(), SamplingParams::default().top_k(1)] {
            assert_eq!(choose(&[], &params, 0), Err(SampleError::NoToken));
            assert_eq!(choose(&[f32::NEG_INFINITY; 3], &params, 0), Err(SampleError::NoToken));
            let error = choose(&[0.0, f32::NAN, 1.0], &params, 0).unwrap_err();
            assert_eq!(error.to_string(), "the logit of token 1 is NaN");
            let error = choose(&[0.0, 1.0, f32::INFINITY], &params, 0).unwrap_err();
            assert_eq!(error, SampleError::NotFinite { token: 2, value: f32::INFINITY });
        }
    }

    #[test]
    fn penalties_are_those_of_transformers_and_openai() {
        let mut counts = TokenCounts::of_prompt(&[0, 1]);
        counts.push(1);
        counts.push(1);
        counts.push(2);
        let params =
            SamplingParams::default().repetition_penalty(2.0).presence_penalty(0.5).frequency_penalty(0.25);
        let mut scores = [4.0, -4.0, 4.0, 4.0];
        adjust(&mut scores, &params, &counts);
        assert_eq!(scores, [2.0, -9.0, 1.25, 4.0]);
    }

    #[test]
    fn log_probabilities_are_of_the_logits_as_they_are() {
        let params = SamplingParams::greedy().logit_bias([(3, 50.0)]).logprobs(2);
        let logits = [0.0, 2.0, 1.0, -1.0];
        let sampled = Sampler::default().sample(&logits, &params, &TokenCounts::default(), 0, 0).unwrap();
        let log_sum = logits.iter().map(|x: &f32| x.exp()).sum::<f32>().ln();
        let logprobs = sampled.logprobs.unwrap();
        assert_eq!(sampled.token, 3);
        assert!((logprobs.chosen - (-1.0 - log_sum)).abs() < 1e-6);
        assert_eq!(logprobs.top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [1, 2]);
        assert!((logprobs.top[0].1 - (2.0 - log_sum)).abs() < 1e-6);
    }

    #[test]
    fn draws_follow_the_distribution() {
        let logits: Vec<f32> = (0..10).map(|i| (i as f32 * 1.7).sin() * 2.0).collect();
        let mut counts = TokenCounts::of_prompt(&[3, 4]);
        counts.push(8);
        let plain = SamplingParams::default;
        for params in [
            plain(),
            plain().temperature(0.5),
            plain().temperature(1.8).top_k(4),
            plain().top_p(0.8),
            plain().min_p(0.2),
            plain().top_k(6).top_p(0.9).min_p(0.05).temperature(1.3),
            plain()
                .repetition_penalty(1.5)
                .presence_penalty(0.5)
                .frequency_penalty(0.5)
                .logit_bias([(1, -1.0)]),
        ] {
            let expected = probabilities(&logits, &params, &counts);
            let mut seen = vec![0u32; logits.len()];
            let mut sampler = Sampler::default();
            let draws = 20_000;
            for index in 0..draws {
                let sampled = sampler.sample(&logits, &params, &counts, 42, index).unwrap();
                seen[sampled.token as usize] += 1;
            }
            let mut chi_square = 0.0;
            for (n, p) in seen.iter().zip(&expected) {
                let expected = p * draws as f64;
                assert!(*p > 0.0 || *n == 0, "{params:?} draws what it excludes: {seen:?}");
                if *p > 0.0 {
                    chi_square += (f64::from(*n) - expected).powi(2) / expected;
                }
            }
            assert!(chi_square < 27.9, "at most 9 degrees of freedom, 0.1 %: {chi_square} for {params:?}");
        }
    }

    #[test]
    fn a_draw_is_the_same_everywhere() {
        let logits: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 1000) as f32 / 100.0).collect();
        let params = SamplingParams::default().temperature(1.2).top_p(0.95);
        let tokens: Vec<u32> = (0..6).map(|index| choose(&logits, &params, index).unwrap()).collect();
        // Computed apart, in Python.
        assert_eq!(tokens, [643, 161, 670, 620, 520, 408]);
    }

    proptest! {
        #[test]
        fn only_what_the_definitions_keep_is_drawn(
            logits in prop::collection::vec(-6.0f32..6.0, 1..40),
            temperature in 0.2f32..3.0,
            top_k in 0u32..10,
            top_p in 0.05f32..=1.0,
            min_p in 0.0f32..0.5,
            index: u64,
        ) {
            let params = SamplingParams::default().temperature(temperature).top_k(top_k).top_p(top_p).min_p(min_p);
            let token = choose(&logits, &params, index).unwrap();
            prop_assert!(probabilities(&logits, &params, &TokenCounts::default())[token as usize] > 0.0);
        }

        #[test]
        fn the_exponential_is_exact_to_rounding(x in -708.0f64..=0.0) {
            prop_assert!((exp(x) / x.exp() - 1.0).abs() < 1e-15, "{} {}", exp(x), x.exp());
        }

        #[test]
        fn nothing_panics(bits in prop::collection::vec(any::<u32>(), 0..50), top_k in 0u32..60, top_p in 0.01f32..=1.0) {
            let logits: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            let params = SamplingParams::default().top_k(top_k).top_p(top_p).temperature(1e-30).logprobs(5);
            if let Ok(token) = choose(&logits, &params, 0) {
                prop_assert!(logits[token as usize].is_finite());
            }
        }
    }
}
