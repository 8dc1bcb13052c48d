//! Templates against what transformers and jinja2 render; `templates/make_cases.py` makes the cases.

#![allow(clippy::unwrap_used)]

use mscc_text::{ChatError, ChatInput, ChatTemplate};
use serde_json::Value;

/// What of jinja2 and Python the engine does not do, with what comes out instead. No public chat template is
/// known to need it.
const KNOWN_DIFFERENCES: &[(&str, &str)] = &[
    ("{{ '%s %s' % ('a', 1) }} {{ '%05.2f' % 3.14159 }}", "failed"),
    ("{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, k=3) }}", "failed"),
    (
        "{{ cycler is defined }} {{ joiner is defined }} {{ lipsum is defined }} {{ self is defined }}",
        "text: False False False False",
    ),
    ("{{ \"{!r}\".format('a') }}", "failed"),
    ("{{ table | attr('b') }}", "text: 1"),
    ("{{ 'é'.encode('utf-8') }}", "failed"),
    ("{% for x in none %}{{ x }}{% endfor %}", "text: "),
    ("{{ none | list }}", "text: []"),
    ("{{ 'hello world foo' | truncate(9) }}", "failed"),
    ("{{ '<b>a</b> c' | striptags }}", "failed"),
    ("{{ ['b', 'B', 'a'] | unique(true) | list }}", "failed"),
    ("{{ table | dictsort(true) }}", "failed"),
    ("{{ [1, 'a'] | sort }}", "text: [1, 'a']"),
    ("{{ range(3) }}", "text: [0, 1, 2]"),
    ("{{ '%r' | format('x') }}", "failed"),
    ("{{ 'a\\tb'.expandtabs(4) }}", "failed"),
    ("{{ 'abc'[1.0] }}", "text: b"),
    ("{{ 'a' < 1 }}", "text: False"),
    ("{{ none < 1 }}", "text: True"),
    ("{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}", "failed"),
    ("{% macro m(a, b=a ~ '!') %}{{ a }}{{ b }}{% endmacro %}{{ m('x') }}", "text: x!"),
    ("{% macro m(a) %}{% endmacro %}{{ m.arguments }}", "text: ['a']"),
    ("{{ '\\U0001F600' }}", "text: \\U0001F600"),
    ("{{ lipsum is undefined }}", "text: True"),
    ("{{ {'a': 1}.keys() }}", "text: ['a']"),
    ("{{ {'a': 1}.items() }}", "text: [('a', 1)]"),
    ("{{ {'a': 1}.values() }}", "text: [1]"),
    ("{{ {'a': 1}.items()[0] }}", "text: ('a', 1)"),
    ("{{ ('<' | e) + '<' }}", "text: &lt;<"),
    ("{{ ['<' | safe] }}", "text: ['<']"),
    ("{{ \"%s\" % name }}", "failed"),
    ("{{ 'ǆ'.title() }}", "text: Ǆ"),
    ("{{ 'Straße'.casefold() }}", "text: straße"),
    ("{{ ['\\ue000\\u0378\\ufeff'] }}", "text: ['\\ue000\u{378}\\ufeff']"),
];

fn outcome(file: &Value, case: &Value) -> String {
    let mut input = ChatInput::new(file["conversations"][case["conversation"].as_str().unwrap()].clone());
    input.add_generation_prompt = case["prompt"].as_bool().unwrap();
    input.tools = case["tools"].as_bool().unwrap().then(|| file["tools"].clone());
    input.variables = file["variables"].as_object().unwrap().clone();
    let rendered = ChatTemplate::from_text(case["template"].as_str().unwrap())
        .and_then(|template| template.render(&input));
    match rendered {
        Ok(text) => format!("text: {text}"),
        Err(ChatError::Refused { message }) => format!("refused: {message}"),
        Err(ChatError::Syntax { .. } | ChatError::Render { .. }) => "failed".to_owned(),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn templates_render_as_with_transformers() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/templates/cases.json");
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for case in file["cases"].as_array().unwrap() {
        let expected = match (case["text"].as_str(), case["message"].as_str()) {
            (Some(text), _) => format!("text: {text}"),
            (None, Some(message)) => format!("refused: {message}"),
            (None, None) => "failed".to_owned(),
        };
        let template = case["template"].as_str().unwrap();
        let known = KNOWN_DIFFERENCES.iter().find(|(known, _)| *known == template);
        let expected = known.map_or(expected, |(_, ours)| (*ours).to_owned());
        let ours = outcome(&file, case);
        if ours != expected {
            let head: String = template.chars().take(300).collect();
            wrong.push(format!(
                "{head}\n  {}\n  expected {expected:?}\n  rendered {ours:?}",
                case["conversation"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}
