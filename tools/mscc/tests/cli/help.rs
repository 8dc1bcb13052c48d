//! What the command line says of itself.

use crate::*;

const COMMANDS: [&str; 10] =
    ["compile", "run", "chat", "logits", "eval", "inspect", "opt", "models", "completions", "man"];

#[test]
fn no_arguments_give_help() {
    let bench = Bench::new();
    let message = bench.fails(2, &[]);
    assert!(message.contains("Usage: mscc [OPTIONS] <COMMAND>"), "{message}");
    let help = bench.ok(&["--help"]);
    assert_eq!(help.trim_end(), message);
    for command in COMMANDS {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
    }
    assert!(bench.ok(&["--version"]).starts_with("mscc "));
    assert!(bench.fails(2, &["serve"]).contains("unrecognized subcommand 'serve'"));
}

#[test]
fn every_command_has_an_example() {
    let bench = Bench::new();
    for command in COMMANDS {
        let help = bench.ok(&[command, "--help"]);
        let (_, examples) = help.split_once("\nExample").unwrap_or_else(|| panic!("{command}: {help}"));
        assert!(examples.contains(&format!("\n  mscc {command}")), "{command}: {help}");
        assert_eq!(bench.ok(&["help", command]), help);
    }
}

#[cfg(unix)]
#[test]
fn examples_run() {
    let bench = Bench::new();
    // What they take for granted.
    std::os::unix::fs::symlink(bard(), bench.path("Qwen3-0.6B")).unwrap();
    std::fs::copy(bard().join("config.json"), bench.path("config.json")).unwrap();
    bench.write("model.yaml", "model: Qwen3-0.6B\n");
    bench.write("eval.txt", "To be, or not to be");
    bench.ok(&["compile", "model.yaml", "-o", "plan.bin"]);
    bench.ok(&["compile", "model.yaml", "--emit", "traced", "-o", "graph.mir"]);
    for dir in [".local/share/bash-completion/completions", ".local/share/man/man1"] {
        std::fs::create_dir_all(bench.path(dir)).unwrap();
    }
    let bin = Path::new(env!("CARGO_BIN_EXE_mscc")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    for command in COMMANDS {
        let help = bench.ok(&[command, "--help"]);
        let (_, examples) = help.split_once("\nExample").unwrap();
        for example in examples.lines().filter(|line| line.starts_with("  ")) {
            // What others do with the output is theirs.
            let ours =
                example.split(" | ").take_while(|part| !part.starts_with("jq") && !part.starts_with("dot"));
            let ours = ours.collect::<Vec<_>>().join(" | ");
            let mut shell = Command::new("sh");
            shell
                .args(["-c", &ours])
                .current_dir(bench.path(""))
                .env("PATH", &path)
                .env("HOME", bench.path(""));
            let output = shell.stdin(Stdio::null()).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{ours}\n{stderr}");
        }
    }
}

#[test]
fn flags_of_compile_are_the_keys_of_model_yaml() {
    let help = Bench::new().ok(&["compile", "--help"]);
    for key in mscc_compiler::dialects::own() {
        let flag = format!("--{}", key.replace('_', "-"));
        assert!(help.split_whitespace().any(|word| word == flag), "{key}");
    }
}

#[test]
fn completions_for_shells() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = bench.ok(&["completions", shell]);
        for word in COMMANDS.into_iter().chain(["config-only", "top-p"]) {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert!(bench.fails(2, &["completions", "dos"]).contains("bash"));
}

#[test]
fn families_are_listed() {
    let bench = Bench::new();
    let families = bench.json(&["models", "--json"]);
    assert_eq!(families["schema"], "mscc.models.v1");
    let table = bench.ok(&["models"]);
    for family in ["llama", "qwen2", "qwen3"] {
        let entries = families["families"].as_array().unwrap();
        let entry = entries.iter().find(|entry| entry["model_type"] == family).unwrap();
        let architecture = entry["architectures"][0].as_str().unwrap();
        let line = table.lines().find(|line| line.split(' ').next() == Some(family)).unwrap();
        assert!(line.ends_with(architecture), "{line}");
    }
}

#[test]
fn help_says_what_values_may_be() {
    let bench = Bench::new();
    let help = |command: &str| bench.ok(&[command, "--help"]);
    for word in ["fp16", "half", "f32", "bf16"] {
        assert!(help("compile").contains(word), "{word}");
    }
    for command in ["run", "chat"] {
        let help = help(command);
        assert!(help.find("--json") < help.find("\nSampling"), "--json is no way to sample:\n{help}");
    }
    for command in ["run", "chat", "logits", "eval"] {
        assert!(help(command).contains("--memory-limit <SIZE>"), "{command}");
    }
    assert!(help("inspect").contains("With --dot: of this kind"));
    assert!(help("opt").contains("With -o: print what the passes did"));
}

#[test]
fn slips_on_the_command_line() {
    let bench = Bench::new();
    let fails = |args: &[&str]| bench.fails(2, args);
    assert!(fails(&["run", "x", "--promt", "y"]).contains("tip: a similar argument exists: '--prompt'"));
    let message = fails(&["inspect", "x", "--no-such-thing"]);
    assert!(message.contains("unexpected argument") && !message.contains("as a value, use"), "{message}");
    for (option, value, expected) in [
        ("--temperature", "hot", "a number, such as 0.7"),
        ("--top-k", "-3", "a whole number, 0 or more"),
        ("--max-tokens", "0", "a whole number from 1 to 4294967295"),
        ("--threads", "2000", "a whole number from 1 to 1024"),
        ("--seed", "1.5", "a whole number, 0 or more"),
        ("--memory-limit", "8 apples", "a number of bytes, such as 8GiB"),
    ] {
        let message = fails(&["run", "x", "--prompt", "y", option, value]);
        let problem = format!("invalid value '{value}' for '{option} <");
        assert!(message.contains(&problem) && message.contains(&format!("expected {expected}")), "{message}");
    }
}

#[test]
fn a_graph_may_come_from_a_pipe() {
    let bench = Bench::new();
    let graph = bench.ok(&["compile", &text(&fixture_dir("llama")), "--emit", "traced"]);
    bench.write("g.mir", &graph);
    let piped = bench.feed(&["opt", "-", "--passes", "fuse"], &graph);
    assert_eq!(String::from_utf8(piped.stdout).unwrap(), bench.ok(&["opt", "g.mir", "--passes", "fuse"]));
    bench.ok(&["compile", &text(&fixture_dir("llama")), "-o", "plan.bin"]);
    let message = bench.fails(2, &["opt", "plan.bin", "--passes", "fuse"]);
    assert_eq!(message, "error: cannot read plan.bin: it is a plan, which `mscc inspect` shows, not a text");
    let message = bench.fails(2, &["eval", "plan.bin", "--file", "plan.bin"]);
    assert_eq!(message, "error: cannot read plan.bin: it is a plan, which `mscc inspect` shows, not a text");
}
