//! `mscc run` continues prompts as the reference does.

use crate::*;

fn run_ids(bench: &Bench, tokens: &[u32], extra: &[&str]) -> Value {
    let prompt_ids = ids(tokens);
    let args = [&["run", "plan.bin", "--prompt-ids", &prompt_ids, "--json"], extra].concat();
    bench.json(&args)
}

#[test]
fn greedy_tokens_of_every_fixture() {
    for fixture in &fixtures() {
        let bench = Bench::with_plan(fixture);
        let expected = read_json(&fixture_dir(fixture).join("expected.json"));
        let max_tokens = expected["new_tokens"].to_string();
        for (index, prompt) in expected["prompts"].as_array().unwrap().iter().enumerate() {
            let tokens = numbers(&prompt["token_ids"]);
            let all = run_ids(&bench, &tokens, &["--max-tokens", &max_tokens, "--ignore-eos"]);
            assert_eq!(all["schema"], "mscc.run.v1");
            assert_eq!(all["prompt_ids"], prompt["token_ids"], "{fixture}, prompt {index}");
            assert_eq!(all["token_ids"], prompt["greedy"], "{fixture}, prompt {index}");
            assert_eq!(all["finish_reason"], "length");
            let until_stop = run_ids(&bench, &tokens, &["--max-tokens", &max_tokens]);
            assert_eq!(until_stop["token_ids"], prompt["greedy_until_stop"], "{fixture}, prompt {index}");
        }
    }
}

#[test]
fn a_stop_token_of_generation_config_ends_it() {
    let bench = Bench::with_plan("llama");
    let expected = read_json(&fixture_dir("llama").join("expected.json"));
    let prompt = &expected["prompts"][2];
    let done = run_ids(&bench, &numbers(&prompt["token_ids"]), &[]);
    assert_eq!(done["token_ids"].as_array().unwrap().len(), 7);
    assert_eq!(done["token_ids"], prompt["greedy_until_stop"]);
    assert_eq!(done["finish_reason"], "stop_token");
}

#[test]
fn trained_models_speak_as_the_reference() {
    for model in bards() {
        let bench = Bench::new();
        bench.write("model.yaml", format!("model: {}\ncompute_dtype: float32\n", model.display()));
        bench.ok(&["compile", "model.yaml", "-o", "plan.bin"]);
        let expected = read_json(&model.join("expected.json"));
        for case in expected["cases"].as_array().unwrap() {
            // Some hundred times the error of an f32 run.
            assert!(case["min_margin"].as_f64().unwrap() > 1e-3);
            let prompt = case["prompt"].as_str().unwrap();
            let common = ["run", "plan.bin", "--prompt", prompt, "--max-tokens", "48", "--ignore-eos"];
            let done = bench.json(&[&common[..], &["--json"]].concat());
            assert_eq!(done["prompt_ids"], case["prompt_ids"], "{prompt:?}");
            assert_eq!(done["token_ids"], case["greedy"], "{prompt:?}");
            assert_eq!(done["text"], case["text"], "{prompt:?}");
            for threads in ["1", "2"] {
                let streamed = bench.ok(&[&common[..], &["--threads", threads]].concat());
                assert_eq!(streamed, format!("{}\n", case["text"].as_str().unwrap()), "{threads} threads");
            }
        }
    }
}

#[test]
fn a_directory_or_a_yaml_runs_without_a_plan() {
    let bench = Bench::new();
    bench.write("model.yaml", format!("model: {}\n", bard().display()));
    let model = text(&bard());
    let run = |model: &str| bench.ok(&["run", model, "--prompt", "ROMEO:\n", "--max-tokens", "8"]);
    assert_eq!(run(&model), run("model.yaml"));
    assert!(run(&text(&bards()[1])).len() > 8, "a model of experts, in bf16");
    assert_eq!(bench.files(), ["model.yaml"]);
}

