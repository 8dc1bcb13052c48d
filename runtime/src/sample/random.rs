use std::hash::{BuildHasher, RandomState};

/// Random number `index` of the stream of `seed`, in [0, 1), with 53 random bits.
///
/// It is computed, not drawn from a state, so that a sequence that starts again goes on with the same numbers.
///
/// Source: SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
pub(super) fn uniform(seed: u64, index: u64) -> f64 {
    let state = mix(seed).wrapping_add(index.wrapping_add(1).wrapping_mul(GOLDEN));
    (mix(state) >> 11) as f64 / (1u64 << 53) as f64
}

/// A seed that differs with every call.
pub(crate) fn fresh_seed() -> u64 {
    // The standard library keys every hasher anew, from the system's randomness.
    RandomState::new().hash_one(0)
}

/// 2^64 divided by the golden ratio, odd.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_splitmix64() {
        // With a mixed seed of 0 the stream is SplitMix64's for 0, whose first output is published.
        assert_eq!(mix(0), 0);
        assert_eq!(mix(GOLDEN), 0xE220_A839_7B1D_CDAF);
        assert_eq!(uniform(0, 0), (0xE220_A839_7B1D_CDAFu64 >> 11) as f64 / (1u64 << 53) as f64);
    }

    #[test]
    fn streams_are_uniform_and_uncorrelated() {
        for seed in [0, 1, 2, u64::MAX] {
            let mut cells = [0u32; 16];
            let mut pairs = 0.0;
            for index in 0..16_000 {
                let x = uniform(seed, index);
                cells[(x * 16.0) as usize] += 1;
                pairs += (x - 0.5) * (uniform(seed.wrapping_add(1), index) - 0.5);
            }
            let chi_square: f64 = cells.iter().map(|n| (f64::from(*n) - 1000.0).powi(2) / 1000.0).sum();
            assert!(chi_square < 37.7, "15 degrees of freedom, 0.1 %: {chi_square}");
            assert!((pairs / 16_000.0 * 12.0_f64).abs() < 0.03, "{pairs}");
        }
        assert_ne!(fresh_seed(), fresh_seed());
    }
}
