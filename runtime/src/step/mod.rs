//! A step: from a batch to logits.

pub mod batch;
