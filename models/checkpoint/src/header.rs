//! The header of a safetensors file: checking one, and making one.
//!
//! A file is the length N of the header (u64, little endian), N bytes of JSON, and the data. The header
//! gives each tensor a type, a shape and a range of the data; the ranges tile the data exactly.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, SafeTensorError, TensorInfo};
use serde::de::{self, IntoDeserializer, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::dtype::DType;
use crate::error::HeaderError;
use crate::other_format::other_format;

/// Longest header that is accepted, in bytes. The same limit as the reference implementation's.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Most tensors that a checkpoint may hold.
pub const MAX_TENSORS: usize = 1_000_000;

/// Most dims that a tensor may have.
const MAX_RANK: usize = 16;

/// Bytes of the length in front of the header.
pub(crate) const PREFIX_BYTES: u64 = 8;

/// The key of the header that is no tensor.
const METADATA_KEY: &str = "__metadata__";

/// A checked header: every range lies in the file, has the size of its tensor, and none overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The file's own strings, such as `format: pt`.
    pub metadata: BTreeMap<String, String>,
    /// The tensors in the order of their data.
    pub tensors: Vec<HeaderTensor>,
}

/// One tensor of a [`Header`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderTensor {
    /// Its name.
    pub name: String,
    /// Type of its elements.
    pub dtype: DType,
    /// Its shape, in elements.
    pub shape: Vec<u64>,
    /// Where its data starts, in bytes from the start of the file.
    pub offset: u64,
    /// Size of its data in bytes.
    pub bytes: u64,
}

impl Header {
    /// Checks the header of a file of `file_len` bytes, of which `start` is the beginning: the length
    /// and at least the whole header. What follows the header is not looked at.
    ///
    /// Errors: the first rule of the format that is broken.
    pub fn parse(start: &[u8], file_len: u64) -> Result<Header, HeaderError> {
        let header_bytes = header_length(start, file_len)?;
        let data_start = PREFIX_BYTES + header_bytes;
        let json = usize::try_from(data_start).ok().and_then(|end| start.get(PREFIX_BYTES as usize..end));
        let json =
            json.ok_or(HeaderError::BeyondFile { bytes: header_bytes, file_len: start.len() as u64 })?;
        if json.first() != Some(&b'{') {
            return Err(HeaderError::NotAnObject);
        }
        let RawHeader { metadata, mut tensors } = serde_json::from_slice(json).map_err(HeaderError::Json)?;
        refuse_duplicates(&tensors)?;
        for (name, info) in &tensors {
            check_size(name, info)?;
        }
        tensors.sort_by_key(|(_, info)| info.data_offsets);
        let layout = Metadata::new(None, tensors).map_err(|error| match error {
            SafeTensorError::InvalidOffset(tensor) => HeaderError::Layout { tensor },
            // Of the other rules of the reference implementation, all were checked before.
            other => HeaderError::Json(de::Error::custom(other)),
        })?;
        let expected = data_start.checked_add(layout.data_len() as u64);
        if expected != Some(file_len) {
            let expected = expected.unwrap_or(u64::MAX);
            return Err(HeaderError::FileLength { expected, found: file_len });
        }
        let tensors = layout.offset_keys().into_iter().map(|name| {
            let info = layout.info(&name).expect("the keys are those of the layout");
            let (start, end) = info.data_offsets;
            let offset = data_start + start as u64;
            HeaderTensor {
                dtype: DType::from_format(info.dtype),
                shape: shape_of(info),
                name,
                offset,
                bytes: (end - start) as u64,
            }
        });
        Ok(Header { metadata, tensors: tensors.collect() })
    }
}

/// Makes the header for tensors that are then written one after the other, in the order added.
///
/// The data of the first tensor starts at a multiple of 8 bytes; the format has no room between
/// tensors, so a writer who wants every tensor aligned adds those of wider types first.
///
/// ```
/// use mscc_checkpoint::{DType, HeaderBuilder};
///
/// let mut builder = HeaderBuilder::new();
/// builder.metadata("format", "pt");
/// builder.tensor("model.norm.weight", DType::BF16, &[64])?;
/// let header = builder.finish()?;
/// assert_eq!(header.offsets[0], header.bytes.len() as u64);
/// assert_eq!(header.file_len, header.offsets[0] + 128);
/// # Ok::<(), mscc_checkpoint::HeaderError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct HeaderBuilder {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, TensorInfo)>,
    names: HashSet<String>,
    data_bytes: u64,
}

