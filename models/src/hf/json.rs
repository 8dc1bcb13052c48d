//! JSON objects from outside, read strictly and within limits.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use mscc_ir::plan::container::MAGIC;
use serde::Deserializer;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::fields::ConfigError;

/// Largest config file that is read, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// How deep objects and lists may be nested.
pub const MAX_CONFIG_DEPTH: usize = 64;

/// Reads the object in a file.
pub(super) fn read_object(path: &Path) -> Result<Map<String, Value>, ConfigError> {
    let io = |reason| ConfigError::Io { path: path.to_owned(), reason };
    // Asked before opening, since opening a pipe would wait for its other end.
    let kind = fs::metadata(path).map_err(io)?;
    if !kind.is_file() {
        return Err(ConfigError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    parse_object(path, &bytes)
}

/// Reads an object from the content of a file; the path is for messages. The order of keys is kept.
///
/// Refused beyond what JSON refuses: repeated keys, a byte order mark, more than [`MAX_CONFIG_BYTES`]
/// or [`MAX_CONFIG_DEPTH`]. `NaN` and `Infinity`, which Python writes, are refused as JSON says.
pub(super) fn parse_object(path: &Path, bytes: &[u8]) -> Result<Map<String, Value>, ConfigError> {
    if bytes.len() as u64 > MAX_CONFIG_BYTES {
        return Err(ConfigError::TooLarge { path: path.to_owned(), limit: MAX_CONFIG_BYTES });
    }
    let syntax = |line: usize, column: usize, message: String| ConfigError::Syntax {
        path: path.to_owned(),
        line,
        column,
        message,
    };
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(syntax(1, 1, "begins with a byte order mark: save it as UTF-8 without one".to_owned()));
    }
    if let Some(problem) = no_text(bytes) {
        return Err(syntax(1, 1, problem.to_owned()));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
        syntax(line, column, "not UTF-8: save the file in that encoding".to_owned())
    })?;
    if text.trim().is_empty() {
        return Err(syntax(1, 1, "the file is empty".to_owned()));
    }
    if text.starts_with("version https://git-lfs") {
        return Err(syntax(1, 1, "a Git LFS pointer, not the file: run `git lfs pull`".to_owned()));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Strict { depth: 0 }.deserialize(&mut deserializer);
    match value.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => {
            Err(syntax(1, 1, format!("expected an object, found {}", super::fields::describe(&other))))
        }
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            let message = error.to_string();
            let place = format!(" at line {line} column {column}");
            let message = message.strip_suffix(&place).unwrap_or(&message).to_owned();
            let better = not_a_number(text, line, column);
            let better = better.or_else(|| advice(text, line, column, &message).map(str::to_owned));
            Err(syntax(line, column, better.unwrap_or(message)))
        }
    }
}

/// What a file is that is no text at all, and what to do.
fn no_text(bytes: &[u8]) -> Option<&'static str> {
    let formats: [(&[u8], &str); 6] = [
        (MAGIC, "a plan, which `mscc run` and `mscc inspect` take: a model is named by its directory"),
        (b"\xff\xfe", "UTF-16: save the file as UTF-8"),
        (b"\xfe\xff", "UTF-16: save the file as UTF-8"),
        (b"{\0", "UTF-16: save the file as UTF-8"),
        (b"\x1f\x8b", "compressed: unpack the file with gunzip"),
        (b"PK\x03\x04", "a zip archive: unpack it"),
    ];
    let format = formats.into_iter().find(|(begin, _)| bytes.starts_with(begin)).map(|(_, problem)| problem);
    // The length of a safetensors header, and the header.
    if bytes.get(5..9).is_some_and(|bytes| bytes == b"\0\0\0{") {
        return Some("weights: a model is named by its directory");
    }
    let zeros = bytes.first().is_some_and(|byte| *byte == 0);
    format.or(zeros.then_some("zero bytes, as after a download that was cut: download the file again"))
}

/// What is probably the matter where the parser stopped, and what to do.
fn advice(text: &str, line: usize, column: usize, message: &str) -> Option<&'static str> {
    if message.starts_with("EOF") {
        return Some("the file ends in the middle: download it again");
    }
    if message == "trailing comma" {
        return Some("a comma with nothing behind it: remove it");
    }
    let start = text.trim_start();
    if start.starts_with('<') {
        return Some("a web page, perhaps an error in place of the download: download the file again");
    }
    if message == "expected value" && !start.starts_with(['{', '[']) {
        let is_yaml =
            start.lines().next().is_some_and(|first| first.contains(": ") || first.starts_with("---"));
        return Some(match is_yaml {
            true => "YAML, and JSON is expected: a model.yaml is told by its name, *.yaml or *.yml",
            false => "no JSON: name a config.json, the directory that has it, or a model.yaml",
        });
    }
    let before = text.lines().nth(line.checked_sub(1)?)?.as_bytes().get(..column)?;
    match before.last()? {
        b'/' | b'#' => Some("a comment, which JSON has not: remove it"),
        b'\'' => {
            Some("single quotes, as Python writes them: JSON has \"double\" ones, and true, false and null")
        }
        _ if message == "trailing characters" => Some("text behind the end of the object: remove it"),
        _ => None,
    }
}

