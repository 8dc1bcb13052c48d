use mscc_ir::module::CacheGroup;

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
    pub fn give_back(&mut self, pages: &mut Vec<u32>) {
        #[cfg(debug_assertions)]
        for page in pages.iter() {
            let was_free = std::mem::replace(&mut self.is_free[*page as usize], true);
            assert!(!was_free, "page {page} is given back twice");
        }
        self.free.extend(pages.drain(..).rev());
    }
}

/// The pages of all cache groups of a model.
#[derive(Clone, Debug)]
pub(crate) struct PagedCache {
    groups: Vec<GroupPages>,
}

/// The pages of one sequence in each cache group, in order of position.
pub(crate) type SequencePages = Vec<Vec<u32>>;

#[derive(Clone, Debug)]
struct GroupPages {
    allocator: PageAllocator,
    block_size: usize,
}

impl PagedCache {
    /// All pages of the groups, so many each.
    pub(crate) fn new(caches: &[CacheGroup], num_pages: &[u32]) -> Self {
        let group = |(cache, pages): (&CacheGroup, &u32)| GroupPages {
            allocator: PageAllocator::new(*pages),
            block_size: cache.block_size.max(1) as usize,
        };
        Self { groups: caches.iter().zip(num_pages).map(group).collect() }
    }

    /// A sequence without pages.
    pub(crate) fn no_pages(&self) -> SequencePages {
        vec![Vec::new(); self.groups.len()]
    }

    /// Tokens of one sequence that fit when there is no other.
    pub(crate) fn capacity(&self) -> usize {
        let tokens = |group: &GroupPages| group.allocator.num_pages as usize * group.block_size;
        self.groups.iter().map(tokens).min().unwrap_or(usize::MAX)
    }

    /// Whether a new sequence of so many tokens fits, with `spare` pages left in each group.
    pub(crate) fn fits(&self, tokens: usize, spare: usize) -> bool {
        self.groups.iter().all(|g| tokens.div_ceil(g.block_size) + spare <= g.allocator.num_free())
    }

    /// Gives a sequence the pages it lacks for so many tokens; false, and nothing done, if a group has too few.
    pub(crate) fn grow(&mut self, pages: &mut SequencePages, tokens: usize) -> bool {
        let lacks = |group: &GroupPages, have: &Vec<u32>| {
            tokens.div_ceil(group.block_size).saturating_sub(have.len())
        };
        let enough =
            |(group, have): (&GroupPages, &Vec<u32>)| lacks(group, have) <= group.allocator.num_free();
        if !self.groups.iter().zip(pages.iter()).all(enough) {
            return false;
        }
        for (group, have) in self.groups.iter_mut().zip(pages) {
            let taken = group.allocator.take(lacks(group, have), have);
            debug_assert!(taken, "there were enough");
        }
        true
    }

    /// Takes back all pages of a sequence.
    pub(crate) fn release(&mut self, pages: &mut SequencePages) {
        for (group, have) in self.groups.iter_mut().zip(pages) {
            group.allocator.give_back(have);
        }
    }

    /// Free pages of each group.
    pub(crate) fn num_free(&self) -> Vec<usize> {
        self.groups.iter().map(|group| group.allocator.num_free()).collect()
    }

    /// Checks that every page is free or one of `held`, the sequences' pages.
    pub(crate) fn check<'a>(&self, held: impl Iterator<Item = &'a SequencePages> + Clone) {
        for (index, group) in self.groups.iter().enumerate() {
            let used: usize = held.clone().map(|pages| pages[index].len()).sum();
            let total = group.allocator.num_pages as usize;
            assert_eq!(used + group.allocator.num_free(), total, "pages of group {index} are lost");
        }
    }
}

#[cfg(test)]
mod tests {
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
        allocator.give_back(&mut pages);
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
                    allocator.give_back(&mut owners[owner]);
                }
                let mut held: Vec<u32> = owners.concat();
                prop_assert_eq!(held.len() + allocator.num_free(), num_pages as usize);
                held.sort_unstable();
                held.dedup();
                prop_assert_eq!(held.len() + allocator.num_free(), num_pages as usize);
            }
        }
    }
}
