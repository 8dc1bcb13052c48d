//! What a step is given: a packed, ragged batch over paged caches.

use mscc_ir::module::CacheGroup;
use mscc_ir::plan::PlanLimits;

use crate::error::RuntimeError;

/// New tokens of several sequences, one after the other, those that decode first.
///
/// | field          | shape | meaning                                                       |
/// |----------------|-------|---------------------------------------------------------------|
/// | `token_ids`    | `[T]`   | the new tokens of all sequences                               |
/// | `positions`    | `[T]`   | absolute position of each in its sequence                     |
/// | `query_start`  | [B+1] | where each sequence's new tokens start; first 0, last T       |
/// | `context_len`  | `[B]`   | tokens of each sequence, the new included                     |
/// | `logit_index`  | `[L]`   | which tokens need logits                                      |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepBatch {
    /// The new tokens.
    pub token_ids: Vec<i32>,
    /// Their positions.
    pub positions: Vec<i32>,
    /// Where each sequence's new tokens start.
    pub query_start: Vec<i32>,
    /// Tokens of each sequence.
    pub context_len: Vec<i32>,
    /// Which tokens need logits.
    pub logit_index: Vec<i32>,
    /// For each cache group, in the plan's order.
    pub groups: Vec<GroupTables>,
    /// Width M of all block tables.
    pub table_width: usize,
}

/// Where a batch's state lies in one cache group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupTables {
    /// Pages of each sequence, [B, M]. Entries past a sequence's end are 0, and so are those of pages that a window has
    /// left behind.
    pub block_table: Vec<i32>,
    /// Where each new token's state goes, `[T]`: page * block_size + offset.
    pub slot_mapping: Vec<i32>,
}

impl StepBatch {
    /// Of each new token, the sequence to which it belongs, `[T]`.
    pub(crate) fn token_sequence(&self, out: &mut Vec<i32>) {
        out.clear();
        for (sequence, range) in (0..).zip(self.query_start.windows(2)) {
            out.extend((range[0]..range[1]).map(|_| sequence));
        }
    }

    /// Of each new token, how many tokens of its sequence it sees, itself included, `[T]`.
    pub(crate) fn token_context(&self, out: &mut Vec<i32>) {
        out.clear();
        for (range, context) in self.query_start.windows(2).zip(&self.context_len) {
            out.extend((range[0]..range[1]).map(|token| context - (range[1] - 1 - token)));
        }
    }
}

/// Receives values that are read out while a step runs.
pub trait TapSink {
    /// Whether the value of this name is wanted.
    fn wants(&self, name: &str) -> bool;
    /// Takes a value: f32 elements of `shape`, rows packed.
    fn take(&mut self, name: &str, shape: &[usize], values: Vec<f32>);
}

/// What the engine needs of a model that is ready to run.
pub trait StepModel {
    /// The cache groups of which each has tables in a batch.
    fn caches(&self) -> &[CacheGroup];

    /// The limits within which it runs.
    fn limits(&self) -> &PlanLimits;

    /// Takes memory for so many pages of each cache group, dropping what was there.
    ///
    /// Errors: the memory is not to be had.
    fn allocate_caches(&mut self, pages: &[u32]) -> Result<(), RuntimeError>;

    /// Runs one step and gives the logits, f32 [L, V], row after row.
    ///
    /// Errors: a batch outside the limits or with an index outside its table.
    fn step(&mut self, batch: &StepBatch, taps: Option<&mut dyn TapSink>) -> Result<&[f32], RuntimeError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_knows_its_sequence_and_what_it_sees() {
        let batch = StepBatch { query_start: vec![0, 1, 4], context_len: vec![9, 5], ..StepBatch::default() };
        let mut out = Vec::new();
        batch.token_sequence(&mut out);
        assert_eq!(out, [0, 1, 1, 1]);
        batch.token_context(&mut out);
        assert_eq!(out, [9, 3, 4, 5]);
    }
}
