use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::json;

use super::*;

fn hi() -> ChatInput {
    ChatInput::new(json!([{"role": "user", "content": "Hi"}]))
}

fn render(template: &str) -> Result<String, ChatError> {
    ChatTemplate::from_text(template)?.render(&hi())
}

#[test]
fn a_refusal_carries_the_words_of_the_template() {
    let template = "{% macro m() %}{{ raise_exception('roles must ' ~ 'alternate') }}{% endmacro %}{{ m() }}";
    match render(template) {
        Err(ChatError::Refused { message }) => assert_eq!(message, "roles must alternate"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn errors_tell_the_line() {
    assert!(matches!(ChatTemplate::from_text("a\n{% if %}"), Err(ChatError::Syntax { line: 2, .. })));
    assert!(matches!(render("a\n\n{{ nothing.deep }}"), Err(ChatError::Render { line: 3, .. })));
}

#[test]
fn inputs_that_are_no_conversation_are_named() {
    let template = ChatTemplate::from_text("x").unwrap();
    for (messages, text) in [
        (json!({}), "messages: expected an array of messages"),
        (json!([]), "messages: expected at least one message"),
        (json!([{"role": "user"}, "x"]), "messages[1]: expected an object with role and content"),
    ] {
        assert_eq!(template.render(&ChatInput::new(messages)).unwrap_err().to_string(), text);
    }
    let input = ChatInput { tools: Some(json!({"a": 1})), ..hi() };
    assert_eq!(template.render(&input).unwrap_err().to_string(), "tools: expected an array of objects");
}

#[test]
fn messages_lose_nulls_and_gain_names_of_reasoning() {
    let template = ChatTemplate::from_text("{{ messages | tojson }}").unwrap();
    let input = ChatInput::new(json!([{"role": "assistant", "content": null, "reasoning": "hm"}]));
    let expected =
        r#"[{"thinking": "hm", "role": "assistant", "reasoning": "hm", "reasoning_content": "hm"}]"#;
    assert_eq!(template.render(&input).unwrap(), expected);
}

#[test]
fn variables_win_over_special_tokens_and_fields_over_variables() {
    let config = br#"{"chat_template": "{{ bos_token }}{{ eos_token }}{{ img_token }}{{ tools }}",
        "bos_token": {"content": "<s>"}, "eos_token": "</s>", "img_token": "<i>", "pad_token": null}"#;
    let template = ChatTemplate::from_bytes(Some(config), None).unwrap().unwrap();
    let variables = json!({"eos_token": "<end>", "tools": "mine"}).as_object().unwrap().clone();
    assert_eq!(template.render(&ChatInput { variables, ..hi() }).unwrap(), "<s><end><i>None");
}

#[test]
fn the_time_is_that_of_the_input() {
    let template = ChatTemplate::from_text("{{ strftime_now('%d %b %Y') }}").unwrap();
    let now = Some(UNIX_EPOCH + Duration::from_secs(951_782_400));
    assert_eq!(template.render(&ChatInput { now, ..hi() }).unwrap(), "29 Feb 2000");
}

#[test]
fn tools_take_their_own_template() {
    let config = br#"{"chat_template": [{"name": "default", "template": "plain"},
        {"name": "tool_use", "template": "tools"}]}"#;
    let template = ChatTemplate::from_bytes(Some(config), None).unwrap().unwrap();
    assert_eq!(template.render(&hi()).unwrap(), "plain");
    assert_eq!(template.render(&ChatInput { tools: Some(json!([])), ..hi() }).unwrap(), "tools");

    let config = br#"{"chat_template": [{"name": "rag", "template": "x"}]}"#;
    let template = ChatTemplate::from_bytes(Some(config), None).unwrap().unwrap();
    assert!(matches!(template.render(&hi()), Err(ChatError::NoDefault { names }) if names == ["rag"]));
}

#[test]
fn the_template_file_wins_over_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    assert!(ChatTemplate::from_dir(dir.path()).unwrap().is_none());
    let text_of = || ChatTemplate::from_dir(dir.path()).unwrap().unwrap().render(&hi()).unwrap();
    let config = r#"{"chat_template": "config {{ bos_token }}", "bos_token": "<s>"}"#;
    std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
    assert_eq!(text_of(), "config <s>");
    std::fs::write(dir.path().join("chat_template.jinja"), "file {{ bos_token }}").unwrap();
    assert_eq!(text_of(), "file <s>");

    std::fs::write(dir.path().join("chat_template.jinja"), b"\xFF").unwrap();
    let error = ChatTemplate::from_dir(dir.path()).unwrap_err().to_string();
    assert!(error.contains("chat_template.jinja"), "{error}");
}

