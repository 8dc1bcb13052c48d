//! `mscc logits` gives what the reference gives.

use crate::*;

#[test]
fn logits_of_every_prompt_of_every_fixture() {
    for fixture in &fixtures() {
        let bench = Bench::with_plan(fixture);
        let expected = read_json(&fixture_dir(fixture).join("expected.json"));
        let tensors = read_tensors(&fixture_dir(fixture).join("expected.safetensors"));
        let prompts = expected["prompts"].as_array().unwrap();
        let reference = |prompt: &Value| &tensors[prompt["logits"].as_str().unwrap()];
        let scale = prompts.iter().map(|prompt| max_abs(&reference(prompt).values)).fold(0.0, f32::max);
        for (index, prompt) in prompts.iter().enumerate() {
            let prompt_ids = ids(&numbers(&prompt["token_ids"]));
            bench.ok(&["logits", "plan.bin", "--prompt-ids", &prompt_ids, "-o", "out.safetensors"]);
            let got = read_tensors(&bench.path("out.safetensors"));
            assert_eq!(got.len(), 1, "only logits, without --hidden");
            assert_close(&got["logits"], reference(prompt), scale, &format!("{fixture}, prompt {index}"));
        }
    }
}

#[test]
fn hidden_states_by_source_name() {
    for fixture in &fixtures() {
        let bench = Bench::with_plan(fixture);
        let expected = read_json(&fixture_dir(fixture).join("expected.json"));
        let tensors = read_tensors(&fixture_dir(fixture).join("expected.safetensors"));
        let prompt = &expected["prompts"][1];
        let prompt_ids = ids(&numbers(&prompt["token_ids"]));
        let args =
            ["logits", "plan.bin", "--prompt-ids", &prompt_ids, "--hidden", "--chunk", "5", "-o", "out"];
        bench.ok(&args);
        let mut got = read_tensors(&bench.path("out"));
        let mut names = vec![("logits".to_owned(), &prompt["logits"])];
        names.push(("model.embed_tokens".to_owned(), &prompt["embed"]));
        let norm = if fixture == "phi" { "model.final_layernorm" } else { "model.norm" };
        names.push((norm.to_owned(), &prompt["last_hidden"]));
        let layers = prompt["layers"].as_array().unwrap().iter().enumerate();
        names.extend(layers.map(|(index, layer)| (format!("model.layers.{index}"), layer)));
        for (name, tensor) in names {
            let expected = &tensors[tensor.as_str().unwrap()];
            let got = got.remove(&name).unwrap_or_else(|| panic!("{fixture}: no {name}"));
            assert_close(&got, expected, max_abs(&expected.values), &format!("{fixture}, {name}"));
        }
        assert!(got.is_empty(), "{fixture}: unexpected {:?}", got.keys());
    }
}

#[test]
fn chunks_and_threads_change_no_bit() {
    let bench = Bench::with_plan("qwen2_tied");
    let tokens: Vec<u32> = (3..40).collect();
    let prompt_ids = ids(&tokens);
    let logits = |extra: &[&str]| {
        let mut args = vec!["logits", "plan.bin", "--prompt-ids", &prompt_ids, "--hidden", "-o", "out"];
        args.extend(extra);
        bench.ok(&args);
        bench.read("out")
    };
    let whole = logits(&["--threads", "1"]);
    for extra in [["--chunk", "1"], ["--chunk", "3"], ["--chunk", "7"], ["--threads", "2"]] {
        assert!(logits(&extra) == whole, "{extra:?}");
    }
}

