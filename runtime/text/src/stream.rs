use tokenizers::DecoderWrapper;

use crate::cleanup::CleanUpStream;
use crate::tokenizer::{Tokenizer, TokenizerError, decode_chain};

/// Turns generated token ids into text, piece by piece.
///
/// The pieces and the flushed end, concatenated, are what [`Tokenizer::decode`] gives for all the ids at once.
/// A piece never ends inside a character: bytes wait for the rest of it. U+FFFD comes out where it is certain
/// that the bytes are no UTF-8, so for a character that is cut off only from [`flush`](Self::flush).
///
/// How much is held back depends on the tokenizer's decoder:
///
/// | decoder                                | held back                                                      |
/// |----------------------------------------|----------------------------------------------------------------|
/// | byte-level                             | an incomplete character, at most 3 bytes                       |
/// | SentencePiece-like, with byte fallback | a run of byte tokens, until the next other token: one byte that fits nowhere makes the whole run U+FFFD |
/// | per token, or none                     | nothing                                                        |
/// | any other (CTC, for one)               | the last token while it ends in U+FFFD; see below              |
///
/// With a decoder of the last kind, text already given may depend on tokens still to come. Such a stream
/// decodes a window of recent tokens, as `DecodeStream` of the tokenizers crate does, and the equality above is
/// not promised.
///
/// Work per token does not grow with the number of tokens before it.
#[derive(Clone, Debug)]
pub struct TextStream {
    tokenizer: Tokenizer,
    skip_special: bool,
    state: State,
    clean_up: Option<CleanUpStream>,
}

impl TextStream {
    /// A stream at the beginning of a text. With `skip_special` special tokens have no text.
    pub fn new(tokenizer: Tokenizer, skip_special: bool) -> Self {
        let state = match tokenizer.shape() {
            DecodeShape::ByteLevel => State::ByteLevel { pending: Vec::new() },
            DecodeShape::Pieces { strip, .. } => State::Pieces {
                first: true,
                run: Vec::new(),
                strip_left: strip.map_or(0, |(_, count)| count),
            },
            DecodeShape::Whole => State::Window { ids: Vec::new(), given: String::new() },
        };
        let clean_up = tokenizer.cleans_up().then(CleanUpStream::default);
        Self { tokenizer, skip_special, state, clean_up }
    }

    /// Takes the next id and returns the text that has become final, often nothing.
    ///
    /// # Errors
    /// [`TokenizerError::Decode`] if the tokenizer's decoder refuses the token.
    pub fn push(&mut self, id: u32) -> Result<String, TokenizerError> {
        let Some(token) = self.tokenizer.visible_token(id, self.skip_special) else {
            return Ok(String::new());
        };
        let piece = match (&mut self.state, self.tokenizer.shape()) {
            (State::ByteLevel { pending }, _) => {
                push_bytes(&token, pending);
                take_complete(pending)
            }
            (
                State::Pieces { first, run, strip_left },
                DecodeShape::Pieces { stages, byte_fallback, strip },
            ) => {
                let token = decode_one(stages.as_deref(), token, std::mem::take(first))?;
                let mut piece = String::new();
                match byte_of(&token).filter(|_| *byte_fallback) {
                    Some(byte) => run.push(byte),
                    None => {
                        piece = end_run(run);
                        piece.push_str(&token);
                    }
                }
                strip_start(piece, *strip, strip_left)
            }
            (State::Pieces { .. }, DecodeShape::ByteLevel | DecodeShape::Whole) => {
                unreachable!("the state is made from the shape")
            }
            (State::Window { ids, given }, _) => {
                ids.push(id);
                advance_window(&self.tokenizer, self.skip_special, ids, given)?
            }
        };
        Ok(match &mut self.clean_up {
            Some(clean_up) => clean_up.push(piece),
            None => piece,
        })
    }

