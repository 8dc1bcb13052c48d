//! On a terminal: colours, progress, a conversation with an editor.

use rexpect::session::{PtySession, spawn_command};

use crate::*;

/// As at a keyboard, with a terminal on all three.
fn open(bench: &Bench, args: &[&str], environment: &[(&str, &str)]) -> PtySession {
    let mut command = bench.command(args);
    for name in ["NO_COLOR", "CI"] {
        command.env_remove(name);
    }
    command.env("TERM", "xterm").envs(environment.iter().copied());
    spawn_command(command, Some(60_000)).unwrap()
}

/// What is shown until the program ends, and its exit code.
fn shown(bench: &Bench, args: &[&str], environment: &[(&str, &str)]) -> (String, i32) {
    let mut terminal = open(bench, args, environment);
    let shown = terminal.exp_eof().unwrap();
    (shown, code(&terminal))
}

fn code(terminal: &PtySession) -> i32 {
    match terminal.process().wait().unwrap() {
        rexpect::process::WaitStatus::Exited(_, code) => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn errors_are_coloured_where_it_is_wanted() {
    let bench = Bench::new();
    let colored = |extra: &[&str], environment: &[(&str, &str)]| {
        let (shown, code) = shown(&bench, &[&["inspect", "none.bin"], extra].concat(), environment);
        assert!(code == 2 && shown.contains("none.bin: there is no such file"), "{code}: {shown}");
        shown.contains("\x1b[")
    };
    assert!(colored(&[], &[]));
    assert!(!colored(&[], &[("NO_COLOR", "1")]));
    assert!(!colored(&[], &[("TERM", "dumb")]));
    assert!(!colored(&["--color", "never"], &[]));
    assert!(colored(&["--color=always"], &[("NO_COLOR", "1")]));
    // A pipe is no terminal.
    assert_eq!(
        bench.fails(2, &["inspect", "none.bin"]),
        "error: none.bin: there is no such file: `mscc compile MODEL -o plan.bin` makes a plan of a model"
    );
    assert!(bench.fails(2, &["--color=always", "inspect", "none.bin"]).starts_with("\x1b["));
    assert!(bench.fails(2, &["--color=always", "inspect"]).contains("\x1b["), "those of options, too");
}

#[test]
fn long_work_shows_progress() {
    let bench = Bench::new();
    let model = text(&bard());
    bench.write("text", "To be, or not to be. ".repeat(200));
    let args = ["eval", &model, "--file", "text"];
    let (all, code) = shown(&bench, &args, &[]);
    assert_eq!(code, 0);
    assert!(all.contains("loading weights") && all.contains("compiling "), "{all}");
    for quiet in [&["--quiet"][..], &["-q"]] {
        let (quiet, _) = shown(&bench, &[&args, quiet].concat(), &[]);
        assert!(quiet.starts_with("perplexity "), "{quiet}");
    }
    for variable in ["CI", "NO_COLOR"] {
        let (plain, _) = shown(&bench, &args, &[(variable, "true")]);
        assert!(plain.contains(" windows, ") && !plain.contains("loading"), "{plain}");
    }
    let output = bench.call(&args);
    assert!(!String::from_utf8(output.stderr).unwrap().contains("loading"));
}

#[test]
fn a_conversation_at_the_keyboard() {
    let bench = Bench::new();
    let model = text(&bard());
    bench.ok(&["compile", &model, "-o", "plan.bin", "--max-model-len", "1024"]);
    let mut terminal = open(&bench, &["chat", "plan.bin", "--ignore-eos"], &[]);
    terminal.exp_string("/help lists commands").unwrap();
    terminal.exp_string("> ").unwrap();
    terminal.send_line("/nonsense").unwrap();
    terminal.exp_string("unknown command `/nonsense`").unwrap();
    terminal.exp_string("> ").unwrap();
    terminal.send_line("Speak!").unwrap();
    // Behind the echo comes the answer; codes of the terminal are no words.
    terminal.exp_string("Speak!").unwrap();
    terminal.exp_regex("[a-z]{3}").unwrap();
    terminal.send_control('c').unwrap();
    terminal.exp_string("stopped").unwrap();
    terminal.exp_string("> ").unwrap();
    terminal.send_line("/reset").unwrap();
    terminal.exp_string("a new conversation begins").unwrap();
    terminal.exp_string("> ").unwrap();
    terminal.send_control('d').unwrap();
    terminal.exp_eof().unwrap();
    assert_eq!(code(&terminal), 0);
}

#[test]
fn ctrl_c_at_the_prompt_ends_it() {
    let bench = Bench::new();
    let mut terminal = open(&bench, &["chat", &text(&bard())], &[]);
    terminal.exp_string("> ").unwrap();
    terminal.send_control('c').unwrap();
    terminal.exp_eof().unwrap();
    assert_eq!(code(&terminal), 130);
}

#[test]
fn ctrl_c_twice_ends_an_answer_and_the_program() {
    let bench = Bench::new();
    let args = ["chat", &text(&bard()), "--ignore-eos"];
    let mut terminal = open(&bench, &args, &[]);
    terminal.exp_string("> ").unwrap();
    terminal.send_line("Speak!").unwrap();
    terminal.exp_string("Speak!").unwrap();
    terminal.exp_regex("[a-z]{3}").unwrap();
    terminal.send_control('c').unwrap();
    terminal.exp_string("stopped").unwrap();
    terminal.exp_string("> ").unwrap();
    terminal.send_control('c').unwrap();
    terminal.exp_eof().unwrap();
    assert_eq!(code(&terminal), 130);
}
