//! The fixtures' tokenizers and chat templates against what Hugging Face transformers gives.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use mscc_text::{ChatError, ChatInput, ChatTemplate, Tokenizer};
use proptest::prelude::*;
use serde_json::Value;

/// Every fixture's directory and its `tokenizer_cases.json`; `MSCC_TEXT_FIXTURES` names another place for them.
fn fixtures() -> Vec<(PathBuf, Value)> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/fixtures");
    let root = std::env::var_os("MSCC_TEXT_FIXTURES").map_or(default, PathBuf::from);
    let mut dirs: Vec<PathBuf> =
        std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    dirs.retain(|dir| dir.join("tokenizer_cases.json").exists());
    dirs.sort();
    assert!(dirs.len() >= 6, "fixtures are missing: {dirs:?}");
    dirs.into_iter()
        .map(|dir| {
            let cases = std::fs::read(dir.join("tokenizer_cases.json")).unwrap();
            (dir, serde_json::from_slice(&cases).unwrap())
        })
        .collect()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn encodings_are_those_of_transformers() {
    for (dir, cases) in fixtures() {
        let tokenizer = Tokenizer::from_dir(&dir).unwrap();
        let encodings = cases["encodings"].as_array().unwrap();
        for (index, case) in encodings.iter().enumerate() {
            let text = case["text"].as_str().unwrap();
            let place = format!("{}: {text:?}", dir.display());
            let encoded = tokenizer.encode(text, true).unwrap();
            assert_eq!(encoded, ids(&case["ids"]), "{place}");
            assert_eq!(tokenizer.encode(text, false).unwrap(), ids(&case["ids_no_special"]), "{place}");
            // The last text is written with special tokens; its decodings are those of `ids_no_special`.
            let encoded = if index + 1 == encodings.len() { ids(&case["ids_no_special"]) } else { encoded };
            assert_eq!(
                tokenizer.decode(&encoded, true).unwrap(),
                case["decoded"].as_str().unwrap(),
                "{place}"
            );
            let with_special = tokenizer.decode(&encoded, false).unwrap();
            assert_eq!(with_special, case["decoded_with_special"].as_str().unwrap(), "{place}");
        }
    }
}

#[test]
fn chats_are_those_of_transformers() {
    for (dir, cases) in fixtures() {
        let tokenizer = Tokenizer::from_dir(&dir).unwrap();
        let template = ChatTemplate::from_dir(&dir).unwrap().expect("every fixture has a chat template");
        for case in cases["chats"].as_array().unwrap() {
            let mut input = ChatInput::new(case["messages"].clone());
            input.add_generation_prompt = case["add_generation_prompt"].as_bool().unwrap();
            let place = format!("{}: {}", dir.display(), case["messages"]);
            match (template.render(&input), case["error"].as_str()) {
                (Ok(text), None) => {
                    assert_eq!(text, case["text"].as_str().unwrap(), "{place}");
                    assert_eq!(tokenizer.encode(&text, false).unwrap(), ids(&case["ids"]), "{place}");
                }
                // The name of jinja2's error for `raise_exception`.
                (Err(ChatError::Refused { .. }), Some("TemplateError")) => {}
                (result, error) => panic!("{place}: {result:?} in place of {error:?}"),
            }
        }
    }
}

/// What a stream gives for these ids, piece by piece.
fn streamed(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> String {
    let mut stream = tokenizer.stream(skip_special);
    let mut text: String = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
    text.push_str(&stream.flush().unwrap());
    text
}

#[test]
fn streams_give_the_text_of_the_cases() {
    for (dir, cases) in fixtures() {
        let tokenizer = Tokenizer::from_dir(&dir).unwrap();
        for case in cases["encodings"].as_array().unwrap() {
            let ids = ids(&case["ids"]);
            for skip_special in [false, true] {
                let expected = tokenizer.decode(&ids, skip_special).unwrap();
                assert_eq!(streamed(&tokenizer, &ids, skip_special), expected, "{}", dir.display());
            }
        }
    }
}

#[test]
fn pieces_never_end_inside_a_character() {
    for (dir, _) in fixtures() {
        let tokenizer = Tokenizer::from_dir(&dir).unwrap();
        let text = "naïve 🙂🚀 你好，世界！한국어 end";
        let mut stream = tokenizer.stream(true);
        let mut seen = String::new();
        for id in tokenizer.encode(text, true).unwrap() {
            seen.push_str(&stream.push(id).unwrap());
            assert!(text.starts_with(&seen), "{}: {seen:?}", dir.display());
        }
        assert_eq!(seen + &stream.flush().unwrap(), text);
    }
}

#[test]
fn a_character_cut_off_is_replaced_only_by_the_flush() {
    for (dir, _) in fixtures() {
        let tokenizer = Tokenizer::from_dir(&dir).unwrap();
        let mut ids = tokenizer.encode("🙂", false).unwrap();
        ids.pop();
        let mut stream = tokenizer.stream(true);
        let seen: String = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
        assert_eq!(seen.trim_start(), "", "{}", dir.display());
        assert!(stream.flush().unwrap().contains('\u{FFFD}'), "{}", dir.display());
        assert_eq!(stream.flush().unwrap(), "");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_stream_of_any_ids_is_their_decoding(ids in prop::collection::vec(0..520_u32, 0..60), skip_special: bool) {
        for (dir, tokenizer) in tokenizers() {
            let expected = tokenizer.decode(&ids, skip_special).unwrap();
            prop_assert_eq!(streamed(tokenizer, &ids, skip_special), expected, "{}", dir.display());
        }
    }

    #[test]
    fn a_stream_of_bytes_is_their_decoding(bytes in prop::collection::vec(3..259_u32, 0..20), gap in 0..20_usize) {
        // The byte tokens of the SentencePiece-like fixture, with another token between.
        for (dir, tokenizer) in tokenizers() {
            let mut ids = bytes.clone();
            ids.insert(gap.min(ids.len()), 300);
            let expected = tokenizer.decode(&ids, true).unwrap();
            prop_assert_eq!(streamed(tokenizer, &ids, true), expected, "{}", dir.display());
        }
    }

    #[test]
    fn text_survives_the_way_there_and_back(text in "\\PC{0,40}") {
        for (dir, tokenizer) in tokenizers() {
            // The fixtures after Qwen compose characters, so only the second way must change nothing.
            let once = tokenizer.decode(&tokenizer.encode(&text, false).unwrap(), false).unwrap();
            let ids = tokenizer.encode(&once, false).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids, false).unwrap(), once.clone(), "{}", dir.display());
            prop_assert_eq!(streamed(tokenizer, &ids, false), once, "{}", dir.display());
        }
    }
}

fn tokenizers() -> &'static [(PathBuf, Tokenizer)] {
    static ALL: std::sync::LazyLock<Vec<(PathBuf, Tokenizer)>> = std::sync::LazyLock::new(|| {
        fixtures().into_iter().map(|(dir, _)| (dir.clone(), Tokenizer::from_dir(&dir).unwrap())).collect()
    });
    &ALL
}
