use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::dialect::STORED;
use super::json;
use super::methods::{self, pad, split_lines};
use super::python::{self, charge, check_depth, error};

/// Adds the filters, tests and functions that differ from jinja2's in the engine, or that it lacks.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_filter("tojson", json::to_json);
    environment.add_filter("string", |state: &State, value: &Value| -> Result<String, Error> {
        Ok(python::str(state, value)?.into_owned())
    });
    environment.add_filter("trim", trim);
    environment.add_filter("join", join);
    environment.add_filter("indent", indent);
    environment.add_filter("center", center);
    environment.add_filter(STORED, stored);
    for name in TEXT_FILTERS {
        let filter = *name;
        environment.add_filter(
            filter.0,
            move |state: &mut State, value: &Value, args: Rest<ValueOrKwargs>| {
                on_text(state, value, args, filter.1)
            },
        );
    }
    environment.add_filter("format", format);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("e", escape);
    environment.add_filter("escape", escape);
    environment.add_function("dict", dict);
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("wordcount", |state: &State, value: &Value| -> Result<usize, Error> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        Ok(python::str(state, value)?.split(|c| !is_word(c)).filter(|word| !word.is_empty()).count())
    });
    // What jinja2 does not have; of `pprint`, which it has, the output grows with the square of a value's depth.
    for name in ["pprint", "split", "lines", "bool", "zip", "chain"] {
        environment.remove_filter(name);
    }
    environment.remove_global("debug");
    environment.add_test("callable", |value: &Value| {
        let is_macro = value.as_object().is_some_and(|object| object.type_name().ends_with("Macro"));
        is_macro || value.kind() == ValueKind::Plain
    });
    environment.add_test("iterable", |value: &Value| {
        // The engine takes none for an empty list here.
        value.is_undefined() || (!value.is_none() && value.try_iter().is_ok())
    });
    environment.add_test("sequence", |value: &Value| value.is_undefined() || value.len().is_some());
}

/// What is put into a namespace. A value that holds a namespace could come to hold itself, and the engine follows
/// such a circle without end; Python does not, but no template has a use for one.
fn stored(state: &State, value: Value) -> Result<Value, Error> {
    fn check(state: &State, value: &Value, depth: usize) -> Result<(), Error> {
        check_depth(depth)?;
        let Some(object) = value.as_object() else { return Ok(()) };
        if object.type_name().ends_with("Namespace") {
            return Err(error("a namespace cannot be put into a namespace"));
        }
        let is_map = value.kind() == ValueKind::Map;
        if !is_map && value.kind() != ValueKind::Seq {
            return Ok(());
        }
        charge(state, value.len().unwrap_or(0).saturating_mul(16))?;
        for item in value.try_iter()? {
            match is_map {
                true => check(state, &value.get_item(&item)?, depth + 1)?,
                false => check(state, &item, depth + 1)?,
            }
        }
        Ok(())
    }
    check(state, &value, 0)?;
    Ok(value)
}

/// Filters of the engine that read a text, which may be given another value.
type TextFilter = fn(&mut State, &str, &[Value]) -> Result<Value, Error>;
const TEXT_FILTERS: &[(&str, TextFilter)] = &[
    ("upper", |_, text, _| Ok(text.to_uppercase().into())),
    ("lower", |_, text, _| Ok(text.to_lowercase().into())),
    ("capitalize", |state, text, args| methods::call(state, &text.into(), "capitalize", args)),
    ("replace", |state, text, args| {
        let mut args = args.to_vec();
        for arg in args.iter_mut().take(2) {
            *arg = python::str(state, arg)?.into_owned().into();
        }
        methods::call(state, &text.into(), "replace", &args)
    }),
    ("title", |_, text, _| Ok(minijinja::filters::title(text.into()).into())),
    ("safe", |_, text, _| Ok(Value::from_safe_string(text.to_owned()))),
    ("urlencode", |_, text, _| Ok(minijinja::filters::urlencode(&Value::from(text))?.into())),
];

