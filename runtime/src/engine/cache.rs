use std::ops::Range;

use mscc_ir::module::CacheGroup;
use smallvec::SmallVec;

/// The free pages of one cache group.
///
/// Invariant: a page is either free or was taken and not given back.
#[derive(Clone, Debug)]
pub struct PageAllocator {
    /// The next to take stands last.
    free: Vec<u32>,
    num_pages: u32,
    /// Whether each page is free; the oracle of debug builds.
    #[cfg(debug_assertions)]
    is_free: Vec<bool>,
}

impl PageAllocator {
    /// Pages 0 to `num_pages`, all free.
    pub fn new(num_pages: u32) -> Self {
        Self {
            free: (0..num_pages).rev().collect(),
            num_pages,
            #[cfg(debug_assertions)]
            is_free: vec![true; num_pages as usize],
        }
    }

    /// How many pages there are.
    pub fn num_pages(&self) -> u32 {
        self.num_pages
    }

    /// How many are free.
    pub fn num_free(&self) -> usize {
        self.free.len()
    }

    /// Appends `count` pages to `pages`, those given back last first; false, and nothing done, if there are fewer.
    pub fn take(&mut self, count: usize, pages: &mut Vec<u32>) -> bool {
        let Some(left) = self.free.len().checked_sub(count) else { return false };
        #[cfg(debug_assertions)]
        for page in &self.free[left..] {
            self.is_free[*page as usize] = false;
        }
        pages.extend(self.free.drain(left..).rev());
        true
    }

    /// Takes back all of `pages`.
    pub fn give_back(&mut self, pages: impl DoubleEndedIterator<Item = u32>) {
        let first = self.free.len();
        self.free.extend(pages.rev());
        #[cfg(debug_assertions)]
        for page in &self.free[first..] {
            let was_free = std::mem::replace(&mut self.is_free[*page as usize], true);
            assert!(!was_free, "page {page} is given back twice");
        }
        #[cfg(not(debug_assertions))]
        let _ = first;
    }
}

/// The pages of all cache groups of a model.
///
/// A group that keeps a window is one that keeps all, but that lets pages go as soon as no later token sees them.
#[derive(Clone, Debug)]
pub(crate) struct PagedCache {
    groups: Vec<GroupPages>,
    /// Most new tokens of a sequence in a step.
    most_new: usize,
}

/// The pages of one sequence in each cache group.
pub(crate) type SequencePages = Vec<HeldPages>;

/// The pages of one sequence in a cache group: those of a part of its positions, which ends with the last ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeldPages {
    /// Pages of earlier positions, which were let go.
    gone: usize,
    pages: Vec<u32>,
}

impl HeldPages {
    /// How many pages of the first positions were let go.
    pub(crate) fn gone(&self) -> usize {
        self.gone
    }

    /// The pages held, the first of them number [`gone`](Self::gone) of the sequence.
    pub(crate) fn pages(&self) -> &[u32] {
        &self.pages
    }
}

#[derive(Clone, Debug)]
struct GroupPages {
    allocator: PageAllocator,
    group: CacheGroup,
}

impl GroupPages {
    /// Which pages of a sequence of `tokens` have to be held while those behind the first `computed` are computed, at
    /// most `most_new` in a step. There are never more of them with more computed.
    fn wanted(&self, computed: usize, tokens: usize, most_new: usize) -> Range<usize> {
        let block_size = self.group.block_size.max(1) as usize;
        let window = self.group.window().map_or(usize::MAX, |window| window as usize);
        let first = (computed + 1).saturating_sub(window) / block_size;
        let new = most_new.min(tokens.saturating_sub(computed));
        let most = self.group.most_pages(tokens as u64, new as u64);
        first..tokens.div_ceil(block_size).min(first.saturating_add(most as usize)).max(first)
    }
}

impl PagedCache {
    /// All pages of the groups, so many each, for steps of at most so many new tokens of one sequence.
    pub(crate) fn new(caches: &[CacheGroup], num_pages: &[u32], most_new: usize) -> Self {
        let group = |(cache, pages): (&CacheGroup, &u32)| GroupPages {
            allocator: PageAllocator::new(*pages),
            group: cache.clone(),
        };
        Self { groups: caches.iter().zip(num_pages).map(group).collect(), most_new }
    }

    /// A sequence without pages.
    pub(crate) fn no_pages(&self) -> SequencePages {
        vec![HeldPages::default(); self.groups.len()]
    }

    /// Tokens of one sequence that fit when there is no other.
    pub(crate) fn capacity(&self) -> usize {
        let tokens = |group: &GroupPages| {
            let pages = group.allocator.num_pages as usize;
            match group.group.most_pages(u64::MAX, self.most_new as u64) <= pages as u64 {
                true => usize::MAX,
                false => pages * group.group.block_size.max(1) as usize,
            }
        };
        self.groups.iter().map(tokens).min().unwrap_or(usize::MAX)
    }

    /// Whether a new sequence of so many tokens fits, with `spare` pages left in each group.
    pub(crate) fn fits(&self, tokens: usize, spare: usize) -> bool {
        let wanted = |group: &GroupPages| group.wanted(0, tokens, self.most_new).len();
        self.groups.iter().all(|group| wanted(group) + spare <= group.allocator.num_free())
    }

