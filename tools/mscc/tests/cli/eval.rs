//! `mscc eval` measures the reference's perplexity.

use crate::*;

fn eval(model: &Path, compute_dtype: &str, extra: &[&str]) -> (Value, f64) {
    let bench = Bench::new();
    bench.ok(&["compile", &text(model), "-o", "plan.bin", "--compute-dtype", compute_dtype]);
    let file = text(&model.join("eval.txt"));
    let args = ["eval", "plan.bin", "--file", &file, "--window", "256", "--json"];
    let done = bench.json(&[&args[..], extra].concat());
    let expected = read_json(&model.join("expected.json"));
    assert_eq!(done["schema"], "mscc.eval.v1");
    assert_eq!(done["text_tokens"], expected["eval_tokens"]);
    assert_eq!(done["evaluated_tokens"].as_u64(), expected["eval_tokens"].as_u64().map(|tokens| tokens - 1));
    let expected = expected["held_out_perplexity"].as_f64().unwrap();
    let error = done["perplexity"].as_f64().unwrap() / expected - 1.0;
    (done, error.abs())
}

#[test]
fn f32_within_a_twentieth_of_a_percent() {
    for model in bards() {
        let (one, error) = eval(&model, "float32", &["--threads", "1"]);
        assert!(error <= 0.0005, "{}: {error}", model.display());
        let (two, _) = eval(&model, "float32", &["--threads", "2"]);
        assert_eq!(one["nll"], two["nll"], "{}", model.display());
    }
}

#[test]
fn bf16_within_half_a_percent() {
    for model in bards() {
        let (_, error) = eval(&model, "bfloat16", &[]);
        assert!(error <= 0.005, "{}: {error}", model.display());
    }
}

#[test]
fn short_texts_are_one_window() {
    let bench = Bench::new();
    let model = text(&bard());
    bench.write("short.txt", "ROMEO:\nI am");
    let printed = bench.ok(&["eval", &model, "--file", "short.txt"]);
    let perplexity: f64 = printed.strip_prefix("perplexity ").unwrap().trim().parse().unwrap();
    assert!(perplexity > 1.0 && perplexity.is_finite());
    bench.write("empty.txt", "");
    insta::assert_snapshot!(
        bench.fails(2, &["eval", &model, "--file", "empty.txt"]),
        @"error: empty.txt: perplexity needs two tokens at least"
    );
    insta::assert_snapshot!(
        bench.fails(2, &["eval", &model, "--file", "none.txt"]),
        @"error: cannot read none.txt: No such file or directory (os error 2)"
    );
    insta::assert_snapshot!(
        bench.fails(2, &["eval", &model, "--file", "short.txt", "--window", "4096"]),
        @"error: --window 4096 is more than max_model_len, 1024; compile the model with a greater --max-model-len"
    );
}
