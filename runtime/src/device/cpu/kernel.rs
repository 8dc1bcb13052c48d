//! What all kernels have in common.

use std::ops::Range;

use mscc_ir::DType;

use super::error::KernelError;
use super::isa::Isa;
use super::pool::{Pool, Scratch, TaskResult};
use super::view::View;

/// A kernel bound to its operands and results.
///
/// The three methods are the three stages of a step: what a launch may be is checked once per combination of
/// element types and sizes, the split depends on sizes and threads only and may be kept while they do not
/// change, and `run` does the work. Splitting never changes a bit of the results.
pub trait Kernel: Sync {
    /// Whether the views fit each other and there is code for their element types.
    ///
    /// # Errors
    /// [`KernelError::Dtypes`], [`KernelError::Shape`] or [`KernelError::Layout`].
    fn check(&self) -> Result<(), KernelError>;

    /// How the work is cut into tasks for a number of threads.
    fn split(&self, threads: usize) -> Split;

    /// Does one task.
    ///
    /// # Safety
    /// `check` accepts these views, `split` came from [`Kernel::split`] for views of these sizes, and no task
    /// of the launch runs twice.
    ///
    /// # Errors
    /// [`KernelError::Index`] if an index operand points outside its table, cache or batch.
    unsafe fn run(&self, isa: Isa, split: Split, task: usize, scratch: &mut Scratch) -> TaskResult;
}

/// A cut of a kernel's work; what a block is, the kernel knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Split {
    /// Number of tasks.
    pub tasks: usize,
    /// Rows (or items) in a block.
    pub rows: usize,
    /// Columns in a block, where the kernel cuts both ways.
    pub columns: usize,
    /// Tasks that begin when all others are done, numbered on from them.
    pub second_tasks: usize,
    /// Bytes of memory that all tasks share.
    pub shared_bytes: usize,
}

/// Tasks per thread where the work allows: enough to level out a thread that is late.
const TASKS_PER_THREAD: usize = 4;
/// Bytes a task should at least touch; less is not worth handing out.
const MIN_TASK_BYTES: usize = 16 << 10;

impl Split {
    /// Cuts `items` evenly, each of which moves about `item_bytes`.
    pub(crate) fn even(items: usize, item_bytes: usize, threads: usize) -> Split {
        let least = MIN_TASK_BYTES.div_ceil(item_bytes.max(1));
        let tasks = if threads == 1 { 1 } else { threads * TASKS_PER_THREAD };
        let rows = items.div_ceil(tasks).max(least).max(1);
        Split { tasks: items.div_ceil(rows), rows, ..Split::default() }
    }

    /// The items of a task.
    pub(crate) fn range(self, task: usize, items: usize) -> Range<usize> {
        task * self.rows..((task + 1) * self.rows).min(items)
    }
}

/// Checks, splits and runs a kernel.
///
/// # Errors
/// Those of [`Kernel::check`] and [`Kernel::run`], and [`KernelError::Panicked`].
pub fn launch(pool: &mut Pool, isa: Isa, kernel: &dyn Kernel) -> TaskResult {
    kernel.check()?;
    let split = kernel.split(pool.threads());
    // SAFETY: checked and split just above; the pool runs each task once.
    pool.run_split(split, &|task, scratch| unsafe { kernel.run(isa, split, task, scratch) })
}

/// Helpers of the `check` methods.
pub(crate) struct Check(pub(crate) &'static str);

impl Check {
    pub(crate) fn dtypes(&self, supported: bool, views: &[&View]) -> Result<(), KernelError> {
        if supported {
            return Ok(());
        }
        let dtypes: Vec<DType> = views.iter().map(|view| view.dtype()).collect();
        Err(KernelError::Dtypes { kernel: self.0, dtypes })
    }

    pub(crate) fn dims(
        &self,
        value: &'static str,
        view: &View,
        expected: &[usize],
        symbolic: &'static str,
    ) -> Result<(), KernelError> {
        self.shape(value, view, view.dims() == expected, symbolic)
    }

    pub(crate) fn shape(
        &self,
        value: &'static str,
        view: &View,
        fits: bool,
        symbolic: &'static str,
    ) -> Result<(), KernelError> {
        if fits {
            return Ok(());
        }
        Err(KernelError::Shape { kernel: self.0, value, got: view.dims().into(), expected: symbolic })
    }

    pub(crate) fn inner(&self, value: &'static str, view: &View) -> Result<(), KernelError> {
        if view.is_inner_contiguous() {
            return Ok(());
        }
        Err(KernelError::Layout { kernel: self.0, value })
    }

    pub(crate) fn gapless(&self, value: &'static str, view: &View) -> Result<(), KernelError> {
        self.gapless_rows(value, view, 0)
    }

    /// The dimensions from `axis` on lie without gaps.
    pub(crate) fn gapless_rows(
        &self,
        value: &'static str,
        view: &View,
        axis: usize,
    ) -> Result<(), KernelError> {
        if view.is_contiguous_from(axis) {
            return Ok(());
        }
        Err(KernelError::Layout { kernel: self.0, value })
    }
}