    /// Returns what was held back. The stream is then at the beginning of a new text.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn flush(&mut self) -> Result<String, TokenizerError> {
        let mut rest = match &mut self.state {
            State::ByteLevel { pending } => String::from_utf8_lossy(pending).into_owned(),
            State::Pieces { run, strip_left, .. } => {
                strip_start(end_run(run), self.tokenizer.shape().strip(), strip_left)
            }
            State::Window { ids, given } => {
                let text = self.tokenizer.decode_raw(ids, self.skip_special)?;
                text[common_prefix(&text, given)..].to_owned()
            }
        };
        if let Some(clean_up) = &mut self.clean_up {
            rest = clean_up.push(rest);
            rest.push_str(&clean_up.flush());
        }
        *self = Self::new(self.tokenizer.clone(), self.skip_special);
        Ok(rest)
    }
}

/// How a decoder makes a text of tokens, as far as it matters for doing it piece by piece.
#[derive(Debug)]
pub(crate) enum DecodeShape {
    /// Tokens spell bytes, which together are UTF-8.
    ByteLevel,
    /// Each token gives a piece of text, perhaps another one at the start; byte tokens are joined where
    /// `byte_fallback`; `strip` takes up to so many of a character off the start of the whole.
    Pieces {
        /// What is done to each token; without any, tokens are joined by spaces.
        stages: Option<Vec<DecoderWrapper>>,
        /// Whether runs of tokens such as `<0xE4>` are bytes.
        byte_fallback: bool,
        /// The character and the greatest number of it taken off the start.
        strip: Option<(char, usize)>,
    },
    /// Anything else.
    Whole,
}

impl DecodeShape {
    /// Finds the shape of a tokenizer's decoder.
    pub(crate) fn of(decoder: Option<&DecoderWrapper>) -> Self {
        let Some(decoder) = decoder else {
            return Self::Pieces { stages: None, byte_fallback: false, strip: None };
        };
        let mut flat = Vec::new();
        flatten(decoder, &mut flat);
        let mut rest = flat.as_slice();
        if let [DecoderWrapper::ByteLevel(_), end @ ..] = rest
            && matches!(end, [] | [DecoderWrapper::Fuse(_)])
        {
            return Self::ByteLevel;
        }
        let mut stages = Vec::new();
        while let [
            stage
            @ (DecoderWrapper::Replace(_) | DecoderWrapper::Metaspace(_) | DecoderWrapper::WordPiece(_)),
            end @ ..,
        ] = rest
        {
            stages.push((*stage).clone());
            rest = end;
        }
        let byte_fallback = matches!(rest, [DecoderWrapper::ByteFallback(_), ..]);
        rest = &rest[usize::from(byte_fallback)..];
        let strip = match rest {
            [] | [DecoderWrapper::Fuse(_)] => None,
            [DecoderWrapper::Fuse(_), DecoderWrapper::Strip(strip)] if strip.stop == 0 => {
                Some((strip.content, strip.start))
            }
            _ => return Self::Whole,
        };
        Self::Pieces { stages: Some(stages), byte_fallback, strip }
    }

    fn strip(&self) -> Option<(char, usize)> {
        match self {
            Self::Pieces { strip, .. } => *strip,
            Self::ByteLevel | Self::Whole => None,
        }
    }
}

#[derive(Clone, Debug)]
enum State {
    /// Bytes of a character that is not complete.
    ByteLevel { pending: Vec<u8> },
    /// Whether no token came yet, the bytes of the current run, and how many characters may still be stripped.
    Pieces { first: bool, run: Vec<u8>, strip_left: usize },
    /// The recent tokens, and what of their text was given out.
    Window { ids: Vec<u32>, given: String },
}

/// Most tokens of a window; then it is cut to `KEPT`, which is context enough for how tokens are joined.
const MAX_WINDOW: usize = 32;
const KEPT: usize = 4;

fn flatten<'a>(decoder: &'a DecoderWrapper, flat: &mut Vec<&'a DecoderWrapper>) {
    match decoder {
        DecoderWrapper::Sequence(sequence) => sequence.get_decoders().iter().for_each(|d| flatten(d, flat)),
        other => flat.push(other),
    }
}

