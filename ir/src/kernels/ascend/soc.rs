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
    /// As the documents call it.
    pub const fn name(self) -> &'static str {
        match self {
            Family::A2 => "Atlas A2",
            Family::A3 => "Atlas A3",
            Family::P310 => "310P",
        }
    }
}