/// A better message where the parser stopped at a number that only Python knows.
fn not_a_number(text: &str, line: usize, column: usize) -> Option<String> {
    let line = text.lines().nth(line.checked_sub(1)?)?;
    let from = line.as_bytes().get(column.saturating_sub(2)..)?;
    let from = String::from_utf8_lossy(&from[..from.len().min(16)]).into_owned();
    let token = from.trim_start_matches([' ', '\t', ':', ',', '[', '-']);
    let name = ["NaN", "Infinity"].into_iter().find(|name| token.starts_with(name))?;
    Some(format!("{name} is no JSON number, write a number or null"))
}

/// Builds a [`Value`] and refuses repeated keys and deep nesting on the way.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: de::Error>(self) -> Result<Strict, E> {
        if self.depth == MAX_CONFIG_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_CONFIG_DEPTH}")));
        }
        Ok(Strict { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(de::Error::custom(format_args!("key `{key}` appears twice")));
            }
            let value = access.next_value_seed(inner)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(bytes: impl AsRef<[u8]>) -> String {
        parse_object(Path::new("config.json"), bytes.as_ref()).unwrap_err().to_string()
    }

    #[test]
    fn keeps_order_and_kinds() {
        let map =
            parse_object(Path::new("c"), br#"{"z":1,"a":-2,"m":1e-6,"l":[null,true,"x"],"o":{}}"#).unwrap();
        assert_eq!(Vec::from_iter(map.keys()), ["z", "a", "m", "l", "o"]);
        let plain: Value =
            serde_json::from_str(r#"{"z":1,"a":-2,"m":1e-6,"l":[null,true,"x"],"o":{}}"#).unwrap();
        assert_eq!(Value::Object(map), plain);
    }

    #[test]
    fn names_the_place_of_what_it_refuses() {
        let cases: [(&[u8], &str); 28] = [
            (b"", "config.json:1:1: the file is empty"),
            (b" \n", "the file is empty"),
            (b"\xef\xbb\xbf{}", "config.json:1:1: begins with a byte order mark"),
            (b"{\n \"a\": \"\xff\"}", "config.json:2:8: not UTF-8"),
            (b"\xff\xfe{\0}\0", "UTF-16: save"),
            (b"{\0}\0", "UTF-16: save"),
            (b"\x1f\x8b\x08", "unpack the file"),
            (b"MSCCPLAN\x02", "a plan, which"),
            (b"\x10\0\0\0\0\0\0\0{\"a\"", "weights: a model is named by"),
            (b"\0\0\0", "zero bytes"),
            (b"<html>", "a web page"),
            (b"model_type: llama\n", "YAML, and JSON is expected"),
            (b"# Title\n", "config.json:1:1: no JSON"),
            (b"{\"a\":1, // b\n}", "config.json:1:9: a comment"),
            (b"{\"a\":1,\n# b\n}", "config.json:2:1: a comment"),
            (b"[1]", "expected an object, found a list of 1"),
            (b"null", "expected an object, found null"),
            (b"{", "config.json:1:1: the file ends in the middle: download"),
            (b"{\"a\":1,}", "config.json:1:8: a comma with nothing behind it"),
            (b"{} {}", "text behind the end of the object"),
            (b"{\n\"a\": NaN}", "config.json:2:6: NaN is no JSON number"),
            (b"{\"a\":[1, Infinity]}", "Infinity is no JSON number"),
            (b"{\"a\":-Infinity}", "Infinity is no JSON number"),
            (b"{\"a\":1e999}", "number out of range"),
            (b"{\"a\":{\"b\":1,\n\"b\":2}}", "config.json:2:3: key `b` appears twice"),
            (b"{\"a\":01}", "invalid number"),
            (b"{'a':1}", "single quotes, as Python writes them"),
            (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ];
        for (bytes, expected) in cases {
            let message = refusal(bytes);
            assert!(message.contains(expected), "{}: {message}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn bounds_depth_and_size() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse_object(Path::new("c"), nested(MAX_CONFIG_DEPTH - 1).as_bytes()).is_ok());
        assert!(refusal(nested(MAX_CONFIG_DEPTH)).contains("nested deeper than 64"));
        assert!(refusal(nested(1_000_000)).contains("nested deeper than 64"));
        assert!(refusal(vec![b' '; MAX_CONFIG_BYTES as usize + 1]).contains("larger than 16777216 bytes"));
    }

    proptest! {
        #[test]
        fn no_input_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse_object(Path::new("c"), &bytes);
        }

        #[test]
        fn no_text_like_json_makes_it_panic(text in "[\\[\\]{}:,\"aN\\-In.e0-9é \n]{0,40}") {
            let _ = parse_object(Path::new("c"), text.as_bytes());
        }
    }
}
