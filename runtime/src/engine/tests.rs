use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::testing::{FakeModel, VOCAB, logits_after};
use super::*;
use crate::sample::{Sampler, SamplingParams, TokenCounts};
use crate::step::batch::TapSink;

const EOS: u32 = 3;

/// What a request alone is given, without engine, cache or batch.
fn expected(request: &Request, windows: &[Option<u32>], max_len: usize) -> (Vec<u32>, FinishReason) {
    let mut tokens = request.prompt.clone();
    let mut counts = TokenCounts::of_prompt(&request.prompt);
    let seed = request.params.seed.unwrap_or(0);
    let mut output = Vec::new();
    loop {
        let logits = logits_after(&tokens, windows);
        let index = output.len() as u64;
        let sampled = Sampler::default().sample(&logits, &request.params, &counts, seed, index).unwrap();
        let token = sampled.token;
        tokens.push(token);
        output.push(token);
        counts.push(token);
        if request.stop_token_ids.contains(&token) || token == EOS && !request.ignore_eos {
            return (output, FinishReason::Stop(token));
        }
        if request.params.max_tokens == Some(output.len() as u32) || tokens.len() >= max_len {
            return (output, FinishReason::Length);
        }
    }
}

fn engine(block_sizes: &[u32], pages: &[u32], limits: (u32, u32, u32)) -> Engine<FakeModel> {
    windowed_engine(block_sizes, &[], pages, limits)
}

fn windowed_engine(
    block_sizes: &[u32],
    windows: &[Option<u32>],
    pages: &[u32],
    limits: (u32, u32, u32),
) -> Engine<FakeModel> {
    let model = FakeModel::new(block_sizes, limits.0, limits.1, limits.2).with_windows(windows);
    Engine::new(model, EngineOptions::default().num_pages(pages).eos_token_ids([EOS])).unwrap()
}

/// Collects what each request was given.
#[derive(Default)]
struct Outputs {
    tokens: BTreeMap<u64, Vec<u32>>,
    finish: BTreeMap<u64, FinishReason>,
}

impl Outputs {
    fn take(&mut self, events: Vec<Event>) {
        for event in events {
            assert!(!self.finish.contains_key(&event.request), "an event after the end: {event:?}");
            let tokens = self.tokens.entry(event.request).or_default();
            tokens.extend(event.token);
            if let Some(finish) = event.finish {
                self.finish.insert(event.request, finish);
            }
        }
    }

    fn run(engine: &mut Engine<FakeModel>) -> Self {
        let mut outputs = Self::default();
        while engine.has_work() {
            outputs.take(engine.step().unwrap());
        }
        outputs
    }
}

fn greedy(id: u64, prompt: &[u32], max_tokens: u32) -> Request {
    Request { ignore_eos: true, ..Request::new(id, prompt, SamplingParams::greedy().max_tokens(max_tokens)) }
}

#[test]
fn alone_together_chunked_and_preempted_give_the_same() {
    let requests: Vec<Request> = (0..6u32)
        .map(|i| greedy(u64::from(i), &(0..5 + 3 * i).map(|j| (i + j) % VOCAB).collect::<Vec<_>>(), 20))
        .collect();
    let (tight, roomy) = ([22, 11], [400, 200]);
    for (pages, max_num_seqs, budget) in
        [(roomy, 8, 64), (roomy, 1, 64), (roomy, 8, 3), (tight, 8, 64), (tight, 6, 7)]
    {
        let mut engine = engine(&[2, 4], &pages, (40, max_num_seqs, budget));
        requests.iter().for_each(|request| engine.add(request.clone()).unwrap());
        let outputs = Outputs::run(&mut engine);
        for request in &requests {
            let (tokens, finish) = expected(request, &[None, None], 40);
            assert_eq!((&outputs.tokens[&request.id], &outputs.finish[&request.id]), (&tokens, &finish));
        }
        assert_eq!(engine.stats().num_preemptions > 0, pages == tight, "{:?}", engine.stats());
        assert_eq!(engine.stats().free_pages, pages.map(|pages| pages as usize));
    }
}

#[test]
fn a_step_decodes_first_and_fills_up_with_prompts() {
    let mut engine = engine(&[4], &[100], (64, 4, 8));
    engine.add(greedy(0, &[1, 2, 3], 10)).unwrap();
    assert_eq!(engine.step().unwrap().len(), 1);
    engine.add(greedy(1, &[5; 20], 10)).unwrap();
    // 20 tokens of prompt beside one decoded token take 7 + 7 + 6.
    for with_second in [false, false, true] {
        let events = engine.step().unwrap();
        assert_eq!(events.iter().any(|event| event.request == 1), with_second);
        assert_eq!(events[0].request, 0);
    }
}