#[test]
fn stop_strings_end_the_text_before_them() {
    let bench = Bench::new();
    bench.ok(&["compile", &text(&bard()), "-o", "plan.bin", "--compute-dtype", "float32"]);
    let common = ["run", "plan.bin", "--prompt", "ROMEO:\n", "--stop", "never", "--stop", "POLI"];
    let done = bench.json(&[&common[..], &["--json"]].concat());
    assert_eq!(done["text"], "I am a man of you, I'll not be a cause\nTo be a moon.\n\n");
    assert_eq!(done["finish_reason"], "stop_string");
    assert_eq!(bench.ok(&common), format!("{}\n", done["text"].as_str().unwrap()));
}

#[test]
fn speed_goes_to_standard_error() {
    let bench = Bench::with_plan("qwen3");
    let output =
        bench.call(&["run", "plan.bin", "--prompt-ids", "1,2,3", "--max-tokens", "4", "--ignore-eos"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("prompt 3 tokens at ") && stderr.contains(" 4 generated at "), "{stderr}");
    let done = run_ids(&bench, &[1, 2, 3], &["--max-tokens", "4", "--ignore-eos"]);
    for figure in ["tokens_per_second", "prompt_tokens_per_second", "time_to_first_token_seconds"] {
        assert!(done[figure].as_f64().unwrap() > 0.0, "{figure}");
    }
}

#[test]
fn sampling_with_a_seed_repeats() {
    let bench = Bench::with_plan("qwen2_sharded");
    let sampled = |extra: &[&str]| {
        let all = [&["--ignore-eos", "--max-tokens", "30"], extra].concat();
        numbers(&run_ids(&bench, &[5, 6, 7], &all)["token_ids"])
    };
    let greedy = sampled(&[]);
    assert_eq!(sampled(&["--temperature", "0"]), greedy);
    assert_eq!(sampled(&["--temperature", "5", "--top-k", "1"]), greedy);
    let flags: [&[&str]; 6] = [
        &["--temperature", "1.5"],
        &["--top-p", "0.95"],
        &["--top-k", "40"],
        &["--min-p", "0.01", "--temperature", "2"],
        &["--recommended"],
        &[
            "--temperature",
            "1",
            "--repetition-penalty",
            "1.3",
            "--presence-penalty",
            "-0.5",
            "--frequency-penalty",
            "0.2",
        ],
    ];
    for flags in flags {
        let seven = sampled(&[flags, &["--seed", "7"]].concat());
        assert_eq!(sampled(&[flags, &["--seed", "7", "--threads", "1"]].concat()), seven, "{flags:?}");
    }
    let hot = ["--temperature", "3"];
    let seven = sampled(&[&hot[..], &["--seed", "7"]].concat());
    assert_ne!(seven, greedy);
    assert_ne!(sampled(&[&hot[..], &["--seed", "8"]].concat()), seven);
}

#[test]
fn penalties_alone_stay_greedy() {
    let bench = Bench::with_plan("qwen3");
    let tokens = |extra: &[&str]| {
        let all = [&["--ignore-eos", "--max-tokens", "20"], extra].concat();
        numbers(&run_ids(&bench, &[5, 6, 7], &all)["token_ids"])
    };
    let without_repeats =
        tokens(&["--frequency-penalty", "2", "--presence-penalty", "2", "--repetition-penalty", "100"]);
    let mut distinct = without_repeats.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), without_repeats.len(), "{without_repeats:?}");
    assert_eq!(tokens(&["--frequency-penalty", "0"]), tokens(&[]));
}

