use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, bail};
use mscc_checkpoint::{HeaderBuilder, HeaderBytes, SINGLE_FILE};
use mscc_ir::DType;
use mscc_models::SourceWeight;

use super::values::Values;

/// A file of weights.
#[derive(Debug)]
pub struct Shard {
    /// Its name.
    pub file: String,
    /// Its tensors in the order of their data.
    pub weights: Vec<SourceWeight>,
    /// Bytes of its data.
    pub data_bytes: u64,
    header: HeaderBytes,
}

/// Bytes that a thread draws and writes at once: few enough to stay in its cache.
const CHUNK_BYTES: usize = 1 << 18;

/// Divides tensors among files in their order; a file is closed when the next tensor would make its
/// data longer than `max_bytes`.
pub fn divide(weights: impl Iterator<Item = SourceWeight>, max_bytes: u64) -> anyhow::Result<Vec<Shard>> {
    let mut groups: Vec<(Vec<SourceWeight>, u64)> = vec![(Vec::new(), 0)];
    for weight in weights {
        let bytes = bytes(&weight)?;
        let (group, group_bytes) = groups.last_mut().expect("there is always one");
        match group_bytes.checked_add(bytes) {
            Some(sum) if sum <= max_bytes || group.is_empty() => {
                group.push(weight);
                *group_bytes = sum;
            }
            Some(_) | None => groups.push((vec![weight], bytes)),
        }
    }
    let count = groups.len();
    let shard = |(at, (weights, data_bytes)): (usize, (Vec<SourceWeight>, u64))| {
        let file = match count {
            1 => SINGLE_FILE.to_owned(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", at + 1),
        };
        Shard::new(file, weights, data_bytes)
    };
    groups.into_iter().enumerate().map(shard).collect()
}

/// File of each tensor, in the order of their names.
pub fn weight_map(shards: &[Shard]) -> BTreeMap<&str, &str> {
    let mut map = BTreeMap::new();
    for shard in shards {
        map.extend(shard.weights.iter().map(|weight| (weight.name.as_str(), shard.file.as_str())));
    }
    map
}

/// Number of elements. No tensor of a [`Shard`] has more than 64 bits can say.
pub fn elements(weight: &SourceWeight) -> u64 {
    weight.shape.iter().product()
}

impl Shard {
    fn new(file: String, mut weights: Vec<SourceWeight>, data_bytes: u64) -> anyhow::Result<Shard> {
        // The format has no room between tensors: wider types first keeps each aligned.
        weights.sort_by_key(|weight| Reverse(weight.dtype.bits()));
        let mut builder = HeaderBuilder::new();
        builder.metadata("format", "pt");
        for weight in &weights {
            builder.tensor(&weight.name, stored_dtype(weight)?, &weight.shape)?;
        }
        Ok(Shard { file, weights, data_bytes, header: builder.finish()? })
    }

    /// Writes the header and leaves the data as a hole.
    pub fn write_sparse(&self, path: &Path) -> anyhow::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(&self.header.bytes)?;
        let holes = "the file system refuses so long a file";
        file.set_len(self.header.file_len).context(holes)
    }

    /// Writes header and data. `progress` is told of bytes written.
    pub fn write(
        &self,
        path: &Path,
        seed: u64,
        threads: NonZeroUsize,
        progress: &(dyn Fn(u64) + Sync),
    ) -> anyhow::Result<()> {
        let draws = self.weights.iter().map(|weight| Values::new(seed, weight));
        let draws = draws.collect::<anyhow::Result<Vec<_>>>()?;
        self.write_sparse(path)?;
        let chunks = self.chunks();
        let next = AtomicUsize::new(0);
        let work = || -> anyhow::Result<()> {
            let mut file = OpenOptions::new().write(true).open(path)?;
            let mut buffer = vec![0; CHUNK_BYTES];
            while let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
                let data = &mut buffer[..chunk.len];
                draws[chunk.weight].fill(chunk.start, data);
                file.seek(SeekFrom::Start(self.header.offsets[chunk.weight] + chunk.start))?;
                file.write_all(data)?;
                progress(chunk.len as u64);
            }
            Ok(())
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads.get()).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("drawing weights does not panic"))
        })
    }

    fn chunks(&self) -> Vec<Chunk> {
        let ends = self.header.offsets.iter().skip(1).copied().chain([self.header.file_len]);
        let tensors = self.header.offsets.iter().zip(ends).enumerate();
        let cut = tensors.flat_map(|(weight, (start, end))| {
            let bytes = end - start;
            (0..bytes).step_by(CHUNK_BYTES).map(move |start| {
                let len = CHUNK_BYTES.min(usize::try_from(bytes - start).unwrap_or(CHUNK_BYTES));
                Chunk { weight, start, len }
            })
        });
        cut.collect()
    }
}

/// A part of a tensor's data, in bytes.
struct Chunk {
    weight: usize,
    start: u64,
    len: usize,
}

fn bytes(weight: &SourceWeight) -> anyhow::Result<u64> {
    let elements = weight.shape.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
    let bytes = elements.and_then(|elements| weight.dtype.packed_bytes(elements));
    bytes.with_context(|| format!("`{}` is too large: {:?}", weight.name, weight.shape))
}

fn stored_dtype(weight: &SourceWeight) -> anyhow::Result<mscc_checkpoint::DType> {
    use mscc_checkpoint::DType as Stored;
    Ok(match weight.dtype {
        DType::F64 => Stored::F64,
        DType::F32 => Stored::F32,
        DType::F16 => Stored::F16,
        DType::BF16 => Stored::BF16,
        DType::F8E4M3 => Stored::F8E4M3,
        DType::I64 => Stored::I64,
        DType::I32 => Stored::I32,
        DType::I8 => Stored::I8,
        DType::U8 => Stored::U8,
        DType::Bool => Stored::Bool,
        DType::I4 => bail!("`{}` is of type i4, which files hold packed into wider types", weight.name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(name: &str, dtype: DType, elements: u64) -> SourceWeight {
        SourceWeight { name: name.to_owned(), shape: vec![elements], dtype }
    }

    fn files(weights: &[SourceWeight], max_bytes: u64) -> Vec<(String, Vec<String>, u64)> {
        let shards = divide(weights.iter().cloned(), max_bytes).unwrap();
        let names = |shard: &Shard| shard.weights.iter().map(|weight| weight.name.clone()).collect();
        shards.iter().map(|shard| (shard.file.clone(), names(shard), shard.data_bytes)).collect()
    }

    #[test]
    fn fills_files_in_order() {
        let weights = [
            weight("a", DType::BF16, 5),
            weight("b", DType::F32, 2),
            weight("c", DType::BF16, 100),
            weight("d", DType::I8, 1),
        ];
        let file = |at: usize| format!("model-0000{at}-of-00003.safetensors");
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            files(&weights, 18),
            [(file(1), names(&["b", "a"]), 18), (file(2), names(&["c"]), 200), (file(3), names(&["d"]), 1)]
        );
        assert_eq!(
            files(&weights, 219),
            [("model.safetensors".to_owned(), names(&["b", "a", "c", "d"]), 219)]
        );
    }

    #[test]
    fn sizes_beyond_64_bits_are_refused() {
        let huge = SourceWeight { name: "w".to_owned(), shape: vec![1 << 40, 1 << 40], dtype: DType::F32 };
        assert!(divide([huge].into_iter(), 1).unwrap_err().to_string().contains("`w` is too large"));
        let packed = weight("w", DType::I4, 8);
        assert!(divide([packed].into_iter(), 1).unwrap_err().to_string().contains("i4"));
    }
}