    /// Lets a sequence hold the pages with which the first `computed` of its tokens are seen and the others computed,
    /// and no other; false, and none taken, if a group has too few.
    ///
    /// A sequence that has held pages for its tokens can always hold them for the same tokens when more are computed.
    pub(crate) fn hold(&mut self, held: &mut SequencePages, computed: usize, tokens: usize) -> bool {
        let mut enough = true;
        let mut lacking: SmallVec<[usize; 4]> = SmallVec::new();
        for (group, held) in self.groups.iter_mut().zip(held.iter_mut()) {
            let wanted = group.wanted(computed, tokens, self.most_new);
            let passed = (wanted.start - held.gone).min(held.pages.len());
            group.allocator.give_back(held.pages.drain(..passed));
            held.gone = wanted.start;
            let kept = held.pages.len().min(wanted.len());
            group.allocator.give_back(held.pages.drain(kept..));
            lacking.push(wanted.len() - kept);
            enough &= wanted.len() - kept <= group.allocator.num_free();
        }
        if !enough {
            return false;
        }
        for ((group, held), lacking) in self.groups.iter_mut().zip(held).zip(lacking) {
            let taken = group.allocator.take(lacking, &mut held.pages);
            debug_assert!(taken, "there were enough");
        }
        true
    }

    /// Takes back all pages of a sequence.
    pub(crate) fn release(&mut self, held: &mut SequencePages) {
        for (group, held) in self.groups.iter_mut().zip(held) {
            group.allocator.give_back(held.pages.drain(..));
            held.gone = 0;
        }
    }

    /// Free pages of each group.
    pub(crate) fn num_free(&self) -> Vec<usize> {
        self.groups.iter().map(|group| group.allocator.num_free()).collect()
    }

    /// Checks that every page is free or one of `held`, the sequences' pages.
    pub(crate) fn check<'a>(&self, held: impl Iterator<Item = &'a SequencePages> + Clone) {
        for (index, group) in self.groups.iter().enumerate() {
            let used: usize = held.clone().map(|held| held[index].pages.len()).sum();
            let total = group.allocator.num_pages as usize;
            assert_eq!(used + group.allocator.num_free(), total, "pages of group {index} are lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use mscc_ir::module::CacheKind;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn taking_is_all_or_nothing() {
        let mut allocator = PageAllocator::new(3);
        let mut pages = Vec::new();
        assert!(!allocator.take(4, &mut pages));
        assert!(pages.is_empty());
        assert!(allocator.take(2, &mut pages));
        assert_eq!((pages.as_slice(), allocator.num_free()), ([0, 1].as_slice(), 1));
        allocator.give_back(pages.drain(..));
        assert!(allocator.take(3, &mut pages));
        assert_eq!(pages, [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn no_page_is_held_twice(num_pages in 0u32..40, calls in prop::collection::vec((0usize..5, 0usize..12), 0..60)) {
            let mut allocator = PageAllocator::new(num_pages);
            let mut owners = vec![Vec::new(); 5];
            for (owner, count) in calls {
                if owners[owner].len() > count || !allocator.take(count, &mut owners[owner]) {
                    allocator.give_back(owners[owner].drain(..));
                }
                let mut held: Vec<u32> = owners.concat();
                prop_assert_eq!(held.len() + allocator.num_free(), num_pages as usize);
                held.sort_unstable();
                held.dedup();
                prop_assert_eq!(held.len() + allocator.num_free(), num_pages as usize);
            }
        }
    }

    fn group(kind: CacheKind, block_size: u32) -> CacheGroup {
        CacheGroup { name: "g".into(), kind, block_size, tensors: vec![], layers: vec![] }
    }

    proptest! {
        #[test]
        fn windows_are_held_and_nothing_else(
            block_size in 1u32..7,
            window in prop::option::of(1u32..30),
            prompt in 1usize..60,
            generated in 0usize..40,
            most_new in 1usize..20,
            chunks in prop::collection::vec(1usize..20, 60),
        ) {
            let kind = window.map_or(CacheKind::Full, CacheKind::Window);
            let group = group(kind, block_size);
            let block = block_size as usize;
            // As many as the longest needs, and not one more.
            let pages = group.most_pages((prompt + generated) as u64, most_new as u64) as u32;
            let mut cache = PagedCache::new(&[group], &[pages], most_new);
            prop_assert!(cache.capacity() >= prompt + generated);
            let mut held = cache.no_pages();
            let (mut computed, mut tokens) = (0, prompt);
            let mut known: Vec<Option<u32>> = Vec::new();
            for chunk in chunks.into_iter().chain(std::iter::repeat_n(most_new, 100)) {
                let more = computed == 0 || tokens > prompt;
                prop_assert!(cache.hold(&mut held, computed, tokens), "{more}");
                cache.check(std::iter::once(&held));
                let end = computed + chunk.min(most_new).min(tokens - computed);
                let first_seen = (computed + 1).saturating_sub(window.map_or(usize::MAX, |window| window as usize));
                prop_assert_eq!(held[0].gone(), first_seen / block);
                prop_assert!(held[0].gone() + held[0].pages().len() >= end.div_ceil(block));
                known.resize(end.div_ceil(block).max(known.len()), None);
                for (index, known) in known.iter_mut().enumerate().skip(held[0].gone()) {
                    let page = held[0].pages()[index - held[0].gone()];
                    prop_assert_eq!(*known.get_or_insert(page), page, "state stays where it was written");
                }
                computed = end;
                if computed == tokens {
                    if tokens == prompt + generated {
                        break;
                    }
                    tokens += 1;
                }
            }
            cache.release(&mut held);
            prop_assert_eq!(cache.num_free(), [pages as usize]);
        }
    }
}
