use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Map;
use tokenizers::{AddedToken, DecoderWrapper, ModelWrapper};

use crate::cleanup;
use crate::files::{self, FileError};
use crate::special::{self, MAX_CONFIG_BYTES, SpecialTokens};
use crate::stream::{DecodeShape, TextStream};

/// Largest `tokenizer.json`, in bytes.
const MAX_TOKENIZER_BYTES: u64 = 256 << 20;
/// Most tokens of a vocabulary, added ones included.
const MAX_VOCAB: usize = 4_000_000;

/// Turns text into token ids and back, as the tokenizer of a Hugging Face repository.
///
/// `tokenizer.json` decides how text is split and which specials frame it; as in transformers 5,
/// `add_bos_token` and `add_eos_token` of `tokenizer_config.json` have no say beside it. From the config come
/// the names of the special tokens, tokens that the vocabulary lacks, and `clean_up_tokenization_spaces`,
/// which, again as in transformers 5, is ignored for BPE models.
///
/// Cloning is cheap; clones share the vocabulary. It can be used from many threads at once.
///
/// Source: transformers 5.23, `tokenization_utils_tokenizers.py`.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

struct Inner {
    backend: tokenizers::Tokenizer,
    special: SpecialTokens,
    cleans_up: bool,
    shape: DecodeShape,
}

