//! generation_config.json and chat templates.

use insta::assert_snapshot;
use serde_json::json;

use crate::config::LFS_POINTER;
use crate::{COMPILE, refused};

const FILE: &str = "generation_config.json";

#[test]
fn generation_config() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("empty", |m| m.write(FILE, "")),
            ("cut", |m| m.write(FILE, "{\"eos_token_id\": ")),
            ("list", |m| m.write(FILE, "[2]")),
            ("LFS pointer", |m| m.write(FILE, LFS_POINTER)),
            ("NaN", |m| m.write(FILE, "{\"temperature\": NaN}")),
            ("key twice", |m| m.write(FILE, "{\"top_k\": 5, \"top_k\": 6}")),
            ("eos_token_id is a text", |m| m.set(FILE, "eos_token_id", json!("</s>"))),
            ("eos_token_id holds a text", |m| m.set(FILE, "eos_token_id", json!([2, "</s>"]))),
            ("bos_token_id is 2^33", |m| m.set(FILE, "bos_token_id", json!(1u64 << 33))),
            ("temperature is a text", |m| m.set(FILE, "temperature", json!("0.7"))),
            ("temperature is negative", |m| m.set(FILE, "temperature", json!(-0.7))),
            ("top_p is 2", |m| m.set(FILE, "top_p", json!(2))),
            ("top_k is negative", |m| m.set(FILE, "top_k", json!(-5))),
            ("top_k is a fraction", |m| m.set(FILE, "top_k", json!(1.5))),
            ("repetition_penalty is 0", |m| m.set(FILE, "repetition_penalty", json!(0))),
            ("do_sample is a text", |m| m.set(FILE, "do_sample", json!("yes"))),
        ]
    ));
}

#[test]
fn chat_template_of_an_option() {
    let args = ["compile", "model", "-o", "plan.bin", "--chat-template", "template.jinja"];
    assert_snapshot!(refused(
        &args,
        &[
            ("missing", |_| ()),
            ("a directory", |m| std::fs::create_dir(m.path("template.jinja")).unwrap()),
            ("a pipe", |m| {
                std::process::Command::new("mkfifo").arg(m.path("template.jinja")).status().unwrap();
            }),
            ("/dev/zero", |m| std::os::unix::fs::symlink("/dev/zero", m.path("template.jinja")).unwrap()),
            ("a link to itself", |m| std::os::unix::fs::symlink("template.jinja", m.path("template.jinja"))
                .unwrap()),
            ("not UTF-8", |m| std::fs::write(m.path("template.jinja"), b"{{ '\xe9' }}").unwrap()),
            ("a gigabyte", |m| {
                std::fs::File::create(m.path("template.jinja")).unwrap().set_len(1 << 30).unwrap();
            }),
        ]
    ));
}