#[test]
fn ends_are_told_with_their_reason() {
    let (stop, _) = expected(&greedy(0, &[1, 2], 3), &[None], 99);
    let mut engine = engine(&[4], &[100], (8, 4, 8));
    let request = |id| greedy(id, &[1, 2], 3);
    engine.add(Request { stop_token_ids: vec![stop[1]], ..request(1) }).unwrap();
    engine.add(request(2)).unwrap();
    engine.add(greedy(3, &[1; 7], 3)).unwrap();
    engine.add(request(4)).unwrap();
    assert!(engine.cancel(4) && !engine.cancel(4) && !engine.cancel(99));
    let outputs = Outputs::run(&mut engine);
    let at = stop.iter().position(|token| *token == stop[1]).unwrap();
    assert_eq!(outputs.finish[&1], FinishReason::Stop(stop[1]));
    assert_eq!(outputs.tokens[&1], stop[..=at]);
    assert_eq!((outputs.finish[&2].clone(), outputs.tokens[&2].len()), (FinishReason::Length, 3));
    assert_eq!((outputs.finish[&3].clone(), outputs.tokens[&3].len()), (FinishReason::Length, 1));
    assert_eq!((outputs.finish[&4].clone(), outputs.tokens[&4].len()), (FinishReason::Cancelled, 0));
}

#[test]
fn thousands_wait_and_any_of_them_can_leave() {
    let mut engine = engine(&[4], &[64], (16, 8, 64));
    for id in 0..10_000 {
        engine.add(greedy(id, &[1, 2, 5], 1)).unwrap();
    }
    let again = engine.add(greedy(9_999, &[1], 1));
    assert!(matches!(again, Err(EngineError::DuplicateRequest { id: 9_999 })));
    assert!((0..10_000).filter(|id| id % 100 != 0).all(|id| engine.cancel(id)));
    assert!(!engine.cancel(1));
    // The number is free again, and the end of its first bearer is not the second one's.
    engine.add(greedy(9_999, &[1, 2, 5], 1)).unwrap();
    let mut events = Vec::new();
    while engine.has_work() {
        events.extend(engine.step().unwrap());
    }
    let cancelled = |event: &&Event| event.finish == Some(FinishReason::Cancelled);
    assert_eq!(events.iter().filter(cancelled).count(), 9_900);
    let told: Vec<u64> = events.iter().filter(|event| event.token.is_some()).map(|e| e.request).collect();
    assert_eq!(told, (0..10_000).step_by(100).chain([9_999]).collect::<Vec<u64>>());
}

#[test]
fn a_lone_request_ends_when_the_cache_is_full() {
    let mut engine = engine(&[4], &[3], (100, 4, 8));
    assert_eq!(engine.max_len(), 12);
    engine.add(Request { ignore_eos: true, ..Request::new(0, [1, 2, 3], SamplingParams::greedy()) }).unwrap();
    let outputs = Outputs::run(&mut engine);
    assert_eq!((outputs.finish[&0].clone(), outputs.tokens[&0].len()), (FinishReason::Length, 9));
}

#[test]
fn a_window_takes_no_more_pages_the_longer_a_sequence_is() {
    // 9 tokens of the past and 8 new ones lie in at most 6 pages of 4, of which decoding needs 4 at most.
    let windows = [None, Some(10)];
    let mut engine = windowed_engine(&[4, 4], &windows, &[200, 20], (800, 4, 8));
    assert_eq!(engine.max_len(), 800);
    let requests =
        [greedy(0, &(0..300).map(|at| at % VOCAB).collect::<Vec<_>>(), 400), greedy(1, &[5; 50], 30)];
    requests.iter().for_each(|request| engine.add(request.clone()).unwrap());
    let mut outputs = Outputs::default();
    while engine.has_work() {
        outputs.take(engine.step().unwrap());
        assert!(engine.stats().free_pages[1] >= 20 - 2 * 6, "{:?}", engine.stats());
        if let [only] = engine.running.as_slice()
            && only.pending() == 1
        {
            assert!(engine.stats().free_pages[1] >= 20 - 4, "{:?}", engine.stats());
        }
    }
    for request in &requests {
        assert_eq!(outputs.tokens[&request.id], expected(request, &windows, 800).0);
    }
    assert_eq!((engine.stats().num_preemptions, engine.stats().free_pages), (0, vec![200, 20]));
}

