//! The sizes of a step, and the checks that a batch must pass.

use mscc_ir::module::CacheGroup;
use mscc_ir::plan::Plan;
use mscc_ir::{Symbol, SymbolInfo, step};

use super::batch::StepBatch;
use crate::error::RuntimeError;

/// Symbols of the contract, in the order of a step's sizes; those that count the pages of cache groups follow.
const CONTRACT: [&str; 10] = [
    step::TOKENS,
    step::SEQUENCES,
    step::LOGITS,
    step::DECODE_TOKENS,
    step::DECODE_SEQUENCES,
    step::CONTEXT,
    step::MAX_CONTEXT,
    step::MAX_NEW,
    step::PAIRS,
    step::TABLE_WIDTH,
];

/// The values of all symbols in a step, with what the plan says of them.
#[derive(Debug)]
pub struct Sizes {
    names: Vec<String>,
    bounds: Vec<Option<SymbolInfo>>,
    values: Vec<i64>,
    /// Reused to find slots that are given twice.
    slots: Vec<i32>,
}

impl Sizes {
    /// The symbols that steps of this plan have; no pages yet.
    pub fn new(plan: &Plan) -> Sizes {
        let contract = CONTRACT.iter().map(|name| (*name).to_owned());
        let names: Vec<String> = contract.chain(plan.caches.iter().map(CacheGroup::pages_symbol)).collect();
        let info =
            |name: &String| plan.symbols.iter().find(|(other, _)| other == name).map(|(_, info)| *info);
        let bounds = names.iter().map(info).collect();
        Sizes { values: vec![0; names.len()], names, bounds, slots: Vec::new() }
    }

    /// Position among the values, and bounds, of a symbol that steps have and the plan declares.
    pub fn source(&self, symbol: &Symbol) -> Option<(usize, SymbolInfo)> {
        let index = self.names.iter().position(|name| name == symbol.name())?;
        Some((index, self.bounds[index]?))
    }

    /// All values; [`Sizes::source`] gives positions.
    pub fn values(&self) -> &[i64] {
        &self.values
    }

    /// Takes over the pages of each cache group, in the plan's order.
    ///
    /// Errors: a number of groups other than the plan's, or of pages outside its bounds.
    pub fn set_pages(&mut self, pages: &[u32]) -> Result<(), RuntimeError> {
        let groups = self.names.len() - CONTRACT.len();
        require(pages.len() == groups, || {
            format!("{} page counts given for {groups} cache groups", pages.len())
        })?;
        for (index, pages) in (CONTRACT.len()..).zip(pages) {
            self.set(index, i64::from(*pages))?;
        }
        Ok(())
    }

    /// Checks a batch against the plan and takes over its sizes.
    ///
    /// Errors: the first thing that breaks the contract, with its place.
    pub fn take(&mut self, batch: &StepBatch, plan: &Plan) -> Result<(), RuntimeError> {
        let (limits, caches) = (&plan.meta.limits, &plan.caches);
        let (tokens, sequences) = (batch.token_ids.len(), batch.context_len.len());
        require(tokens >= 1, || "there is no token".into())?;
        require(tokens as u64 <= u64::from(limits.max_num_batched_tokens), || {
            format!("{tokens} tokens, the plan allows {}", limits.max_num_batched_tokens)
        })?;
        require(sequences as u64 <= u64::from(limits.max_num_seqs), || {
            format!("{sequences} sequences, the plan allows {}", limits.max_num_seqs)
        })?;
        let lengths = [
            ("positions", batch.positions.len(), tokens),
            ("query_start", batch.query_start.len(), sequences + 1),
            ("groups", batch.groups.len(), caches.len()),
        ];
        for (name, got, expected) in lengths {
            require(got == expected, || format!("`{name}` has {got} entries, expected {expected}"))?;
        }
        within("token_ids", &batch.token_ids, i64::from(limits.vocab_size))?;
        within("positions", &batch.positions, i64::from(limits.max_model_len))?;
        within("logit_index", &batch.logit_index, tokens as i64)?;
        self.sequences(batch, plan)?;
        for (index, group) in caches.iter().enumerate() {
            self.tables(batch, group, index)?;
        }
        Ok(())
    }

