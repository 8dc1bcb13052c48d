//! What a user should know of a model that can be traced all the same.

use std::path::PathBuf;

/// Something that may be a mistake, or that is done differently elsewhere.
///
/// What to do: nothing, if it is meant so; with `--strict` it is an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// A config key that nobody knows.
    #[error("{}: `{key}` is not known and not read{}", config.display(), similar(nearest))]
    UnknownKey {
        /// The config.
        config: PathBuf,
        /// The key.
        key: String,
        /// The known key that was probably meant.
        nearest: Option<String>,
    },
    /// Stored tensors that the model does not use.
    #[error("{} not read: {pattern}{}", counted(*count), similar(nearest))]
    UnreadTensors {
        /// Their names, `*` for numbers.
        pattern: String,
        /// How many they are.
        count: usize,
        /// A tensor of the model with almost this name.
        nearest: Option<String>,
    },
    /// Stored tensors of layers that the config does not count: prediction layers, or a config with too few.
    #[error(
        "tensors of layers from {num_layers} on are not read, {count} in all: the config has {num_layers} layers"
    )]
    LayersPastLast {
        /// How many tensors.
        count: usize,
        /// Layers of the model.
        num_layers: u32,
    },
    /// A tensor that the config says is shared is stored on its own, and its stored value is used, as
    /// `transformers` 5 does (4 used the shared one).
    #[error("`{tensor}` is tied to `{shared}` by the config, but stored on its own: the stored one is used")]
    StoredThoughTied {
        /// The tensor.
        tensor: String,
        /// The tensor it would share.
        shared: String,
    },
    /// Sequences may grow longer than those trained on.
    #[error("max_model_len is {max_model_len}, but the model was trained for {trained} tokens")]
    BeyondTrained {
        /// Longest sequence, in tokens.
        max_model_len: u32,
        /// What the config says.
        trained: u32,
    },
    /// One of two sets of factors is chosen for all sequences, which the reference chooses by the length of each.
    #[error(
        "rope type `longrope`: since max_model_len, {max_model_len}, is more than original_max_position_embeddings, \
         `long_factor` rotates all sequences; `transformers` takes `short_factor` up to {original} tokens, and so does a \
         plan with --max-model-len {original}"
    )]
    LongFactor {
        /// Longest sequence, in tokens.
        max_model_len: u32,
        /// Up to which length the reference takes the short ones.
        original: u32,
    },
    /// The config's `model_type` is another than that of the family, which its classes or the user name.
    #[error("{}: `model_type` = {found:?} is read as {family:?}", config.display())]
    OtherModelType {
        /// The config.
        config: PathBuf,
        /// The type it names.
        found: String,
        /// The family it is read as.
        family: String,
    },
    /// The config names other classes than the family's.
    #[error("{}: `architectures` = {found} is none of {expected}: it is read as one", config.display())]
    OtherArchitecture {
        /// The config.
        config: PathBuf,
        /// The classes it names.
        found: String,
        /// The classes of the family.
        expected: String,
    },
}

/// So many tensors as the subject of a sentence.
fn counted(count: usize) -> String {
    match count {
        1 => "1 tensor of the checkpoint is".to_owned(),
        _ => format!("{count} tensors of the checkpoint are"),
    }
}

fn similar(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or(String::new(), |name| format!(", did you mean `{name}`?"))
}
