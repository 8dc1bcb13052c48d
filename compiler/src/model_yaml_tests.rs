use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> ModelYaml {
    ModelYaml::parse(Path::new("conf/model.yaml"), text).unwrap()
}

fn refusal(text: &str) -> String {
    ModelYaml::parse(Path::new("m.yaml"), text).unwrap_err().to_string()
}

/// A predict file of mindformers.
const PREDICT: &str = "
seed: 0
output_dir: './output'
load_checkpoint: ''
use_parallel: False
run_mode: 'predict'
use_legacy: False
load_ckpt_format: 'safetensors'
trainer:
  type: CausalLanguageModelingTrainer
  model_name: 'qwen3'
parallel_config:
  data_parallel: 1
  model_parallel: 1
pretrained_model_dir: '/models/Qwen3'
model:
  model_config:
    type: Qwen3Config
    compute_dtype: \"bfloat16\"
    params_dtype: \"float16\"
    layernorm_compute_dtype: \"float32\"
    rotary_dtype: \"bfloat16\"
    block_size: 32
    num_blocks: 1024
context:
  mode: 0 #0--Graph Mode; 1--Pynative Mode
  device_target: \"CPU\"
  ascend_config:
    precision_mode: \"must_keep_origin_dtype\"
  max_device_memory: \"59GB\"
parallel:
  parallel_mode: \"MANUAL_PARALLEL\"
";

#[test]
fn a_predict_file_of_mindformers_is_read() {
    let yaml = parse(PREDICT);
    let options = yaml.options.clone().without_places();
    let expected = Options {
        model: Some("/models/Qwen3".into()),
        target: Some("cpu".into()),
        dtype: Some("float16".into()),
        compute_dtype: Some("bfloat16".into()),
        block_size: Some(32),
        ..Options::default()
    };
    assert_eq!(options, expected);
    let notes: Vec<String> = yaml.notes.iter().map(ToString::to_string).collect();
    assert!(notes.iter().all(|note| note.contains("(mindformers)") || note.contains("`seed` (vLLM)")));
    assert!(
        notes.contains(
            &"conf/model.yaml:15: `pretrained_model_dir` (mindformers) is read as `model`".to_owned()
        )
    );
    assert!(
        notes
            .iter()
            .any(|note| note.contains(":24: `model.model_config.num_blocks` (mindformers) is ignored:"))
    );
}

#[test]
fn a_file_of_vllm_is_read() {
    let yaml = parse(
        "model: Qwen3\nmax-model-len: 4096\nmax_num_seqs: 8\ngpu-memory-utilization: 0.9\ntensor_parallel_size: 1\n\
         trust_remote_code: true\nquantization: null\nspeculative_config: {}\ndevice: auto\nkv_cache_dtype: auto\n\
         enable-prefix-caching: true\nrope_scaling:\nlora_modules: []\n",
    );
    assert_eq!(yaml.options.model, Some("conf/Qwen3".into()));
    assert_eq!((yaml.options.max_model_len, yaml.options.max_num_seqs), (Some(4096), Some(8)));
    assert_eq!((yaml.options.target.as_deref(), yaml.notes.len()), (None, 10));
    assert!(
        yaml.notes[2]
            .to_string()
            .ends_with("`trust_remote_code` (vLLM) is ignored: code that comes with a model is never run")
    );
}

#[test]
fn our_own_keys_need_no_notes() {
    let yaml = parse("model: a\ntarget: cpu\nrules: [x.rule, y.rule]\nstrict: true\ntokenizer: ../t\n");
    assert_eq!(yaml.notes, []);
    assert_eq!(yaml.options.rules, Some(vec!["conf/x.rule".into(), "conf/y.rule".into()]));
    assert_eq!((yaml.options.strict, yaml.options.tokenizer), (Some(true), Some("conf/../t".into())));
    assert_eq!(parse(""), ModelYaml::default());
    assert_eq!(parse("# nothing\n"), ModelYaml::default());
}