#[test]
fn what_was_written_as_json() {
    let bench = Bench::with_plan("llama");
    let args = ["logits", "plan.bin", "--prompt-ids", "1,2,3", "--hidden", "-o", "out"];
    let done = bench.json(&[&args[..], &["--json"]].concat());
    assert_eq!(done["schema"], "mscc.logits.v1");
    assert_eq!(done["prompt_ids"], serde_json::json!([1, 2, 3]));
    let shapes = done["tensors"].as_object().unwrap();
    let written = read_tensors(&bench.path("out"));
    assert_eq!(shapes.len(), written.len());
    for (name, shape) in shapes {
        assert_eq!(*shape, serde_json::json!(written[name].shape), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_gets_the_same_bytes() {
    let bench = Bench::with_plan("llama");
    let args = ["logits", "plan.bin", "--prompt-ids", "1,2,3,4", "--chunk", "1", "--hidden", "-o"];
    bench.ok(&[&args[..], &["out"]].concat());
    let pipe = bench.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn(move || std::fs::read(pipe).unwrap());
    bench.ok(&[&args[..], &["pipe"]].concat());
    assert!(reader.join().unwrap() == bench.read("out"));
    assert_eq!(bench.files(), ["out", "pipe", "plan.bin"]);
}

#[test]
fn text_is_tokenised_as_the_tokenizer_wants_it() {
    let bench = Bench::with_plan("llama");
    let expected = read_json(&fixture_dir("llama").join("expected.json"));
    let prompt = &expected["prompts"][0];
    let tokens = ids(&numbers(&prompt["token_ids"]));
    bench.ok(&["logits", "plan.bin", "--prompt", prompt["text"].as_str().unwrap(), "-o", "text"]);
    bench.ok(&["logits", "plan.bin", "--prompt-ids", &tokens, "-o", "ids"]);
    assert!(bench.read("text") == bench.read("ids"));
}

#[test]
fn what_is_no_number_is_refused() {
    let bench = Bench::new();
    copy_model(&fixture_dir("llama"), &bench.path("model"));
    let mut weights = bench.read("model/model.safetensors");
    let (start, len) = {
        let (length, header) = safetensors::SafeTensors::read_metadata(&weights).unwrap();
        let (start, end) = header.info("model.layers.1.mlp.down_proj.weight").unwrap().data_offsets;
        (size_of::<u64>() + length + start, end - start)
    };
    weights[start..start + len].fill(0xff);
    std::fs::write(bench.path("model/model.safetensors"), weights).unwrap();
    let fails = |more: &[&str]| {
        bench.fails(2, &[&["logits", "model", "--prompt-ids", "1,2,3", "-o", "out"], more].concat())
    };
    insta::assert_snapshot!(fails(&[]), @"error: the logits of token 0 of the prompt are no numbers; --hidden says which layer is the first to give none: weights that are damaged, or values beyond what the type computed in holds; try compute_dtype float32, and check where the weights come from");
    insta::assert_snapshot!(fails(&["--hidden", "--chunk", "1"]), @"error: the logits of token 0 of the prompt are no numbers, and `model.layers.1` is the first to give none: weights that are damaged, or values beyond what the type computed in holds; try compute_dtype float32, and check where the weights come from");
    assert_eq!(bench.files(), ["model"]);
}

#[test]
fn what_cannot_be_is_refused() {
    let bench = Bench::with_plan("llama");
    let fails =
        |code, args: &[&str]| bench.fails(code, &[&["logits", "plan.bin", "-o", "out"], args].concat());
    insta::assert_snapshot!(
        fails(2, &["--prompt-ids", "1,512"]),
        @"error: token 512 of position 1 of sequence 0 is not in the model's vocabulary of 512"
    );
    let long = ids(&vec![1; 257]);
    insta::assert_snapshot!(
        fails(2, &["--prompt-ids", &long]),
        @"error: 257 tokens are more than max_model_len, 256"
    );
    assert!(fails(2, &["--prompt-ids", "1,x"]).contains("`x` is no token id"));
    assert!(fails(2, &["--prompt-ids", "1", "--chunk", "0"]).contains("--chunk"));
    assert!(fails(2, &["--prompt-ids", "1", "--prompt", "a"]).contains("cannot be used with"));
    assert!(fails(2, &[]).contains("--prompt"));
    assert_eq!(bench.files(), ["plan.bin"]);
}
