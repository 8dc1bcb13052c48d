//! Outputs that would replace what a command reads.

use crate::*;

/// A directory with a model, its plan, a model.yaml and a graph.
fn bench() -> Bench {
    let bench = Bench::new();
    copy_model(&fixture_dir("llama"), &bench.path("m"));
    bench.write("model.yaml", "model: m\nchat_template: chat.jinja\n");
    bench.write("chat.jinja", "{{ messages[0].content }}");
    bench.ok(&["compile", "m", "-o", "z.bin"]);
    bench.ok(&["compile", "m", "--emit", "traced", "-o", "g.mir"]);
    bench
}

/// What is said; nothing has changed.
fn refused(bench: &Bench, args: &[&str]) -> String {
    let content = |bench: &Bench| {
        let mut paths: Vec<PathBuf> = [bench.path(""), bench.path("m")]
            .iter()
            .flat_map(|dir| std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()))
            .collect();
        paths.sort();
        paths.iter().map(|path| (path.clone(), std::fs::read(path).unwrap_or_default())).collect::<Vec<_>>()
    };
    let before = content(bench);
    let message = bench.fails(2, args);
    assert!(content(bench) == before, "mscc {args:?} changes something");
    message
}

#[test]
fn no_command_writes_over_what_it_reads() {
    let bench = bench();
    let absolute = text(&bench.path("m/config.json"));
    let run = ["logits", "z.bin", "--prompt-ids", "1,2", "-o"];
    let cases: [(&[&str], &str, &str); 17] = [
        (&["compile", "m", "-o"], "m/model.safetensors", "the model's file m/model.safetensors"),
        (&["compile", "m", "-o"], "m/config.json", "the model's file m/config.json"),
        (&["compile", "m", "-o"], "./m/../m/tokenizer.json", "the model's file m/tokenizer.json"),
        (&["compile", "m", "-o"], &absolute, "the model's file m/config.json"),
        (&["compile", "m", "--emit", "fused", "-o"], "m/config.json", "the model's file m/config.json"),
        (&["compile", "model.yaml", "-o"], "model.yaml", "the file model.yaml"),
        (&["compile", "model.yaml", "-o"], "m/config.json", "the model's file m/config.json"),
        (&["compile", "model.yaml", "-o"], "chat.jinja", "the chat template chat.jinja"),
        (&["compile", "--config-only", "m/config.json", "-o"], "m/config.json", "the file m/config.json"),
        (&run, "z.bin", "the plan z.bin"),
        (&run, "m/model.safetensors", "the model's file m/model.safetensors"),
        (&["logits", "m", "--prompt-ids", "1", "-o"], "m/config.json", "the model's file m/config.json"),
        (&["inspect", "z.bin", "--html"], "z.bin", "the plan z.bin"),
        (&["inspect", "z.bin", "--onnx"], "./z.bin", "the plan z.bin"),
        (&["inspect", "z.bin", "--dot"], "m/model.safetensors", "the model's file m/model.safetensors"),
        (&["opt", "g.mir", "--passes", "fuse", "-o"], "g.mir", "the graph g.mir"),
        (&["compile", "m", "--rules", "g.mir", "-o"], "g.mir", "the file of rules g.mir"),
    ];
    for (args, output, input) in cases {
        let message = refused(&bench, &[args, &[output]].concat());
        let output = output.replace(&text(bench.0.path()), "BENCH");
        let expected = format!("error: cannot write to {output}: {input} would be lost; name another file");
        assert_eq!(message, expected, "{args:?}");
    }
    // What only lies beside is written anew.
    for _ in 0..2 {
        bench.ok(&["compile", "m", "-o", "m/plan.bin"]);
        bench.ok(&["logits", "z.bin", "--prompt-ids", "1", "-o", "out.safetensors"]);
    }
}

#[cfg(unix)]
#[test]
fn links_do_not_hide_them() {
    let bench = bench();
    std::os::unix::fs::symlink("m/config.json", bench.path("soft")).unwrap();
    std::fs::hard_link(bench.path("z.bin"), bench.path("hard")).unwrap();
    std::os::unix::fs::symlink("m", bench.path("elsewhere")).unwrap();
    let message = refused(&bench, &["compile", "m", "-o", "soft"]);
    assert!(message.contains("write to soft: the model's file m/config.json would be lost"), "{message}");
    let message = refused(&bench, &["inspect", "z.bin", "--html", "hard"]);
    assert!(message.contains("write to hard: the plan z.bin would be lost"), "{message}");
    let message = refused(&bench, &["compile", "elsewhere", "-o", "m/model.safetensors"]);
    assert!(message.contains("the model's file elsewhere/model.safetensors would be lost"), "{message}");
}

#[test]
fn outputs_are_told_of_and_are_different_files() {
    let bench = bench();
    let message = refused(&bench, &["inspect", "z.bin", "--html", "a", "--onnx", "./a"]);
    assert_eq!(message, "error: --html a and --onnx ./a are one file; name two");
    let said = |args: &[&str]| String::from_utf8(bench.call(args).stderr).unwrap();
    let said_of = |args: &[&str]| said(args).split(", ").next().unwrap().to_owned();
    assert_eq!(said_of(&["inspect", "z.bin", "--html", "page.html"]), "wrote page.html");
    assert_eq!(said_of(&["inspect", "z.bin", "--dot", "page.dot"]), "wrote page.dot");
    assert_eq!(said_of(&["opt", "g.mir", "--passes", "fuse", "-o", "f.mir"]), "wrote f.mir");
    let logits = ["logits", "z.bin", "--prompt-ids", "1,2", "-o", "out.safetensors"];
    assert_eq!(said(&logits), "wrote out.safetensors, 4176 B\n");
    assert_eq!(bench.read("out.safetensors").len(), 4176);
    assert_eq!(said(&[&logits[..], &["--quiet"]].concat()), "");
}
