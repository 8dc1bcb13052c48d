use anyhow::bail;
use half::f16;
use mscc_ir::DType;
use mscc_models::SourceWeight;

/// Draws the elements of a tensor.
///
/// An element depends on the seed, the tensor's name and its own place only, so that any thread may draw
/// any part. Only integer arithmetic, one multiplication and one addition lie between a random word and
/// the element: the result is the same on every machine.
///
/// | tensor                  | distribution                      |
/// |-------------------------|-----------------------------------|
/// | rank 1, `...weight`     | 1 ± 0.05: the scales of norms     |
/// | rank 1, others          | 0 ± 0.02: biases                  |
/// | `...embed...`           | 0 ± 0.02                          |
/// | matrices, `[.., O, I]`  | 0 ± 1/sqrt(I): keeps activations' size |
pub struct Values {
    key: u64,
    mean: f32,
    deviation: f32,
    float: Float,
}

/// Types that are drawn in.
#[derive(Clone, Copy)]
enum Float {
    F64,
    F32,
    F16,
    BF16,
}

impl Values {
    /// Errors: a type that is not a float of at least 16 bits.
    pub fn new(seed: u64, weight: &SourceWeight) -> anyhow::Result<Values> {
        let SourceWeight { name, shape, dtype } = weight;
        let float = match dtype {
            DType::F64 => Float::F64,
            DType::F32 => Float::F32,
            DType::F16 => Float::F16,
            DType::BF16 => Float::BF16,
            DType::F8E4M3 | DType::I64 | DType::I32 | DType::I8 | DType::U8 | DType::I4 | DType::Bool => {
                bail!("`{name}` is of type {dtype}, which is written with --sparse only")
            }
        };
        let (mean, deviation) = match shape.as_slice() {
            [] | [_] if name.ends_with("weight") => (1.0, 0.05),
            [] | [_] => (0.0, 0.02),
            [..] if name.contains("embed") => (0.0, 0.02),
            [.., inputs] => (0.0, 1.0 / (*inputs as f32).sqrt()),
        };
        let key = name.bytes().fold(mix(seed), |key, byte| mix(key ^ u64::from(byte)));
        Ok(Values { key, mean, deviation, float })
    }

    /// Fills `data` with the little-endian elements that begin `start` bytes into the tensor. Both are
    /// multiples of an element's size.
    pub fn fill(&self, start: u64, data: &mut [u8]) {
        match self.float {
            Float::F64 => self.fill_with(start, data, |value| f64::from(value).to_le_bytes()),
            Float::F32 => self.fill_with(start, data, f32::to_le_bytes),
            Float::F16 => self.fill_with(start, data, |value| f16::from_f32(value).to_le_bytes()),
            Float::BF16 => self.fill_with(start, data, |value| bf16_bits(value).to_le_bytes()),
        }
    }

    #[inline(always)]
    fn fill_with<const N: usize>(&self, start: u64, data: &mut [u8], bytes: impl Fn(f32) -> [u8; N]) {
        for (index, element) in (start / N as u64..).zip(data.as_chunks_mut().0) {
            *element = bytes(self.mean + self.deviation * normal(mix(self.key.wrapping_add(index))));
        }
    }
}

/// A nearly normal number of mean 0 and deviation 1: the sum of the four 16-bit parts of a random word.
#[inline(always)]
fn normal(word: u64) -> f32 {
    /// Four uniform numbers below 2^16 have the deviation 2^16 / sqrt(3), nearly.
    const SCALE: f32 = 1.732_050_8 / 65_536.0;
    let sum = (word & 0xFFFF) + (word >> 16 & 0xFFFF) + (word >> 32 & 0xFFFF) + (word >> 48);
    (sum as i32 - 2 * 0xFFFF) as f32 * SCALE
}

/// The nearest bf16 of a finite number, ties to even. Without a branch, unlike that of `half`: whether
/// a random number is rounded up cannot be predicted, and guessing wrong took most of the time.
#[inline(always)]
fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    (bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16) as u16
}

