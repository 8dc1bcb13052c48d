use std::path::Path;

use super::*;
use crate::{HeaderBuilder, MappedCheckpoint};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/fixtures")
}

/// Writes a file of U8 tensors, each holding its number in the list.
fn write(dir: &Path, name: &str, tensors: &[(&str, u64)]) {
    let mut builder = HeaderBuilder::new();
    for (tensor, len) in tensors {
        builder.tensor(tensor, DType::U8, &[*len]).unwrap();
    }
    let mut bytes = builder.finish().unwrap().bytes;
    for (i, (_, len)) in tensors.iter().enumerate() {
        bytes.resize(bytes.len() + *len as usize, i as u8);
    }
    fs::write(dir.join(name), bytes).unwrap();
}

fn write_index(dir: &Path, map: &[(&str, &str)]) {
    let map: BTreeMap<_, _> = map.iter().copied().collect();
    let json = serde_json::json!({ "metadata": {}, "weight_map": map });
    fs::write(dir.join(INDEX_FILE), json.to_string()).unwrap();
}

fn refusal(dir: &Path) -> String {
    Checkpoint::open(dir).unwrap_err().to_string()
}

#[test]
fn opens_all_fixtures() {
    let mut opened = 0;
    for entry in fs::read_dir(fixtures()).unwrap() {
        let dir = entry.unwrap().path();
        let checkpoint = Checkpoint::open(&dir).unwrap();
        assert!(checkpoint.tensor("model.embed_tokens.weight").is_some(), "{}", dir.display());
        opened += 1;
        let names: Vec<_> = checkpoint.files().iter().map(|file| file.name.clone()).collect();
        assert_eq!(Checkpoint::open_files(&dir, &names).unwrap(), checkpoint);
    }
    assert!(opened >= 6);
    let sharded = Checkpoint::open(&fixtures().join("qwen2_sharded")).unwrap();
    assert_eq!(sharded.files().len(), 3);
    assert_eq!(sharded.tensors().values().map(|info| info.bytes).sum::<u64>(), 285_824);
    let embedding = sharded.tensor("model.embed_tokens.weight").unwrap();
    assert_eq!((embedding.dtype.clone(), embedding.shape.as_slice()), (DType::BF16, &[512, 64][..]));
    assert_eq!(sharded.files()[embedding.file.0 as usize].name, "model-00002-of-00003.safetensors");
}

#[test]
fn maps_the_bytes_of_each_tensor() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "1.safetensors", &[("a", 3), ("b", 0), ("c", 5)]);
    write(dir.path(), "2.safetensors", &[("d", 1)]);
    let checkpoint = Checkpoint::open_files(dir.path(), &["2.safetensors", "1.safetensors"]).unwrap();
    let mapped = std::sync::Arc::new(MappedCheckpoint::new(checkpoint.clone()).unwrap());
    assert_eq!(mapped.tensor("a").unwrap(), [0, 0, 0]);
    assert!(mapped.tensor("b").unwrap().is_empty());
    assert_eq!(mapped.tensor("c").unwrap(), [2; 5]);
    assert_eq!(mapped.tensor("d").unwrap(), [0]);
    assert_eq!(mapped.tensor("e"), None);
    // What was released is read again, and neighbours stay.
    ["c", "b", "e"].iter().for_each(|name| mapped.release(name));
    assert_eq!((mapped.tensor("c").unwrap(), mapped.tensor("a").unwrap()), (&[2; 5][..], &[0; 3][..]));
    // The order of the files does not change what the checkpoint is, their content does.
    let other = Checkpoint::open_files(dir.path(), &["1.safetensors", "2.safetensors"]).unwrap();
    assert_eq!(other.identity(), checkpoint.identity());
    write(dir.path(), "2.safetensors", &[("f", 1)]);
    assert!(matches!(MappedCheckpoint::new(checkpoint), Err(CheckpointError::Changed { .. })));
    let changed = Checkpoint::open_files(dir.path(), &["1.safetensors", "2.safetensors"]).unwrap();
    assert_ne!(changed.identity(), other.identity());
}

#[test]
fn chooses_between_index_and_single_file() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_index(dir, &[("a", "1.safetensors"), ("b", "2.safetensors"), ("c", "3.safetensors")]);
    write(dir, "2.safetensors", &[("b", 1)]);
    let message = refusal(dir);
    assert!(message.contains("not there: 1.safetensors, 3.safetensors; download"), "{message}");
    write(dir, "1.safetensors", &[("a", 1), ("not_in_the_index", 1)]);
    write(dir, "3.safetensors", &[("c", 1)]);
    write(dir, SINGLE_FILE, &[("z", 1)]);
    assert_eq!(Vec::from_iter(Checkpoint::open(dir).unwrap().tensors().keys()), ["z"]);
    fs::remove_file(dir.join(SINGLE_FILE)).unwrap();
    let checkpoint = Checkpoint::open(dir).unwrap();
    assert_eq!(Vec::from_iter(checkpoint.tensors().keys()), ["a", "b", "c", "not_in_the_index"]);
}

