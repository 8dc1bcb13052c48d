//! The devices: families that share an instruction set and rules, and the figures of each.
//!
//! Source: the platform files of CANN 8.1 (`data/platform_config/<SoC>.ini`); bandwidths of HBM are quoted figures,
//! since those of the files are of an older generation. Nothing here was measured.

/// Devices that share rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// Atlas A2: 910B1 to 910B4.
    A2,
    /// Atlas A3: two dies of 910B's kind in a package, each a device.
    A3,
    /// Atlas inference cards: 310P.
    P310,
}

/// A set of families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socs(u8);

impl Socs {
    /// All.
    pub const ALL: Socs = Socs(7);
    /// Atlas A2 and A3.
    pub const A2_A3: Socs = Socs(3);
    /// 310P.
    pub const P310: Socs = Socs(4);

    /// Whether it holds this one.
    pub const fn has(self, family: Family) -> bool {
        self.0 & (1 << family as u8) != 0
    }
}

impl Family {
    /// All.
    pub const ALL: [Family; 3] = [Family::A2, Family::A3, Family::P310];

    /// As the documents call it.
    pub const fn name(self) -> &'static str {
        match self {
            Family::A2 => "Atlas A2",
            Family::A3 => "Atlas A3",
            Family::P310 => "310P",
        }
    }
}

/// A device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Soc {
    /// Its name as a target: `ascend910b3`.
    pub target: &'static str,
    /// Whose rules hold.
    pub family: Family,
    /// Cube cores, which multiply matrices.
    pub cube_cores: u32,
    /// Vector cores, which do all else.
    pub vector_cores: u32,
    /// Clock, MHz.
    pub mhz: u32,
    /// Device memory, bytes.
    pub memory_bytes: u64,
    /// Bandwidth of device memory, GB/s.
    pub memory_gb_s: u32,
    /// What of that no source was seen for, in words.
    pub uncertain: &'static [&'static str],
}

const A2_BANDWIDTH: &str = "memory bandwidth: 1.8 TB/s is quoted for the A2 chip, 1.6 TB/s elsewhere";

/// All devices, by name.
pub const SOCS: &[Soc] = &[
    Soc {
        target: "ascend310p",
        family: Family::P310,
        cube_cores: 8,
        vector_cores: 7,
        mhz: 1060,
        memory_bytes: 24_000_000_000,
        memory_gb_s: 204,
        uncertain: &["variant: figures are those of 310P3"],
    },
    Soc {
        target: "ascend910_93",
        family: Family::A3,
        cube_cores: 24,
        vector_cores: 48,
        mhz: 1800,
        memory_bytes: 64 << 30,
        memory_gb_s: 1800,
        uncertain: &["variant: figures are those of 910_9382, one die", A2_BANDWIDTH],
    },
    Soc {
        target: "ascend910b1",
        family: Family::A2,
        cube_cores: 24,
        vector_cores: 48,
        mhz: 1850,
        memory_bytes: 64 << 30,
        memory_gb_s: 1800,
        uncertain: &[A2_BANDWIDTH],
    },
    Soc {
        target: "ascend910b2",
        family: Family::A2,
        cube_cores: 24,
        vector_cores: 48,
        mhz: 1800,
        memory_bytes: 64 << 30,
        memory_gb_s: 1800,
        uncertain: &[A2_BANDWIDTH],
    },
    Soc {
        target: "ascend910b3",
        family: Family::A2,
        cube_cores: 20,
        vector_cores: 40,
        mhz: 1800,
        memory_bytes: 64 << 30,
        memory_gb_s: 1800,
        uncertain: &[A2_BANDWIDTH],
    },
    Soc {
        target: "ascend910b4",
        family: Family::A2,
        cube_cores: 20,
        vector_cores: 40,
        mhz: 1500,
        memory_bytes: 32 << 30,
        memory_gb_s: 800,
        uncertain: &["memory bandwidth: 800 GB/s is a guess from the number of its memory stacks"],
    },
];

impl Soc {
    /// The device of this name.
    pub fn by_target(target: &str) -> Option<&'static Soc> {
        SOCS.iter().find(|soc| soc.target == target)
    }

    /// Multiply-adds of f16 or bf16 on the cube cores, counted two, in 10^9 a second: 16 x 16 x 16 a cycle and core.
    pub const fn half_gflops(&self) -> u64 {
        self.cube_cores as u64 * self.mhz as u64 * (2 * 16 * 16 * 16) / 1000
    }

    /// Multiply-adds of i8, counted two, in 10^9 a second: 16 x 32 x 16 a cycle and core.
    pub const fn byte_gops(&self) -> u64 {
        2 * self.half_gflops()
    }

    /// Operations of the vector cores on f32 in 10^9 a second: 64 lanes.
    pub const fn vector_gflops(&self) -> u64 {
        self.vector_cores as u64 * self.mhz as u64 * 64 / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_those_of_the_platform_files() {
        let peak =
            |target: &str| Soc::by_target(target).map(|soc| (soc.half_gflops() / 100, soc.vector_gflops()));
        assert_eq!(peak("ascend910b1"), Some((3637, 5683)));
        assert_eq!(peak("ascend910b3"), Some((2949, 4608)));
        assert_eq!(peak("ascend910b4"), Some((2457, 3840)));
        assert_eq!(peak("ascend310p"), Some((694, 474)));
        assert!(SOCS.windows(2).all(|pair| pair[0].target < pair[1].target));
    }
}
