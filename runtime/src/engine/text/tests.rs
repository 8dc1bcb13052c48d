use mscc_text::{ChatTemplate, Tokenizer};

use super::*;
use crate::engine::EngineError;
use crate::engine::testing::{FakeModel, VOCAB};

/// Tokens `a` to `w`, one for each id; `a` starts a text, and text is joined without spaces.
fn llm(eos: Option<u32>) -> Llm<FakeModel> {
    let letters: Vec<String> = (0..VOCAB).map(|id| format!("\"{}\": {id}", letter(id))).collect();
    let json = format!(
        r#"{{"version": "1.0", "added_tokens": [], "model": {{"type": "WordLevel", "vocab": {{{}}}, "unk_token": "a"}},
        "pre_tokenizer": {{"type": "Split", "pattern": {{"Regex": "."}}, "behavior": "Isolated", "invert": false}},
        "decoder": {{"type": "Fuse"}},
        "post_processor": {{"type": "TemplateProcessing",
            "single": [{{"SpecialToken": {{"id": "a", "type_id": 0}}}}, {{"Sequence": {{"id": "A", "type_id": 0}}}}],
            "pair": [], "special_tokens": {{"a": {{"id": "a", "ids": [0], "tokens": ["a"]}}}}}}}}"#,
        letters.join(", ")
    );
    let tokenizer = Tokenizer::from_bytes(json.as_bytes(), None).unwrap();
    let template =
        "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}w{% endif %}";
    let options = EngineOptions::default().num_pages([50]).eos_token_ids(eos.into_iter().collect::<Vec<_>>());
    let engine = Engine::new(FakeModel::new(&[4], 60, 4, 16), options).unwrap();
    Llm::new(engine, tokenizer, Some(ChatTemplate::from_text(template).unwrap()))
}

fn letter(id: u32) -> char {
    char::from(b'a' + id as u8)
}

fn greedy(max_tokens: u32) -> SamplingParams {
    SamplingParams::greedy().max_tokens(max_tokens)
}

#[test]
fn prompts_are_framed_and_conversations_rendered() {
    let llm = llm(None);
    assert_eq!(llm.encode(&"bc".into()).unwrap(), [0, 1, 2]);
    assert_eq!(llm.encode(&vec![5, 6].into()).unwrap(), [5, 6]);
    let prompt = Prompt::chat([("system", "b"), ("user", "c")]);
    assert_eq!(llm.encode(&prompt).unwrap(), [1, 2, 22]);
    let Llm { engine, tokenizer, .. } = llm;
    let plain = Llm::new(engine, tokenizer, None);
    assert!(matches!(plain.encode(&prompt), Err(LlmError::NoChatTemplate)));
}

#[test]
fn pieces_add_up_to_the_text_of_the_tokens() {
    let mut llm = llm(None);
    let mut generation = llm.generate("bcd", greedy(12)).unwrap();
    let text = generation.text().unwrap();
    assert_eq!(generation.finish_reason(), Some(&FinishReason::Length));
    assert_eq!(text, generation.tokens().iter().map(|id| letter(*id)).collect::<String>());
    assert_eq!(text.len(), 12);
    drop(generation);
    assert!(!llm.has_work());
}

