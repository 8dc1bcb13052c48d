//! The file `plan.bin`: magic, format version, a table of sections with length and hash each, and their bodies.
//!
//! | bytes            | content                                             |
//! |------------------|-----------------------------------------------------|
//! | 8                | `MSCCPLAN`                                          |
//! | 4                | format version, little endian                       |
//! | 4                | number of sections, little endian                   |
//! | 64 each          | name (16, padded with zeros), offset (8), length (8), BLAKE3 of the body (32) |
//! | 32               | BLAKE3 of all before                                |
//! | …                | bodies, in the table's order, without gaps          |
//!
//! Bodies are in bincode 2, which is used nowhere else, so that it can be replaced here.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Plan, PlanError, validate};

/// How every plan begins.
pub const MAGIC: &[u8; 8] = b"MSCCPLAN";
/// Version of the format that this build reads and writes.
pub const FORMAT_VERSION: u32 = 4;
/// Largest file that is read, in bytes.
pub const MAX_PLAN_BYTES: u64 = 16 << 20;

const NAME_BYTES: usize = 16;
const ENTRY_BYTES: usize = NAME_BYTES + 8 + 8 + 32;
const HASH_BYTES: usize = 32;
const HEADER_BYTES: usize = 16;
const MAX_SECTIONS: usize = 64;
/// Sections in the order in which they are written.
const SECTIONS: [&str; 5] = ["meta", "interface", "weights", "programs", "text"];

/// Why bytes are no plan.
///
/// What to do: compile the model again.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// Not one of our files.
    #[error("this is no mscc plan: it does not start with `MSCCPLAN`")]
    Magic,
    /// Written by another version of the format.
    #[error(
        "the plan has format version {found}, this build reads version {FORMAT_VERSION}: compile the model again"
    )]
    Version {
        /// The version found.
        found: u32,
    },
    /// The file ends early or goes on behind its end, or its table is not well-formed.
    #[error("the plan is damaged: {0}")]
    Damaged(String),
    /// A section that does not decode.
    #[error("the plan's section `{section}` is damaged: {reason}")]
    Section {
        /// Its name.
        section: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// A plan whose content breaks a rule.
    #[error(transparent)]
    Invalid(#[from] PlanError),
}

/// The bytes of a plan; the same plan gives the same bytes.
pub fn encode(plan: &Plan) -> Result<Vec<u8>, ContainerError> {
    let bodies = [
        encode_section("meta", &plan.meta)?,
        encode_section("interface", &(&plan.symbols, &plan.inputs, &plan.outputs, &plan.caches))?,
        encode_section("weights", &plan.weights)?,
        encode_section("programs", &plan.programs)?,
        encode_section("text", &plan.text)?,
    ];
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&(SECTIONS.len() as u32).to_le_bytes());
    let mut offset = (HEADER_BYTES + SECTIONS.len() * ENTRY_BYTES + HASH_BYTES) as u64;
    for (name, body) in SECTIONS.iter().zip(&bodies) {
        let mut padded = [0u8; NAME_BYTES];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        out.extend_from_slice(&padded);
        out.extend_from_slice(&offset.to_le_bytes());
        out.extend_from_slice(&(body.len() as u64).to_le_bytes());
        out.extend_from_slice(blake3::hash(body).as_bytes());
        offset += body.len() as u64;
    }
    let hash = blake3::hash(&out);
    out.extend_from_slice(hash.as_bytes());
    bodies.iter().for_each(|body| out.extend_from_slice(body));
    Ok(out)
}

/// Reads a plan and checks all of it: hashes first, then every field.
pub fn decode(bytes: &[u8]) -> Result<Plan, ContainerError> {
    let bodies = read_sections(bytes)?;
    let [meta, interface, weights, programs, text] = bodies;
    let (symbols, inputs, outputs, caches) = decode_section("interface", interface)?;
    let plan = Plan {
        meta: decode_section("meta", meta)?,
        symbols,
        inputs,
        outputs,
        caches,
        weights: decode_section("weights", weights)?,
        programs: decode_section("programs", programs)?,
        text: decode_section("text", text)?,
    };
    validate(&plan)?;
    Ok(plan)
}

