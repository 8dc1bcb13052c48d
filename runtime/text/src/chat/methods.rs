use std::fmt;
use std::sync::Arc;

use minijinja::value::{Kwargs, Object, ObjectRepr, Rest, Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::dialect::{ATTRIBUTE, DICT_METHODS, ITEM};
use super::python::{self, charge, error};

/// Calls a method of Python's `str`, `dict` or `list`: those that the engine's Python support lacks or does
/// otherwise are here, the rest is left to it. Methods that change their object are refused, as by the
/// sandbox of transformers.
pub(super) fn call(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    // Each method reads its object and arguments once.
    let bytes: usize = args.iter().chain([value]).map(size).sum();
    charge(state, bytes)?;
    for (prefix, is_attribute) in [(ATTRIBUTE, true), (ITEM, false)] {
        if let Some(name) = method.strip_prefix(prefix).and_then(dict_method) {
            return look_up(value, name, is_attribute);
        }
    }
    if let Some(text) = value.as_str()
        && let Some(result) = str_method(state, text, method, args)?
    {
        return Ok(result);
    }
    if matches!(value.kind(), ValueKind::Map | ValueKind::Seq) {
        if let (
            "append" | "clear" | "extend" | "insert" | "pop" | "popitem" | "remove" | "reverse"
            | "setdefault" | "sort" | "update",
            true,
        ) = (method, value.get_attr(method).is_ok_and(|item| item.is_undefined()))
        {
            return Err(error(format!("method `{method}` would change its object, which templates may not")));
        }
        if value.kind() == ValueKind::Map && method == "copy" {
            return Ok(value.clone());
        }
        if value.kind() == ValueKind::Seq && method == "index" {
            let (item,): (&Value,) = from_args(args)?;
            let found = value.try_iter()?.position(|other| other == *item);
            return found.map(Value::from).ok_or_else(|| error(format!("{item} is not in the list")));
        }
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
}

fn dict_method(name: &str) -> Option<&'static str> {
    DICT_METHODS.into_iter().find(|other| *other == name)
}

/// `value.name` or `value['name']`, where `name` is that of a method of `dict`.
fn look_up(value: &Value, name: &'static str, is_attribute: bool) -> Result<Value, Error> {
    let object = value.as_object().filter(|_| value.kind() == ValueKind::Map);
    // A namespace has no methods.
    let is_dict = object.is_some_and(|object| !object.type_name().ends_with("Namespace"));
    let found = if is_dict && is_attribute { Value::UNDEFINED } else { value.get_attr(name)? };
    // Between a key that is missing and one that is undefined there is no difference that Python knows.
    Ok(if is_dict && found.is_undefined() {
        Value::from_object(DictMethod { dict: value.clone(), name })
    } else {
        found
    })
}

/// A method of a dict that was named and not called.
#[derive(Debug)]
struct DictMethod {
    dict: Value,
    name: &'static str,
}

impl Object for DictMethod {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, state: &mut State, args: &[Value]) -> Result<Value, Error> {
        self.dict.call_method(state, self.name, args)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<built-in method {} of dict object>", self.name)
    }
}

/// What reading a value costs, roughly, in bytes.
fn size(value: &Value) -> usize {
    match value.as_str() {
        Some(text) => text.len(),
        None => value.len().unwrap_or(1).saturating_mul(32),
    }
}

