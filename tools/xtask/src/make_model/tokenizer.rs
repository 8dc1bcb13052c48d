use std::collections::BTreeMap;

use anyhow::bail;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// A byte-level BPE tokenizer without training: any text goes in and comes back.
///
/// The vocabulary is the special tokens at their ids and, in the ids between, the 256 bytes and then
/// sequences of letters, the shortest first. Serialises as `tokenizer.json`.
pub struct TokenizerFile {
    /// By id.
    tokens: Vec<Token>,
    bos: Option<u32>,
    eos: Option<u32>,
}

struct Token {
    text: String,
    kind: Kind,
}

enum Kind {
    Special,
    Byte,
    /// Merged from the tokens of the text's first `left` bytes and of the rest.
    Merged {
        left: usize,
    },
}

impl Token {
    /// What it is merged from, if it is.
    fn parts(&self) -> Option<(&str, &str)> {
        match self.kind {
            Kind::Merged { left } => Some(self.text.split_at(left)),
            Kind::Special | Kind::Byte => None,
        }
    }
}

const END_OF_TEXT: &str = "<|endoftext|>";
const TURN_START: &str = "<|im_start|>";
const TURN_END: &str = "<|im_end|>";

/// Most tokens; the tokenizer is made in memory.
const MAX_SIZE: u64 = 4_000_000;

/// The turns of a chat as Qwen models have them, without a system turn of its own.
const CHAT_TEMPLATE: &str = "{% for message in messages %}\
    {{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}\
    {% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

impl TokenizerFile {
    /// A tokenizer of `size` tokens. `bos` and `eos` are the model's; ids beyond the size are ignored, and
    /// special tokens that no id asks for come last.
    ///
    /// Errors: a size without room for all bytes and special tokens, or more than [`MAX_SIZE`].
    pub fn new(size: u64, bos: Option<u32>, eos: &[u32]) -> anyhow::Result<TokenizerFile> {
        if size > MAX_SIZE {
            bail!("a tokenizer of {size} tokens is larger than any real one: give --tokenizer-size");
        }
        let inside = |id: &u32| u64::from(*id) < size;
        let bos = bos.filter(inside);
        let eos: Vec<u32> = eos.iter().copied().filter(inside).collect();
        let mut special = special_tokens(bos, &eos);
        let mut free = (0..size).rev().filter_map(|id| u32::try_from(id).ok());
        for name in [TURN_END, TURN_START, END_OF_TEXT] {
            if special.values().any(|text| text == name) {
                continue;
            }
            if let Some(id) = free.find(|id| !special.contains_key(id)) {
                special.insert(id, name.to_owned());
            }
        }
        let needed = BYTES as u64 + special.len().max(3) as u64;
        if size < needed {
            bail!(
                "a byte-level tokenizer of this model has at least {needed} tokens, and {size} are asked for"
            );
        }
        let mut others = byte_tokens().chain(letter_sequences());
        let tokens = (0..size).map(|id| {
            let special = u32::try_from(id).ok().and_then(|id| special.remove(&id));
            let special = special.map(|text| Token { text, kind: Kind::Special });
            special.or_else(|| others.next()).expect("there is no end of sequences")
        });
        Ok(TokenizerFile { tokens: tokens.collect(), bos, eos: eos.first().copied() })
    }

    /// The content of `tokenizer_config.json`. `max_len` is the longest text, in tokens.
    pub fn config(&self, max_len: Option<&Value>) -> Value {
        let text = |id: Option<u32>| Some(self.tokens.get(id? as usize)?.text.as_str());
        json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": text(self.bos),
            "eos_token": text(self.eos).unwrap_or(TURN_END),
            "pad_token": END_OF_TEXT,
            "add_bos_token": false,
            "clean_up_tokenization_spaces": false,
            "model_max_length": max_len,
            "chat_template": CHAT_TEMPLATE,
        })
    }

    fn added_tokens(&self) -> Vec<Value> {
        let special = self.tokens.iter().enumerate().filter(|(_, token)| matches!(token.kind, Kind::Special));
        let entry = special.map(|(id, token)| {
            json!({
                "id": id,
                "content": token.text,
                "single_word": false,
                "lstrip": false,
                "rstrip": false,
                "normalized": false,
                "special": true,
            })
        });
        entry.collect()
    }
}

