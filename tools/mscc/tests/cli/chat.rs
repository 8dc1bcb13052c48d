//! `mscc chat` and `mscc run --chat`.

use crate::*;

/// With `plan.bin`, the trained model in f32.
fn bench(extra: &[&str]) -> Bench {
    let bench = Bench::new();
    let model = text(&bard());
    let args = ["compile", &model, "-o", "plan.bin", "--compute-dtype", "float32"];
    bench.ok(&[&args[..], extra].concat());
    bench
}

/// The answers to lines from a pipe.
fn answers(bench: &Bench, extra: &[&str], lines: &str) -> Vec<Value> {
    let args = [&["chat", "plan.bin", "--json", "--max-tokens", "8", "--ignore-eos"], extra].concat();
    let output = bench.feed(&args, lines);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(answers.iter().all(|answer| answer["schema"] == "mscc.chat.v1"));
    answers
}

/// A prompt with the text that the template makes of a conversation.
fn rendered(messages: &[(&str, &str)]) -> String {
    let message = |(role, text): &(&str, &str)| format!("<|im_start|>{role}\n{text}<|im_end|>\n");
    messages.iter().map(message).collect::<String>() + "<|im_start|>assistant\n"
}

fn prompt_ids(bench: &Bench, text: &str) -> Value {
    bench.json(&["run", "plan.bin", "--prompt", text, "--max-tokens", "1", "--json"])["prompt_ids"].clone()
}

#[test]
fn each_answer_follows_the_whole_conversation() {
    let bench = bench(&[]);
    let answers = answers(&bench, &["--system", "Be brief."], "Who is it?\r\n\n  /Why?  \n/regen\n");
    let said: Vec<&str> = answers.iter().map(|answer| answer["text"].as_str().unwrap()).collect();
    let mut messages = vec![("system", "Be brief."), ("user", "Who is it?")];
    assert_eq!(answers[0]["prompt_ids"], prompt_ids(&bench, &rendered(&messages)));
    messages.extend([("assistant", said[0]), ("user", "/Why?")]);
    assert_eq!(answers[1]["prompt_ids"], prompt_ids(&bench, &rendered(&messages)));
    assert_eq!(answers[2]["prompt_ids"], answers[1]["prompt_ids"], "the same again");
    assert_eq!(answers.len(), 3);
    for answer in &answers {
        assert_eq!(answer["finish_reason"], "length");
        assert_eq!(answer["token_ids"].as_array().unwrap().len(), 8);
    }
}

#[test]
fn run_answers_one_message() {
    let bench = bench(&[]);
    let common = ["run", "plan.bin", "--chat", "--prompt", "Who is it?", "--system", "Be brief."];
    let common = [&common[..], &["--max-tokens", "8", "--ignore-eos"]].concat();
    let done = bench.json(&[&common[..], &["--json"]].concat());
    let answer = &answers(&bench, &["--system", "Be brief."], "Who is it?")[0];
    for key in ["prompt_ids", "token_ids", "text"] {
        assert_eq!(done[key], answer[key]);
    }
    assert_eq!(bench.ok(&common), format!("{}\n", done["text"].as_str().unwrap()));
    // Without a limit an answer may be as long as fits.
    let longest = bench.json(&["run", "plan.bin", "--chat", "--prompt", "x", "--ignore-eos", "--json"]);
    let tokens = |key: &str| longest[key].as_array().unwrap().len();
    assert_eq!(tokens("prompt_ids") + tokens("token_ids"), 1024);
}

#[test]
fn conversations_begin_anew() {
    let bench = bench(&[]);
    let lines = "one\n/reset\none\n/system Be kind.\none\n/system\none\n/help\n/exit\none\n";
    let answers = answers(&bench, &[], lines);
    assert_eq!(answers.len(), 4);
    let plain = prompt_ids(&bench, &rendered(&[("user", "one")]));
    let kind = prompt_ids(&bench, &rendered(&[("system", "Be kind."), ("user", "one")]));
    let prompts: Vec<&Value> = answers.iter().map(|answer| &answer["prompt_ids"]).collect();
    assert_eq!(prompts, [&plain, &plain, &kind, &plain]);
}

#[test]
fn text_streams_to_standard_output() {
    let bench = bench(&[]);
    let expected = answers(&bench, &[], "one\ntwo\n");
    let output = bench.feed(&["chat", "plan.bin", "--max-tokens", "8", "--ignore-eos"], "one\ntwo\n");
    let texts = expected.iter().map(|answer| format!("{}\n", answer["text"].as_str().unwrap()));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), texts.collect::<String>());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "the answer is cut at --max-tokens\n".repeat(2));
}

