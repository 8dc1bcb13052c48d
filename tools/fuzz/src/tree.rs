//! Mutation of anything that serde can write and read, field by field.
//!
//! Nothing here knows the types: a value is changed by what it is (a number, a text, a list), and takes the place of
//! others of its kind, which are those under a key of the same name. So a new field is covered as soon as it exists.

use std::collections::HashMap;

use mscc_ir::Dim;
use serde_json::{Number, Value};

use crate::random::Random;

/// A value, with all places in it by kind.
pub struct Tree {
    root: Value,
    places: Vec<Vec<Step>>,
    /// Positions among `places` of those under one key.
    kinds: Vec<Vec<usize>>,
    kind_of: Vec<usize>,
}

#[derive(Clone)]
enum Step {
    Key(String),
    Index(usize),
}

/// What was at a place before a change.
pub struct Undo(Vec<(Vec<Step>, Value)>);

const INTEGERS: [i128; 30] = [
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    9,
    15,
    16,
    17,
    31,
    32,
    33,
    64,
    127,
    128,
    255,
    256,
    4096,
    65536,
    1 << 20,
    1 << 31,
    (1 << 32) - 1,
    1 << 40,
    (1 << 63) - 1,
    (1 << 64) - 1,
    -1,
    -(1 << 63),
];
const FLOATS: [f64; 12] = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 1e-40, 1e-5, 1e5, 1e38, 1e300, -1e300];
const DIMS: [&str; 34] = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "7",
    "8",
    "16",
    "63",
    "64",
    "65",
    "128",
    "4096",
    "1048576",
    "4294967296",
    "4611686018427387904",
    "9223372036854775807",
    "-1",
    "-64",
    "T",
    "B",
    "L",
    "M",
    "S",
    "Q",
    "A",
    "C",
    "Td",
    "Bd",
    "invalid",
    "Zz",
    "T - 1",
    "4611686018427387904*T",
];
const TEXTS: [&str; 12] = [
    "",
    "x",
    "{i}",
    "{i+3}",
    "{i-1}",
    "{i+999999999}",
    "layers.{i}.norm",
    "../../etc/passwd",
    "/dev/zero",
    "é\u{0}\n",
    "main",
    "kv",
];

impl Tree {
    /// The places of a value.
    pub fn new(root: Value) -> Tree {
        let mut tree = Tree { root: Value::Null, places: Vec::new(), kinds: Vec::new(), kind_of: Vec::new() };
        tree.visit(&root, &mut Vec::new(), "", &mut HashMap::new());
        tree.root = root;
        tree
    }

    /// The value with its changes.
    pub fn value(&self) -> &Value {
        &self.root
    }

    /// Makes a few changes.
    pub fn mutate(&mut self, random: &mut Random<'_>) -> Undo {
        let mut undo = Undo(Vec::new());
        let count = if random.once_in(3) { 1 + random.below(6) } else { 1 };
        for _ in 0..count {
            match random.below(8) {
                0 | 1 => self.replace_equal(random, &mut undo),
                2 => self.replace_word(random, &mut undo),
                _ => {
                    let place = self.draw(random);
                    let new = self.changed(random, place);
                    self.set(place, new, &mut undo);
                }
            }
        }
        undo
    }

    /// Takes changes back.
    pub fn restore(&mut self, undo: Undo) {
        for (path, old) in undo.0.into_iter().rev() {
            if let Some(value) = at_mut(&mut self.root, &path) {
                *value = old;
            }
        }
    }