#[test]
fn bad_values_are_refused_by_name() {
    let bench = Bench::with_plan("qwen3");
    let fails =
        |extra: &[&str]| bench.fails(2, &[&["run", "plan.bin", "--prompt-ids", "1,2"], extra].concat());
    insta::assert_snapshot!(fails(&["--top-p", "2"]), @"error: top_p is 2; it must be in (0, 1]");
    insta::assert_snapshot!(fails(&["--temperature", "-1"]), @"error: temperature is -1; it must be at least 0 and finite");
    insta::assert_snapshot!(fails(&["--min-p", "3"]), @"error: min_p is 3; it must be in [0, 1]");
    insta::assert_snapshot!(
        fails(&["--repetition-penalty", "0"]),
        @"error: repetition_penalty is 0; it must be above 0 and finite"
    );
    insta::assert_snapshot!(fails(&["--presence-penalty", "-3"]), @"error: presence_penalty is -3; it must be in [-2, 2]");
    let by_flag: [&[&str]; 7] = [
        &["--top-k", "-1"],
        &["--temperature", "warm"],
        &["--seed", "-1"],
        &["--threads", "0"],
        &["--max-tokens", "0"],
        &["--stop", ""],
        &["--frequency-penalty"],
    ];
    for flags in by_flag {
        let message = fails(flags);
        assert!(message.contains(flags[0]), "{flags:?}: {message}");
    }
}

#[test]
fn prompts_that_cannot_be_continued() {
    let bench = Bench::with_plan("qwen3");
    let fails = |prompt: &[&str]| bench.fails(2, &[&["run", "plan.bin"], prompt].concat());
    insta::assert_snapshot!(fails(&["--prompt", ""]), @"error: the prompt has no tokens");
    insta::assert_snapshot!(
        fails(&["--prompt-ids", "1,600"]),
        @"error: token 600 of position 1 of the prompt is not in the model's vocabulary of 512"
    );
    let long = ids(&vec![1; 256]);
    insta::assert_snapshot!(
        fails(&["--prompt-ids", &long]),
        @"error: 256 tokens and 1 to generate are more than max_model_len, 256"
    );
    assert!(fails(&[]).contains("--prompt"));
    let almost = run_ids(&bench, &[1; 250], &["--max-tokens", "100", "--ignore-eos"]);
    assert_eq!(almost["finish_reason"], "length");
    assert_eq!(almost["token_ids"].as_array().unwrap().len(), 6);
}

#[test]
fn ids_need_no_tokenizer() {
    let bench = Bench::new();
    copy_model(&fixture_dir("qwen3"), &bench.path("model"));
    std::fs::remove_file(bench.path("model/tokenizer.json")).unwrap();
    bench.ok(&["compile", "model", "-o", "plan.bin", "--compute-dtype", "float32"]);
    let done = run_ids(&bench, &[1, 2, 3], &["--max-tokens", "5", "--ignore-eos"]);
    assert_eq!(done["text"], Value::Null);
    let tokens = ids(&numbers(&done["token_ids"]));
    let args = ["run", "plan.bin", "--prompt-ids", "1,2,3", "--max-tokens", "5", "--ignore-eos"];
    assert_eq!(bench.ok(&args), format!("{tokens}\n"));
    let message = bench.fails(2, &["run", "plan.bin", "--prompt", "hello"]);
    insta::assert_snapshot!(message, @"error: --prompt needs a tokenizer, and the model has none: `mscc compile MODEL --tokenizer DIR` names a directory with a tokenizer.json; or give token ids with --prompt-ids");
    let message = bench.fails(2, &["chat", "plan.bin"]);
    insta::assert_snapshot!(message, @"error: a conversation needs a tokenizer, and the model has none: `mscc compile MODEL --tokenizer DIR` names a directory with a tokenizer.json");
    bench.write("eval.txt", "hello");
    bench.write("model/tokenizer.model", "x");
    let message = bench.fails(2, &["eval", "plan.bin", "--file", "eval.txt"]);
    insta::assert_snapshot!(message, @"error: --file needs a tokenizer, and the model has none: there is no tokenizer.json, only model/tokenizer.model, of which transformers makes one: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR); then compile again");
    std::fs::remove_file(bench.path("model/tokenizer.model")).unwrap();
    let message = bench.fails(2, &["run", "plan.bin", "--prompt-ids", "1", "--stop", "x"]);
    insta::assert_snapshot!(message, @"error: --stop needs a tokenizer, and the model has none: `mscc compile MODEL --tokenizer DIR` names a directory with a tokenizer.json");
}
