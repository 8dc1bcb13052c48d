//! Memory that a command may take.

use crate::*;

#[test]
fn what_does_not_fit_is_told_before_it_is_taken() {
    let bench = Bench::with_plan("llama");
    let fails = |code: i32, args: &[&str]| bench.fails(code, args);
    let run = ["run", "plan.bin", "--prompt-ids", "1,2", "--memory-limit"];
    let message = fails(1, &[&run[..], &["10KB"]].concat());
    assert!(
        message.starts_with("error: the weights that are made when the model is loaded take "),
        "{message}"
    );
    assert!(message.contains(", and 10.0 kB of memory are to be had; free some, or allow more"), "{message}");
    let message = fails(2, &[&run[..], &["lots"]].concat());
    assert!(message.contains("expected a number of bytes, such as 8GiB"), "{message}");
    let ids = ids(&[1; 200]);
    let logits = ["logits", "plan.bin", "--prompt-ids", &ids, "-o", "x", "--memory-limit", "900KB"];
    let message = fails(1, &logits);
    assert!(message.starts_with("error: cannot allocate "), "{message}");
    for part in [" for a step (", ") and caches (", "(--chunk, or ", "--memory-limit SIZE"] {
        assert!(message.contains(part), "{message}");
    }
    bench.ok(&[&logits[..], &["--chunk", "8"]].concat());
}

#[test]
fn a_text_that_memory_cuts_is_told_of() {
    let bench = Bench::with_plan("llama");
    let args = ["run", "plan.bin", "--prompt-ids", "1,2", "--max-tokens", "200", "--ignore-eos", "--json"];
    let whole = bench.json(&args);
    assert_eq!(whole["token_ids"].as_array().unwrap().len(), 200);
    let output = bench.call(&[&args[..], &["--memory-limit", "400KB"]].concat());
    let cut: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (cut, whole) = (numbers(&cut["token_ids"]), numbers(&whole["token_ids"]));
    assert!(!cut.is_empty() && cut.len() < 200 && whole.starts_with(&cut), "{}", cut.len());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("warning: the text is cut: memory has room for caches of "), "{stderr}");
}

#[test]
fn texts_without_end_are_refused() {
    let bench = Bench::with_plan("llama");
    std::fs::File::create(bench.path("huge.txt")).unwrap().set_len(1 << 40).unwrap();
    let message = bench.fails(2, &["eval", "plan.bin", "--file", "huge.txt"]);
    assert_eq!(message, "error: cannot read huge.txt: it is larger than 16 MiB");
    let line = "a".repeat((1 << 20) + 2);
    bench.write("chat.jinja", "{{ messages[0].content }}");
    let model = text(&fixture_dir("llama"));
    bench.ok(&["compile", &model, "--chat-template", "chat.jinja", "-o", "chat.bin"]);
    let output = bench.feed(&["chat", "chat.bin"], &line);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("cannot read a message: a line is longer than 1 MiB"), "{stderr}");
    assert_eq!(output.status.code(), Some(2));
}
