//! Plans and weights that are damaged, moved or changed: a message with the file, never a crash.

use crate::*;

/// What `inspect` says of a plan, which `run` has to say as well.
fn refused(bench: &Bench, plan: &[u8]) -> String {
    bench.write("bad.bin", plan);
    let message = bench.fails(2, &["inspect", "bad.bin"]);
    assert!(message.starts_with("error: bad.bin: "), "{message}");
    assert_eq!(bench.fails(2, &["run", "bad.bin", "--prompt-ids", "1"]), message);
    message
}

#[test]
fn truncated_plans() {
    let bench = Bench::with_plan("llama");
    let plan = bench.read("plan.bin");
    for length in [8, 9, 12, 16, 100, 300, 1000, plan.len() / 2, plan.len() - 1] {
        let message = refused(&bench, &plan[..length]);
        assert!(message.contains("the plan is damaged: it ends inside "), "{length}: {message}");
        assert!(message.ends_with("; compile the model again"), "{message}");
    }
    let longer = [&plan[..], b"x"].concat();
    insta::assert_snapshot!(
        refused(&bench, &longer),
        @"error: bad.bin: the plan is damaged: there are bytes behind its end; compile the model again"
    );
}

#[test]
fn flipped_bytes() {
    let bench = Bench::with_plan("llama");
    let plan = bench.read("plan.bin");
    let step = plan.len() / 60;
    for at in (0..60).map(|index| index * step).chain(0..20).chain([plan.len() - 1]) {
        let mut damaged = plan.clone();
        damaged[at] ^= 0x41;
        bench.write("bad.bin", &damaged);
        let message = bench.fails(2, &["inspect", "bad.bin"]);
        assert!(message.starts_with("error: bad.bin: "), "byte {at}: {message}");
    }
    let mut newer = plan.clone();
    newer[8] = 200;
    insta::assert_snapshot!(
        refused(&bench, &newer),
        @"error: bad.bin: the plan has format version 200, this build reads version 4: compile the model again"
    );
}

#[test]
fn files_that_are_no_plans() {
    let bench = Bench::new();
    let magic = "error: bad.bin: this is no mscc plan: it does not start with `MSCCPLAN`; `mscc compile` makes one of a model";
    for content in ["", "MSCC", "hello, world", "{}"] {
        assert_eq!(refused(&bench, content.as_bytes()), magic);
    }
    std::fs::create_dir(bench.path("dir")).unwrap();
    insta::assert_snapshot!(bench.fails(2, &["inspect", "dir"]), @"error: dir is a directory and no plan: `mscc compile dir -o plan.bin` makes a plan of a model");
    insta::assert_snapshot!(bench.fails(2, &["run", "dir", "--prompt", "x"]), @"error: dir has no config.json: name the directory with the model's config.json and *.safetensors");
    bench.write("dir/config.json", "{}");
    insta::assert_snapshot!(bench.fails(2, &["run", "dir/config.json", "--prompt", "x"]), @"error: dir/config.json is a file of a model and no plan: name its directory, dir");
    std::fs::remove_file(bench.path("dir/config.json")).unwrap();
    bench.ok(&["compile", &text(&fixture_dir("llama")), "-o", "plan.bin"]);
    insta::assert_snapshot!(bench.fails(2, &["compile", "plan.bin", "-o", "x"]), @"error: plan.bin:1:1: a plan, which `mscc run` and `mscc inspect` take: a model is named by its directory");
    insta::assert_snapshot!(
        bench.fails(2, &["run", "none.bin", "--prompt", "x"]),
        @"error: none.bin: there is no such file: `mscc compile MODEL -o plan.bin` makes a plan of a model"
    );
    insta::assert_snapshot!(
        bench.fails(2, &["run", "Org/Name", "--prompt", "x"]),
        @"error: Org/Name: there is no such model directory; mscc takes models that are on this machine: `hf download Org/Name --local-dir Name` brings one from the hub"
    );
}

#[test]
fn weights_that_moved() {
    let bench = Bench::new();
    copy_model(&fixture_dir("qwen2_sharded"), &bench.path("model"));
    bench.ok(&["compile", "model", "-o", "plan.bin"]);
    let run = ["run", "plan.bin", "--prompt", "def", "--max-tokens", "5", "--ignore-eos"];
    let before = bench.ok(&run);
    std::fs::rename(bench.path("model"), bench.path("moved")).unwrap();
    insta::assert_snapshot!(
        bench.fails(2, &run),
        @"error: BENCH/model: the weights are not there; pass --weights DIR with the directory that has them"
    );
    let with = |dir| [&run[..], &["--weights", dir]].concat();
    assert_eq!(bench.ok(&with("moved")), before, "the tokenizer is found there, too");
    insta::assert_snapshot!(
        bench.fails(2, &with("none")),
        @"error: BENCH/none: the weights are not there; pass --weights DIR with the directory that has them"
    );
    std::fs::remove_file(bench.path("moved/tokenizer.json")).unwrap();
    insta::assert_snapshot!(
        bench.fails(2, &with("moved")),
        @"error: --prompt needs a tokenizer, and there is no tokenizer.json in model; pass --weights DIR with the directory that has it; or give token ids with --prompt-ids"
    );
    std::fs::remove_file(bench.path("moved/model-00002-of-00003.safetensors")).unwrap();
    insta::assert_snapshot!(
        bench.fails(2, &with("moved")),
        @"error: BENCH/moved/model-00002-of-00003.safetensors: the weights are not there; pass --weights DIR with the directory that has them"
    );
}

#[test]
fn weights_that_changed() {
    let bench = Bench::new();
    copy_model(&fixture_dir("qwen3"), &bench.path("model"));
    bench.ok(&["compile", "model", "-o", "plan.bin"]);
    let file = "model/model.safetensors";
    let weights = bench.read(file);
    let refused = |content: &[u8]| {
        bench.write(file, content);
        bench.fails(2, &["run", "plan.bin", "--prompt-ids", "1"])
    };
    // Same length, another header: two tensors of one shape have changed their names.
    let (one, two) = (b"layers.0.input_layernorm", b"layers.1.input_layernorm");
    let mut renamed = weights.clone();
    let position = |name: &[u8]| weights.windows(name.len()).position(|window| window == name).unwrap();
    renamed[position(one)..][..one.len()].copy_from_slice(two);
    renamed[position(two)..][..two.len()].copy_from_slice(one);
    insta::assert_snapshot!(
        refused(&renamed),
        @"error: model/model.safetensors: has other tensors than the plan was compiled for; compile the model again, or pass the right --weights DIR"
    );
    insta::assert_snapshot!(
        refused(&weights[..weights.len() - 7]),
        @"error: model/model.safetensors: the header describes a file of 403240 bytes, but it has 403233: download it again"
    );
    insta::assert_snapshot!(
        refused(&weights[..4]),
        @"error: model/model.safetensors: the file of 4 B is too short for a safetensors header: download it again"
    );
    insta::assert_snapshot!(
        refused(b""),
        @"error: model/model.safetensors: the file is empty: download it again"
    );
    let other = std::fs::read(fixture_dir("llama").join("model.safetensors")).unwrap();
    insta::assert_snapshot!(
        refused(&other),
        @"error: model/model.safetensors: has 365472 bytes, the plan was compiled for 403240; compile the model again, or pass the right --weights DIR"
    );
    bench.write(file, &weights);
    bench.ok(&["run", "plan.bin", "--prompt-ids", "1", "--max-tokens", "1"]);
}
