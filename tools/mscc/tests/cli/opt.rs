//! `mscc opt` does to text what compiling does to models.

use crate::*;

#[test]
fn the_traced_text_becomes_the_fused_text() {
    let bench = Bench::new();
    // Compiling narrows weights in f64 first, which is no pass.
    for fixture in fixtures().iter().filter(|fixture| *fixture != "llama_mixed") {
        let model = text(&fixture_dir(fixture));
        bench.ok(&["compile", &model, "--emit", "traced", "-o", "traced.mir"]);
        let fused = bench.ok(&["compile", &model, "--emit", "fused"]);
        assert_eq!(bench.ok(&["opt", "traced.mir", "--passes", "recut,fuse"]), fused, "{fixture}");
        let args = [
            "opt",
            "traced.mir",
            "--passes",
            "recut",
            "--passes",
            "fuse",
            "--target",
            "cpu",
            "-o",
            "fused.mir",
        ];
        assert_eq!(bench.ok(&args), "");
        assert_eq!(bench.read("fused.mir"), fused.as_bytes(), "{fixture}");
        assert_eq!(
            bench.ok(&["opt", "fused.mir", "--passes", "fuse"]),
            fused,
            "{fixture}: nothing is left to fuse"
        );
    }
}

#[test]
fn bad_text_is_told_with_its_place() {
    let bench = Bench::new();
    let traced = bench.ok(&["compile", &text(&fixture_dir("llama")), "--emit", "traced"]);
    bench.write("graph.mir", &traced);
    let fails = |from: &str, to: &str| {
        assert!(traced.contains(from), "{from}");
        bench.write("bad.mir", traced.replacen(from, to, 1));
        let message = bench.fails(2, &["opt", "bad.mir", "--passes", "fuse"]);
        assert!(message.starts_with("error: bad.mir: line "), "{message}");
        message
    };
    let line = |needle: &str| 1 + traced.lines().position(|line| line.contains(needle)).unwrap();
    let message = fails(" rms_norm ", " rms_nrm ");
    assert!(message.contains(&format!("line {}, column ", line(" rms_norm "))), "{message}");
    assert!(message.ends_with("unknown op `rms_nrm`"), "{message}");
    let message = fails("bf16[T, 64]", "bf16[T, 65]");
    assert!(message.ends_with("`%model.embed_tokens` is bf16[T, 64], not bf16[T, 65]"), "{message}");
    fails("module", "modul");
    fails(" : ", " ");
    fails("}", "");
    let half = &traced[..traced.len() / 2];
    bench.write("half.mir", half);
    assert!(bench.fails(2, &["opt", "half.mir", "--passes", "fuse"]).contains("half.mir: line "));
    bench.write("empty.mir", "");
    insta::assert_snapshot!(
        bench.fails(2, &["opt", "empty.mir", "--passes", "fuse"]),
        @"error: empty.mir: there is no function in it; `mscc compile MODEL --emit traced` shows the form"
    );
    bench.write("binary.mir", [0xff, 0xfe, 0]);
    assert!(bench.fails(2, &["opt", "binary.mir", "--passes", "fuse"]).contains("cannot read binary.mir"));
    assert!(bench.fails(2, &["opt", "none.mir", "--passes", "fuse"]).contains("cannot read none.mir"));
}

#[test]
fn what_was_done_as_json() {
    let bench = Bench::new();
    bench.ok(&["compile", &text(&fixture_dir("qwen3")), "--emit", "traced", "-o", "graph.mir"]);
    let args = ["opt", "graph.mir", "--passes", "recut,fuse", "--json"];
    let done = bench.json(&[&args[..], &["-o", "fused.mir"]].concat());
    assert_eq!(done["schema"], "mscc.opt.v1");
    assert_eq!(done["passes"], serde_json::json!(["recut", "fuse"]));
    assert_eq!(done["rewrites"]["swiglu"], 2);
    assert_eq!(done["output"], "fused.mir");
    assert!(bench.fails(2, &args).contains("--output"), "the graph and the data need places of their own");
}

#[test]
fn choices_are_listed() {
    let bench = Bench::new();
    let model = text(&fixture_dir("llama"));
    bench.ok(&["compile", &model, "--emit", "traced", "-o", "graph.mir"]);
    let fails = |args: &[&str]| bench.fails(2, &[&["opt", "graph.mir"], args].concat());
    insta::assert_snapshot!(
        fails(&["--passes", "recut,melt"]),
        @"error: unknown pass `melt`: expected normalise, recut, suit, fuse or fit"
    );
    insta::assert_snapshot!(fails(&["--passes", "fuse", "--target", "tpu"]), @"error: unknown target `tpu`: expected cpu, ascend910b1, ascend910b2, ascend910b3, ascend910b4, ascend910_93, ascend310p");
    assert!(fails(&[]).contains("--passes <PASS>"));
}