#[test]
fn requests_that_cannot_be_served_are_refused_with_numbers() {
    let mut engine = engine(&[4], &[4], (20, 4, 8));
    let mut refused = |request: Request| engine.add(request).unwrap_err().to_string();
    assert_eq!(refused(greedy(0, &[], 1)), "the prompt has no tokens");
    assert_eq!(
        refused(greedy(0, &[1, 23], 1)),
        "token 23 of position 1 of the prompt is not in the model's vocabulary of 23"
    );
    assert_eq!(
        refused(greedy(0, &[1; 20], 1)),
        "20 tokens and 1 to generate are more than max_model_len, 20"
    );
    assert_eq!(
        refused(greedy(0, &[1; 16], 1)),
        "16 tokens and 1 to generate are more than the cache can hold, 16; give it more memory"
    );
    assert_eq!(refused(greedy(0, &[1], 0)), "max_tokens is 0; it must be at least 1");
    let biased = SamplingParams::greedy().logit_bias([(40, 1.0)]);
    assert_eq!(
        refused(Request::new(0, [1], biased)),
        "token 40 of logit_bias is not in the model's vocabulary of 23"
    );
    engine.add(greedy(7, &[1], 1)).unwrap();
    assert_eq!(engine.add(greedy(7, &[1], 1)).unwrap_err().to_string(), "request 7 is being served already");
}

#[test]
fn models_that_cannot_be_served_are_refused() {
    let refused = |model| Engine::new(model, EngineOptions::default()).unwrap_err().to_string();
    assert_eq!(refused(FakeModel::new(&[4], 64, 0, 8)), "max_num_seqs is 0; it must be in 1..=2147483647");
    assert!(refused(FakeModel::new(&[0], 64, 4, 8)).starts_with("block_size is 0"));
}

#[test]
fn logits_that_are_no_numbers_end_only_their_request() {
    let mut engine = engine(&[4], &[100], (64, 4, 8));
    engine.model.poison = Some(9);
    engine.add(greedy(0, &[1, 2, 9], 5)).unwrap();
    engine.add(greedy(1, &[1, 2, 9, 8], 1)).unwrap();
    let outputs = Outputs::run(&mut engine);
    assert_eq!(outputs.finish[&0], FinishReason::Error("the logit of token 0 is NaN".into()));
    assert_eq!(outputs.finish[&1], FinishReason::Length);
}

#[test]
fn a_step_that_fails_can_be_done_again() {
    let request = greedy(0, &[1, 2, 3, 4, 5], 6);
    for fails_at in 1..8 {
        let mut engine = engine(&[2], &[40], (64, 4, 3));
        engine.model.fails_at = Some(fails_at);
        engine.add(request.clone()).unwrap();
        let mut outputs = Outputs::default();
        let mut failed = 0;
        while engine.has_work() {
            match engine.step() {
                Ok(events) => outputs.take(events),
                Err(_) => failed += 1,
            }
        }
        assert_eq!((failed, &outputs.tokens[&0]), (1, &expected(&request, &[None], 64).0));
    }
}

#[test]
fn scores_do_not_depend_on_chunks_and_company() {
    struct Tokens(Vec<f32>);
    impl TapSink for Tokens {
        fn wants(&self, name: &str) -> bool {
            name == "tokens"
        }
        fn take(&mut self, _: &str, shape: &[usize], values: Vec<f32>) {
            assert_eq!(shape, [values.len()]);
            self.0.extend(values);
        }
    }
    let sequences: Vec<Vec<u32>> =
        [5, 1, 17, 20, 2].map(|n| (0..n).map(|i| (i * n) % VOCAB).collect()).into();
    let windows = [None, Some(4)];
    let mut model = FakeModel::new(&[3, 2], 20, 3, 16).with_windows(&windows);
    let mut scorer = Scorer::new(&mut model).unwrap();
    let refs: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
    for chunk in [None, Some(1), Some(3), Some(7), Some(100)] {
        let mut together = vec![Vec::new(); sequences.len()];
        scorer
            .score(&refs, chunk, None, |rows| {
                let logits: &mut Vec<f32> = &mut together[rows.sequence];
                assert_eq!(logits.len(), rows.first_position * VOCAB as usize);
                logits.extend_from_slice(rows.logits);
                Ok::<(), EngineError>(())
            })
            .unwrap();
        for (tokens, together) in sequences.iter().zip(together) {
            let expected: Vec<f32> =
                (1..=tokens.len()).flat_map(|n| logits_after(&tokens[..n], &windows)).collect();
            assert_eq!(together, expected);
            assert_eq!(scorer.logits(tokens, chunk).unwrap(), expected);
        }
    }
    let mut taps = Tokens(Vec::new());
    scorer.score(&[&sequences[2]], Some(5), Some(&mut taps), |_| Ok::<(), EngineError>(())).unwrap();
    assert_eq!(taps.0, sequences[2].iter().map(|token| *token as f32).collect::<Vec<_>>());
    assert!(matches!(scorer.logits(&[1; 21], None), Err(EngineError::TooLong { tokens: 21, .. })));
    assert!(matches!(scorer.logits(&[], None), Err(EngineError::EmptyPrompt)));
    assert!(matches!(scorer.logits(&[99], None), Err(EngineError::UnknownToken { token: 99, .. })));
}

