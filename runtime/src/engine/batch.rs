use mscc_ir::module::CacheGroup;
use mscc_ir::step::bucketed_pages;

use crate::step::batch::{GroupTables, StepBatch};

use super::cache::SequencePages;

/// Packs sequences into batches. Rows of block tables stay as they are where the same sequence has the same row again;
/// only its new pages are written.
#[derive(Debug)]
pub(super) struct BatchBuilder {
    block_sizes: Vec<u32>,
    batch: StepBatch,
    rows: Vec<Row>,
}

/// The part of a sequence that a step computes.
pub(super) struct Part<'a> {
    /// The same for the same sequence with the same pages, perhaps more of them at its end and fewer at its start.
    pub(super) epoch: u64,
    /// All of its tokens up to the last one computed now.
    pub(super) tokens: &'a [u32],
    /// How many of them are computed now, the last ones; at least one.
    pub(super) num_new: usize,
    /// Its pages, enough for the tokens.
    pub(super) pages: &'a SequencePages,
    /// How many of the last tokens need logits.
    pub(super) num_logits: usize,
}

/// What a row of the block tables holds.
#[derive(Debug)]
struct Row {
    epoch: u64,
    /// Tokens whose pages are written.
    tokens: usize,
}

impl BatchBuilder {
    pub(super) fn new(caches: &[CacheGroup]) -> Self {
        let groups = vec![GroupTables::default(); caches.len()];
        Self {
            block_sizes: caches.iter().map(|group| group.block_size).collect(),
            batch: StepBatch { groups, ..StepBatch::default() },
            rows: Vec::new(),
        }
    }

    /// The batch of these parts; those with one new token must stand first.
    pub(super) fn build(&mut self, parts: &[Part<'_>]) -> &StepBatch {
        debug_assert!(parts.is_sorted_by_key(|part| part.num_new > 1), "sequences that decode stand first");
        let batch = &mut self.batch;
        batch.token_ids.clear();
        batch.positions.clear();
        batch.query_start.clear();
        batch.context_len.clear();
        batch.logit_index.clear();
        batch.query_start.push(0);
        for part in parts {
            let (context, first) = (part.tokens.len(), part.tokens.len() - part.num_new);
            batch.token_ids.extend(part.tokens[first..].iter().map(|token| *token as i32));
            batch.positions.extend((first..context).map(as_i32));
            let end = batch.token_ids.len();
            batch.query_start.push(as_i32(end));
            batch.context_len.push(as_i32(context));
            batch.logit_index.extend((end - part.num_logits..end).map(as_i32));
        }
        self.fill_tables(parts);
        &self.batch
    }

    fn fill_tables(&mut self, parts: &[Part<'_>]) {
        let longest = parts.iter().map(|part| part.tokens.len()).max().unwrap_or(1) as u32;
        let widths = self.block_sizes.iter().map(|block_size| bucketed_pages(longest, *block_size) as usize);
        let width = widths.max().unwrap_or(1);
        if std::mem::replace(&mut self.batch.table_width, width) != width {
            self.rows.clear();
        }
        self.rows.truncate(parts.len());
        for (index, (tables, block_size)) in self.batch.groups.iter_mut().zip(&self.block_sizes).enumerate() {
            let block_size = *block_size as usize;
            tables.block_table.resize(parts.len() * width, 0);
            tables.slot_mapping.clear();
            for (at, (part, row)) in parts.iter().zip(tables.block_table.chunks_exact_mut(width)).enumerate()
            {
                let (gone, pages) = (part.pages[index].gone(), part.pages[index].pages());
                let used = part.tokens.len().div_ceil(block_size);
                let written = match self.rows.get(at) {
                    Some(old) if old.epoch == part.epoch => old.tokens.div_ceil(block_size),
                    Some(_) | None => {
                        row[used..].fill(0);
                        0
                    }
                };
                row[..gone].fill(0);
                for (entry, page) in row[gone..used].iter_mut().zip(pages).skip(written.saturating_sub(gone))
                {
                    *entry = *page as i32;
                }
                let first = part.tokens.len() - part.num_new;
                let slot = |position| {
                    let page = pages[position / block_size - gone] as usize;
                    as_i32(page * block_size + position % block_size)
                };
                tables.slot_mapping.extend((first..part.tokens.len()).map(slot));
            }
        }
        self.rows.clear();
        self.rows.extend(parts.iter().map(|part| Row { epoch: part.epoch, tokens: part.tokens.len() }));
    }
}

/// Positions, slots and counts are below 2^31, by the limits that the engine checks.
fn as_i32(value: usize) -> i32 {
    debug_assert!(i32::try_from(value).is_ok());
    value as i32
}
