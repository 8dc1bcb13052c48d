//! The blocks that fill the slots of families: each in a file of its own, and a line in [`BLOCKS`].

mod activation;
mod attention;
mod embedding;
mod gated_mlp;
mod latent_attention;
mod layer_norm;
mod linear;
mod mlp;
mod rms_norm;
mod rotary_embedding;
mod routed_experts;

use mscc_ir::{Dim, Value};

use crate::trace::{Scope, TraceError};

/// All blocks, by name.
pub static BLOCKS: [&Block; 10] = [
    &attention::BLOCK,
    &embedding::BLOCK,
    &gated_mlp::BLOCK,
    &latent_attention::BLOCK,
    &layer_norm::BLOCK,
    &linear::BLOCK,
    &mlp::BLOCK,
    &rms_norm::BLOCK,
    &rotary_embedding::BLOCK,
    &routed_experts::BLOCK,
];

/// A size that fits, since its factors are at most 2^31.
fn dim(size: u64) -> Dim {
    Dim::constant(i64::try_from(size).expect("a product of two sizes is at most 2^62"))
}

/// A part of a model that families are made of.
#[derive(Debug)]
pub struct Block {
    /// Name in family files.
    pub name: &'static str,
    /// What goes in and comes out.
    pub interface: Interface,
    /// Whether it reads hidden states in the type in which layers add them up; the others read them in the type that the
    /// model computes in.
    pub reads_wide: bool,
    /// What a family says about it.
    pub params: &'static [Param],
    /// Modules inside it that have weights, by the names that checkpoints usually have.
    pub modules: &'static [&'static str],
    /// Puts its ops into the scope's function; gives its results.
    pub trace: fn(&mut Scope<'_, '_>, Value) -> Result<Vec<Value>, TraceError>,
}

/// What goes into a block and comes out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// Token ids `i32[T]` to hidden states `[T, H]`.
    Tokens,
    /// Positions `i32[T]` to cosines and sines, each `f32[T, R/2]`.
    Positions,
    /// Hidden states `[T, ..]` to hidden states `[T, ..]`.
    Hidden,
}

impl Interface {
    /// The interface in words, after "a block that".
    pub fn describe(self) -> &'static str {
        match self {
            Interface::Tokens => "makes hidden states of token ids",
            Interface::Positions => "makes cosines and sines of positions",
            Interface::Hidden => "makes hidden states of hidden states",
        }
    }
}

/// A parameter of a block.
#[derive(Debug)]
pub struct Param {
    /// Name in family files.
    pub name: &'static str,
    /// What its value is.
    pub kind: ParamKind,
    /// The expression that stands in where the family says nothing; `None` if it has to.
    pub default: Option<&'static str>,
    /// Whether it may be null.
    pub nullable: bool,
}

/// What the value of a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// An integer from 1 to 2^31.
    Size,
    /// A finite number.
    Number,
    /// True or false; null is false.
    Flag,
    /// A text.
    Text,
    /// A list of finite numbers.
    Numbers,
}

impl Param {
    /// A parameter that a family has to give.
    pub const fn required(name: &'static str, kind: ParamKind) -> Param {
        Param { name, kind, default: None, nullable: false }
    }

    /// A parameter that a family may give.
    pub const fn with_default(name: &'static str, kind: ParamKind, default: &'static str) -> Param {
        Param { name, kind, default: Some(default), nullable: false }
    }

    /// A parameter that a family may give and that may be null.
    pub const fn optional(name: &'static str, kind: ParamKind, default: &'static str) -> Param {
        Param { name, kind, default: Some(default), nullable: true }
    }
}

impl ParamKind {
    /// The kind in words.
    pub fn describe(self) -> &'static str {
        match self {
            ParamKind::Size => "an integer from 1 to 2147483648",
            ParamKind::Number => "a number",
            ParamKind::Flag => "true or false",
            ParamKind::Text => "a text",
            ParamKind::Numbers => "a list of numbers",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_sorted_and_their_defaults_parse() {
        assert!(BLOCKS.is_sorted_by(|a, b| a.name < b.name));
        for param in BLOCKS.iter().flat_map(|block| block.params) {
            assert!(!crate::spec::KEYS.contains(&param.name));
            if let Some(default) = param.default {
                crate::spec::Expr::parse(default).unwrap();
            }
        }
    }
}
