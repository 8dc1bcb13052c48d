//! `mscc eval`

use std::path::PathBuf;
use std::time::Instant;

use mscc_compiler::files::read_text;
use mscc_ir::module::CacheGroup;
use mscc_runtime::Model;
use mscc_runtime::engine::Scorer;
use mscc_runtime::step::batch::StepModel;
use serde_json::json;

use crate::error::CliError;
use crate::memory::Budget;
use crate::numbers::count;
use crate::plan_source::PlanArgs;
use crate::usage::{TextUse, UsageError};
use crate::{output, terminal};

/// Measure perplexity on a text
///
/// The whole text is encoded once, without added special tokens, and cut into windows that do not overlap: tokens
/// [i, i+N) are the input, [i+1, i+N+1) the targets, each window from an empty cache; the last may be shorter.
/// Perplexity is exp of the mean negative log-likelihood of all targets.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  mscc eval plan.bin --file eval.txt --window 256")]
pub struct Args {
    #[command(flatten)]
    plan: PlanArgs,
    /// The text
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Tokens of a window
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 256, value_parser = count)]
    window: u32,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// Largest text, in bytes: its tokens take a hundred times as much while they are made.
const MAX_TEXT_BYTES: u64 = 16 << 20;

/// Most bytes of caches for windows that are computed together, which fill them; more would not be faster.
const MOST_CACHE_BYTES: u64 = 1 << 30;

/// Runs the command.
pub fn run(args: Args) -> Result<(), CliError> {
    let (mut model, budget) = args.plan.load()?;
    let (window, max_model_len) = (args.window, model.limits().max_model_len);
    if window > max_model_len {
        return Err(UsageError::WindowTooLong { window, max_model_len }.into());
    }
    let tokenizer = args.plan.tokenizer(&model, TextUse::File)?;
    let text = read_text(&args.file, MAX_TEXT_BYTES)
        .map_err(|source| CliError::Read { path: args.file.clone(), source })?;
    let tokens = tokenizer.encode(&text, false)?;
    let windows: Vec<&[u32]> = windows(&tokens, window as usize).collect();
    if windows.is_empty() {
        return Err(UsageError::TextTooShort { path: args.file }.into());
    }
    let inputs: Vec<&[u32]> = windows.iter().map(|tokens| &tokens[..tokens.len() - 1]).collect();
    let vocab_size = model.limits().vocab_size as usize;
    let started = Instant::now();
    let mut sums = vec![0.0f64; windows.len()];
    let evaluated: usize = inputs.iter().map(|input| input.len()).sum();
    let bar = terminal::progress_bar("tokens", evaluated as u64);
    let at_once = windows_at_once(&model, window, budget);
    let mut scorer = Scorer::new(&mut model)?;
    for (group, inputs) in inputs.chunks(at_once).enumerate() {
        scorer.score(inputs, None, None, |rows| {
            let index = group * at_once + rows.sequence;
            for (row, logits) in rows.logits.chunks_exact(vocab_size).enumerate() {
                let target = windows[index][rows.first_position + row + 1];
                sums[index] += negative_log_likelihood(logits, target);
            }
            bar.inc((rows.logits.len() / vocab_size) as u64);
            Ok::<(), CliError>(())
        })?;
    }
    bar.finish_and_clear();
    let nll = sums.iter().sum::<f64>() / evaluated as f64;
    if !nll.is_finite() {
        return Err(UsageError::NoPerplexity.into());
    }
    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        return output::print_json(&json!({
            "schema": "mscc.eval.v1",
            "perplexity": nll.exp(),
            "nll": nll,
            "window": window,
            "windows": windows.len(),
            "evaluated_tokens": evaluated,
            "text_tokens": tokens.len(),
            "seconds": seconds,
        }));
    }
    let (all, count) = (tokens.len(), windows.len());
    output::note(&format!("{evaluated} of {all} tokens in {count} windows, {seconds:.1} s"));
    output::print(&format!("perplexity {:.4}\n", nll.exp()))
}

/// How many windows have room in the caches together.
fn windows_at_once(model: &Model, window: u32, budget: Budget) -> usize {
    let bytes = |group: &CacheGroup| {
        let tokens = u64::from(window.next_multiple_of(group.block_size.max(1)));
        tokens.saturating_mul(group.bytes_per_token().unwrap_or(u64::MAX))
    };
    let bytes = model.caches().iter().map(bytes).fold(0, u64::saturating_add);
    usize::try_from(budget.cache_bytes().min(MOST_CACHE_BYTES) / bytes.max(1)).unwrap_or(usize::MAX).max(1)
}

/// Windows of at most `window` tokens and the one behind; each has two at least.
fn windows(tokens: &[u32], window: usize) -> impl Iterator<Item = &[u32]> {
    let starts = (0..tokens.len().saturating_sub(1)).step_by(window);
    starts.map(move |start| &tokens[start..tokens.len().min(start + window + 1)])
}

/// `-ln softmax(logits)[target]`, in f64.
fn negative_log_likelihood(logits: &[f32], target: u32) -> f64 {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - greatest).exp()).sum();
    sum.ln() - f64::from(logits[target as usize] - greatest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_share_only_their_ends() {
        let tokens: Vec<u32> = (0..11).collect();
        let all: Vec<&[u32]> = windows(&tokens, 3).collect();
        assert_eq!(all, [&[0, 1, 2, 3][..], &[3, 4, 5, 6], &[6, 7, 8, 9], &[9, 10]]);
        assert_eq!(windows(&tokens[..10], 3).count(), 3, "a lone last token has no target");
        assert_eq!(windows(&tokens[..1], 3).count() + windows(&[], 3).count(), 0);
    }

    #[test]
    fn likelihood_of_known_logits() {
        let nll = negative_log_likelihood(&[0.0, f32::ln(3.0)], 1);
        assert!((nll - (4.0f64 / 3.0).ln()).abs() < 1e-7);
    }
}
