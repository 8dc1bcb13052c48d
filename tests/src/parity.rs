//! How a compiled fixture is held against what the reference gives.

use mscc_compiler::Compiled;

use crate::{AllTaps, Fixture, greedy, load, logits, logits_and_taps, max_abs, max_error};

/// Largest error of f32 logits, relative to the largest |logit|.
const F32_TOLERANCE: f64 = 1e-4;
/// RMS error of bf16 logits, relative to the reference's own bf16 run.
const BF16_RATIO: f64 = 1.25;
/// How much less than the reference's bf16 run a model may agree with f32 on the best token.
const DISAGREEMENT: f64 = 0.02;
/// Families without anything that turns small differences into large ones, which are held to more.
const PLAIN: [&str; 3] = ["llama", "qwen2", "qwen3"];
/// As [`BF16_RATIO`], for those.
const PLAIN_BF16_RATIO: f64 = 1.1;
/// Greatest f32 margin at which their best token may differ in bf16.
const PLAIN_FLIP_MARGIN: f32 = 0.15;

/// Logits of all prompts and cached steps, computed in f32.
pub fn check_f32_logits(fixture: &Fixture, compiled: &Compiled, what: &str) {
    let mut model = load(compiled, 2);
    let tolerance = F32_TOLERANCE * fixture.scale();
    for (index, prompt) in fixture.expected.prompts.iter().enumerate() {
        let got = &logits(&mut model, &[&prompt.token_ids], None)[0];
        let error = max_error(got, fixture.tensor(&prompt.logits));
        assert!(error <= tolerance, "{what}, prompt {index}: {error} > {tolerance}");
        let Some(decode) = &prompt.decode_logits else { continue };
        let mut tokens = prompt.token_ids.clone();
        tokens.extend(&prompt.greedy[..prompt.greedy.len() - 1]);
        let got = &logits(&mut model, &[&tokens], Some(1))[0];
        let vocab_size = got.len() / tokens.len();
        let error = max_error(&got[(prompt.token_ids.len() - 1) * vocab_size..], fixture.tensor(decode));
        assert!(error <= tolerance, "{what}, decode: {error} > {tolerance}");
    }
}

/// Hidden states by the names that they have in the source, computed in f32.
pub fn check_f32_hidden_states(fixture: &Fixture, compiled: &Compiled, what: &str) {
    let prompt = &fixture.expected.prompts[1];
    let mut taps = AllTaps::default();
    logits_and_taps(&mut load(compiled, 1), &[&prompt.token_ids], Some(5), Some(&mut taps));
    let is_norm = |tap: &&String| !tap.contains("layers") && tap.ends_with("norm");
    let norm = taps.0.keys().find(is_norm).expect("every model has a last norm").clone();
    let mut expected = vec![(norm, prompt.last_hidden.clone())];
    let embed = prompt.embed.clone().expect("this prompt has hidden states");
    expected.push(("model.embed_tokens".to_owned(), embed));
    let layers = prompt.layers.iter().enumerate();
    expected.extend(layers.map(|(index, layer)| (format!("model.layers.{index}"), layer.clone())));
    assert_eq!(taps.0.len(), expected.len(), "{what}: {:?}", taps.0.keys());
    for (tap, tensor) in expected {
        let want = fixture.tensor(&tensor);
        let (error, tolerance) = (max_error(&taps.0[&tap], want), F32_TOLERANCE * max_abs(want));
        assert!(error <= tolerance, "{what}, {tap}: {error} > {tolerance}");
    }
}

/// Greedy tokens of each prompt alone, up to a stop token, and of several served together, computed in f32.
pub fn check_f32_greedy_tokens(fixture: &Fixture, compiled: &Compiled, what: &str) {
    let expected = &fixture.expected;
    for prompt in &expected.prompts {
        let ids = prompt.token_ids.as_slice();
        let got = greedy(load(compiled, 2), &[ids], expected.new_tokens, None);
        assert_eq!(got[0], prompt.greedy, "{what}");
        let stops = &compiled.plan.text.eos_token_ids;
        let got = greedy(load(compiled, 1), &[ids], expected.new_tokens, Some(stops));
        assert_eq!(got[0], prompt.greedy_until_stop, "{what}");
    }
    let prompts = &expected.prompts;
    let batch: Vec<&[u32]> =
        expected.batch.prompts.iter().map(|index| prompts[*index].token_ids.as_slice()).collect();
    let got = greedy(load(compiled, 2), &batch, expected.new_tokens, None);
    assert_eq!(got, expected.batch.greedy, "{what}");
}

/// Whether logits computed in bf16 are as good as the reference's own; prints how good they are.
pub fn is_bf16_as_good(fixture: &Fixture, compiled: &Compiled, what: &str) -> bool {
    let mut model = load(compiled, 2);
    let (mut square, mut count, mut flipped) = (0.0f64, 0usize, 0.0f32);
    let (mut agree, mut positions) = (0usize, 0usize);
    for prompt in &fixture.expected.prompts {
        let got = &logits(&mut model, &[&prompt.token_ids], None)[0];
        let want = fixture.tensor(&prompt.logits);
        square += got.iter().zip(want).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        count += want.len();
        let width = want.len() / prompt.token_ids.len();
        for (got, want) in got.chunks(width).zip(want.chunks(width)) {
            let best = argmax(want);
            positions += 1;
            if argmax(got) == best {
                agree += 1;
                continue;
            }
            let second = want.iter().enumerate().filter(|(at, _)| *at != best);
            let second = second.map(|(_, logit)| *logit).fold(f32::NEG_INFINITY, f32::max);
            flipped = flipped.max(want[best] - second);
        }
    }
    let rms = (square / count as f64).sqrt() / fixture.scale();
    let agreement = agree as f64 / positions as f64;
    let reference = &fixture.expected.bf16_reference;
    println!(
        "{what}: rms error {rms:.5}, reference {:.5}, ratio {:.2}; agreement {agreement:.4}, reference {:.4}; \
         largest flip {flipped:.4}",
        reference.rms_error,
        rms / reference.rms_error,
        reference.argmax_agreement,
    );
    let is_plain = PLAIN.contains(&fixture.expected.model_type.as_str());
    let ratio = if is_plain { PLAIN_BF16_RATIO } else { BF16_RATIO };
    let agrees = match is_plain {
        true => flipped <= PLAIN_FLIP_MARGIN,
        // Where a router chooses, or attention is sharp, roundings change more than the last digits.
        false => agreement >= reference.argmax_agreement - DISAGREEMENT,
    };
    rms <= ratio * reference.rms_error && agrees
}

fn argmax(values: &[f32]) -> usize {
    values.iter().enumerate().fold(0, |best, (at, value)| if *value > values[best] { at } else { best })
}