#[test]
fn stops_end_the_text_before_them() {
    let whole = llm(None).generate("bcd", greedy(12)).unwrap().text().unwrap();
    let stop = &whole[4..6];
    let at = whole.find(stop).unwrap();
    for (include_stop, end) in [(false, at), (true, at + 2)] {
        let mut llm = llm(None);
        let request = TextRequest { include_stop, ..TextRequest::new("bcd", greedy(12)).stop(["zz", stop]) };
        let mut generation = llm.start(request).unwrap();
        assert_eq!(generation.text().unwrap(), whole[..end]);
        assert_eq!(generation.finish_reason(), Some(&FinishReason::StopString(1)));
        assert_eq!(generation.tokens().len(), at + 2);
        drop(generation);
        while llm.has_work() {
            assert_eq!(llm.step().unwrap(), []);
        }
        assert_eq!(llm.engine().stats().num_running, 0);
    }
    let last = whole.chars().last().unwrap();
    let eos = u32::from(last) - u32::from('a');
    let mut with_eos = llm(Some(eos));
    let mut generation = with_eos.generate("bcd", greedy(12)).unwrap();
    assert_eq!(generation.text().unwrap(), whole[..whole.find(last).unwrap()]);
    assert_eq!(generation.finish_reason(), Some(&FinishReason::Stop(eos)));
    // What was held back as the beginning of a stop string is text in the end.
    let held = format!("{}z", &whole[10..]);
    let request = TextRequest::new("bcd", greedy(12)).stop([held]);
    assert_eq!(llm(None).start(request).unwrap().text().unwrap(), whole);
}

#[test]
fn requests_share_steps_and_keep_their_texts() {
    let prompts = ["b", "cd", "efg"];
    let alone = prompts.map(|prompt| llm(None).generate(prompt, greedy(9)).unwrap().text().unwrap());
    let mut llm = llm(None);
    let first = llm.add(TextRequest::new(prompts[0], greedy(9))).unwrap();
    assert_eq!(llm.generate(prompts[1], greedy(9)).unwrap().text().unwrap(), alone[1]);
    let third = llm.add(TextRequest::new(prompts[2], greedy(9))).unwrap();
    let dropped = llm.generate("bbb", greedy(50)).unwrap().next().unwrap().unwrap();
    assert_eq!(dropped.len(), 1);
    let mut texts = HashMap::<u64, String>::new();
    while llm.has_work() {
        for event in llm.step().unwrap() {
            texts.entry(event.request).or_default().push_str(&event.text);
        }
    }
    assert_eq!(texts.len(), 2);
    assert_eq!((&texts[&first], &texts[&third]), (&alone[0], &alone[2]));
}

#[test]
fn errors_reach_whoever_reads_the_text() {
    let refused = llm(None).generate(vec![99], greedy(1)).map(|_| ()).unwrap_err();
    assert!(matches!(refused, LlmError::Engine(EngineError::UnknownToken { token: 99, .. })));
    assert!(matches!(llm(None).start(TextRequest::new("b", greedy(1)).stop([""])), Err(LlmError::Stop(_))));
    let mut poisoned = llm(None);
    poisoned.engine.model.poison = Some(2);
    let pieces: Vec<_> = poisoned.generate("bc", greedy(5)).unwrap().collect();
    let error = pieces[0].as_ref().unwrap_err().to_string();
    assert_eq!((pieces.len(), error.as_str()), (1, "generation ended: the logit of token 0 is NaN"));
    let mut failing = llm(None);
    failing.engine.model.fails_at = Some(2);
    let pieces: Vec<_> = failing.generate("bc", greedy(5)).unwrap().collect();
    assert!(pieces.len() == 2 && pieces[1].is_err());
    assert_eq!(failing.engine().stats().num_running, 0);
}

#[test]
fn the_tokenizer_is_found_where_the_plan_says_or_the_weights_are() {
    let root = tempfile::tempdir().unwrap();
    let [base, moved] = ["base", "moved"].map(|name| root.path().join(name));
    for dir in [base.join("model"), moved.clone()] {
        std::fs::create_dir_all(&dir).unwrap();
    }
    let assets = TextAssets { tokenizer_dir: Some("model".into()), ..TextAssets::default() };
    let found = || tokenizer_dir(&assets, &base, Some(&moved));
    assert_eq!(found(), Some("model".into()));
    std::fs::write(moved.join("tokenizer.json"), "{}").unwrap();
    assert_eq!(found(), Some(moved.clone()));
    std::fs::write(base.join("model/tokenizer.json"), "{}").unwrap();
    assert_eq!(found(), Some(base.join("model")));
    assert_eq!(tokenizer_dir(&TextAssets::default(), &base, None), None);
}
