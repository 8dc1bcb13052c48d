//! Chat templates in the manner of published model families, against what transformers renders;
//! `tests/data/chat/generate.py` of the repository makes the expectations.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use mscc_text::{ChatError, ChatInput, ChatTemplate};
use serde_json::{Map, Value};

/// The time at which the expectations were made, in seconds; `NOW` of the script.
const NOW: u64 = 1_772_539_384;
/// How many templates and conversations there are at least.
const LEAST: (usize, usize) = (60, 27);

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/chat")
}

fn json(path: &Path) -> Map<String, Value> {
    serde_json::from_slice(&std::fs::read(path).unwrap())
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A conversation and the arguments that go with it, as an input.
fn input(always: &Value, conversation: &Value) -> ChatInput {
    let mut variables = always.as_object().unwrap().clone();
    variables.extend(conversation.as_object().unwrap().clone());
    let mut take = |key: &str| variables.shift_remove(key);
    let mut input = ChatInput::new(take("messages").unwrap());
    let is_set = |value: Option<Value>| value.is_some_and(|value| value.as_bool().unwrap());
    input.add_generation_prompt = is_set(take("add_generation_prompt"));
    input.continue_final_message = is_set(take("continue_final_message"));
    input.tools = take("tools");
    input.documents = take("documents");
    input.variables = variables;
    input.now = Some(UNIX_EPOCH + Duration::from_secs(NOW));
    input
}

/// What a rendering gave, in the words of the expectations.
fn told(result: &Result<String, ChatError>) -> String {
    match result {
        Ok(text) => format!("text: {text}"),
        Err(ChatError::Refused { message }) => format!("refused: {message}"),
        Err(error) => format!("failed: {error}"),
    }
}

/// `None` if a rendering gave what is expected, else the first difference.
fn difference(result: &Result<String, ChatError>, expected: &Value) -> Option<String> {
    let ours = told(result);
    let theirs = match (expected["text"].as_str(), expected["refused"].as_str(), expected["failed"].as_str())
    {
        (Some(text), _, _) => format!("text: {text}"),
        (_, Some(message), _) => format!("refused: {message}"),
        // Words differ; that both fail is what counts.
        (_, _, Some(_)) if ours.starts_with("failed: ") => return None,
        (_, _, error) => format!("failed: {}", error.expect("an outcome is text, refused or failed")),
    };
    if ours == theirs {
        return None;
    }
    let at =
        ours.bytes().zip(theirs.bytes()).position(|(a, b)| a != b).unwrap_or(ours.len().min(theirs.len()));
    let around = |text: &str| {
        let start = text.floor_char_boundary(at.saturating_sub(60));
        format!("…{:?}", &text[start..text.floor_char_boundary(at + 60)])
    };
    Some(format!("at byte {at}\n    expected {}\n    rendered {}", around(&theirs), around(&ours)))
}

#[test]
fn templates_of_families_render_as_with_transformers() {
    let conversations = json(&data().join("conversations.json"));
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(data().join("templates")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(
        files.len() >= LEAST.0 && conversations.len() >= LEAST.1,
        "templates or conversations are missing"
    );
    let (mut rendered, mut wrong) = (0, Vec::new());
    for file in &files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let expected = json(&data().join(format!("expected/{name}.json")));
        assert_eq!(expected.len(), conversations.len() + 2, "{name}: run generate.py");
        let config = expected["special_tokens"].to_string();
        let template = std::fs::read_to_string(file).unwrap();
        let template = ChatTemplate::from_bytes(Some(config.as_bytes()), Some(&template));
        let template = template.unwrap_or_else(|e| panic!("{name}: {e}")).unwrap();
        for (conversation, content) in &conversations {
            let result = template.render(&input(&expected["always"], content));
            rendered += usize::from(result.is_ok());
            if let Some(difference) = difference(&result, &expected[conversation]) {
                wrong.push(format!("{name}, {conversation}: {difference}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {rendered} renderings differ:\n{}", wrong.len(), wrong.join("\n"));
}
