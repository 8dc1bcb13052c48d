//! The files of a model directory.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use mscc_checkpoint::{Checkpoint, CheckpointError};

use super::config::HfConfig;
use super::fields::{ConfigError, Fields};
use super::generation::GenerationConfig;
use super::json;

/// Where the files of a model are. Opening looks which are there and reads none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelDir {
    dir: Option<PathBuf>,
    config: PathBuf,
    generation_config: Option<PathBuf>,
    tokenizer: Option<PathBuf>,
    tokenizer_config: Option<PathBuf>,
    special_tokens_map: Option<PathBuf>,
    chat_template: Option<PathBuf>,
}

/// Why a model directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelDirError {
    /// The operating system refused.
    #[error("{}: {reason}", path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What it says.
        reason: io::Error,
    },
    /// There is nothing.
    #[error(
        "{}: there is no such {}; {}", path.display(),
        if is_file_name(path) { "file" } else { "model directory" }, Instead(path)
    )]
    Absent {
        /// What was named.
        path: PathBuf,
    },
    /// There is no config.json.
    #[error("{} has no config.json: {hint}", dir.display())]
    NoConfig {
        /// The directory.
        dir: PathBuf,
        /// What it seems to hold instead, and what to do.
        hint: &'static str,
    },
}

/// Whether a path was meant as a config.
fn is_file_name(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "json")
}

/// What may be the name of a model on the hub: the last two parts of a path of which not even the first is there.
pub fn hub_name(path: &Path) -> Option<PathBuf> {
    let owner = path.parent()?;
    let before = owner.parent()?;
    let is_known = before.as_os_str().is_empty() || before.is_dir();
    if path.is_absolute() || is_file_name(path) || owner.exists() || !is_known {
        return None;
    }
    Some(Path::new(owner.file_name()?).join(path.file_name()?))
}

/// What to do about a path with nothing there.
struct Instead<'a>(&'a Path);

impl fmt::Display for Instead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.components().any(|part| part.as_os_str() == "~") {
            return f.write_str("`~` is not read as your home directory here: write the whole path");
        }
        if is_file_name(self.0) {
            return f.write_str("name a config.json, or a model directory");
        }
        f.write_str("mscc takes models that are on this machine")?;
        match hub_name(self.0).as_deref().and_then(|name| Some((name, name.file_name()?))) {
            Some((whole, name)) => {
                let (whole, name) = (whole.display(), Path::new(name).display());
                write!(f, ": `hf download {whole} --local-dir {name}` brings one from the hub")
            }
            None => Ok(()),
        }
    }
}

impl ModelDir {
    /// Looks into a directory with a config.json, or takes a lone config file, which has neither
    /// weights nor tokenizer.
    ///
    /// Errors: nothing there; a directory without config.json.
    pub fn open(path: &Path) -> Result<ModelDir, ModelDirError> {
        let kind = path.metadata().map_err(|reason| match reason.kind() {
            io::ErrorKind::NotFound => ModelDirError::Absent { path: path.to_owned() },
            _ => ModelDirError::Io { path: path.to_owned(), reason },
        })?;
        if !kind.is_dir() {
            return Ok(ModelDir {
                dir: None,
                config: path.to_owned(),
                generation_config: None,
                tokenizer: None,
                tokenizer_config: None,
                special_tokens_map: None,
                chat_template: None,
            });
        }
        let find = |name: &str| -> Result<Option<PathBuf>, ModelDirError> {
            let file = path.join(name);
            match file.try_exists() {
                Ok(exists) => Ok(exists.then_some(file)),
                Err(reason) => Err(ModelDirError::Io { path: file, reason }),
            }
        };
        let Some(config) = find("config.json")? else {
            for (name, hint) in INSTEAD {
                if find(name)?.is_some() {
                    return Err(ModelDirError::NoConfig { dir: path.to_owned(), hint });
                }
            }
            let hint = "name the directory with the model's config.json and *.safetensors";
            return Err(ModelDirError::NoConfig { dir: path.to_owned(), hint });
        };
        Ok(ModelDir {
            dir: Some(path.to_owned()),
            config,
            generation_config: find("generation_config.json")?,
            tokenizer: find("tokenizer.json")?,
            tokenizer_config: find("tokenizer_config.json")?,
            special_tokens_map: find("special_tokens_map.json")?,
            chat_template: find("chat_template.jinja")?,
        })
    }