impl Serialize for TokenizerFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
        });
        let mut file = serializer.serialize_struct("Tokenizer", 9)?;
        file.serialize_field("version", "1.0")?;
        file.serialize_field("truncation", &None::<()>)?;
        file.serialize_field("padding", &None::<()>)?;
        file.serialize_field("added_tokens", &self.added_tokens())?;
        file.serialize_field("normalizer", &None::<()>)?;
        file.serialize_field("pre_tokenizer", &bytes)?;
        file.serialize_field("post_processor", &None::<()>)?;
        file.serialize_field("decoder", &bytes)?;
        file.serialize_field(
            "model",
            &Model {
                r#type: "BPE",
                byte_fallback: false,
                ignore_merges: false,
                vocab: Vocab(&self.tokens),
                merges: Merges(&self.tokens),
            },
        )?;
        file.end()
    }
}

#[derive(Serialize)]
struct Model<'a> {
    r#type: &'static str,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: Vocab<'a>,
    merges: Merges<'a>,
}

/// Text to id.
struct Vocab<'a>(&'a [Token]);

impl Serialize for Vocab<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().enumerate().map(|(id, token)| (&token.text, id)))
    }
}

/// The two parts of each merged token, those to be merged first in front.
struct Merges<'a>(&'a [Token]);

impl Serialize for Merges<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().filter_map(Token::parts))
    }
}

/// The special tokens that have an id in the model.
fn special_tokens(bos: Option<u32>, eos: &[u32]) -> BTreeMap<u32, String> {
    let mut special = BTreeMap::new();
    // As with Qwen: the end of a text also begins one, the end of a turn is what ends generation.
    if let Some(id) = bos.or(eos.first().copied()) {
        special.insert(id, END_OF_TEXT.to_owned());
    }
    let mut turn_end = Some(TURN_END.to_owned());
    for &id in eos {
        special.entry(id).or_insert_with(|| turn_end.take().unwrap_or_else(|| format!("<|stop_{id}|>")));
    }
    special
}

/// How many bytes there are.
const BYTES: usize = 256;

/// One token for each byte, written as GPT-2 writes it: printable bytes as the character of that number,
/// the others as characters from U+0100 on.
fn byte_tokens() -> impl Iterator<Item = Token> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut others = '\u{100}'..;
    (0..=u8::MAX).map(move |byte| {
        let character = if printable(byte) {
            char::from(byte)
        } else {
            others.next().expect("there are more characters")
        };
        Token { text: character.to_string(), kind: Kind::Byte }
    })
}

/// All sequences of two and more letters, of which the first may be a space instead, the shortest first.
///
/// A sequence is merged from as many letters as a power of two says, and the rest: shorter sequences are
/// merged first, and so only doubling makes long ones.
fn letter_sequences() -> impl Iterator<Item = Token> {
    /// Frequent ones first.
    const LETTERS: &[u8; 26] = b"etaoinshrdlucmfwypvbgkjqxz";
    const SPACE: char = '\u{120}';
    let letter = |at: usize| char::from(LETTERS[at]);
    (1..).flat_map(move |others: u32| {
        let count = LETTERS.len().pow(others);
        (0..(1 + LETTERS.len()) * count).map(move |number| {
            let first = match number / count {
                0 => SPACE,
                at => letter(at - 1),
            };
            let place = |place: u32| letter(number / LETTERS.len().pow(place) % LETTERS.len());
            let text: String = std::iter::once(first).chain((0..others).rev().map(place)).collect();
            // All letters but the first are one byte.
            let left = first.len_utf8() + (1 << others.ilog2()) - 1;
            Token { text, kind: Kind::Merged { left } }
        })
    })
}