#[test]
fn variables_reach_the_template() {
    let bench = Bench::new();
    let model = text(&bard());
    bench.write("template", "{{ 'on' if mood else 'off' }} {{ names[1] }} {{ messages[0].content }}");
    bench.ok(&["compile", &model, "-o", "plan.bin", "--chat-template", "template"]);
    let common = ["--chat-arg", "mood=false", "--chat-arg", "names=[\"a\", \"b\"]"];
    let answer = &answers(&bench, &common, "hello")[0];
    assert_eq!(answer["prompt_ids"], prompt_ids(&bench, "off b hello"));
    let refused = |arg: &str| bench.fails(2, &["chat", "plan.bin", "--chat-arg", arg]);
    assert!(refused("mood=off").contains("`off` is not JSON"));
    insta::assert_snapshot!(
        bench.fails(2, &["run", "plan.bin", "--prompt", "x", "--chat-arg", "mood=1"]),
        @"error: --system and --chat-arg are for conversations: add --chat"
    );
}

#[test]
fn a_full_context_is_told() {
    let bench = bench(&["--max-model-len", "40"]);
    let lines = "one\n/reset\none\nand two\n/reset\none\n";
    let output = bench.feed(&["chat", "plan.bin", "--ignore-eos"], lines);
    assert_eq!(output.status.code(), Some(2));
    let advice = "/reset begins a new conversation, and a model compiled with a greater --max-model-len takes longer ones";
    let stderr = String::from_utf8(output.stderr).unwrap().replace(advice, "ADVICE");
    insta::assert_snapshot!(stderr, @r"
the answer is cut: all 40 tokens of the context are used; ADVICE
a new conversation begins
the answer is cut: all 40 tokens of the context are used; ADVICE
error: the context is full: with this message the conversation has 56 tokens, of at most 40; ADVICE
a new conversation begins
the answer is cut: all 40 tokens of the context are used; ADVICE
error: not answered: 1 of the messages
");
}

#[test]
fn what_cannot_be_said() {
    let bench = bench(&[]);
    let fails = |lines: &str| {
        let output = bench.feed(&["chat", "plan.bin"], lines);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    // A slip in a command leaves the conversation as it is.
    let output = bench.feed(&["chat", "plan.bin", "--max-tokens", "3", "--quiet"], "/rest\n/regen\nHello\n");
    insta::assert_snapshot!(String::from_utf8(output.stderr).unwrap(), @r"
    error: unknown command `/rest`; /help lists them, and a blank before the slash makes it a message
    error: there is no message to answer again
    ");
    assert!(output.status.success() && !output.stdout.is_empty());
    bench.write("template", "{{ raise_exception('no ' + messages[0].role + 's') }}");
    bench.ok(&["compile", &text(&bard()), "-o", "plan.bin", "--chat-template", "template"]);
    insta::assert_snapshot!(fails("x\n"), @r"
error: the chat template refuses the conversation: no users
error: not answered: 1 of the messages
");
    assert!(
        bench.fails(2, &["run", "plan.bin", "--chat", "--prompt-ids", "1"]).contains("cannot be used with")
    );
}

#[test]
fn a_model_without_a_template() {
    let bench = Bench::new();
    copy_model(&bard(), &bench.path("model"));
    std::fs::remove_file(bench.path("model/chat_template.jinja")).unwrap();
    bench.ok(&["compile", "model", "-o", "plan.bin"]);
    let message = bench.fails(2, &["chat", "plan.bin"]);
    insta::assert_snapshot!(message, @"error: the model has no chat template; compile it with --chat-template FILE");
    assert_eq!(bench.fails(2, &["run", "plan.bin", "--chat", "--prompt", "x"]), message);
}

#[test]
fn what_follows_a_message_that_is_too_long_is_answered() {
    let bench = bench(&["--max-model-len", "40"]);
    let long = "too long ".repeat(40);
    let args = ["chat", "plan.bin", "--max-tokens", "2", "--ignore-eos", "--json"];
    let output = bench.feed(&args, &format!("{long}\none\n"));
    assert_eq!(output.status.code(), Some(2));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0]["schema"], "mscc.chat.v1");
    assert!(answers[0]["error"].as_str().unwrap().starts_with("the context is full"));
    assert_eq!(answers[1]["token_ids"].as_array().unwrap().len(), 2);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.ends_with("error: not answered: 1 of the messages\n"), "{stderr}");
}
