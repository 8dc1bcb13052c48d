//! Which vector instructions the kernels use.

#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Portable, Simd};

/// An instruction-set level, from the lowest to the highest.
///
/// Within one level a kernel gives the same bits whatever the batch, the chunking and the number of
/// threads; two levels differ in the last bits, since their vectors have different widths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// No assumption beyond the target's baseline.
    Portable,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// [`Isa::Avx512`] and its BF16 dot product.
    Avx512Bf16,
}

impl Isa {
    /// All levels, from the lowest to the highest.
    pub const ALL: [Isa; 4] = [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16];

    /// The highest level that this machine has.
    pub fn detect() -> Isa {
        Isa::ALL.into_iter().rev().find(|isa| isa.is_available()).unwrap_or(Isa::Portable)
    }

    /// Whether this machine has the level.
    #[cfg(target_arch = "x86_64")]
    pub fn is_available(self) -> bool {
        let avx2 = || {
            is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
        };
        let avx512 = || {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
        };
        match self {
            Isa::Portable => true,
            Isa::Avx2 => avx2(),
            Isa::Avx512 => avx2() && avx512(),
            Isa::Avx512Bf16 => avx2() && avx512() && is_x86_feature_detected!("avx512bf16"),
        }
    }

    /// Whether this machine has the level.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn is_available(self) -> bool {
        self == Isa::Portable
    }

    /// The level's name, as flags and reports spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Bf16 => "avx512_bf16",
        }
    }

    /// Runs `body` compiled for this level; for the portable one if the machine lacks it.
    pub(crate) fn dispatch<B: Body>(self, body: B) -> B::Output {
        #[cfg(target_arch = "x86_64")]
        match self {
            Isa::Portable => {}
            Isa::Avx2 => {
                if self.is_available() {
                    // SAFETY: the features were just detected.
                    return unsafe { run_avx2(body) };
                }
            }
            Isa::Avx512 | Isa::Avx512Bf16 => {
                if self.is_available() {
                    // SAFETY: the features were just detected.
                    return unsafe { run_avx512(body) };
                }
            }
        }
        body.run(Portable)
    }
}

/// Code that is compiled once per instruction-set level.
pub(crate) trait Body {
    /// What it gives back.
    type Output;

    /// Does the work. Implementations are `#[inline(always)]`, so that the code takes on the features of
    /// the caller; for the same reason they avoid closures in hot loops.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// # Safety
/// The machine has the features named.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn run_avx2<B: Body>(body: B) -> B::Output {
    // SAFETY: the caller vouches for the features.
    body.run(unsafe { Avx2::assume() })
}

/// # Safety
/// The machine has the features named.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn run_avx512<B: Body>(body: B) -> B::Output {
    // SAFETY: the caller vouches for the features.
    body.run(unsafe { Avx512::assume() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detection_finds_an_available_level() {
        assert!(Isa::detect().is_available());
        assert!(Isa::Portable.is_available());
    }
}
