//! A small model that works, in a directory of its own, and ways to break it.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// Longer than any call may take, whatever else the machine does: what is not done by then hangs.
const HANGS: Duration = Duration::from_secs(20);

/// In place of an exit code after a panic, or a signal such as that which ends what hangs.
const CRASHED: i32 = -1;

/// User and group `nobody`.
const NOBODY: u32 = 65534;

/// `model/`, a directory with all that a small Llama needs, in which a case changes something.
pub struct Model {
    root: TempDir,
    /// Where the output of calls goes, since what they leave behind is looked for in `root`.
    output: TempDir,
}

/// How a call ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    /// Without figures that differ from call to call.
    pub stderr: String,
}

impl Model {
    pub fn new() -> Model {
        let model = Model { root: tempfile::tempdir().unwrap(), output: tempfile::tempdir().unwrap() };
        fs::create_dir(model.path("model")).unwrap();
        model.write("config.json", config().to_string());
        model.write("model.safetensors", safetensors(&tensors()));
        model.write("tokenizer.json", tokenizer().to_string());
        model.write("tokenizer_config.json", json!({ "bos_token": "<s>", "eos_token": "</s>" }).to_string());
        model.write("generation_config.json", json!({ "eos_token_id": 2 }).to_string());
        model
    }

    /// A path beside `model/`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A path in `model/`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path("model").join(name)
    }

    /// Replaces a file of the model.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.file(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap()
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.file(name)).unwrap();
    }

    /// Puts a directory in place of a file.
    pub fn dir(&self, name: &str) {
        let _ = fs::remove_file(self.file(name));
        fs::create_dir(self.file(name)).unwrap();
    }

    /// Puts a link in place of a file.
    pub fn link(&self, target: &str, name: &str) {
        let _ = fs::remove_file(self.file(name));
        symlink(target, self.file(name)).unwrap();
    }

    /// Puts a pipe that nobody writes to in place of a file.
    pub fn pipe(&self, name: &str) {
        let _ = fs::remove_file(self.file(name));
        assert!(Command::new("mkfifo").arg(self.file(name)).status().unwrap().success());
    }

    /// Takes the right to read a file.
    pub fn lock(&self, name: &str) {
        fs::set_permissions(self.file(name), Permissions::from_mode(0o000)).unwrap();
    }

    /// Replaces text in a file of the model.
    pub fn replace(&self, name: &str, from: &str, to: &str) {
        let text = String::from_utf8(self.read(name)).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        self.write(name, text.replacen(from, to, 1));
    }

    /// Changes a key of a JSON file; a path with points leads into objects.
    pub fn set(&self, name: &str, key: &str, value: Value) {
        let mut root: Value = serde_json::from_slice(&self.read(name)).unwrap();
        let pointer = format!("/{}", key.replace('.', "/"));
        match root.pointer_mut(&pointer) {
            Some(place) => *place = value,
            None => {
                let (parent, key) = pointer.rsplit_once('/').unwrap();
                let parent = root.pointer_mut(parent).unwrap().as_object_mut().unwrap();
                parent.insert(key.to_owned(), value);
            }
        }
        self.write(name, root.to_string());
    }

    /// Sets a key of config.json.
    pub fn config(&self, key: &str, value: Value) {
        self.set("config.json", key, value);
    }

    /// Removes a key of a JSON file.
    pub fn unset(&self, name: &str, key: &str) {
        let mut root: Map<String, Value> = serde_json::from_slice(&self.read(name)).unwrap();
        root.remove(key).unwrap();
        self.write(name, json!(root).to_string());
    }

    /// Replaces the weights by a file with this header and so many bytes of data.
    pub fn header(&self, json: impl AsRef<[u8]>, data_bytes: usize) {
        self.write("model.safetensors", with_header(json.as_ref(), &vec![0; data_bytes]));
    }

    /// Changes the header of the weights and leaves their data.
    pub fn edit_header(&self, edit: impl FnOnce(&mut Map<String, Value>)) {
        let (mut header, data) = split(&self.read("model.safetensors"));
        edit(&mut header);
        self.write("model.safetensors", with_header(json!(header).to_string().as_bytes(), &data));
    }

    /// Changes the tensors of the weights.
    pub fn edit_tensors(&self, edit: impl FnOnce(&mut Vec<Tensor>)) {
        let mut tensors = tensors();
        edit(&mut tensors);
        self.write("model.safetensors", safetensors(&tensors));
    }

    /// Splits the weights in two shards with an index, and gives the index.
    pub fn shard(&self) -> Value {
        self.remove("model.safetensors");
        let tensors = tensors();
        let (one, two) = tensors.split_at(tensors.len() / 2);
        let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        let mut map = Map::new();
        for (name, tensors) in names.into_iter().zip([one, two]) {
            self.write(name, safetensors(tensors));
            map.extend(tensors.iter().map(|tensor| (tensor.name.clone(), json!(name))));
        }
        let index = json!({ "metadata": { "total_size": 1 }, "weight_map": map });
        self.write("model.safetensors.index.json", index.to_string());
        index
    }

    /// Everything beside and in the model: kind, content or target of every entry.
    pub fn tree(&self) -> BTreeMap<PathBuf, String> {
        let mut tree = BTreeMap::new();
        collect(self.root.path(), &mut tree);
        tree
    }

    /// Calls the command beside the model.
    pub fn mscc(&self, args: &[&str]) -> Outcome {
        self.call(Command::new(env!("CARGO_BIN_EXE_mscc")).args(args))
    }

    /// As [`Model::mscc`], as a user whom permissions bind. Root is not, and becomes nobody.
    pub fn mscc_as_user(&self, args: &[&str]) -> Outcome {
        let is_root = fs::metadata(self.root.path()).unwrap().uid() == 0;
        if !is_root {
            return self.mscc(args);
        }
        // The build may lie where only root can look.
        let binary = self.output.path().join("mscc");
        fs::copy(env!("CARGO_BIN_EXE_mscc"), &binary).unwrap();
        for dir in [self.root.path(), self.output.path()] {
            fs::set_permissions(dir, Permissions::from_mode(0o777)).unwrap();
        }
        self.call(Command::new(binary).args(args).uid(NOBODY).gid(NOBODY))
    }

    fn call(&self, command: &mut Command) -> Outcome {
        let output = |name: &str| File::create(self.output.path().join(name)).unwrap();
        // A backtrace, if there is one, shall show.
        command.current_dir(self.root.path()).env("RUST_BACKTRACE", "1").env_remove("COLUMNS");
        command.stdin(Stdio::null()).stdout(output("stdout")).stderr(output("stderr"));
        let mut child = loop {
            match command.spawn() {
                // Another thread has just forked and still holds the copy of the binary open for writing.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => continue,
                child => break child.unwrap(),
            }
        };
        let started = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if started.elapsed() > HANGS => child.kill().unwrap(),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        let text = |name: &str| String::from_utf8(fs::read(self.output.path().join(name)).unwrap()).unwrap();
        let (stdout, stderr) = (text("stdout"), text("stderr"));
        let crashed = stderr.contains("panicked") || stderr.contains("stack backtrace");
        let code = status.code().filter(|_| !crashed).unwrap_or(CRASHED);
        let stderr = stderr.replace(self.root.path().to_str().unwrap(), "DIR");
        Outcome { code, stdout, stderr: without_figures(&stderr) }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // So that its files can be removed.
        for dir in [self.path("model"), self.path("out")] {
            let _ = fs::set_permissions(dir, Permissions::from_mode(0o755));
        }
    }
}