#[cfg(test)]
mod tests {
    use mscc_text::Tokenizer;

    use super::*;

    fn load(file: &TokenizerFile) -> Tokenizer {
        let (tokenizer, config) = (serde_json::to_vec(file).unwrap(), file.config(None).to_string());
        Tokenizer::from_bytes(&tokenizer, Some(config.as_bytes())).unwrap()
    }

    #[test]
    fn any_text_comes_back() {
        let tokenizer = load(&TokenizerFile::new(5000, Some(0), &[1]).unwrap());
        assert_eq!(tokenizer.vocab_size(), 5000);
        let every_character: String = (0..0x3000).filter_map(char::from_u32).collect();
        for text in
            ["the other side of it", " \n\t  don't 123 ", "Ünïcödé 漢字 🦀 <|im_start|>", &every_character]
        {
            let ids = tokenizer.encode(text, true).unwrap();
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
        }
        assert!(tokenizer.encode("the other side of it", true).unwrap().len() <= 12);
    }

    #[test]
    fn special_tokens_have_the_ids_of_the_model() {
        let ids = |size: u64, bos: Option<u32>, eos: &[u32]| {
            let tokenizer = load(&TokenizerFile::new(size, bos, eos).unwrap());
            assert_eq!(tokenizer.vocab_size() as u64, size);
            let names = [END_OF_TEXT, TURN_START, TURN_END];
            (
                names.map(|name| tokenizer.token_to_id(name).unwrap()),
                tokenizer.bos_token_id(),
                tokenizer.eos_token_id(),
            )
        };
        // As qwen3, deepseek_v3, qwen2 and llama have them.
        assert_eq!(ids(400, Some(300), &[302]), ([300, 399, 302], Some(300), Some(302)));
        assert_eq!(ids(400, Some(0), &[1]), ([0, 399, 1], Some(0), Some(1)));
        assert_eq!(ids(400, Some(300), &[300]), ([300, 398, 399], Some(300), Some(300)));
        assert_eq!(ids(400, Some(128_000), &[128_001]), ([397, 398, 399], None, Some(399)));
        assert_eq!(ids(400, None, &[399]), ([399, 397, 398], None, Some(399)));
        assert_eq!(ids(400, None, &[]), ([397, 398, 399], None, Some(399)));

        let several = load(&TokenizerFile::new(400, Some(2), &[4, 2, 9, 5]).unwrap());
        assert_eq!(
            (several.id_to_token(4).unwrap(), several.id_to_token(9).unwrap()),
            (TURN_END.to_owned(), "<|stop_9|>".to_owned())
        );
        assert_eq!(several.decode(&[4, 9, 5, 2], true).unwrap(), "");
    }

    #[test]
    fn small_vocabularies_hold_all_bytes_or_are_refused() {
        let tokenizer = load(&TokenizerFile::new(259, Some(3), &[3]).unwrap());
        let text = "ß\0 and all";
        assert_eq!(tokenizer.decode(&tokenizer.encode(text, true).unwrap(), false).unwrap(), text);
        for (size, eos) in [(258, &[][..]), (259, &[1, 2, 3, 4]), (0, &[]), (MAX_SIZE + 1, &[])] {
            assert!(TokenizerFile::new(size, None, eos).is_err(), "{size}");
        }
    }

    #[test]
    fn chats_are_rendered() {
        let file = TokenizerFile::new(400, None, &[]).unwrap();
        let config = file.config(None);
        let template = mscc_text::ChatTemplate::from_text(config["chat_template"].as_str().unwrap()).unwrap();
        let input = mscc_text::ChatInput::new(json!([{"role": "user", "content": "Hello"}]));
        let text = template.render(&input).unwrap();
        assert!(text.starts_with("<|im_start|>user\nHello<|im_end|>\n"), "{text}");
    }
}