    fn visit(&mut self, value: &Value, path: &mut Vec<Step>, key: &str, kinds: &mut HashMap<String, usize>) {
        let kind = *kinds.entry(key.to_owned()).or_insert_with(|| {
            self.kinds.push(Vec::new());
            self.kinds.len() - 1
        });
        self.kinds[kind].push(self.places.len());
        self.kind_of.push(kind);
        self.places.push(path.clone());
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    path.push(Step::Key(key.clone()));
                    self.visit(value, path, key, kinds);
                    path.pop();
                }
            }
            Value::Array(list) => {
                let key = format!("{key}[]");
                for (index, value) in list.iter().enumerate() {
                    path.push(Step::Index(index));
                    self.visit(value, path, &key, kinds);
                    path.pop();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// A place: of any kind as often as of any other, or, more often, any place.
    fn draw(&self, random: &mut Random<'_>) -> usize {
        if !random.once_in(3) {
            return random.below(self.places.len());
        }
        let kind = &self.kinds[random.below(self.kinds.len())];
        kind[random.below(kind.len())]
    }

    fn get(&self, place: usize) -> Option<&Value> {
        self.places[place].iter().try_fold(&self.root, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => value.get(index),
        })
    }

    /// A value of the same kind, or any.
    fn other(&self, random: &mut Random<'_>, place: usize) -> Value {
        let kind = &self.kinds[self.kind_of[place]];
        let other = if random.once_in(16) { self.draw(random) } else { kind[random.below(kind.len())] };
        self.get(other).cloned().unwrap_or(Value::Null)
    }

    fn set(&mut self, place: usize, new: Value, undo: &mut Undo) {
        let path = &self.places[place];
        if let Some(value) = at_mut(&mut self.root, path) {
            undo.0.push((path.clone(), std::mem::replace(value, new)));
        }
    }

    /// Changes a value in all places where it stands, so that what has to agree still does.
    fn replace_equal(&mut self, random: &mut Random<'_>, undo: &mut Undo) {
        let place = self.draw(random);
        let Some(old) = self.get(place).filter(|value| !value.is_array() && !value.is_object()).cloned()
        else {
            return;
        };
        let new = self.changed(random, place);
        let everywhere = random.once_in(2);
        let kind = self.kind_of[place];
        let equal =
            |other: &usize| (everywhere || self.kind_of[*other] == kind) && self.get(*other) == Some(&old);
        let places: Vec<usize> = (0..self.places.len()).filter(equal).collect();
        places.into_iter().for_each(|place| self.set(place, new.clone(), undo));
    }

    /// Changes a word in all texts and numbers.
    fn replace_word(&mut self, random: &mut Random<'_>, undo: &mut Undo) {
        let Some(Value::String(text)) = self.get(self.draw(random)) else { return };
        let words: Vec<&str> = text.split(|c: char| !is_word(c)).filter(|word| !word.is_empty()).collect();
        let Some(old) = random.pick(&words).map(|word| (*word).to_owned()) else { return };
        let Some(new) = random.pick(&DIMS).filter(|dim| dim.chars().all(is_word)) else { return };
        for place in 0..self.places.len() {
            let changed = match self.get(place) {
                Some(Value::String(text)) if text.contains(&old) => {
                    Some(Value::String(renamed(text, &old, new)))
                }
                Some(Value::Number(number)) if number.to_string() == old => {
                    new.parse().ok().map(Value::Number)
                }
                _ => None,
            };
            if let Some(changed) = changed {
                self.set(place, changed, undo);
            }
        }
    }

    fn changed(&self, random: &mut Random<'_>, place: usize) -> Value {
        let Some(old) = self.get(place) else { return Value::Null };
        if random.once_in(4) {
            return self.other(random, place);
        }
        match old {
            Value::Null => match random.below(3) {
                0 => self.other(random, place),
                1 => integer(random),
                _ => Value::String(random.pick(&TEXTS).copied().unwrap_or_default().to_owned()),
            },
            Value::Bool(value) => Value::Bool(!value),
            Value::Number(number) => changed_number(random, number),
            Value::String(text) => {
                let other = self.other(random, place);
                Value::String(changed_text(random, text, other.as_str().unwrap_or_default()))
            }
            Value::Array(list) => {
                let other = self.other(random, place);
                Value::Array(changed_list(random, list.clone(), other))
            }
            Value::Object(map) => {
                let mut map = map.clone();
                if let ([key], Some((other, _))) = (
                    map.keys().cloned().collect::<Vec<_>>().as_slice(),
                    self.other(random, place).as_object().and_then(|map| map.iter().next()),
                ) {
                    // A variant of an enum: another variant with the same content.
                    let value = map.remove(key).unwrap_or(Value::Null);
                    map.insert(other.clone(), value);
                }
                Value::Object(map)
            }
        }
    }
}

fn at_mut<'a>(root: &'a mut Value, path: &[Step]) -> Option<&'a mut Value> {
    path.iter().try_fold(root, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
    })
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// `text` with whole words `old` replaced.
pub(crate) fn renamed(text: &str, old: &str, new: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_word) {
        let (between, word_on) = rest.split_at(at);
        let (word, behind) = word_on.split_at(word_on.find(|c| !is_word(c)).unwrap_or(word_on.len()));
        out.push_str(between);
        out.push_str(if word == old { new } else { word });
        rest = behind;
    }
    out + rest
}

fn integer(random: &mut Random<'_>) -> Value {
    let number = random.pick(&INTEGERS).copied().unwrap_or_default();
    Number::from_i128(number).map_or(Value::Null, Value::Number)
}

