//! Prompts that a model that works cannot take.

use insta::assert_snapshot;

use crate::refused;

#[test]
fn refused_prompts() {
    let long = vec!["1"; 65].join(",");
    let prompts: [(&str, &[&str]); 10] = [
        ("id past the vocabulary", &["--prompt-ids", "1,32"]),
        ("id of 2^32 - 1", &["--prompt-ids", "4294967295"]),
        ("id of 2^32", &["--prompt-ids", "4294967296"]),
        ("negative id", &["--prompt-ids=-1"]),
        ("id that is a word", &["--prompt-ids", "one"]),
        ("no ids", &["--prompt-ids", ""]),
        ("id behind the last comma", &["--prompt-ids", "1,"]),
        ("no text", &["--prompt", ""]),
        ("more than the model takes", &["--prompt-ids", &long]),
        ("no room for a token", &["--prompt-ids", &long[2..]]),
    ];
    let mut text = String::new();
    for (name, prompt) in prompts {
        let args = [&["run", "model", "--max-tokens", "1"], prompt].concat();
        text.push_str(&format!("{name}\n{}\n", refused_once(&args)));
    }
    assert_snapshot!(text);
}

fn refused_once(args: &[&str]) -> String {
    refused(args, &[("model", |_| ())]).replacen("model ", "", 1)
}
