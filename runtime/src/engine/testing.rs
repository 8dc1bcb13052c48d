//! A model of which every logit depends on all tokens of its sequence, read back through the paged caches.

use mscc_ir::DType;
use mscc_ir::module::{CacheGroup, CacheKind, CacheTensor};
use mscc_ir::plan::PlanLimits;

use crate::error::RuntimeError;
use crate::step::batch::{StepBatch, StepModel, TapSink};

/// Keeps token ids in its caches: what a table or slot that is wrong does to a real model shows in the logits.
#[derive(Debug)]
pub(super) struct FakeModel {
    caches: Vec<CacheGroup>,
    limits: PlanLimits,
    /// Token ids by slot, one list for each group.
    slots: Vec<Vec<u32>>,
    logits: Vec<f32>,
    /// Steps run so far.
    pub(super) num_steps: usize,
    /// Gives NaN where the sequence's last token is this.
    pub(super) poison: Option<u32>,
    /// Fails at the step of this number.
    pub(super) fails_at: Option<usize>,
}

pub(super) const VOCAB: u32 = 23;
const EMPTY: u32 = u32::MAX;

impl FakeModel {
    /// With one cache group for each block size.
    pub(super) fn new(
        block_sizes: &[u32],
        max_model_len: u32,
        max_num_seqs: u32,
        max_num_batched_tokens: u32,
    ) -> Self {
        let group = |(index, block_size): (usize, &u32)| CacheGroup {
            name: format!("group{index}"),
            kind: if index % 2 == 0 { CacheKind::Full } else { CacheKind::Latent },
            block_size: *block_size,
            tensors: vec![CacheTensor { name: "tokens".into(), dtype: DType::I32, row: vec![1] }],
            layers: std::iter::once(0..1).collect(),
        };
        Self {
            caches: block_sizes.iter().enumerate().map(group).collect(),
            limits: PlanLimits { max_model_len, max_num_seqs, max_num_batched_tokens, vocab_size: VOCAB },
            slots: Vec::new(),
            logits: Vec::new(),
            num_steps: 0,
            poison: None,
            fails_at: None,
        }
    }

    /// The same with windows for those groups that have one here.
    pub(super) fn with_windows(mut self, windows: &[Option<u32>]) -> Self {
        for (group, window) in self.caches.iter_mut().zip(windows) {
            if let Some(window) = window {
                group.kind = CacheKind::Window(*window);
            }
        }
        self
    }
}

/// The logits that follow on `tokens`, as much as each cache group keeps of them.
pub(super) fn logits_after(tokens: &[u32], windows: &[Option<u32>]) -> Vec<f32> {
    let kept = |window: &Option<u32>| &tokens[first_seen(tokens.len(), *window)..];
    logits_of(&windows.iter().flat_map(kept).copied().collect::<Vec<u32>>())
}

/// The first position that the last of so many tokens sees.
fn first_seen(tokens: usize, window: Option<u32>) -> usize {
    window.map_or(0, |window| tokens.saturating_sub(window as usize))
}

fn logits_of(seen: &[u32]) -> Vec<f32> {
    let mut hash = 17u64;
    for token in seen {
        hash = (hash ^ u64::from(*token)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23);
    }
    let mut logits = Vec::new();
    for _ in 0..VOCAB {
        hash = hash.wrapping_mul(0xBF58_476D_1CE4_E5B9).wrapping_add(0x94D0_49BB_1331_11EB) ^ (hash >> 29);
        logits.push((hash >> 40) as f32 / (1u64 << 22) as f32);
    }
    logits
}

impl StepModel for FakeModel {
    fn caches(&self) -> &[CacheGroup] {
        &self.caches
    }

    fn limits(&self) -> &PlanLimits {
        &self.limits
    }

    fn allocate_caches(&mut self, pages: &[u32]) -> Result<(), RuntimeError> {
        let slots = |(group, pages): (&CacheGroup, &u32)| vec![EMPTY; (group.block_size * pages) as usize];
        self.slots = self.caches.iter().zip(pages).map(slots).collect();
        Ok(())
    }

    fn step(&mut self, batch: &StepBatch, taps: Option<&mut dyn TapSink>) -> Result<&[f32], RuntimeError> {
        self.num_steps += 1;
        if self.fails_at == Some(self.num_steps) {
            return Err(RuntimeError::Batch("this step fails".into()));
        }
        let (tokens, sequences) = (batch.token_ids.len(), batch.context_len.len());
        assert!((1..=self.limits.max_num_batched_tokens as usize).contains(&tokens));
        assert!((1..=self.limits.max_num_seqs as usize).contains(&sequences));
        assert_eq!((batch.positions.len(), batch.query_start.len()), (tokens, sequences + 1));
        assert_eq!((batch.query_start[0], batch.query_start[sequences]), (0, tokens as i32));
        let new: Vec<i32> = batch.query_start.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(
            new.iter().all(|new| *new > 0) && new.is_sorted_by_key(|new| *new > 1),
            "decode-first: {new:?}"
        );
        let longest = *batch.context_len.iter().max().unwrap();
        assert!(longest as u32 <= self.limits.max_model_len);
        let pages_of =
            |context: i32, group: &CacheGroup| (context as usize).div_ceil(group.block_size as usize);
        let width =
            self.caches.iter().map(|group| pages_of(longest, group).next_power_of_two()).max().unwrap_or(1);
        assert_eq!(batch.table_width, width);
        assert!(batch.logit_index.is_sorted());

        for ((tables, group), slots) in batch.groups.iter().zip(&self.caches).zip(&mut self.slots) {
            assert_eq!((tables.block_table.len(), tables.slot_mapping.len()), (sequences * width, tokens));
            for (slot, token) in tables.slot_mapping.iter().zip(&batch.token_ids) {
                slots[*slot as usize] = *token as u32;
            }
            for ((row, context), new) in tables.block_table.chunks(width).zip(&batch.context_len).zip(&new) {
                let first = first_seen((context - new + 1) as usize, group.window());
                assert!(
                    row[..first / group.block_size as usize].iter().all(|page| *page == 0),
                    "entries of pages let go are 0"
                );
                assert!(
                    row[pages_of(*context, group)..].iter().all(|page| *page == 0),
                    "entries past the end are 0"
                );
            }
        }
        self.logits.clear();
        for index in &batch.logit_index {
            let row = batch.query_start[1..].iter().position(|end| index < end).unwrap();
            let context = batch.positions[*index as usize] as usize + 1;
            let from_end = batch.query_start[row + 1] - 1 - index;
            assert_eq!(context as i32 + from_end, batch.context_len[row]);
            let mut seen = Vec::new();
            for ((tables, group), slots) in batch.groups.iter().zip(&self.caches).zip(&self.slots) {
                let block_size = group.block_size as usize;
                let pages = &tables.block_table[row * width..];
                seen.extend(
                    (first_seen(context, group.window())..context)
                        .map(|at| slots[pages[at / block_size] as usize * block_size + at % block_size]),
                );
            }
            let last = batch.token_ids[*index as usize] as u32;
            if self.poison == Some(last) {
                self.logits.extend([f32::NAN; VOCAB as usize]);
            } else {
                self.logits.extend(logits_of(&seen));
            }
        }
        if let Some(taps) = taps.filter(|taps| taps.wants("tokens")) {
            taps.take("tokens", &[tokens], batch.token_ids.iter().map(|token| *token as f32).collect());
        }
        Ok(&self.logits)
    }
}
