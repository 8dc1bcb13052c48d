//! model.yaml.

use insta::assert_snapshot;

use crate::{Case, Model, refused};

const ARGS: &[&str] = &["compile", "model.yaml", "-o", "plan.bin"];

fn yaml(model: &Model, content: impl AsRef<[u8]>) {
    std::fs::write(model.path("model.yaml"), content).unwrap();
}

#[test]
fn form() {
    let cases: &[Case] = &[
        ("missing", |_| ()),
        ("empty", |m| yaml(m, "")),
        ("a comment alone", |m| yaml(m, "# model: model\n")),
        ("null", |m| yaml(m, "null\n")),
        ("list", |m| yaml(m, "- model\n")),
        ("text", |m| yaml(m, "model\n")),
        ("tabs", |m| yaml(m, "model: model\n\tblock_size: 16\n")),
        ("bracket that is not closed", |m| yaml(m, "model: [model\n")),
        ("quote that is not closed", |m| yaml(m, "model: \"model\n")),
        ("key twice", |m| yaml(m, "model: model\nblock_size: 8\nblock_size: 16\n")),
        ("two documents", |m| yaml(m, "model: model\n---\nmodel: model\n")),
        ("unknown alias", |m| yaml(m, "model: *there\n")),
        ("aliases of aliases", |m| {
            let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
            for n in 1..12 {
                let items = vec![format!("*a{}", n - 1); 9].join(", ");
                text.push_str(&format!("a{n}: &a{n} [{items}]\n"));
            }
            yaml(m, text);
        }),
        ("brackets", |m| yaml(m, format!("model: {}", "[".repeat(100_000)))),
        ("not UTF-8", |m| yaml(m, b"model: mod\xe9le\n")),
        ("UTF-16", |m| {
            yaml(m, "\u{feff}model: model\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>())
        }),
        ("a megabyte", |m| yaml(m, vec![b'#'; (1 << 20) + 1])),
        ("a directory", |m| std::fs::create_dir(m.path("model.yaml")).unwrap()),
        ("a pipe", |m| {
            std::process::Command::new("mkfifo").arg(m.path("model.yaml")).status().unwrap();
        }),
        ("/dev/zero", |m| std::os::unix::fs::symlink("/dev/zero", m.path("model.yaml")).unwrap()),
        ("a link to itself", |m| std::os::unix::fs::symlink("model.yaml", m.path("model.yaml")).unwrap()),
    ];
    assert_snapshot!(refused(ARGS, cases));
}

#[test]
fn keys() {
    let cases: &[Case] = &[
        ("no model", |m| yaml(m, "block_size: 16\n")),
        ("model is missing", |m| yaml(m, "model: gone\n")),
        ("model is a number", |m| yaml(m, "model: 7\n")),
        ("model is empty", |m| yaml(m, "model: ''\n")),
        ("model is the file itself", |m| yaml(m, "model: model.yaml\n")),
        ("model is in a home directory", |m| yaml(m, "model: ~/model\n")),
        ("model is a config that is missing", |m| yaml(m, "model: model/config2.json\n")),
        ("family is a built-in one", |m| yaml(m, "model: model\nfamily: llama\n")),
        ("a number with a zero in front", |m| yaml(m, "model: model\nmax_model_len: 010\n")),
        ("a number with a fraction", |m| yaml(m, "model: model\nmax_model_len: 16.5\n")),
        ("a number beyond the largest", |m| yaml(m, "model: model\nblock_size: 99999999999\n")),
        ("a tab behind two lines", |m| yaml(m, "model: model\nblock_size: 16\n \tdtype: auto\n")),
        ("model is of the hub", |m| yaml(m, "model: meta-llama/Llama-3.2-1B\n")),
        ("unknown key", |m| yaml(m, "model: model\nblok_size: 16\n")),
        ("key with a capital", |m| yaml(m, "Model: model\n")),
        ("block_size is a text", |m| yaml(m, "model: model\nblock_size: big\n")),
        ("block_size is 0", |m| yaml(m, "model: model\nblock_size: 0\n")),
        ("block_size is negative", |m| yaml(m, "model: model\nblock_size: -16\n")),
        ("block_size is 2^32", |m| yaml(m, "model: model\nblock_size: 4294967296\n")),
        ("block_size is a fraction", |m| yaml(m, "model: model\nblock_size: 1.5\n")),
        ("block_size is a list", |m| yaml(m, "model: model\nblock_size: [16]\n")),
        ("max_num_seqs past max_num_batched_tokens", |m| {
            yaml(m, "model: model\nmax_num_seqs: 9\nmax_num_batched_tokens: 8\n");
        }),
        ("target is unknown", |m| yaml(m, "model: model\ntarget: abacus\n")),
        ("dtype is unknown", |m| yaml(m, "model: model\ndtype: int3\n")),
        ("compute_dtype is not supported", |m| yaml(m, "model: model\ncompute_dtype: float16\n")),
        ("tokenizer is missing", |m| yaml(m, "model: model\ntokenizer: gone\n")),
        ("chat_template is missing", |m| yaml(m, "model: model\nchat_template: gone.jinja\n")),
        ("rules is a text", |m| yaml(m, "model: model\nrules: a.rule\n")),
        ("rules are missing", |m| yaml(m, "model: model\nrules: [gone.rule]\n")),
        ("rules are no rules", |m| yaml(m, "model: model\nrules: [model/config.json]\n")),
        ("rules are a pipe", |m| {
            std::process::Command::new("mkfifo").arg(m.path("a.rule")).status().unwrap();
            yaml(m, "model: model\nrules: [a.rule]\n");
        }),
    ];
    assert_snapshot!(refused(ARGS, cases));
}
