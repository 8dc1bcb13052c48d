//! Fixtures for tests.

use std::path::{Path, PathBuf};

use mscc_ir::DType;
use mscc_models::TraceOptions;

/// A path under the repository's test data.
pub fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(path)
}

/// Small limits, computing in `compute_dtype`.
pub fn options(compute_dtype: DType) -> TraceOptions {
    TraceOptions {
        compute_dtype,
        residual_dtype: None,
        max_model_len: None,
        max_num_seqs: 4,
        max_num_batched_tokens: 64,
        block_size: 16,
        strict: false,
    }
}
