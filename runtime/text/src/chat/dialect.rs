use std::borrow::Cow;

/// Rewrites a template of jinja2 and transformers where the engine reads it otherwise:
///
/// - `{% generation %}` blocks, with which transformers marks what the assistant says for training, become
///   `{% with %}` blocks: they render their body in a scope of their own and do nothing else;
/// - `{% raw %}` keeps the line end behind it, which `trim_blocks` would take;
/// - line ends are `\n`.
///
/// Strings, comments and the inside of raw blocks stay as they are, and so do all line numbers. Text that is no
/// template is returned as it is from where it goes wrong; the engine reports it better.
///
/// Source: transformers 5.23, `AssistantTracker` in `chat_template_utils.py`; jinja2 3.1.6, `lexer.py`.
pub(super) fn for_engine(template: &str) -> String {
    let template = if template.contains('\r') {
        Cow::Owned(template.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(template)
    };
    let mut out = String::with_capacity(template.len());
    let mut rest = template.as_ref();
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
        match block_name(tag) {
            Some("generation") => out.push_str(&tag.replacen("generation", "with", 1)),
            Some("endgeneration") => out.push_str(&tag.replacen("endgeneration", "endwith", 1)),
            Some("raw") => out.push_str(&keeping_line_end(tag)),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
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

/// The end of a statement tag; of a raw block, the end of its closing tag.
fn statement_end(tag: &str) -> Option<usize> {
    let end = expression_end(tag, "%}")?;
    if block_name(&tag[..end]) != Some("raw") {
        return Some(end);
    }
    let mut at = end;
    loop {
        at += tag[at..].find("{%")?;
        let close = at + tag[at..].find("%}")? + 2;
        if block_name(&tag[at..close]) == Some("endraw") {
            return Some(close);
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
            quote @ (b'"' | b'\'') => {
                at += 1;
                while *bytes.get(at)? != quote {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
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
        assert_eq!(for_engine(template), expected);
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
    fn broken_templates_stay() {
        for text in ["{", "{%", "{% generation", "{{ 'a", "{# x", "{% raw %}{% generation %}", "{{ '\\"] {
            check(text, text);
        }
    }
}
