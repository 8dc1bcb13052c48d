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
fn templates_are_found_in_the_order_of_transformers() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let load = || ChatTemplate::from_dir(dir.path());
    let text_of = |tools: bool| {
        let template = load().unwrap().unwrap();
        template.render(&ChatInput { tools: tools.then(|| json!([])), ..hi() })
    };
    write("chat_template.json", r#"{"chat_template": "legacy {{ eos_token }}"}"#);
    assert_eq!(text_of(false).unwrap(), "legacy ");
    write("tokenizer_config.json", r#"{"eos_token": "</s>"}"#);
    assert_eq!(text_of(false).unwrap(), "legacy </s>");
    write("tokenizer_config.json", r#"{"chat_template": "config {{ eos_token }}", "eos_token": "</s>"}"#);
    assert_eq!(text_of(false).unwrap(), "config </s>");
    // Files of templates replace those of the configuration altogether.
    write("additional_chat_templates/tool_use.jinja", "tools {{ eos_token }}");
    assert_eq!(text_of(true).unwrap(), "tools </s>");
    let error = text_of(false).unwrap_err();
    assert!(matches!(&error, ChatError::NoDefault { names } if names == &["tool_use"]), "{error}");
    assert!(error.to_string().contains("--chat-template FILE"), "{error}");
    write("chat_template.jinja", "file {{ eos_token }}");
    assert_eq!(
        (text_of(false).unwrap().as_str(), text_of(true).unwrap().as_str()),
        ("file </s>", "tools </s>")
    );

    write("additional_chat_templates/rag.jinja", "{% if %}");
    assert!(matches!(load(), Err(ChatError::Syntax { .. })));
    write("additional_chat_templates/rag.jinja", &"x".repeat(2 << 20));
    assert!(load().unwrap_err().to_string().contains("rag.jinja is larger than the limit"));
    std::fs::remove_dir_all(dir.path().join("additional_chat_templates")).unwrap();
    std::fs::remove_file(dir.path().join("chat_template.jinja")).unwrap();
    write("tokenizer_config.json", r#"{"chat_template": 5}"#);
    assert!(load().unwrap_err().to_string().contains("chat_template: expected a text"));
    write("tokenizer_config.json", "{}");
    write("chat_template.json", "[]");
    assert!(load().unwrap_err().to_string().contains("chat_template.json"));
}

#[test]
fn what_cannot_be_continued_is_named() {
    let template =
        ChatTemplate::from_text("{% for m in messages %}[{{ m.content | upper }}]{% endfor %}").unwrap();
    let told = |template: &ChatTemplate, content: serde_json::Value, prompt: bool| {
        let mut input = ChatInput::new(json!([{"role": "assistant", "content": content}]));
        (input.continue_final_message, input.add_generation_prompt) = (true, prompt);
        template.render(&input).unwrap_err().to_string()
    };
    let changed = "messages[0].content: cannot be continued: the chat template drops or changes it";
    assert_eq!(told(&template, json!("a"), false), changed);
    assert_eq!(
        told(&template, json!(null), false),
        "messages[0].content: expected a text that could be continued"
    );
    let no_part = "messages[0].content: has no part with text that could be continued";
    assert_eq!(told(&template, json!([{"type": "image"}]), false), no_part);
    let both = "continue_final_message: does not go together with add_generation_prompt";
    assert_eq!(told(&template, json!("a"), true), both);
    let silent = ChatTemplate::from_text("{{ messages[0].text }}").unwrap();
    let no_field = "messages[0].content: cannot be continued: the chat template does not write it";
    assert_eq!(told(&silent, json!("a"), false), no_field);
}

#[test]
fn a_namespace_cannot_hold_itself() {
    for template in [
        "{% set ns = namespace() %}{% set ns.x = ns %}",
        "{% set ns = namespace() %}{% set ns.x = [{'a': ns}] %}{{ ns ~ '' }}",
        "{% set a = namespace() %}{% set b = namespace(x=a) %}{% set a.x = b %}{{ a == b }}",
    ] {
        assert!(matches!(render(template), Err(ChatError::Render { .. })), "{template}");
    }
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