/// A header ready to be written, from [`HeaderBuilder::finish`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderBytes {
    /// The length and the JSON, padded to a multiple of 8 bytes: the beginning of the file.
    pub bytes: Vec<u8>,
    /// Where the data of each tensor starts, in bytes from the start of the file, in the order added.
    pub offsets: Vec<u64>,
    /// Size of the whole file in bytes.
    pub file_len: u64,
}

impl HeaderBuilder {
    /// A header without tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one of the file's own strings.
    pub fn metadata(&mut self, key: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Adds a tensor and returns the size of its data in bytes.
    ///
    /// Errors: a name that was added before or is reserved, a type without a known size, a size that
    /// does not fit in 64 bits.
    pub fn tensor(&mut self, name: &str, dtype: DType, shape: &[u64]) -> Result<u64, HeaderError> {
        let tensor = || name.to_owned();
        if name == METADATA_KEY {
            return Err(HeaderError::ReservedName { tensor: tensor() });
        }
        let format = dtype.to_format();
        let format =
            format.ok_or_else(|| HeaderError::UnknownDType { tensor: tensor(), dtype: dtype.clone() })?;
        let unsizable =
            || HeaderError::Unsizable { tensor: tensor(), dtype: dtype.clone(), shape: shape.to_vec() };
        let bytes = size_in_bytes(format, shape.iter().copied()).ok_or_else(unsizable)?;
        let end = self.data_bytes.checked_add(bytes).ok_or_else(unsizable)?;
        // The format's own types use `usize`: what does not fit there cannot be a file here either.
        let narrow = |value: u64| usize::try_from(value).map_err(|_| unsizable());
        let info = TensorInfo {
            dtype: format,
            shape: shape.iter().map(|&dim| narrow(dim)).collect::<Result<_, _>>()?,
            data_offsets: (narrow(self.data_bytes)?, narrow(end)?),
        };
        if !self.names.insert(name.to_owned()) {
            return Err(HeaderError::DuplicateTensor { tensor: tensor() });
        }
        self.tensors.push((name.to_owned(), info));
        self.data_bytes = end;
        Ok(bytes)
    }

    /// The bytes of the header and where each tensor's data goes. Equal input gives equal bytes.
    ///
    /// Errors: a header longer than [`MAX_HEADER_BYTES`], a file longer than 2^64 bytes.
    pub fn finish(&self) -> Result<HeaderBytes, HeaderError> {
        let mut bytes = vec![0; PREFIX_BYTES as usize];
        serde_json::to_writer(&mut bytes, self).map_err(HeaderError::Json)?;
        bytes.resize(bytes.len().next_multiple_of(PREFIX_BYTES as usize), b' ');
        let data_start = bytes.len() as u64;
        let header_bytes = data_start - PREFIX_BYTES;
        if header_bytes > MAX_HEADER_BYTES {
            return Err(HeaderError::TooLarge { bytes: header_bytes, limit: MAX_HEADER_BYTES });
        }
        bytes[..PREFIX_BYTES as usize].copy_from_slice(&header_bytes.to_le_bytes());
        let file_len = data_start
            .checked_add(self.data_bytes)
            .ok_or(HeaderError::BeyondFile { bytes: header_bytes, file_len: u64::MAX })?;
        let offsets = self.tensors.iter().map(|(_, info)| data_start + info.data_offsets.0 as u64).collect();
        Ok(HeaderBytes { bytes, offsets, file_len })
    }
}

impl Serialize for HeaderBuilder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA_KEY, &self.metadata)?;
        }
        for (name, info) in &self.tensors {
            map.serialize_entry(name, info)?;
        }
        map.end()
    }
}

/// The length that stands in the first 8 bytes of a file of `file_len` bytes, within all limits.
pub(crate) fn header_length(start: &[u8], file_len: u64) -> Result<u64, HeaderError> {
    if file_len == 0 {
        return Err(HeaderError::Empty);
    }
    let Some(prefix) = start.first_chunk::<{ PREFIX_BYTES as usize }>() else {
        return Err(HeaderError::TooShort { file_len });
    };
    let bytes = u64::from_le_bytes(*prefix);
    let refusal = if bytes > MAX_HEADER_BYTES {
        HeaderError::TooLarge { bytes, limit: MAX_HEADER_BYTES }
    } else if file_len - PREFIX_BYTES < bytes {
        HeaderError::BeyondFile { bytes, file_len }
    } else if bytes == 0 {
        HeaderError::NoHeader
    } else {
        return Ok(bytes);
    };
    Err(other_format(prefix).map_or(refusal, HeaderError::OtherFormat))
}