#[test]
fn hostile_templates_end_soon() {
    let nested = "{% set ns = namespace(x=1) %}{% for a in range(100) %}{% for b in range(1000) %}\
        {% set ns.x = [ns.x] %}{% endfor %}{% endfor %}";
    let doubled =
        "{% set ns = namespace(x='a') %}{% for a in range(24) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}";
    let templates = [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}".to_owned(),
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
        format!("{doubled}{{% for a in range(100000) %}}{{{{ ns.x.find('b') }}}}{{% endfor %}}"),
        format!("{nested}{{{{ ns.x }}}}"),
        format!("{nested}{{{{ ns.x ~ '' }}}}"),
        format!("{nested}{{{{ ns.x == [1] }}}}"),
        format!("{nested}{{{{ ns.x | tojson(indent=1000) }}}}"),
        format!("{nested}{{{{ ns.x | pprint }}}}"),
        "{{ range(99999) | list | tojson(indent=1000) | length }}".to_owned(),
        "{{ 'a' * 100000000000 }}".to_owned(),
        "{{ '{:>99999999}'.format(1) }}".to_owned(),
        "{{ '%99999999d' | format(1) }}".to_owned(),
        "{{ 'a'.center(99999999999) }}".to_owned(),
        "{{ 'a' | indent(99999999999) }}".to_owned(),
        "{{ [1] | batch(1000000000, 1) | list | length }}".to_owned(),
        "{{ 2 ** 100000000 }}".to_owned(),
    ];
    for template in templates {
        let start = Instant::now();
        let result = render(&template);
        assert!(start.elapsed() < Duration::from_secs(5), "{template} took {:?}", start.elapsed());
        drop(result);
    }
}

#[test]
fn a_rendering_that_takes_too_long_blocks_only_its_template() {
    // An index into a string costs the engine its length in time, and one unit of fuel.
    let template = "{% set ns = namespace(x='a') %}{% for a in range(21) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}\
        {% for a in range(5000) %}{% if ns.x[-1] %}{% endif %}{% endfor %}";
    let slow = ChatTemplate::from_text(template).unwrap();
    let slow = slow.with_limits(ChatLimits { time: Duration::from_millis(10), ..ChatLimits::default() });
    assert!(matches!(slow.render(&hi()), Err(ChatError::Limit { what: "the limit of time" })));
    let start = Instant::now();
    assert!(matches!(slow.render(&hi()), Err(ChatError::Limit { .. })));
    assert!(start.elapsed() < Duration::from_millis(500));
    assert_eq!(render("x").unwrap(), "x");
}

#[test]
fn templates_reach_no_files() {
    for template in
        ["{% include '/etc/hostname' %}", "{% import '/etc/hostname' as x %}", "{{ ''.__class__.x }}"]
    {
        assert!(matches!(render(template), Err(ChatError::Render { .. })), "{template}");
    }
}

#[test]
fn limits_are_those_of_the_caller() {
    let template = ChatTemplate::from_text("{{ messages[0].content * 100 }}").unwrap();
    assert_eq!(template.render(&hi()).unwrap().len(), 200);
    let small = template.clone().with_limits(ChatLimits { output_bytes: 100, ..ChatLimits::default() });
    assert!(matches!(small.render(&hi()), Err(ChatError::Limit { what: "the size of the output" })));
    let weak = template.with_limits(ChatLimits { fuel: 3, ..ChatLimits::default() });
    assert!(matches!(weak.render(&hi()), Err(ChatError::Limit { what: "the limit of work" })));
}

#[test]
fn a_long_conversation_fits_the_limits() {
    let template = ChatTemplate::from_text(
        "{% for m in messages %}{{ '<' + m.role + '>' + m.content | trim + '</>' }}{% endfor %}",
    )
    .unwrap();
    let messages: Vec<_> =
        (0..4000).map(|_| json!({"role": "user", "content": "word ".repeat(200)})).collect();
    assert!(template.render(&ChatInput::new(messages.into())).unwrap().len() > 4_000_000);
}
