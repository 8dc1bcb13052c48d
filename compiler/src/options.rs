//! What a user can say about a compilation: the keys of model.yaml, which are the flags of `mscc compile` too.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use mscc_ir::DType;
use mscc_models::families;

use crate::forms::LatentForm;
use crate::target::{Device, Target};

/// Options of a compilation; all but the model have defaults.
///
/// | key                      | default                               |
/// |--------------------------|---------------------------------------|
/// | `model`                  | required; also `pretrained_model_dir` |
/// | `target`                 | `cpu`                                 |
/// | `dtype`                  | `auto`: weights as they are stored    |
/// | `compute_dtype`          | `bfloat16`                            |
/// | `max_model_len`          | the model's own limit                 |
/// | `max_num_seqs`           | 64                                    |
/// | `max_num_batched_tokens` | 2048                                  |
/// | `block_size`             | 16                                    |
/// | `latent_attention`       | `auto`: as costs least for the step   |
/// | `tokenizer`              | the model's directory                 |
/// | `chat_template`          | the model's own                       |
/// | `family`                 | the built-in one for the model        |
/// | `rules`                  | none beside the built-in ones         |
/// | `without_rule`           | none: all rules are applied           |
/// | `stop_after_rewrite`     | none: rules are applied wherever they hold |
/// | `strict`                 | `false`: warnings are no errors       |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Directory in Hugging Face's layout, or a lone config.json.
    pub model: Option<PathBuf>,
    /// Device the plan is for.
    pub target: Option<String>,
    /// Element type of weights on the device.
    pub dtype: Option<String>,
    /// Element type of activations: `float32` or `bfloat16`.
    pub compute_dtype: Option<String>,
    /// Longest sequence, in tokens.
    pub max_model_len: Option<u32>,
    /// Most sequences in a step.
    pub max_num_seqs: Option<u32>,
    /// Most new tokens in a step.
    pub max_num_batched_tokens: Option<u32>,
    /// Tokens of a cache page.
    pub block_size: Option<u32>,
    /// Form of attention over cached latents: `auto`, `absorbed` or `expanded`.
    pub latent_attention: Option<String>,
    /// Directory with tokenizer files.
    pub tokenizer: Option<PathBuf>,
    /// File with a chat template.
    pub chat_template: Option<PathBuf>,
    /// File that describes the model's family, in place of a built-in one.
    pub family: Option<PathBuf>,
    /// Files with rewrite rules beside the built-in ones.
    pub rules: Option<Vec<PathBuf>>,
    /// Rewrite rules that are left out, by name.
    pub without_rule: Option<Vec<String>>,
    /// How many rewrites are made, none after them: to find the one that is at fault.
    pub stop_after_rewrite: Option<u32>,
    /// Whether what a model's files say and nobody reads is an error.
    pub strict: Option<bool>,
    /// Where the options stand that a file gives, by their names.
    pub places: BTreeMap<&'static str, OptionPlace>,
}

/// Where in a model.yaml an option stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionPlace {
    /// The file.
    pub file: PathBuf,
    /// Line of the value, from 1.
    pub line: u32,
    /// Column of the value in characters, from 1.
    pub column: u32,
    /// The key, which may be another dialect's.
    pub key: String,
}

/// An option that cannot be what it is.
///
/// What to do: give one of the values named, or leave the option out; README.md has a table of all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: expected {expected}, found `{found}`", Named(key, place.as_deref()))]
pub struct OptionError {
    /// Its name.
    pub key: &'static str,
    /// Where it stands, if a file gives it.
    pub place: Option<Box<OptionPlace>>,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

/// An option in the words of its file, or ours.
pub(crate) struct Named<'a>(pub &'a str, pub Option<&'a OptionPlace>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(OptionPlace { file, line, column, key }) => {
                write!(f, "{}:{line}:{column}: `{key}`", file.display())
            }
            None => write!(f, "option `{}` (--{})", self.0, self.0.replace('_', "-")),
        }
    }
}

/// Options with defaults filled in and values checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Device the plan is for.
    pub target: &'static str,
    /// Element type of weights on the device; `None` keeps what is stored.
    pub dtype: Option<DType>,
    /// Element type of activations.
    pub compute_dtype: DType,
    /// Longest sequence; `None` for the model's own limit.
    pub max_model_len: Option<u32>,
    /// Most sequences in a step.
    pub max_num_seqs: u32,
    /// Most new tokens in a step.
    pub max_num_batched_tokens: u32,
    /// Tokens of a cache page.
    pub block_size: u32,
    /// Form of attention over cached latents.
    pub latent_attention: LatentForm,
    /// Whether warnings about the model's files are errors.
    pub strict: bool,
}

