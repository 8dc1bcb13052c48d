//! What can go wrong in the runtime.

use std::path::PathBuf;

use mscc_checkpoint::CheckpointError;
use mscc_ir::plan::PlanError;
use mscc_ir::plan::container::ContainerError;

/// Why a plan could not be loaded or run.
///
/// What to do: mend what the message names, or compile the model again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// A file that cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file that is no plan of ours.
    #[error("{}: {source}", .path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ContainerError,
    },
    /// A plan that breaks a rule or asks for what steps do not have.
    #[error(transparent)]
    Invalid(#[from] PlanError),
    /// A plan for a device that this runtime does not drive.
    #[error(
        "the plan is for {target}, which this runtime does not drive: it runs plans for cpu; `mscc inspect` shows what the plan holds"
    )]
    Target {
        /// The device.
        target: String,
    },
    /// Weights that cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Weights that are not those the plan was compiled for.
    #[error("{}: {problem}", .path.display())]
    Weights {
        /// The file or directory.
        path: PathBuf,
        /// What differs, and what to do.
        problem: String,
    },
    /// A kernel that refused its operands or met an index outside its table.
    #[error("launch `{launch}`: {problem}")]
    Launch {
        /// The launch.
        launch: String,
        /// What the kernel says.
        problem: String,
    },
    /// A batch that breaks the step contract.
    #[error("bad step: {0}")]
    Batch(String),
    /// A request that the engine cannot take.
    #[error("bad request: {0}")]
    Request(String),
    /// Memory that is not to be had.
    #[error("cannot allocate {bytes} bytes for {what}")]
    Memory {
        /// How much.
        bytes: u64,
        /// For what.
        what: String,
    },
    /// Tokenizer files that are missing or broken.
    #[error("{0}")]
    Text(String),
}