/// Gives a filter the text of a value, paid for before the filter makes more of it.
fn on_text(
    state: &mut State,
    value: &Value,
    args: Rest<ValueOrKwargs>,
    filter: TextFilter,
) -> Result<Value, Error> {
    let text = python::str(state, value)?.into_owned();
    charge(state, text.len())?;
    filter(state, &text, &args.into_values())
}

/// `%` of Python; what is neither a number nor a text is made a text first.
fn format(state: &mut State, text: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let mut args = args.into_values();
    let mut length = 0_usize;
    for arg in &mut args {
        if !matches!(arg.kind(), ValueKind::Number | ValueKind::Bool) {
            let text = python::str(state, arg)?;
            length = length.saturating_add(text.len());
            if !arg.is_kwargs() {
                *arg = text.into_owned().into();
            }
        }
    }
    // Each field may write any argument.
    let fields = text.as_str().map_or(0, |text| text.matches('%').count());
    charge(state, fields.saturating_mul(length))?;
    let args = args.into_iter().map(ValueOrKwargs::from).collect();
    minijinja::filters::format(state, text, Rest(args))
}

/// Python's `int` of a value, or the default where that fails.
fn int(
    state: &State,
    value: &Value,
    default_value: Option<Value>,
    base: Option<u32>,
    options: Kwargs,
) -> Result<Value, Error> {
    let default_value = default_value.or(options.get("default")?).unwrap_or_else(|| Value::from(0));
    let text = value.as_str().map(|text| Value::from(python::strip(text)));
    minijinja::filters::int(state, text.as_ref().unwrap_or(value), Some(default_value), base, options)
}

/// Python's `float` of a value, or the default where that fails.
fn float(value: &Value, default_value: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let default_value = default_value.or(options.get("default")?).unwrap_or_else(|| Value::from(0.0));
    options.assert_all_used()?;
    let number = match value.as_str() {
        Some(text) => python::strip(text).parse::<f64>().ok(),
        None if value.kind() == ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        None => f64::try_from(value.clone()).ok(),
    };
    Ok(number.map_or(default_value, Value::from))
}

/// Python's `dict` of a map or of pairs, with keywords.
fn dict(items: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    if let Some(items) = items {
        let is_map = items.kind() == ValueKind::Map;
        for item in items.try_iter()? {
            pairs.push(match is_map {
                true => (item.clone(), items.get_item(&item)?),
                false if item.len() == Some(2) => (item.get_item_by_index(0)?, item.get_item_by_index(1)?),
                false => return Err(error("dict: expected pairs")),
            });
        }
    }
    for name in options.args() {
        pairs.push((Value::from(name), options.get(name)?));
    }
    Ok(Value::from_pairs(pairs))
}

/// The value, unless it is undefined or, where `boolean` is set, false. The default may be none.
fn default(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let mut args = args.into_values();
    let options = match args.last().and_then(|last| Kwargs::try_from(last.clone()).ok()) {
        Some(options) => {
            args.pop();
            options
        }
        None => Kwargs::from_iter(std::iter::empty::<(&str, Value)>()),
    };
    let mut args = args.into_iter();
    let mut argument = |name: &str| match args.next() {
        Some(value) => Ok(Some(value)),
        None if options.has(name) => options.get::<Value>(name).map(Some),
        None => Ok(None),
    };
    let default_value = argument("default_value")?.unwrap_or_else(|| Value::from(""));
    let boolean = argument("boolean")?.is_some_and(|boolean| boolean.is_true());
    if args.next().is_some() {
        return Err(ErrorKind::TooManyArguments.into());
    }
    options.assert_all_used()?;
    let is_missing = value.is_undefined() || (boolean && !value.is_true());
    Ok(if is_missing { default_value } else { value.clone() })
}