fn str_method(state: &State, text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let string = |text: &str| Ok(Some(Value::from(text)));
    match method {
        "strip" | "lstrip" | "rstrip" => {
            let (chars,): (Option<&str>,) = from_args(args)?;
            let cut = |c: char| chars.map_or(python::is_space(c), |chars| chars.contains(c));
            string(match method {
                "strip" => text.trim_matches(cut),
                "lstrip" => text.trim_start_matches(cut),
                _ => text.trim_end_matches(cut),
            })
        }
        "split" | "rsplit" => split(state, text, method == "rsplit", args).map(Some),
        "splitlines" => {
            let (keep_ends, options): (Option<bool>, Kwargs) = from_args(args)?;
            let keep_ends = keep_ends.or(options.get("keepends")?).unwrap_or(false);
            let lines = split_lines(text, keep_ends);
            charge(state, lines.len().saturating_mul(32))?;
            Ok(Some(lines.into_iter().map(Value::from).collect()))
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            string(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            string(text.strip_suffix(suffix).unwrap_or(text))
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            if separator.is_empty() {
                return Err(error("empty separator"));
            }
            let parts = match method {
                "partition" => {
                    text.split_once(separator).map(|(a, b)| [a, separator, b]).unwrap_or([text, "", ""])
                }
                _ => text.rsplit_once(separator).map(|(a, b)| [a, separator, b]).unwrap_or(["", "", text]),
            };
            Ok(Some(Value::from(Tuple::from(parts.map(Value::from)))))
        }
        "join" => {
            let (items,): (&Value,) = from_args(args)?;
            let mut out = String::new();
            for (index, item) in items.try_iter()?.enumerate() {
                let item = item
                    .as_str()
                    .ok_or_else(|| error(format!("join: item {index} is no string but {}", item.kind())))?;
                if index > 0 {
                    out.push_str(text);
                }
                out.push_str(item);
                charge(state, text.len() + item.len())?;
            }
            Ok(Some(out.into()))
        }
        "replace" => {
            let (old, new, count): (&str, &str, Option<i64>) = from_args(args)?;
            let found = if old.is_empty() { text.len() + 1 } else { text.matches(old).count() };
            let count = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(found).min(found);
            charge(state, count.saturating_mul(new.len()))?;
            Ok(Some(text.replacen(old, new, count).into()))
        }
        "find" | "rfind" | "index" | "count" | "startswith" | "endswith" => {
            search(text, method, args).map(Some)
        }
        "zfill" | "ljust" | "rjust" | "center" => pad(state, text, method, args).map(Some),
        "casefold" => {
            let () = from_args(args)?;
            string(&text.to_lowercase())
        }
        "title" => {
            let () = from_args(args)?;
            Ok(Some(title(text).into()))
        }
        "swapcase" => {
            let () = from_args(args)?;
            let swap = |c: char| -> String {
                if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
            };
            Ok(Some(text.chars().map(swap).collect::<String>().into()))
        }
        "isascii" => {
            let () = from_args(args)?;
            Ok(Some(text.is_ascii().into()))
        }
        "isdecimal" => {
            let () = from_args(args)?;
            Ok(Some((!text.is_empty() && text.chars().all(|c| c.is_ascii_digit())).into()))
        }
        "format" => {
            let digits = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
            if digits > 4 {
                return Err(error("format: a width of more than four digits"));
            }
            // Each field may write any argument.
            let mut length = 0_usize;
            for arg in args {
                length = length.saturating_add(python::str(state, arg)?.len());
            }
            charge(state, length.saturating_mul(text.matches('{').count()))?;
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// The methods of `str` that look for a text, from a character on and up to another.
fn search(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (what, start, end): (&Value, Option<i64>, Option<i64>) = from_args(args)?;
    let length = if start.is_some() || end.is_some() { text.chars().count() } else { 0 };
    // Counted from the end where negative.
    let place = |at: i64| match usize::try_from(at) {
        Ok(at) => at,
        Err(_) => length.saturating_sub(usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    let (start, end) = (start.map_or(0, place), end.map_or(usize::MAX, place));
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    let from = if start == 0 { 0 } else { byte(start) };
    let part = text.get(from..if end == usize::MAX { text.len() } else { byte(end) });
    // A start behind the end finds nothing, not even the empty text.
    let part = part.filter(|_| start == 0 || start <= length);
    let text_of = |what: &Value| match what.as_str() {
        Some(what) => Ok(what.to_owned()),
        None => Err(error(format!("{method}: expected a text, got {}", what.kind()))),
    };
    if matches!(method, "startswith" | "endswith") {
        let texts = match what.is_tuple() {
            true => what.try_iter()?.map(|what| text_of(&what)).collect::<Result<Vec<_>, _>>()?,
            false => vec![text_of(what)?],
        };
        let is_there = |part: &str, what: &String| match method {
            "startswith" => part.starts_with(what),
            _ => part.ends_with(what),
        };
        return Ok(part.is_some_and(|part| texts.iter().any(|what| is_there(part, what))).into());
    }
    let what = text_of(what)?;
    if method == "count" {
        return Ok(part.map_or(0, |part| part.matches(&what).count()).into());
    }
    let found = part.and_then(|part| if method == "rfind" { part.rfind(&what) } else { part.find(&what) });
    match found {
        Some(at) => Ok(text[..from + at].chars().count().into()),
        None if method == "index" => Err(error("substring not found")),
        None => Ok(Value::from(-1)),
    }
}

/// `str.split` and `str.rsplit`.
fn split(state: &State, text: &str, from_right: bool, args: &[Value]) -> Result<Value, Error> {
    let (separator, limit, options): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = separator.or(options.get("sep")?).filter(|value| !value.is_none());
    let limit = limit.or(options.get("maxsplit")?).and_then(|limit| usize::try_from(limit).ok());
    options.assert_all_used()?;
    let separator = match &separator {
        Some(value) => {
            let separator = value.as_str().ok_or_else(|| error("split: the separator is a string"))?;
            if separator.is_empty() {
                return Err(error("empty separator"));
            }
            Some(separator)
        }
        None => None,
    };
    let mut parts: Vec<&str> = Vec::new();
    let mut rest = match separator {
        Some(_) => text,
        None if from_right => text.trim_end_matches(python::is_space),
        None => text.trim_start_matches(python::is_space),
    };
    while limit.is_none_or(|limit| parts.len() < limit) {
        let cut = match (separator, from_right) {
            (Some(separator), false) => rest.split_once(separator),
            (Some(separator), true) => rest.rsplit_once(separator),
            (None, false) => {
                rest.split_once(python::is_space).map(|(a, b)| (a, b.trim_start_matches(python::is_space)))
            }
            (None, true) => {
                rest.rsplit_once(python::is_space).map(|(a, b)| (a.trim_end_matches(python::is_space), b))
            }
        };
        let Some((left, right)) = cut else { break };
        charge(state, 32)?;
        parts.push(if from_right { right } else { left });
        rest = if from_right { left } else { right };
    }
    if separator.is_some() || !rest.is_empty() {
        // Without a separator, the side that was not split keeps its outer space.
        parts.push(rest);
    }
    if from_right {
        parts.reverse();
    }
    Ok(parts.into_iter().map(Value::from).collect())
}

/// `str.title`: a letter is large unless it follows a letter.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_letter = false;
    for c in text.chars() {
        if after_letter {
            out.extend(c.to_lowercase())
        } else {
            out.extend(c.to_uppercase())
        }
        after_letter = c.is_alphabetic();
    }
    out
}

/// `str.splitlines`, which knows more line ends than `\n`.
pub(super) fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let is_end = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_end) {
        let width = if rest[at..].starts_with("\r\n") {
            2
        } else {
            rest[at..].chars().next().map_or(1, char::len_utf8)
        };
        lines.push(&rest[..if keep_ends { at + width } else { at }]);
        rest = &rest[at + width..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// `str.zfill`, `ljust`, `rjust` and `center`.
pub(super) fn pad(state: &State, text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (width, fill, rest): (usize, Option<&str>, Rest<Value>) = from_args(args)?;
    if !rest.is_empty() || (method == "zfill" && fill.is_some()) {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let fill = match (method, fill) {
        ("zfill", _) => "0",
        (_, None) => " ",
        (_, Some(fill)) if fill.chars().count() == 1 => fill,
        (_, Some(_)) => return Err(error("the fill character must be exactly one character long")),
    };
    let length = text.chars().count();
    let missing = width.saturating_sub(length);
    charge(state, missing.saturating_mul(fill.len()))?;
    let side = |count: usize| fill.repeat(count);
    Ok(Value::from(match method {
        "ljust" => format!("{text}{}", side(missing)),
        "rjust" => format!("{}{text}", side(missing)),
        "center" => {
            let left = missing / 2 + (missing & width & 1);
            format!("{}{text}{}", side(left), side(missing - left))
        }
        _ => {
            let digits = text.trim_start_matches(['+', '-']);
            let sign = if text.len() - digits.len() == 1 { &text[..1] } else { "" };
            format!("{sign}{}{}", side(missing), &text[sign.len()..])
        }
    }))
}
