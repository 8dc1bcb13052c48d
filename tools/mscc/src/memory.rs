//! How much memory a command may take.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::path::Path;
use std::str::FromStr;

use mscc_ir::plan::Plan;
use mscc_report::figures;

use crate::error::CliError;

/// A number of bytes as users write it: `4096`, `500MB`, `8GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// Units by their first letter: with and without `iB`.
const UNITS: [(&str, u64, u64); 4] = [
    ("K", 1 << 10, 1_000),
    ("M", 1 << 20, 1_000_000),
    ("G", 1 << 30, 1_000_000_000),
    ("T", 1 << 40, 1_000_000_000_000),
];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = || "expected a number of bytes, such as 8GiB, 500MB or 1073741824".to_owned();
        let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let number: u64 = number.parse().map_err(|_| expected())?;
        let unit = unit.trim();
        let factor = UNITS.iter().find_map(|(letter, binary, decimal)| {
            let rest = unit.get(..1).filter(|first| first.eq_ignore_ascii_case(letter)).and(unit.get(1..))?;
            match rest.to_ascii_lowercase().as_str() {
                "" | "ib" => Some(*binary),
                "b" => Some(*decimal),
                _ => None,
            }
        });
        let factor = factor.or((unit.is_empty() || unit.eq_ignore_ascii_case("b")).then_some(1));
        factor.and_then(|factor| number.checked_mul(factor)).map(Size).ok_or_else(expected)
    }
}

/// Memory that a model may take beside the checkpoint's files, which the system reads again when it has dropped them.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// What caches and steps may take, in bytes; `None` if nobody says.
    left: Option<u64>,
}

/// Bytes of caches where nobody says how much there is.
const CACHE_BYTES: u64 = 4 << 30;

impl Budget {
    /// What a plan's weights leave of the given memory, or of that which the system has.
    ///
    /// Errors: weights that must be made and do not fit.
    pub fn new(plan: &Plan, given: Option<Size>) -> Result<Self, CliError> {
        let limit = given.map(|size| size.0).or_else(available);
        // A plan without weights is refused when they are loaded.
        let tensors = if plan.weights.files.is_empty() { BTreeMap::new() } else { figures::tensors(plan) };
        let made = tensors.values().filter(|tensors| !tensors.mapped).map(figures::Tensors::total);
        let made = made.map(Option::unwrap_or_default).fold(0, u64::saturating_add);
        let left = limit.map(|limit| limit.checked_sub(made).ok_or(limit)).transpose();
        match left {
            Ok(left) => Ok(Self { left }),
            Err(limit) => Err(CliError::WeightsTooLarge { made, limit }),
        }
    }

    /// What caches and steps may take together.
    pub fn left(self) -> Option<u64> {
        self.left
    }

    /// What caches may take, so that steps have as much.
    pub fn cache_bytes(self) -> u64 {
        self.left.map_or(CACHE_BYTES, |left| left / 2)
    }
}

/// What the system says that can be taken: of the machine's memory, and of the control group's. `None` where the
/// system says neither.
fn available() -> Option<u64> {
    let machine = read_to_string("/proc/meminfo").ok().and_then(|text| field(&text, "MemAvailable:"));
    let group = read_to_string("/proc/self/cgroup").ok().and_then(|text| group_available(&text));
    let least = machine.map(|kilobytes| kilobytes.saturating_mul(1 << 10)).into_iter().chain(group).min()?;
    // The rest is for what is not counted, and for others.
    Some(least - least / 16)
}

/// What is left in the control groups of this process, of version 2 or 1; pages of files count as free.
///
/// Source: the kernel's cgroup-v2 and cgroup-v1/memory documents.
fn group_available(groups: &str) -> Option<u64> {
    let left = |dir: &Path, limit: &str, used: &str, prefix: &str| {
        let number = |name: &str| read_to_string(dir.join(name)).ok()?.trim().parse::<u64>().ok();
        let stat = read_to_string(dir.join("memory.stat")).unwrap_or_default();
        let files = ["active_file", "inactive_file"].map(|name| field(&stat, &format!("{prefix}{name}")));
        let files = files.into_iter().flatten().fold(0, u64::saturating_add);
        Some(number(limit)?.saturating_sub(number(used)?.saturating_sub(files)))
    };
    let of_line = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        let least = |root: &str, limit, used, prefix| {
            // A container may see its own group as the root.
            let dirs = Path::new(path).ancestors();
            dirs.filter_map(|dir| left(&Path::new(root).join(dir), limit, used, prefix)).min()
        };
        match controllers {
            "" => least("/sys/fs/cgroup", "memory.max", "memory.current", ""),
            _ if controllers.split(',').any(|name| name == "memory") => {
                least("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
            }
            _ => None,
        }
    };
    groups.lines().filter_map(of_line).min()
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let number = |line: &str| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok();
    text.lines().find_map(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let size = |text: &str| text.parse::<Size>().ok().map(|size| size.0);
        assert_eq!(size("4096"), Some(4096));
        assert_eq!([size("2k"), size("2KiB"), size("2 kB")], [Some(2048), Some(2048), Some(2000)]);
        assert_eq!([size("8GiB"), size("1tb")], [Some(8 << 30), Some(1_000_000_000_000)]);
        for bad in ["", "GiB", "-1", "1.5G", "8 apples", "8Gib8", "99999999999T", "1é", "é"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_system_says_what_it_has() {
        assert_eq!(field("MemTotal: 9 kB\nMemAvailable:   123 kB\n", "MemAvailable:"), Some(123));
        assert_eq!(group_available("0::/nowhere\n1:cpu:/\n:\n"), group_available("0::/\n"));
        if cfg!(target_os = "linux") {
            assert!(available().is_some_and(|bytes| bytes > 1 << 20));
        }
    }
}