/// A number that looks random for each number given: SplitMix64.
///
/// Source: Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014.
#[inline(always)]
fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(name: &str, shape: &[u64], elements: usize) -> Vec<f64> {
        let weight = SourceWeight { name: name.to_owned(), shape: shape.to_vec(), dtype: DType::F32 };
        let mut data = vec![0; elements * 4];
        Values::new(7, &weight).unwrap().fill(0, &mut data);
        let (elements, _) = data.as_chunks();
        elements.iter().map(|&bytes| f64::from(f32::from_le_bytes(bytes))).collect()
    }

    fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        (mean, (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt())
    }

    #[test]
    fn distributions_are_as_stated() {
        for (name, shape, expected) in [
            ("model.layers.0.self_attn.q_proj.weight", vec![512, 400], (0.0, 0.05)),
            ("model.layers.0.mlp.experts.down_proj", vec![8, 512, 25], (0.0, 0.2)),
            ("model.layers.0.self_attn.q_proj.bias", vec![100_000], (0.0, 0.02)),
            ("model.norm.weight", vec![100_000], (1.0, 0.05)),
            ("model.embed_tokens.weight", vec![1000, 100], (0.0, 0.02)),
        ] {
            let (mean, deviation) = mean_and_deviation(&draw(name, &shape, 100_000));
            assert!((mean - expected.0).abs() < 0.02 * expected.1, "{name}: {mean}");
            assert!((deviation - expected.1).abs() < 0.02 * expected.1, "{name}: {deviation}");
        }
    }

    #[test]
    fn tensors_and_seeds_are_independent() {
        let (a, b) = (draw("a", &[100_000, 1], 100_000), draw("b", &[100_000, 1], 100_000));
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>() / x.len() as f64;
        assert!(dot(&a, &b).abs() < 0.02 && dot(&a[1..], &a[..a.len() - 1]).abs() < 0.02);
        let weight = SourceWeight { name: "a".to_owned(), shape: vec![4, 4], dtype: DType::BF16 };
        let bytes = |seed: u64| {
            let mut data = [0; 32];
            Values::new(seed, &weight).unwrap().fill(0, &mut data);
            data
        };
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }

    #[test]
    fn rounds_like_half() {
        for low in (0..=0xFFFF).chain([0x3F80_8000, 0x3F81_8000, 0xBF7F_FFFF]) {
            for value in [f32::from_bits(low), f32::from_bits(low | 0x3F81_0000)] {
                assert_eq!(bf16_bits(value), half::bf16::from_f32(value).to_bits(), "{value}");
            }
        }
    }

    #[test]
    fn parts_are_drawn_like_the_whole() {
        for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
            let weight = SourceWeight { name: "w".to_owned(), shape: vec![8, 8], dtype };
            let values = Values::new(3, &weight).unwrap();
            let (mut whole, mut parts) = (vec![0; 512], vec![0; 512]);
            values.fill(0, &mut whole);
            for (at, part) in parts.chunks_mut(24).enumerate() {
                values.fill(24 * at as u64, part);
            }
            assert_eq!(whole, parts);
        }
        let weight = SourceWeight { name: "w".to_owned(), shape: vec![8, 8], dtype: DType::I8 };
        assert!(Values::new(3, &weight).is_err());
    }

    /// A change of these bytes changes every model that was made before.
    #[test]
    fn bytes_are_the_same_on_every_machine() {
        let weight =
            SourceWeight { name: "model.norm.weight".to_owned(), shape: vec![4], dtype: DType::BF16 };
        let mut data = [0; 8];
        Values::new(7, &weight).unwrap().fill(0, &mut data);
        assert_eq!(data, [0x89, 0x3F, 0x82, 0x3F, 0x85, 0x3F, 0x8D, 0x3F]);
    }
}