/// The header as it is written, before any check.
struct RawHeader {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, TensorInfo)>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RawHeaderVisitor)
    }
}

/// Keeps every entry in order, where a map would let a second entry of one name replace the first.
struct RawHeaderVisitor;

impl<'de> Visitor<'de> for RawHeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from tensor names to type, shape and range")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
        let mut metadata = None;
        let mut tensors = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA_KEY {
                let strings: Option<BTreeMap<String, String>> = map.next_value()?;
                if metadata.replace(strings.unwrap_or_default()).is_some() {
                    return Err(de::Error::custom("`__metadata__` appears twice"));
                }
                continue;
            }
            if tensors.len() == MAX_TENSORS {
                return Err(de::Error::custom(format_args!("more than {MAX_TENSORS} tensors")));
            }
            let info = map
                .next_value::<RawTensor>()
                .and_then(RawTensor::info)
                .map_err(|error| de::Error::custom(format_args!("tensor `{name}`: {error}")))?;
            tensors.push((name, info));
        }
        Ok(RawHeader { metadata: metadata.unwrap_or_default(), tensors })
    }
}

/// An entry of the header as it is written. Fields that newer writers may add are passed over.
#[derive(Deserialize)]
#[serde(expecting = "an object with `dtype`, `shape` and `data_offsets`")]
struct RawTensor {
    dtype: String,
    shape: Vec<Count>,
    data_offsets: Range,
}

/// Where a tensor's data begins and ends, in bytes.
#[derive(Deserialize)]
#[serde(expecting = "where its data begins and ends: a list")]
struct Range(Count, Count);

/// A number of elements or bytes that this machine can address.
struct Count(usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(CountVisitor)
    }
}

/// Says what is expected in words that are not Rust's.
struct CountVisitor;

impl Visitor<'_> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from 0 to {}", usize::MAX)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Count, E> {
        let count = usize::try_from(value).map(Count);
        count.map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Count, E> {
        Err(E::invalid_value(de::Unexpected::Signed(value), &self))
    }
}

impl RawTensor {
    fn info<E: de::Error>(self) -> Result<TensorInfo, E> {
        let RawTensor { dtype, shape, data_offsets } = self;
        let known = Dtype::deserialize(dtype.as_str().into_deserializer());
        let dtype = known.map_err(|_: de::value::Error| {
            E::custom(format_args!("unknown type `{dtype}`; types are spelt as in `F32` and `BF16`"))
        })?;
        let shape = shape.into_iter().map(|Count(dim)| dim).collect();
        let Range(Count(start), Count(end)) = data_offsets;
        Ok(TensorInfo { dtype, shape, data_offsets: (start, end) })
    }
}

fn refuse_duplicates(tensors: &[(String, TensorInfo)]) -> Result<(), HeaderError> {
    let mut seen = HashSet::with_capacity(tensors.len());
    match tensors.iter().find(|(name, _)| !seen.insert(name.as_str())) {
        Some((name, _)) => Err(HeaderError::DuplicateTensor { tensor: name.clone() }),
        None => Ok(()),
    }
}

fn check_size(name: &str, info: &TensorInfo) -> Result<(), HeaderError> {
    let (start, end) = info.data_offsets;
    let tensor = || name.to_owned();
    if info.shape.len() > MAX_RANK {
        return Err(HeaderError::Rank { tensor: tensor(), rank: info.shape.len(), limit: MAX_RANK });
    }
    let dtype = || DType::from_format(info.dtype);
    match size_in_bytes(info.dtype, info.shape.iter().map(|&dim| dim as u64)) {
        None => Err(HeaderError::Unsizable { tensor: tensor(), dtype: dtype(), shape: shape_of(info) }),
        Some(expected) if end.checked_sub(start).map(|bytes| bytes as u64) != Some(expected) => {
            Err(HeaderError::Size {
                tensor: tensor(),
                dtype: dtype(),
                shape: shape_of(info),
                expected,
                start: start as u64,
                end: end as u64,
            })
        }
        Some(_) => Ok(()),
    }
}

/// Bytes of a packed tensor; `None` if they overflow or the last byte is not full.
fn size_in_bytes(dtype: Dtype, shape: impl IntoIterator<Item = u64>) -> Option<u64> {
    let elements = shape.into_iter().try_fold(1u64, u64::checked_mul)?;
    let bits = elements.checked_mul(dtype.bitsize() as u64)?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

fn shape_of(info: &TensorInfo) -> Vec<u64> {
    info.shape.iter().map(|&dim| dim as u64).collect()
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
