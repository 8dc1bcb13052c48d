//! Ctrl-C and its like.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::*;

fn start(bench: &Bench, args: &[&str]) -> Child {
    let mut command = bench.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Waits for something that comes soon.
fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it does not come");
}

#[test]
fn run_prints_what_it_has() {
    let bench = Bench::new();
    let model = text(&bard());
    let mut child =
        start(&bench, &["run", &model, "--prompt", "ROMEO:\n", "--max-tokens", "1000", "--ignore-eos"]);
    let mut stdout = child.stdout.take().unwrap();
    let mut begin = [0; 10];
    stdout.read_exact(&mut begin).unwrap();
    signal(&child, "-INT");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(rest.ends_with('\n') && stderr.starts_with("prompt ") && !stderr.contains("error"), "{stderr}");
}

#[test]
fn run_says_so_as_json() {
    let bench = Bench::new();
    let model = text(&bard());
    let args = ["run", &model, "-v", "--prompt-ids", "1", "--max-tokens", "1000", "--ignore-eos", "--json"];
    let mut child = start(&bench, &args);
    // It says when it begins.
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("generating") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0);
    }
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let done: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(done["finish_reason"], "interrupted");
}

#[test]
fn an_answer_stops_and_the_conversation_goes_on() {
    let bench = Bench::new();
    let model = text(&bard());
    let mut child = start(&bench, &["chat", &model, "--ignore-eos", "--max-tokens", "900"]);
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    writeln!(stdin, "Speak!").unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    signal(&child, "-INT");
    writeln!(stdin, "/reset").unwrap();
    drop(stdin);
    stdout.read_to_end(&mut Vec::new()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, "stopped\na new conversation begins\n");
}

#[test]
fn waiting_for_a_message_ends_at_once() {
    let bench = Bench::new();
    let model = text(&bard());
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let mut child = start(&bench, &["chat", &model, "--max-tokens", "3"]);
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "Speak!").unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
}

#[test]
fn nothing_is_left_of_a_file_that_was_being_written() {
    let bench = Bench::new();
    let model = text(&bard());
    let prompt = ids(&[1; 1000]);
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let args = ["logits", &model, "--prompt-ids", &prompt, "--hidden", "--chunk", "1", "-o", "out"];
        let mut child = start(&bench, &args);
        until(|| !bench.files().is_empty());
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(bench.files().is_empty(), "{:?}", bench.files());
    }
}