/// A request, the step before which it comes, and the step before which it is cancelled.
type Arrival = (Request, usize, Option<usize>);

fn arrival() -> impl Strategy<Value = Arrival> {
    let prompt = prop::collection::vec(0..VOCAB, 1..16);
    let params =
        (any::<bool>(), 1u32..16, any::<u64>(), 0.5f32..2.0).prop_map(|(greedy, most, seed, penalty)| {
            let params = if greedy { SamplingParams::greedy() } else { SamplingParams::default().top_p(0.9) };
            params.max_tokens(most).seed(seed).repetition_penalty(penalty).presence_penalty(penalty - 1.0)
        });
    let request = (prompt, params, prop::collection::vec(0..VOCAB, 0..2), any::<bool>()).prop_map(
        |(prompt, params, stop_token_ids, ignore_eos)| Request {
            id: 0,
            prompt,
            params,
            stop_token_ids,
            ignore_eos,
        },
    );
    (request, 0usize..30, prop::option::weighted(0.2, 0usize..60))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn every_mix_of_requests_gives_what_each_gives_alone(
        arrivals in prop::collection::vec(arrival(), 1..12),
        groups in prop::collection::vec((1u32..6, 0u32..12, prop::option::of(1u32..12)), 1..4),
        max_num_seqs in 1u32..7,
        budget in 1u32..20,
    ) {
        // Room for the longest sequence, or hardly more, so that pages run out.
        let block_sizes: Vec<u32> = groups.iter().map(|(block_size, ..)| *block_size).collect();
        let pages: Vec<u32> = groups.iter().map(|(block_size, more, _)| 20u32.div_ceil(*block_size) + more).collect();
        let windows: Vec<Option<u32>> = groups.iter().map(|(.., window)| *window).collect();
        let mut engine = windowed_engine(&block_sizes, &windows, &pages, (32, max_num_seqs, budget));
        let max_len = engine.max_len();
        let mut outputs = Outputs::default();
        let mut requests = HashMap::new();
        let mut at = 0;
        while at < 60 || engine.has_work() {
            for (id, (request, arrives, cancelled)) in (0u64..).zip(&arrivals) {
                if *arrives == at {
                    let request = Request { id, ..request.clone() };
                    engine.add(request.clone()).unwrap();
                    requests.insert(id, request);
                }
                if *cancelled == Some(at) {
                    let is_served = requests.contains_key(&id) && !outputs.finish.contains_key(&id);
                    prop_assert_eq!(engine.cancel(id), is_served);
                }
            }
            let oldest = engine.running.first().map(|sequence| (sequence.request.id, sequence.epoch));
            outputs.take(engine.step().unwrap());
            if let Some((id, epoch)) = oldest.filter(|(id, _)| !outputs.finish.contains_key(id)) {
                let first = &engine.running[0];
                prop_assert_eq!((first.request.id, first.epoch), (id, epoch), "the oldest was preempted");
            }
            at += 1;
            prop_assert!(at < 3000, "no end");
        }
        for (id, request) in &requests {
            let (tokens, finish) = expected(request, &windows, max_len);
            let got = &outputs.tokens[id];
            match &outputs.finish[id] {
                FinishReason::Cancelled => prop_assert!(tokens.starts_with(got)),
                reason => prop_assert_eq!((got, reason), (&tokens, &finish)),
            }
        }
        let all: Vec<usize> = pages.iter().map(|pages| *pages as usize).collect();
        prop_assert_eq!(engine.stats().free_pages, all);
    }
}