/// HTML's five characters as entities, in a text that is not escaped again.
fn escape(state: &State, value: &Value) -> Result<Value, Error> {
    if value.is_safe() {
        return Ok(value.clone());
    }
    let text = python::str(state, value)?;
    charge(state, text.len().saturating_mul(5))?;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    Ok(Value::from_safe_string(out))
}

/// `str.center`.
fn center(state: &State, value: &Value, width: Option<usize>) -> Result<Value, Error> {
    let text = python::str(state, value)?;
    pad(state, &text, "center", &[Value::from(width.unwrap_or(80))])
}

/// `str.strip` of the text of a value.
fn trim(state: &State, value: &Value, chars: Option<&str>) -> Result<String, Error> {
    let text = python::str(state, value)?;
    charge(state, text.len())?;
    Ok(match chars {
        Some(chars) => text.trim_matches(|c| chars.contains(c)).to_owned(),
        None => python::strip(&text).to_owned(),
    })
}

/// Indents every line but the first and blank ones, unless `first` and `blank` ask for them.
fn indent(state: &State, text: &Value, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let args = args.into_values();
    let (width, first, blank, options): (Option<Value>, Option<bool>, Option<bool>, Kwargs) =
        from_args(&args)?;
    let text = text.as_str().ok_or_else(|| error("indent: expected a text"))?;
    let width = width.or(options.get("width")?).unwrap_or_else(|| Value::from(4));
    let first = first.or(options.get("first")?).unwrap_or(false);
    let blank = blank.or(options.get("blank")?).unwrap_or(false);
    options.assert_all_used()?;
    let indention = match (width.as_str(), width.as_i64()) {
        (Some(text), _) => text.to_owned(),
        (None, Some(width)) => {
            let width = usize::try_from(width).unwrap_or(0);
            charge(state, width)?;
            " ".repeat(width)
        }
        (None, None) => return Err(error("indent: the width is a number or a text")),
    };
    // As in jinja2, a line end at the end begins a blank line, and all line ends become `\n`.
    let text = format!("{text}\n");
    let mut out = String::new();
    for (index, line) in split_lines(&text, false).into_iter().enumerate() {
        let start = out.len();
        if index > 0 {
            out.push('\n');
        }
        let is_indented = if index == 0 { first } else { blank || !line.is_empty() };
        if is_indented {
            out.push_str(&indention);
        }
        out.push_str(line);
        charge(state, out.len() - start)?;
    }
    Ok(out)
}

/// Joins the texts of items, or of an attribute of each.
fn join(state: &State, value: &Value, separator: Option<&Value>, options: Kwargs) -> Result<String, Error> {
    let keyword = options.get::<Option<Value>>("d")?;
    let separator = match separator.or(keyword.as_ref()) {
        Some(separator) => python::str(state, separator)?.into_owned(),
        None => String::new(),
    };
    let attribute = options.get::<Option<Value>>("attribute")?;
    options.assert_all_used()?;
    let mut out = String::new();
    if value.is_undefined() {
        return Ok(out);
    }
    if value.is_none() {
        return Err(error("join: none has no items"));
    }
    for (index, item) in value.try_iter()?.enumerate() {
        let start = out.len();
        if index > 0 {
            out.push_str(&separator);
        }
        let item = match &attribute {
            Some(path) => attribute_of(&item, path)?,
            None => item,
        };
        out.push_str(&python::str(state, &item)?);
        charge(state, out.len() - start)?;
    }
    Ok(out)
}

/// Follows a path such as `function.name`.
fn attribute_of(item: &Value, path: &Value) -> Result<Value, Error> {
    match path.as_str() {
        Some(path) => path.split('.').try_fold(item.clone(), |value, part| match part.parse::<usize>() {
            Ok(index) => value.get_item_by_index(index),
            Err(_) => value.get_attr(part),
        }),
        None => item.get_item(path),
    }
}