    /// Lengths of the sequences, and the symbols that follow from them.
    fn sequences(&mut self, batch: &StepBatch, plan: &Plan) -> Result<(), RuntimeError> {
        let (tokens, sequences) = (batch.token_ids.len() as i64, batch.context_len.len());
        let width = i64::try_from(batch.table_width).unwrap_or(i64::MAX);
        self.set(CONTRACT.len() - 1, width)?;
        let room = plan.caches.iter().map(|group| i64::from(group.block_size).saturating_mul(width)).min();
        let longest = i64::from(plan.meta.limits.max_model_len).min(room.unwrap_or(i64::MAX));
        let starts = &batch.query_start;
        let ends = (starts.first().copied(), starts.last().map(|last| i64::from(*last)));
        require(ends == (Some(0), Some(tokens)), || format!("`query_start` does not go from 0 to {tokens}"))?;
        let (mut decoding, mut context, mut max_context, mut max_new, mut pairs) = (0, 0i64, 0, 0, 0i64);
        for sequence in 0..sequences {
            let new = i64::from(starts[sequence + 1]) - i64::from(starts[sequence]);
            require(new >= 1, || format!("`query_start`[{}] is not above the one before", sequence + 1))?;
            if new == 1 {
                require(decoding == sequence, || {
                    format!("sequence {sequence} has one new token but stands behind one that has more")
                })?;
                decoding += 1;
            }
            let length = i64::from(batch.context_len[sequence]);
            require((new..=longest).contains(&length), || {
                format!("`context_len`[{sequence}] is {length}, outside {new}..={longest}")
            })?;
            context += length;
            max_context = length.max(max_context);
            max_new = new.max(max_new);
            pairs = pairs.saturating_add(new.saturating_mul(length));
        }
        let decoding = decoding as i64;
        let logits = batch.logit_index.len() as i64;
        let values = [
            tokens,
            sequences as i64,
            logits,
            decoding,
            decoding,
            context,
            max_context,
            max_new,
            pairs,
            width,
        ];
        values.into_iter().enumerate().try_for_each(|(index, value)| self.set(index, value))
    }

    /// Tables of a cache group.
    fn tables(&mut self, batch: &StepBatch, group: &CacheGroup, index: usize) -> Result<(), RuntimeError> {
        let tables = &batch.groups[index];
        let pages = self.values[CONTRACT.len() + index];
        let name = |table: &str| format!("{table}.{}", group.name);
        let entries = batch.context_len.len().checked_mul(batch.table_width);
        let table = &tables.block_table;
        require(entries == Some(table.len()), || {
            format!("`{}` has {} entries, expected B * M", name("block_table"), table.len())
        })?;
        within(&name("block_table"), table, pages)?;
        let slots = &tables.slot_mapping;
        require(slots.len() == batch.token_ids.len(), || {
            format!("`{}` has {} entries, expected T", name("slot_mapping"), slots.len())
        })?;
        self.slots.clear();
        self.slots.extend(slots.iter().filter(|slot| **slot >= 0));
        within(&name("slot_mapping"), &self.slots, pages.saturating_mul(i64::from(group.block_size)))?;
        // Two tokens in one slot would be written by two threads at once.
        self.slots.sort_unstable();
        match self.slots.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => {
                Err(RuntimeError::Batch(format!("`{}` names slot {} twice", name("slot_mapping"), pair[0])))
            }
            None => Ok(()),
        }
    }

    fn set(&mut self, index: usize, value: i64) -> Result<(), RuntimeError> {
        if let Some(bounds) = &self.bounds[index] {
            require((bounds.min..=bounds.max).contains(&value), || {
                let SymbolInfo { min, max, .. } = bounds;
                format!("size {} is {value}, the plan allows {min}..={max}", self.names[index])
            })?;
        }
        self.values[index] = value;
        Ok(())
    }
}

fn require(holds: bool, problem: impl FnOnce() -> String) -> Result<(), RuntimeError> {
    if holds { Ok(()) } else { Err(RuntimeError::Batch(problem())) }
}

/// All values lie in `0..limit`.
fn within(name: &str, values: &[i32], limit: i64) -> Result<(), RuntimeError> {
    // Without a way out in the middle the loop becomes vector instructions.
    let greatest = values.iter().fold(0u32, |greatest, value| greatest.max(*value as u32));
    if values.is_empty() || i64::from(greatest) < limit.min(1 << 31) {
        return Ok(());
    }
    let bad = |value: &i32| !(0..limit).contains(&i64::from(*value));
    let position = values.iter().position(bad).expect("the greatest, as unsigned, is out of range");
    let value = values[position];
    Err(RuntimeError::Batch(format!("`{name}`[{position}] is {value}, outside 0..{limit}")))
}