/// The largest that numbers of options may be.
pub const MAX_MODEL_LEN: u32 = 1 << 26;
/// As [`MAX_MODEL_LEN`]; sequences of a step are no more than its tokens.
pub const MAX_NUM_BATCHED_TOKENS: u32 = 1 << 22;
/// As [`MAX_MODEL_LEN`].
pub const MAX_BLOCK_SIZE: u32 = 1 << 16;

/// The largest that an option may be.
pub(crate) fn largest(option: &str) -> u32 {
    match option {
        "max_model_len" => MAX_MODEL_LEN,
        "block_size" => MAX_BLOCK_SIZE,
        _ => MAX_NUM_BATCHED_TOKENS,
    }
}

impl Options {
    /// These options, with those of `over` in place of what it gives.
    pub fn overridden_by(self, over: Options) -> Options {
        let mut places = self.places;
        places.retain(|name, _| !over.gives(name));
        places.extend(over.places);
        Options {
            model: over.model.or(self.model),
            target: over.target.or(self.target),
            dtype: over.dtype.or(self.dtype),
            compute_dtype: over.compute_dtype.or(self.compute_dtype),
            max_model_len: over.max_model_len.or(self.max_model_len),
            max_num_seqs: over.max_num_seqs.or(self.max_num_seqs),
            max_num_batched_tokens: over.max_num_batched_tokens.or(self.max_num_batched_tokens),
            block_size: over.block_size.or(self.block_size),
            latent_attention: over.latent_attention.or(self.latent_attention),
            tokenizer: over.tokenizer.or(self.tokenizer),
            chat_template: over.chat_template.or(self.chat_template),
            family: over.family.or(self.family),
            rules: over.rules.or(self.rules),
            without_rule: over.without_rule.or(self.without_rule),
            stop_after_rewrite: over.stop_after_rewrite.or(self.stop_after_rewrite),
            strict: over.strict.or(self.strict),
            places,
        }
    }

    /// Whether the option of this name has a value.
    fn gives(&self, name: &str) -> bool {
        match name {
            "model" => self.model.is_some(),
            "target" => self.target.is_some(),
            "dtype" => self.dtype.is_some(),
            "compute_dtype" => self.compute_dtype.is_some(),
            "max_model_len" => self.max_model_len.is_some(),
            "max_num_seqs" => self.max_num_seqs.is_some(),
            "max_num_batched_tokens" => self.max_num_batched_tokens.is_some(),
            "block_size" => self.block_size.is_some(),
            "latent_attention" => self.latent_attention.is_some(),
            "tokenizer" => self.tokenizer.is_some(),
            "chat_template" => self.chat_template.is_some(),
            "family" => self.family.is_some(),
            "rules" => self.rules.is_some(),
            "without_rule" => self.without_rule.is_some(),
            "stop_after_rewrite" => self.stop_after_rewrite.is_some(),
            "strict" => self.strict.is_some(),
            _ => false,
        }
    }

    /// The same options, wherever they stand.
    pub(crate) fn without_places(self) -> Options {
        Options { places: BTreeMap::new(), ..self }
    }

    /// Where an option stands, if a file gives it.
    pub(crate) fn place(&self, name: &str) -> Option<Box<OptionPlace>> {
        self.places.get(name).cloned().map(Box::new)
    }

    /// Checks values and fills in defaults.
    ///
    /// Errors: a value that is unknown or out of range; files of rules that are not there; a built-in family in place of
    /// a file.
    pub fn resolve(&self) -> Result<Resolved, OptionError> {
        self.check().map_err(|error| OptionError { place: self.place(error.key), ..error })
    }