/// The bytes that a token of a byte-level vocabulary spells; one that does not spell bytes stands for itself.
fn push_bytes(token: &str, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    for c in token.chars() {
        match spelled_byte(c) {
            Some(byte) => bytes.push(byte),
            None => {
                bytes.truncate(start);
                bytes.extend_from_slice(token.as_bytes());
                return;
            }
        }
    }
}

/// The byte that a character spells in a byte-level vocabulary: printable Latin-1 is itself, the other 68 bytes
/// are in order the characters from U+0100.
///
/// Source: GPT-2, `bytes_to_unicode`.
fn spelled_byte(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ (0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) => u8::try_from(code).ok(),
        code @ 0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        code @ 0x121..=0x142 => u8::try_from(code - 0x121 + 0x7F).ok(),
        0x143 => Some(0xAD),
        _ => None,
    }
}

/// Takes the text out of `pending` and leaves a character that is not complete.
fn take_complete(pending: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut used = 0;
    for chunk in pending.utf8_chunks() {
        text.push_str(chunk.valid());
        used += chunk.valid().len();
        let invalid = chunk.invalid();
        let may_continue = used + invalid.len() == pending.len()
            && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
        if !invalid.is_empty() && !may_continue {
            text.push(char::REPLACEMENT_CHARACTER);
            used += invalid.len();
        }
    }
    pending.drain(..used);
    text
}

/// The piece of one token. Stages may treat the first token apart, so a later one gets an empty one before it.
fn decode_one(
    stages: Option<&[DecoderWrapper]>,
    token: String,
    is_first: bool,
) -> Result<String, TokenizerError> {
    match stages {
        None if is_first => Ok(token),
        None => Ok(format!(" {token}")),
        Some(stages) => {
            let tokens = if is_first { vec![token] } else { vec![String::new(), token] };
            Ok(decode_chain(stages, tokens)?.pop().unwrap_or_default())
        }
    }
}

/// The byte of a token such as `<0xE4>`.
fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// The text of a run of byte tokens: one that is not UTF-8 as a whole becomes one U+FFFD per byte.
fn end_run(run: &mut Vec<u8>) -> String {
    String::from_utf8(std::mem::take(run)).unwrap_or_else(|error| "\u{FFFD}".repeat(error.as_bytes().len()))
}

/// Takes what may still be stripped off the start of the text.
fn strip_start(mut piece: String, strip: Option<(char, usize)>, left: &mut usize) -> String {
    let Some((content, _)) = strip else { return piece };
    let mut cut = 0;
    for c in piece.chars() {
        if *left == 0 {
            break;
        }
        if c == content {
            cut += c.len_utf8();
            *left -= 1;
        } else {
            *left = 0;
        }
    }
    piece.drain(..cut);
    piece
}

/// Decodes the window with its newest token and returns what is new.
fn advance_window(
    tokenizer: &Tokenizer,
    skip_special: bool,
    ids: &mut Vec<u32>,
    given: &mut String,
) -> Result<String, TokenizerError> {
    let text = tokenizer.decode_raw(ids, skip_special)?;
    if text.ends_with(char::REPLACEMENT_CHARACTER) && ids.len() < MAX_WINDOW {
        return Ok(String::new());
    }
    let piece = text[common_prefix(&text, given)..].to_owned();
    *given = text;
    if ids.len() >= MAX_WINDOW {
        ids.drain(..ids.len() - KEPT);
        *given = tokenizer.decode_raw(ids, skip_special)?;
    }
    Ok(piece)
}