#[test]
fn what_does_not_fit_is_told_with_its_place() {
    for (text, expected) in [
        (
            "blok_size: 3",
            "m.yaml:1:1: unknown key `blok_size`, did you mean `block_size`?: expected one of model, target,",
        ),
        ("\n\n  x: 1", "m.yaml:3:3: unknown key `x`: expected one of"),
        ("gpu_memory_utilisation: 1", "did you mean `gpu_memory_utilization`?"),
        (
            "model:\n  model_config:\n    blok_size: 3",
            "m.yaml:3:5: unknown key `model.model_config.blok_size`, did you mean `model.model_config.block_size`?",
        ),
        ("context:\n  mod: 3", "m.yaml:2:3: unknown key `context.mod`, did you mean `context.mode`?"),
        (
            "block_size: three",
            "m.yaml:1:13: `block_size`: expected a whole number from 1 to 65536, found \"three\"\n  block_size: three",
        ),
        ("block_size: -3", "found -3"),
        ("block_size: 3.5", "found 3.5"),
        ("block_size: 99999999999", "found 99999999999"),
        ("block_size: 1e3", "found 1000.0"),
        ("block_size: [1]", "found a list"),
        ("block_size: {a: 1}", "found a mapping"),
        ("model: 7", "m.yaml:1:8: `model`: expected a path (in quotes, if it is a number), found 7"),
        ("model: [a]", "expected a path"),
        ("target: 1", "`target`: expected a name, found 1"),
        ("strict: maybe", "`strict`: expected true or false, found \"maybe\""),
        ("rules: [1]", "`rules`: expected a path"),
        (
            "tensor_parallel_size: 8",
            "m.yaml:1:23: `tensor_parallel_size` (vLLM) = 8 is not supported; supported: 1, since a plan is for one device",
        ),
        (
            "quantization: awq",
            "`quantization` (vLLM) = \"awq\" is not supported; supported: none: weights keep",
        ),
        ("speculative_config: {model: x}", "`speculative_config` (vLLM) = a mapping is not supported"),
        ("kv_cache_dtype: fp8", "supported: auto"),
        ("run_mode: train", "`run_mode` (mindformers) = \"train\" is not supported; supported: predict"),
        (
            "parallel_config:\n  model_parallel: 4",
            "m.yaml:2:19: `parallel_config.model_parallel` (mindformers) = 4",
        ),
        (
            "model: a\npretrained_model_dir: b",
            "m.yaml:2:1: `pretrained_model_dir` and `model` in line 1 say different things of one option: remove one",
        ),
        (
            "block_size: 4\nmodel:\n  model_config:\n    block_size: 8",
            "`model.model_config.block_size` and `block_size` in line 1",
        ),
        ("model: a\nmodel: b", "m.yaml:2:1: key `model` is there twice"),
        ("- model", "m.yaml:1:1: expected keys with values"),
        ("7", "expected keys with values"),
        ("model: a\n---\nmodel: b", "m.yaml:3:1: expected one document, and here the second begins"),
        ("model: 'a", "m.yaml:1:8: unclosed quote"),
        ("block_size: .nan", "m.yaml:1:13: value `.nan` is not a finite number"),
    ] {
        let message = refusal(text);
        assert!(message.contains(expected), "{text:?}: {message}");
        assert!(message.starts_with("m.yaml:"), "{message}");
    }
}

#[test]
fn spellings_that_agree_are_one() {
    let yaml = parse(
        "model: a\npretrained_model_dir: a\nblock_size: 4\nmodel_config: null\n"
            .replace("model_config: null\n", "")
            .as_str(),
    );
    assert_eq!(yaml.options.model, Some("conf/a".into()));
}

#[test]
fn values_out_of_range_are_told_with_their_place_unless_flags_win() {
    let options = parse("model: a\ncontext:\n  device_target: Ascend\nblock_size: 0\n").options;
    let message = options.resolve().unwrap_err().to_string();
    assert_eq!(
        message,
        "conf/model.yaml:3:18: `context.device_target`: expected cpu, ascend910b1 to ascend910b4, ascend910_93 or \
         ascend310p, found `ascend`"
    );
    let options = options.overridden_by(Options { target: Some("cpu".into()), ..Options::default() });
    let message = options.resolve().unwrap_err().to_string();
    assert_eq!(message, "conf/model.yaml:4:13: `block_size`: expected 1 to 65536, found `0`");
    let options = options.overridden_by(Options { block_size: Some(1 << 20), ..Options::default() });
    let message = options.resolve().unwrap_err().to_string();
    assert_eq!(message, "option `block_size` (--block-size): expected 1 to 65536, found `1048576`");
}

#[test]
fn hostile_files_end_soon() {
    let bomb: String = (1..30).map(|i| format!("a{i}: &a{i} [*a{0},*a{0},*a{0},*a{0}]\n", i - 1)).collect();
    for text in [
        "[".repeat(60_000),
        "{a: ".repeat(15_000),
        format!("a0: &a0 [x]\n{bomb}"),
        "#".repeat(1 << 20),
        "a: &x *x".into(),
    ] {
        let started = std::time::Instant::now();
        assert!(refusal(&text).len() < 1000);
        assert!(started.elapsed().as_secs() < 5);
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-z_:.\\-#&*!|>'\"\\[\\]{}, \n0-9é\t]{0,120}") {
        if let Err(error) = ModelYaml::parse(Path::new("m.yaml"), &text) {
            prop_assert!(error.to_string().len() < 2000);
        }
    }

    #[test]
    fn no_change_of_a_file_makes_it_panic(at in 0..PREDICT.len(), with in "[a-z0-9{}\\[\\]:, \n'\"&*-]{0,4}") {
        let text = format!("{}{with}{}", &PREDICT[..at], &PREDICT[at + 1..]);
        if let Ok(yaml) = ModelYaml::parse(Path::new("m.yaml"), &text) {
            let _ = yaml.options.resolve();
        }
    }

    #[test]
    fn no_value_of_a_key_makes_it_panic(
        key in prop::sample::select(Vec::from_iter(dialects::paths())),
        value in prop::sample::select(vec![
            "", "null", "0", "1", "-1", "1e308", "true", "x", "''", "auto", "[]", "[1, a]", "{}", "{a: 1}", "cpu",
            "18446744073709551616", "0x10", "2024-01-01", "~", ".inf",
        ]),
    ) {
        let nested = key.split('.').rev().fold(value.to_owned(), |inner, part| format!("{{{part}: {inner}}}"));
        if let Ok(yaml) = ModelYaml::parse(Path::new("m.yaml"), &nested) {
            let _ = yaml.options.resolve();
        }
    }
}
