//! What stands in a Hugging Face model directory: config, generation config, tokenizer files, weights.
//!
//! Configs are read strictly and brought to one spelling, whichever version of `transformers` wrote
//! them; what the keys mean is the families' business. Nothing is executed and nothing is downloaded.

mod config;
mod dtype;
mod features;
mod fields;
mod generation;
mod irrelevant;
mod json;
mod model_dir;
mod nearest;

pub use config::HfConfig;
pub use dtype::{UnknownTorchDType, dtype_from_checkpoint, dtype_from_name};
pub use features::{Feature, feature};
pub(crate) use features::{feature_keys, is_off};
pub use fields::{ConfigError, Fields, LAYERS, SIZES, TOKEN_IDS, Visit};
pub use generation::GenerationConfig;
pub(crate) use irrelevant::irrelevant_keys;
pub use irrelevant::why_irrelevant;
pub use json::{MAX_CONFIG_BYTES, MAX_CONFIG_DEPTH};
pub use model_dir::{ModelDir, ModelDirError, hub_name};
pub use nearest::nearest;