/// Leaves out lines with times and sizes.
fn without_figures(stderr: &str) -> String {
    let is_figure = |line: &&str| line.starts_with("wrote plan.bin, ") || line.contains(" tokens/s");
    stderr.lines().filter(|line| !is_figure(line)).map(|line| format!("{line}\n")).collect()
}

fn collect(dir: &Path, tree: &mut BTreeMap<PathBuf, String>) {
    // One without the right to read it has not changed.
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap();
        let content = if kind.is_symlink() {
            format!("link to {}", fs::read_link(&path).unwrap().display())
        } else if kind.is_dir() {
            "directory".to_owned()
        } else {
            format!("{} bytes, changed {} {}", kind.len(), kind.mtime(), kind.mtime_nsec())
        };
        tree.insert(path.clone(), content);
        if kind.is_dir() {
            collect(&path, tree);
        }
    }
}

/// A tensor with its data.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<u64>,
    pub data: Vec<u8>,
}

impl Tensor {
    /// With data that is a function of the name alone.
    pub fn new(name: &str, shape: &[u64]) -> Tensor {
        let values = values(name, shape.iter().product::<u64>() as usize);
        // The upper half of an f32, which is exact for these values.
        let data = values.iter().flat_map(|value| [value.to_le_bytes()[2], value.to_le_bytes()[3]]);
        Tensor { name: name.to_owned(), dtype: "BF16", shape: shape.to_vec(), data: data.collect() }
    }

