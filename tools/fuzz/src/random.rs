/// Random choices, from a seed or from the bytes that a fuzzer gives.
pub struct Random<'a> {
    /// Taken first, so that a fuzzer that changes a byte changes a choice.
    bytes: &'a [u8],
    state: u64,
}

impl Random<'static> {
    /// The same choices for the same seed.
    pub fn new(seed: u64) -> Self {
        Random { bytes: &[], state: seed }
    }
}

impl<'a> Random<'a> {
    /// Choices that `bytes` name; when they are used up, what follows depends on all of them.
    pub fn of_bytes(bytes: &'a [u8]) -> Self {
        let hash = blake3::hash(bytes);
        let state = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("eight bytes"));
        Random { bytes, state }
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        if let Some((word, rest)) = self.bytes.split_first_chunk::<4>() {
            self.bytes = rest;
            return u64::from(u32::from_le_bytes(*word)) << 32 | u64::from(u32::from_le_bytes(*word));
        }
        // splitmix64
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`; 0 if that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { ((u128::from(self.number()) * limit as u128) >> 64) as usize }
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these; `None` if there is none.
    pub fn pick<'t, T>(&mut self, choices: &'t [T]) -> Option<&'t T> {
        choices.get(self.below(choices.len()))
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.number() as u8).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_follow_the_seed_and_the_bytes() {
        let draw = |mut random: Random<'_>| (0..8).map(|_| random.below(100)).collect::<Vec<_>>();
        assert_eq!(draw(Random::new(1)), draw(Random::new(1)));
        assert_ne!(draw(Random::new(1)), draw(Random::new(2)));
        let (a, b) = (draw(Random::of_bytes(&[9, 9, 9, 9, 1])), draw(Random::of_bytes(&[9, 9, 9, 9, 2])));
        assert_eq!(a[0], b[0]);
        assert_ne!(a, b);
    }
}
