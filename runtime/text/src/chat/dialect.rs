use std::borrow::Cow;

use super::concat;

/// Most words, operators and literals of one tag.
const MAX_TOKENS: usize = 10_000;
/// Most `elif` tags of a template.
const MAX_ELIFS: usize = 1000;

/// Methods of Python's `dict` that a template can name. In jinja2 `x.items` is the method even where there is a key
/// `items`, and `x['items']` is the method where there is none: JSON schemas have such keys, and templates ask
/// for them. The engine sees keys alone, so the lookup is rewritten to a call that [`methods`](super::methods)
/// answers.
pub(super) const DICT_METHODS: [&str; 5] = ["items", "keys", "values", "get", "copy"];
/// The filter that values for namespaces go through.
pub(super) const STORED: &str = "__stored";
/// Begins the name of the call that `x.items` becomes.
pub(super) const ATTRIBUTE: &str = "__attribute_";
/// Begins the name of the call that `x['items']` becomes.
pub(super) const ITEM: &str = "__item_";

/// Rewrites a template of jinja2 and transformers where the engine reads it otherwise:
///
/// - `{% generation %}` blocks, with which transformers marks what the assistant says for training, become
///   `{% with %}` blocks: they render their body in a scope of their own and do nothing else;
/// - what names a method of Python's `dict` without calling it (`schema['items']`, `schema.items`) becomes a call
///   that looks it up as Python does, see [`DICT_METHODS`];
/// - the operands of `~` become texts first, see [`concat`](super::concat);
/// - what is put into a namespace goes through the filter [`STORED`], so that none holds itself;
/// - `{% raw %}` keeps the line end behind it, which `trim_blocks` would take;
/// - line ends are `\n`.
///
/// Strings, comments and the inside of raw blocks stay as they are, and so do all line numbers. Text that is no
/// template is returned as it is from where it goes wrong; the engine reports it better.
///
/// Source: transformers 5.23, `AssistantTracker` in `chat_template_utils.py`; jinja2 3.1.6, `lexer.py`.
///
/// # Errors
/// The name of a limit: the engine's compiler follows long chains of operators and of `elif` by recursion.
pub(super) fn for_engine(template: &str) -> Result<String, &'static str> {
    let template = if template.contains('\r') {
        Cow::Owned(template.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(template)
    };
    let mut out = String::with_capacity(template.len());
    let mut rest = template.as_ref();
    let mut elifs = 0;
    while let Some(open) = next_tag(rest) {
        let (before, tag) = rest.split_at(open);
        out.push_str(before);
        let end = match tag.as_bytes()[1] {
            b'#' => tag.find("#}").map(|at| at + 2),
            b'{' => expression_end(tag, "}}"),
            _ => statement_end(tag),
        };
        let Some(end) = end else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(end);
        let name = block_name(tag);
        elifs += usize::from(name == Some("elif"));
        if elifs > MAX_ELIFS {
            return Err("the number of `elif`");
        }
        if !tag.starts_with("{#") && name != Some("raw") && concat::tokens(tag).len() > MAX_TOKENS {
            return Err("the length of a tag");
        }
        match name {
            Some("generation") => out.push_str(&tag.replacen("generation", "with", 1)),
            Some("endgeneration") => out.push_str(&tag.replacen("endgeneration", "endwith", 1)),
            Some("raw") => out.push_str(&keeping_line_end(tag)),
            Some("set") => out.push_str(&concat::with_texts(&assignment(tag))),
            _ if tag.starts_with("{#") => out.push_str(tag),
            _ => {
                let mut rewritten = String::with_capacity(tag.len());
                push_with_lookups(tag, &mut rewritten);
                out.push_str(&concat::with_texts(&rewritten));
            }
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Where the next `{%`, `{{` or `{#` is.
fn next_tag(text: &str) -> Option<usize> {
    text.as_bytes().windows(2).position(|pair| pair[0] == b'{' && matches!(pair[1], b'%' | b'{' | b'#'))
}

/// The first word of a `{% ... %}` tag.
fn block_name(tag: &str) -> Option<&str> {
    let inside = tag.strip_prefix("{%")?.trim_start_matches(['-', '+']).trim_start();
    let end = inside.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    Some(&inside[..end])
}

/// A raw block whose opening tag does not trim what follows it.
fn keeping_line_end(block: &str) -> String {
    match block.find("%}") {
        Some(end) if !block[..end].ends_with(['-', '+']) => format!("{}+{}", &block[..end], &block[end..]),
        _ => block.to_owned(),
    }
}

/// A `{% set %}` tag: its target stays as it is, and a value for a namespace goes through [`STORED`].
fn assignment(tag: &str) -> String {
    let Some((target, value)) = tag.split_once('=') else { return tag.to_owned() };
    let mut out = format!("{target}=");
    let end = value.len() - 2;
    let end = end - usize::from(value[..end].ends_with(['-', '+']));
    if target.contains('.') && !value[..end].trim().is_empty() {
        out.push('(');
        push_with_lookups(&value[..end], &mut out);
        out.extend([")|", STORED, " ", &value[end..]]);
    } else {
        push_with_lookups(value, &mut out);
    }
    out
}

/// Appends the inside of a tag with lookups of [`DICT_METHODS`] made calls.
fn push_with_lookups(code: &str, out: &mut String) {
    let bytes = code.as_bytes();
    let (mut done, mut at) = (0, 0);
    while at < bytes.len() {
        let lookup = match bytes[at] {
            b'.' if follows_operand(&code[..at]) => attribute(&code[at..]).map(|found| (ATTRIBUTE, found)),
            b'[' if follows_operand(&code[..at]) => item(&code[at..]).map(|found| (ITEM, found)),
            b'"' | b'\'' => {
                at = string_end(bytes, at).unwrap_or(bytes.len());
                continue;
            }
            _ => None,
        };
        if let Some((prefix, (name, length))) = lookup {
            out.push_str(&code[done..at]);
            out.extend([".", prefix, name, "()"]);
            // Lines keep their numbers.
            out.extend(code[at..at + length].matches('\n'));
            at += length;
            done = at;
        } else {
            at += 1;
        }
    }
    out.push_str(&code[done..]);
}

/// Whether what comes next is looked up in a value, and does not begin one.
fn follows_operand(code: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let word = &code[code.trim_end_matches(is_word).len()..];
    match word {
        "" => code.ends_with([')', ']', '}', '"', '\'']),
        "in" | "is" | "if" | "elif" | "else" | "not" | "and" | "or" => false,
        word => !word.starts_with(|c: char| c.is_ascii_digit()),
    }
}

/// The name and length of `.items` that is not called.
fn attribute(code: &str) -> Option<(&'static str, usize)> {
    let name = DICT_METHODS.into_iter().find(|name| code[1..].starts_with(name))?;
    let after = &code[1 + name.len()..];
    let is_longer = after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    (!is_longer && !after.trim_start().starts_with('(')).then_some((name, 1 + name.len()))
}

/// The name and length of `['items']`.
fn item(code: &str) -> Option<(&'static str, usize)> {
    let inside = code[1..].trim_start();
    let quote = inside.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let name = DICT_METHODS.into_iter().find(|name| inside[1..].starts_with(name))?;
    let after = inside[1 + name.len()..].strip_prefix(quote)?.trim_start().strip_prefix(']')?;
    Some((name, code.len() - after.len()))
}

/// The end of the string that begins at `at`.
pub(super) fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let quote = bytes[at];
    at += 1;
    while *bytes.get(at)? != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    Some(at + 1)
}

/// The end of a statement tag; of a raw block, the end of its closing tag.
fn statement_end(tag: &str) -> Option<usize> {
    let end = expression_end(tag, "%}")?;
    if block_name(&tag[..end]) != Some("raw") {
        return Some(end);
    }
    let mut at = end;
    loop {
        at += tag[at..].find("{%")?;
        if block_name(&tag[at..]) == Some("endraw") {
            return Some(at + tag[at..].find("%}")? + 2);
        }
        at += 2;
    }
}

/// The end of a tag that holds an expression: after the first `close` outside strings and brackets.
fn expression_end(tag: &str, close: &str) -> Option<usize> {
    let bytes = tag.as_bytes();
    let (mut at, mut depth) = (2, 0_usize);
    while at < bytes.len() {
        if depth == 0 && tag.as_bytes()[at..].starts_with(close.as_bytes()) {
            return Some(at + close.len());
        }
        match bytes[at] {
            b'"' | b'\'' => {
                at = string_end(bytes, at)?;
                continue;
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, expected: &str) {
        assert_eq!(for_engine(template).unwrap(), expected);
    }

    #[test]
    fn blocks_are_rewritten_and_nothing_else() {
        check("{%- generation -%}a{%endgeneration%}", "{%- with -%}a{%endwith%}");
        check("{% set generation = '{% generation %}' %}", "{% set generation = '{% generation %}' %}");
        check("{{ \"\\\"{% generation %}\" }}", "{{ \"\\\"{% generation %}\" }}");
        check("{# {% generation %} #}{% generation %}", "{# {% generation %} #}{% with %}");
        check(
            "{% raw %}{% generation %}{%- endraw %}{% generation %}",
            "{% raw +%}{% generation %}{%- endraw %}{% with %}",
        );
        check("{{ {'a': {}}}}{% generation %}", "{{ {'a': {}}}}{% with %}");
        check("{% generation_prompt %}", "{% generation_prompt %}");
        check("a\r\nb\rc", "a\nb\nc");
        check("你{%\n generation\n%}好", "你{%\n with\n%}好");
    }

    #[test]
    fn lookups_of_dict_methods_are_calls() {
        check("{{ a['items']['type'] }}", "{{ a.__item_items()['type'] }}");
        check("{{ a.b[ \"keys\" ].items }}", "{{ a.b.__item_keys().__attribute_items() }}");
        check("{{ f(x).get is defined }}", "{{ f(x).__attribute_get() is defined }}");
        check("{% if x\n.values == 'a' %}", "{% if x\n.values == 'a' %}");
        check("{% if x[\n'values'] %}", "{% if x.__item_values()\n %}");
        for same in [
            "{{ a.items() }}{{ a.items ()[0] }}{{ a | items }}{{ a.itemset }}{{ a['item'] }}",
            "{{ 'a.items' }}{{ 'it\\'s a.items' }}",
            "{% if x in ['items'] %}{% if x in['items'] %}{{ (['items'], ['get']) }}{{ [['items']] }}",
            "{% set items %}a.items{% endset %}{# a.items #}",
            "a.items and a['items']{% raw %}{{ a.items }}{% endraw %}",
        ] {
            check(same, &same.replace("{% raw %}", "{% raw +%}"));
        }
        check("{% set ns.items = ns.items -%}", "{% set ns.items =( ns.__attribute_items() )|__stored -%}");
    }

    #[test]
    fn broken_templates_stay() {
        for text in ["{", "{%", "{% generation", "{{ 'a", "{# x", "{% raw %}{% generation %}", "{{ '\\"] {
            check(text, text);
        }
    }
}