/// Why a tokenizer cannot be loaded or cannot do its work.
///
/// What to do: download tokenizer.json again, or name another directory (`--tokenizer DIR`).
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// One of its files cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The vocabulary is larger than any real one.
    #[error("{}: {count} tokens are more than the limit of {MAX_VOCAB}", file.display())]
    TooManyTokens {
        /// The file.
        file: PathBuf,
        /// The number of tokens.
        count: usize,
    },
    /// The text cannot be encoded with this tokenizer.
    #[error("the tokenizer cannot encode the text: {reason}")]
    Encode {
        /// What the tokenizer says.
        reason: String,
    },
    /// The ids cannot be decoded with this tokenizer.
    #[error("the tokenizer cannot decode the token ids: {reason}")]
    Decode {
        /// What the tokenizer says.
        reason: String,
    },
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("vocab_size", &self.vocab_size()).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Loads the tokenizer of a model directory: `tokenizer.json` and, where they exist,
    /// `tokenizer_config.json` and the older `special_tokens_map.json`.
    ///
    /// # Errors
    /// [`TokenizerError::File`] or [`TokenizerError::TooManyTokens`], naming the file.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, TokenizerError> {
        let file = dir.as_ref().join("tokenizer.json");
        let tokenizer = files::read(&file, MAX_TOKENIZER_BYTES)?;
        let (config_file, config) = special::config_of_dir(dir.as_ref())?;
        Self::build(&file, &tokenizer, &config_file, &config)
    }

    /// Loads a tokenizer from the content of `tokenizer.json` and `tokenizer_config.json`, with the limits of
    /// [`from_dir`](Self::from_dir).
    ///
    /// # Errors
    /// As `from_dir`; errors name the usual file name.
    pub fn from_bytes(
        tokenizer_json: &[u8],
        tokenizer_config: Option<&[u8]>,
    ) -> Result<Self, TokenizerError> {
        let (file, config_file) = (Path::new("tokenizer.json"), Path::new("tokenizer_config.json"));
        for (file, bytes, limit_bytes) in [
            (file, tokenizer_json, MAX_TOKENIZER_BYTES),
            (config_file, tokenizer_config.unwrap_or_default(), MAX_CONFIG_BYTES),
        ] {
            if bytes.len() as u64 > limit_bytes {
                return Err(FileError::TooLarge { file: file.to_path_buf(), limit_bytes }.into());
            }
        }
        let config = match tokenizer_config {
            Some(bytes) => files::json_object(config_file, bytes)?,
            None => Map::new(),
        };
        Self::build(file, tokenizer_json, config_file, &config)
    }

    fn build(
        file: &Path,
        tokenizer_json: &[u8],
        config_file: &Path,
        config: &Map<String, serde_json::Value>,
    ) -> Result<Self, TokenizerError> {
        if files::json::<Outline>(file, tokenizer_json)?.model.is_none() {
            return Err(FileError::invalid(file, NO_MODEL).into());
        }
        let mut backend = guarded(|| tokenizers::Tokenizer::from_bytes(tokenizer_json))
            .map_err(|reason| FileError::invalid(file, files::in_words(&reason.to_string())))?;
        let special = SpecialTokens::from_config(config);
        let declared = special::added_tokens(config_file, config)?;
        guarded(|| {
            // The file may ask for cut or padded encodings; a caller here always wants the text as it is.
            backend.with_truncation(None)?;
            backend.with_padding(None);
            backend.set_encode_special_tokens(flag(config, "split_special_tokens"));
            add_missing(&mut backend, declared, &special)
        })
        .map_err(|reason| FileError::invalid(config_file, reason))?;

        let count = backend.get_vocab_size(true);
        if count > MAX_VOCAB {
            return Err(TokenizerError::TooManyTokens { file: file.to_path_buf(), count });
        }
        let cleans_up = flag(config, "clean_up_tokenization_spaces")
            && (!matches!(backend.get_model(), ModelWrapper::BPE(_))
                || flag(config, "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"));
        let shape = DecodeShape::of(backend.get_decoder());
        Ok(Self { inner: Arc::new(Inner { backend, special, cleans_up, shape }) })
    }

    /// The token ids of `text`. Special tokens written in the text become their ids; `add_special` says whether
    /// those that frame a text (BOS, mostly) are added. A rendered chat already has them.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`], for instance when a word is not in a vocabulary without an unknown token.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TokenizerError> {
        guarded(|| Ok(self.inner.backend.encode_fast(text, add_special)?.get_ids().to_vec()))
            .map_err(|reason| TokenizerError::Encode { reason })
    }

    /// The text of token ids, without special tokens if `skip_special`. Ids outside the vocabulary have no
    /// text; bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`TokenizerError::Decode`] if the tokenizer's decoder refuses them.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        let text = self.decode_raw(ids, skip_special)?;
        Ok(if self.inner.cleans_up { cleanup::clean_up(&text) } else { text })
    }

    /// A stream that decodes ids as they are generated.
    pub fn stream(&self, skip_special: bool) -> TextStream {
        TextStream::new(self.clone(), skip_special)
    }

    /// The number of tokens, added ones included. Ids may have gaps, and the model's own vocabulary is often
    /// larger.
    pub fn vocab_size(&self) -> usize {
        self.inner.backend.get_vocab_size(true)
    }

    /// The id of a token, given as it stands in the vocabulary.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.backend.token_to_id(token)
    }

    /// The token of an id, as it stands in the vocabulary, or `None` outside of it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.backend.id_to_token(id)
    }

    /// The token that starts a text, if the configuration names one.
    pub fn bos_token(&self) -> Option<&str> {
        self.special_token("bos_token")
    }

    /// The token that ends a text, if the configuration names one. A model may stop at others too: its
    /// `generation_config.json` says.
    pub fn eos_token(&self) -> Option<&str> {
        self.special_token("eos_token")
    }

    /// The id of [`bos_token`](Self::bos_token).
    pub fn bos_token_id(&self) -> Option<u32> {
        self.token_to_id(self.bos_token()?)
    }

    /// The id of [`eos_token`](Self::eos_token).
    pub fn eos_token_id(&self) -> Option<u32> {
        self.token_to_id(self.eos_token()?)
    }

    /// A special token by the name it has in `tokenizer_config.json`, such as `pad_token`.
    pub fn special_token(&self, name: &str) -> Option<&str> {
        self.inner.special.get(name)
    }

    /// `decode` before the spaces are cleaned up.
    pub(crate) fn decode_raw(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        guarded(|| self.inner.backend.decode(ids, skip_special))
            .map_err(|reason| TokenizerError::Decode { reason })
    }

    /// The token that `decode` would take for an id, unless it would leave it out.
    pub(crate) fn visible_token(&self, id: u32, skip_special: bool) -> Option<String> {
        let added = self.inner.backend.get_added_vocabulary();
        self.id_to_token(id).filter(|token| !skip_special || !added.is_special_token(token))
    }

    /// How the decoder joins tokens.
    pub(crate) fn shape(&self) -> &DecodeShape {
        &self.inner.shape
    }

    /// Whether decoded text has its spaces cleaned up.
    pub(crate) fn cleans_up(&self) -> bool {
        self.inner.cleans_up
    }
}

/// Adds what the configuration declares and the vocabulary lacks or holds with other properties.
fn add_missing(
    backend: &mut tokenizers::Tokenizer,
    declared: Vec<(u32, AddedToken)>,
    special: &SpecialTokens,
) -> tokenizers::Result<()> {
    let known = backend.get_added_tokens_decoder();
    let mut missing: Vec<AddedToken> = Vec::new();
    for (_, mut token) in declared {
        if known.values().any(|other| same(other, &token)) {
            continue;
        }
        token.special |= special.named.values().any(|text| text.as_str() == Some(&token.content));
        missing.push(token);
    }
    for text in special.texts() {
        let found = |token: &AddedToken| token.content == text;
        if !text.is_empty() && !known.values().any(found) && !missing.iter().any(found) {
            missing.push(AddedToken::from(text, true));
        }
    }
    if !missing.is_empty() {
        backend.add_tokens(missing)?;
    }
    Ok(())
}

