//! Mutation of files: bytes, and the words and lines of texts.

use std::ops::Range;

use crate::random::Random;
use crate::tree::{Tree, renamed};

/// Longest input that is made, in bytes.
const MAX_BYTES: usize = 1 << 16;

/// Values that formats trip over, as text.
const TROUBLE: [&str; 31] = [
    "",
    "0",
    "-1",
    "1",
    "2",
    "7",
    "255",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "1e308",
    "1e999",
    "-0.0",
    "NaN",
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "\\u0000",
    "\u{0}",
    "\u{feff}",
    "é",
    "{{",
    "}}",
    "..",
    "((((((((",
    "\n",
];

/// One of the seeds with a few changes.
pub fn mutate(random: &mut Random<'_>, seeds: &[Vec<u8>]) -> Vec<u8> {
    let Some(seed) = random.pick(seeds) else { return random.bytes(16) };
    let mut bytes = seed.clone();
    let count = if random.once_in(2) { 1 } else { 2 + random.below(4) };
    for _ in 0..count {
        change(random, &mut bytes, seeds);
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

/// One of the seeds, a JSON document, with a few values changed, or, as often, a few bytes.
pub fn mutate_json(random: &mut Random<'_>, seeds: &[Vec<u8>]) -> Vec<u8> {
    let value = random.pick(seeds).and_then(|seed| serde_json::from_slice(seed).ok());
    match value {
        Some(value) if random.once_in(2) => {
            let mut tree = Tree::new(value);
            let _ = tree.mutate(random);
            tree.value().to_string().into_bytes()
        }
        _ => mutate(random, seeds),
    }
}

/// As [`mutate_json`], for JSON with its length in front.
pub fn mutate_header(random: &mut Random<'_>, seeds: &[Vec<u8>]) -> Vec<u8> {
    if random.once_in(4) {
        return mutate(random, seeds);
    }
    let jsons: Vec<Vec<u8>> = seeds.iter().filter_map(|seed| Some(seed.get(8..)?.to_vec())).collect();
    let json = mutate_json(random, &jsons);
    [&(json.len() as u64).to_le_bytes()[..], &json].concat()
}

/// Sixteen bytes, for targets that take their choices from them.
pub fn draw(random: &mut Random<'_>, _: &[Vec<u8>]) -> Vec<u8> {
    random.bytes(16)
}

fn change(random: &mut Random<'_>, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let at = random.below(bytes.len() + 1);
    match random.below(14) {
        0 => bytes.truncate(at),
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.number() as u8;
            }
        }
        3 => drop(bytes.drain(part(random, bytes.len()))),
        4 => {
            let copy = bytes[part(random, bytes.len())].to_vec();
            bytes.splice(at..at, copy);
        }
        5 => {
            // Deep nesting and long lists.
            let copy = bytes[part(random, bytes.len().min(64))].to_vec();
            let copies = copy.repeat(1 + random.below(400));
            bytes.splice(at..at, copies.into_iter().take(MAX_BYTES));
        }
        6 | 7 => {
            let word = word(random, bytes);
            let text = random.pick(&TROUBLE).copied().unwrap_or_default();
            bytes.splice(word, text.bytes());
        }
        8 | 9 => {
            // Everywhere, so that names still agree.
            let (old, new) = (bytes[word(random, bytes)].to_vec(), word(random, bytes));
            let new = match random.pick(&TROUBLE) {
                Some(text) if random.once_in(2) => text.as_bytes().to_vec(),
                _ => bytes[new].to_vec(),
            };
            let texts = (str::from_utf8(bytes), str::from_utf8(&old), str::from_utf8(&new));
            if let (Ok(text), Ok(old), Ok(new)) = texts
                && new.len() <= 64
            {
                *bytes = renamed(text, old, new).into_bytes();
            }
        }
        10 => {
            let from = word(random, bytes);
            let copy = bytes[from].to_vec();
            let to = word(random, bytes);
            bytes.splice(to, copy);
        }
        _ => {
            let Some(other) = random.pick(seeds) else { return };
            let copy = other[word(random, other)].to_vec();
            let to = word(random, bytes);
            bytes.splice(to, copy);
        }
    }
}

/// A part of so many bytes, short more often than long.
fn part(random: &mut Random<'_>, len: usize) -> Range<usize> {
    let start = random.below(len + 1);
    let longest = (len - start).min(1 << random.below(10));
    start..start + random.below(longest + 1)
}

/// A word or number, a line, or a run of signs.
fn word(random: &mut Random<'_>, bytes: &[u8]) -> Range<usize> {
    let at = random.below(bytes.len());
    let class = |byte: &u8| (byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')) as u8;
    let (line, kind) = (random.once_in(4), bytes.get(at).map(class));
    let same = |byte: &u8| if line { *byte != b'\n' } else { Some(class(byte)) == kind };
    let start = bytes[..at].iter().rposition(|byte| !same(byte)).map_or(0, |before| before + 1);
    let end = bytes[at..].iter().position(|byte| !same(byte)).map_or(bytes.len(), |len| at + len);
    start..end.max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_differ_and_stay_short() {
        let seeds = [b"{\"a\": [1, 2]}".to_vec(), b"line\nline 2\n".to_vec(), vec![]];
        let mut random = Random::new(7);
        let inputs: Vec<Vec<u8>> = (0..2000).map(|_| mutate(&mut random, &seeds)).collect();
        assert!(inputs.iter().all(|input| input.len() <= MAX_BYTES));
        let distinct: std::collections::HashSet<_> = inputs.iter().collect();
        assert!(distinct.len() > 700, "{}", distinct.len());
    }
}
