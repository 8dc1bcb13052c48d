//! The step contract: names and types of the inputs that every model has, and the symbols in their shapes.
//!
//! A step is a packed, ragged batch over paged caches; sequences are sorted decode-first.
//!
//! `token_sequence` and `token_context` say of each new token what `query_start` and `context_len` say of sequences: to
//! which it belongs, and how many tokens of it the token sees, itself included; `token_start` counts them, as `query_start`
//! would if each were a sequence. They serve attention that takes every new token as a row of its own.

use crate::{DType, Dim, SymbolInfo, SymbolTable, TensorType};

/// New tokens of the step.
pub const TOKENS: &str = "T";
/// Sequences of the step.
pub const SEQUENCES: &str = "B";
/// Rows for which logits are wanted.
pub const LOGITS: &str = "L";
/// New tokens of sequences that decode (one new token each).
pub const DECODE_TOKENS: &str = "Td";
/// Sequences that decode.
pub const DECODE_SEQUENCES: &str = "Bd";
/// Sum of `context_len`.
pub const CONTEXT: &str = "C";
/// Greatest `context_len`.
pub const MAX_CONTEXT: &str = "S";
/// Most new tokens of one sequence.
pub const MAX_NEW: &str = "Q";
/// Sum over sequences of new tokens times context.
pub const PAIRS: &str = "A";
/// Pages a row of the block table holds; bucketed.
pub const TABLE_WIDTH: &str = "M";

/// Limits within which a plan runs; they bound the symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest sequence, in tokens.
    pub max_model_len: u32,
    /// Most sequences in a step.
    pub max_num_seqs: u32,
    /// Most new tokens in a step.
    pub max_num_batched_tokens: u32,
    /// Tokens of a page, the least over the cache groups.
    pub block_size: u32,
}

/// The symbols of the contract with bounds that follow from the limits.
pub fn symbols(limits: &Limits) -> SymbolTable {
    let (len, seqs) = (i64::from(limits.max_model_len), i64::from(limits.max_num_seqs));
    let tokens = i64::from(limits.max_num_batched_tokens);
    let block = i64::from(limits.block_size.max(1));
    let seqs = seqs.min(tokens);
    let context = len.saturating_mul(seqs);
    let mut table = SymbolTable::default();
    let mut declare = |name: &str, min: i64, max: i64, likely: i64| {
        let max = max.max(min);
        table.declare(name, SymbolInfo { min, max, likely: likely.clamp(min, max) });
    };
    declare(TOKENS, 1, tokens, 64);
    declare(SEQUENCES, 1, seqs, 8);
    declare(LOGITS, 0, tokens, 8);
    declare(DECODE_TOKENS, 0, seqs, 8);
    declare(DECODE_SEQUENCES, 0, seqs, 8);
    declare(CONTEXT, 1, context, 8 * 512);
    declare(MAX_CONTEXT, 1, len, 512);
    declare(MAX_NEW, 1, tokens.min(len), 64);
    declare(PAIRS, 1, context.saturating_mul(tokens.min(len)), 64 * 512);
    declare(TABLE_WIDTH, 1, bucketed_pages(limits.max_model_len, limits.block_size), 512 / block);
    for (lesser, greater) in [
        (SEQUENCES, TOKENS),
        (LOGITS, TOKENS),
        (DECODE_TOKENS, TOKENS),
        (DECODE_SEQUENCES, SEQUENCES),
        (MAX_CONTEXT, CONTEXT),
        (MAX_NEW, TOKENS),
        (TOKENS, CONTEXT),
        (CONTEXT, PAIRS),
    ] {
        table.assume_le(Dim::symbol(lesser), Dim::symbol(greater));
    }
    table
}

/// Pages that a block table row holds for a context of `tokens`: a power of two, so that it changes rarely.
pub fn bucketed_pages(tokens: u32, block_size: u32) -> i64 {
    i64::from(tokens.max(1).div_ceil(block_size.max(1))).max(1).unsigned_abs().next_power_of_two() as i64
}

/// The type of the input `name`, if the contract has it. Inputs of cache groups are called `NAME.GROUP`.
pub fn input_type(name: &str) -> Option<TensorType> {
    let (tokens, sequences) = (Dim::symbol(TOKENS), Dim::symbol(SEQUENCES));
    let shape = match name.split_once('.') {
        Some(("block_table", _)) => vec![sequences, Dim::symbol(TABLE_WIDTH)],
        Some(("slot_mapping", _)) => vec![tokens],
        Some(_) => return None,
        None => match name {
            "token_ids" | "positions" | "token_sequence" | "token_context" => vec![tokens],
            "token_start" => vec![tokens + Dim::ONE],
            "query_start" => vec![sequences + Dim::ONE],
            "context_len" => vec![sequences],
            "logit_index" => vec![Dim::symbol(LOGITS)],
            _ => return None,
        },
    };
    Some(TensorType::new(DType::I32, shape))
}
