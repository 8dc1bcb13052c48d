//! What a user is told when something goes wrong, and the exit code that goes with it.

use std::path::PathBuf;

use mscc_compiler::lower::LowerError;
use mscc_compiler::passes::UnknownPass;
use mscc_compiler::{CompileError, ModelYamlError};
use mscc_ir::plan::container::ContainerError;
use mscc_ir::text::ParseError;
use mscc_ir::verify::VerifyError;
use mscc_report::{ReportError, figures};
use mscc_runtime::engine::EngineError;
use mscc_runtime::{LlmError, RuntimeError};
use mscc_text::{ChatError, TokenizerError};

use crate::manifest::ManifestError;
use crate::usage::UsageError;

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A model, graph or rule that cannot be compiled.
    #[error("{}{}", .0, compile_hint(.0))]
    Compile(Box<CompileError>),
    /// A model.yaml that cannot be used.
    #[error(transparent)]
    ModelYaml(#[from] ModelYamlError),
    /// A text that is no IR.
    #[error("{}: {source}", .path.display())]
    Ir {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: ParseError,
    },
    /// A graph that breaks a rule of the IR.
    #[error("{}: {}", .path.display(), .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  "))]
    Graph {
        /// The file.
        path: PathBuf,
        /// What the verifier says.
        problems: Vec<VerifyError>,
    },
    /// A pass that is none.
    #[error(transparent)]
    Pass(#[from] UnknownPass),
    /// A plan that cannot be loaded or run.
    #[error("{}{}", .0, hint(.0))]
    Runtime(#[from] RuntimeError),
    /// A request that cannot be served.
    #[error(transparent)]
    Engine(EngineError),
    /// A tokenizer or chat template that cannot be used, or refuses what it is given.
    #[error(transparent)]
    Text(Box<LlmError>),
    /// A command that asks for what cannot be.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// A record of fusions that cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A plan of which no picture can be made.
    #[error("{}: {source}", .path.display())]
    Report {
        /// The plan.
        path: PathBuf,
        /// What the matter is.
        source: ReportError,
    },
    /// A file that cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file that cannot be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Weights that have to be made and do not fit into memory.
    #[error(
        "the weights that are made when the model is loaded take {}, and {} of memory are to be had; \
         free some, or allow more with --memory-limit SIZE",
        figures::bytes(Some(*made)),
        figures::bytes(Some(*limit))
    )]
    WeightsTooLarge {
        /// Bytes of tensors that cannot be used where they lie.
        made: u64,
        /// Bytes that may be taken.
        limit: u64,
    },
    /// Standard output that cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(std::io::Error),
    /// Standard output that nobody reads any more.
    #[error("standard output is closed")]
    ClosedPipe,
    /// Ctrl-C; what was made until then has been printed.
    #[error("interrupted")]
    Interrupted,
    /// Anything else that failed though the input was right.
    #[error("{0}")]
    Failure(String),
}

impl CliError {
    /// 2 for bad input, 1 for what failed though the input was right, 130 if interrupted.
    pub fn exit_code(&self) -> u8 {
        match self {
            CliError::Compile(error) => match **error {
                CompileError::Lower(LowerError::NoKernel { .. }) => 2,
                CompileError::Pass(_) | CompileError::Plan(_) | CompileError::Lower(_) => 1,
                _ => 2,
            },
            CliError::Runtime(error) | CliError::Engine(EngineError::Runtime(error)) => match error {
                RuntimeError::Memory { .. } | RuntimeError::Launch { .. } => 1,
                _ => 2,
            },
            CliError::Engine(EngineError::Logits { .. }) => 1,
            CliError::Text(error) => match **error {
                LlmError::Generation(_) | LlmError::Chat(ChatError::Thread(_)) => 1,
                _ => 2,
            },
            CliError::Engine(_) | CliError::Ir { .. } | CliError::Graph { .. } | CliError::Manifest(_) => 2,
            CliError::Report { source: ReportError::Template(_), .. } => 1,
            CliError::Report { .. } => 2,
            CliError::ModelYaml(_) | CliError::Pass(_) | CliError::Usage(_) | CliError::Read { .. } => 2,
            CliError::Write { .. }
            | CliError::WeightsTooLarge { .. }
            | CliError::Output(_)
            | CliError::Failure(_) => 1,
            CliError::ClosedPipe => 0,
            CliError::Interrupted => 130,
        }
    }
}

/// The target that has a kernel for every op.
const HOST: &str = "cpu";

/// What to do about a model that a device's operators cannot compute.
fn compile_hint(error: &CompileError) -> &'static str {
    match error {
        CompileError::Lower(LowerError::NoKernel { target, reasons, .. }) if *target != HOST => {
            let told = reasons.to_string();
            if told.contains("(option ") {
                "\n  what to do: change an option that a rule names, or compile for another target (--target)"
            } else if told.contains("element types of") {
                "\n  what to do: compute in another type (--compute-dtype), or compile for another target (--target)"
            } else {
                "\n  what to do: no option helps; compile for another target (--target)"
            }
        }
        _ => "",
    }
}

/// What to do about it, where the error cannot know.
fn hint(error: &RuntimeError) -> &'static str {
    match error {
        RuntimeError::Plan { source: ContainerError::Magic, .. } => "; `mscc compile` makes one of a model",
        RuntimeError::Plan {
            source: ContainerError::Damaged(_) | ContainerError::Section { .. }, ..
        } => "; compile the model again",
        RuntimeError::Memory { .. } => {
            "; take a shorter text or fewer tokens in a step (--chunk, or compile with a smaller \
             --max-num-batched-tokens or --max-model-len), or allow more with --memory-limit SIZE"
        }
        _ => "",
    }
}

impl From<CompileError> for CliError {
    fn from(error: CompileError) -> Self {
        CliError::Compile(Box::new(error))
    }
}

impl From<EngineError> for CliError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Runtime(error) => CliError::Runtime(error),
            other => CliError::Engine(other),
        }
    }
}

impl From<LlmError> for CliError {
    fn from(error: LlmError) -> Self {
        match error {
            LlmError::Load(error) => CliError::Runtime(error),
            LlmError::Engine(error) => error.into(),
            other => CliError::Text(Box::new(other)),
        }
    }
}

impl From<TokenizerError> for CliError {
    fn from(error: TokenizerError) -> Self {
        LlmError::from(error).into()
    }
}

impl From<ChatError> for CliError {
    fn from(error: ChatError) -> Self {
        LlmError::from(error).into()
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => CliError::ClosedPipe,
            _ => CliError::Output(error),
        }
    }
}