/// Equality of all properties; the type's own compares contents only.
fn same(a: &AddedToken, b: &AddedToken) -> bool {
    a.content == b.content
        && (a.single_word, a.lstrip, a.rstrip, a.normalized, a.special)
            == (b.single_word, b.lstrip, b.rstrip, b.normalized, b.special)
}

fn flag(config: &Map<String, serde_json::Value>, key: &str) -> bool {
    config.get(key).and_then(serde_json::Value::as_bool).unwrap_or(false)
}

/// What every tokenizer.json has, looked at before its parts are, whose complaints do not say where they are.
#[derive(Deserialize)]
#[serde(expecting = "an object with a `model`")]
struct Outline {
    model: Option<IgnoredAny>,
}

const NO_MODEL: &str =
    "it has no `model`: this is not the tokenizer.json that a fast tokenizer of transformers writes";

/// Runs code of the tokenizers crate, which panics on some files that it should refuse (a template with a token that
/// it does not define, for one). Such a panic is an error like any other, and nothing is printed.
pub(crate) fn guarded<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                others(panic);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    GUARDED.set(outer);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
            Err(format!("tokenizer.json makes the tokenizers library fail: {text}"))
        }
    }
}

thread_local! {
    /// Whether this thread runs code whose panics are taken.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs decoder stages over a list of tokens.
pub(crate) fn decode_chain(
    stages: &[DecoderWrapper],
    tokens: Vec<String>,
) -> Result<Vec<String>, TokenizerError> {
    use tokenizers::Decoder;
    guarded(|| stages.iter().try_fold(tokens, |tokens, stage| stage.decode_chain(tokens)))
        .map_err(|reason| TokenizerError::Decode { reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = r#"{"version": "1.0", "added_tokens": [], "model":
        {"type": "WordLevel", "vocab": {"<unk>": 0, "it": 1, ".": 2}, "unk_token": "<unk>"},
        "pre_tokenizer": {"type": "Whitespace"}}"#;

    #[test]
    fn broken_files_are_named() {
        let error = Tokenizer::from_bytes(b"{", None).unwrap_err().to_string();
        assert!(error.starts_with("tokenizer.json: "), "{error}");
        let error = Tokenizer::from_bytes(WORDS.as_bytes(), Some(b"[]")).unwrap_err().to_string();
        assert!(error.starts_with("tokenizer_config.json: "), "{error}");
        let error = Tokenizer::from_dir("/nowhere").unwrap_err().to_string();
        assert!(error.contains("/nowhere/tokenizer.json"), "{error}");
    }

    #[test]
    fn the_configuration_adds_tokens_and_cleans_up() {
        let config = br#"{"eos_token": "<end>", "clean_up_tokenization_spaces": true}"#;
        let tokenizer = Tokenizer::from_bytes(WORDS.as_bytes(), Some(config)).unwrap();
        assert_eq!(tokenizer.eos_token_id(), Some(3));
        assert_eq!(tokenizer.encode("it.<end>", true).unwrap(), [1, 2, 3]);
        assert_eq!(tokenizer.decode(&[1, 2, 3], false).unwrap(), "it. <end>");
        assert_eq!(tokenizer.decode(&[1, 2, 3, 99], true).unwrap(), "it.");
        assert_eq!((tokenizer.bos_token(), tokenizer.vocab_size()), (None, 4));
    }

    #[test]
    fn a_panic_of_the_library_is_an_error() {
        let json = WORDS.replace(
            "\"pre_tokenizer\"",
            r#""post_processor": {"type": "TemplateProcessing", "pair": [], "special_tokens": {},
                "single": [{"SpecialToken": {"id": "<undefined>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]}, "pre_tokenizer""#,
        );
        let tokenizer = Tokenizer::from_bytes(json.as_bytes(), None).unwrap();
        // The library itself panics, or this tests nothing.
        let panicked =
            panic::catch_unwind(AssertUnwindSafe(|| tokenizer.inner.backend.encode_fast("it", true)));
        assert!(panicked.is_err());
        let error = tokenizer.encode("it", true).unwrap_err();
        assert!(matches!(error, TokenizerError::Encode { .. }), "{error}");
        assert!(error.to_string().contains("no entry found"), "{error}");
        assert_eq!(tokenizer.encode("it", false).unwrap(), [1]);
    }
}