    /// The same values in another type.
    pub fn stored_as(&mut self, dtype: &'static str, bytes: impl Fn(f32) -> Vec<u8>) {
        let values = values(&self.name, self.shape.iter().product::<u64>() as usize);
        self.data = values.into_iter().flat_map(bytes).collect();
        self.dtype = dtype;
    }
}

/// Multiples of 1/64 from -1 to 1, which all float types hold exactly.
fn values(name: &str, count: usize) -> Vec<f32> {
    let seed = name.bytes().fold(7u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let next = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((*state >> 25) as f32 / 64.0 - 1.0)
    };
    let mut state = seed;
    std::iter::from_fn(|| next(&mut state)).take(count).collect()
}

/// config.json of the model.
fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32, "hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 8, "hidden_act": "silu", "max_position_embeddings": 64, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "bos_token_id": 1,
        "eos_token_id": 2
    })
}

/// The tensors of the model, in the order of their data.
pub fn tensors() -> Vec<Tensor> {
    let mut tensors = vec![Tensor::new("model.embed_tokens.weight", &[32, 16])];
    for layer in 0..2 {
        let shapes: [(&str, &[u64]); 9] = [
            ("input_layernorm", &[16]),
            ("self_attn.q_proj", &[16, 16]),
            ("self_attn.k_proj", &[8, 16]),
            ("self_attn.v_proj", &[8, 16]),
            ("self_attn.o_proj", &[16, 16]),
            ("post_attention_layernorm", &[16]),
            ("mlp.gate_proj", &[24, 16]),
            ("mlp.up_proj", &[24, 16]),
            ("mlp.down_proj", &[16, 24]),
        ];
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        tensors.extend(shapes.into_iter().map(|(part, shape)| Tensor::new(&name(part), shape)));
    }
    tensors.push(Tensor::new("model.norm.weight", &[16]));
    tensors.push(Tensor::new("lm_head.weight", &[32, 16]));
    tensors
}

/// A vocabulary of 32 words.
fn tokenizer() -> Value {
    let specials = ["<unk>", "<s>", "</s>"].into_iter().map(str::to_owned);
    let words = specials.chain(('a'..='z').map(String::from)).chain((0..3).map(|n| format!("w{n}")));
    let vocab: Map<String, Value> = words.enumerate().map(|(id, word)| (word, json!(id))).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "<unk>" }
    })
}

/// A file of these tensors, one behind the other.
pub fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for tensor in tensors {
        let start = data.len();
        data.extend_from_slice(&tensor.data);
        let offsets = [start, data.len()];
        let entry = json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": offsets });
        header.insert(tensor.name.clone(), entry);
    }
    with_header(json!(header).to_string().as_bytes(), &data)
}

/// A file with this header, its length in front.
pub fn with_header(json: &[u8], data: &[u8]) -> Vec<u8> {
    [&(json.len() as u64).to_le_bytes(), json, data].concat()
}

/// Header and data of a file.
pub fn split(file: &[u8]) -> (Map<String, Value>, Vec<u8>) {
    let (length, rest) = file.split_at(8);
    let (json, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    (serde_json::from_slice(json).unwrap(), data.to_vec())
}
