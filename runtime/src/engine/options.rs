use mscc_ir::module::CacheGroup;
use mscc_ir::plan::PlanLimits;

use super::EngineError;

/// How an engine serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Most memory of the paged caches, in bytes; less is taken where the plan's limits need less.
    pub cache_bytes: u64,
    /// Pages of each cache group, in place of what `cache_bytes` gives.
    pub num_pages: Option<Vec<u32>>,
    /// Most sequences in a step, if fewer than the plan allows.
    pub max_num_seqs: Option<u32>,
    /// Most new tokens in a step, if fewer than the plan allows.
    pub max_num_batched_tokens: Option<u32>,
    /// Tokens that end every request that does not ignore them.
    pub eos_token_ids: Vec<u32>,
}

impl Default for EngineOptions {
    /// Caches of at most 4 GiB, and what the plan allows.
    fn default() -> Self {
        Self {
            cache_bytes: 4 << 30,
            num_pages: None,
            max_num_seqs: None,
            max_num_batched_tokens: None,
            eos_token_ids: Vec::new(),
        }
    }
}

impl EngineOptions {
    /// With so much memory for the caches, in bytes.
    #[must_use]
    pub fn cache_bytes(self, cache_bytes: u64) -> Self {
        Self { cache_bytes, ..self }
    }

    /// With so many pages in each cache group.
    #[must_use]
    pub fn num_pages(self, num_pages: impl Into<Vec<u32>>) -> Self {
        Self { num_pages: Some(num_pages.into()), ..self }
    }

    /// With at most so many sequences in a step.
    #[must_use]
    pub fn max_num_seqs(self, max_num_seqs: u32) -> Self {
        Self { max_num_seqs: Some(max_num_seqs), ..self }
    }

    /// With at most so many new tokens in a step.
    #[must_use]
    pub fn max_num_batched_tokens(self, max_num_batched_tokens: u32) -> Self {
        Self { max_num_batched_tokens: Some(max_num_batched_tokens), ..self }
    }

    /// With these tokens as ends.
    #[must_use]
    pub fn eos_token_ids(self, eos_token_ids: impl Into<Vec<u32>>) -> Self {
        Self { eos_token_ids: eos_token_ids.into(), ..self }
    }

    /// Pages of each group: enough for all sequences at full length, or what the memory holds.
    pub(super) fn pages(&self, caches: &[CacheGroup], limits: &PlanLimits) -> Result<Vec<u32>, EngineError> {
        if let Some(num_pages) = &self.num_pages {
            let given = num_pages.len() as u64;
            if num_pages.len() != caches.len() {
                return Err(EngineError::Limit {
                    name: "length of num_pages",
                    value: given,
                    most: caches.len() as u64,
                });
            }
            for (pages, group) in num_pages.iter().zip(caches) {
                let most = most_pages(group);
                if !(1..=most).contains(&u64::from(*pages)) {
                    return Err(EngineError::Limit { name: "num_pages", value: u64::from(*pages), most });
                }
            }
            return Ok(num_pages.clone());
        }
        let page_bytes = |group: &CacheGroup| {
            let bytes = group.bytes_per_token().unwrap_or(u64::MAX);
            bytes.saturating_mul(u64::from(group.block_size))
        };
        let least_bytes = caches.iter().map(page_bytes).fold(0u64, u64::saturating_add);
        if least_bytes > self.cache_bytes {
            return Err(EngineError::CacheBytes { bytes: self.cache_bytes, least_bytes });
        }
        let all_sequences = |group: &CacheGroup| {
            let (len, new) = (limits.max_model_len, limits.max_num_batched_tokens);
            let pages = group.most_pages(u64::from(len), u64::from(new));
            pages.saturating_mul(u64::from(limits.max_num_seqs)).clamp(1, most_pages(group))
        };
        let pages_for = |tokens: u64, group: &CacheGroup| {
            (tokens / u64::from(group.block_size)).clamp(1, all_sequences(group))
        };
        let bytes_for = |tokens: u64| {
            let bytes = caches.iter().map(|g| pages_for(tokens, g).saturating_mul(page_bytes(g)));
            bytes.fold(0u64, u64::saturating_add)
        };
        // The most tokens, the same in each group, whose pages fit the memory; a group that needs fewer leaves the
        // rest to the others.
        let (mut fit, mut too_many) = (0u64, u64::from(u32::MAX) + 1);
        while fit + 1 < too_many {
            let middle = fit + (too_many - fit) / 2;
            if bytes_for(middle) <= self.cache_bytes {
                fit = middle;
            } else {
                too_many = middle;
            }
        }
        let pages = caches.iter().map(|group| pages_for(fit, group));
        Ok(pages.map(|pages| u32::try_from(pages).expect("at most most_pages")).collect())
    }
}

/// Slots are counted in i32.
fn most_pages(group: &CacheGroup) -> u64 {
    (i32::MAX as u64 / u64::from(group.block_size)).max(1)
}

#[cfg(test)]
mod tests {
    use mscc_ir::DType;
    use mscc_ir::module::{CacheKind, CacheTensor};

    use super::*;

    fn group(block_size: u32, row: u32) -> CacheGroup {
        let tensor = CacheTensor { name: "key".into(), dtype: DType::F32, row: vec![row] };
        CacheGroup {
            name: "full".into(),
            kind: CacheKind::Full,
            block_size,
            tensors: vec![tensor],
            layers: std::iter::once(0..2).collect(),
        }
    }

    #[test]
    fn pages_fit_the_memory_and_the_need() {
        let limits =
            PlanLimits { max_model_len: 100, max_num_seqs: 4, max_num_batched_tokens: 64, vocab_size: 10 };
        let groups = [group(16, 8), group(4, 1)];
        let pages = |bytes| EngineOptions::default().cache_bytes(bytes).pages(&groups, &limits);
        // 100 tokens are 7 pages of 16 and 25 of 4; 64 and 8 bytes a token.
        assert_eq!(pages(1 << 30).unwrap(), [28, 100]);
        assert_eq!(pages(16 * 64 + 4 * 8).unwrap(), [1, 1]);
        assert_eq!(pages(16 * 64 + 8 * 4 * 8).unwrap(), [1, 7]);
        let error = pages(1000).unwrap_err().to_string();
        assert_eq!(error, "1000 bytes of cache are too few: the least, a page of each group, is 1056 bytes");
        let given = EngineOptions::default().num_pages([3, 5]);
        assert_eq!(given.pages(&groups, &limits).unwrap(), [3, 5]);
        assert!(EngineOptions::default().num_pages([3]).pages(&groups, &limits).is_err());
        assert!(EngineOptions::default().num_pages([3, 0]).pages(&groups, &limits).is_err());
        // A window leaves to others what it does not need: 4 times the pages that 15 + 64 tokens can lie in.
        let windowed = CacheGroup { kind: CacheKind::Window(16), ..group(4, 1) };
        let groups = [group(16, 8), windowed];
        let pages = |bytes| EngineOptions::default().cache_bytes(bytes).pages(&groups, &limits).unwrap();
        assert_eq!(pages(1 << 30), [28, 4 * 21]);
        assert_eq!(pages(27 * 16 * 64 + 84 * 4 * 8), [27, 84]);
    }
}