    fn check(&self) -> Result<Resolved, OptionError> {
        let target = self.target.as_deref().unwrap_or("cpu");
        let target = Target::by_name(target).ok_or_else(|| {
            bad("target", "cpu, ascend910b1 to ascend910b4, ascend910_93 or ascend310p", target)
        })?;
        let dtype = float_type("dtype", self.dtype.as_deref(), "auto, float32, float16 or bfloat16")?;
        let compute = self.compute_dtype.as_deref().filter(|name| *name != "auto");
        let expected = match target.device {
            Device::Cpu => "float32 or bfloat16",
            Device::Ascend(_) if !target.knows_bf16() => {
                "float32 or float16, since the target knows no bfloat16"
            }
            Device::Ascend(_) => "float32, float16 or bfloat16",
        };
        let compute_dtype = match float_type("compute_dtype", compute, expected)? {
            None => target.compute_dtype(),
            Some(DType::F16) if target.device == Device::Cpu => {
                return Err(bad("compute_dtype", expected, compute.unwrap_or("float16")));
            }
            Some(DType::BF16) if !target.knows_bf16() => {
                return Err(bad("compute_dtype", expected, compute.unwrap_or("bfloat16")));
            }
            Some(dtype) => dtype,
        };
        if dtype == Some(DType::BF16) && !target.knows_bf16() {
            let expected = "float32 or float16, since the target knows no bfloat16";
            return Err(bad("dtype", expected, self.dtype.as_deref().unwrap_or("bfloat16")));
        }
        let latent_attention = match self.latent_attention.as_deref() {
            None => LatentForm::Auto,
            Some(name) => LatentForm::ALL
                .into_iter()
                .find(|form| form.name() == name)
                .ok_or_else(|| bad("latent_attention", "auto, absorbed or expanded", name))?,
        };
        let max_num_batched_tokens =
            self.max_num_batched_tokens.unwrap_or_else(|| target.max_num_batched_tokens());
        let resolved = Resolved {
            target: target.name,
            dtype: dtype.or(target.weight_dtype()),
            compute_dtype,
            max_model_len: self.max_model_len,
            max_num_seqs: self.max_num_seqs.unwrap_or(64.min(max_num_batched_tokens.max(1))),
            max_num_batched_tokens,
            block_size: self.block_size.unwrap_or_else(|| target.block_size()),
            latent_attention,
            strict: self.strict.unwrap_or(false),
        };
        in_range("max_model_len", resolved.max_model_len.unwrap_or(1), MAX_MODEL_LEN)?;
        in_range("max_num_batched_tokens", max_num_batched_tokens, MAX_NUM_BATCHED_TOKENS)?;
        in_range("max_num_seqs", resolved.max_num_seqs, max_num_batched_tokens)?;
        in_range("block_size", resolved.block_size, MAX_BLOCK_SIZE)?;
        self.check_files()?;
        Ok(resolved)
    }

    fn check_files(&self) -> Result<(), OptionError> {
        if let Some(path) = self.rules.iter().flatten().find(|path| is_absent(path)) {
            return Err(bad("rules", "a file that is there", &path.to_string_lossy()));
        }
        let name = self.family.as_deref().filter(|path| is_absent(path)).and_then(Path::file_name);
        match name.and_then(|name| name.to_str()) {
            Some(name) if families::builtin().iter().any(|family| family.model_type == name) => {
                let expected = format!(
                    "a file (family {name} is built in and found by a config's `model_type`; `mscc models {name} > \
                     {name}.yaml` makes a file of it)"
                );
                Err(bad("family", &expected, name))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether there is nothing at all.
fn is_absent(path: &Path) -> bool {
    path.try_exists().is_ok_and(|exists| !exists)
}

fn bad(key: &'static str, expected: &str, found: &str) -> OptionError {
    OptionError { key, place: None, expected: expected.to_owned(), found: found.to_owned() }
}

fn in_range(key: &'static str, value: u32, max: u32) -> Result<(), OptionError> {
    if (1..=max).contains(&value) {
        return Ok(());
    }
    let expected = match key {
        "max_num_seqs" => format!("1 to max_num_batched_tokens ({max})"),
        _ => format!("1 to {max}"),
    };
    Err(OptionError { key, place: None, expected, found: value.to_string() })
}

fn float_type(key: &'static str, name: Option<&str>, expected: &str) -> Result<Option<DType>, OptionError> {
    match name {
        None | Some("auto") => Ok(None),
        Some("float32" | "fp32" | "f32") => Ok(Some(DType::F32)),
        Some("float16" | "half" | "fp16" | "f16") => Ok(Some(DType::F16)),
        Some("bfloat16" | "bf16") => Ok(Some(DType::BF16)),
        Some(other) => Err(bad(key, expected, other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file() {
        let file = Options { block_size: Some(8), dtype: Some("bf16".into()), ..Options::default() };
        let flags = Options { block_size: Some(32), ..Options::default() };
        let both = file.overridden_by(flags).resolve().unwrap();
        assert_eq!((both.block_size, both.dtype), (32, Some(DType::BF16)));
    }

    #[test]
    fn bad_values_name_the_key() {
        let error = |options: Options| options.resolve().unwrap_err().to_string();
        let text = error(Options { target: Some("tpu".into()), ..Options::default() });
        assert_eq!(
            text,
            "option `target` (--target): expected cpu, ascend910b1 to ascend910b4, ascend910_93 or ascend310p, found `tpu`"
        );
        let text = error(Options { compute_dtype: Some("float16".into()), ..Options::default() });
        assert_eq!(
            text,
            "option `compute_dtype` (--compute-dtype): expected float32 or bfloat16, found `float16`"
        );
        let text =
            error(Options { max_num_seqs: Some(9), max_num_batched_tokens: Some(8), ..Options::default() });
        assert!(text.contains("1 to max_num_batched_tokens (8)"), "{text}");
        assert!(error(Options { block_size: Some(0), ..Options::default() }).contains("block_size"));
    }
}