    /// The directory; `None` for a lone config file.
    pub fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// Path of config.json.
    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// Path of generation_config.json.
    pub fn generation_config_path(&self) -> Option<&Path> {
        self.generation_config.as_deref()
    }

    /// Path of tokenizer.json.
    pub fn tokenizer_path(&self) -> Option<&Path> {
        self.tokenizer.as_deref()
    }

    /// Path of tokenizer_config.json, which may hold a chat template.
    pub fn tokenizer_config_path(&self) -> Option<&Path> {
        self.tokenizer_config.as_deref()
    }

    /// Path of special_tokens_map.json.
    pub fn special_tokens_map_path(&self) -> Option<&Path> {
        self.special_tokens_map.as_deref()
    }

    /// Path of chat_template.jinja, which wins over a template in tokenizer_config.json.
    pub fn chat_template_path(&self) -> Option<&Path> {
        self.chat_template.as_deref()
    }

    /// Reads config.json.
    pub fn config(&self) -> Result<HfConfig, ConfigError> {
        HfConfig::read(&self.config)
    }

    /// Reads generation_config.json, if there is one, beside the config.
    pub fn generation_config(&self, config: &HfConfig) -> Result<GenerationConfig, ConfigError> {
        let generation = match &self.generation_config {
            Some(path) => Some(Fields::new(path, json::read_object(path)?, Default::default())),
            None => None,
        };
        GenerationConfig::new(config, generation.as_ref())
    }

    /// Opens the weights, reading headers only; `None` for a lone config file.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        self.dir.as_deref().map(Checkpoint::open).transpose()
    }
}

/// Files that tell what a directory without config.json is.
const INSTEAD: [(&str, &str); 4] = [
    ("adapter_config.json", "it holds an adapter, merge it into its model first"),
    ("params.json", "it holds the release of the authors, take the one converted for transformers"),
    ("model_index.json", "it holds a pipeline of several models, give the folder of one"),
    ("snapshots", "it is a folder of the hub's cache, give one of its `snapshots`"),
];

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn data() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data")
    }

    #[test]
    fn opens_all_fixtures() {
        for entry in fs::read_dir(data().join("fixtures")).unwrap() {
            let model = ModelDir::open(&entry.unwrap().path()).unwrap();
            let config = model.config().unwrap();
            let generation = model.generation_config(&config).unwrap();
            let checkpoint = model.checkpoint().unwrap().unwrap();
            let stops: &[u32] = match model.dir().unwrap().file_name().unwrap().to_str().unwrap() {
                "llama" => &[511, 329],
                "llama_f16" => &[2],
                "qwen3" => &[511],
                _ => &generation.eos_token_ids,
            };
            assert_eq!(generation.eos_token_ids, stops);
            assert!(!stops.is_empty());
            assert!(model.tokenizer_path().is_some() && model.tokenizer_config_path().is_some());
            let tied = config.bool("tie_word_embeddings").unwrap();
            assert!(tied || checkpoint.tensor("lm_head.weight").is_some());
        }
        let sharded = ModelDir::open(&data().join("fixtures/qwen2_sharded")).unwrap();
        assert!(sharded.chat_template_path().is_some());
    }

    #[test]
    fn a_lone_config_has_no_weights() {
        let model = ModelDir::open(&data().join("configs/qwen3-0.6b.json")).unwrap();
        assert_eq!(model.checkpoint().unwrap(), None);
        let config = model.config().unwrap();
        assert_eq!(model.generation_config(&config).unwrap().eos_token_ids, [151_645]);
    }

    #[test]
    fn says_what_is_there_instead() {
        let dir = tempfile::tempdir().unwrap();
        let refusal = || ModelDir::open(dir.path()).unwrap_err().to_string();
        assert!(refusal().ends_with(
            "has no config.json: name the directory with the model's config.json and *.safetensors"
        ));
        fs::write(dir.path().join("adapter_config.json"), "{}").unwrap();
        assert!(refusal().contains("merge it into its model first"));
        fs::create_dir(dir.path().join("config.json")).unwrap();
        let model = ModelDir::open(dir.path()).unwrap();
        assert!(model.config().unwrap_err().to_string().contains("not a regular file"));
        let nowhere = |path: &Path| ModelDir::open(path).unwrap_err().to_string();
        assert!(nowhere(&dir.path().join("nowhere")).ends_with("takes models that are on this machine"));
        assert!(
            nowhere(Path::new("Org/Name"))
                .ends_with(": `hf download Org/Name --local-dir Name` brings one from the hub")
        );
    }
}
