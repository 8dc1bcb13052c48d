use std::ops::Range;

/// Deepest nesting of brackets that the engine's parser takes.
const MAX_DEPTH: usize = 150;

/// Makes texts of the operands of `~` before they are joined: `a ~ b` becomes `(a)|string ~ (b)|string`.
///
/// The engine writes operands in its own way, which differs from Python's for some numbers, and knows what a text
/// costs only once it has it; the filter `string` writes as Python does and pays as it goes. `tag` is a whole tag,
/// with its delimiters.
pub(super) fn with_texts(tag: &str) -> String {
    if !tag.contains('~') {
        return tag.to_owned();
    }
    let tokens = tokens(tag);
    // Such a tag is refused by the parser, and would take long here.
    if tokens.iter().any(|token| token.depth > MAX_DEPTH) {
        return tag.to_owned();
    }
    // Where a parenthesis opens, and where one closes.
    let (mut opens, mut closes) = (Vec::new(), Vec::new());
    for (index, token) in tokens.iter().enumerate() {
        if token.text(tag) != "~" {
            continue;
        }
        let before = (0..index).rev().find(|other| ends_operand(tag, &tokens, *other, token.depth));
        let after = (index + 1..tokens.len()).find(|other| ends_operand(tag, &tokens, *other, token.depth));
        let left = before.map_or(0, |before| before + 1)..index;
        let right = index + 1..after.unwrap_or(tokens.len());
        // The right operand of a `~` is the left one of the next.
        let is_last = after.is_none_or(|after| tokens[after].text(tag) != "~");
        for operand in [Some(left), is_last.then_some(right)].into_iter().flatten() {
            let Some((first, last)) =
                tokens.get(operand).and_then(|tokens| tokens.first().zip(tokens.last()))
            else {
                continue;
            };
            let is_literal = first.at == last.at && tag[first.at.clone()].starts_with(['"', '\'']);
            if !is_literal {
                opens.push(first.at.start);
                closes.push(last.at.end);
            }
        }
    }
    let mut out = String::with_capacity(tag.len() + opens.len() * 10);
    let mut done = 0;
    let mut places: Vec<(usize, &str)> = closes.into_iter().map(|at| (at, ")|string")).collect();
    places.extend(opens.into_iter().map(|at| (at, "(")));
    // No operand ends where another begins, so the order of equal places does not matter.
    places.sort_unstable();
    for (at, text) in places {
        out.push_str(&tag[done..at]);
        out.push_str(text);
        done = at;
    }
    out.push_str(&tag[done..]);
    out
}

/// A word, number, string or operator; its brackets have the depth of what is around them.
pub(super) struct Token {
    at: Range<usize>,
    depth: usize,
}

impl Token {
    fn text<'a>(&self, tag: &'a str) -> &'a str {
        &tag[self.at.clone()]
    }
}

/// What is between the delimiters of a tag.
pub(super) fn tokens(tag: &str) -> Vec<Token> {
    let bytes = tag.as_bytes();
    let mut end = tag.len().saturating_sub(2);
    let mut at = 2;
    at += usize::from(matches!(bytes.get(at), Some(b'-' | b'+')));
    end -= usize::from(end > at && matches!(bytes[end - 1], b'-' | b'+'));
    let (mut tokens, mut depth) = (Vec::new(), 0_usize);
    while at < end {
        let start = at;
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        at += match bytes[at] {
            b'"' | b'\'' => super::dialect::string_end(bytes, at).map_or(end, |e| e.min(end)) - at,
            b'=' | b'!' | b'<' | b'>' if bytes.get(at + 1) == Some(&b'=') => 2,
            _ => {
                let rest = &tag[at..];
                let word = rest.len() - rest.trim_start_matches(is_word).len();
                if word > 0 { word } else { rest.chars().next().map_or(1, char::len_utf8) }
            }
        };
        let text = &tag[start..at];
        if text.trim().is_empty() {
            continue;
        }
        if matches!(text, ")" | "]" | "}") {
            depth = depth.saturating_sub(1);
        }
        tokens.push(Token { at: start..at, depth });
        if matches!(text, "(" | "[" | "{") {
            depth += 1;
        }
    }
    tokens
}

/// Whether a token is no part of an operand of `~` at `depth`: a bracket around it, or what binds less.
fn ends_operand(tag: &str, tokens: &[Token], index: usize, depth: usize) -> bool {
    let token = &tokens[index];
    let text_before = |index: usize| index.checked_sub(1).map_or("", |before| tokens[before].text(tag));
    if token.depth != depth {
        return token.depth < depth;
    }
    match token.text(tag) {
        "~" | "," | ":" | "=" | "==" | "!=" | "<" | ">" | "<=" | ">=" => true,
        "and" | "or" | "if" | "else" | "elif" | "recursive" => text_before(index) != ".",
        // `x is not y` and `x is in y` are tests.
        "not" => text_before(index) != "is",
        "in" => {
            !(text_before(index) == "is" || text_before(index) == "not" && text_before(index - 1) == "is")
        }
        // A sign is part of its number.
        "+" | "-" => match text_before(index) {
            "" | "~" | "," | ":" | "=" | "*" | "/" | "%" | "+" | "-" | "(" | "[" | "{" => false,
            "==" | "!=" | "<" | ">" | "<=" | ">=" => false,
            before => !matches!(before, "and" | "or" | "not" | "in" | "if" | "else" | "elif"),
        },
        // The name of a statement.
        _ => index == 0 && tag.starts_with("{%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tag: &str, expected: &str) {
        assert_eq!(with_texts(tag), expected);
    }

    #[test]
    fn operands_become_texts() {
        check("{{ a ~ b }}", "{{ (a)|string ~ (b)|string }}");
        check("{{- a~'x'~b[0].c -}}", "{{- (a)|string~'x'~(b[0].c)|string -}}");
        check(
            "{{ a + b * 2 ~ c | d(1 ~ 2) - e }}",
            "{{ a + (b * 2)|string ~ (c | d((1)|string ~ (2)|string))|string - e }}",
        );
        check("{% set x = a ~ -1 %}", "{% set x = (a)|string ~ (-1)|string %}");
        check("{% if a ~ b == c and d %}", "{% if (a)|string ~ (b)|string == c and d %}");
        check("{{ x is not none ~ y }}", "{{ (x is not none)|string ~ (y)|string }}");
        check("{{ x not in y ~ z }}", "{{ x not in (y)|string ~ (z)|string }}");
        check(
            "{{ f(k=a ~ b, {'c': d ~ 'e'}) }}",
            "{{ f(k=(a)|string ~ (b)|string, {'c': (d)|string ~ 'e'}) }}",
        );
        check(
            "{{ (a ~ b).upper() ~ c if d else e }}",
            "{{ ((a)|string ~ (b)|string).upper()|string ~ (c)|string if d else e }}"
                .replace(
                    "((a)|string ~ (b)|string).upper()|string",
                    "(((a)|string ~ (b)|string).upper())|string",
                )
                .as_str(),
        );
        check("{{ '~' }}{{", "{{ '~' }}{{");
    }

    #[test]
    fn broken_tags_do_no_harm() {
        for tag in
            ["{{ ~ }}", "{{ a ~ }}", "{{ ~ ~ ) ( }}", "{{~}}", "{{ 'a ~ }}", "{%~%}", "{{-}}", "{{ ]~ }}"]
        {
            with_texts(tag);
        }
    }
}