fn changed_number(random: &mut Random<'_>, number: &Number) -> Value {
    if number.is_f64() {
        let float = match random.below(3) {
            0 => number.as_f64().unwrap_or_default() * 2.0,
            1 => -number.as_f64().unwrap_or_default(),
            _ => random.pick(&FLOATS).copied().unwrap_or_default(),
        };
        return Number::from_f64(float).map_or(Value::Null, Value::Number);
    }
    let old = number.as_i128().unwrap_or_default();
    let new = match random.below(6) {
        0 => old + 1,
        1 => old - 1,
        2 => old * 2,
        3 => old / 2,
        _ => return integer(random),
    };
    Number::from_i128(new).map_or(Value::Null, Value::Number)
}

fn changed_text(random: &mut Random<'_>, text: &str, other: &str) -> String {
    if text.len() < 256 && text.parse::<Dim>().is_ok() {
        return changed_dim(random, text, other);
    }
    let from: Vec<&str> = text.lines().collect();
    match random.below(6) {
        0 => random.pick(&TEXTS).copied().unwrap_or_default().to_owned(),
        1 => text.repeat(1 + random.below(40)),
        2 | 3 if from.len() > 1 => {
            let mut lines = from.clone();
            let (at, to) = (random.below(lines.len()), random.below(lines.len()));
            match random.below(3) {
                0 => drop(lines.remove(at)),
                1 => lines.swap(at, to),
                _ => lines.insert(at, from[to]),
            }
            lines.join("\n")
        }
        _ => {
            // A word, as often as not a number or a symbol of a dim, for another.
            let words: Vec<(usize, &str)> = text.match_indices(is_word).collect();
            let Some((at, _)) = random.pick(&words) else { return other.to_owned() };
            let start = text[..*at].rfind(|c| !is_word(c)).map_or(0, |at| at + 1);
            let start = (start..=*at).find(|at| text.is_char_boundary(*at)).unwrap_or(*at);
            let end = text[*at..].find(|c| !is_word(c)).map_or(text.len(), |len| at + len);
            let new = match random.below(3) {
                0 => random.pick(&TEXTS).copied().unwrap_or_default(),
                1 => random.pick(&words).map_or("", |(_, word)| word),
                _ => random.pick(&DIMS).copied().unwrap_or_default(),
            };
            format!("{}{new}{}", &text[..start], &text[end..])
        }
    }
}

fn changed_dim(random: &mut Random<'_>, dim: &str, other: &str) -> String {
    let plain = random.pick(&DIMS).copied().unwrap_or_default();
    match random.below(12) {
        0 => format!("{dim} + {plain}"),
        1 => format!("{dim} - 1"),
        2 => format!("({dim})*2"),
        3 => format!("({dim})*({other})"),
        4 => format!("floordiv({dim} + 63, 64)*64"),
        5 => format!("max({dim}, {other})"),
        6 => format!("min({dim}, {plain})"),
        7 => format!("mod({dim}, 7)"),
        8 => (0..random.below(40))
            .fold(dim.to_owned(), |inner, k| format!("max(floordiv({inner} + T, {}), B)", k + 2)),
        _ => plain.to_owned(),
    }
}

fn changed_list(random: &mut Random<'_>, mut list: Vec<Value>, other: Value) -> Vec<Value> {
    let (at, to) = (random.below(list.len()), random.below(list.len()));
    match random.below(8) {
        0 if !list.is_empty() => drop(list.remove(at)),
        1 if !list.is_empty() => list.insert(to, list[at].clone()),
        2 if !list.is_empty() => list.swap(at, to),
        3 if !list.is_empty() => list[at] = list[to].clone(),
        4 => list.truncate(at),
        5 => list.reverse(),
        6 if !list.is_empty() => {
            let copy = list[at].clone();
            list.extend(std::iter::repeat_n(copy, random.below(200)));
        }
        _ => list.extend(other.as_array().into_iter().flatten().cloned()),
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_many_and_can_be_taken_back() {
        let text = r#"{"a": [{"shape": ["T", "8"], "n": 3}, {"shape": ["8*T"], "n": 4}], "b": null, "c": {"In": 1.5}, "d": "w 8\nx"}"#;
        let value: Value = serde_json::from_str(text).unwrap();
        let mut tree = Tree::new(value.clone());
        let mut random = Random::new(3);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..2000 {
            let undo = tree.mutate(&mut random);
            seen.insert(tree.value().to_string());
            tree.restore(undo);
            assert_eq!(tree.value(), &value);
        }
        assert!(seen.len() > 400, "{}", seen.len());
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(renamed("8*T + 18 - 8", "8", "16"), "16*T + 18 - 16");
        assert_eq!(renamed("", "8", "16"), "");
    }
}