/// The length of the longest common prefix, in bytes, on a character's border.
fn common_prefix(a: &str, b: &str) -> usize {
    a.char_indices().zip(b.chars()).find(|((_, x), y)| x != y).map_or(a.len().min(b.len()), |((at, _), _)| at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A tokenizer of eight words with this decoder.
    fn tokenizer(decoder: &str, cleans_up: bool) -> Tokenizer {
        let json = format!(
            r####"{{"added_tokens": [{{"id": 7, "content": "<e>", "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true}}], "decoder": {decoder},
                "model": {{"type": "WordLevel", "unk_token": "a", "vocab": {{"a": 0, "▁b": 1, "##c": 2, ".": 3,
                "<0xE4>": 4, "<0xBD>": 5, " ": 6}}}}}}"####
        );
        let config = format!(r#"{{"clean_up_tokenization_spaces": {cleans_up}}}"#);
        Tokenizer::from_bytes(json.as_bytes(), Some(config.as_bytes())).unwrap()
    }

    const METASPACE: &str =
        r#"{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}"#;
    const REPLACE: &str = r#"{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}"#;

    proptest! {
        #[test]
        fn pieces_are_the_whole_for_other_decoders(
            ids in prop::collection::vec(0..9_u32, 0..12),
            cleans_up: bool,
            skip_special: bool,
        ) {
            let word_piece = r###"{"type": "WordPiece", "prefix": "##", "cleanup": true}"###;
            let fallback = format!(
                r#"{{"type": "Sequence", "decoders": [{REPLACE}, {{"type": "ByteFallback"}}, {{"type": "Fuse"}},
                    {{"type": "Strip", "content": " ", "start": 2, "stop": 0}}]}}"#
            );
            for decoder in ["null", METASPACE, word_piece, &fallback] {
                let tokenizer = tokenizer(decoder, cleans_up);
                prop_assert!(!matches!(tokenizer.shape(), DecodeShape::Whole));
                let mut stream = tokenizer.stream(skip_special);
                let mut text: String = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
                text.push_str(&stream.flush().unwrap());
                prop_assert_eq!(text, tokenizer.decode(&ids, skip_special).unwrap(), "{}", decoder);
            }
        }
    }

    #[test]
    fn other_decoders_go_by_a_window() {
        let ctc = r#"{"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": false}"#;
        let tokenizer = tokenizer(ctc, false);
        assert!(matches!(tokenizer.shape(), DecodeShape::Whole));
        let mut stream = tokenizer.stream(false);
        let pieces: Vec<_> = [0, 3, 0, 99, 6].iter().map(|id| stream.push(*id).unwrap()).collect();
        assert_eq!(pieces, ["a", ".", "a", "", " "]);
        let many: String = (0..200).map(|at| stream.push([0, 3][at % 2]).unwrap()).collect();
        assert_eq!(many, "a.".repeat(100));
        assert_eq!(stream.flush().unwrap(), "");
    }

    #[test]
    fn bytes_are_spelled_as_in_gpt2() {
        let mut seen = [false; 256];
        for c in (0..0x200).filter_map(char::from_u32) {
            if let Some(byte) = spelled_byte(c) {
                assert!(!std::mem::replace(&mut seen[usize::from(byte)], true), "{c} spells {byte} again");
            }
        }
        assert_eq!(seen, [true; 256]);
        assert_eq!(
            (spelled_byte('Ġ'), spelled_byte('Ċ'), spelled_byte('ł'), spelled_byte('Ń')),
            (Some(b' '), Some(b'\n'), Some(0xA0), Some(0xAD))
        );
    }

    #[test]
    fn incomplete_characters_wait_and_broken_ones_do_not() {
        let mut pending = vec![b'a', 0xE4, 0xBD];
        assert_eq!(take_complete(&mut pending), "a");
        pending.push(0xA0);
        assert_eq!(take_complete(&mut pending), "你");
        pending.extend([0xE4, b'b', 0xFF, 0xF0, 0x9F]);
        assert_eq!(take_complete(&mut pending), "\u{FFFD}b\u{FFFD}");
        assert_eq!(pending, [0xF0, 0x9F]);
    }

    #[test]
    fn only_the_start_of_the_text_is_stripped() {
        let mut left = 2;
        let strip = Some((' ', 2));
        assert_eq!(strip_start(String::new(), strip, &mut left), "");
        assert_eq!(strip_start(" ".into(), strip, &mut left), "");
        assert_eq!(strip_start("  a ".into(), strip, &mut left), " a ");
        assert_eq!(strip_start(" b".into(), strip, &mut left), " b");
    }
}