#[test]
fn says_which_tensors_the_shards_lack_or_share() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "1.safetensors", &[("a", 1)]);
    write(dir, "2.safetensors", &[("b", 1)]);
    write_index(dir, &[("a", "1.safetensors"), ("b", "1.safetensors"), ("c", "2.safetensors")]);
    let message = refusal(dir);
    assert!(message.contains("b (1.safetensors), c (2.safetensors)"), "{message}");
    write(dir, "2.safetensors", &[("a", 1)]);
    assert!(refusal(dir).contains("`a` is in both 1.safetensors and 2.safetensors"));
    let many: Vec<(String, &str)> = (0..20).map(|i| (format!("t{i:02}"), "1.safetensors")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, shard)| (name.as_str(), *shard)).collect();
    write_index(dir, &many);
    assert!(refusal(dir).contains("and 12 more"));
}

#[test]
fn refuses_names_that_lead_outside_or_repeat() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("inner");
    fs::create_dir(&inner).unwrap();
    write(dir.path(), "out.safetensors", &[("a", 1)]);
    write_index(&inner, &[("a", "../out.safetensors")]);
    assert!(refusal(&inner).contains("leads out of the directory"));
    assert!(Checkpoint::open_files(&inner, &["../out.safetensors"]).is_err());
    let twice = Checkpoint::open_files(dir.path(), &["out.safetensors", "out.safetensors"]).unwrap_err();
    assert!(twice.to_string().contains("given twice"));
}

#[cfg(unix)]
#[test]
fn follows_links_as_the_hub_cache_makes_them() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("snapshot");
    fs::create_dir(&snapshot).unwrap();
    write(dir.path(), "blob", &[("a", 2)]);
    let link = snapshot.join(SINGLE_FILE);
    std::os::unix::fs::symlink("../blob", &link).unwrap();
    let checkpoint = Checkpoint::open(&snapshot).unwrap();
    assert_eq!(checkpoint.path(FileId(0)).unwrap(), link);
    fs::remove_file(dir.path().join("blob")).unwrap();
    let message = refusal(&snapshot);
    assert!(message.contains("a link to ../blob, which is not there"), "{message}");
}

#[test]
fn explains_what_is_there_instead() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    assert!(refusal(&dir.join("nowhere")).contains("nowhere"));
    assert!(refusal(dir).ends_with("model.safetensors.index.json"));
    fs::write(dir.join("pytorch_model.bin"), b"PK").unwrap();
    assert!(refusal(dir).contains("found pytorch_model.bin: pickled weights"));
    fs::write(dir.join("q4.gguf"), b"GGUF").unwrap();
    assert!(refusal(dir).contains("found q4.gguf, pytorch_model.bin: GGUF is not read"));
    fs::write(dir.join("model.safetensors.incomplete"), b"").unwrap();
    assert!(refusal(dir).contains("the download is not complete"));
    write(dir, "model-00001-of-00002.safetensors", &[("a", 1)]);
    assert!(refusal(dir).contains("if it holds the whole model, rename it"));
    write(dir, "model-00002-of-00002.safetensors", &[("b", 1)]);
    assert!(refusal(dir).contains("nothing refers to: download model.safetensors.index.json"));
    let single = dir.join(SINGLE_FILE);
    fs::create_dir(&single).unwrap();
    assert!(refusal(dir).contains("is a directory and not a file"));
    fs::remove_dir(&single).unwrap();
    fs::write(&single, b"").unwrap();
    assert!(refusal(dir).contains("the file is empty"));
    assert!(refusal(&single).contains("is not a directory"));
    fs::remove_file(&single).unwrap();
    fs::write(dir.join(INDEX_FILE), b"{").unwrap();
    assert!(refusal(dir).contains("model.safetensors.index.json: bad index"));
}

#[test]
fn every_truncation_and_bit_flip_of_a_small_file_is_an_error_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), SINGLE_FILE, &[("a", 3), ("b", 2)]);
    let path = dir.path().join(SINGLE_FILE);
    let whole = fs::read(&path).unwrap();
    let record = Checkpoint::open(dir.path()).unwrap().files()[0].clone();
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        assert!(Checkpoint::open(dir.path()).is_err(), "cut to {len} bytes");
    }
    for bit in 0..8 * record.header_len as usize {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &flipped).unwrap();
        if let Ok(checkpoint) = Checkpoint::open(dir.path()) {
            assert_ne!(checkpoint.files()[0].header_hash, record.header_hash, "bit {bit}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_sparse_giant_opens_without_reading_data() {
    let dir = tempfile::tempdir().unwrap();
    let mut builder = HeaderBuilder::new();
    builder.tensor("w", DType::BF16, &[1 << 20, 1 << 18]).unwrap();
    let header = builder.finish().unwrap();
    let path = dir.path().join(SINGLE_FILE);
    fs::write(&path, &header.bytes).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(header.file_len).unwrap();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.tensor("w").unwrap().bytes, 1 << 39);
    let mapped = MappedCheckpoint::new(checkpoint).unwrap();
    assert_eq!(mapped.tensor("w").unwrap()[1 << 38], 0);
}
