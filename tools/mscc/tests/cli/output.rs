//! Files are there whole or not at all, and a reader may leave.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::*;

#[test]
fn nothing_is_left_where_a_plan_cannot_be() {
    let bench = Bench::new();
    let model = text(&fixture_dir("qwen3"));
    bench.write("file", "");
    std::fs::create_dir(bench.path("dir")).unwrap();
    let compile = |output: &str| bench.fails(2, &["compile", &model, "-o", output]);
    insta::assert_snapshot!(compile("none/plan.bin"), @"error: cannot write none/plan.bin: there is no directory none");
    insta::assert_snapshot!(compile("file/plan.bin"), @"error: cannot write file/plan.bin: there is no directory file");
    insta::assert_snapshot!(compile("dir"), @"error: cannot write dir: it is a directory");
    let logits = ["logits", &model, "--prompt-ids", "1", "-o", "none/out"];
    insta::assert_snapshot!(bench.fails(2, &logits), @"error: cannot write none/out: there is no directory none");
    assert_eq!(bench.files(), ["dir", "file"]);
    assert_eq!(std::fs::read_dir(bench.path("dir")).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn nothing_is_left_in_a_directory_that_is_closed() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let dir = bench.path("closed");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o555)).unwrap();
    // To the superuser nothing is closed.
    if std::fs::write(dir.join("probe"), "").is_ok() {
        return;
    }
    let message = bench.fails(1, &["compile", &text(&fixture_dir("qwen3")), "-o", "closed/plan.bin"]);
    insta::assert_snapshot!(message, @"error: cannot write closed/plan.bin: Permission denied (os error 13)");
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn a_plan_stays_when_the_next_cannot_be_made() {
    let bench = Bench::with_plan("llama");
    let plan = bench.read("plan.bin");
    copy_model(&fixture_dir("llama"), &bench.path("model"));
    let weights = bench.read("model/model.safetensors");
    bench.write("model/model.safetensors", &weights[..weights.len() / 2]);
    bench.fails(2, &["compile", "model", "-o", "plan.bin"]);
    bench.fails(2, &["compile", &text(&fixture_dir("llama")), "-o", "plan.bin", "--target", "tpu"]);
    assert!(bench.read("plan.bin") == plan);
    assert_eq!(bench.files(), ["model", "plan.bin"]);
    bench.ok(&["compile", &text(&fixture_dir("qwen3")), "-o", "plan.bin"]);
    assert!(bench.read("plan.bin") != plan);
    assert_eq!(bench.files(), ["model", "plan.bin"]);
}

#[cfg(unix)]
#[test]
fn links_and_pipes_stay_what_they_are() {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let bench = Bench::new();
    let model = text(&fixture_dir("qwen3"));
    bench.write("old.bin", "");
    std::os::unix::fs::symlink("old.bin", bench.path("link.bin")).unwrap();
    bench.ok(&["compile", &model, "-o", "link.bin"]);
    assert!(bench.path("link.bin").is_symlink());
    assert!(bench.read("old.bin").starts_with(b"MSCCPLAN"));
    // As any file that this user makes.
    bench.write("like", "");
    let metadata = |name: &str| std::fs::metadata(bench.path(name)).unwrap();
    assert_eq!(metadata("old.bin").mode(), metadata("like").mode());

    // The same goes for devices: as root, `-o /dev/null` must not make a file of it.
    let pipe = bench.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn(move || std::fs::read(pipe).unwrap());
    bench.ok(&["compile", &model, "-o", "pipe"]);
    assert!(metadata("pipe").file_type().is_fifo());
    assert_eq!(reader.join().unwrap(), bench.read("old.bin"));
}

#[test]
fn a_reader_may_leave() {
    let bench = Bench::with_plan("llama");
    let (model, bard) = (text(&fixture_dir("llama")), text(&bard()));
    let commands: [&[&str]; 7] = [
        &["inspect", "plan.bin", "--json"],
        &["inspect", "plan.bin", "--launches"],
        &["compile", &model, "--emit", "lowered"],
        &["completions", "bash"],
        &["models"],
        &["run", "plan.bin", "--prompt-ids", "1,2", "--ignore-eos", "--json"],
        &["run", &bard, "--prompt", "ROMEO:\n", "--max-tokens", "200", "--ignore-eos"],
    ];
    for args in commands {
        // Gone before the first byte, and after the first line.
        for lines in [0, 1] {
            let mut child =
                bench.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut stdout = BufReader::with_capacity(16, child.stdout.take().unwrap());
            for _ in 0..lines {
                assert!(stdout.read_line(&mut String::new()).unwrap() > 0, "{args:?}");
            }
            drop(stdout);
            let output = child.wait_with_output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(0), "{args:?}: {stderr}");
            assert!(!stderr.contains("panicked") && !stderr.contains("error"), "{args:?}: {stderr}");
        }
    }
}

#[test]
fn nobody_need_listen_to_standard_error() {
    let bench = Bench::with_plan("llama");
    let args = ["run", "plan.bin", "--prompt-ids", "1,2", "--max-tokens", "3", "--ignore-eos"];
    let mut child = bench.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(!output.stdout.is_empty());
}

#[test]
fn a_dash_is_standard_output_where_text_is_printed_alone() {
    let bench = Bench::with_plan("llama");
    let model = text(&fixture_dir("llama"));
    let traced = bench.ok(&["compile", &model, "--emit", "traced"]);
    assert_eq!(bench.ok(&["compile", &model, "--emit", "traced", "-o", "-"]), traced);
    for args in [
        vec!["compile", &model, "-o", "-"],
        vec!["logits", "plan.bin", "--prompt-ids", "1", "-o", "-"],
        vec!["inspect", "plan.bin", "--html", "-"],
    ] {
        let message = bench.fails(2, &args);
        assert_eq!(
            message,
            "error: cannot write -: `-` does not stand for standard output here; name a file"
        );
    }
    assert_eq!(bench.files(), ["plan.bin"]);
}
