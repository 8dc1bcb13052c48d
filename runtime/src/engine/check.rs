use mscc_ir::module::CacheGroup;
use mscc_ir::plan::PlanLimits;

use super::EngineError;

/// Refuses limits that are zero or that tables cannot index.
pub(super) fn check_limits(limits: &PlanLimits) -> Result<(), EngineError> {
    let most = i32::MAX as u64;
    for (name, value) in [
        ("max_model_len", limits.max_model_len),
        ("max_num_seqs", limits.max_num_seqs),
        ("max_num_batched_tokens", limits.max_num_batched_tokens),
        ("vocab_size", limits.vocab_size),
    ] {
        let value = u64::from(value);
        if value == 0 || value > most {
            return Err(EngineError::Limit { name, value, most });
        }
    }
    Ok(())
}

/// Refuses an empty sequence and one with tokens outside the vocabulary.
pub(super) fn check_tokens(tokens: &[u32], vocab_size: u32, name: &str) -> Result<(), EngineError> {
    if tokens.is_empty() {
        return Err(EngineError::EmptyPrompt);
    }
    match tokens.iter().position(|token| *token >= vocab_size) {
        None => Ok(()),
        Some(at) => {
            let place = format!("position {at} of {name}");
            Err(EngineError::UnknownToken { token: tokens[at], place, vocab_size })
        }
    }
}

/// Refuses a sequence that is too long for the model or the cache, with `to_generate` tokens more.
pub(super) fn check_length(
    tokens: usize,
    to_generate: usize,
    limits: &PlanLimits,
    capacity: usize,
) -> Result<(), EngineError> {
    let needed = tokens.saturating_add(to_generate);
    if needed > limits.max_model_len as usize {
        Err(EngineError::TooLong { tokens, to_generate, max_model_len: limits.max_model_len })
    } else if needed > capacity {
        Err(EngineError::CacheTooSmall { tokens, to_generate, capacity })
    } else {
        Ok(())
    }
}

/// Refuses logits that are not a row of the vocabulary for each token asked for.
pub(super) fn check_logits(logits: &[f32], rows: usize, vocab_size: u32) -> Result<(), EngineError> {
    let expected = rows * vocab_size as usize;
    if logits.len() == expected { Ok(()) } else { Err(EngineError::Logits { expected, got: logits.len() }) }
}

/// Refuses page sizes that are none.
pub(super) fn check_groups(caches: &[CacheGroup]) -> Result<(), EngineError> {
    match caches.iter().any(|group| group.block_size == 0) {
        true => Err(EngineError::Limit { name: "block_size", value: 0, most: u64::from(u32::MAX) }),
        false => Ok(()),
    }
}