fn read_sections(bytes: &[u8]) -> Result<[&[u8]; SECTIONS.len()], ContainerError> {
    let damaged = |reason: &str| ContainerError::Damaged(reason.to_owned());
    if !bytes.starts_with(MAGIC) {
        return Err(ContainerError::Magic);
    }
    let header = bytes.get(..HEADER_BYTES).ok_or_else(|| damaged("it ends inside the header"))?;
    let version = u32::from_le_bytes(header[8..12].try_into().expect("four bytes"));
    if version != FORMAT_VERSION {
        return Err(ContainerError::Version { found: version });
    }
    let count = u32::from_le_bytes(header[12..16].try_into().expect("four bytes")) as usize;
    if count != SECTIONS.len() || count > MAX_SECTIONS {
        return Err(damaged("the number of sections is wrong"));
    }
    let table_end = HEADER_BYTES + count * ENTRY_BYTES;
    let hashed = bytes.get(..table_end).ok_or_else(|| damaged("it ends inside the table"))?;
    let stated =
        bytes.get(table_end..table_end + HASH_BYTES).ok_or_else(|| damaged("it ends inside the table"))?;
    if blake3::hash(hashed).as_bytes() != stated {
        return Err(damaged("the table's hash is wrong"));
    }
    let mut bodies: [&[u8]; SECTIONS.len()] = [&[]; SECTIONS.len()];
    let mut expected_offset = (table_end + HASH_BYTES) as u64;
    for (index, name) in SECTIONS.iter().enumerate() {
        let entry = &hashed[HEADER_BYTES + index * ENTRY_BYTES..][..ENTRY_BYTES];
        let (found, rest) = entry.split_at(NAME_BYTES);
        let stated_name = found.split(|byte| *byte == 0).next().unwrap_or_default();
        let offset = u64::from_le_bytes(rest[..8].try_into().expect("eight bytes"));
        let len = u64::from_le_bytes(rest[8..16].try_into().expect("eight bytes"));
        if stated_name != name.as_bytes() || offset != expected_offset {
            return Err(damaged("the table of sections is wrong"));
        }
        let end = offset.checked_add(len).and_then(|end| usize::try_from(end).ok());
        let body = end.and_then(|end| bytes.get(offset as usize..end));
        let body = body.ok_or_else(|| damaged(&format!("it ends inside section `{name}`")))?;
        if blake3::hash(body).as_bytes() != &rest[16..48] {
            return Err(damaged(&format!("the hash of section `{name}` is wrong")));
        }
        bodies[index] = body;
        expected_offset = offset + len;
    }
    if expected_offset != bytes.len() as u64 {
        return Err(damaged("there are bytes behind its end"));
    }
    Ok(bodies)
}

/// Most bytes that decoding one section may claim, so that a hostile length cannot take all memory.
const DECODE_LIMIT: usize = 16 << 20;

fn encode_section(section: &'static str, body: &impl Serialize) -> Result<Vec<u8>, ContainerError> {
    bincode::serde::encode_to_vec(body, bincode::config::standard())
        .map_err(|error| ContainerError::Section { section, reason: error.to_string() })
}

fn decode_section<T: DeserializeOwned>(section: &'static str, body: &[u8]) -> Result<T, ContainerError> {
    let config = bincode::config::standard().with_limit::<DECODE_LIMIT>();
    let (value, read) = bincode::serde::decode_from_slice(body, config)
        .map_err(|error| ContainerError::Section { section, reason: error.to_string() })?;
    if read != body.len() {
        return Err(ContainerError::Section { section, reason: "bytes are left over".to_owned() });
    }
    Ok(value)
}
